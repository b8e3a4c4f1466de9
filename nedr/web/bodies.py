"""The picture in a request's body, raw or multipart, read into memory and never beyond the limit."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from nedr.web.limits import Limits, Refusal

T = TypeVar("T")

SWALLOWED = 4
"""Limits up to which a body that is too large is read and dropped: a caller still sending would not see the refusal."""


class _InMemory(MultiPartParser):
    """Parts stay in memory: no upload reaches the disk."""

    spool_max_size = 1 << 40


async def picture_bytes(request: Request, limits: Limits) -> bytes:
    """The body's picture. Raises Refusal 400, 408 or 413 for a body that is broken, slow or too large."""
    stated = request.headers.get("content-length", "0")
    if stated.isdecimal() and int(stated) > SWALLOWED * limits.body:
        raise _too_large(limits)
    try:
        data = await asyncio.wait_for(_read(request, limits), limits.seconds)
    except TimeoutError:
        raise Refusal(408, f"the body did not arrive within {limits.seconds:g} s") from None
    if not data:
        raise Refusal(400, "expected a picture as the body or as the multipart field `image`, found nothing")
    return data


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. Raises ClientDisconnect, and cancels it, when the caller hangs up and none would read it.

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


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read(request: Request, limits: Limits) -> bytes:
    stream = _bounded(request, limits)
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return b"".join([chunk async for chunk in stream])
    try:
        form = await _InMemory(request.headers, stream, max_files=1, max_fields=8).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise Refusal(400, "the multipart body cannot be read") from error
    file = form.get("image")
    if not isinstance(file, UploadFile):
        raise Refusal(400, "expected one file in the multipart field `image`")
    return await file.read()


async def _bounded(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > SWALLOWED * limits.body:
            break
        if size <= limits.body:
            yield chunk
    if size > limits.body:
        raise _too_large(limits)


def _too_large(limits: Limits) -> Refusal:
    return Refusal(413, f"the body is larger than the {limits.body / 1e6:g} MB accepted", Connection="close")
