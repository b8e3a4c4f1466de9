"""An open video file: frames as planes in display order, everything else as stored in the file."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import av
import numpy as np
from av.codec.context import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from nedr.errors import ImageError, UsageError
from nedr.pictures.arrays import Array
from nedr.video.formats import Encoding
from nedr.video.mending import Deinterlacer, Repair
from nedr.video.still import EXACT, arrays, blank, still_of

if TYPE_CHECKING:
    from av.container.core import Chapter

Item: TypeAlias = "VideoFrame | Packet[Any]"

# Seconds before a wanted frame that surely include a key frame.
RUN_UP = 10
# Seconds by which an intact video may be shorter than it states.
SLACK = 0.5


class Clip:
    """A video file opened for reading, at the part that `encoding` asks for.

    codec: how to encode `target`, the result;  still: what its frames share, in a layout that the encoder takes

    Raises UsageError for a missing file or an unusable codec, ImageError if it is not a video.
    """

    def __init__(self, path: Path, target: Path, encoding: Encoding) -> None:
        self.path, self.encoding = path, encoding
        self._lost, self._incomplete, self._reached = 0, 0, Fraction(0)
        self._resized: tuple[int, int, Fraction] | None = None
        first = _first_frame(path)
        parts = first.format.components
        self.codec = encoding.chosen(target.suffix.lower(), max(part.bits for part in parts))
        self.container, self.stream = _open_video(path)
        self.still = still_of(first, self.stream, self.codec.encoder, encoding.chroma)
        self.side_data = first.side_data
        self.interlaced = first.interlaced_frame and not encoding.deinterlace
        alpha = any(part.is_alpha for part in parts) or ("alpha_mode", "1") in _lowered(self.stream.metadata)
        self._transparent, self._size = alpha, (first.width, first.height)
        self._repair = Repair(self.stream) if self.container.format.name in ("avi", "ogg") else None
        self._weave = Deinterlacer(self.stream) if first.interlaced_frame and encoding.deinterlace else None
        self._check_dropped()

    def __enter__(self) -> "Clip":
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of the frames' time stamps."""
        return self.stream.time_base or Fraction(1, 90000)

    @property
    def rate(self) -> Fraction:
        """Frames per second, on average."""
        return self.stream.guessed_rate or self.stream.average_rate or Fraction(25)

    @property
    def beat(self) -> Fraction:
        """All frame times are multiples of this many seconds, as far as is known."""
        return 1 / self.stream.base_rate if self.stream.base_rate else self.time_base

    @property
    def frames(self) -> int | None:
        """About how many frames there will be; None if unknown."""
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
        """The time at which a broadcast's clock happens to start; 0 for any other video."""
        return Fraction(self.container.start_time or 0, av.time_base) if self._is_broadcast else Fraction(0)

    @property
    def _is_broadcast(self) -> bool:
        """Whether the container is meant for broadcasting: its clock starts anywhere, and it has no index."""
        return self.container.format.name in ("mpegts", "mpeg")

    @property
    def notes(self) -> list[str]:
        """What has been lost of the video so far, one sentence each."""
        still = self.still
        found = ["its transparency is left out"] if self._transparent else []
        if self._size != (still.width, still.height):
            found.append(
                f"its {self._size[0]} x {self._size[1]} pixels become {still.width} x {still.height}, as 4:2:0 needs "
                f"even sizes; --chroma 444 keeps them all"
            )
        if self._resized:
            width, height, when = self._resized
            size = f"{self._size[0]} x {self._size[1]}"
            found.append(f"its size changes to {width} x {height} after {float(when):.1f} seconds; {size} is kept")
        if self._lost or self._incomplete:
            found.append(f"it is damaged: {self._lost} frames are lost, {self._incomplete} incomplete")
        stated, reached = self._length, self._reached
        if self.encoding.end is None and stated - reached > max(SLACK, float(stated) / 50):
            found.append(f"it breaks off after {float(reached):.1f} of {float(stated):.1f} seconds; copy it again")
        return found

    @property
    def _length(self) -> Fraction:
        """The video's length in seconds, as the file states it; 0 if it does not."""
        if self.stream.duration:
            return self.stream.duration * self.time_base
        whole = Fraction(self.container.duration or 0, av.time_base)
        return whole - self._origin if whole > self._origin else whole

    def _check_dropped(self) -> None:
        """Raise UsageError if a stream to leave out does not exist or is the main one."""
        numbers = {str(stream.index) for stream in self.container.streams} - {str(self.stream.index)}
        if unknown := [name for name in self.encoding.drop if name.isdecimal() and name not in numbers]:
            known = ", ".join(f"{each.index} {each.type}" for each in self.container.streams if each is not self.stream)
            self.container.close()
            raise UsageError(f"{self.path} has no stream {unknown[0]} that can be left out; found {known or 'none'}")

    @property
    def chapters(self) -> "list[Chapter]":
        """The chapters of the requested part, counted from its start."""
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
        """The streams that are not decoded: sound, subtitles, covers, attachments, data."""
        streams = [stream for stream in self.container.streams if stream.index != self.stream.index]
        kept = [stream for stream in streams if not {stream.type, str(stream.index)} & set(self.encoding.drop)]
        return [stream for stream in kept if stream.discard < Discard.all]  # not the text of MP4's chapters

    def items(self) -> Iterator[Item]:
        """The frames of the requested part in display order, and the packets of all other streams.

        Time stamps count from the requested start; the time at which a broadcast's clock starts is subtracted.
        Raises ImageError when the file cannot be read further.
        """
        start, end = self.encoding.span
        shift = start + self._clock
        steady = {stream.index for stream in self.container.streams.audio} | {self.stream.index}
        over = set[int]()
        with reading(self.path):
            self._approach(start)
            for packet in self.container.demux():
                for item in () if packet.stream.index in over else self._items_of(packet):
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
        """Seek to where reading must begin in order to reach `start`."""
        before = start - RUN_UP if self._is_broadcast else start
        if before > 0:
            with suppress(av.error.FFmpegError):  # some formats cannot: then everything before is decoded
                self.container.seek(int((self._origin + before) * av.time_base))

    def _items_of(self, packet: "Packet[Any]") -> Sequence[Item]:
        """What a packet gives: frames if it is the video's, itself if any other stream's."""
        if packet.stream.index == self.stream.index:
            frames = self._decoded(packet)
            if self._repair:
                frames = self._repair(packet, frames)
            return self._weave(packet, frames) if self._weave else frames
        if is_cover(packet.stream) and packet.size:
            packet.pts = packet.dts = 0  # it is always there, which some formats store as no time
        return [packet] if packet.dts is not None else []

    def _decoded(self, packet: "Packet[Any]") -> list[VideoFrame]:
        """The frames that a packet of the video completes."""
        if not packet.size and packet.dts is not None:
            return []  # how Theora repeats a frame
        try:
            return packet.decode()
        except av.error.InvalidDataError:
            when = self._time(packet)
            self._lost += when is None or when >= self.encoding.span[0]
            return []

    def _note(self, item: Item) -> None:
        """Record how far the clip goes and what is damaged."""
        self._reached = max(self._reached, end_of(item) - self._origin)
        if isinstance(item, VideoFrame):
            self._incomplete += item.is_corrupt
            if (item.width, item.height) != self._size and not self._resized:
                self._resized = item.width, item.height, self._time(item) or Fraction(0)

    def _time(self, item: Item) -> Fraction | None:
        """When a frame or a packet is shown, in seconds from the video's start."""
        when = _time(item)
        return None if when is None else when - self._origin

    @property
    def _origin(self) -> Fraction:
        return (self.stream.start_time or 0) * self.time_base

    def planar(self, frame: VideoFrame) -> VideoFrame:
        """A writable frame in the layout of `still`."""
        still, size = self.still, self._size
        if (frame.format.name, frame.width, frame.height) != (still.format, *size):
            how: dict[str, Any] = {"interpolation": EXACT, "dst_colorspace": still.scaler}
            how |= {"dst_color_range": still.range}
            if not frame.format.is_rgb:
                how |= {"src_colorspace": still.scaler, "src_color_range": still.range}
            frame = frame.reformat(*size, still.format, **how)
        if size == (still.width, still.height):
            frame.make_writable()
            return frame
        cropped = blank(still, frame)
        for target, source in zip(arrays(cropped, still), arrays(frame, still), strict=True):
            target[:] = source[: target.shape[0], : target.shape[1]]
        return cropped

    def small(self, frame: VideoFrame, side: int) -> Array:
        """A frame upright as RGB, uint8 (h, w, 3), its longer side at most `side` pixels."""
        scale = min(1.0, side / max(frame.width, frame.height))
        width, height = (max(1, round(length * scale)) for length in (frame.width, frame.height))
        return self._upright(frame, width, height, "rgb24")

    def grey(self, frame: VideoFrame) -> Array:
        """A frame upright and grey, uint8 (H, W), at the size of `still`."""
        return self._upright(frame, self.still.width, self.still.height, "gray")

    def _upright(self, frame: VideoFrame, width: int, height: int, format: str) -> Array:
        how: dict[str, Any] = {"interpolation": EXACT, "dst_color_range": ColorRange.JPEG}
        if not frame.format.is_rgb:
            how |= {"src_colorspace": self.still.scaler, "src_color_range": self.still.range}
        pixels = frame.reformat(width, height, format, **how).to_ndarray()
        return np.ascontiguousarray(np.rot90(pixels, self.still.turns))


