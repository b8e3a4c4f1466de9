"""Real video files for the tests and benchmarks, made from photographs that may be shipped."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import Interpolation
from PIL import Image

PHOTOS = Path(__file__).parent.parent / "examples"
TICKS = 12800  # of a video's clock in a second
AIRLIGHT = np.array([0.80, 0.82, 0.86], np.float32)
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
COLOURS = {"colorspace": 1, "color_range": 1, "color_primaries": 1, "color_trc": 1}


def panned(photo, size, count, *, step=3, sigma=0.0, seed=0):
    """`count` frames (H, W, 3) float32 in [0, 1]: a window that moves over a photograph behind haze, with noise."""
    height, width = size
    travel = step * (count - 1)
    picture = Image.open(PHOTOS / f"{photo}.jpg").convert("RGB").resize((width + travel, height))
    clear = np.asarray(picture, np.float32) / 255
    t = np.linspace(0.4, 0.9, height, dtype=np.float32)[:, None, None]
    hazy, rng = clear * t + AIRLIGHT * (1 - t), np.random.default_rng(seed)
    for number in range(count):
        frame = hazy[:, number * step : number * step + width]
        noise = rng.normal(0, sigma, frame.shape).astype(np.float32) if sigma else 0
        yield np.clip(frame + noise, 0, 1)


def coded(frame, format, *, matrix="ITU709", full=False):
    """A frame (H, W, 3) in [0, 1] as FFmpeg holds it."""
    deep = np.rint(frame * 65535).astype(np.uint16)
    made = av.VideoFrame.from_ndarray(deep, "rgb48le") if "10" in format else None
    made = made or av.VideoFrame.from_ndarray(np.rint(frame * 255).astype(np.uint8), "rgb24")
    range = "JPEG" if full else "MPEG"
    return made.reformat(format=format, interpolation=EXACT, dst_colorspace=matrix, dst_color_range=range)


def shown(frame, matrix="ITU709", full=False):
    """A frame as it is seen: (H, W, 3) uint8."""
    how = {"src_colorspace": matrix, "src_color_range": "JPEG" if full else "MPEG", "dst_color_range": "JPEG"}
    return frame.reformat(format="rgb24", interpolation=EXACT, **how).to_ndarray()


def film(path, frames, *, times=None, rate=25, format="yuv420p", codec="libx264", sound=True, **how):
    """A video file of `frames` (H, W, 3) in [0, 1], shown at `times` in ticks, with sound unless told otherwise.

    subtitles: a text in SRT;  turned: degrees that it is to be turned by;  options: for the encoder
    colours: what it states, as COLOURS;  metadata: of the whole file;  chapters: as PyAV takes them
    attached: a font's bytes;  heard: how sound is coded;  interlaced: whether the upper line of two comes first
    tags: of the video stream;  telemetry: bytes with each frame, in a stream of their own of `telemetry_kind`
    """
    frames = list(frames)
    times = times or [number * TICKS // rate for number in range(len(frames))]
    colours = how.get("colours", COLOURS)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        container.metadata.update(how.get("metadata", {}))
        options = {"crf": "12", "preset": "ultrafast"} if codec in ("libx264", "libx265") else {}
        options |= {"x265-params": "log-level=error"} if codec == "libx265" else {}
        video = container.add_stream(codec, rate=rate, options=options | how.get("options", {}))
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = format
        video.codec_context.time_base = Fraction(1, rate if path.suffix == ".avi" else TICKS)
        video.metadata.update(how.get("tags", {}))
        if how.get("interlaced"):
            video.codec_context.flags |= Flags.interlaced_dct | Flags.interlaced_me
            video.codec_context.field_order = 2
        for name, value in colours.items():
            setattr(video.codec_context, name, value)
        if how.get("turned"):
            video.set_display_rotation(how["turned"])
        audio = container.add_stream(how.get("heard", "aac"), rate=48000) if sound else None
        if audio:
            audio.codec_context.bit_rate = 128_000
        data = container.add_data_stream(how.get("telemetry_kind", "bin_data")) if how.get("telemetry") else None
        titles = _captions(container, how["subtitles"]) if how.get("subtitles") else []
        container.set_chapters(how.get("chapters", []))
        if how.get("attached"):
            container.add_attachment("font.ttf", "font/ttf", how["attached"])
        for packet in [*(_tone(audio, times[-1] / TICKS + 1 / rate) if audio else ()), *titles]:
            container.mux(packet)
        for frame, shown in zip(frames, times, strict=True):
            picture = coded(frame, format, full=colours.get("color_range") == 2)
            picture.pts, picture.time_base = shown, Fraction(1, TICKS)
            container.mux(video.encode(picture))
            if data:
                packet = av.Packet(how["telemetry"])
                packet.pts = packet.dts = shown
                packet.time_base, packet.stream = Fraction(1, TICKS), data
                container.mux(packet)
        container.mux(video.encode(None))
    return path


def with_cues(data):
    """A transport stream with SCTE-35, a cue each time that its table of streams comes, which FFmpeg cannot write."""
    made, table, cues = [], 0x1000, 0x1F0
    for at in range(0, len(data), 188):
        packet = data[at : at + 188]
        if int.from_bytes(packet[1:3], "big") & 0x1FFF == table:
            body = packet[8 : 4 + (int.from_bytes(packet[6:8], "big") & 0xFFF)]
            known = body[9 + (int.from_bytes(body[7:9], "big") & 0xFFF) :]
            cue = b"\x86" + (0xE000 | cues).to_bytes(2, "big") + b"\xf0\0"
            listed = body[:7] + b"\xf0\x06\x05\x04CUEI" + known + cue
            made.append(_section(table, packet[3], 2, listed))
            packet = _section(cues, len(made), 0xFC, bytes(7) + b"\xff\xf0" + bytes(5))
        made.append(packet)
    return b"".join(made)


def _section(stream, count, kind, body):
    """A packet of a transport stream that holds one section, with its sum."""
    section = bytes([kind]) + (0xB000 | len(body) + 4).to_bytes(2, "big") + body
    value = 0xFFFFFFFF
    for byte in section:
        value ^= byte << 24
        for _ in range(8):
            value = value << 1 ^ (0x104C11DB7 if value & 0x80000000 else 0)
    packet = bytes([0x47, 0x40 | stream >> 8, stream & 255, 0x10 | count & 15, 0]) + section + value.to_bytes(4, "big")
    return packet.ljust(188, b"\xff")


def _tone(stream, seconds):
    """Packets of a tone that rises."""
    clock = np.arange(1024, dtype=np.float32) / 48000
    for number in range(int(seconds * 48000 / 1024)):
        frame = av.AudioFrame("fltp", "stereo", 1024)
        for plane in frame.planes:
            plane.update(np.sin(clock * (2000 + 40 * number)).astype(np.float32).tobytes())
        frame.sample_rate, frame.pts, frame.time_base = 48000, number * 1024, Fraction(1, 48000)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _captions(container, text):
    """Packets of subtitles in a stream of their own, as the container keeps them."""
    timed, found = container.format.name == "mp4", []
    with av.open(io.BytesIO(text.encode()), format="srt") as source:
        [template] = source.streams
        stream = container.add_mux_stream("mov_text") if timed else container.add_stream_from_template(template)
        stream.metadata["language"], stream.time_base = "deu", Fraction(1, 1000)
        for packet in source.demux():
            if packet.dts is not None:
                data = bytes(packet)
                made = av.Packet(len(data).to_bytes(2, "big") + data if timed else data)
                made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
                made.time_base, made.stream = packet.time_base, stream
                found.append(made)
    return found
