"""Video files: nothing of them gets lost on the way, and what cannot be is one clear line."""

import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra [video]")

import av
import footage

from nedr.cli import main as cli
from nedr.errors import NedrError
from nedr.inference.dehazer import Dehazer
from nedr.pictures.job import Job
from nedr.video import pipeline, reader, writer
from nedr.video.formats import Encoding

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
SIZE = (90, 160)
SUBTITLES = "1\n00:00:00,000 --> 00:00:00,200\nDunst\n\n2\n00:00:00,240 --> 00:00:00,400\n霧が晴れる\n"
CHAPTERS = [{"id": 0, "start": 0, "end": 300, "time_base": Fraction(1, 1000), "metadata": {"title": "Abfahrt"}}]
STEADY = [512 * number for number in range(12)]
VARIABLE = [0, 300, 900, 1000, 2400, 2500, 4000, 5000, 5050, 5100, 5900, 6001]
TAGS = {"movflags": "use_metadata_tags"}
HDR = {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": 16}
FULL = {"colorspace": 5, "color_range": 2, "color_primaries": 5, "color_trc": 6}


def film(path, count=12, **how):
    return footage.film(path, footage.panned("temple", SIZE, count), **how)


def streams(path):
    """Of each stream what it is, of a video also how it is shown."""
    found = []
    with av.open(str(path)) as container:
        for stream in container.streams:
            kind = [stream.type, stream.codec_context and stream.codec_context.name, stream.metadata.get("language")]
            if stream.type == "video":
                context = stream.codec_context
                kind += [context.pix_fmt, context.width, context.height, context.colorspace, context.color_range]
                kind += [context.color_primaries, context.color_trc, stream.sample_aspect_ratio]
            found.append(tuple(kind))
    return found


def packets(path, kind):
    """Every packet of the streams of a kind: when it is shown, for how long, its bytes."""
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux() if packet.stream.type == kind and packet.dts is not None]
        return [(each.pts * each.time_base, each.duration * each.time_base, bytes(each)) for each in found]


def frames(path):
    """Every frame of a video, as it is decoded."""
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def times(path):
    return [frame.pts * frame.time_base for frame in frames(path)]


def planes(path):
    """The codes of every frame, those of the padding left out."""
    return [frame.to_ndarray() for frame in frames(path)]


def seen(path):
    """Every frame as it is shown, RGB, not turned."""
    return [footage.shown(frame) for frame in frames(path)]


# All that belongs to a clip


