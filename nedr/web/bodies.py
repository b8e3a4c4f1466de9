"""A request's body, raw or as a form: it must keep arriving, and all bodies together have a memory limit."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from nedr.web.limits import Limits, Refusal

T = TypeVar("T")

SWALLOWED = 4
"""Multiples of the limit up to which too large a body is read and dropped: a caller still sending sees no refusal."""


class Held:
    """Bytes of all requests' bodies in memory."""

    def __init__(self, most: int) -> None:
        self.most, self.bytes = most, 0

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """One body's share, released at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.bytes -= share.bytes


class Share:
    """What one body holds."""

    def __init__(self, held: Held) -> None:
        self._held, self.bytes = held, 0

    def take(self, count: int) -> None:
        """Hold `count` more bytes. Raises Refusal 429 when all bodies together hold too much."""
        self.bytes += count
        self._held.bytes += count
        if self._held.bytes > self._held.most:
            raise Refusal(429, "too much is being sent at once; try again shortly", "busy", Retry_After="2")


class _InMemory(MultiPartParser):
    """Keeps parts in memory: no upload reaches the disk."""

    spool_max_size = 1 << 40


async def picture_and_fields(request: Request, limits: Limits, share: Share) -> tuple[bytes, dict[str, str]]:
    """The body's picture, and the other fields if it is a form.

    Raises Refusal 400, 408, 413, 415 or 429 for a body that is broken, slow, too large, compressed, or one too many.
    """
    stream = _counted(chunks(request, limits, limits.body), share)
    kind = request.headers.get("content-type", "").lower()
    if not kind.startswith("multipart/form-data"):
        data = b"".join([chunk async for chunk in stream])
        fields: dict[str, str] = {}
    else:
        data, fields = await _form(request, stream)
    if not data:
        raise Refusal(400, "expected a picture as the body or as the form's field `image`, found nothing", "empty")
    return data, fields


async def into_file(request: Request, limits: Limits, path: Path, most: int, grow: Callable[[int], None]) -> None:
    """Write the body to a file as it arrives; `grow` gets each chunk's size. Raises as `picture_and_fields` does."""
    with path.open("wb") as file:
        async for chunk in chunks(request, limits, most):
            grow(len(chunk))
            await asyncio.to_thread(file.write, chunk)
        size = file.tell()
    if not size:
        raise Refusal(400, "expected a file as the body, found nothing", "empty")


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. If the caller hangs up, cancels it and raises ClientDisconnect.

    The request's body must have been read.
    """
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        working.cancel()
        gone.cancel()


async def chunks(request: Request, limits: Limits, most: int) -> AsyncGenerator[bytes, None]:
    """A body of at most `most` bytes, as it arrives. Raises Refusal 408, 413 or 415."""
    _check_head(request, most)
    started, size = time.monotonic(), 0
    while True:
        due = started + limits.body_seconds + size / limits.body_rate
        try:
            message = await asyncio.wait_for(request.receive(), due - time.monotonic())
        except TimeoutError:
            raise Refusal(
                408, f"the body arrived too slowly, {size} bytes of it; send it again", "slow", Connection="close"
            ) from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= most and chunk:
            yield chunk
        if size > SWALLOWED * most or not message.get("more_body", False):
            break
    if size > most:
        raise _too_large(most)


def _check_head(request: Request, most: int) -> None:
    packed = request.headers.get("content-encoding", "identity").strip().lower()
    if packed not in ("identity", ""):
        raise Refusal(
            415,
            f"this server does not decompress Content-Encoding {packed[:20]!r}; send the file as it is",
            "packed",
            Accept_Encoding="identity",
            Connection="close",
        )
    stated = request.headers.get("content-length", "0")
    if stated.isdecimal() and int(stated) > SWALLOWED * most:
        raise _too_large(most)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _counted(stream: AsyncGenerator[bytes, None], share: Share) -> AsyncGenerator[bytes, None]:
    async for chunk in stream:
        share.take(len(chunk))
        yield chunk


async def _form(request: Request, stream: AsyncGenerator[bytes, None]) -> tuple[bytes, dict[str, str]]:
    try:
        form = await _InMemory(request.headers, stream, max_files=1, max_fields=16).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise Refusal(400, "the form in the body cannot be read", "form") from error
    file = form.get("image")
    if not isinstance(file, UploadFile):
        raise Refusal(400, "expected one file in the form's field `image`", "form")
    items = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    fields = dict(items)
    if len(fields) < len(items):
        raise Refusal(422, "a field of the form is given twice; give it once", "parameter")
    return await file.read(), fields


def _too_large(most: int) -> Refusal:
    text = f"the file is larger than the {most / 1e6:g} MB that this server accepts"
    return Refusal(413, text, "too_large", Connection="close")