def is_cover(stream: Stream) -> bool:
    """Whether a stream is a cover picture."""
    return bool(stream.disposition & Disposition.attached_pic)


def end_of(item: Item) -> Fraction:
    """When a frame or a packet ends, in seconds."""
    return (_time(item) or Fraction(0)) + (item.duration or 0) * (item.time_base or 0)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn FFmpeg's errors while reading a file into an ImageError of one line."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise ImageError(f"{path} cannot be read as a video: {error.strerror}") from error


def _open_video(path: Path) -> tuple[InputContainer, VideoStream]:
    """A file and its main video stream."""
    if not path.exists():
        raise UsageError(f"{path} does not exist; expected a video file")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; expected a video file")
    if _lacks_index(path):
        raise ImageError(
            f"{path} has no index: the recording was not finished, or the copy is incomplete; an MP4 repair tool may "
            f"rebuild it from an intact clip of the same camera"
        )
    with reading(path):
        container = av.open(f"file:{path}", metadata_errors="replace")
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
        container.close()
        raise ImageError(f"{path} holds no video")
    codec: CodecContext | None = stream.codec_context
    if codec is None:
        container.close()
        raise ImageError(f"{path}: its kind of video cannot be decoded")
    # If frames were decoded in parallel, it would be unknown which of them Theora repeats.
    stream.thread_type = "SLICE" if codec.codec.canonical_name == "theora" else "AUTO"
    return container, stream


