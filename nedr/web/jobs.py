"""Long jobs: a ZIP of many pictures, made while it is downloaded, and whole videos, made in the background."""

import asyncio
import secrets
import zipfile
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from nedr.errors import NedrError
from nedr.web import films, tasks
from nedr.web.answers import HeldVideo, JobState, Problem
from nedr.web.held import GONE, Shelf
from nedr.web.limits import Refusal
from nedr.web.parameters import Quality, Strength
from nedr.web.pictures import PROBLEMS, caller
from nedr.web.store import Entry
from nedr.web.workers import Pool

State: TypeAlias = Literal["ready", "working", "done", "failed"]
SUFFIXES = {kind: {"JPEG": "jpg", "TIFF": "tif"}.get(name, name.lower()) for name, kind in tasks.TYPES.items()}
REMEMBERED = 1000
"""Jobs; beyond this, the oldest finished ones are forgotten."""
TOLD = 0.5
"""Seconds between two events of a job."""
Name: TypeAlias = Annotated[str, Field(max_length=64)]
"""The name of something kept."""


def _whole(number: Any) -> Any:
    return int(number) if isinstance(number, float) and number.is_integer() else number  # in JSON, 5.0 is 5


class One(BaseModel):
    """One picture of a ZIP: a kept one, its file name, with folders if any, and the options for it."""

    model_config = ConfigDict(extra="forbid", strict=True)
    id: Name
    name: Annotated[str, Field(max_length=1000)] = "picture"
    strength: Strength = 1.0
    format: tasks.Format | None = None
    quality: Annotated[Quality | None, BeforeValidator(_whole)] = None


class ZipAsked(BaseModel):
    """A request for one ZIP of kept pictures."""

    model_config = ConfigDict(extra="forbid", strict=True)
    pictures: Annotated[list[One], Field(min_length=1, max_length=5000)]


class VideoAsked(BaseModel):
    """A request for a whole kept video."""

    model_config = ConfigDict(extra="forbid", strict=True)
    video: Name
    strength: Strength = 1.0


def _kind(asked: Any) -> str | None:
    kinds = [kind for kind in ("pictures", "video") if isinstance(asked, dict) and kind in asked]
    return kinds[0] if len(kinds) == 1 else None


JobAsked: TypeAlias = Annotated[
    Annotated[ZipAsked, Tag("pictures")] | Annotated[VideoAsked, Tag("video")],
    Discriminator(_kind, "either", "expected an object with either `pictures` or `video`"),
]


@dataclass(eq=False)
class Job:
    """A long job: `file` is the secret name of its result."""

    kind: Literal["zip", "video"]
    name: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    file: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    state: State = "ready"
    done: int = 0
    total: int | None = None
    failed: int = 0
    error: str | None = None
    called: str = "nedr.zip"
    pictures: list[One] = field(default_factory=list)
    entry: Entry | None = None
    task: "asyncio.Task[None] | None" = None

    def told(self, missing: Iterable[str] = ()) -> JobState:
        """What a caller is told about it."""
        return JobState(
            id=self.name,
            kind=self.kind,
            state=self.state,
            done=self.done,
            total=self.total,
            failed=self.failed,
            error=self.error,
            file=f"v1/files/{self.file}" if self.state in ("ready", "done") or self.kind == "zip" else None,
            name=self.called,
            missing=list(missing),
        )


