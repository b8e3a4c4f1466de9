"""The view stands for the whole picture whatever its size, and the noise estimate means what it says."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nedr.inference.view import noise_level, reduce, view, view_size


@given(height=st.integers(1, 30000), width=st.integers(1, 30000), long_side=st.sampled_from([128, 160, 256, 384]))
def test_a_view_has_the_sides_a_network_takes(height, width, long_side):
    high, wide = view_size(height, width, long_side)
    assert high % 32 == 0
    assert wide % 32 == 0
    assert max(high, wide) == long_side
    assert min(high, wide) >= 128


def test_a_view_keeps_the_proportions_within_half_a_step():
    high, wide = view_size(3000, 4000, 256)
    assert (high, wide) == (192, 256)
    assert abs(view_size(1000, 1500, 256)[0] - 256 / 1.5) <= 16


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    down=st.integers(1, 9),
    across=st.integers(1, 9),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32, np.float64]),
)
def test_reduction_is_the_mean_of_each_block(height, width, down, across, dtype):
    values = np.random.default_rng(0).random((height, width, 3))
    white = np.iinfo(dtype).max if dtype in (np.uint8, np.uint16) else 1
    planes = (values * white).astype(dtype)
    rows = [
        [planes[y : y + down, x : x + across].reshape(-1, 3).mean(axis=0) / white for x in range(0, width, across)]
        for y in range(0, height, down)
    ]
    assert np.allclose(reduce(planes, down, across), rows, atol=1e-5)


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (1, 900, 3), (700, 2), (37, 53, 1), (600, 30, 4), (5000, 250, 3), (997, 1499)]
)
def test_any_picture_has_a_view(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    seen = view(picture, 128)
    assert seen.shape == (*view_size(*shape[:2], 128), 3)
    assert seen.dtype == np.float32
    assert seen.min() >= 0
    assert seen.max() <= 1
    assert abs(seen.mean() - picture[..., :3].mean() / 255 if picture.ndim == 3 else 0) < 0.03


def test_a_gradient_stays_where_it_is_at_every_size():
    def gradient(height, width):
        y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
        return np.stack([np.tile(x, (height, 1)), np.tile(y[:, None], width), np.outer(y, x)], axis=2)

    expected = gradient(192, 256)
    for size in ((300, 400), (301, 399), (1211, 1603), (60, 80)):
        seen = view(gradient(*size).astype(np.float32), 256)
        assert np.abs(seen - expected)[3:-3, 3:-3].max() < 4e-3


def test_number_types_have_the_same_view():
    eight = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    expected = view(eight, 128)
    assert np.allclose(view(eight.astype(np.uint16) * 257, 128), expected, atol=1e-6)
    assert np.allclose(view(eight / 255, 128), expected, atol=1e-6)
    assert np.allclose(view(np.dstack([eight, eight[..., 0]]), 128), expected, atol=0)


def test_fine_texture_does_not_alias():
    stripes = np.zeros((1200, 1600), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(view(stripes, 128) - 0.5).max() < 0.02


@pytest.mark.parametrize("sigma", [0.5, 1, 2, 4, 8])
def test_the_noise_of_a_flat_picture_is_measured(sigma):
    noisy = 128 + np.random.default_rng(0).normal(0, sigma, (300, 400, 3))
    assert noise_level(np.clip(noisy / 255, 0, 1)) * 255 == pytest.approx(sigma, rel=0.15)


def test_texture_is_not_noise():
    picture = np.full((400, 400), 120, np.uint8)
    picture[:, 200:] = np.random.default_rng(0).integers(0, 256, (400, 200))
    assert noise_level(picture) < 0.5 / 255


def test_blocks_of_compression_count_as_noise():
    coarse = Image.fromarray(np.random.default_rng(0).normal(128, 8, (48, 64)).astype(np.float32))
    smooth = np.asarray(coarse.resize((320, 240), Image.Resampling.BICUBIC)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(smooth).save(file, "JPEG", quality=20)
    assert noise_level(np.asarray(Image.open(file))) > 2 * noise_level(smooth)


@pytest.mark.parametrize("shape", [(1, 1), (15, 400), (3, 3, 3), (16, 16, 4)])
def test_small_black_and_clipped_pictures_have_a_level(shape):
    for value in (0, 128, 255):
        assert noise_level(np.full(shape, value, np.uint8)) == 0
