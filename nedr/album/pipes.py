"""Pictures through pipes: one file from standard input to standard output, or raw frames without end."""

import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nedr.album import one
from nedr.errors import ImageError, UsageError
from nedr.inference.dehazer import Dehazer
from nedr.pictures.job import Job
from nedr.video.temporal import VideoDehazer


def picture(
    source: BinaryIO, target: BinaryIO, dehazer: Dehazer, *, strength: float, format: str | None, quality: int | None
) -> tuple[str, ...]:
    """One picture file without its haze; returns what reading had to change, one sentence each.

    format: one of `nedr.pictures.images.Picture`, None for the source's own
    quality: as for `nedr.pictures.images.encode`

    Raises ImageError for what is no picture; nothing is written then.
    """
    job = Job(Path("standard input"), Path("standard output"), format)
    files, haze = one.render(job, source.read(), dehazer, strength=strength, quality=quality)
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
