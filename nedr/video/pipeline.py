"""Video files: decoded, dehazed plane by plane, encoded; everything else in them is copied unchanged.

Decoding, the network, the pixels and the encoder each have a thread of their own, with a few frames between them, so
memory does not grow with the length. Needs PyAV (the extra `video`), which brings FFmpeg.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame

from nedr.errors import UsageError
from nedr.inference.borders import Side
from nedr.inference.dehazer import Dehazer
from nedr.inference.field import HazeField, check_strength
from nedr.pictures import atomic
from nedr.pictures.arrays import Array
from nedr.pictures.job import Job
from nedr.video.bars import BarFollower, scaled
from nedr.video.formats import Encoding
from nedr.video.reader import Clip, Item
from nedr.video.sampling import Sampler
from nedr.video.scenes import Fade, cells_of
from nedr.video.still import EXACT, Still, arrays, blank, shown_with
from nedr.video.temporal import field_of
from nedr.video.writer import Sink
from nedr.video.yuv import PlaneDehazer

T = TypeVar("T")
Tick: TypeAlias = Callable[[int, int | None], None]
Sealed: TypeAlias = Callable[["Report", dict[Path, Path]], None]

# Frames that wait between two threads.
AHEAD = 4
# Long side of the reduced frame that the network's view is made from.
SMALL = 640
# Width of the line between before and after.
LINE = 8


@dataclass(frozen=True)
class Report:
    """The outcome for one video.

    width, height: in pixels, upright;  frames: how many were written;  seconds: how long it took
    airlight: RGB in [0, 1], density, transmission: means over all frames
    notes: what the user should know, one sentence each
    borders: widths in pixels of the bars around the last frames, by side, upright; they are left unchanged
    """

    width: int
    height: int
    frames: int
    seconds: float
    airlight: tuple[float, ...]
    density: float
    transmission: float
    notes: tuple[str, ...]
    borders: dict[Side, int]


def dehaze(
    job: Job,
    dehazer: Dehazer,
    *,
    strength: float = 1.0,
    encoding: Encoding | None = None,
    overwrite: bool = False,
    tick: Tick | None = None,
    sealed: Sealed | None = None,
) -> Report:
    """Do one job: read a video, remove its haze, write every file of the job in full; missing folders are created.

    strength: 0..1.5, as in `Dehazer.dehaze`;  encoding: which part, and how it is compressed
    overwrite: replace existing files;  tick: called with the frames done and how many there will be, if known
    sealed: called with the report and the finished files, {final name: where it is now}, just before they are renamed

    Raises ImageError for a file that is not a video or is damaged, UsageError for a missing one and for targets that
    must not be written or cannot hold what the video has, NedrError when writing fails. No file gets its final name
    then.
    """
    check_strength(strength)
    started = time.perf_counter()
    with Clip(job.photo, job.result, encoding or Encoding()) as clip, ExitStack() as stack:
        parts = {path: stack.enter_context(_part(path, overwrite)) for path in reversed(job.targets)}
        work = _Work(clip, job, dehazer, strength)
        with ExitStack() as opened:
            sinks = {path: opened.enter_context(work.sink(path, part)) for path, part in parts.items()}
            work.through(sinks, tick or (lambda done, total: None))
        report = work.report(time.perf_counter() - started, [*clip.notes, *sinks[job.result].notes])
        if sealed:
            sealed(report, parts)
    return report


def _part(path: Path, overwrite: bool) -> AbstractContextManager[Path]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {path.parent} cannot be created ({error.strerror}); choose another") from error
    return atomic.part(path, overwrite=overwrite)


@dataclass(frozen=True)
class _Seen:
    """A frame, its haze, and the small picture in which that was found."""

    frame: VideoFrame
    field: HazeField
    small: Array


_Made: TypeAlias = dict[Path, VideoFrame]


class _Work:
    """Takes the frames of one clip from thread to thread."""

    def __init__(self, clip: Clip, job: Job, dehazer: Dehazer, strength: float) -> None:
        self._clip, self._job, self._dehazer, self._every = clip, job, dehazer, clip.encoding.every
        self._planes = PlaneDehazer(clip.still.coding, strength, dehazer.threads)
        self._bars, self._fade = BarFollower(), Fade()
        self._frames, self._sums = 0, np.zeros(5)

    def sink(self, path: Path, part: Path) -> Sink:
        """The file that is written at `part` and then renamed to `path`."""
        still = self._clip.still
        if path == self._job.compare:
            still = _double(still)
        return Sink(self._clip, path, part, still, copies=path == self._job.result)

    def through(self, sinks: dict[Path, Sink], tick: Tick) -> None:
        """Write every frame to every file, and everything else to the result."""
        with ExitStack() as stack:

            def ahead(items: Iterable[T]) -> Iterator[T]:
                return stack.enter_context(closing(_ahead(items)))

            seen = ahead(self._see(ahead(self._clip.items())))
            for item in ahead(map(self._dehaze, seen)):
                if isinstance(item, Packet):
                    sinks[self._job.result].copy(item)
                    continue
                for path, frame in item.items():
                    sinks[path].write(frame)
                self._frames += 1
                tick(self._frames, self._clip.frames)
        if not self._frames:
            whole = self._clip.container.duration
            length = f"; it lasts {whole / av.time_base:.1f} seconds" if whole else ""
            raise UsageError(f"{self._clip.path} has no frame in the requested part{length}")

    def report(self, seconds: float, notes: Iterable[str]) -> Report:
        """The outcome, after `seconds` of work."""
        still, count = self._clip.still, max(1, self._frames)
        size = (still.width, still.height) if still.turns % 2 == 0 else (still.height, still.width)
        means = [round(float(value), 4) for value in self._sums / count]
        return Report(
            *size,
            self._frames,
            round(seconds, 3),
            tuple(means[:3]),
            means[3],
            means[4],
            tuple(notes),
            self._bars.widths,
        )

    def _see(self, items: Iterable[Item]) -> "Iterator[_Seen | Packet[Any]]":
        """Find the haze of every frame on its own, as stored, not upright."""
        turns = self._clip.still.turns
        sampler = Sampler[tuple[Item, Array | None]](self._look, self._every)

        def pictured() -> Iterator[tuple[tuple[Item, Array | None], Array | None]]:
            for item in items:
                small = None if isinstance(item, Packet) else self._clip.small(item, SMALL)
                yield (item, small), small

        for (item, small), field in sampler(pictured()):
            if isinstance(item, Packet) or field is None or small is None:
                yield cast("Packet[Any]", item)
                continue
            yield _Seen(item, field.turned(-turns), np.rot90(small, -turns))

    def _look(self, shown: tuple[Item, Array | None]) -> HazeField:
        """The haze of a frame on its own, within the video's current bars."""
        frame, small = shown
        assert isinstance(frame, VideoFrame) and small is not None  # noqa: PT018
        cells = cells_of(small)
        bars = self._bars.follow(self._clip.grey(frame), cells)
        field = field_of(small, self._dehazer, scaled(bars, *small.shape[:2]), self._fade.exposure(cells))
        return replace(field, inside=bars.parts)

    def _dehaze(self, item: "_Seen | Packet[Any]") -> "_Made | Packet[Any]":
        if isinstance(item, Packet):
            return item
        still, frame = self._clip.still, self._clip.planar(item.frame)
        planes = arrays(frame, still)
        before = [plane.copy() for plane in planes] if self._job.compare else []
        field = self._planes.dehaze(planes[: 1 if still.grey else 3], item.field, item.small)
        self._sums += [*field.airlight, field.density, field.lattice.mean()]
        made = {self._job.result: frame}
        if self._job.map:
            made[self._job.map] = _map(field, still, frame)
        if self._job.compare:
            made[self._job.compare] = _side_by_side(before, planes, still, frame)
        return made


