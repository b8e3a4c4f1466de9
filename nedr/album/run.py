"""The work on many photographs at once: what is finished is skipped, failures are reported, the rest is done.

>>> tasks = plan_tasks(["trip"], "dehazed")
>>> with open_journals(tasks) as journals:
...     for outcome in run_tasks(tasks, Dehazer(threads=1), journals, Options(), workers=2):
...         print(outcome.task.job.photo, outcome.state)
"""

import errno
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias, TypeVar

from nedr.album import journal as record
from nedr.album import one
from nedr.album.journal import Journal, Record
from nedr.album.plan import SIDECAR, Task
from nedr.errors import ImageError, NedrError, UsageError, missing_extra
from nedr.inference.dehazer import Dehazer
from nedr.pictures import atomic, images
from nedr.pictures.job import Job
from nedr.pictures.raw import Development
from nedr.raster import header
from nedr.video import formats
from nedr.video.formats import Encoding

Journals: TypeAlias = dict[Path | None, Journal]
T = TypeVar("T")
R = TypeVar("R")

# Seconds between two looks at signals while the work is waited for.
LOOK_UP = 0.2

MAX_WORKERS = 8
"""The default limit of photographs processed at once; each needs memory of its own."""


@dataclass(frozen=True)
class Options:
    """How photographs become results, as for `nedr.album.one.dehaze_file`.

    keep_time: give results the photograph's modification time;  salvage: of a truncated JPEG or raw file what is there
    encoding: of videos;  development: of camera raw files
    network: fingerprint of what finds the haze, method and weights
    watch: called with a file's name when work on it begins, of videos and rasters again and again with the frames or
        rows done, and how many there will be, if known
    """

    strength: float = 1.0
    quality: int | None = None
    overwrite: bool = False
    keep_time: bool = False
    salvage: bool = False
    network: str = ""
    encoding: Encoding = field(default_factory=Encoding)
    development: Development = field(default_factory=Development)
    watch: Callable[[str, int, int | None], None] = lambda name, done, total: None

    def settings(self, job: Job) -> str:
        """Fingerprint of all that decides a job's files, apart from the photograph."""
        made: dict[str, Any] = {"map": job.map is not None, "compare": job.compare is not None, "format": job.format}
        if formats.is_video(job.photo):
            made |= {"encoding": asdict(self.encoding)}
        may_be_raw = images.SUFFIXES.get(job.photo.suffix.lower()) in ("RAW", "TIFF")
        if may_be_raw and self.development != Development():
            made |= {"development": asdict(self.development)}
        made |= {name: True for name in ("keep_time", "salvage") if getattr(self, name)}
        return record.settings(strength=self.strength, quality=self.quality, network=self.network, **made)


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    state: "done", "copied" (a sidecar), "skipped" (it was finished before), "failed", "unread" (of a kind that is not
        read) or "left" (it was not come to)
    haze: as `nedr.album.one.Haze`, empty unless it is done
    seconds: of work on it;  error: why it failed, or was not read
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
def open_journals(tasks: Iterable[Task], *, writing: bool = True) -> Iterator[Journals]:
    """The journals that the tasks belong to; with `writing`, no other run may use those of folders meanwhile."""
    with ExitStack() as stack:
        journals: Journals = {}
        for root in dict.fromkeys(task.root for task in tasks):
            opening = record.open_own(writing=writing) if root is None else record.open_album(root, writing=writing)
            journals[root] = stack.enter_context(opening)
        yield journals


def finished(tasks: Iterable[Task], journals: Journals, options: Options) -> Iterator[Outcome | None]:
    """For each task the outcome if it was finished before, None if it is still to be done."""
    for task in tasks:
        if task.error is not None:
            yield None
            continue
        job, settings = task.job, options.settings(task.job)
        known = journals[task.root].finished(job.result, job.photo, settings, untouched=options.overwrite)
        yield None if known is None else Outcome(task, "skipped", dict(known.haze))


def run_tasks(
    tasks: Sequence[Task], dehazer: Dehazer, journals: Journals, options: Options, *, workers: int
) -> Generator[Outcome, None, None]:
    """Do the tasks, `workers` at once, and give the outcomes in the order of the tasks; stops when all must fail.

    Left early, photographs that were begun are finished and videos dropped.

    dehazer: all workers use it at once, so its threads should be few.
    """
    left = threading.Event()

    def watch(name: str, done: int, total: int | None) -> None:
        if left.is_set():
            raise NedrError(f"{name} was abandoned after {done} frames")
        options.watch(name, done, total)

    work = partial(attempt, dehazer=dehazer, journals=journals, options=replace(options, watch=watch))
    with closing(at_once(work, tasks, workers, leave=left.set)) as outcomes:
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
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        leave()
        pool.shutdown(cancel_futures=True)


def _result(future: Future[R]) -> R:
    """What a future gives. Looks up now and then: a signal that the system hands to another thread ends no wait."""
    while not future.done():
        wait((future,), LOOK_UP)
    return future.result()


