"""Properties of the haze field: continuous, the same at every size, exact on crops, physical, kind to weak pixels."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nedr.errors import ImageError, UsageError
from nedr.inference import lattice
from nedr.inference.field import HazeField, Rendering
from nedr.inference.inversion import Window, invert
from nedr.inference.view import noise_level
from nedr.pictures.arrays import LUMA, peak

AIRLIGHT = np.array([0.88, 0.9, 0.93], np.float32)
TYPES = (np.uint8, np.uint16, np.float32, np.float64)


def down(plane, height, width):
    """Averages over the cells of a lattice."""
    return np.asarray(Image.fromarray(plane.astype(np.float32)).resize((width, height), Image.Resampling.BOX))


def hazed(clear, t, airlight=AIRLIGHT):
    return clear * t[..., None] + airlight * (1 - t[..., None])


def eight(values):
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


PHYSICAL = Rendering(brighten=0.0, colour_veil=0.0)


def field_of(picture, t, size=(24, 32), airlight=AIRLIGHT, **rendering):
    """The field a perfect network would answer with: true t and the picture, averaged onto the lattice."""
    guide = np.stack([down(picture[..., c], *size) for c in range(3)], axis=2)
    rendering = Rendering(**({"brighten": 0.0} | rendering))
    return HazeField(down(t, *size), guide, np.asarray(airlight, np.float32), 1.0, rendering=rendering)


def random_field(seed=0, size=(9, 13), **rendering):
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.2, 0.95, size).astype(np.float32)
    guide = rng.random((*size, 3), np.float32)
    return HazeField(values, guide, rng.random(3, np.float32), 1.3, rendering=Rendering(**rendering))


def picture_of(shape, dtype, seed=0):
    values = np.random.default_rng(seed).random(shape)
    return (
        np.rint(values * np.iinfo(dtype).max).astype(dtype) if dtype in (np.uint8, np.uint16) else values.astype(dtype)
    )


# The lattice as a function


def test_sampling_at_the_lattice_size_returns_the_lattice():
    field = random_field(size=(37, 53))
    assert np.array_equal(field.transmission(37, 53), field.lattice)


def test_a_constant_lattice_is_constant_everywhere():
    field = HazeField(np.full((5, 7), 0.4, np.float32), None, AIRLIGHT, 1.0)
    assert np.allclose(field.transmission(83, 91), 0.4, atol=1e-6)
    assert field.at(0, 1) == pytest.approx(0.4, abs=1e-6)


def test_a_linear_lattice_is_reproduced_between_its_centres():
    x = (np.arange(16) + 0.5) / 16
    field = HazeField(np.tile(0.2 + 0.5 * x, (16, 1)).astype(np.float32), None, AIRLIGHT, 1.0)
    inside = np.linspace(0.15, 0.85, 97)
    assert np.allclose(field.at(inside, 0.5), 0.2 + 0.5 * inside, atol=1e-5)


def test_a_raster_is_the_field_at_its_pixel_centres():
    field = random_field()
    raster = field.transmission(40, 61)
    y, x = np.meshgrid((np.arange(40) + 0.5) / 40, (np.arange(61) + 0.5) / 61, indexing="ij")
    assert np.allclose(raster, field.at(x, y), atol=2e-6)


def test_the_field_is_continuous_and_so_is_its_slope():
    field = random_field()

    def steepest(count, order):
        values = lattice.at(field.lattice, np.linspace(0.1, 0.9, count), np.full(count, 0.37))
        return np.abs(np.diff(values.astype(np.float64), order)).max()

    assert steepest(4001, 1) < 0.3 * steepest(1001, 1)
    assert steepest(801, 2) < 0.3 * steepest(201, 2) * 0.5  # second differences fall faster than the step: no kinks


def test_positions_outside_the_picture_are_refused():
    with pytest.raises(UsageError, match=r"x in \[0, 1\]"):
        random_field().at(1.01, 0.5)
    with pytest.raises(UsageError, match="y"):
        random_field().at([0.1, 0.2], [0.1, np.nan])


def test_depth_is_the_logarithm_of_transmission():
    field = random_field()
    assert np.allclose(np.exp(-field.density * field.depth(20, 30)), field.transmission(20, 30), atol=1e-6)


@pytest.mark.parametrize("kind", ["transmission", "depth"])
def test_a_preview_grows_lighter_with_its_value(kind):
    ramp = np.tile(np.linspace(0.05, 1, 64, dtype=np.float32), (4, 1))
    shown = HazeField(ramp, None, AIRLIGHT, 1.0).preview(4, 64, kind)
    lightness = shown[0].astype(float) @ LUMA
    assert shown.shape == (4, 64, 3)
    assert shown.dtype == np.uint8
    assert np.all(np.diff(lightness if kind == "transmission" else lightness[::-1]) >= -1)
    assert abs(lightness[-1] - lightness[0]) > 150


# The inversion


def test_the_scene_comes_back_when_transmission_and_airlight_are_true():
    y, x = np.mgrid[:96, :128] / 96
    clear = np.stack([0.2 + 0.4 * x / 2, 0.3 + 0.2 * y, 0.5 - 0.2 * x * y], axis=2)
    t = 0.3 + 0.6 * y
    field = field_of(hazed(clear, t), t, size=(96, 128), guidance="none", colour_veil=0.0)
    result = field.apply(hazed(clear, t).astype(np.float32))
    assert np.abs(result - clear).max() < 1e-5


def test_strength_scales_the_density():
    t = np.full((4, 4), 0.5, np.float32)
    picture = picture_of((6, 7, 3), np.float32) * 0.3 + 0.5
    result = HazeField(t, None, AIRLIGHT, 1.0, rendering=PHYSICAL).apply(picture, strength=1.5)
    expected = np.clip((picture - AIRLIGHT) / 0.5**1.5 + AIRLIGHT, 0, 1)
    assert np.allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", TYPES)
def test_strength_zero_gives_the_very_same_pixels(dtype):
    picture = picture_of((31, 17, 4), dtype)
    result = random_field().apply(picture, strength=0)
    assert np.array_equal(result, picture)
    assert not np.shares_memory(result, picture)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_clear_picture_keeps_its_pixels(dtype):
    picture = picture_of((50, 60, 3), dtype)
    field = HazeField(np.ones((8, 8), np.float32), np.full((8, 8, 3), 0.5, np.float32), AIRLIGHT, 1.0)
    assert np.array_equal(field.apply(picture), picture)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_result_is_brightened_by_what_the_veil_lacks_of_white(dtype, channels):
    airlight, white = np.full(3, 0.6, np.float32), np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    picture = picture_of((30, 40, channels), dtype)
    field = HazeField(np.full((4, 4), 0.7, np.float32), None, airlight, 1.0)
    for strength in (0.5, 1.0):
        t = 0.7**strength
        scene = np.clip((picture / white - 0.6) / t + 0.6, 0, 1)
        for brighten in (0.5, 1.0):
            k = brighten * (1 - 0.6) * (1 - t)
            expected = (scene + k * scene * (1 - scene)) * white
            found = replace(field, rendering=Rendering(brighten=brighten, colour_veil=0.0)).apply(
                picture, strength=strength
            )
            assert np.abs(found - expected).max() <= (0.55 if white > 1 else 1e-5)


def test_neither_a_clear_picture_nor_one_in_white_haze_is_brightened():
    for t, airlight in ((1.0, 0.5), (0.4, 1.0)):
        field = HazeField(np.full((4, 4), t, np.float32), None, np.full(3, airlight, np.float32), 1.0)
        assert field.curve() == pytest.approx((1.0, 0.0), abs=1e-6)


def test_a_darker_white_darkens_the_result_alike():
    """As in a film that fades to black."""
    picture = picture_of((20, 30, 3), np.float32) * np.float32(0.4) + np.float32(0.3)
    field = HazeField(np.full((4, 4), 0.7, np.float32), None, np.full(3, 0.6, np.float32), 1.0)
    faded = replace(field, airlight=field.airlight / 2, white=0.5)
    assert np.allclose(faded.apply(picture / 2), field.apply(picture) / 2, atol=1e-6)


def test_results_are_rounded_to_the_nearest_level():
    field = HazeField(np.full((4, 4), 0.7, np.float32), None, AIRLIGHT, 1.0, rendering=PHYSICAL)
    picture = picture_of((40, 40, 3), np.uint8)
    exact = np.clip((picture / 255.0 - AIRLIGHT) / 0.7 + AIRLIGHT, 0, 1) * 255
    assert np.abs(field.apply(picture) - exact).max() <= 0.5 + 1e-3


def test_grey_is_the_grey_of_colour():
    grey = picture_of((33, 44), np.uint8)
    airlight = np.full(3, 0.9, np.float32)
    field = HazeField(random_field().lattice, random_field().guide, airlight, 1.0)
    as_colour = field.apply(np.repeat(grey[..., None], 3, axis=2))
    assert np.abs(field.apply(grey).astype(int) - as_colour[..., 1]).max() <= 1
    assert np.array_equal(field.apply(grey[..., None])[..., 0], field.apply(grey))


def test_alpha_is_untouched_and_changes_nothing():
    picture = picture_of((20, 21, 4), np.uint16)
    result = random_field().apply(picture)
    assert np.array_equal(result[..., 3], picture[..., 3])
    assert np.array_equal(result[..., :3], random_field().apply(picture[..., :3]))


def test_number_types_agree():
    field, eight_bit = random_field(), picture_of((64, 80, 3), np.uint8)
    exact = field.apply(eight_bit.astype(np.float64) / 255) * 255
    assert np.abs(field.apply(eight_bit) - exact).max() <= 0.51
    assert np.abs(field.apply((eight_bit / np.float32(255)).astype(np.float32)) * 255 - exact).max() < 1e-2
    assert np.abs(field.apply(eight_bit.astype(np.uint16) * 257) / 257 - exact).max() < 0.02


def test_sixteen_bits_stay_smooth():
    ramp = np.tile(np.linspace(30000, 40000, 4000).astype(np.uint16)[None, :, None], (2, 1, 3))
    field = HazeField(np.full((4, 4), 0.5, np.float32), None, AIRLIGHT, 1.0)
    assert len(np.unique(field.apply(ramp)[0, :, 0])) == len(np.unique(ramp[0, :, 0]))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_crop_is_bit_for_bit_the_crop_of_the_whole(data):
    height, width = data.draw(st.integers(1, 200)), data.draw(st.sampled_from([1, 3, 64, 200, 5000]))
    x0 = data.draw(st.integers(0, width - 1))
    y0 = data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    shape = data.draw(st.sampled_from([(height, width), (height, width, 1), (height, width, 3), (height, width, 4)]))
    picture = picture_of(shape, data.draw(st.sampled_from(TYPES)))
    guidance = data.draw(st.sampled_from(["none", "detail", "filter"]))
    strength = data.draw(st.sampled_from([0, 0.5, 1, 1.5]))
    field = random_field(data.draw(st.integers(0, 9)), guidance=guidance)
    whole = field.apply(picture, strength=strength, threads=data.draw(st.integers(1, 3)))
    crop = field.apply(picture[y0:y1, x0:x1], region=(x0, y0, x1, y1), full=(height, width), strength=strength)
    assert whole.shape == picture.shape
    assert whole.dtype == picture.dtype
    assert np.array_equal(crop, whole[y0:y1, x0:x1])


def test_memory_layout_does_not_matter():
    picture = picture_of((60, 70, 3), np.uint8)
    field = random_field()
    planar = np.ascontiguousarray(picture.transpose(2, 0, 1)).transpose(1, 2, 0)
    flipped = np.ascontiguousarray(picture[:, ::-1])[:, ::-1]
    for variant in (planar, flipped, picture.astype(">u2").astype(np.uint8)):
        assert np.array_equal(field.apply(variant), field.apply(picture))


def test_a_frozen_picture_is_accepted_and_left_alone():
    picture = picture_of((10, 12, 3), np.uint8)
    picture.setflags(write=False)
    before = picture.copy()
    random_field().apply(picture)
    assert np.array_equal(picture, before)


@pytest.mark.parametrize(
    ("region", "full", "error", "match"),
    [
        ((0, 0, 5, 5), None, UsageError, "belong together"),
        (None, (50, 50), UsageError, "belong together"),
        ((0, 0, 60, 5), (50, 50), UsageError, "does not lie within"),
        ((5, 5, 5, 9), (50, 50), UsageError, "does not lie within"),
        ((0, 0, 8, 9), (50, 50), ImageError, "9 x 8 pixels"),
    ],
)
def test_regions_that_cannot_be_are_refused(region, full, error, match):
    with pytest.raises(error, match=match):
        random_field().apply(picture_of((5, 5, 3), np.uint8), region=region, full=full)


@pytest.mark.parametrize("strength", [-0.1, 1.6, float("nan")])
def test_strengths_that_cannot_be_are_refused(strength):
    with pytest.raises(UsageError, match="strength"):
        random_field().apply(picture_of((5, 5, 3), np.uint8), strength=strength)


@pytest.mark.parametrize(
    ("picture", "match"),
    [
        (np.zeros((4, 5, 2), np.uint8), r"found \(4, 5, 2\)"),
        (np.zeros((2, 4, 5, 3), np.uint8), r"found \(2, 4, 5, 3\)"),
        (np.zeros(7, np.uint8), r"found \(7,\)"),
        (np.zeros((0, 5, 3), np.uint8), "at least one pixel"),
        (np.zeros((4, 5, 3), np.int64), "found int64"),
        (np.zeros((4, 5, 3), np.float16), "found float16"),
        (np.full((4, 5, 3), np.nan, np.float32), "NaN in 60 of 60"),
        (np.full((4, 5), np.inf, np.float32), "inf"),
        (np.full((4, 5), 255.0), "255"),
        (np.full((4, 5), -0.5), "-0.5"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(picture, match):
    with pytest.raises(ImageError, match=match):
        random_field().apply(picture)


def test_a_field_that_cannot_be_is_refused():
    good = np.full((4, 4), 0.5, np.float32)
    for values, guide, airlight, density in [
        (good * 0, None, AIRLIGHT, 1.0),
        (good * np.nan, None, AIRLIGHT, 1.0),
        (good[0], None, AIRLIGHT, 1.0),
        (good, np.zeros((4, 5, 3), np.float32), AIRLIGHT, 1.0),
        (good, None, AIRLIGHT[:2], 1.0),
        (good, None, AIRLIGHT, 0.0),
    ]:
        with pytest.raises(ImageError):
            HazeField(values, guide, airlight, density)
    for wrong in (
        {"guidance": "sharp"},
        {"radius": 0},
        {"epsilon": 0},
        {"floor": 0},
        {"floor": 0.5, "floor_limit": 0.3},
    ):
        with pytest.raises(UsageError):
            Rendering(**wrong)


def test_threads_share_the_work_without_changing_it():
    picture, field = picture_of((700, 900, 3), np.uint8), random_field()
    window = Window(700, 900, 0, 0, 900, 700)
    medium = field._medium(1, 3)
    assert np.array_equal(invert(picture, medium, window, 1), invert(picture, medium, window, 5))


def test_guided_transmission_follows_the_pictures_edges():
    clear, t = roof()
    picture = eight(hazed(clear, t))
    field = field_of(picture / 255, t)
    plain = np.abs(field.transmission(*t.shape) - t).mean()
    assert np.abs(field.transmission(*t.shape, image=picture) - t).mean() < 0.7 * plain
    with pytest.raises(ImageError, match="expected a picture of 480 x 640"):
        field.transmission(480, 640, image=picture[:-1])


# Looks: each figure is what the eye would complain about


def roof(height=480, width=640):
    """A dark roof at t = 0.85 before a sky at t = 0.4: clear scene, transmission."""
    y, x = np.mgrid[:height, :width]
    below = y > 150 + 0.55 * np.abs(x - 333)
    stripes = 0.04 * np.sin(x / 3)
    clear = np.where(below[..., None], np.array([0.32, 0.22, 0.18]) + stripes[..., None], np.array([0.62, 0.72, 0.86]))
    return clear, np.where(below, 0.85, 0.4)


def test_halo_at_a_roof_line():
    """Worst error in the sky along the edge: 0.30 of the range when t is only interpolated, under 0.1 guided."""
    clear, t = roof()
    picture = eight(hazed(clear, t))
    worst = {
        guidance: np.abs(field_of(picture / 255, t, guidance=guidance).apply(picture) / 255 - clear).max()
        for guidance in ("none", "detail")
    }
    assert worst["detail"] < 0.1
    assert worst["detail"] < 0.4 * worst["none"]


def test_hue_in_a_sky_gradient():
    """An airlight 0.02 too red and too little blue tints the far sky; the colours' veil keeps most of it out."""
    v = np.linspace(0, 1, 240)[:, None] * np.ones((1, 320))
    clear = np.array([0.35, 0.55, 0.9]) * (1 - v[..., None]) + np.array([0.62, 0.75, 0.92]) * v[..., None]
    t, airlight = 0.7 - 0.58 * v, np.array([0.86, 0.88, 0.9])
    picture = eight(hazed(clear, t, airlight))

    def cast(colour_veil):
        wrong = airlight + np.array([0.02, 0, -0.02])
        field = field_of(picture / 255, t, airlight=wrong, guidance="none", colour_veil=colour_veil)
        error = field.apply(picture) / 255 - clear
        return np.abs(error - (error @ LUMA)[..., None]).max()

    assert cast(Rendering().colour_veil) < 0.05
    assert cast(Rendering().colour_veil) < 0.4 * cast(0.0)


