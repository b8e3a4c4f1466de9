"""Two classical baselines, in numpy alone: the dark channel prior and the colour attenuation prior.

They answer with the same `HazeField` as the network does, so that anybody can compare on their own pictures.
"""

import numpy as np
from numpy.typing import NDArray

from nedr.errors import ImageError
from nedr.inference.field import HazeField, Rendering
from nedr.inference.filters import box_mean, guided_filter, minimum_filter
from nedr.pictures.arrays import luma

Floats = NDArray[np.float32]

# Both papers look at patches of 15x15 pixels.
PATCH_RADIUS = 7
GUIDED_EPS = 1e-3
# The airlight is looked for among this share of the picture's haziest pixels (both papers).
HAZIEST = 0.001

# Both hold t at 0.1 at least, which bounds the amplification of noise.
T_MIN = 0.1

# He et al. 2009, section 4: omega keeps a trace of haze.
DCP_OMEGA = 0.95
DCP_GUIDED_RADIUS = 60

# Zhu et al. 2015: the coefficients they learned, and their scattering coefficient.
CAP_THETA = (0.121779, 0.959710, -0.780245)
CAP_BETA = 1.0
CAP_T_MAX = 0.9
CAP_GUIDED_RADIUS = 60


def dark_channel_prior(image: Floats) -> HazeField:
    """The haze field by the dark channel prior: He, Sun and Tang, CVPR 2009, with their guided filter of 2010.

    t = 1 - omega * min over the patch and the channels of I / A (equation 12), refined by a guided filter of the grey
    picture, then held in [0.1, 1]. `image` is float32 (H, W, 3), sRGB in [0, 1]; the field's lattice is (H, W). The
    prior knows depth up to a scale only: the field's density is 1 by convention. Raises ImageError for another shape
    or type.
    """
    _check(image)
    dark = minimum_filter(image.min(axis=2), PATCH_RADIUS)
    airlight = _airlight(image, dark)
    # A channel without light has no airlight to divide by: the floor keeps the quotient finite.
    quotient = _channel_minimum(image, np.maximum(airlight, 1 / 255))
    rough = 1 - DCP_OMEGA * minimum_filter(quotient, PATCH_RADIUS)
    refined = _guided(luma(image), rough, DCP_GUIDED_RADIUS)
    return _field(np.clip(refined, T_MIN, 1), airlight, density=1.0)


def colour_attenuation_prior(image: Floats) -> HazeField:
    """The haze field by the colour attenuation prior: Zhu, Mai and Shao, IEEE TIP 24(11), 2015.

    Depth is linear in value and saturation, d = theta0 + theta1 v + theta2 s (equation 8, without its noise term), then
    the patch minimum, a guided filter of the grey picture, and t = exp(-beta d) held in [0.1, 0.9]. `image` is float32
    (H, W, 3), sRGB in [0, 1]; the field's lattice is (H, W). Raises ImageError for another shape or type.
    """
    _check(image)
    depth = minimum_filter(_linear_depth(image), PATCH_RADIUS)
    airlight = _airlight(image, depth)
    refined = _guided(luma(image), depth, CAP_GUIDED_RADIUS)
    lattice = np.clip(np.exp(-CAP_BETA * refined), T_MIN, CAP_T_MAX)
    return _field(lattice, airlight, density=CAP_BETA)


def _guided(guide: Floats, plane: Floats, radius: int) -> Floats:
    return guided_filter(guide, plane, lambda values: box_mean(values, radius), GUIDED_EPS)


def _field(lattice: Floats, airlight: Floats, *, density: float) -> HazeField:
    """The field of a baseline, rendered as its paper does: the plain inversion, t held at 0.1 and nothing else."""
    plain = Rendering(floor=T_MIN, colour_veil=0.0, brighten=0.0)
    return HazeField(lattice=lattice, guide=None, airlight=airlight, density=density, rendering=plain)


def _check(image: Floats) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.float32 or image.size == 0:
        raise ImageError(f"a baseline expects float32 (H, W, 3) in [0, 1], not {image.dtype} {image.shape}")


def _channel_minimum(image: Floats, airlight: Floats) -> Floats:
    red, green, blue = (image[..., channel] / airlight[channel] for channel in range(3))
    least: Floats = np.minimum(np.minimum(red, green), blue)
    return least


def _linear_depth(image: Floats) -> Floats:
    """theta0 + theta1 v + theta2 s for each pixel; v and s are the value and saturation of HSV, s of black is 0."""
    theta0, theta1, theta2 = map(np.float32, CAP_THETA)
    value = image.max(axis=2)
    saturation = (value - image.min(axis=2)) / np.where(value > 0, value, 1)
    depth: Floats = theta0 + theta1 * value + theta2 * saturation
    return depth


def _airlight(image: Floats, haze: Floats) -> Floats:
    """The mean colour (3,) of the haziest 0.1 % of the pixels, `haze` (H, W) saying how hazy each one is.

    Both papers take the brightest of these pixels; their mean is steadier where one of them is a lamp or a white wall,
    and scores higher. Pixels as hazy as the last of them count too: which of equals a partition picks differs between
    processors.
    """
    count = max(1, round(HAZIEST * haze.size))
    least = np.partition(haze, haze.size - count, axis=None)[haze.size - count]
    mean: NDArray[np.float64] = image[haze >= least].mean(axis=0, dtype=np.float64)
    return mean.astype(np.float32)