@pytest.mark.parametrize("shown", [STEADY, VARIABLE], ids=["steady", "variable"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_count_times_sound_and_subtitles_stay(folder, nedr, suffix, shown):
    subtitles = None if suffix == "mov" else SUBTITLES
    clip = film(
        folder / f"clip.{suffix}",
        times=shown,
        subtitles=subtitles,
        chapters=CHAPTERS,
        metadata={"title": "Fahrt"},
    )
    status, out, err = nedr(clip, "-o", f"clear.{suffix}")
    assert (status, out, err) == (0, [f"{clip} -> clear.{suffix}"], [])
    made = folder / f"clear.{suffix}"
    assert len(times(made)) == 12
    assert times(made) == times(clip)
    assert packets(clip, "audio")
    assert packets(made, "audio") == packets(clip, "audio")
    assert len(packets(made, "subtitle")) == len(packets(clip, "subtitle")) >= (2 if subtitles else 0)
    assert packets(made, "subtitle") == packets(clip, "subtitle")
    assert streams(made) == streams(clip)
    with av.open(str(made)) as after, av.open(str(clip)) as before:
        assert after.metadata["title"] == "Fahrt"
        assert [each["metadata"] for each in after.chapters()] == [each["metadata"] for each in before.chapters()]
        assert after.duration == pytest.approx(before.duration, abs=2000)


def test_the_haze_is_gone(folder, capsys):
    clip = film(folder / "clip.mp4")
    assert cli.main([str(clip), "-o", "clear.mp4"]) == 0  # the weights that ship
    hazy, clear = (np.array(seen(folder / name), np.float32) for name in ("clip.mp4", "clear.mp4"))
    photo = Dehazer(threads=1).dehaze(seen(clip)[0])
    t = np.linspace(0.4, 0.9, SIZE[0], dtype=np.float32)[:, None, None]  # as `panned` draws it
    truth = ((hazy / 255 - footage.AIRLIGHT * (1 - t)) / t).clip(0, 1) * 255
    assert clear.std() > truth.std() > 1.05 * hazy.std()  # the contrast that the drawn haze took is back
    assert np.abs(clear[0] - photo).mean() < np.abs(clear[0] - hazy[0]).mean() / 4


def test_sound_that_comes_first_costs_no_frames(folder, nedr):
    clip = film(folder / "clip.mkv")
    with av.open(str(clip)) as source, av.open("turned.mkv", "w") as target:
        picture, sound = source.streams
        order = {stream.index: target.add_stream_from_template(stream) for stream in (sound, picture)}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = order[packet.stream.index]
                target.mux(packet)
    assert streams("turned.mkv")[0][0] == "audio"
    assert nedr("turned.mkv", "-o", "clear.mkv")[0] == 0
    assert times("clear.mkv") == times(clip)
    assert streams("clear.mkv") == [*streams("turned.mkv")[1:], *streams("turned.mkv")[:1]]


def test_a_broadcast_that_starts_at_some_hour_starts_at_0(folder, nedr):
    clip = film(folder / "clip.mp4", subtitles=None)
    with av.open(str(clip)) as source, av.open("clip.ts", "w") as target:
        order = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.pts, packet.dts = (at + int(20000 / packet.time_base) for at in (packet.pts, packet.dts))
                packet.stream = order[packet.stream.index]
                target.mux(packet)
    assert times("clip.ts")[0] >= 20000
    for words in (["-o", "clear.mp4"], ["-o", "part.mp4", "--start", "0.2"]):
        assert nedr("clip.ts", *words)[0] == 0
    shown = times("clear.mp4")
    assert shown[0] < 0.1
    assert [when - shown[0] for when in shown] == times(clip)
    assert len(times("part.mp4")) == 7
    assert times("part.mp4")[0] == shown[0]
    lag = packets("clear.mp4", "audio")[1][0] - shown[0] - packets(clip, "audio")[1][0]
    assert abs(lag) < Fraction(1, 1000)
    with av.open("clear.mp4") as made:
        assert sum(frame.samples for frame in made.decode(audio=0)) > 20000


def test_a_still_video_ends_when_it_did(folder, nedr):
    """The last of three pictures is shown for four seconds, as in a slide show."""
    clip = footage.film(folder / "clip.mkv", footage.panned("temple", SIZE, 3), times=[0, 6400, 12800], sound=False)
    with av.open(str(clip)) as source, av.open("slides.mp4", "w") as target:
        copy = target.add_stream_from_template(source.streams[0])
        for packet in source.demux():
            if packet.dts is not None:
                packet.duration = 4000 if packet.pts == 1000 else 500
                packet.stream = copy
                target.mux(packet)
    assert nedr("slides.mp4", "-o", "clear.mp4")[0] == 0
    with av.open("clear.mp4") as made:
        assert made.duration == 5_000_000


def test_the_cover_comes_along(folder, nedr):
    clip = film(folder / "clip.mp4")
    with av.open(str(clip)) as source, av.open("covered.mp4", "w") as target:
        order = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        cover = target.add_mux_stream("mjpeg", width=160, height=90)
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.Packet(Path(footage.PHOTOS / "rio.jpg").read_bytes())
        picture.stream, picture.pts, picture.dts, picture.time_base = cover, 0, 0, Fraction(1, 90000)
        target.mux([picture])
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = order[packet.stream.index]
                target.mux(packet)
    for words in ([], ["--start", "0.2"]):
        assert nedr("covered.mp4", "-o", "clear.mp4", "--overwrite", *words)[0] == 0
        with av.open("clear.mp4") as made:
            [found] = [packet for packet in made.demux(made.streams[2]) if packet.size]
            assert bytes(found) == Path(footage.PHOTOS / "rio.jpg").read_bytes()


def test_attachments_and_what_a_camera_writes_come_along(folder, nedr):
    film(folder / "clip.mkv", attached=b"a font")
    assert nedr("clip.mkv", "-o", "clear.mkv") == (0, ["clip.mkv -> clear.mkv"], [])
    with av.open("clear.mkv") as made:
        [attachment] = made.streams.attachments
        assert (attachment.name, attachment.data) == ("font.ttf", b"a font")
    camera = {"com.apple.quicktime.model": "iPhone", "creation_time": "2024-05-01T10:00:00.000000Z"}
    film(folder / "clip.mov")
    with av.open("clip.mov") as source, av.open("tagged.mov", "w", container_options=TAGS) as target:
        order = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        target.metadata.update(camera)
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = order[packet.stream.index]
                target.mux(packet)
    assert nedr("tagged.mov", "-o", "clear.mov")[0] == 0
    with av.open("clear.mov") as made:
        assert made.metadata.items() >= camera.items()
    assert nedr("clip.mkv", "-o", "clear.mp4") == (
        0,
        ["clip.mkv -> clear.mp4"],
        ["nedr: clip.mkv: its font.ttf attachment stream 2 is left out: .mp4 cannot hold it"],
    )


@pytest.mark.parametrize(
    ("format", "codec", "colours"),
    [
        ("yuv420p", "libx264", footage.COLOURS),
        ("yuvj420p", "mjpeg", FULL),
        ("yuv420p", "libx264", FULL),
        ("yuv420p10le", "libx265", HDR),
        ("yuv422p10le", "libx264", footage.COLOURS),
    ],
)
def test_bits_range_and_primaries_stay_and_strength_0_changes_no_code(folder, nedr, format, codec, colours):
    clip = film(folder / "clip.mkv", 6, format=format, codec=codec, colours=colours, sound=False)
    assert nedr(clip, "-o", "same.mkv", "--strength", "0", "--codec", "ffv1")[0] == 0
    for before, after in zip(planes(clip), planes("same.mkv"), strict=True):
        np.testing.assert_array_equal(after, before)
    assert nedr(clip, "-o", "clear.mkv")[0] == 0
    [before], [after] = streams(clip), streams("clear.mkv")
    assert after[1] == ("hevc" if "10" in format else "h264")
    assert after[4:] == before[4:]
    name = "yuv420p" if format == "yuvj420p" else format
    assert after[3].removesuffix("j420p").removesuffix("420p") == name.removesuffix("420p")
    assert not np.array_equal(planes("clear.mkv")[0], planes(clip)[0])


def test_a_grey_clip_stays_grey(folder, nedr):
    clip = film(folder / "clip.mkv", 4, format="gray", codec="ffv1", colours={}, sound=False)
    assert nedr(clip, "-o", "same.mkv", "--strength", "0", "--codec", "ffv1")[0] == 0
    assert np.abs(np.array(seen("same.mkv"), int) - seen(clip)).max() <= 1
    assert nedr(clip, "-o", "clear.mkv", "--codec", "ffv1")[0] == 0
    clear = np.array(seen("clear.mkv"), int)
    assert np.ptp(clear, axis=3).max() <= 1
    assert clear.mean() < np.mean(seen(clip)) - 20


def test_ten_bits_are_worth_more_than_eight(folder, nedr):
    clip = film(folder / "clip.mkv", 4, format="yuv420p10le", codec="libx265", colours=HDR, sound=False)
    assert nedr(clip, "-o", "clear.mkv", "--codec", "ffv1")[0] == 0
    assert len(np.unique(planes("clear.mkv")[0] % 4)) == 4


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_turned_clip_stays_turned_and_is_dehazed_upright(folder, nedr, degrees):
    upright = list(footage.panned("temple", (160, 160), 4))
    film_of = {"codec": "ffv1", "format": "yuv444p", "sound": False}
    straight = footage.film(folder / "straight.mkv", upright, **film_of)
    stored = [np.rot90(frame, -degrees // 90).copy() for frame in upright]
    turned = footage.film(folder / "turned.mkv", stored, turned=degrees, **film_of)
    for clip in (straight, turned):
        assert nedr(clip, "-o", f"clear.{clip.name}", "--codec", "ffv1", "--compare")[0] == 0
    assert [frame.rotation for frame in frames("clear.turned.mkv")] == [frame.rotation for frame in frames(turned)]
    assert frames(turned)[0].rotation % 360 == degrees % 360
    for first, second in zip(seen("clear.straight.mkv"), seen("clear.turned.mkv"), strict=True):
        difference = np.abs(np.rot90(second, degrees // 90).astype(int) - first)
        assert difference.mean() < 0.5
    sides = np.rot90(seen("clear.turned.compare.mkv")[0], degrees // 90)  # before | after, when upright
    assert sides.shape == (160, 2 * 160 + 8, 3)
    np.testing.assert_array_equal(sides[:, :160], np.rot90(seen(turned)[0], degrees // 90))
    np.testing.assert_array_equal(sides[:, -160:], np.rot90(seen("clear.turned.mkv")[0], degrees // 90))


# What the user asks for


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_part_starts_at_0_and_keeps_its_sound(folder, nedr, suffix):
    clip = film(folder / f"clip.{suffix}", 50, subtitles=SUBTITLES, chapters=CHAPTERS)
    assert nedr(clip, "-o", f"clear.{suffix}", "--start", "0.2", "--end", "0:01.2")[0] == 0
    made = f"clear.{suffix}"
    shift = Fraction(1, 5)
    assert times(made) == [when - shift for when in times(clip) if shift <= when < shift + 1]
    sound = [packet for packet in packets(clip, "audio") if shift <= packet[0] < shift + 1]
    assert [data for _, _, data in packets(made, "audio")] == [data for _, _, data in sound]
    late = [found[0] - (when - shift) for found, (when, *_) in zip(packets(made, "audio"), sound, strict=True)]
    assert max(map(abs, late)) < Fraction(1, 1000)
    told = [data for _, _, data in packets(made, "subtitle") if len(data) > 2]
    assert [data.decode("utf-8", "ignore")[-5:] for data in told] == ["霧が晴れる"]
    with av.open(made) as container:
        [chapter] = container.chapters()
        assert (chapter["end"] - chapter["start"]) * chapter["time_base"] == Fraction(1, 10)


def test_the_map_and_the_comparison_are_videos_too(folder, nedr):
    clip = film(folder / "clip.mkv", 6)
    assert nedr(clip, "-o", "clear.mkv", "--map", "--compare", "--codec", "ffv1")[0] == 0
    before, after, both = (np.array(planes(name))[:, : SIZE[0]] for name in (clip, "clear.mkv", "clear.compare.mkv"))
    assert both.shape[1:] == (SIZE[0], 2 * SIZE[1] + 8)  # brightness
    np.testing.assert_array_equal(both[:, :, : SIZE[1]], before)
    np.testing.assert_array_equal(both[:, :, -SIZE[1] :], after)
    sides = np.array(seen("clear.compare.mkv"), int)
    assert np.abs(sides[:, :, : SIZE[1] - 8] - np.array(seen(clip))[:, :, :-8]).mean() < 1  # colour too
    assert np.abs(sides[:, :, 8 - SIZE[1] :] - np.array(seen("clear.mkv"))[:, :, 8:]).mean() < 1
    assert np.array(planes("clear.transmission.mkv"))[:, : SIZE[0]].shape == before.shape
    for name in ("clear.transmission.mkv", "clear.compare.mkv"):
        assert times(name) == times(clip)


@pytest.mark.parametrize(
    ("name", "suffix", "encoder"),
    [
        ("h264", "mp4", "h264"),
        ("hevc", "mp4", "hevc"),
        ("vp9", "webm", "vp9"),
        ("av1", "mkv", "av1"),
        ("prores", "mov", "prores"),
        ("ffv1", "mkv", "ffv1"),
    ],
)
def test_every_codec_and_none_talks(folder, weights, capfd, name, suffix, encoder):
    clip, words = film(folder / "clip.mp4", 6, sound=False), ["--weights", str(weights), "--codec", name]
    capfd.readouterr()
    assert cli.main([str(clip), "-o", f"clear.{suffix}", *words]) == 0
    assert capfd.readouterr() == (f"{clip} -> clear.{suffix}\n", "")
    assert encoder in streams(f"clear.{suffix}")[0][1]
    assert len(times(f"clear.{suffix}")) == 6


def test_a_smaller_crf_is_a_larger_and_better_file(folder, nedr):
    clip = film(folder / "clip.mp4")
    for crf in (10, 40):
        assert nedr(clip, "-o", f"{crf}.mkv", "--crf", crf)[0] == 0
    assert Path("10.mkv").stat().st_size > 2 * Path("40.mkv").stat().st_size


def test_another_container_is_chosen_by_the_name(folder, nedr):
    clip = film(folder / "clip.mp4")
    for suffix in ("mkv", "mov", "avi", "ts"):
        assert nedr(clip, "-o", f"clear.{suffix}")[0] == 0
        shown = times(f"clear.{suffix}")
        assert [when - shown[0] for when in shown] == times(clip)
        assert len(packets(f"clear.{suffix}", "audio")) == len(packets(clip, "audio"))
    assert streams("clear.avi")[0][2:] == streams("clear.mkv")[0][2:]


def test_folders_hold_videos_too(folder, nedr):
    film(folder / "trip/day/clip.mp4"), film(folder / "trip/other.mkv", 6)
    (folder / "trip/broken.mov").write_bytes(b"text")
    status, out, err = nedr("trip", "-o", "out", "--map")
    assert status == 1
    assert sorted(out) == [
        "trip/day/clip.mp4 -> out/day/clip.mp4, out/day/clip.transmission.mp4",
        "trip/other.mkv -> out/other.mkv, out/other.transmission.mkv",
    ]
    assert "broken.mov" in err[0]
    assert nedr("trip", "-o", "out", "--map")[1] == []
    assert nedr("trip", "-o", "out", "--map", "--crf", "40")[1] == out  # other settings


# Whole or not at all


def test_the_bar_counts_frames(folder, weights):
    told = []
    job = Job(film(folder / "clip.mp4"), folder / "clear.mp4")
    report = pipeline.dehaze(job, Dehazer(weights, threads=1), tick=lambda done, total: told.append((done, total)))
    assert told == [(number, 12) for number in range(1, 13)]
    assert (report.width, report.height, report.frames) == (*SIZE[::-1], 12)


def test_only_a_few_frames_are_held_whatever_the_length(folder, weights, monkeypatch):
    """Frames wait in three places between the threads, AHEAD in each, and one is at work on either side of each."""
    read, waiting = [], []
    decoded, write = reader.Clip._decoded, writer.Sink.write

    def counted(clip, packet):
        items = decoded(clip, packet)
        read.extend(items)
        return items

    def measured(target, frame):
        waiting.append(len(read) - len(waiting))
        write(target, frame)

    monkeypatch.setattr(reader.Clip, "_decoded", counted)
    monkeypatch.setattr(writer.Sink, "write", measured)
    clip = footage.film(folder / "clip.mkv", footage.panned("temple", (32, 48), 150), sound=False)
    encoding = Encoding(end=5.9)
    pipeline.dehaze(Job(clip, folder / "clear.mkv"), Dehazer(weights, threads=1), encoding=encoding)
    assert len(waiting) == 148
    assert max(waiting) <= 3 * pipeline.AHEAD + 4


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to a process on Windows")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_clip_leaves_no_file(folder, number):
    clip = film(folder / "clip.mkv", 400, options={"g": "25"})
    command = [sys.executable, "-m", "nedr", str(clip), "-o", "out/clear.mkv"]  # the weights that ship take seconds
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=ENVIRONMENT) as process:
        while not list(folder.glob("out/.nedr-*.part")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "nedr: interrupted\n")
    assert list((folder / "out").iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
def test_a_killed_clip_is_done_again_and_nothing_of_it_stays(folder):
    film(folder / "trip/clip.mkv", 400, options={"g": "25"}), film(folder / "trip/a.mkv", 4)
    command = [sys.executable, "-m", "nedr", "trip", "-o", "out", "--workers", "1"]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=ENVIRONMENT) as process:
        assert "a.mkv" in process.stdout.readline()
        while not list(folder.glob("out/.nedr-*.part")):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert not (folder / "out/clip.mkv").exists()
    done = subprocess.run([*command, "--end", "1"], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0
    assert {path.name for path in (folder / "out").iterdir()} == {".nedr", "a.mkv", "clip.mkv"}


def test_what_fails_in_the_middle_leaves_no_file(folder, weights, monkeypatch):
    clip, steps = film(folder / "clip.mp4"), []

    def full(target, frame):
        steps.append(frame)
        if len(steps) == 6:
            raise NedrError("no space left")

    monkeypatch.setattr(writer.Sink, "write", full)
    job = Job(clip, folder / "out/clear.mp4", map=folder / "out/map.mp4")
    with pytest.raises(NedrError, match="no space left"):
        pipeline.dehaze(job, Dehazer(weights, threads=1))
    assert list((folder / "out").iterdir()) == []


def test_a_video_that_changes_meanwhile_is_left_for_the_next_run(folder, nedr, monkeypatch):
    clip = film(folder / "trip/clip.mp4", 4)
    write = writer.Sink.write

    def touched(target, frame):
        os.utime(clip, (1, 1))
        write(target, frame)

    with monkeypatch.context() as patch:
        patch.setattr(writer.Sink, "write", touched)
        status, _, err = nedr("trip", "-o", "out")
    assert status == 1
    assert "changed while it was read" in err[0]
    assert [path.name for path in (folder / "out").iterdir()] == [".nedr"]
    assert nedr("trip", "-o", "out")[0] == 0


# What cannot be


def test_a_clip_that_breaks_off_is_dehazed_as_far_as_it_goes_and_says_so(folder, nedr):
    data = film(folder / "clip.mkv", 100).read_bytes()
    (folder / "half.mkv").write_bytes(data[: len(data) // 2])
    status, _, err = nedr("half.mkv", "-o", "clear.mkv")
    assert status == 0
    assert len(err) == 1
    assert "breaks off after" in err[0]
    assert "of 4.0 seconds" in err[0]
    assert 10 < len(times("clear.mkv")) < 90


@pytest.mark.parametrize(
    ("codec", "spoilt", "spoil", "told"),
    [
        ("ffv1", 30, lambda data: bytes(9), "1 frames are lost, 0 incomplete"),
        ("libx264", 49, lambda data: data[:20] + bytes(len(data) - 20), "0 frames are lost, 1 incomplete"),
    ],
)
def test_damage_is_told_and_the_rest_is_dehazed(folder, nedr, codec, spoilt, spoil, told):
    clip = film(folder / "clip.mkv", 50, codec=codec, sound=False, options={"bf": "0"} if codec == "libx264" else {})
    with av.open(str(clip)) as source, av.open("damaged.mkv", "w") as target:
        copy = target.add_stream_from_template(source.streams[0])
        for number, packet in enumerate(packet for packet in source.demux() if packet.dts is not None):
            made = av.Packet(spoil(bytes(packet)) if number == spoilt else bytes(packet))
            made.pts, made.dts, made.time_base, made.stream = packet.pts, packet.dts, packet.time_base, copy
            made.is_keyframe = packet.is_keyframe
            target.mux(made)
    status, _, err = nedr("damaged.mkv", "-o", "clear.mkv")
    assert (status, err) == (0, [f"nedr: damaged.mkv: it is damaged: {told}"])
    kept = [when for number, when in enumerate(times(clip)) if codec == "libx264" or number != spoilt]
    assert times("clear.mkv") == kept


def _sound_only(path):
    with av.open(str(path), "w") as container:
        for packet in footage._tone(container.add_stream("aac", rate=48000), 0.5):
            container.mux(packet)


@pytest.mark.parametrize(
    ("name", "make", "told"),
    [
        ("text.mp4", lambda path: path.write_bytes(b"text"), "cannot be read as a video"),
        ("empty.mkv", lambda path: path.write_bytes(b""), "empty"),
        ("half.mp4", lambda path: path.write_bytes(film(path).read_bytes()[:5000]), "recording was not finished"),
        ("sound.mp4", _sound_only, "holds no video"),
        ("gone.mp4", lambda path: None, "does not exist"),
    ],
)
def test_what_is_no_video_is_one_clear_line(folder, nedr, name, make, told):
    make(folder / name)
    status, out, err = nedr(name, "-o", "clear.mp4")
    assert status == (2 if name == "gone.mp4" else 1)
    assert out == []
    assert len(err) == 1
    assert name in err[0]
    assert told in err[0]
    assert not list(folder.glob("*clear*"))
    assert not list(folder.glob(".nedr*"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-o", "clear.mp4", "--drop-stream", "7"], "no stream 7 that can be left out; found 1 audio"),
        (["-o", "clear.mp4", "--drop-stream", "sound"], "expected audio, subtitle, data"),
        (["-o", "clear.mp4", "--chroma", "411"], "expected a chroma among 420, 422, 444"),
        (["-o", "clear.webm", "--codec", "av1", "--chroma", "444"], "libsvtav1 cannot store chroma 444; expected 420"),
        (["-o", "clear.jpg"], "expected a suffix of .mp4"),
        (["-o", "clear.mkv", "--codec", "divx"], "expected a codec among h264, hevc"),
        (["-o", "clear.mkv", "--crf", "52"], "h264 takes --crf 0 to 51"),
        (["-o", "clear.mov", "--codec", "prores", "--crf", "9"], "prores takes no --crf"),
        (["-o", "clear.ts", "--codec", "ffv1"], ".ts cannot hold video made by ffv1"),
        (["-o", "clear.mkv", "--start", "9", "--end", "3"], "must be after the start"),
        (["-o", "clear.mkv", "--start", "9"], "it lasts 0.5 seconds"),
        (["-o", "clear.mkv", "--start", "soon"], "expected a time such as 90"),
        (["-o", "clear.mkv", "--strength", "2"], "strength"),
        ([], "exists and is left as it is"),
    ],
)
def test_what_cannot_be_asked_for_is_one_clear_line(folder, nedr, words, told):
    film(folder / "clip.mp4")
    (folder / "clip.dehazed.mp4").write_text("mine")
    status, out, err = nedr("clip.mp4", *words)
    assert (status, out, len(err)) == (2, [], 1)
    assert told in err[0]
    assert {path.name for path in folder.iterdir()} == {"clip.mp4", "clip.dehazed.mp4"}


def test_titles_that_a_container_cannot_hold_say_which_can(folder, nedr):
    film(folder / "clip.mkv", subtitles=SUBTITLES)
    status, _, err = nedr("clip.mkv", "-o", "clear.mp4")
    assert status == 2
    assert err == [
        "nedr: .mp4 cannot hold the subrip subtitle of clip.mkv; expected .mkv, or --drop-stream subtitle",
    ]
    assert nedr("clip.mkv", "-o", "clear.mp4", "--drop-stream", "subtitle")[2] == []
    assert [kind for kind, *_ in streams("clear.mp4")] == ["video", "audio"]
