"""The application: the page, the pictures' interface, health and metrics."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from nedr import __version__
from nedr.dehazer import Dehazer
from nedr.errors import MissingExtraError, NedrError
from nedr.web import work
from nedr.web.bodies import picture_bytes
from nedr.web.guard import Guard, Metrics
from nedr.web.limits import Gate, Limits, Refusal

STATIC = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/example.jpg": ("example.jpg", "image/jpeg"),
}
API = ("/v1/dehaze", "/v1/field", "/healthz", "/metrics", "/openapi.json")


class Problem(BaseModel):
    """Why a request was refused."""

    error: str


class Field(BaseModel):
    """The haze of one picture; images are data URLs at the preview's size, transmission in red * 256 + green."""

    width: int
    height: int
    airlight: list[float]
    density: float
    mean_transmission: float
    floor: float
    colour_floor: float
    preview: str
    transmission: str
    maps: dict[str, str]


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": {"type": "object", "required": ["image"], "properties": {"image": _BINARY["schema"]}}}
_BODY = {"requestBody": {"required": True, "content": {"image/*": _BINARY, "multipart/form-data": _FORM}}}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 401, 408, 413, 415, 422, 429, 503)
}
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture", "content": dict.fromkeys(work.TYPES.values(), _BINARY)}
}


def application(*, limits: Limits | None = None, token: str | None = None, dehazer: Dehazer | None = None) -> FastAPI:
    """The server's ASGI application; `dehazer` None for the weights that ship, one thread per picture."""
    limits, dehazer = limits or Limits(), dehazer or Dehazer(threads=1)
    gate, metrics = Gate(limits), Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        dehazer.field(np.zeros((64, 64, 3), np.uint8))  # the first visitor need not wait for the weights
        yield
        gate.close()

    app = FastAPI(
        title="nedr", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    _add_pictures(app, gate, dehazer)
    _add_service(app, metrics)
    _add_page(app)
    _add_errors(app)
    app.add_middleware(Guard, metrics=metrics, token=token, paths=frozenset((*STATIC, *API)))
    return app


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
        data, kind = await _worked(request, gate, task)
        return Response(data, media_type=kind)

    @app.post("/v1/field", openapi_extra=_BODY, responses=_PROBLEMS, response_model=Field)
    async def field(request: Request, size: Annotated[int, Query(ge=64, le=2048)] = 1280) -> JSONResponse:
        """Airlight, density and maps of the picture's haze, and a preview that they fit."""
        return JSONResponse(
            await _worked(request, gate, partial(work.describe, dehazer=dehazer, pixels=pixels, size=size))
        )


async def _worked(request: Request, gate: Gate, task: Callable[[bytes], Any]) -> Any:
    gate.enter()
    try:
        data = await picture_bytes(request, gate.limits)
        return await gate.run(partial(task, data))
    finally:
        gate.leave()


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

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return JSONResponse({"error": "the body ended early"}, 400)
