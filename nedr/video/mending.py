"""Frames as they were meant: with times where a container stores none, repeated where it says so, not interlaced."""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import av
import numpy as np
from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream


class Repair:
    """Gives frames of AVI and Ogg their times: AVI stores times only for packets, Theora marks frames as repeated."""

    def __init__(self, stream: VideoStream) -> None:
        self._theora = stream.codec_context.codec.canonical_name == "theora"
        self._times = deque[int]()
        self._copy: VideoFrame | None = None

    def __call__(self, packet: "Packet[Any]", frames: list[VideoFrame]) -> list[VideoFrame]:
        """The frames of a packet, in order."""
        stays = not packet.size and packet.dts is not None
        if self._theora:
            return self._repeated(packet, frames, stays)
        if packet.size and packet.dts is not None:
            self._times.append(packet.dts)
        for frame in frames:
            frame.pts = self._times.popleft() if self._times else None
        return frames

    def _repeated(self, packet: "Packet[Any]", frames: list[VideoFrame], stays: bool) -> list[VideoFrame]:
        if stays and self._copy:
            frames = [self._copy]
            frames[0].pts, frames[0].time_base = packet.pts, packet.time_base
        if frames:
            self._copy = _copy_of(frames[-1])  # the caller changes the frame it gets
        return frames


class Deinterlacer:
    """Turns interlaced frames into progressive ones, one for one and at the same times, with FFmpeg's bwdif."""

    def __init__(self, stream: VideoStream) -> None:
        self._base, self._graph = stream.time_base, Graph()
        source = self._graph.add_buffer(template=stream, time_base=stream.time_base)
        weave, sink = self._graph.add("bwdif", "mode=send_frame:deint=interlaced"), self._graph.add("buffersink")
        self._graph.link_nodes(source, weave, sink).configure()

    def __call__(self, packet: "Packet[Any]", frames: Sequence[VideoFrame]) -> list[VideoFrame]:
        """The frames finished with those of a packet; with the last packet, all that remain."""
        done = list[VideoFrame]()
        for frame in [*frames, *([None] if not packet.size and packet.dts is None else [])]:
            self._graph.vpush(frame)
            with suppress(av.error.BlockingIOError, av.error.EOFError):
                while True:
                    done.append(self._graph.vpull())
        for frame in done:
            if frame.pts is not None and frame.time_base and self._base:
                frame.pts, frame.time_base = round(frame.pts * frame.time_base / self._base), self._base
        return done


def _copy_of(frame: VideoFrame) -> VideoFrame:
    made = VideoFrame(frame.width, frame.height, frame.format.name)
    for target, source in zip(made.planes, frame.planes, strict=True):
        rows = [np.frombuffer(cast(Any, plane), np.uint8).reshape(-1, plane.line_size) for plane in (target, source)]
        shared = min(part.shape[1] for part in rows)
        rows[0][:, :shared] = rows[1][: len(rows[0]), :shared]
    return made
