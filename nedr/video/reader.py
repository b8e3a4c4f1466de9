"""A video file opened: frames as planes in the order they are shown, everything else as it lies in the file."""

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

# Seconds before a wanted frame within which there is surely one that does not build on others.
RUN_UP = 10
# Seconds by which the parts of a video may well be shorter than it says.
SLACK = 0.5


class Clip:
    """A video file opened for reading, at the part that `encoding` asks for.

    codec: what `target`, the file it becomes, is to be encoded with;  still: what its frames share, in a layout that
    the encoder takes

    Raises UsageError for a file that is not there and a codec that cannot be, ImageError if it is not a video.
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
        """Seconds for one unit of the frames' time stamps."""
        return self.stream.time_base or Fraction(1, 90000)

    @property
    def rate(self) -> Fraction:
        """Frames per second, on average."""
        return self.stream.guessed_rate or self.stream.average_rate or Fraction(25)

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
        still = self.still
        found = ["its transparency is left out"] if self._transparent else []
        if self._size != (still.width, still.height):
            found.append(
                f"its {self._size[0]} x {self._size[1]} pixels become {still.width} x {still.height}, as 4:2:0 takes "
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
        """Seconds that the video lasts, as the file states it; 0 where it does not."""
        if self.stream.duration:
            return self.stream.duration * self.time_base
        whole = Fraction(self.container.duration or 0, av.time_base)
        return whole - self._origin if whole > self._origin else whole

    def _check_dropped(self) -> None:
        """Raises UsageError for a stream that is to be left out and is not there, or cannot be."""
        numbers = {str(stream.index) for stream in self.container.streams} - {str(self.stream.index)}
        if unknown := [name for name in self.encoding.drop if name.isdecimal() and name not in numbers]:
            known = ", ".join(f"{each.index} {each.type}" for each in self.container.streams if each is not self.stream)
            self.container.close()
            raise UsageError(f"{self.path} has no stream {unknown[0]} that can be left out; found {known or 'none'}")

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
        kept = [stream for stream in streams if not {stream.type, str(stream.index)} & set(self.encoding.drop)]
        return [stream for stream in kept if stream.discard < Discard.all]  # the text of MP4's chapters is none

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
        """Go to where reading for `start` must begin."""
        before = start - RUN_UP if self._is_broadcast else start
        if before > 0:
            with suppress(av.error.FFmpegError):  # some kinds cannot: then all before it is decoded
                self.container.seek(int((self._origin + before) * av.time_base))

    def _items_of(self, packet: "Packet[Any]") -> Sequence[Item]:
        """What a packet holds: frames of the video, itself of any other stream."""
        if packet.stream.index == self.stream.index:
            frames = self._decoded(packet)
            if self._repair:
                frames = self._repair(packet, frames)
            return self._weave(packet, frames) if self._weave else frames
        if is_cover(packet.stream) and packet.size:
            packet.pts = packet.dts = 0  # it is there all the time, which some kinds write as no time
        return [packet] if packet.dts is not None else []

    def _decoded(self, packet: "Packet[Any]") -> list[VideoFrame]:
        """The frames that are complete with a packet of the video."""
        if not packet.size and packet.dts is not None:
            return []  # as Theora says that a picture stays
        try:
            return packet.decode()
        except av.error.InvalidDataError:
            when = self._time(packet)
            self._lost += when is None or when >= self.encoding.span[0]
            return []

    def _note(self, item: Item) -> None:
        """Keep in mind how far the clip goes, and how well."""
        self._reached = max(self._reached, end_of(item) - self._origin)
        if isinstance(item, VideoFrame):
            self._incomplete += item.is_corrupt
            if (item.width, item.height) != self._size and not self._resized:
                self._resized = item.width, item.height, self._time(item) or Fraction(0)

    def _time(self, item: Item) -> Fraction | None:
        """When a frame or a packet is shown, in seconds from the video's beginning."""
        when = _time(item)
        return None if when is None else when - self._origin

    @property
    def _origin(self) -> Fraction:
        return (self.stream.start_time or 0) * self.time_base

    def planar(self, frame: VideoFrame) -> VideoFrame:
        """A frame in the layout of `still`, to be written to."""
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
        """A frame upright as RGB, uint8 (h, w, 3), with at most `side` pixels at the longer side."""
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


def _open_video(path: Path) -> tuple[InputContainer, VideoStream]:
    """A file and the stream in it that is shown."""
    if not path.exists():
        raise UsageError(f"{path} does not exist; expected a video file")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; expected a video file")
    if _lacks_index(path):
        raise ImageError(
            f"{path} has no index: its recording was not finished, or it was not copied whole; a tool that repairs MP4 "
            f"may make one from a whole clip of the same camera"
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
        raise ImageError(f"{path}: its video is of a kind that cannot be decoded")
    # With frames decoded side by side, nobody could tell after which one Theora says that it stays.
    stream.thread_type = "SLICE" if codec.codec.canonical_name == "theora" else "AUTO"
    return container, stream


def _lacks_index(path: Path) -> bool:
    """Whether a file is an MP4 or MOV whose end was never written: all its parts are whole, and none is the index."""
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
                    continue  # as Theora says that a picture stays
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
    """A frame or a packet, shown `shift` seconds earlier."""
    if shift and item.time_base:
        units = round(shift / item.time_base)
        item.pts = None if item.pts is None else item.pts - units
        item.dts = None if item.dts is None else item.dts - units
    return item


def _time(item: Item) -> Fraction | None:
    """When a frame or a packet is shown, in seconds."""
    return None if item.pts is None or item.time_base is None else item.pts * item.time_base