def _ahead(items: Iterable[T]) -> Generator[T, None, None]:
    """Compute items on a thread of their own, a few ahead of the one that is taken."""
    iterator, pool, waiting = iter(items), ThreadPoolExecutor(1), deque[Future[list[T]]]()

    def step() -> list[T]:
        return list(islice(iterator, 1))

    try:
        waiting.extend(pool.submit(step) for _ in range(AHEAD))
        while found := waiting.popleft().result():
            waiting.append(pool.submit(step))
            yield found[0]
    finally:
        pool.shutdown(cancel_futures=True)


def _map(field: HazeField, still: Still, like: VideoFrame) -> VideoFrame:
    """The transmission in colours, shown at the time of `like`."""
    colours = VideoFrame.from_ndarray(field.preview(still.height, still.width), "rgb24")
    frame = colours.reformat(
        format=still.format, interpolation=EXACT, dst_colorspace=still.scaler, dst_color_range=still.range
    )
    return shown_with(frame, like)


def _double(still: Still) -> Still:
    """The layout of two frames with a line between them, side by side when upright."""
    if still.turns % 2:
        return replace(still, height=2 * still.height + LINE)
    return replace(still, width=2 * still.width + LINE)


def _side_by_side(before: list[Array], after: list[Array], still: Still, like: VideoFrame) -> VideoFrame:
    """Before | after as one frame, shown at the time of `like`."""
    double = _double(still)
    frame = blank(double, like)
    first, second = (after, before) if still.turns in (2, 3) else (before, after)
    for number, plane in enumerate(arrays(frame, double)):
        plane[:] = still.coding.zero(1) if number else still.coding.limits(0)[1]
        height, width = before[number].shape
        plane[:height, :width], plane[-height:, -width:] = first[number], second[number]
    return frame
