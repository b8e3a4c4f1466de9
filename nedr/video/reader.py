"""A video file opened: frames as planes in the order they are shown, everything else as it lies in the file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import av
import numpy as np
from av.codec import Codec as Encoder
from av.codec.codec import find_best_pix_fmt_of_list
from av.codec.context import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from av.video.stream import VideoStream

from nedr.errors import ImageError, UsageError
from nedr.pictures.arrays import Array
from nedr.video.formats import Encoding
from nedr.video.yuv import Coding

if TYPE_CHECKING:
    from av.container.core import Chapter

Item: TypeAlias = "VideoFrame | Packet[Any]"

# By the number of the matrix that a video states: luma weights of red and blue, and the scaler's number.
_MATRICES = {
    1: (0.2126, 0.0722, Colorspace.ITU709),
    4: (0.30, 0.11, Colorspace.FCC),
    5: (0.299, 0.114, Colorspace.ITU601),
    6: (0.299, 0.114, Colorspace.ITU601),
    7: (0.212, 0.087, Colorspace.SMPTE240M),
    9: (0.2627, 0.0593, Colorspace.BT2020),
    10: (0.2627, 0.0593, Colorspace.BT2020),
}
EXACT = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
"""How the scaler works: without this it rounds down, which dividing by t would make visible."""

# Seconds before a wanted frame within which there is surely one that does not build on others.
RUN_UP = 10
# Seconds by which the parts of a video may well be shorter than it says.
SLACK = 0.5
_BT709, _BT601 = 1, 6
_HD = 720
# How many pixels share a value of colour, across and down, from rich to poor.
_LAYOUTS = {"444": (1, 1), "422": (2, 1), "440": (1, 2), "420": (2, 2)}
_DEPTHS = (8, 10, 12, 16)


@dataclass(frozen=True)
class Still:
    """What all frames of a video share.

    width, height: as stored;  layout: of colour, such as "420";  coding: what codes mean;  grey: colour is absent
    matrix, primaries, transfer: FFmpeg's numbers for what the video states, 2 for nothing
    turns: quarter turns counter-clockwise from stored to upright;  display: the matrix of that, as the file states it
    aspect: width of a pixel by its height, None if not stated
    """

    width: int
    height: int
    layout: str
    coding: Coding
    grey: bool = False
    matrix: int = 2
    primaries: int = 2
    transfer: int = 2
    turns: int = 0
    display: tuple[int, ...] | None = None
    aspect: Fraction | None = None

    @property
    def format(self) -> str:
        """FFmpeg's name of how frames lie in memory."""
        return f"yuv{self.layout}p{_suffix(self.coding.bits)}"

    @property
    def range(self) -> ColorRange:
        """FFmpeg's number for the range of codes."""
        return ColorRange.JPEG if self.coding.full else ColorRange.MPEG

    @property
    def scaler(self) -> Colorspace:
        """The scaler's number for the matrix, a guess if none is stated."""
        return _MATRICES[_known(self.matrix, self.height)][2]