def _lacks_index(path: Path) -> bool:
    """Whether a file is an MP4 or MOV whose end was never written: none of its parts is the index."""
    found, size = list[bytes](), path.stat().st_size if path.is_file() else 0
    with path.open("rb") as file:
        at = 0
        while at + 8 <= size:
            file.seek(at)
            length, kind = struct.unpack(">I4s", file.read(8))
            if length == 1:
                length = int.from_bytes(file.read(8), "big")
            if not kind.isalnum() and kind != b"    ":
                return False
            found.append(kind)
            at += length if length >= 8 else size
    return found[:1] == [b"ftyp"] and b"mdat" in found and b"moov" not in found and b"moof" not in found


def _first_frame(path: Path) -> VideoFrame:
    container, stream = _open_video(path)
    try:
        with reading(path):
            for packet in container.demux(stream):
                if not packet.size and packet.dts is not None:
                    continue  # how Theora repeats a frame
                with suppress(av.error.InvalidDataError):
                    for frame in packet.decode():
                        return frame
    finally:
        container.close()
    raise ImageError(f"{path} holds no picture that can be decoded")


def _lowered(tags: Mapping[str, str]) -> set[tuple[str, str]]:
    """Names, in lower case, and values."""
    return {(name.lower(), value) for name, value in tags.items()}


def _moved(item: Item, shift: Fraction) -> Item:
    """A frame or a packet, moved `shift` seconds earlier."""
    if shift and item.time_base:
        units = round(shift / item.time_base)
        item.pts = None if item.pts is None else item.pts - units
        item.dts = None if item.dts is None else item.dts - units
    return item


def _time(item: Item) -> Fraction | None:
    """When a frame or a packet is shown, in seconds."""
    return None if item.pts is None or item.time_base is None else item.pts * item.time_base
