"""Parameters, in the query or in a form's fields; unknown ones are reported, never ignored."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError, model_validator

from nedr.web import tasks
from nedr.web.limits import Refusal

Strength = Annotated[float, Field(ge=0, le=1.5, allow_inf_nan=False, description="0 changes nothing")]
Quality = Annotated[int, Field(ge=1, le=100, description="of JPEG, WebP and AVIF; by default the picture's own")]
Region = Annotated[str, Field(pattern=r"^\d{1,6},\d{1,6},\d{1,6},\d{1,6}$", description="x0,y0,x1,y1 in pixels")]


class Wanted(BaseModel):
    """The options for a picture, whether sent in the body or held."""

    strength: Strength = 1.0
    format: tasks.Format | None = None
    quality: Quality | None = None
    map: tasks.Map | None = None
    region: Region | None = None
    scale: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, description="relative size, 1 for full size")] = 1.0

    @model_validator(mode="after")
    def _fits(self) -> "Wanted":
        if self.map and (unfit := self.model_fields_set & {"strength", "format", "quality", "region"}):
            raise ValueError(f"a map is a PNG of the haze found in the whole picture and takes no {min(unfit)}")
        if self.quality and self.format and self.format.upper() not in tasks.LOSSY:
            raise ValueError(f"{self.format} is lossless and has no quality")
        return self

    def options(self) -> tasks.Options:
        """The same options for a worker."""
        region = None
        if self.region:
            x0, y0, x1, y1 = (int(part) for part in self.region.split(","))
            region = (x0, y0, x1, y1)
        return tasks.Options(self.strength, self.format, self.quality, self.map, region, self.scale)


class Described(BaseModel):
    """The format of a field."""

    format: Literal["json", "png"] = "json"


def merged(model: type[BaseModel], request: Request, fields: Mapping[str, str]) -> Any:
    """Query and form fields together as a `model`. Raises Refusal 422 and RequestValidationError."""
    query = dict(request.query_params)
    check(fields, model.model_fields)
    if both := query.keys() & fields:
        raise Refusal(422, f"{min(both)} is given both in the address and in the form; give it once", "parameter")
    try:
        return model.model_validate(query | dict(fields))
    except ValidationError as error:
        raise RequestValidationError([*error.errors()]) from error


async def only_known(request: Request) -> None:
    """Raise Refusal 422 for a query parameter that this path does not know, or that is given twice."""
    names = [name for name, _ in request.query_params.multi_items()]
    if not names:
        return
    route = request.scope["route"]
    method = "get" if request.method == "HEAD" else request.method.lower()
    described = request.app.openapi()["paths"].get(route.path, {}).get(method)
    if described is None:
        return  # a file of the page
    check(names, [one["name"] for one in described.get("parameters", ()) if one["in"] == "query"])
    if len(set(names)) < len(names):
        raise Refusal(422, f"{max(names, key=names.count)} is given twice; give it once", "parameter")


def check(names: Iterable[str], known: Iterable[str]) -> None:
    """Raise Refusal 422 for the first unknown name, suggesting the closest known one."""
    known = list(known)
    for name in names:
        if name not in known:
            raise Refusal(422, unknown(name, known), "parameter")


def unknown(name: str, known: Iterable[str]) -> str:
    """The message for an unknown name."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"there is no parameter {name[:40]!r}; did you mean {near[0]!r}?"
    return f"there is no parameter {name[:40]!r}; expected one of: {', '.join(known) or 'none'}"