class Clip:
    """A video file opened for reading, at the part that `encoding` asks for.

    codec: what `target`, the file it becomes, is to be encoded with;  still: what its frames share, in a layout that
    the encoder takes

    Raises UsageError for a file that is not there and a codec that cannot be, ImageError for what is no video.
    """

    def __init__(self, path: Path, target: Path, encoding: Encoding) -> None:
        self.path, self.encoding = path, encoding
        self._lost, self._incomplete, self._reached = 0, 0, Fraction(0)
        first = _first(path)
        parts = first.format.components
        self.codec = encoding.chosen(target.suffix.lower(), max(part.bits for part in parts))
        self.container, self.stream = _opened(path)
        self.still = _still(first, self.stream, _formats(self.codec.encoder))
        self._transparent = any(part.is_alpha for part in parts)

    def __enter__(self) -> "Clip":
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    @property
    def time_base(self) -> Fraction:
        """Seconds for one unit of the frames' time stamps."""
        return self.stream.time_base or Fraction(1, 90000)

    @property
    def rate(self) -> Fraction:
        """Frames per second, on average."""
        return self.stream.average_rate or self.stream.guessed_rate or Fraction(25)

    @property
    def beat(self) -> Fraction:
        """Seconds of which all frames' times are multiples, as far as is known."""
        return 1 / self.stream.base_rate if self.stream.base_rate else self.time_base

    @property
    def frames(self) -> int | None:
        """How many frames there will be, about; None if nobody knows."""
        start, end = self.encoding.span
        if not start and end is None and self.stream.frames:
            return self.stream.frames
        whole = self.stream.duration * self.time_base if self.stream.duration else None
        if whole is None and self.container.duration:
            whole = Fraction(self.container.duration, av.time_base)
        last = min((length for length in (whole, end) if length is not None), default=None)
        return None if last is None else max(1, round((last - start) * self.rate))

    @property
    def _clock(self) -> Fraction:
        """What the clock shows when the video begins, if that means nothing: in broadcasts it may be any hour."""
        return Fraction(self.container.start_time or 0, av.time_base) if self._is_broadcast else Fraction(0)

    @property
    def _is_broadcast(self) -> bool:
        """Whether the container is made to be tuned in to: its clock begins anywhere, and it has no index."""
        return self.container.format.name in ("mpegts", "mpeg")

    @property
    def notes(self) -> list[str]:
        """What of the video got lost so far, one sentence each."""
        found = ["its transparency is left out"] if self._transparent else []
        if self._lost or self._incomplete:
            found.append(f"it is damaged: {self._lost} frames are lost, {self._incomplete} incomplete")
        stated, reached = Fraction(self.container.duration or 0, av.time_base), self._reached
        if self.encoding.end is None and stated - reached > max(SLACK, float(stated) / 50):
            found.append(f"it breaks off after {float(reached):.1f} of {float(stated):.1f} seconds; copy it anew")
        return found

    @property
    def chapters(self) -> "list[Chapter]":
        """Those of the part that is asked for, counted from its start."""
        (start, end), found = self.encoding.span, list["Chapter"]()
        for chapter in self.container.chapters():
            base = chapter["time_base"] or Fraction(1, 1000)
            first, last = max(chapter["start"] * base, start), chapter["end"] * base
            last = last if end is None else min(last, end)
            if first < last:
                found.append({**chapter, "start": round((first - start) / base), "end": round((last - start) / base)})
        return found

    @property
    def others(self) -> list[Stream]:
        """Sound, subtitles, pictures on the cover, attachments, data: what is not decoded."""
        streams = [stream for stream in self.container.streams if stream.index != self.stream.index]
        return [stream for stream in streams if stream.discard < Discard.all]  # the text of MP4's chapters is none

    def items(self) -> Iterator[Item]:
        """Frames as they are shown, and packets of all other streams, those within the part that is asked for.

        Time stamps count from the start that is asked for; a broadcast's, whose clock begins anywhere, from its first.
        Raises ImageError for a file that cannot be read on.
        """
        start, end = self.encoding.span
        shift = start + self._clock
        steady = {stream.index for stream in self.container.streams.audio} | {self.stream.index}
        over = set[int]()
        with reading(self.path):
            self._approach(start)
            for packet in self.container.demux():
                for item in () if packet.stream.index in over else self._decoded(packet):
                    when = self._time(item)
                    if is_cover(packet.stream):
                        yield item
                    elif end is not None and when is not None and when >= end:
                        over.add(packet.stream.index)
                    elif when is None or when >= start or not start:
                        self._note(item)
                        yield _moved(item, shift)
                if steady <= over:
                    return

    def _approach(self, start: Fraction) -> None:
        """Go to where reading for `start` must begin."""
        before = start - RUN_UP if self._is_broadcast else start
        if before > 0:
            with suppress(av.error.FFmpegError):  # some kinds cannot: then all before it is decoded
                self.container.seek(int((self._origin + before) * av.time_base))

    def _decoded(self, packet: "Packet[Any]") -> Sequence[Item]:
        if packet.stream.index != self.stream.index:
            if is_cover(packet.stream) and packet.size:
                packet.pts = packet.dts = 0  # it is there all the time, which some kinds write as no time
            return [packet] if packet.dts is not None else []
        try:
            return packet.decode()
        except av.error.InvalidDataError:
            when = self._time(packet)
            self._lost += when is None or when >= self.encoding.span[0]
            return []

    def _note(self, item: Item) -> None:
        """Keep in mind how far the clip goes, and how well."""
        self._reached = max(self._reached, end_of(item) - self._origin)
        self._incomplete += isinstance(item, VideoFrame) and item.is_corrupt

    def _time(self, item: Item) -> Fraction | None:
        """When a frame or a packet is shown, in seconds from the video's beginning."""
        when = _time(item)
        return None if when is None else when - self._origin

    @property
    def _origin(self) -> Fraction:
        return (self.stream.start_time or 0) * self.time_base

    def planar(self, frame: VideoFrame) -> VideoFrame:
        """A frame in the layout of `still`, to be written to."""
        still = self.still
        if (frame.format.name, frame.width, frame.height) == (still.format, still.width, still.height):
            frame.make_writable()
            return frame
        how: dict[str, Any] = {"interpolation": EXACT, "dst_colorspace": still.scaler, "dst_color_range": still.range}
        if not frame.format.is_rgb:
            how |= {"src_colorspace": still.scaler, "src_color_range": still.range}
        return frame.reformat(still.width, still.height, still.format, **how)

    def small(self, frame: VideoFrame, side: int) -> Array:
        """A frame upright as RGB, uint8 (h, w, 3), with at most `side` pixels at the longer side."""
        scale = min(1.0, side / max(frame.width, frame.height))
        width, height = (max(1, round(length * scale)) for length in (frame.width, frame.height))
        how: dict[str, Any] = {"interpolation": EXACT, "dst_color_range": ColorRange.JPEG}
        if not frame.format.is_rgb:
            how |= {"src_colorspace": self.still.scaler, "src_color_range": self.still.range}
        rgb = frame.reformat(width, height, "rgb24", **how).to_ndarray()
        return np.ascontiguousarray(np.rot90(rgb, self.still.turns))


