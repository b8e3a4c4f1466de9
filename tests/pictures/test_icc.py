"""Profiles: conversions against their formula, at every depth, there and back."""

import drawn_pictures as pictures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nedr.pictures import icc as colour

P3, GREY = pictures.profile(), pictures.profile(grey=True, gamma=1.8)


def to_srgb(values, primaries=pictures.P3, gamma=2.2):
    """The definition: power law, matrix through XYZ, sRGB's curve; colours outside sRGB are clipped."""
    xyz = (values**gamma) @ np.array(primaries)
    linear = np.clip(xyz @ np.linalg.inv(np.array(pictures.SRGB)), 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_eight_bit_colours_follow_the_definition():
    values = pictures.noise(40, 50)
    expected = to_srgb(values / 255) * 255
    assert np.abs(colour.convert(values, P3, grey=False) - expected).max() <= 1.6


@pytest.mark.parametrize(("dtype", "top"), [(np.uint16, 65535), (np.float32, 1), (np.float64, 1)])
def test_deeper_colours_follow_it_within_one_level_of_255(dtype, top):
    values = pictures.noise(40, 50, dtype=np.uint16) / 65535
    result = colour.convert((values * top).astype(dtype), P3, grey=False)
    assert result.dtype == dtype
    error = np.abs(result / top - to_srgb(values)) * 255
    assert error.mean() < 0.4
    assert np.percentile(error, 99) < 1.5


def test_sixteen_bit_gradients_get_no_bands():
    ramp = np.repeat(np.arange(20000, 24000, dtype=np.uint16)[:, None], 3, axis=1)
    steps = np.diff(colour.convert(ramp, P3, grey=False).astype(int), axis=0)
    assert np.abs(steps).max() <= 4  # 8 bits would leap by 257


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(40, 215)] * 3), min_size=1, max_size=20))
def test_there_and_back_is_where_one_was(colours):
    values = np.array(colours, np.float32) / 255
    srgb = colour.convert(values, P3, grey=False, inverse=True)
    assert np.abs(colour.convert(srgb, P3, grey=False) - values).max() < 2.5 / 255


@pytest.mark.parametrize("shape", [(3,), (1, 3), (4, 5, 3), (2, 3, 4, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_shape_and_type_stay(shape, dtype):
    values = np.zeros(shape, dtype)
    result = colour.convert(values, P3, grey=False)
    assert (result.shape, result.dtype) == (shape, dtype)


@pytest.mark.parametrize("shape", [(), (3,), (4, 5), (4, 5, 3)])
def test_grey_levels_are_converted_one_by_one(shape):
    levels = np.random.default_rng(0).random(shape)
    linear = levels**1.8
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    result = colour.convert(levels, GREY, grey=True)
    assert np.shape(result) == shape
    assert (np.abs(result - expected) < np.where(levels < 0.05, 2 / 255, 1 / 255)).all()
    back = colour.convert(result, GREY, grey=True, inverse=True)
    assert np.abs(back - levels).max() < 4 / 255  # dark greys lie closer together in 8 bits


def test_a_grey_picture_with_an_rgb_profile_follows_its_curve():
    levels = np.linspace(0, 1, 50)
    expected = to_srgb(np.repeat(levels[:, None], 3, axis=1))[:, 1]
    assert np.abs(colour.convert(levels, P3, grey=True) - expected).max() < 2 / 255


@pytest.mark.parametrize("icc", [None, b"", b"no profile", P3[:200], GREY])
def test_without_a_fitting_profile_colours_are_srgb(icc):
    values = pictures.noise(4, 5)
    assert np.array_equal(colour.convert(values, icc, grey=False), values)


def test_cmyk_without_profile_follows_its_plain_formula_and_says_so():
    inks = pictures.cmyk(np.array([[[0, 0, 0, 0], [0, 255, 255, 0], [0, 0, 0, 255]]], np.uint8))
    for icc in (None, b"broken", P3):
        result, note = colour.cmyk_to_srgb(inks, icc)
        assert np.asarray(result).tolist() == [[[255, 255, 255], [255, 0, 0], [0, 0, 0]]]
        assert "CMYK" in note
