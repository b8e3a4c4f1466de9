"""A perceptual colour map: even steps of lightness, from indigo through magenta and orange to yellow."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from nedr.pictures.arrays import Array


def colour(values: Array) -> npt.NDArray[np.uint8]:
    """Values in [0, 1] (h, w) as colours, uint8 (h, w, 3); values outside are held at the ends."""
    chosen: npt.NDArray[np.uint8] = _table()[np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)]
    return chosen


@lru_cache(maxsize=1)
def _table() -> npt.NDArray[np.uint8]:
    """256 colours, uint8 (256, 3), even steps of Oklab lightness (Ottosson 2020)."""
    along = np.linspace(0, 1, 256)
    hue = np.deg2rad(285 + 180 * along)
    chroma = 0.06 + 0.1 * np.sin(np.pi * along)
    lab = np.stack([0.22 + 0.7 * along, chroma * np.cos(hue), chroma * np.sin(hue)])
    to_lms = np.array(
        [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.291485548]]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.707614701],
        ]
    )
    linear = np.clip(to_rgb @ (to_lms @ lab) ** 3, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    table: npt.NDArray[np.uint8] = np.rint(srgb.T * 255).astype(np.uint8)
    return table