def arrays(frame: VideoFrame, still: Still) -> list[Array]:
    """The planes of a frame laid out as `still`, brightness first, (h, w) uint8 or uint16: views, to be written to."""
    planes = []
    for plane in frame.planes[:3]:
        rows = np.frombuffer(cast(Any, plane), np.uint8).reshape(-1, plane.line_size)[: plane.height]
        wide = plane.width * (2 if still.coding.bits > 8 else 1)
        planes.append(rows[:, :wide].view("<u2" if still.coding.bits > 8 else np.uint8))
    return planes


def blank(still: Still, like: VideoFrame) -> VideoFrame:
    """A new frame laid out as `still`, shown when `like` is."""
    frame = VideoFrame(still.width, still.height, still.format)
    return shown_with(frame, like)


def shown_with(frame: VideoFrame, like: VideoFrame) -> VideoFrame:
    """`frame`, to be shown when `like` is."""
    frame.pts, frame.time_base, frame.duration = like.pts, like.time_base, like.duration
    return frame


def is_cover(stream: Stream) -> bool:
    """Whether a stream is one picture that stands for the file."""
    return bool(stream.disposition & Disposition.attached_pic)


def end_of(item: Item) -> Fraction:
    """Until when, in seconds."""
    return (_time(item) or Fraction(0)) + (item.duration or 0) * (item.time_base or 0)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What FFmpeg says about a file that is read, in one line."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise ImageError(f"{path} cannot be read as a video: {error.strerror}") from error


def _opened(path: Path) -> tuple[InputContainer, VideoStream]:
    """A file and the stream in it that is shown."""
    if not path.exists():
        raise UsageError(f"{path} does not exist; expected a video file")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; expected a video file")
    with reading(path):
        container = av.open(f"file:{path}", metadata_errors="replace")
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
        container.close()
        raise ImageError(f"{path} holds no video")
    codec: CodecContext | None = stream.codec_context
    if codec is None:
        container.close()
        raise ImageError(f"{path}: its video is of a kind that cannot be decoded")
    stream.thread_type = "AUTO"
    return container, stream


def _first(path: Path) -> VideoFrame:
    container, stream = _opened(path)
    try:
        with reading(path):
            for packet in container.demux(stream):
                with suppress(av.error.InvalidDataError):
                    for frame in packet.decode():
                        return frame
    finally:
        container.close()
    raise ImageError(f"{path} holds no picture that can be decoded")


def _still(frame: VideoFrame, stream: VideoStream, formats: list[str]) -> Still:
    """What the frames of a stream share, given its first one, in a layout that is among `formats`."""
    rgb = frame.format.is_rgb
    layout, bits = _layout(frame, formats)
    matrix = _BT709 if rgb else frame.colorspace
    display: Any = frame.side_data.get("DISPLAYMATRIX")
    return Still(
        frame.width,
        frame.height,
        layout,
        Coding(bits, not rgb and _is_full(frame), _MATRICES[_known(matrix, frame.height)][:2]),
        grey=len(frame.format.components) == 1 and not rgb,
        matrix=matrix,
        primaries=frame.color_primaries,
        transfer=frame.color_trc,
        turns=round(frame.rotation / 90) % 4,
        display=tuple(np.frombuffer(display, np.int32).tolist()) if display is not None else None,
        aspect=stream.sample_aspect_ratio,
    )


def _layout(frame: VideoFrame, formats: list[str]) -> tuple[str, int]:
    """The layout of colour and the bits, among those an encoder takes, that lose least of a frame."""
    known = {f"yuv{layout}p{_suffix(bits)}": (layout, bits) for layout in _LAYOUTS for bits in _DEPTHS}
    even = [name for name in known if name in formats and _divides(_LAYOUTS[known[name][0]], frame)]
    best, _ = find_best_pix_fmt_of_list(even or [name for name in known if name in formats], frame.format.name)
    assert best is not None  # the list is not empty
    return known[best.name]


def _divides(shared: tuple[int, int], frame: VideoFrame) -> bool:
    return frame.width % shared[0] == 0 and frame.height % shared[1] == 0


def _suffix(bits: int) -> str:
    return f"{bits}le" if bits > 8 else ""


def _formats(encoder: str) -> list[str]:
    return [each.name for each in Encoder(encoder, "w").video_formats or ()]


def _is_full(frame: VideoFrame) -> bool:
    return frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")


def _known(matrix: int, height: int) -> int:
    """The number of a matrix; where none is stated, what is usual for the height of the picture."""
    return matrix if matrix in _MATRICES else _BT709 if height >= _HD else _BT601


def _moved(item: Item, shift: Fraction) -> Item:
    """A frame or a packet, shown `shift` seconds earlier."""
    if shift and item.time_base:
        units = round(shift / item.time_base)
        item.pts = None if item.pts is None else item.pts - units
        item.dts = None if item.dts is None else item.dts - units
    return item


def _time(item: Item) -> Fraction | None:
    """When a frame or a packet is shown, in seconds."""
    return None if item.pts is None or item.time_base is None else item.pts * item.time_base
