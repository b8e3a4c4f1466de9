"""Bars around a video stay as they are and change nothing inside; a later one counts from there."""

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra [video]")

import footage

from nedr.inference.borders import Borders
from nedr.inference.dehazer import Dehazer
from nedr.pictures.job import Job
from nedr.video import pipeline
from nedr.video.bars import BarFollower, scaled
from nedr.video.formats import Encoding
from nedr.video.scenes import cells_of
from nedr.video.temporal import VideoDehazer

SIZE, BAR = (180, 320), 24


@pytest.fixture(scope="module")
def dehazer():
    return Dehazer(threads=1)


def scene(count):
    """A hazy scene that moves, (H, W, 3) in [0, 1]."""
    return list(footage.panned("temple", SIZE, count))


def barred(frame, *, caption=False):
    """The frame between black bars, of SIZE + 2 BAR rows, white letters in the lower one if asked."""
    bar = np.zeros((BAR, frame.shape[1], 3), np.float32)
    lower = bar.copy()
    if caption:
        lower[9:15, 100:220:6] = 1
    return np.concatenate([bar, frame, lower])


def through_file(folder, frames, dehazer, format="yuv444p"):
    """Frames (H, W, 3) uint8 before and after, through files without loss."""
    clip = footage.film(folder / "clip.mkv", frames, codec="ffv1", format=format, sound=False)
    report = pipeline.dehaze(Job(clip, folder / "clear.mkv"), dehazer, encoding=Encoding(codec="ffv1"))
    barred = len(frames[-1]) > SIZE[0]
    assert report.borders.keys() == ({"top", "bottom"} if barred else set())
    shown = []
    for path in (clip, folder / "clear.mkv"):
        with footage.av.open(str(path)) as container:
            shown.append([footage.shown(frame) for frame in container.decode(video=0)])
    return shown


def removed(before, after, rows=slice(None)):
    """How much dehazing changed, in levels of 255."""
    return float(np.mean([np.abs(a[rows].astype(int) - b[rows]).mean() for b, a in zip(before, after, strict=True)]))


@pytest.mark.parametrize("caption", [False, True])
def test_bars_stay_and_what_is_inside_is_dehazed_as_without(tmp_path, dehazer, caption):
    frames, inside = scene(6), slice(BAR, -BAR)
    plain = removed(*through_file(tmp_path / "plain", frames, dehazer))
    before, after = through_file(tmp_path / "bars", [barred(each, caption=caption) for each in frames], dehazer)
    assert removed(before, after, inside) == pytest.approx(plain, rel=0.1)
    for first, second in zip(before, after, strict=True):
        for bar in (slice(0, BAR), slice(-BAR, None)):
            np.testing.assert_array_equal(second[bar], first[bar])


def test_odd_bars_of_subsampled_colour_stay_too(tmp_path, dehazer):
    frames = [barred(each)[3:, 1:] for each in scene(4)]
    frames = [np.ascontiguousarray(each[: len(each) // 2 * 2, : each.shape[1] // 2 * 2]) for each in frames]
    before, after = through_file(tmp_path, frames, dehazer, "yuv420p")
    assert removed(before, after, slice(BAR, -BAR)) > 10
    assert removed(before, after, slice(0, BAR - 8)) == 0


def test_a_bar_that_comes_later_counts_from_there(tmp_path, dehazer):
    frames = [*[barred(each) * 0 + np.pad(each, ((BAR, BAR), (0, 0), (0, 0)), "edge") for each in scene(6)]]
    frames += [barred(each) for each in scene(6)]
    before, after = through_file(tmp_path, frames, dehazer)
    bar = slice(0, BAR)
    assert removed(before[:6], after[:6], bar) > 10
    assert removed(before[6:], after[6:], bar) == 0
    assert removed(before[6:], after[6:], slice(BAR, -BAR)) > 10


def test_arrays_keep_their_bars_too(dehazer):
    frames = [np.rint(barred(each) * 255).astype(np.uint8) for each in scene(4)]
    results = list(VideoDehazer(dehazer)(frames))
    assert removed(frames, results, slice(0, BAR)) == 0
    assert removed(frames, results, slice(BAR, -BAR)) > 10


def test_a_dark_scene_is_no_bar_and_hides_none():
    plain, dark = scene(1)[0], np.zeros((SIZE[0], SIZE[1], 3), np.float32)
    dark[150:] = 0.15
    for frame, known in ((plain, 0), (barred(plain), BAR)):
        follower = BarFollower()
        for number in range(20):
            shown = np.pad(dark, ((len(frame) - SIZE[0], 0), (0, 0), (0, 0))) if number >= 5 else frame
            picture = np.rint(shown * 255).astype(np.uint8)
            assert follower.follow(picture, cells_of(picture)).top == known


def test_bars_of_another_size_are_in_proportion():
    assert scaled(Borders(1080, 1920, top=138, bottom=138), 360, 640) == Borders(360, 640, top=46, bottom=46)
