"""Filters over squares, in numpy alone: the mean, the minimum, and the guided filter.

Those for whole pictures cost the same per pixel whatever their radius, and work in strips, so that memory stays a few
planes flat.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nedr.pictures.arrays import Floats

# Values per strip of a filter: small enough to stay in the cache, large enough to hide Python's own cost.
STRIP_VALUES = 1 << 18


def minimum_filter(plane: Floats, radius: int) -> Floats:
    """The minimum over the (2 radius + 1)-wide square around each pixel, cut at the border; same shape (H, W)."""
    return _square(plane, lambda strip: _running_minimum(strip, radius))


def box_mean(plane: Floats, radius: int) -> Floats:
    """The mean over the (2 radius + 1)-wide square around each pixel, cut at the border; same shape (H, W)."""
    return _square(plane, lambda strip: _running_mean(strip, radius))


def lattice_mean(values: Floats, radius: int) -> Floats:
    """Mean over (2 radius + 1)^2 cells of a small lattice, edge cells held: (h, w) -> (h, w)."""
    for axis in (0, 1):
        pad = [(radius, radius) if k == axis else (0, 0) for k in (0, 1)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, pad, mode="edge"), 2 * radius + 1, axis)
        values = np.asarray(windows.mean(axis=-1), np.float32)
    return values


def regression(
    guide: Floats, values: Floats, mean: Callable[[Floats], Floats], epsilon: float
) -> tuple[Floats, Floats]:
    """Slope and offset of `values` on `guide`, all (H, W), around each pixel.

    He, Sun and Tang, ECCV 2010, equations 5 and 6.
    mean: over the neighbourhood of each pixel;  epsilon: variance of the guide below which it does not guide
    """
    mean_guide, mean_values = mean(guide), mean(values)
    variance: Floats = np.maximum(mean(guide * guide) - mean_guide * mean_guide, np.float32(0))
    slope = (mean(guide * values) - mean_guide * mean_values) / (variance + np.float32(epsilon))
    return slope, mean_values - slope * mean_guide


def guided_filter(guide: Floats, values: Floats, mean: Callable[[Floats], Floats], epsilon: float) -> Floats:
    """`values` smoothed along the edges of the grey `guide`, all (H, W): equation 8; options as in `regression`."""
    slope, offset = regression(guide, values, mean, epsilon)
    return mean(slope) * guide + mean(offset)


def _square(plane: Floats, run: Callable[[Floats], Floats]) -> Floats:
    """A filter over squares, as the filter `run` along the columns and then along the rows."""
    return _in_strips(_in_strips(plane, run).T, run).T


def _in_strips(plane: Floats, run: Callable[[Floats], Floats]) -> Floats:
    """Apply a filter that runs along the columns to strips of columns; the answer is laid out column by column."""
    height, width = plane.shape
    out = np.empty((width, height), np.float32).T
    step = max(1, STRIP_VALUES // height)
    for left in range(0, width, step):
        out[:, left : left + step] = run(plane[:, left : left + step])
    return out


def _running_minimum(strip: Floats, radius: int) -> Floats:
    """Minimum over 2 radius + 1 rows around each, by windows that double: log2 of the window in passes."""
    padded = np.pad(strip, ((radius, radius), (0, 0)), constant_values=np.inf)
    window, span = 1, 2 * radius + 1
    while window < span:
        shift = min(window, span - window)
        padded = np.minimum(padded[:-shift], padded[shift:])
        window += shift
    return padded


def _running_mean(strip: Floats, radius: int) -> Floats:
    """Mean over 2 radius + 1 rows around each, from a cumulative sum: float64, or rounding would grow along it."""
    height = strip.shape[0]
    rows = np.arange(height)
    top, bottom = np.maximum(rows - radius, 0), np.minimum(rows + radius + 1, height)
    total = np.zeros((height + 1, strip.shape[1]))
    np.cumsum(strip, axis=0, dtype=np.float64, out=total[1:])
    mean: NDArray[np.float64] = (total[bottom] - total[top]) / (bottom - top)[:, None]
    return mean.astype(np.float32)
