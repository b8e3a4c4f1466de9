"""The application: its layers, the page's files, health, metrics and error responses."""

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp

from nedr import __version__
from nedr.errors import MissingExtraError, NedrError
from nedr.web import held, jobs, pictures
from nedr.web.answers import Accepted, Problem
from nedr.web.bodies import Held
from nedr.web.guard import CLIENT_GONE, Guard, Heads, Metrics, Token, Visitors
from nedr.web.limits import Limits, Refusal
from nedr.web.parameters import only_known
from nedr.web.store import Store
from nedr.web.workers import Pool

STATIC = Path(__file__).parent / "static"
API = ("/v1/dehaze", "/v1/field", "/v1/limits", "/healthz", "/metrics", "/openapi.json")
KEPT = tuple(f"/v1/{kind}{end}" for kind in ("pictures", "videos", "jobs", "files") for end in ("", "/"))


def application(
    *,
    limits: Limits | None = None,
    token: str | None = None,
    origins: Sequence[str] = (),
    hosts: Sequence[str] = (),
    weights: str | None = None,
) -> ASGIApp:
    """The server's ASGI application.

    token: what callers must send, None to let everyone in;  origins: whose pages may call it: `https://example.org`
    hosts: names of the server besides localhost and its IP addresses;  weights: None for the bundled ones

    Raises UsageError for a token that a header cannot hold.
    """
    limits = limits or Limits()
    pool = Pool(limits, weights, workers=limits.workers)
    shelf = held.Shelf(limits, pool, Store(limits))
    office = jobs.Office(shelf, weights) if limits.jobs else None
    metrics = Metrics(lambda: pool.admitted)

    app = FastAPI(
        title="nedr",
        version=__version__,
        lifespan=_lifespan(pool, shelf, office),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(only_known)],
        separate_input_output_schemas=False,
    )
    pictures.add(app, pictures.Desk(limits, pool, Held(limits.waiting)))
    held.add(app, shelf)
    if office:
        jobs.add(app, office)
    _add_service(app, metrics, limits)
    files = _add_page(app)
    _add_errors(app)
    _describe_token(app, is_needed=token is not None)
    inner: ASGIApp = app if token is None else Token(app, token=token)
    return Guard(Heads(_visitors(inner, hosts, origins)), metrics=metrics, paths=(*files, *API, *KEPT))


def _lifespan(
    pool: Pool, shelf: held.Shelf, office: jobs.Office | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """What happens when the server starts and stops."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        pool.warm()  # so the first visitor does not wait for the weights
        tidying = asyncio.create_task(shelf.store.keep_tidy())
        yield
        tidying.cancel()
        if office:
            office.close()
        pool.close()
        shelf.store.close()

    return lifespan


def _visitors(app: ASGIApp, hosts: Sequence[str], origins: Sequence[str]) -> ASGIApp:
    """Layers outside the token: before a browser sends one, it asks whether it may call."""
    cors = CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["Authorization", "Content-Type"],
        allow_private_network=bool(origins),
    )
    return Visitors(cors, names=hosts, origins=origins)


def _add_service(app: FastAPI, metrics: Metrics, limits: Limits) -> None:
    @app.get("/v1/limits", responses={401: {"model": Problem}, 422: {"model": Problem}})
    async def accepted() -> Accepted:
        """The limits of this server: bytes and pixels of a picture, bytes and seconds of a video."""
        known = {name: getattr(limits, name) for name in ("body", "pixels", "video", "video_seconds")}
        return Accepted(jobs=limits.jobs > 0, **known)

    @app.get("/healthz", responses={422: {"model": Problem}})
    async def healthz() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok", "version": __version__}

    @app.get("/metrics", response_class=Response, responses={401: {"model": Problem}, 422: {"model": Problem}})
    async def counts() -> Response:
        """Counts and times for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_page(app: FastAPI) -> list[str]:
    """Serve every file of the page, read once; return their paths."""
    mimetypes.add_type("text/javascript", ".js")
    paths = []
    for file in sorted(STATIC.rglob("*.*")):
        path = "/" if file.name == "index.html" else f"/{file.relative_to(STATIC).as_posix()}"
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        app.get(path, include_in_schema=False)(_answering(file.read_bytes(), kind))
        paths.append(path)
    return paths


def _answering(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def answer() -> Response:
        return Response(content, media_type=kind)

    return answer


def _describe_token(app: FastAPI, *, is_needed: bool) -> None:
    """State in the description how a token is sent, and where it is needed."""
    made = app.openapi

    def described() -> dict[str, Any]:
        schema = made()
        schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["token"] = {"type": "http", "scheme": "bearer", "description": "the value of --token or NEDR_TOKEN"}
        for path, operations in schema["paths"].items():
            for operation in operations.values():
                guarded = (path.startswith("/v1/") and not path.startswith("/v1/files/")) or path == "/metrics"
                operation["security"] = [{"token": []}] if guarded and is_needed else []
        return schema

    app.openapi = described  # type: ignore[method-assign]


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> Response:
        return _problem(error.status, error.text, error.code, error.headers)

    @app.exception_handler(NedrError)
    async def unusable(_: Request, error: NedrError) -> Response:
        return _problem(415 if isinstance(error, MissingExtraError) else 422, str(error), _code(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return _problem(422, "; ".join(map(_said, error.errors())), "parameter")

    @app.exception_handler(HTTPException)
    async def missing(request: Request, error: HTTPException) -> Response:
        headers = {"Allow": _allowed(request)} if error.status_code == 405 else dict(error.headers or {})
        return _problem(error.status_code, str(error.detail), "missing", headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return _problem(CLIENT_GONE, "the caller hung up", "gone")

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:
        return _problem(500, "the server failed on this request; its log says why", "broken")


def _allowed(request: Request) -> str:
    """The methods of a path: each has its own route."""
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for route in routes for method in route.methods}))


def _problem(status: int, text: str, code: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": text, "code": code}, status, headers)


def _code(error: NedrError) -> str:
    from nedr.errors import ImageError

    return "extra" if isinstance(error, MissingExtraError) else "file" if isinstance(error, ImageError) else "parameter"


def _said(item: dict[str, Any]) -> str:
    """What is wrong with a parameter, after its name if only one is concerned."""
    text = str(item["msg"]).removeprefix("Value error, ")
    place = [part for part in item["loc"] if part not in ("query", "body")]
    return f"{place[-1]}: {text}" if place else text
