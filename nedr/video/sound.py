"""Sound that a container cannot hold as it is, converted to a codec that its players know."""

from collections.abc import Iterator
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

ENCODERS = {
    "mp4": "aac",
    "mov": "aac",
    "mpegts": "aac",
    "matroska": "flac",
    "webm": "libopus",
    "avi": "pcm_s16le",
}
"""By container: FLAC and PCM, which are lossless, where it can hold them."""

_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
"""By the number of channels, which is all that old formats state."""

_BIT_RATE = 96_000
_OPUS_RATE = 48_000


class Conversion:
    """Converts a stream of sound for `container`, with its encoder in ENCODERS.

    Raises ValueError for sound that cannot be decoded.
    """

    def __init__(self, container: OutputContainer, source: Stream) -> None:
        if not isinstance(source, AudioStream) or source.codec_context is None:
            raise ValueError("this sound cannot be decoded")
        self.source, self.encoder = source, ENCODERS[container.format.name]
        heard = source.codec_context
        rate = _OPUS_RATE if self.encoder == "libopus" else heard.sample_rate or _OPUS_RATE
        made = container.add_stream(self.encoder, rate=rate)
        assert isinstance(made, AudioStream)
        made.codec_context.layout = _LAYOUTS.get(heard.layout.nb_channels, "stereo")
        if self.encoder in ("aac", "libopus"):
            made.codec_context.bit_rate = _BIT_RATE * max(1, heard.layout.nb_channels)
        self.stream = made
        self._end = 0  # of the latest packet

    def packets(self, packet: "Packet[Any] | None") -> Iterator["Packet[Any]"]:
        """The packets made from one of the source; None ends it. Damaged packets are skipped."""
        try:
            frames = self.source.codec_context.decode(packet)
        except av.error.InvalidDataError:
            frames = []
        for frame in [*frames, *([None] if packet is None else [])]:
            for made in self.stream.encode(frame):
                if not made.size or made.pts is None:  # FLAC's last, which holds only its checksum
                    made.pts = made.dts = self._end
                self._end = made.pts + (made.duration or 0)
                yield made