def attempt(task: Task, dehazer: Dehazer, journals: Journals, options: Options) -> Outcome:
    """Do one task; what goes wrong becomes its outcome."""
    started, photo = time.perf_counter(), task.job.photo
    try:
        if task.error:
            return Outcome(task, "unread" if task.unread else "failed", error=task.error)
        options.watch(photo.name, 0, None)
        haze = _Work(task.job, dehazer, journals[task.root], options).do()
    except MemoryError:
        error: NedrError = ImageError(f"{photo}: needs more memory than there is")
    except NedrError as known:
        error = known
    except Exception as unknown:  # one file must not end the album, whatever is the matter with it
        error = NedrError(f"{photo}: {fault(unknown)}")
        error.__cause__ = unknown
    else:
        return Outcome(task, "done" if haze else "copied", haze, time.perf_counter() - started)
    return Outcome(task, "failed", seconds=time.perf_counter() - started, error=error)


def fault(error: Exception) -> str:
    """Kind and place of an exception that nedr did not raise on purpose: the last line of ours that led to it."""
    root = Path(__file__).parents[1]
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(root)]
    last = places[-1]
    place = f"{Path(last.filename).relative_to(root.parent).as_posix()}, line {last.lineno}"
    return f"a fault of nedr, {type(error).__name__} in {place}: {error}"


@dataclass(frozen=True)
class _Work:
    """A job, and what it is done with."""

    job: Job
    dehazer: Dehazer
    journal: Journal
    options: Options

    def do(self) -> dict[str, Any]:
        """Do the job and write it down; returns what was found, nothing for a sidecar."""
        before, long = _stamp(self.job.photo), _long(self.job)
        data = b"" if long else images.contents(self.job.photo)
        made = (before, record.digest_file(self.job.photo) if long else record.digest(data))
        ours = self._ours(made[1])
        atomic.refuse_existing(set(self.job.targets) - ours, overwrite=self.options.overwrite)
        return self._do_long(long, made, bool(ours)) if long else self._do_photograph(data, made, ours)

    def _do_photograph(self, data: bytes, made: tuple[tuple[int, str], str], ours: set[Path]) -> dict[str, Any]:
        files, haze = self._rendered(data)
        known = self._record(*made, {path: record.digest(each) for path, each in files.items()}, haze)
        self.journal.begin(known)
        for path, each in files.items():
            one.write(path, each, overwrite=self.options.overwrite or path in ours)
        self._finish(known)
        return haze

    def _rendered(self, data: bytes) -> tuple[dict[Path, bytes], dict[str, Any]]:
        if self.job.photo.suffix.lower() == SIDECAR:
            return {self.job.result: data}, {}
        how = {name: getattr(self.options, name) for name in ("strength", "quality", "salvage", "development")}
        files, haze = one.render(self.job, data, self.dehazer, **how)
        return files, asdict(haze)

    def _do_long(self, long: ModuleType, made: tuple[tuple[int, str], str], replaces: bool) -> dict[str, Any]:
        """A video or raster is written down just before its files get their names."""
        records = list[Record]()

        def sealed(report: Any, parts: dict[Path, Path]) -> None:
            digests = {path: record.digest_file(part) for path, part in parts.items()}
            records.append(self._record(*made, digests, asdict(report)))
            self.journal.begin(records[0])

        report = long.dehaze(
            self.job,
            self.dehazer,
            strength=self.options.strength,
            encoding=self.options.encoding,
            overwrite=self.options.overwrite or replaces,
            tick=partial(self.options.watch, self.job.photo.name),
            sealed=sealed,
        )
        self._finish(records[0])
        return asdict(report)

    def _ours(self, contents: str) -> set[Path]:
        """Those of the targets that nedr made of this very photograph, and nobody has changed since."""
        job = self.job
        return {path for path in job.targets if self.journal.may_replace(job.result, job.photo, contents, path)}

    def _record(self, stamp: tuple[int, str], contents: str, files: dict[Path, str], haze: dict[str, Any]) -> Record:
        """What the journal is to know. Raises ImageError if the photograph is not what it was when it was read."""
        job, name = self.job, self.journal.name
        if _stamp(job.photo) != stamp:
            raise ImageError(f"{job.photo} changed while it was read; the next run takes it")
        digests = {name(path): made for path, made in files.items()}
        settings = self.options.settings(job)
        return Record(name(job.result), str(job.photo.resolve()), *stamp, contents, settings, digests, haze)

    def _finish(self, known: Record) -> None:
        if self.options.keep_time:
            time = int(known.stamp)
            for path in self.job.targets:
                os.utime(path, ns=(time, time))
        self.journal.done(known)


def _long(job: Job) -> ModuleType | None:
    """What dehazes a file that is never in memory as a whole, a video or a raster; None for a photograph.

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


def _stamp(photo: Path) -> tuple[int, str]:
    try:
        return record.stamp(photo)
    except FileNotFoundError:
        raise UsageError(f"{photo} does not exist; expected a picture file") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{photo} cannot be read: {getattr(error, 'strerror', None) or error}") from error
