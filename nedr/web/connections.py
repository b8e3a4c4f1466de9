"""uvicorn's connections with deadlines and limits: silent, unreading or too many callers make room for others."""

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from nedr.web.limits import Limits

UNREAD = 60.0
"""Seconds between two checks of how much of its answer a caller has taken."""
PATIENCE = 2.0
"""Seconds after which an incomplete body may have to make room for others."""
_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"


class Census:
    """All open connections of a server, kept within its limits.

    At a limit, the connection that has been idle longest makes room for the new one, so that silent callers keep nobody
    out; if none is idle, one whose body has been arriving for long. If all others are being answered, the new one is
    refused.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.refused = 0
        self._open: dict[Connection, str] = {}  # in order of arrival or last answer
        self._from: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> "Iterator[Connection]":
        return iter(tuple(self._open))

    def enter(self, connection: "Connection", address: str) -> None:
        """Admit a new connection, closing another one if a limit is reached."""
        if self._from[address] >= self.limits.per_address:
            self._make_room(address)
        elif len(self._open) >= self.limits.connections:
            self._make_room(None)
        full = self._from[address] >= self.limits.per_address or len(self._open) >= self.limits.connections
        self._open[connection] = address
        self._from[address] += 1
        if full:
            self.refused += 1
            connection.end(_FULL)

    def leave(self, connection: "Connection") -> None:
        """Forget a connection, unless that has been done."""
        address = self._open.pop(connection, None)
        if address is not None:
            self._from[address] -= 1
            if not self._from[address]:
                del self._from[address]

    def rests(self, connection: "Connection") -> None:
        """Move a connection whose request was answered behind those that have waited longer."""
        if connection in self._open:
            self._open[connection] = self._open.pop(connection)

    def _make_room(self, address: str | None) -> None:
        known = [one for one, its_address in self._open.items() if address in (None, its_address)]
        for connection in [one for one in known if one.is_idle] or [one for one in known if one.is_sending_slowly]:
            self.leave(connection)
            connection.end(_SLOW)
            return


class Connection(H11Protocol):
    """One connection: its header must arrive in time, and its answer must be read."""

    def __init__(self, *arguments: Any, census: Census, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._census = census
        self._timer: asyncio.TimerHandle | None = None
        self._asked = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered and no end of an answer is still being sent."""
        return (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused

    @property
    def is_sending_slowly(self) -> bool:
        """Whether a request's body has been arriving for long."""
        return not self.is_idle and self.cycle.more_body and self.loop.time() - self._asked > PATIENCE

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for a header."""
        super().connection_made(transport)
        with suppress(OSError):  # already gone
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or a body would wait 40 ms for its header
        self._expect(self._census.limits.header_seconds, _SLOW)
        self._census.enter(self, self.client[0] if self.client else "")

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room."""
        self._stop()
        self._census.leave(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Stop the timer once a header has arrived."""
        cycle = self.cycle
        super().handle_events()
        if self.cycle is not cycle:
            self._asked = self.loop.time()
            if not self.is_idle:
                self._stop()

    def on_response_complete(self) -> None:
        """Start to wait for the next header."""
        super().on_response_complete()
        self._census.rests(self)
        if self.is_idle:
            self._expect(self._census.limits.header_seconds, b"")

    def pause_writing(self) -> None:
        """The caller reads more slowly than the answer is written."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """The caller has read nearly everything that was written."""
        self._stop()
        super().resume_writing()
        if self.is_idle:
            self._expect(self._census.limits.header_seconds, b"")

    def end(self, words: bytes) -> None:
        """Close the connection, with last words if there is no request to answer."""
        self._stop()
        if words and self.is_idle:
            self.transport.write(words)
            self.transport.close()
        else:
            self.transport.abort()

    def _watch(self) -> None:
        """Check later how much has been read."""
        self._stop()
        self._timer = self.loop.call_later(UNREAD, self._look, self.transport.get_write_buffer_size())

    def _look(self, before: int) -> None:
        taken = before - self.transport.get_write_buffer_size()
        if taken < UNREAD * self._census.limits.answer_rate:
            self.end(b"")
        else:
            self._watch()

    def _expect(self, seconds: float, words: bytes) -> None:
        self._stop()
        self._timer = self.loop.call_later(seconds, self.end, words)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
