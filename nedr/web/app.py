"""The application: the page, the pictures' interface, health and metrics."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from nedr import __version__
from nedr.errors import MissingExtraError, NedrError
from nedr.inference.dehazer import Dehazer
from nedr.web import work
from nedr.web.bodies import picture_bytes, unless_gone
from nedr.web.guard import CLIENT_GONE, Guard, Metrics, Token
from nedr.web.limits import Gate, Limits, Refusal

STATIC = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/example.jpg": ("example.jpg", "image/jpeg"),
}
KEPT = 30 << 20
"""Bytes, under the 32 MiB that glibc takes as a threshold; giving blocks back each time cost a tenth of the time."""
API = ("/v1/dehaze", "/v1/field", "/healthz", "/metrics", "/openapi.json")


class Problem(BaseModel):
    """Why a request was refused."""

    error: str


class Preview(BaseModel):
    """What the page draws, as data URLs of one size: `transmission`, guided by the picture, is red * 256 + green."""

    picture: str
    transmission: str
    maps: dict[str, str]


class Field(BaseModel):
    """The haze of one picture.

    `lattice` holds the rows of the transmission's lattice over the whole picture; `airlight` is sRGB in 0..1;
    transmission is held at `floor` or above, at `colour_floor` for a pixel's colour.
    """

    width: int
    height: int
    airlight: list[float]
    density: float
    mean_transmission: float
    floor: float
    colour_floor: float
    lattice: list[list[float]]
    preview: Preview | None = None


_BINARY = {"type": "string", "format": "binary"}
_FILE = {"schema": _BINARY}
_KINDS = (*work.TYPES.values(), "image/heic")
_FORM = {
    "schema": {"type": "object", "required": ["image"], "properties": {"image": _BINARY}},
    "encoding": {"image": {"contentType": ", ".join(_KINDS)}},
}
_BODIES = dict.fromkeys(_KINDS, _FILE) | {"multipart/form-data": _FORM}
_BODY = {
    "requestBody": {
        "description": "A picture's file. What it is is told by its contents, whatever Content-Type says.",
        "required": True,
        "content": _BODIES,
    }
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 401, 408, 413, 415, 422, 429, 503)
}
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture", "content": dict.fromkeys(work.TYPES.values(), _FILE)}
}
_FIELD: dict[int | str, dict[str, Any]] = {200: {"model": Field, "content": {"image/png": _FILE}}}


def application(
    *,
    limits: Limits | None = None,
    token: str | None = None,
    origins: Sequence[str] = (),
    dehazer: Dehazer | None = None,
) -> ASGIApp:
    """The server's ASGI application.

    token: what callers must send, None to let all in;  origins: whose pages may call it, as in `https://example.org`
    dehazer: None for the weights that ship, one thread per picture
    """
    limits, dehazer = limits or Limits(), dehazer or Dehazer(threads=1)
    gate = Gate(limits)
    metrics = Metrics(lambda: gate.admitted)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        dehazer.field(np.zeros((64, 64, 3), np.uint8))  # the first visitor need not wait for the weights
        bytearray(KEPT)  # freed at once, and from then on glibc keeps blocks up to this size for the next picture
        yield

    app = FastAPI(
        title="nedr", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    _add_pictures(app, gate, dehazer)
    _add_service(app, metrics)
    _add_page(app)
    _add_errors(app)
    if token is not None:
        app.add_middleware(Token, token=token)
    if origins:  # added last and so outside the token: a browser asks before it sends one
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return Guard(app, metrics=metrics, paths=frozenset((*STATIC, *API)))


def _add_pictures(app: FastAPI, gate: Gate, dehazer: Dehazer) -> None:
    pixels = gate.limits.pixels

    @app.post("/v1/dehaze", openapi_extra=_BODY, responses={**_PROBLEMS, **_PICTURE}, response_class=Response)
    async def dehaze(
        request: Request,
        strength: Annotated[float, Query(ge=0, le=1.5, allow_inf_nan=False)] = 1.0,
        format: work.Format | None = None,
        map: work.Map | None = None,
    ) -> Response:
        """The picture without its haze, in its own format or another, or a map of its haze as PNG."""
        task = partial(work.clear, dehazer=dehazer, pixels=pixels, strength=strength, format=format, map=map)
        return await _worked(request, gate, task)

    @app.post("/v1/field", openapi_extra=_BODY, responses={**_PROBLEMS, **_FIELD}, response_class=Response)
    async def field(
        request: Request,
        format: Literal["json", "png"] = "json",
        preview: Annotated[int | None, Query(ge=64, le=2048)] = None,
    ) -> Response:
        """The picture's haze: JSON, or its transmission at full size as grey PNG of 16 bits (65535 is clear).

        `preview` adds to the JSON what the page draws, its long side at most so many pixels.
        """
        if format == "png":
            return await _worked(request, gate, partial(work.transmission, dehazer=dehazer, pixels=pixels))
        return await _worked(request, gate, partial(work.describe, dehazer=dehazer, pixels=pixels, preview=preview))


async def _worked(request: Request, gate: Gate, task: Callable[[bytes], work.Answer]) -> Response:
    gate.enter()
    try:
        data = await picture_bytes(request, gate.limits)
        content, kind = await unless_gone(request, gate.run(partial(task, data)))
    finally:
        gate.leave()
    return Response(content, media_type=kind)


def _add_service(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok", "version": __version__}

    @app.get("/metrics", response_class=Response, responses={401: {"model": Problem}})
    async def counts() -> Response:
        """Counts and times for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_page(app: FastAPI) -> None:
    for path, (name, kind) in STATIC.items():
        content = (Path(__file__).parent / "static" / name).read_bytes()
        app.get(path, include_in_schema=False)(_answering(content, kind))


def _answering(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def answer() -> Response:
        return Response(content, media_type=kind)

    return answer


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> Response:
        return JSONResponse({"error": error.text}, error.status, error.headers)

    @app.exception_handler(NedrError)
    async def unusable(_: Request, error: NedrError) -> Response:
        return JSONResponse({"error": str(error)}, 415 if isinstance(error, MissingExtraError) else 422)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        text = "; ".join(f"{item['loc'][-1]}: {item['msg']}" for item in error.errors())
        return JSONResponse({"error": text}, 422)

    @app.exception_handler(HTTPException)
    async def missing(_: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return JSONResponse({"error": "the caller hung up"}, CLIENT_GONE)

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": "the server failed on this request; its log says why"}, 500)
