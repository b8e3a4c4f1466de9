"""A video file being made: frames encoded, everything else as it lay in the file that was read."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.codec.context import Flags
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from nedr.errors import NedrError, UsageError
from nedr.video import formats
from nedr.video.reader import Clip, Still, end_of, is_cover

TRANSPORT = frozenset(
    {"h264", "libx264", "hevc", "libx265", "mpeg4", "mpeg2video", "mpeg1video"}
    | {"aac", "ac3", "eac3", "mp2", "mp3", "dts", "opus", "truehd", "pcm_bluray"}
    | {"dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle"}
)
"""What a transport stream has a name for; FFmpeg writes anything else into it too, but nothing can read that."""


class Sink:
    """A video file being made at `part`, later to be called `path`: one stream of frames, and copied ones.

    still: what its frames share;  copies: whether the clip's other streams come along
    notes: what could not come along

    Used in a `with`, at whose end it is whole. Raises UsageError when the container cannot hold the streams, NedrError
    when encoding or writing fails.
    """

    def __init__(self, clip: Clip, path: Path, part: Path, still: Still, *, copies: bool) -> None:
        self.path, self.notes, self._clip = path, list[str](), clip
        self._last: int | None = None
        self._end = Fraction(0)  # of the last frame, in seconds
        self._first_dts: int | None = None
        self._held: list[Packet[Any]] = []
        self._copied: dict[int, Stream] = {}
        kind = formats.CONTAINERS[path.suffix.lower()]
        with writing(path):
            self._container = av.open(f"file:{part}", "w", format=kind, container_options=_options(clip, kind))
            self._container.metadata.update(clip.container.metadata)
            self._stream = self._encoder(clip, still)
            self._step = max(1, round(1 / (clip.rate * clip.time_base)))
            if copies:
                self._copied = {stream.index: copy for stream in clip.others if (copy := self._copy_of(stream, clip))}
                self._container.set_chapters(clip.chapters)
            self._start(clip.codec.encoder)

    def __enter__(self) -> "Sink":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with suppress(av.error.FFmpegError):
                self._container.close()
            return
        with writing(self.path):
            self._encode(None)
            self._container.close()

    def write(self, frame: VideoFrame) -> None:
        """The next frame; one without a time stamp, or with a false one, follows the last."""
        frame.pict_type = 0  # the encoder decides
        if self._last is not None and (frame.pts is None or frame.pts <= self._last):
            frame.pts = self._last + (self._step if frame.pts is None else 1)
        self._last = frame.pts = frame.pts or 0
        self._end = end_of(frame) if frame.duration else (frame.pts + self._step) * self._clip.time_base
        with writing(self.path):
            self._encode(frame)

    def copy(self, packet: "Packet[Any]") -> None:
        """A packet of another stream as it is."""
        copy = self._copied.get(packet.stream.index)
        if copy is not None and not _is_pause(packet):
            packet.stream = copy
            with writing(self.path):
                self._container.mux(packet)

    def _encode(self, frame: VideoFrame | None) -> None:
        """Encode a frame, None at the end; the last packet is held back, as its length is known at the end alone."""
        self._held += self._stream.encode(frame)
        if self._first_dts is None and self._held:
            self._first_dts = self._held[0].dts
        if frame is None and self._held and self._container.format.name in ("mp4", "mov"):
            # There the video is as long as its packets, and the last of these need not be of the last frame.
            last, first = self._held[-1], self._first_dts
            if last.dts is not None and first is not None:
                last.duration = max(1, round(self._end / last.time_base) - (last.dts - first))
        while len(self._held) > (frame is not None):
            self._container.mux(self._held.pop(0))

    def _encoder(self, clip: Clip, still: Still) -> VideoStream:
        codec, crf = clip.codec, clip.encoding.crf
        options = dict(codec.options)
        os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder's only way to be told that errors alone matter
        avi = self._container.format.name == "avi"
        if avi:  # it keeps no time stamps: frames must come in their order, and evenly
            options["bf"] = "0"
        if codec.quality is not None:
            options["crf"] = str(codec.quality if crf is None else crf)
        try:
            stream = self._container.add_stream(codec.encoder, rate=clip.rate, options=options)
        except ValueError as error:
            raise self._unfit(codec.encoder) from error
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        stream.width, stream.height, stream.pix_fmt = still.width, still.height, still.format
        context.time_base, context.thread_count = clip.beat if avi else clip.time_base, 0
        context.colorspace, context.color_range = still.matrix, still.range
        context.color_primaries, context.color_trc = still.primaries, still.transfer
        context.flags |= Flags.frame_duration
        if still.aspect:
            context.sample_aspect_ratio = still.aspect
        if codec.encoder == "libx265" and self._container.format.name in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # by which Apple's players know it
        stream.set_display_matrix(still.display)
        _describe(stream, clip.stream)
        return stream

    def _start(self, encoder: str) -> None:
        """Write the header, where some containers refuse what they said they would take."""
        if self._container.format.name == "mpegts" and self._stream.codec_context.name not in TRANSPORT:
            raise self._unfit(encoder)
        try:
            self._container.start_encoding()
        except av.error.ArgumentError as error:
            raise self._unfit(encoder) from error

    def _unfit(self, encoder: str) -> UsageError:
        return UsageError(f"{self.path.suffix} cannot hold video made by {encoder}; choose another --codec or .mkv")

    def _copy_of(self, stream: Stream, clip: Clip) -> Stream | None:
        """A stream for the packets of another; None for data that the container cannot hold."""
        name = f"{stream.codec_context.name} {stream.type}" if stream.codec_context else stream.type
        if _holds(self._container.format.name, stream):
            copy = self._container.add_stream_from_template(stream, opaque=True)
            _describe(copy, stream)
            if stream.type == "video" and not is_cover(stream):
                self.notes.append(f"its video stream {stream.index} comes along as it is; only the main one is cleared")
            return copy
        if stream.type in ("audio", "subtitle"):
            fitting = [suffix for suffix, kind in formats.CONTAINERS.items() if _holds(kind, stream)]
            expected = " or ".join(fitting) or f"a video without {stream.type}"
            raise UsageError(f"{self.path.suffix} cannot hold the {name} of {clip.path}; expected {expected}")
        self.notes.append(f"its {name} stream {stream.index} is left out, which {self.path.suffix} cannot hold")
        return None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What FFmpeg says about a file that is written, in one line."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise NedrError(f"{path} could not be written: {error.strerror}") from error


def _is_pause(packet: "Packet[Any]") -> bool:
    """Whether a packet is the silence between two subtitles in MP4, which muxers write of themselves."""
    stream = packet.stream
    return stream.type == "subtitle" and stream.codec_context.name == "mov_text" and bytes(packet) == b"\0\0"


def _holds(kind: str, stream: Stream) -> bool:
    """Whether a container can hold copies of a stream's packets."""
    if kind == "mpegts" and not (stream.codec_context and stream.codec_context.name in TRANSPORT):
        return False
    try:
        with av.open(io.BytesIO(), "w", format=kind) as trial:
            trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
    except (ValueError, av.error.FFmpegError):
        return False
    return True


def _describe(copy: Stream, stream: Stream) -> None:
    """Language, title and what else a stream says of itself."""
    copy.metadata.update(stream.metadata)
    copy.disposition = stream.disposition


def _options(clip: Clip, kind: str) -> dict[str, str]:
    """What the muxer is told: without this, names of metadata that it does not know, such as Apple's, would be lost."""
    own = any("." in name for name in clip.container.metadata)
    return {"movflags": "use_metadata_tags"} if own and kind in ("mp4", "mov") else {}
