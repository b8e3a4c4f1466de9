"""Pictures through pipes: one file from its start to its end, or raw frames without end."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nedr.album import one
from nedr.errors import ImageError, UsageError
from nedr.inference.dehazer import Dehazer
from nedr.pictures.job import Job
from nedr.pictures.raw import Development
from nedr.video.temporal import VideoDehazer


@dataclass(frozen=True)
class Form:
    """What goes through a pipe.

    format: what a picture is written in, as jpeg or png; None for the one that comes in
    raw: WIDTHxHEIGHT of raw frames, None for a picture
    quality, salvage, development: as for `nedr.album.one.dehaze_file`

    Raises UsageError for values that cannot be used.
    """

    format: str | None = None
    raw: str | None = None
    quality: int | None = None
    salvage: bool = False
    development: Development | None = None

    def __post_init__(self) -> None:
        if self.raw and self.format:
            raise UsageError("--raw frames have no --format: they come out as they come in, 8 bit RGB")
        if self.raw:
            frame_size(self.raw)
        if self.format:
            one.format_of(f"standard output.{self.format}")


@contextmanager
def open_source(name: str) -> Iterator[BinaryIO]:
    """What is to be read: standard input, called -, or a named pipe or device. Raises UsageError if there is none."""
    if name == "-":
        if sys.stdin is None:
            raise UsageError("standard input is closed; expected a picture there: nedr - < IN > OUT")
        yield sys.stdin.buffer
    else:
        with Path(name).open("rb") as source:
            yield source


def send_through(
    source: BinaryIO,
    target: BinaryIO | Path,
    dehazer: Dehazer,
    form: Form,
    *,
    strength: float = 1.0,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """What a pipe gives, without its haze; returns what the result does not hold, one sentence each.

    target: a stream, or for a picture the file it becomes, whose suffix names the format;  overwrite: replace that file

    Raises ImageError for what is not a picture, UsageError for a file that exists; nothing is written then.
    """
    if form.raw:
        if isinstance(target, Path):
            raise UsageError("--raw frames go to standard output: nedr - --raw WIDTHxHEIGHT > OUT")
        frames(source, target, dehazer, frame_size(form.raw), strength=strength)
        return ()
    name = str(target) if isinstance(target, Path) else form.format and f"standard output.{form.format}"
    job = Job(Path("standard input"), Path(name or "standard output"), one.format_of(name) if name else None)
    how = {name: getattr(form, name) for name in ("quality", "salvage", "development")}
    files, haze = one.render(job, source.read(), dehazer, strength=strength, **how)
    if isinstance(target, Path):
        one.write(target, files[job.result], overwrite=overwrite)
    else:
        target.write(files[job.result])
        target.flush()
    return haze.notes


def frames(source: BinaryIO, target: BinaryIO, dehazer: Dehazer, size: tuple[int, int], *, strength: float) -> int:
    """Raw frames (8 bit RGB, width x height, row by row, nothing between) without their haze; returns how many.

    They are taken as one video, so that it does not flicker. Each frame is written before the next is read, so memory
    does not grow. Raises ImageError when nothing comes, or the last frame is short; those before it are written.
    """
    (width, height), video = size, VideoDehazer(dehazer, strength=strength)
    count = 0
    while data := _exactly(source, width * height * 3):
        if len(data) < width * height * 3:
            raise ImageError(
                f"frame {count + 1} ends after {len(data)} of {width * height * 3} bytes; expected rgb24 frames of "
                f"{width}x{height}"
            )
        frame = np.frombuffer(data, np.uint8).reshape(height, width, 3)
        target.write(video.clear(frame).tobytes())
        target.flush()
        count += 1
    if not count:
        raise ImageError(f"standard input is empty; expected rgb24 frames of {width}x{height}")
    return count


def frame_size(text: str) -> tuple[int, int]:
    """(width, height) of WIDTHxHEIGHT. Raises UsageError for anything else."""
    found = re.fullmatch(r"([1-9]\d{0,5})[xX]([1-9]\d{0,5})", text)
    if not found:
        raise UsageError(f"expected a size such as 1280x720, found {text!r}")
    return int(found[1]), int(found[2])


def _exactly(source: BinaryIO, size: int) -> bytes:
    """`size` bytes, fewer only at the end; a pipe gives what it has."""
    parts = []
    while size and (part := source.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
