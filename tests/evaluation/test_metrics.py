import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nedr.errors import ImageError, MissingExtraError
from nedr.evaluation.metrics import ciede2000, psnr, ssim


def flat(*colour, side=16):
    return np.full((side, side, 3), colour, np.uint8)


def noise(height, width, seed):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def lightness(grey):
    """CIE L* of an sRGB grey, from the definitions (both branches of each not needed above 10)."""
    luminance = ((grey / 255 + 0.055) / 1.055) ** 2.4
    return 116 * luminance ** (1 / 3) - 16


def naive_ssim(a, b):
    """Wang et al. 2004 written as its equations, one window after another, on one channel."""
    offsets = np.arange(-5, 6)
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for row in range(a.shape[0] - 10):
        for column in range(a.shape[1] - 10):
            x, y = (p[row : row + 11, column : column + 11].astype(float) for p in (a, b))
            mx, my = (kernel * x).sum(), (kernel * y).sum()
            vx, vy = (kernel * (x - mx) ** 2).sum(), (kernel * (y - my) ** 2).sum()
            cov = (kernel * (x - mx) * (y - my)).sum()
            values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return np.mean(values)


def test_psnr_of_a_known_error():
    # Every value off by 10: mean squared error 100, 10 log10(65025 / 100) = 28.1308 dB.
    assert psnr(flat(100, 100, 100), flat(110, 90, 110)) == pytest.approx(28.130804, abs=1e-6)
    # One value of 768 off by 255: mean squared error 255^2 / 768, so 10 log10(768).
    other = flat(0, 0, 0)
    other[3, 5, 1] = 255
    assert psnr(flat(0, 0, 0), other) == pytest.approx(10 * math.log10(768), abs=1e-9)


def test_psnr_does_not_wrap_around_in_8_bit():
    assert psnr(flat(0, 0, 0), flat(255, 255, 255)) == 0
    assert psnr(flat(255, 255, 255), flat(0, 0, 0)) == 0


def test_ssim_of_flat_pictures():
    # No variance: only the luminance term is left, (2 a b + C1) / (a^2 + b^2 + C1), C1 = 2.55^2.
    expected = (2 * 100 * 120 + 6.5025) / (100**2 + 120**2 + 6.5025)
    assert ssim(flat(100, 100, 100), flat(120, 120, 120)) == pytest.approx(expected, abs=1e-6)
    # The mean of the channels: two equal ones and that one.
    assert ssim(flat(100, 100, 100), flat(100, 120, 100)) == pytest.approx((2 + expected) / 3, abs=1e-6)


def test_ssim_follows_its_equations():
    a, b = noise(13, 14, 0), noise(13, 14, 1)
    b = (0.6 * a + 0.4 * b).astype(np.uint8)
    expected = np.mean([naive_ssim(a[..., channel], b[..., channel]) for channel in range(3)])
    assert ssim(a, b) == pytest.approx(expected, abs=1e-6)


def test_ciede2000_of_greys():
    assert ciede2000(flat(0, 0, 0), flat(255, 255, 255)) == pytest.approx(100, abs=1e-3)
    low, high = lightness(100), lightness(120)
    off = ((low + high) / 2 - 50) ** 2
    expected = (high - low) / (1 + 0.015 * off / math.sqrt(20 + off))
    assert ciede2000(flat(100, 100, 100), flat(120, 120, 120)) == pytest.approx(expected, abs=1e-3)


def test_ciede2000_tells_colours_apart_as_published_tools_do():
    assert ciede2000(flat(255, 0, 0), flat(0, 255, 0)) == pytest.approx(86.61, abs=0.01)


def test_ciede2000_is_the_mean_over_all_pixels():
    a, b = np.zeros((150, 11, 3), np.uint8), np.zeros((150, 11, 3), np.uint8)
    b[-15:] = 255
    assert ciede2000(a, b) == pytest.approx(100 * 15 / 150, abs=1e-3)


@settings(deadline=None, max_examples=25)
@given(st.integers(11, 20), st.integers(11, 20), st.integers(0, 99))
def test_equal_pictures_score_best(height, width, seed):
    a = noise(height, width, seed)
    assert psnr(a, a.copy()) == math.inf
    assert ssim(a, a.copy()) == pytest.approx(1)
    assert ciede2000(a, a.copy()) == 0


@pytest.mark.parametrize("measure", [psnr, ssim, ciede2000])
def test_scores_are_symmetric_and_order_by_damage(measure):
    truth = noise(32, 32, 2)
    slight, strong = (np.clip(truth + np.float64(step) * (noise(32, 32, 3) - 127.5), 0, 255) for step in (0.1, 0.5))
    slight, strong = slight.astype(np.uint8), strong.astype(np.uint8)
    assert measure(truth, slight) == pytest.approx(measure(slight, truth), rel=1e-9)
    better = measure(truth, slight) - measure(truth, strong)
    assert better < 0 if measure is ciede2000 else better > 0


@pytest.mark.parametrize("measure", [psnr, ssim, ciede2000])
def test_border_pixels_count(measure):
    truth = flat(90, 120, 60, side=24)
    touched = truth.copy()
    touched[0, :] = 255
    assert measure(truth, touched) != pytest.approx(measure(truth, truth.copy()))


@pytest.mark.parametrize("measure", [psnr, ssim, ciede2000])
@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (flat(1, 2, 3), flat(1, 2, 3, side=17), "16x16 with 17x17"),
        (flat(1, 2, 3)[..., 0], flat(1, 2, 3)[..., 0], r"\(16, 16\)"),
        (flat(1, 2, 3), flat(1, 2, 3) / 255, "float64"),
        (np.zeros((0, 5, 3), np.uint8), np.zeros((0, 5, 3), np.uint8), r"\(0, 5, 3\)"),
    ],
)
def test_unusable_pictures_are_named(measure, a, b, words):
    with pytest.raises(ImageError, match=words):
        measure(a, b)


def test_ssim_refuses_pictures_smaller_than_its_window():
    with pytest.raises(ImageError, match="at least 11"):
        ssim(noise(10, 40, 0), noise(10, 40, 1))


@pytest.mark.parametrize("measure", [ssim, ciede2000])
def test_without_scikit_image_the_extra_is_named(measure, monkeypatch):
    for module in ("skimage.color", "skimage.metrics"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"\[eval\]"):
        measure(flat(1, 1, 1), flat(2, 2, 2))
