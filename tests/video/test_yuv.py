"""Haze removed in a video's own planes: no flicker, nothing across a cut, and the codes that come out."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from standin import write

from nedr.inference.dehazer import Dehazer
from nedr.inference.field import HazeField, Rendering
from nedr.video.yuv import Coding, PlaneDehazer

SIZE = (180, 320)
AIRLIGHT = np.array([0.80, 0.82, 0.86], np.float32)
SIGMA = 2.5 / 255
KR, KB = 0.2126, 0.0722


def scene(name):
    """A shippable photograph as a clear scene in [0, 1], and the same behind haze."""
    photo = Image.open(f"examples/{name}.jpg").convert("RGB").resize(SIZE[::-1], Image.Resampling.BOX)
    clear = np.asarray(photo, np.float32) / 255 * 0.8
    t = np.linspace(0.35, 0.9, SIZE[0], dtype=np.float32)[:, None, None]
    return clear, clear * t + AIRLIGHT * (1 - t)


def coded(rgb, coding):
    """RGB (H, W, 3) in [0, 1] as codes of three planes, colour at half the size, by the definition of Y'CbCr."""
    luma = rgb @ np.array([KR, 1 - KR - KB, KB], np.float32)
    blue, red = (rgb[:, :, 2] - luma) / (2 - 2 * KB), (rgb[:, :, 0] - luma) / (2 - 2 * KR)
    halves = (values.reshape(SIZE[0] // 2, 2, SIZE[1] // 2, 2).mean(axis=(1, 3)) for values in (blue, red))
    top = (1 << coding.bits) - 1
    kind = np.uint8 if coding.bits == 8 else np.uint16
    spans = ((coding.zero(0), coding.span(0)), (coding.zero(1), coding.span(1)), (coding.zero(2), coding.span(2)))
    return [
        np.clip(np.rint(values * span + zero), 0, top).astype(kind)
        for values, (zero, span) in zip((luma, *halves), spans, strict=True)
    ]


def film(name, count, seed=0):
    """`count` pairs (hazy, clear) of a scene that stands still, in RGB, with the very same sensor noise."""
    clear, hazy = scene(name)
    rng = np.random.default_rng(seed)
    for _ in range(count):
        noise = rng.normal(0, SIGMA, clear.shape).astype(np.float32)
        yield np.clip(hazy + noise, 0, 1), np.clip(clear + noise, 0, 1)


def dehazed(frames, dehazer, coding, strength=1.0):
    """The planes of every frame without its haze."""
    video = PlaneDehazer(coding, strength)
    for frame in frames:
        small = np.rint(frame * 255).astype(np.uint8)
        planes = coded(frame, coding)
        video.dehaze(planes, dehazer.field(small), small)
        yield planes


def deviation(frames, plane):
    """The mean over a plane of each value's standard deviation over time."""
    return float(np.stack([planes[plane] for planes in frames]).astype(np.float32).std(axis=0).mean())


@pytest.fixture(scope="module")
def dehazer():
    return Dehazer(threads=1)


PHYSICAL = Rendering(brighten=0.0, colour_veil=0.0)
CODINGS = [Coding(), Coding(bits=10), Coding(full=True)]


@pytest.mark.parametrize("coding", CODINGS, ids=["8 bit", "10 bit", "full range"])
def test_a_clip_with_a_cut_flickers_no_more_than_the_clear_one_and_nothing_leaks(dehazer, coding):
    first, second = list(film("temple", 16)), list(film("pyramid", 16, seed=1))
    hazy = [frame for frame, _ in first + second]
    results = list(dehazed(hazy, dehazer, coding))
    for scene_of, part in ((first, results[:16]), (second, results[16:])):
        clear = [coded(frame, coding) for _, frame in scene_of]
        for plane in range(3):
            assert deviation(part, plane) <= 1.15 * deviation(clear, plane)
    alone = list(dehazed(hazy[16:], dehazer, coding))
    for fresh, behind in zip(alone, results[16:], strict=True):
        for one, other in zip(fresh, behind, strict=True):
            np.testing.assert_array_equal(other, one)


def test_without_memory_it_would_flicker(dehazer):
    """So that the test above can fail."""
    frames = list(film("temple", 16))
    alone = [next(dehazed([hazy], dehazer, Coding())) for hazy, _ in frames]
    assert deviation(alone, 0) > 1.3 * deviation([coded(clear, Coding()) for _, clear in frames], 0)


@pytest.mark.parametrize(
    "rendering", [Rendering(brighten=0.0, colour_veil=0.0), Rendering()], ids=["physical", "default"]
)
@pytest.mark.parametrize("coding", CODINGS, ids=["8 bit", "10 bit", "full range"])
def test_known_haze_goes_and_the_clear_codes_come_out(coding, rendering):
    """The scattering model inverted in Y'CbCr is the one inverted in RGB, and brightened nearly as there."""
    clear, _ = scene("temple")
    t = np.float32(0.6)
    hazy = clear * t + AIRLIGHT * (1 - t)
    lattice, guide = np.full((45, 80), t, np.float32), np.full((45, 80, 3), 0.5, np.float32)
    field = HazeField(lattice=lattice, guide=guide, airlight=AIRLIGHT, density=1.0, rendering=rendering)
    if rendering == Rendering():
        assert np.abs(field.apply(hazy) - clear).mean() > 0.005
        clear = field.apply(hazy)
    planes = coded(hazy, coding)
    small = np.rint(hazy * 255).astype(np.uint8)
    video = PlaneDehazer(coding, 1.0)
    video.dehaze(planes, replace(field, noise=0.0), small)
    for plane, expected in zip(planes, coded(clear, coding), strict=True):
        difference = np.abs(plane.astype(int) - expected)
        assert difference.mean() < 1
        assert np.percentile(difference, 99) <= 3


def test_codes_stay_within_the_range(tmp_path):
    dehazer = Dehazer(write(tmp_path / "standin.onnx"), threads=1)
    noise = np.random.default_rng(0).random((*SIZE, 3), np.float32)
    for coding in (Coding(), Coding(bits=10)):
        [planes] = dehazed([noise], dehazer, coding, strength=1.5)
        for number, plane in enumerate(planes):
            low, high = coding.limits(number)
            assert low <= plane.min() < plane.max() <= high
    assert Coding().limits(0) == (16, 235)
    assert Coding().limits(1) == (16, 240)
    assert Coding(full=True).limits(0) == (0, 255)


def test_strength_0_leaves_every_code(dehazer):
    frames = [frame for frame, _ in film("temple", 2)]
    for planes, frame in zip(dehazed(frames, dehazer, Coding(), strength=0), frames, strict=True):
        for plane, before in zip(planes, coded(frame, Coding()), strict=True):
            np.testing.assert_array_equal(plane, before)
