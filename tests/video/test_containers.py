"""What real files hold beside frames, and what a container can hold of it: kept, converted or said."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra [video]")

import av
import footage
from test_pipeline import frames, packets, streams, times

from nedr.cli import main as cli
from nedr.video import hdr, timecode
from nedr.video.mending import Repair

SIZE = (48, 64)
EVEN = [Fraction(number, 25) for number in range(12)]
HDR = {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": 16}
GRADED = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
INTERLACED = {"interlaced": True, "options": {"x264-params": "tff=1"}, "sound": False}


@pytest.fixture
def nedr(tmp_path, weights, monkeypatch, capsys):
    """Run a command in a folder of its own with stand-in weights: its lines on stderr; it must succeed."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        status = cli.main([*map(str, words), "--weights", str(weights), "--threads", "1"])
        _, err = capsys.readouterr()
        assert status == 0, err
        return err.splitlines()

    return run


def film(path, count=12, size=SIZE, **how):
    return footage.film(Path(path), footage.panned("temple", size, count), **how)


def remuxed(source, target, change=lambda packet: packet):
    """`source` in another container, its packets changed on the way."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        order = {stream.index: written.add_stream_from_template(stream) for stream in read.streams}
        for packet in read.demux():
            if packet.dts is not None:
                packet = change(packet)
                packet.stream = order[packet.stream.index]
                written.mux(packet)
    return target


def an_hour_on(packet):
    hour = int(3600 / packet.time_base)
    packet.pts, packet.dts = packet.pts + hour, packet.dts + hour
    return packet


def heard(path):
    """The sound of a file: (channels, samples) in [-1, 1]."""
    resampler = av.AudioResampler("fltp", rate=48000)
    with av.open(str(path)) as container:
        parts = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        return np.concatenate([part.to_ndarray() for part in [*parts, *resampler.resample(None)]], axis=1)


# Tracks


@pytest.mark.parametrize("suffix", ["mov", "mp4", "mkv"])
def test_a_timecode_is_kept_as_the_container_keeps_it(nedr, suffix):
    film("clip.mov", tags={"timecode": "10:20:30:05"}, sound=False)
    assert [kind for kind, *_ in streams("clip.mov")] == ["video", "data"]
    assert nedr("clip.mov", "-o", f"clear.{suffix}") == []
    assert nedr("clip.mov", "-o", f"part.{suffix}", "--start", "0.2") == []
    for name, expected in (("clear", "10:20:30:05"), ("part", "10:20:30:10")):
        with av.open(f"{name}.{suffix}") as made:
            tags = made.streams.video[0].metadata
            assert tags.get("timecode", tags.get("TIMECODE")) == expected
            assert len(made.streams.data) == (suffix != "mkv")


@pytest.mark.parametrize(
    ("first", "frames", "rate", "expected"),
    [
        ("00:00:59:24", 1, 25, "00:01:00:00"),
        ("23:59:59:24", 1, 25, "00:00:00:00"),
        ("01:00:59;29", 1, Fraction(30000, 1001), "01:01:00;02"),
        ("00:09:59;29", 1, Fraction(30000, 1001), "00:10:00;00"),
        ("00:00:00;00", 107892, Fraction(30000, 1001), "01:00:00;00"),
        ("00:00:59;59", 1, Fraction(60000, 1001), "00:01:00;04"),
        ("00:00:01:00", 0, 25, "00:00:01:00"),
        ("soon", 9, 25, "soon"),
    ],
)
def test_timecodes_count_frames_and_leave_out_what_is_left_out(first, frames, rate, expected):
    assert timecode.advanced(first, frames, Fraction(rate)) == expected


def test_telemetry_is_kept_where_it_can_be_and_said_elsewhere(nedr):
    film("clip.mp4", telemetry=b"DEVC\0\0\0\0", sound=False)
    assert packets("clip.mp4", "data")
    for suffix in ("mp4", "mov"):
        assert nedr("clip.mp4", "-o", f"clear.{suffix}") == []
        kept = [data for *_, data in packets(f"clear.{suffix}", "data")]
        assert kept == [data for *_, data in packets("clip.mp4", "data")]
    [note] = nedr("clip.mp4", "-o", "clear.mkv")
    assert note.endswith("its GoPro MET data stream 1 is left out: .mkv cannot hold it")
    assert nedr("clip.mp4", "-o", "clear.mkv", "--overwrite", "--drop-stream", "data") == []


def test_telemetry_that_ffmpeg_has_no_name_for_is_said(nedr, tmp_path):
    data = film("clip.mp4", telemetry=b"\x0a\x02\x08\x01", sound=False).read_bytes()
    (tmp_path / "drone.mp4").write_bytes(data.replace(b"gpmd", b"djmd"))
    for name in ("clear.mp4", "clear.mov", "clear.avi"):
        [note] = nedr("drone.mp4", "-o", name)
        assert note.endswith("data stream 1 is left out: FFmpeg cannot write its kind")
        assert [kind for kind, *_ in streams(name)] == ["video"]


def test_cues_for_advertisements_are_said_and_break_nothing_off(nedr, tmp_path):
    film("clip.ts", 50)
    remuxed("clip.ts", "late.ts", an_hour_on)
    (tmp_path / "cued.ts").write_bytes(footage.with_cues((tmp_path / "late.ts").read_bytes()))
    with av.open("cued.ts") as container:
        assert sum(packet.size > 0 for packet in container.demux(data=0)) > 5
    [note] = nedr("cued.ts", "-o", "clear.ts")
    assert note.endswith("its scte_35 data stream 2 is left out: .ts cannot hold it")
    assert len(times("clear.ts")) == 50
    assert len(packets("clear.ts", "audio")) == len(packets("cued.ts", "audio"))


def test_what_tags_say_of_packets_that_are_made_anew_goes(nedr):
    film("clip.mkv", tags={"ENCODER": "camera", "BPS-eng": "9", "_STATISTICS_TAGS": "BPS", "title": "A"}, sound=False)
    assert nedr("clip.mkv", "-o", "clear.mkv") == []
    with av.open("clip.mkv") as before, av.open("clear.mkv") as after:
        names = [set(each.streams.video[0].metadata) for each in (before, after)]
    assert names[0] - names[1] == {"ENCODER", "BPS-eng", "_STATISTICS_TAGS"}


def test_telemetry_of_drones_stays_in_a_transport_stream(nedr):
    film("clip.ts", telemetry=b"\x06\x0e\x2b\x34\0\0\0\0", telemetry_kind="klv", sound=False)
    assert nedr("clip.ts", "-o", "clear.ts") == []
    kept = [data for *_, data in packets("clear.ts", "data")]
    assert kept == [data for *_, data in packets("clip.ts", "data")] != []
    [note] = nedr("clip.ts", "-o", "clear.mp4")
    assert "its klv data stream 1 is left out" in note


def test_streams_are_left_out_by_kind_or_by_number(nedr):
    film("clip.mp4")
    for word in ("audio", "1"):
        assert nedr("clip.mp4", "-o", f"{word}.mp4", "--drop-stream", word) == []
        assert [kind for kind, *_ in streams(f"{word}.mp4")] == ["video"]


# Sound


@pytest.mark.parametrize(
    ("name", "codec", "sound", "target", "told"),
    [
        ("clip.wmv", "wmv2", "wmav2", "out/clip.dehazed.mkv", "wmav2 audio becomes flac"),
        ("clip.avi", "mpeg4", "pcm_alaw", "clear.mkv", "pcm_alaw audio becomes flac"),
        ("clip.mp4", "libx264", "aac", "clear.webm", "aac audio becomes libopus"),
        ("clip.mkv", "libx264", "flac", "clear.ts", "flac audio becomes aac"),
        ("clip.mkv", "libx264", "libopus", "clear.avi", "opus audio becomes pcm_s16le"),
    ],
)
def test_sound_that_a_container_cannot_hold_is_converted(nedr, name, codec, sound, target, told):
    film(name, 25, codec=codec, heard=sound)
    [note] = nedr(name, "-o", "out/" if target.startswith("out") else target)
    assert told in note
    before, after = heard(name), heard(target)
    if sound == "pcm_alaw":
        np.testing.assert_array_equal(after, before)
    assert abs(after.shape[1] - before.shape[1]) < 4800
    assert after.shape[0] == before.shape[0]
    assert after.std() == pytest.approx(before.std(), rel=0.1)


def test_mp3_fits_a_transport_stream(nedr):
    film("clip.mkv", heard="libmp3lame")
    assert nedr("clip.mkv", "-o", "clear.ts") == []
    assert len(packets("clear.ts", "audio")) == len(packets("clip.mkv", "audio"))


# Times


def test_avi_with_b_frames_has_even_times(nedr):
    film("clip.avi", codec="mpeg4", options={"bf": "2"}, sound=False)
    assert any(frame.pict_type == 3 for frame in frames("clip.avi"))
    for suffix in ("avi", "mp4"):
        assert nedr("clip.avi", "-o", f"clear.{suffix}") == []
        shown = times(f"clear.{suffix}")
        assert [when - shown[0] for when in shown] == EVEN
    assert nedr("clip.avi", "-o", "part.mp4", "--start", "0.2") == []
    assert times("part.mp4") == EVEN[:7]


def test_a_picture_that_stays_is_shown_again():
    """As Theora says by a packet of no bytes; what was handed out before may be changed meanwhile."""
    codec = SimpleNamespace(codec=SimpleNamespace(canonical_name="theora"))
    repair = Repair(SimpleNamespace(codec_context=codec, time_base=Fraction(1, 25)))
    frame = av.VideoFrame.from_ndarray(np.full((48, 64), 90, np.uint8), "gray")
    [first] = repair(SimpleNamespace(size=9, pts=0, dts=0), [frame])
    np.frombuffer(first.planes[0], np.uint8)[:] = 0
    [second] = repair(SimpleNamespace(size=0, pts=1, dts=1, time_base=Fraction(1, 25)), [])
    assert (second.to_ndarray() == 90).all()
    assert (second.pts, second.time_base) == (1, Fraction(1, 25))


def test_a_clip_that_starts_at_one_hour_is_whole(nedr):
    film("clip.mkv", sound=False)
    remuxed("clip.mkv", "late.mkv", an_hour_on)
    assert nedr("late.mkv", "-o", "clear.mkv") == []
    assert len(times("clear.mkv")) == 12


def test_a_size_that_changes_is_said_and_the_first_kept(nedr, tmp_path):
    film("a.ts", sound=False), film("b.ts", size=(96, 128), sound=False)
    (tmp_path / "clip.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    [note] = nedr("clip.ts", "-o", "clear.mkv")
    assert "its size changes to 128 x 96 after" in note
    assert "64 x 48 is kept" in note
    assert {(frame.width, frame.height) for frame in frames("clear.mkv")} == {(64, 48)}


def test_a_recording_that_was_not_finished_says_so(nedr, tmp_path, weights, capsys):
    data = film("clip.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: data.index(b"moov") - 4])
    assert cli.main(["half.mp4", "-o", "clear.mp4", "--weights", str(weights)]) == 1
    assert "half.mp4 has no index: the recording was not finished" in capsys.readouterr().err


# Pixels


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_ten_bits_and_what_hdr_needs_are_kept(nedr, suffix):
    params = f"log-level=error:master-display={GRADED}:max-cll=1000,400"
    film("clip.mp4", format="yuv420p10le", codec="libx265", colours=HDR, sound=False, options={"x265-params": params})
    assert nedr("clip.mp4", "-o", f"clear.{suffix}") == []
    [before], [after] = frames("clip.mp4")[:1], frames(f"clear.{suffix}")[:1]
    assert after.format.name == "yuv420p10le"
    assert hdr.options(after.side_data, "libx265") == hdr.options(before.side_data, "libx265")
    assert hdr.options(after.side_data, "libx265") == {"x265-params": f"master-display={GRADED}:max-cll=1000,400"}
    assert streams(f"clear.{suffix}")[0][6:10] == streams("clip.mp4")[0][6:10]
    [note] = nedr("clip.mp4", "-o", "clear.mkv", "--codec", "ffv1")
    assert "its mastering display and light level are left out: ffv1 cannot hold them" in note


def test_rgb_becomes_what_players_can_play_unless_asked_otherwise(nedr):
    film("clip.mov", format="rgb24", codec="png", colours={}, sound=False)
    assert nedr("clip.mov", "-o", "clear.mp4") == []
    assert nedr("clip.mov", "-o", "full.mp4", "--chroma", "444") == []
    assert nedr("clip.mov", "-o", "clear.mkv", "--codec", "ffv1") == []
    assert [frames(name)[0].format.name for name in ("clear.mp4", "full.mp4", "clear.mkv")] == [
        "yuv420p",
        "yuv444p",
        "yuv444p",
    ]


def test_odd_sizes_become_even_and_say_so_unless_asked_otherwise(nedr):
    film("clip.mkv", size=(49, 65), format="yuv444p", codec="ffv1", sound=False)
    [note] = nedr("clip.mkv", "-o", "clear.mp4")
    assert "its 65 x 49 pixels become 64 x 48" in note
    assert nedr("clip.mkv", "-o", "full.mp4", "--chroma", "444") == []
    assert nedr("clip.mkv", "-o", "clear.webm") == []
    found = [frames(name)[0] for name in ("clear.mp4", "full.mp4", "clear.webm")]
    assert [(each.format.name, each.width, each.height) for each in found] == [
        ("yuv420p", 64, 48),
        ("yuv444p", 65, 49),
        ("yuv420p", 65, 49),
    ]
    shown = [footage.shown(frame).astype(int) for frame in found]
    assert np.abs(shown[0] - shown[1][:48, :64]).mean() < 6


def test_grey_of_ten_bits_stays_grey_and_of_ten_bits(nedr):
    film("clip.mkv", format="gray10le", codec="ffv1", colours={}, sound=False)
    assert nedr("clip.mkv", "-o", "clear.mkv") == []
    frame = frames("clear.mkv")[0]
    assert frame.format.components[0].bits == 10
    assert np.ptp(footage.shown(frame).astype(int), axis=2).max() <= 1


def test_interlaced_frames_stay_marked_or_become_whole(nedr):
    film("clip.mkv", **INTERLACED)
    assert all(frame.interlaced_frame for frame in frames("clip.mkv"))
    for suffix in ("mkv", "mp4"):
        assert nedr("clip.mkv", "-o", f"clear.{suffix}") == []
        assert all(frame.interlaced_frame for frame in frames(f"clear.{suffix}"))
        with av.open(f"clear.{suffix}") as made:
            assert made.streams.video[0].codec_context.field_order == 2
    [note] = nedr("clip.mkv", "-o", "hevc.mkv", "--codec", "hevc")
    assert "it is interlaced, which libx265 cannot mark; use --deinterlace" in note
    assert nedr("clip.mkv", "-o", "whole.mkv", "--deinterlace") == []
    assert not any(frame.interlaced_frame for frame in frames("whole.mkv"))
    assert times("whole.mkv") == times("clip.mkv")


def test_transparency_of_vp9_is_missed(nedr):
    film("clip.webm", codec="libvpx-vp9", heard="libopus", tags={"alpha_mode": "1"}, options={"deadline": "realtime"})
    [note] = nedr("clip.webm", "-o", "clear.webm")
    assert note.endswith("its transparency is left out")
