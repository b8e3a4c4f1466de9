"""Connections of uvicorn with deadlines and bounds: who does not ask, does not read or comes too often makes room."""

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from nedr.web.limits import Limits

UNREAD = 60.0
"""Seconds between two looks at how much of its answer a caller has taken."""
PATIENCE = 2.0
"""Seconds after which a body that has not wholly come may make room for others."""
_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"


class Census:
    """All open connections of a server, held to its bounds.

    Past a bound, the connection that has waited longest without asking anything makes room for the new one, so that
    silent callers keep nobody out; then one whose body has been on its way for long. Where all others are being
    answered, the new one is refused.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.refused = 0
        self._open: dict[Connection, str] = {}  # in the order of their arrival or last answer
        self._from: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> "Iterator[Connection]":
        return iter(tuple(self._open))

    def enter(self, connection: "Connection", address: str) -> None:
        """Take a new connection in, at the cost of another one where a bound is met."""
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
        """Forget a connection, which may have been forgotten before."""
        address = self._open.pop(connection, None)
        if address is not None:
            self._from[address] -= 1
            if not self._from[address]:
                del self._from[address]

    def rests(self, connection: "Connection") -> None:
        """Put a connection whose request was answered behind those that have waited longer."""
        if connection in self._open:
            self._open[connection] = self._open.pop(connection)

    def _make_room(self, address: str | None) -> None:
        known = [one for one, its_address in self._open.items() if address in (None, its_address)]
        for connection in [one for one in known if one.is_idle] or [one for one in known if one.is_sending_slowly]:
            self.leave(connection)
            connection.end(_SLOW)
            return


class Connection(H11Protocol):
    """One connection: its head must arrive in time, and its answer must be taken."""

    def __init__(self, *arguments: Any, census: Census, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._census = census
        self._timer: asyncio.TimerHandle | None = None
        self._asked = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered, nor the end of an answer still on its way."""
        return (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused

    @property
    def is_sending_slowly(self) -> bool:
        """Whether the body of a request has been on its way for long."""
        return not self.is_idle and self.cycle.more_body and self.loop.time() - self._asked > PATIENCE

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        with suppress(OSError):  # it is gone already
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a body need not wait for its head, 40 ms
        self._expect(self._census.limits.header_seconds, _SLOW)
        self._census.enter(self, self.client[0] if self.client else "")

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room."""
        self._stop()
        self._census.leave(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Stop the clock once a head has come."""
        cycle = self.cycle
        super().handle_events()
        if self.cycle is not cycle:
            self._asked = self.loop.time()
            if not self.is_idle:
                self._stop()

    def on_response_complete(self) -> None:
        """Begin to wait for the next head."""
        super().on_response_complete()
        self._census.rests(self)
        if self.is_idle:
            self._expect(self._census.limits.header_seconds, b"")

    def pause_writing(self) -> None:
        """The caller does not read as fast as the answer is written."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """The caller has taken nearly all that was written."""
        self._stop()
        super().resume_writing()
        if self.is_idle:
            self._expect(self._census.limits.header_seconds, b"")

    def end(self, words: bytes) -> None:
        """Close the connection, with last words where there is no request to answer."""
        self._stop()
        if words and self.is_idle:
            self.transport.write(words)
            self.transport.close()
        else:
            self.transport.abort()

    def _watch(self) -> None:
        """Look again later how much has been taken."""
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
