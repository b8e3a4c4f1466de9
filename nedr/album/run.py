"""The work on many photographs at once: what is finished is passed over, what is bad is told, the rest is done.

>>> tasks = plan.plan(["trip"], "cleared")
>>> with opened(tasks) as manifests:
...     for outcome in run(tasks, Dehazer(threads=1), manifests, Options(), workers=2):
...         print(outcome.task.job.photo, outcome.state)
"""

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias, TypeVar

from nedr.album import journal as manifest
from nedr.album import one
from nedr.album.journal import Manifest, Record
from nedr.album.plan import Task
from nedr.errors import ImageError, NedrError, UsageError, missing_extra
from nedr.inference.dehazer import Dehazer
from nedr.pictures import images
from nedr.pictures.job import Job
from nedr.raster import header
from nedr.video import formats
from nedr.video.formats import Encoding

Manifests: TypeAlias = dict[Path, Manifest]
T = TypeVar("T")
R = TypeVar("R")

MAX_WORKERS = 8
"""The most photographs that are worked on at once unless told otherwise; each takes memory of its own."""


@dataclass(frozen=True)
class Options:
    """How photographs become results, as for `nedr.album.one.clear`.

    network: fingerprint of what finds the haze, method and weights;  encoding: of videos
    watch: called for a video with its name, the frames done and how many there will be, if known
    """

    strength: float = 1.0
    quality: int | None = None
    overwrite: bool = False
    network: str = ""
    encoding: Encoding = field(default_factory=Encoding)
    watch: Callable[[str, int, int | None], None] = lambda name, done, total: None

    def settings(self, job: Job) -> str:
        """Fingerprint of all that decides a job's files, apart from the photograph."""
        made: dict[str, Any] = {"map": job.map is not None, "compare": job.compare is not None, "format": job.format}
        if formats.is_video(job.photo):
            made |= {"encoding": asdict(self.encoding)}
        return manifest.settings(strength=self.strength, quality=self.quality, network=self.network, **made)


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    state: "done", "skipped" (it was finished before), "failed" or "left" (it was not come to)
    haze: as `nedr.album.one.Haze`, empty unless it is done
    seconds: of work on it;  error: why it failed
    """

    task: Task
    state: str
    haze: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    error: NedrError | None = None

    @property
    def is_hopeless(self) -> bool:
        """Whether the other photographs would fail too: the disk is full or may not be written any more."""
        cause = self.error.__cause__ if self.error else None
        return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@contextmanager
def opened(tasks: Iterable[Task], *, writing: bool = True) -> Iterator[Manifests]:
    """The manifests that the tasks belong to; with `writing`, no other run may use them meanwhile."""
    with ExitStack() as stack:
        manifests = {root: Manifest(root) for root in {task.root for task in tasks} if root is not None}
        if writing:
            for each in manifests.values():
                stack.enter_context(each)
        yield manifests


def finished(tasks: Iterable[Task], manifests: Manifests, options: Options) -> Iterator[Outcome | None]:
    """For each task the outcome if it was finished before, None if it is still to do."""
    for task in tasks:
        record = None
        if task.root is not None and task.error is None:
            record = manifests[task.root].finished(task.job.result, task.job.photo, options.settings(task.job))
        yield None if record is None else Outcome(task, "skipped", dict(record.haze))


def run(
    tasks: Sequence[Task], dehazer: Dehazer, manifests: Manifests, options: Options, *, workers: int
) -> Generator[Outcome, None, None]:
    """Do the tasks, `workers` at once, and give the outcomes in the order of the tasks; stops when all must fail.

    Left early, photographs that were begun are finished and videos dropped.

    dehazer: all workers use it at once, so its threads should be few.
    """
    left = threading.Event()

    def watch(name: str, done: int, total: int | None) -> None:
        if left.is_set():
            raise NedrError(f"{name} was left after {done} frames")
        options.watch(name, done, total)

    watched = replace(options, watch=watch)
    outcomes = at_once(lambda task: attempt(task, dehazer, manifests, watched), tasks, workers, leave=left.set)
    with closing(outcomes):
        for outcome in outcomes:
            yield outcome
            if outcome.is_hopeless:
                return


def at_once(
    work: Callable[[T], R], items: Iterable[T], workers: int, *, leave: Callable[[], object] = lambda: None
) -> Generator[R, None, None]:
    """`work` on the items, `workers` of them at once, results in order.

    Left early, it calls `leave`, by which long work may know that it is in vain, and waits for what was begun.
    """
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            while waiting and (waiting[0].done() or len(waiting) >= 4 * workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        leave()
        pool.shutdown(cancel_futures=True)


def attempt(task: Task, dehazer: Dehazer, manifests: Manifests, options: Options) -> Outcome:
    """Do one task; what goes wrong becomes its outcome."""
    started = time.perf_counter()
    try:
        if task.error:
            raise task.error
        haze = (
            _done(task, dehazer, options) if task.root is None else _kept(task, dehazer, manifests[task.root], options)
        )
    except MemoryError:
        return Outcome(task, "failed", error=ImageError(f"{task.job.photo}: needs more memory than there is"))
    except NedrError as error:
        return Outcome(task, "failed", seconds=time.perf_counter() - started, error=error)
    return Outcome(task, "done", haze, time.perf_counter() - started)


def _done(task: Task, dehazer: Dehazer, options: Options) -> dict[str, Any]:
    _refuse_existing(task.job.targets, options)
    if long := _long(task.job):
        return asdict(long.dehaze(task.job, dehazer, **_how(task.job, options)))
    strength, quality, overwrite = options.strength, options.quality, options.overwrite
    return asdict(one.clear(task.job, dehazer, strength=strength, quality=quality, overwrite=overwrite))


def _kept(task: Task, dehazer: Dehazer, journal: Manifest, options: Options) -> dict[str, Any]:
    """Do a task and write it down."""
    if long := _long(task.job):
        return _kept_long(long, task, dehazer, journal, options)
    job, before = task.job, _stamp(task.job.photo)
    data = images.contents(job.photo)
    contents = manifest.digest(data)
    ours = [path for path in job.targets if journal.may_replace(job.result, job.photo, contents, path)]
    _refuse_existing([path for path in job.targets if path not in ours], options)
    files, haze = one.render(job, data, dehazer, strength=options.strength, quality=options.quality)
    if _stamp(job.photo) != before:
        raise ImageError(f"{job.photo} changed while it was read; the next run takes it")
    made_of = {path: manifest.digest(made) for path, made in files.items()}
    record = _record(job, before, contents, options, journal, made_of, asdict(haze))
    journal.begin(record)
    for path, made in files.items():
        one.write(path, made, overwrite=options.overwrite or path in ours)
    journal.done(record)
    return asdict(haze)


def _kept_long(long: ModuleType, task: Task, dehazer: Dehazer, journal: Manifest, options: Options) -> dict[str, Any]:
    """Do a task on a video or raster and write it down, its files just before they get their names."""
    job, before, records = task.job, _stamp(task.job.photo), list[Record]()
    contents = manifest.digest_file(job.photo)
    ours = [path for path in job.targets if journal.may_replace(job.result, job.photo, contents, path)]
    _refuse_existing([path for path in job.targets if path not in ours], options)

    def sealed(report: Any, parts: dict[Path, Path]) -> None:
        if _stamp(job.photo) != before:
            raise ImageError(f"{job.photo} changed while it was read; the next run takes it")
        made_of = {path: manifest.digest_file(part) for path, part in parts.items()}
        records.append(_record(job, before, contents, options, journal, made_of, asdict(report)))
        journal.begin(records[0])

    how = _how(job, options) | {"overwrite": options.overwrite or bool(ours), "sealed": sealed}
    report = long.dehaze(job, dehazer, **how)
    journal.done(records[0])
    return asdict(report)


def _record(
    job: Job,
    stamp: tuple[int, str],
    contents: str,
    options: Options,
    journal: Manifest,
    files: dict[Path, str],
    haze: dict[str, Any],
) -> Record:
    return Record(
        result=journal.name(job.result),
        photo=str(job.photo.resolve()),
        size=stamp[0],
        stamp=stamp[1],
        digest=contents,
        settings=options.settings(job),
        files={journal.name(path): made for path, made in files.items()},
        haze=haze,
    )


def _long(job: Job) -> ModuleType | None:
    """What clears a file that is never in memory as a whole, a video or a raster; None for a photograph.

    A raster that fits into memory is taken for a photograph without rasterio, or when it is to become one. Raises
    MissingExtraError without PyAV, and without rasterio for a raster that does not fit.
    """
    if formats.is_video(job.photo):
        return _video()
    if not header.is_raster(job.photo):
        return None
    if not header.is_huge(job.photo) and (find_spec("rasterio") is None or not header.is_tiff(job.result)):
        return None
    from nedr.album import rasters

    return rasters


def _video() -> ModuleType:
    """What dehazes videos. Raises MissingExtraError without PyAV."""
    try:
        from nedr.video import pipeline
    except ModuleNotFoundError as error:
        if error.name != "av":
            raise
        raise missing_extra("a video", "video") from error
    return pipeline


def _how(job: Job, options: Options) -> dict[str, Any]:
    """The options of a video, as `nedr.video.pipeline.dehaze` takes them."""

    def tick(done: int, total: int | None) -> None:
        options.watch(job.photo.name, done, total)

    return {
        "strength": options.strength,
        "encoding": options.encoding,
        "overwrite": options.overwrite,
        "tick": tick,
    }


def _stamp(photo: Path) -> tuple[int, str]:
    try:
        return manifest.stamp(photo)
    except FileNotFoundError:
        raise UsageError(f"{photo} does not exist; expected a picture file") from None
    except OSError as error:
        raise ImageError(f"{photo} cannot be read: {error.strerror}") from error


def _refuse_existing(paths: Iterable[Path], options: Options) -> None:
    for path in paths:
        if not options.overwrite and os.path.lexists(path):
            raise UsageError(f"{path} exists and is left as it is; --overwrite replaces it")
