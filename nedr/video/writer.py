"""A video file being written: frames encoded, everything else copied from the source file."""

import io
import os
import re
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
from nedr.video import formats, hdr, timecode
from nedr.video.reader import Clip, end_of, is_cover
from nedr.video.sound import Conversion
from nedr.video.still import Still

TRANSPORT = frozenset(
    {"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"}
    | {"aac", "aac_latm", "ac3", "eac3", "mp2", "mp3", "dts", "opus", "truehd", "pcm_bluray", "s302m"}
    | {"dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle", "klv", "timed_id3"}
)
"""Codecs that a transport stream can name; FFmpeg writes any other into it too, but nothing can read that."""

_OF_PACKETS = re.compile(r"encoder|_statistics_\w+|(bps|duration|number_of_(frames|bytes))(-\w+)?", re.IGNORECASE)
"""Tags that describe a stream's packets: who made them, how many there are."""


class Sink:
    """A video file being written at `part`, later renamed to `path`: one stream of frames, and copied ones.

    still: what its frames share;  copies: whether to copy the clip's other streams
    notes: what could not be copied

    Use it in a `with`; the file is complete at its end. Raises UsageError when the container cannot hold the streams,
    NedrError when encoding or writing fails.
    """

    def __init__(self, clip: Clip, path: Path, part: Path, still: Still, *, copies: bool) -> None:
        self.path, self.notes, self._clip = path, list[str](), clip
        self._last: int | None = None
        self._end = Fraction(0)  # of the last frame, in seconds
        self._first_dts: int | None = None
        self._held: list[Packet[Any]] = []
        self._copied: dict[int, Stream] = {}
        self._converted: dict[int, Conversion] = {}
        kind = formats.CONTAINERS[path.suffix.lower()]
        with writing(path):
            self._container = av.open(f"file:{part}", "w", format=kind, container_options=_options(clip, kind))
            self._container.metadata.update(timecode.later(clip.container.metadata, clip.encoding.start, clip.rate))
            self._stream = self._encoder(clip, still)
            self._step = max(1, round(1 / (clip.rate * clip.time_base)))
            if copies:
                for stream in clip.others:
                    self._take(stream)
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
            for conversion in self._converted.values():
                self._container.mux(list(conversion.packets(None)))
            self._encode(None)
            self._container.close()

    def write(self, frame: VideoFrame) -> None:
        """Write the next frame; one with a missing or wrong time stamp follows the last."""
        frame.pict_type = 0  # the encoder decides
        if self._last is not None and (frame.pts is None or frame.pts <= self._last):
            frame.pts = self._last + (self._step if frame.pts is None else 1)
        self._last = frame.pts = frame.pts or 0
        self._end = end_of(frame) if frame.duration else (frame.pts + self._step) * self._clip.time_base
        with writing(self.path):
            self._encode(frame)

    def copy(self, packet: "Packet[Any]") -> None:
        """Write a packet of another stream, as it is or converted."""
        if conversion := self._converted.get(packet.stream.index):
            with writing(self.path):
                self._container.mux(list(conversion.packets(packet)))
        copy = self._copied.get(packet.stream.index)
        if copy is not None and not _is_pause(packet):
            packet.stream = copy
            with writing(self.path):
                self._container.mux(packet)

    def _encode(self, frame: VideoFrame | None) -> None:
        """Encode a frame, None at the end; the last packet is held back, as its duration is known only then."""
        self._held += self._stream.encode(frame)
        if self._first_dts is None and self._held:
            self._first_dts = self._held[0].dts
        if frame is None and self._held and self._container.format.name in ("mp4", "mov"):
            # In these the video is as long as its packets, and the last packet need not be the last frame's.
            last, first = self._held[-1], self._first_dts
            if last.dts is not None and first is not None:
                last.duration = max(1, round(self._end / last.time_base) - (last.dts - first))
        while len(self._held) > (frame is not None):
            self._container.mux(self._held.pop(0))

    def _encoder(self, clip: Clip, still: Still) -> VideoStream:
        codec, kind = clip.codec, self._container.format.name
        os.environ.setdefault("SVT_LOG", "1")  # the only way to make the AV1 encoder log errors alone
        try:
            stream = self._container.add_stream(codec.encoder, rate=clip.rate, options=self._told(clip))
        except ValueError as error:
            raise self._unfit(codec.encoder) from error
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        stream.width, stream.height, stream.pix_fmt = still.width, still.height, still.format
        context.time_base, context.thread_count = clip.beat if kind == "avi" else clip.time_base, 0
        context.colorspace, context.color_range = still.matrix, still.range
        context.color_primaries, context.color_trc = still.primaries, still.transfer
        context.flags |= Flags.frame_duration
        if still.aspect:
            context.sample_aspect_ratio = still.aspect
        if codec.encoder == "libx265" and kind in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # the name that Apple's players know
        self._interlace(stream, clip)
        stream.set_display_matrix(still.display)
        _describe(stream, clip.stream, clip, encoded=True)
        return stream

    def _told(self, clip: Clip) -> dict[str, str]:
        """The encoder's options."""
        codec, crf = clip.codec, clip.encoding.crf
        options = dict(codec.options)
        if self._container.format.name == "avi":  # it stores no times: frames must come in order, evenly spaced
            options["bf"] = "0"
        if codec.quality is not None:
            options["crf"] = str(codec.quality if crf is None else crf)
        if codec.encoder in hdr.ENCODERS:
            for name, value in hdr.options(clip.side_data, codec.encoder).items():
                options[name] = ":".join(filter(None, (options.get(name), value)))
        elif hdr.is_stated(clip.side_data):
            self.notes.append(f"its mastering display and light level are left out: {codec.encoder} cannot hold them")
        return options

    def _interlace(self, stream: VideoStream, clip: Clip) -> None:
        """Mark the frames as interlaced if they are and the encoder can."""
        if not clip.interlaced:
            return
        if clip.codec.encoder not in ("libx264", "prores_ks", "ffv1"):
            self.notes.append(f"it is interlaced, which {clip.codec.encoder} cannot mark; use --deinterlace")
            return
        stream.codec_context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        stream.codec_context.field_order = clip.stream.codec_context.field_order

    def _start(self, encoder: str) -> None:
        """Write the header, when some containers refuse what they have accepted."""
        if self._container.format.name == "mpegts" and self._stream.codec_context.codec.canonical_name not in TRANSPORT:
            raise self._unfit(encoder)
        try:
            self._container.start_encoding()
        except av.error.ArgumentError as error:
            raise self._unfit(encoder) from error

    def _unfit(self, encoder: str) -> UsageError:
        return UsageError(f"{self.path.suffix} cannot hold video made by {encoder}; choose another --codec or .mkv")

    def _take(self, stream: Stream) -> None:
        """Add a stream for the packets of another: copied, converted sound, or left out with a note.

        Raises UsageError for subtitles that another container could hold.
        """
        kind, clip = self._container.format.name, self._clip
        if timecode.is_track(stream):
            return  # the muxer makes one from the tag, or the tag alone is kept
        if _holds(kind, stream):
            copy = self._copied[stream.index] = self._container.add_stream_from_template(stream, opaque=True)
            _describe(copy, stream, clip)
            if stream.type == "video" and not is_cover(stream):
                self.notes.append(f"its video stream {stream.index} is copied unchanged; only the main one is dehazed")
            return
        name = _name(stream)
        if stream.type == "audio":
            with suppress(ValueError):
                made = self._converted[stream.index] = Conversion(self._container, stream)
                _describe(made.stream, stream, clip, encoded=True)
                self.notes.append(f"its {name} becomes {made.encoder}, as {self.path.suffix} cannot hold it")
                return
        fitting = [suffix for suffix, kind in formats.CONTAINERS.items() if _holds(kind, stream)]
        if stream.type == "subtitle" and fitting:
            raise UsageError(
                f"{self.path.suffix} cannot hold the {name} of {clip.path}; expected {' or '.join(fitting)}, or "
                f"--drop-stream subtitle"
            )
        reason = f"{self.path.suffix} cannot hold it" if _codec(stream) else "FFmpeg cannot write its kind"
        self.notes.append(f"its {name} stream {stream.index} is left out: {reason}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn FFmpeg's errors while writing a file into a NedrError of one line."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise NedrError(f"{path} could not be written: {error.strerror}") from error


def _is_pause(packet: "Packet[Any]") -> bool:
    """Whether a packet is the silence between two subtitles in MP4, which muxers write themselves."""
    stream = packet.stream
    return stream.type == "subtitle" and stream.codec_context.name == "mov_text" and bytes(packet) == b"\0\0"


def _codec(stream: Stream) -> str:
    """FFmpeg's name for a stream's codec, empty if it knows none."""
    if stream.codec_context:
        return stream.codec_context.codec.canonical_name
    return str(getattr(stream, "name", None) or "")


def _name(stream: Stream) -> str:
    """A stream's name in messages."""
    codec = _codec(stream) if stream.codec_context else stream.metadata.get("handler_name", _codec(stream))
    return f"{codec} {stream.type}" if codec else stream.type


def _holds(kind: str, stream: Stream) -> bool:
    """Whether a container can hold copies of a stream's packets."""
    if kind == "mpegts" and _codec(stream) not in TRANSPORT:
        return False
    if _codec(stream) == "bin_data" and not (kind in ("mp4", "mov") and "mov" in stream.container.format.name):
        return False  # it would be labelled as GoPro's there
    if stream.type == "data" and not _codec(stream):
        return False  # its four-letter kind, such as djmd, would be lost
    try:
        with av.open(io.BytesIO(), "w", format=kind) as trial:
            copy = trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
            if stream.type == "data":  # some muxers refuse it only when a packet comes
                packet = Packet(bytes(8))
                packet.stream, packet.pts, packet.dts, packet.time_base = (
                    copy,
                    0,
                    0,
                    stream.time_base or Fraction(1, 1000),
                )
                trial.mux(packet)
    except (ValueError, av.error.FFmpegError):
        return False
    return True


def _describe(copy: Stream, stream: Stream, clip: Clip, *, encoded: bool = False) -> None:
    """Copy a stream's language, title and other tags, but not those of packets that are `encoded` or left out."""
    tags = timecode.later(stream.metadata, clip.encoding.start, clip.rate)
    if encoded or clip.encoding.start or clip.encoding.end is not None:
        tags = {name: value for name, value in tags.items() if not _OF_PACKETS.fullmatch(name)}
    copy.metadata.update(tags)
    copy.disposition = stream.disposition


def _options(clip: Clip, kind: str) -> dict[str, str]:
    """The muxer's options: without them, metadata under names it does not know, such as Apple's, would be lost."""
    own = any("." in name for name in clip.container.metadata)
    return {"movflags": "use_metadata_tags"} if own and kind in ("mp4", "mov") else {}
