"""The pictures' interface: a file goes in, the dehazed file or its haze comes out, nothing is kept."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel

from nedr.web import tasks
from nedr.web.answers import Field, Problem
from nedr.web.bodies import Held, picture_and_fields, unless_gone
from nedr.web.limits import Limits
from nedr.web.parameters import Described, Wanted, merged
from nedr.web.workers import Pool, Task

_BINARY = {"type": "string", "format": "binary"}
_FILE = {"schema": _BINARY}
_KINDS = (*tasks.TYPES.values(), "image/heic")


def body(model: type[BaseModel] | None) -> dict[str, Any]:
    """The description of a body: a bare file, or a form with the file and the parameters as fields."""
    fields = model.model_json_schema()["properties"] if model else {}
    parts = {"type": "object", "required": ["image"], "properties": {"image": _BINARY, **fields}}
    form = {
        "schema": parts | {"additionalProperties": False},
        "encoding": {"image": {"contentType": ", ".join(_KINDS)}},
    }
    return {
        "requestBody": {
            "description": "A picture's file; its format is detected from the contents, not from Content-Type. In a "
            "form, the parameters may be fields.",
            "required": True,
            "content": dict.fromkeys(_KINDS, _FILE) | ({"multipart/form-data": form} if model else {}),
        }
    }


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 401, 403, 408, 413, 415, 421, 422, 429, 503)
}
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture", "content": dict.fromkeys(tasks.TYPES.values(), _FILE)}
}
_FIELD: dict[int | str, dict[str, Any]] = {200: {"model": Field, "content": {"image/png": _FILE}}}


@dataclass(frozen=True)
class Desk:
    """Handles requests: limits, worker processes, and the memory of all bodies."""

    limits: Limits
    pool: Pool
    held: Held

    async def answer(self, request: Request, model: type[BaseModel], task: Any) -> Response:
        """The answer to a request with a picture: `task` makes a Task from the file and the parameters.

        The body is read before a place is taken, so slow senders keep nobody out.
        """
        self.pool.check(caller(request))
        with self.held.share() as share:
            data, fields = await picture_and_fields(request, self.limits, share)
            work: Task = task(data, merged(model, request, fields))
            content, kind = await unless_gone(request, self.pool.run(caller(request), work))
        return Response(content, media_type=kind)


def caller(request: Request) -> str:
    """The caller, for fairness: the address."""
    return request.client.host if request.client else ""


def add(app: FastAPI, desk: Desk) -> None:
    """Add the interface to the application."""
    pixels = desk.limits.pixels

    @app.post("/v1/dehaze", openapi_extra=body(Wanted), responses={**PROBLEMS, **PICTURE}, response_class=Response)
    async def dehaze(request: Request, _: Annotated[Wanted, Query()]) -> Response:
        """The picture without its haze, in its own format or another; a part of it; or a map of its haze as PNG."""
        return await desk.answer(
            request, Wanted, lambda data, wanted: (tasks.dehazed, (data, pixels, wanted.options()))
        )

    @app.post("/v1/field", openapi_extra=body(Described), responses={**PROBLEMS, **_FIELD}, response_class=Response)
    async def field(request: Request, _: Annotated[Described, Query()]) -> Response:
        """The picture's haze: JSON, or its transmission at full size as a 16-bit grey PNG (65535 is clear)."""

        def task(data: bytes, wanted: Described) -> Task:
            if wanted.format == "png":
                return tasks.transmission, (data, pixels)
            return tasks.described, (data, pixels)

        return await desk.answer(request, Described, task)
