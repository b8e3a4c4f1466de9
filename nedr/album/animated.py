"""An animation without its haze: frame after frame as one video, so that it does not flicker, and written as it was."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nedr.inference.dehazer import Dehazer
from nedr.inference.field import HazeField
from nedr.pictures import animation
from nedr.pictures.animation import Animation, Frame
from nedr.pictures.job import Job
from nedr.video.temporal import VideoDehazer


@dataclass
class Rendered:
    """The files of an animation and what was found in it.

    files: each target with its bytes;  haze: of the last frame;  size: width and height
    notes: what the result has otherwise, one sentence each
    """

    size: tuple[int, int]
    haze: HazeField
    notes: tuple[str, ...]
    files: dict[Path, bytes] = field(default_factory=dict)


def render(job: Job, moving: Animation, dehazer: Dehazer, *, strength: float, quality: int | None) -> Rendered:
    """Every file of a job; nothing is written. Where no pixel changes, the result is the animation's very bytes.

    Raises ImageError for a damaged animation, and for a format that holds none.
    """
    video = VideoDehazer(dehazer, strength=strength)
    results, maps, pairs, untouched = list[Frame](), list[Frame](), list[Frame](), True
    for frame in moving:
        (result,) = video([frame])
        results.append(result)
        untouched = untouched and np.array_equal(frame, result)
        if job.map and video.field:
            maps.append(video.field.preview(*frame.shape[:2]))
        if job.compare:
            pairs.append(np.concatenate([frame, np.full_like(frame[:, :2], 255), result], axis=1))
    assert video.field is not None  # there are frames
    target = job.format or moving.format
    kept = untouched and quality is None and target == moving.format
    notes = () if kept or target != "GIF" else ("256 colours of its own for each frame, as GIF holds no more",)
    found = Rendered(results[0].shape[1::-1], video.field, notes)
    found.files[job.result] = moving.data if kept else animation.encode(results, moving, target, quality=quality)
    if job.map:
        found.files[job.map] = animation.encode(maps, moving, "PNG")
    if job.compare:
        found.files[job.compare] = animation.encode(pairs, moving, target, quality=quality)
    return found
