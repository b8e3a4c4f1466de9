"""How close a result is to the truth: PSNR, SSIM and CIEDE2000, each on whole pictures of 8-bit RGB.

Published numbers differ by decibels with the protocol, so there is one here: RGB (not luma), full size, no border crop.
SSIM and CIEDE2000 need scikit-image, the `eval` extra.
"""

import math
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from nedr.errors import ImageError, missing_extra

Picture8 = NDArray[np.uint8]

PROTOCOL = (
    "RGB, 8 bit, full size, no border crop. "
    "PSNR in dB from the mean squared error over all pixels and channels, peak 255. "
    "SSIM of Wang et al. 2004: Gaussian window 11x11, sigma 1.5, K1 0.01, K2 0.03, range 255, mean of the channels. "
    "CIEDE2000: colour difference in CIELAB (sRGB, D65, 2 degrees), mean over the pixels, lower is better."
)

# Sides of SSIM's window, and so the smallest picture it is defined on.
SSIM_WINDOW = 11
# Rows of CIELAB held at once: the conversion in float64 takes about 200 bytes per pixel.
STRIP_ROWS = 64


def psnr(a: Picture8, b: Picture8) -> float:
    """Peak signal-to-noise ratio in dB: 10 log10(255^2 / mean squared error); infinite for equal pictures.

    `a` and `b` are uint8 (H, W, 3), RGB, of one size; ImageError otherwise.
    """
    _check(a, b)
    difference = a.astype(np.int32) - b
    # The sum of integers is exact, so the result is the same on every machine.
    squares = int((difference * difference).sum(dtype=np.int64))
    return 10 * math.log10(255**2 * a.size / squares) if squares else math.inf


def ssim(a: Picture8, b: Picture8) -> float:
    """Structural similarity (Wang, Bovik, Sheikh and Simoncelli 2004), at most 1: the mean over the three channels.

    Gaussian window of 11x11, sigma 1.5, population covariance, K1 = 0.01, K2 = 0.03, range 255, averaged over all
    positions where the window fits. `a` and `b` are uint8 (H, W, 3), RGB, of one size, each side at least 11;
    ImageError otherwise. MissingExtraError without scikit-image.
    """
    _check(a, b)
    if min(a.shape[:2]) < SSIM_WINDOW:
        raise ImageError(f"SSIM needs sides of at least {SSIM_WINDOW} pixels, not {a.shape[1]}x{a.shape[0]}")
    similarity = _skimage("SSIM").metrics.structural_similarity
    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    # Channel by channel: float64 planes of one channel are a third of the memory.
    return float(np.mean([similarity(a[..., channel], b[..., channel], **options) for channel in range(3)]))


def ciede2000(a: Picture8, b: Picture8) -> float:
    """Mean colour difference CIEDE2000 (Sharma, Wu and Dalal 2005): 0 for equal pictures, 1 is just noticeable.

    `a` and `b` are uint8 (H, W, 3), sRGB, of one size; ImageError otherwise. MissingExtraError without scikit-image.
    """
    _check(a, b)
    color = _skimage("CIEDE2000").color
    total = 0.0
    for top in range(0, len(a), STRIP_ROWS):
        rows = slice(top, top + STRIP_ROWS)
        total += float(color.deltaE_ciede2000(color.rgb2lab(a[rows]), color.rgb2lab(b[rows])).sum())
    pixels: int = a.shape[0] * a.shape[1]
    return total / pixels


def _check(a: Picture8, b: Picture8) -> None:
    for picture in (a, b):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or picture.size == 0:
            raise ImageError(f"a score expects uint8 (H, W, 3), RGB, not {picture.dtype} {picture.shape}")
    if a.shape != b.shape:
        raise ImageError(
            f"a score compares pictures of one size, not {a.shape[1]}x{a.shape[0]} with {b.shape[1]}x{b.shape[0]}"
        )


def _skimage(feature: str) -> ModuleType:
    try:
        import skimage.color
        import skimage.metrics
    except ImportError as error:
        raise missing_extra(feature, "eval") from error
    return skimage
