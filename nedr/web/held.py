"""Pictures kept for a while, so that any part of them at any strength takes milliseconds."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response

from nedr.web import tasks
from nedr.web.answers import HeldPicture, Problem
from nedr.web.bodies import into_file, unless_gone
from nedr.web.limits import Limits
from nedr.web.parameters import Wanted
from nedr.web.pictures import PICTURE, PROBLEMS, body, caller
from nedr.web.store import Entry, Store
from nedr.web.workers import Pool, Task

GONE: dict[int | str, dict[str, object]] = {404: {"model": Problem}, 507: {"model": Problem}}


@dataclass(frozen=True)
class Shelf:
    """The store of kept pictures, and the processes that work on them."""

    limits: Limits
    pool: Pool
    store: Store

    async def keep(self, request: Request, most: int, look: Callable[[Path], Task]) -> Entry:
        """Keep the file in a request's body, of at most `most` bytes; `look` makes a Task for the folder it is in."""
        who = caller(request)
        self.pool.check(who)
        entry = self.store.open()
        try:
            with entry.pinned():
                path = entry.folder / "original"
                await into_file(request, self.limits, path, most, partial(self.store.grow, entry))
                entry.about = await unless_gone(request, self.pool.run(who, look(entry.folder)))
                self.store.weigh(entry)
        except BaseException:
            self.store.drop(entry)
            raise
        return entry

    async def part(self, who: str, entry: Entry, options: tasks.Options) -> tasks.Answer:
        """A kept picture's file as requested."""
        with entry.pinned():
            answer: tasks.Answer = await self.pool.run(
                who, (tasks.held_part, (entry.folder, self.limits.pixels, options))
            )
            self.store.weigh(entry)  # its full size may have been recreated
        return answer


def add(app: FastAPI, shelf: Shelf) -> None:
    """Add the interface to the application."""

    @app.post("/v1/pictures", status_code=201, openapi_extra=body(None), responses={**PROBLEMS, **GONE})
    async def keep(request: Request) -> HeldPicture:
        """Keep a picture for a while and return its haze."""
        limits = shelf.limits
        entry = await shelf.keep(request, limits.body, lambda folder: (tasks.hold, (folder, limits.pixels)))
        entry.spare = ("pixels0.npy", "alpha0.npy")
        return HeldPicture(id=entry.name, kept_seconds=limits.kept_seconds, **entry.about)

    @app.get("/v1/pictures/{name}/dehazed", responses={**PROBLEMS, **GONE, **PICTURE}, response_class=Response)
    async def part(request: Request, name: str, wanted: Annotated[Wanted, Query()]) -> Response:
        """What `POST /v1/dehaze` returns, for a kept picture; a part of it within milliseconds."""
        entry = shelf.store.find(name)
        content, kind = await unless_gone(request, shelf.part(caller(request), entry, wanted.options()))
        return Response(content, media_type=kind)

    @app.delete("/v1/pictures/{name}", status_code=204, responses={**PROBLEMS, **GONE})
    async def forget(name: str) -> None:
        """Forget a kept picture."""
        shelf.store.drop(shelf.store.find(name))