@pytest.mark.parametrize("sigma", [0.7, 1.5, 2.5])
def test_noise_in_a_flat_region_stays_under_the_limit(sigma):
    """At t = 0.05 noise would grow twentyfold; it leaves at about `noise_limit`, ten levels, at most."""
    noise = np.random.default_rng(0).normal(0, sigma, (200, 240, 1))  # the same in each channel: luma's gain applies
    picture = np.clip(np.rint(AIRLIGHT * 230 + noise), 0, 255).astype(np.uint8)
    noise = noise_level(picture)
    field = HazeField(np.full((8, 8), 0.05, np.float32), None, AIRLIGHT * 230 / 255, 1.0, noise, PHYSICAL)
    grown = (field.apply(picture) / 255).std(axis=(0, 1)).max()
    assert sigma / 255 < grown < 1.15 * Rendering().noise_limit
    assert grown == pytest.approx(sigma / 255 / max(0.1, field.floor), rel=0.1)


def test_blocks_of_a_compressed_haze_stay_faint():
    """Dense haze at JPEG quality 20, t = 0.05: steps of 40 levels across block borders by a fixed floor, 18 by ours."""
    coarse = Image.fromarray(np.random.default_rng(0).normal(225, 8, (48, 64)).astype(np.float32))
    veil = np.clip(np.asarray(coarse.resize((320, 240), Image.Resampling.BICUBIC)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(veil).save(file, "JPEG", quality=20)
    picture = np.asarray(Image.open(file))

    def step(floor, noise):
        rendering = Rendering(floor=floor, floor_limit=0.25)
        field = HazeField(np.full((8, 8), 0.05, np.float32), None, AIRLIGHT, 1.0, noise, rendering)
        result = field.apply(picture).astype(float)
        return np.abs(result[:, 8::8] - result[:, 7:-1:8]).mean()

    noise = noise_level(picture)
    assert step(0.1, noise) < 20
    assert step(0.1, noise) < 0.6 * step(0.1, 0.0) < 0.6 * step(0.05, 0.0)


def test_number_types_have_a_white():
    assert [peak(np.zeros(1, dtype)) for dtype in TYPES] == [255, 65535, 1, 1]