class Office:
    """All jobs of a server: videos have their own processes, which yield to pictures."""

    def __init__(self, shelf: Shelf, weights: str | None) -> None:
        self.shelf, self.limits = shelf, shelf.limits
        self.pool = Pool(self.limits, weights, workers=self.limits.jobs, niceness=10)
        self.jobs: dict[str, Job] = {}

    def close(self) -> None:
        """End running jobs."""
        for job in self.jobs.values():
            if job.task:
                job.task.cancel()
        self.jobs.clear()
        self.pool.close()

    def find(self, name: str) -> Job:
        """A job by its name or its file's name. Raises Refusal 404."""
        job = self.jobs.get(name) or next((job for job in self.jobs.values() if job.file == name), None)
        if job is None:
            raise Refusal(404, "there is no such job (any more)", "gone")
        if job.entry:
            self.shelf.store.find(job.entry.name)
        return job

    def begin(self, who: str, asked: ZipAsked | VideoAsked) -> JobState:
        """Accept a job. Raises Refusal 404 for a video that is not kept (any more)."""
        self._forget()
        if isinstance(asked, ZipAsked):
            job = Job("zip", total=len(asked.pictures), pictures=asked.pictures)
        else:
            job = self._video(who, asked.video, asked.strength)
        self.jobs[job.name] = job
        missing = [one.id for one in job.pictures if not self.shelf.store.has(one.id)]
        return job.told(missing)

    def drop(self, job: Job) -> None:
        """End a job and forget it and its files."""
        self.jobs.pop(job.name, None)
        if job.task:
            job.task.cancel()
        if job.entry:
            self.shelf.store.drop(job.entry)

    def _forget(self) -> None:
        over = [job for job in self.jobs.values() if not (job.task and not job.task.done())]
        for job in over[: max(0, len(self.jobs) - REMEMBERED)]:
            self.drop(job)

    def _video(self, who: str, name: str, strength: float) -> Job:
        entry = self.shelf.store.find(name)
        if "frames" not in entry.about:
            raise Refusal(422, "this is a picture, not a video; POST /v1/videos accepts videos", "parameter")
        if any(job.entry is entry and job.task and not job.task.done() for job in self.jobs.values()):
            raise Refusal(409, "this video is already being processed; end that job first", "working")
        job = Job("video", state="working", entry=entry, called=f"{entry.about['stem']}.dehazed{entry.about['suffix']}")
        job.task = asyncio.create_task(self._make(who, job, entry, strength))
        return job

    async def _make(self, who: str, job: Job, entry: Entry, strength: float) -> None:
        def tick(done: int, total: int | None) -> None:
            job.done, job.total = done, total

        try:
            with entry.pinned():
                work = (films.made, (entry.folder, entry.about["suffix"], strength))
                await self.pool.run(who, work, seconds=self.limits.job_seconds, tick=tick)
                self.shelf.store.weigh(entry)
            job.state = "done"
        except (NedrError, Refusal, RuntimeError) as error:
            job.state, job.error = "failed", str(error).splitlines()[-1]

    async def events(self, job: Job) -> AsyncIterator[str]:
        """A job's states as server-sent events, until it is finished or forgotten."""
        last = None
        while job.name in self.jobs:
            now = job.told().model_dump_json()
            if now != last:
                yield f"data: {now}\n\n"
                last = now
            if job.state in ("done", "failed"):
                return
            await asyncio.sleep(TOLD)

    async def zipped(self, who: str, job: Job) -> AsyncIterator[bytes]:
        """A job's ZIP, piece by piece: two pictures are in memory at a time, none is compressed again."""
        job.state, job.done, job.failed = "working", 0, 0
        sink, names = _Sink(), _Names()
        waiting = deque(job.pictures)
        ahead: deque[asyncio.Task[tuple[str, bytes]]] = deque()
        try:
            with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
                while waiting or ahead:
                    while waiting and len(ahead) < 2:
                        ahead.append(asyncio.create_task(self._member(who, job, waiting.popleft())))
                    name, content = await ahead.popleft()
                    await asyncio.to_thread(archive.writestr, names.free(name), content)
                    job.done += 1
                    yield sink.taken()
            yield sink.taken()
            job.state = "done"
        finally:
            for task in ahead:
                task.cancel()
            if job.state != "done":
                job.state = "ready"  # it may be downloaded again

    async def _member(self, who: str, job: Job, one: One) -> tuple[str, bytes]:
        """One picture's name and file, or a text that says why it could not be made."""
        parts = [part for part in one.name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        stem = PurePosixPath(*parts[:-1], PurePosixPath(*parts[-1:]).stem or "picture")
        try:
            entry = self.shelf.store.find(one.id)
            options = tasks.Options(one.strength, one.format, one.quality)
            content, kind = await self._patiently(who, entry, options)
        except (NedrError, Refusal, RuntimeError) as error:
            job.failed += 1
            return f"{stem}.error.txt", f"{one.name}: {error}\n".encode()
        return f"{stem}.dehazed.{SUFFIXES[kind]}", content

    async def _patiently(self, who: str, entry: Entry, options: tasks.Options) -> tasks.Answer:
        for _ in range(60):
            try:
                return await self.shelf.part(who, entry, options)
            except Refusal as refusal:
                if refusal.status != 429:
                    raise
                await asyncio.sleep(1)
        raise Refusal(429, "the server was too busy for this picture; try again", "busy")


class _Sink:
    """A file that is only written to; what was written can be taken out."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Keep some bytes until they are taken."""
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing to flush."""

    def taken(self) -> bytes:
        """Everything written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


class _Names:
    """Names for the members of one ZIP, each given once."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def free(self, name: str) -> str:
        """The name, or the first numbered one that is free."""
        path, count, found = PurePosixPath(name), 1, name
        while found.lower() in self._given:
            count += 1
            first, _, rest = path.name.partition(".")
            found = str(path.with_name(f"{first} ({count}).{rest}"))
        self._given.add(found.lower())
        return found


def add(app: FastAPI, office: Office) -> None:
    """Add the interface to the application."""
    answers: dict[int | str, dict[str, Any]] = {**PROBLEMS, **GONE, 409: {"model": Problem}}

    @app.post("/v1/jobs", status_code=202, responses=answers)
    async def begin(request: Request, asked: JobAsked) -> JobState:
        """Start a long job: a ZIP of kept pictures, or a whole video."""
        return office.begin(caller(request), asked)

    @app.get("/v1/jobs/{name}", responses=answers)
    async def state(name: str) -> JobState:
        """How far a job is."""
        return office.find(name).told()

    @app.get("/v1/jobs/{name}/events", responses=answers, response_class=StreamingResponse)
    async def events(name: str) -> StreamingResponse:
        """How far a job is, as server-sent events, until it is finished."""
        return StreamingResponse(office.events(office.find(name)), media_type="text/event-stream")

    @app.delete("/v1/jobs/{name}", status_code=204, responses=answers)
    async def end(name: str) -> None:
        """End a job, and forget it and its files."""
        office.drop(office.find(name))

    @app.get("/v1/files/{name}", responses=answers, response_class=Response)
    async def result(request: Request, name: str) -> Response:
        """A job's result. Its name is a secret, so it needs no token and a browser can save it."""
        job = office.find(name)
        if job.kind == "zip":
            content = iter(()) if request.scope.get("nedr.head") else office.zipped(caller(request), job)
            return StreamingResponse(content, media_type="application/zip", headers=_saved_as(job.called))
        if job.state != "done" or job.entry is None:
            raise Refusal(409, "this video is not done yet", "working", Retry_After="2")
        return FileResponse(job.entry.folder / f"result{job.entry.about['suffix']}", filename=job.called)

    _add_videos(app, office)


def _add_videos(app: FastAPI, office: Office) -> None:
    answers: dict[int | str, dict[str, Any]] = {**PROBLEMS, **GONE}
    file = {
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    }

    @app.post("/v1/videos", status_code=201, openapi_extra=file, responses=answers)
    async def keep(request: Request, name: Annotated[str, Query(max_length=255)] = "video.mp4") -> HeldVideo:
        """Keep a video for a while and describe it, with some preview frames. `name` is its file name."""
        shelf, limits = office.shelf, office.limits
        entry = await shelf.keep(
            request, limits.video, lambda folder: (films.looked, (folder, name, limits.video_seconds))
        )
        return HeldVideo(id=entry.name, kept_seconds=limits.kept_seconds, **entry.about)

    @app.get("/v1/videos/{name}/stills/{number}", responses=answers, response_class=Response)
    async def still(name: str, number: int) -> Response:
        """A frame of a kept video, as JPEG."""
        entry = office.shelf.store.find(name)
        if not 0 <= number < len(entry.about.get("stills", ())):
            raise Refusal(404, f"there is no preview frame {number}", "gone")
        return Response((entry.folder / f"still{number}.jpg").read_bytes(), media_type="image/jpeg")

    @app.delete("/v1/videos/{name}", status_code=204, responses=answers)
    async def forget(name: str) -> None:
        """Forget a kept video and its results."""
        entry = office.shelf.store.find(name)
        for job in [job for job in office.jobs.values() if job.entry is entry]:
            office.drop(job)
        office.shelf.store.drop(entry)


def _saved_as(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}
