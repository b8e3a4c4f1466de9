"""Pictures that are kept for a while, so that a part of them at any strength is there in milliseconds."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response

from nedr.web import tasks
from nedr.web.answers import HeldPicture, Problem
from nedr.web.bodies import into_file, unless_gone
from nedr.web.limits import Limits
from nedr.web.parameters import Wanted
from nedr.web.pictures import PICTURE, PROBLEMS, body, caller
from nedr.web.store import Entry, Store
from nedr.web.workers import Pool

GONE: dict[int | str, dict[str, object]] = {404: {"model": Problem}, 507: {"model": Problem}}


@dataclass(frozen=True)
class Shelf:
    """Where pictures are kept, and the processes that work on them."""

    limits: Limits
    pool: Pool
    store: Store

    async def keep(self, request: Request) -> HeldPicture:
        """Keep the picture in a request's body."""
        self.pool.check(caller(request))
        entry = self.store.open()
        try:
            with entry.pinned():
                await into_file(request, self.limits, entry.folder / "original", self.limits.body)
                await unless_gone(request, self.prepare(caller(request), entry))
        except BaseException:
            self.store.drop(entry)
            raise
        return HeldPicture(id=entry.name, kept_seconds=self.limits.kept_seconds, **entry.about)

    async def prepare(self, who: str, entry: Entry) -> None:
        """Look at the picture that lies in an entry's folder."""
        entry.about = await self.pool.run(who, (tasks.hold, (entry.folder, self.limits.pixels)))
        entry.spare = ("pixels0.npy", "alpha0.npy")
        self.store.weigh(entry)

    async def part(self, who: str, entry: Entry, options: tasks.Options) -> tasks.Answer:
        """A kept picture's file as it is asked for."""
        with entry.pinned():
            answer: tasks.Answer = await self.pool.run(
                who, (tasks.held_part, (entry.folder, self.limits.pixels, options))
            )
            self.store.weigh(entry)  # its full size may have been made again
        return answer


def add(app: FastAPI, shelf: Shelf) -> None:
    """Add the interface to the application."""

    @app.post("/v1/pictures", status_code=201, openapi_extra=body(None), responses={**PROBLEMS, **GONE})
    async def keep(request: Request) -> HeldPicture:
        """Keep a picture for a while and say what haze is in it."""
        return await shelf.keep(request)

    @app.get("/v1/pictures/{name}/dehazed", responses={**PROBLEMS, **GONE, **PICTURE}, response_class=Response)
    async def part(request: Request, name: str, wanted: Annotated[Wanted, Query()]) -> Response:
        """What `POST /v1/dehaze` answers, of a kept picture; a part of it within milliseconds."""
        entry = shelf.store.find(name)
        content, kind = await unless_gone(request, shelf.part(caller(request), entry, wanted.options()))
        return Response(content, media_type=kind)

    @app.delete("/v1/pictures/{name}", status_code=204, responses={**PROBLEMS, **GONE})
    async def forget(name: str) -> None:
        """Forget a kept picture."""
        shelf.store.drop(shelf.store.find(name))
