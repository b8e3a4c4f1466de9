"""A(x) is the polynomial it says, goes round with the picture, and is applied to each pixel as it is at each point."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nedr.errors import ImageError, UsageError
from nedr.inference import airlight
from nedr.inference.field import HazeField, Rendering
from nedr.pictures.arrays import LUMA

MEAN = np.array([0.6, 0.7, 0.75], np.float32)


def terms_of(seed=0, size=0.08):
    return np.random.default_rng(seed).uniform(-size, size, (3, airlight.TERMS)).astype(np.float32)


def field_with(terms, t=0.6, **rendering):
    rendering = Rendering(**({"brighten": 0.0} | rendering))
    return HazeField(np.full((6, 8), t, np.float32), None, MEAN, 1.0, rendering=rendering, terms=terms)


def test_each_term_is_its_polynomial():
    x, y = np.array([-1.0, 0.2, 0.5]), np.array([0.3, -0.7, 1.0])
    expected = [x, y, x**2 - 1 / 3, x * y, y**2 - 1 / 3]
    for k, values in enumerate(expected):
        terms = np.zeros((3, airlight.TERMS), np.float32)
        terms[1, k] = 0.1
        assert np.allclose(airlight.at(MEAN, terms, x, y)[:, 1], MEAN[1] + 0.1 * values, atol=1e-6)
        assert np.allclose(airlight.at(MEAN, terms, x, y)[:, 0], MEAN[0], atol=1e-6)


def test_the_networks_polynomials_are_these():
    torch = pytest.importorskip("torch")
    from nedr.model.heads import airlight_at

    terms = terms_of(size=0.3)
    expected = airlight_at(torch.from_numpy(MEAN[None]), torch.from_numpy(terms[None]), 9, 13)[0].permute(1, 2, 0)
    assert np.allclose(airlight.at(MEAN, terms, *airlight.grid(9, 13)), expected.numpy(), atol=1e-6)


def test_the_fields_airlight_is_the_mean_over_the_picture():
    x, y = airlight.grid(200, 300)
    seen = field_with(terms_of()).airlight_at((x + 1) / 2, (y + 1) / 2)
    assert seen.shape == (200, 300, 3)
    assert np.allclose(seen.mean(axis=(0, 1)), MEAN, atol=1e-4)


def test_a_fit_finds_the_polynomial_again():
    terms = terms_of()
    mean, found = airlight.fitted(airlight.at(MEAN, terms, *airlight.grid(7, 7)))
    assert np.allclose(mean, MEAN, atol=1e-6)
    assert np.allclose(found, terms, atol=1e-6)


def test_mirrored_terms_are_those_of_the_mirror_image():
    terms, points = terms_of(), airlight.grid(5, 9)
    expected = airlight.at(MEAN, terms, *points)[:, ::-1]
    assert np.allclose(airlight.at(MEAN, terms * airlight.MIRRORED, *points), expected, atol=1e-6)
    assert not np.allclose(airlight.at(MEAN, terms, *points), expected, atol=1e-2)


@pytest.mark.parametrize("turns", [-1, 0, 1, 2, 3, 5])
def test_a_turned_field_is_the_turned_pictures(turns):
    rng = np.random.default_rng(0)
    lattice, guide = rng.uniform(0.3, 0.9, (5, 7)).astype(np.float32), rng.random((5, 7, 3), np.float32)
    field = HazeField(lattice, guide, MEAN, 1.0, terms=terms_of())
    picture = rng.random((40, 56, 3), np.float32)
    expected = np.rot90(field.apply(picture), turns)
    result = field.turned(turns).apply(np.ascontiguousarray(np.rot90(picture, turns)))
    assert np.allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("size", [0.04, 0.6])
def test_every_pixel_is_inverted_with_the_airlight_at_its_place(size):
    """Also where A(x) has to be held in [0, 1]."""
    field = field_with(terms_of(size=size), colour_veil=0.0)
    picture = np.random.default_rng(1).random((37, 53, 3), np.float32)
    y, x = ((np.arange(count) + 0.5) / count for count in (37, 53))
    light = field.airlight_at(*np.meshgrid(x, y))
    expected = np.clip((picture - light) / np.float32(0.6) + light, 0, 1)
    assert np.allclose(field.apply(picture), expected, atol=2e-6)
    assert (light.max() == 1) == (size > 0.5)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_crop_under_uneven_light_is_bit_for_bit_the_crop_of_the_whole(data):
    height, width = data.draw(st.integers(2, 150)), data.draw(st.sampled_from([3, 64, 5000]))
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    white = data.draw(st.sampled_from([255, 65535, 1.0]))
    values = rng.random((height, width, data.draw(st.sampled_from([1, 3]))), np.float32) * white
    picture = values.astype({255: np.uint8, 65535: np.uint16, 1.0: np.float32}[white])
    guide = rng.random((6, 8, 3), np.float32)
    terms = terms_of(1, data.draw(st.sampled_from([0.1, 0.6])))
    field = HazeField(rng.uniform(0.3, 0.9, (6, 8)).astype(np.float32), guide, MEAN, 1.0, terms=terms)
    whole = field.apply(picture, threads=data.draw(st.integers(1, 3)))
    crop = field.apply(picture[y0:y1, x0:x1], region=(x0, y0, x1, y1), full=(height, width))
    assert np.array_equal(crop, whole[y0:y1, x0:x1])


def test_a_clear_picture_keeps_its_pixels_under_any_light():
    picture = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    assert np.array_equal(field_with(terms_of(), t=1.0).apply(picture), picture)


def test_grey_is_seen_under_the_lights_luma():
    grey = np.random.default_rng(0).random((30, 40), np.float32)
    field = field_with(terms_of())
    luma = (np.asarray(LUMA, np.float32) @ field.terms)[None].repeat(3, axis=0)
    mean = np.full(3, np.asarray(LUMA, np.float32) @ MEAN, np.float32)
    same = HazeField(field.lattice, None, mean, 1.0, rendering=field.rendering, terms=luma)
    assert np.allclose(field.apply(grey), same.apply(grey[..., None].repeat(3, axis=2))[..., 1], atol=1e-5)


def test_a_preview_under_uneven_light_agrees_with_the_whole():
    field = field_with(terms_of())
    full = np.tile(np.linspace(0.3, 0.7, 400, dtype=np.float32)[None, :, None], (300, 1, 3))
    small = full.reshape(75, 4, 100, 4, 3).mean(axis=(1, 3))
    whole = field.apply(full).reshape(75, 4, 100, 4, 3).mean(axis=(1, 3))
    assert np.abs(field.apply(small) - whole).max() < 1e-3


def test_positions_and_terms_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match=r"x in \[0, 1\]"):
        field_with(terms_of()).airlight_at(1.5, 0)
    for wrong in (terms_of()[:2], terms_of() * np.nan):
        with pytest.raises(ImageError, match="terms"):
            field_with(wrong)
