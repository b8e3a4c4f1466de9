"""What a worker process does with a video: inspect it, and dehaze it."""

from pathlib import Path
from typing import Any

from PIL import Image

from nedr.errors import ImageError, UsageError, missing_extra
from nedr.inference.dehazer import Dehazer
from nedr.pictures.job import Job
from nedr.web.workers import Tick, ticking

STILLS = 6
SIDE = 1280
"""Long side of a still in pixels."""


def looked(dehazer: Dehazer, folder: Path, name: str, most: float) -> dict[str, Any]:
    """Facts about the video in `folder/original`; frames spread over it are written as `still0.jpg` and so on.

    name: its original file name;  most: its longest duration in seconds. Raises ImageError, UsageError,
    MissingExtraError.
    """
    try:
        import av
    except ImportError:
        raise missing_extra("a video", "video") from None

    from nedr.video.formats import result_suffix
    from nedr.video.reader import Clip

    path, called = folder / "original", Path(Path(name.replace("\\", "/")).name)
    suffix = result_suffix(called).lower()
    with Clip(path, path.with_suffix(suffix), _encoding()) as clip:
        seconds = (clip.container.duration or 0) / av.time_base
        size, frames = (clip.still.width, clip.still.height), clip.frames
        if clip.still.turns % 2:
            size = size[::-1]
    if seconds > most:
        raise UsageError(f"the video lasts {seconds:.0f} s, this server accepts {most:g} s; cut it first")
    stills = [seconds * (k + 0.5) / STILLS for k in range(STILLS)] if seconds > 1 else [0.0]
    found = [time for k, time in enumerate(stills) if _still(path, suffix, time, folder / f"still{k}.jpg")]
    if not found:
        raise ImageError("this video has no frame that can be read")
    about = {"width": size[0], "height": size[1], "seconds": round(seconds, 3), "frames": frames}
    return about | {
        "stills": [round(time, 3) for time in found],
        "stem": called.stem[:100] or "video",
        "suffix": suffix,
    }


@ticking
def made(dehazer: Dehazer, folder: Path, suffix: str, strength: float, tick: Tick) -> list[str]:
    """Write `folder/result` with the suffix and return its notes. Raises what `nedr.video.pipeline.dehaze` does."""
    from nedr.video.pipeline import dehaze

    job = Job(folder / "original", folder / f"result{suffix}")
    return list(dehaze(job, dehazer, strength=strength, overwrite=True, tick=tick).notes)


def _still(path: Path, suffix: str, time: float, target: Path) -> bool:
    """Write the frame at a time; return whether there was one."""
    from av.video.frame import VideoFrame

    from nedr.video.reader import Clip

    with Clip(path, path.with_suffix(suffix), _encoding(time)) as clip:
        for item in clip.items():
            if isinstance(item, VideoFrame):
                Image.fromarray(clip.small(item, SIDE)).save(target, "JPEG", quality=92)
                return True
    return False


def _encoding(start: float | None = None) -> Any:
    from nedr.video.formats import Encoding

    return Encoding(start=start or None)
