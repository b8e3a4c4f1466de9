"""Which files count as videos and how they can be written: names and numbers only, nothing is decoded here."""

import os
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from nedr.errors import UsageError

CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
    ".ts": "mpegts",
    ".mts": "mpegts",
    ".m2ts": "mpegts",
}
"""File name suffixes (lower case, with the dot) of videos that can be written, and their containers."""

READ_ONLY = dict.fromkeys((".mpg", ".mpeg", ".flv", ".insv", ".lrv", ".mjpeg", ".y4m", ".h264", ".hevc"), ".mp4")
READ_ONLY |= dict.fromkeys((".vob", ".wmv", ".asf", ".ogv"), ".mkv")
READ_ONLY |= dict.fromkeys((".3gp", ".3g2", ".mxf", ".dv"), ".mov")
"""Suffixes of videos that can only be read, and of their results by default: a container for their usual sound."""

_SIGNATURES = re.compile(
    rb"....ftyp(?!avif|avis|heic|heix|hevc|heim|heis|mif1|msf1|crx )|....moov|\x1aE\xdf\xa3|RIFF....AVI |FLV\x01"
    rb"|\x30\x26\xb2\x75|\0\0\x01\xba|G.{187}G",
    re.DOTALL,
)


@dataclass(frozen=True)
class Codec:
    """An encoder: its name in FFmpeg, its constant quality (smaller is better) and the largest, its other options.

    quality: None for an encoder without this setting.
    """

    encoder: str
    quality: int | None
    worst: int
    options: tuple[tuple[str, str], ...] = ()


CODECS = {
    "h264": Codec("libx264", 18, 51, (("preset", "veryfast"),)),
    "hevc": Codec("libx265", 20, 51, (("preset", "superfast"), ("x265-params", "log-level=error"))),
    "vp9": Codec("libvpx-vp9", 28, 63, (("b", "0"), ("deadline", "realtime"), ("cpu-used", "6"), ("row-mt", "1"))),
    "av1": Codec("libsvtav1", 28, 63, (("preset", "9"),)),
    "prores": Codec("prores_ks", None, 0, (("profile", "hq"),)),
    "ffv1": Codec("ffv1", None, 0, (("level", "3"), ("slicecrc", "1"))),
}
"""Values of --codec: for every player, smaller, for the web (two), for editing, lossless."""

_USUAL = {".webm": ("vp9", "av1"), ".avi": ("h264", "h264")}  # for 8 bits, for more

CHROMAS = ("420", "422", "444")
"""How densely colour is stored: from 4:2:0, which everything plays, to 4:4:4, which loses nothing."""

DROPPABLE = ("audio", "subtitle", "data", "attachment", "video")
"""Kinds of streams that can be left out; "video" means all but the main one, and covers."""


@dataclass(frozen=True)
class Encoding:
    """Which part of a video is dehazed, how it is compressed, and which streams are left out.

    start, end: seconds from the video's start, None for no limit;  codec: a key of CODECS, None for one that suits
    the container and the bit depth;  crf: constant quality, None for the codec's own
    chroma: how densely colour is stored, one of CHROMAS, None for the video's own, 4:2:0 for RGB and odd sizes
    deinterlace: turn interlaced frames into progressive ones
    drop: the streams to leave out, by kind (DROPPABLE) or by number in the file
    every: while nothing changes, estimate the haze only in every so many frames and interpolate between them

    Raises UsageError for values that cannot be used.
    """

    start: float | None = None
    end: float | None = None
    codec: str | None = None
    crf: int | None = None
    chroma: str | None = None
    deinterlace: bool = False
    drop: tuple[str, ...] = ()
    every: int = 4

    def __post_init__(self) -> None:
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise UsageError(f"the end, {self.end:g} s, must be after the start, {self.start:g} s")
        if min(self.start or 0, self.end or 0) < 0:
            raise UsageError("expected a start and an end of 0 seconds or more")
        if self.codec is not None and self.codec not in CODECS:
            raise UsageError(f"expected a codec among {', '.join(CODECS)}, found {self.codec!r}")
        if self.chroma is not None and self.chroma not in CHROMAS:
            raise UsageError(f"expected a chroma among {', '.join(CHROMAS)}, found {self.chroma!r}")
        if unknown := [name for name in self.drop if name not in DROPPABLE and not name.isdecimal()]:
            raise UsageError(f"expected {', '.join(DROPPABLE)} or a stream's number to leave out, found {unknown[0]!r}")
        if self.every < 1:
            raise UsageError(f"expected every frame or every 2nd or more, found every {self.every}")

    @property
    def span(self) -> tuple[Fraction, Fraction | None]:
        """The part in seconds, as exact as a frame's time stamp: 0.2 means the frame at 1/5, not the next one."""
        start, end = (None if at is None else Fraction(at).limit_denominator(10**6) for at in (self.start, self.end))
        return start or Fraction(0), end

    def chosen(self, suffix: str, bits: int) -> Codec:
        """The codec for a container and a bit depth. Raises UsageError for a quality outside its range."""
        usual, deep = _USUAL.get(suffix, ("h264", "hevc"))
        name = self.codec or (deep if bits > 8 else usual)
        codec = CODECS[name]
        if self.crf is not None and not (codec.quality is not None and self.crf <= codec.worst):
            known = "takes no --crf" if codec.quality is None else f"takes --crf 0 to {codec.worst}"
            raise UsageError(f"{name} {known}, found {self.crf}")
        return codec


def is_video(path: str | Path) -> bool:
    """Whether to treat a file as a video: by its suffix or, if that is unknown, by its first bytes."""
    from nedr.pictures import images

    suffix = Path(path).suffix.lower()
    if suffix in CONTAINERS or suffix in READ_ONLY:
        return True
    if suffix in images.SUFFIXES:
        return False
    try:
        with Path(path).open("rb") as file:
            return _SIGNATURES.match(file.read(512)) is not None
    except OSError:
        return False


def result_suffix(video: Path) -> str:
    """The default suffix of a video's result: its own, if that can be written."""
    return video.suffix if video.suffix.lower() in CONTAINERS else READ_ONLY.get(video.suffix.lower(), ".mp4")


def check_output(output: str | Path) -> None:
    """Raise UsageError unless an output's suffix names a container that can be written."""
    if Path(output).suffix.lower() not in CONTAINERS:
        known = " ".join(CONTAINERS)
        raise UsageError(f"{output}: expected a suffix of {known} for a video, or a {os.sep} at the end for a folder")


def seconds(text: str) -> float:
    """Seconds from a time such as 90, 1:30 or 0:01:30.5. Raises UsageError for anything else."""
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d*)?", text):
        raise UsageError(f"expected a time such as 90, 1:30 or 0:01:30.5, found {text!r}")
    total = 0.0
    for part in text.split(":"):
        total = 60 * total + float(part)
    return total
