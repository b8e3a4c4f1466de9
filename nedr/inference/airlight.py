"""Airlight that changes smoothly over a picture: A(x) = A + sum of five terms, the polynomials up to degree two.

With x and y in [-1, 1] over the whole picture the polynomials are x, y, x^2 - 1/3, x y and y^2 - 1/3; each has a mean
of 0, so that A is the mean of A(x). What leaves [0, 1] is held there.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nedr.pictures.arrays import Array, Floats

Positions: TypeAlias = npt.NDArray[np.floating[Any]]

TERMS = 5
MIRRORED = (-1.0, 1.0, 1.0, -1.0, 1.0)  # signs of the terms in a mirror image: odd in x or not
# Points a side at which a changed A(x) is measured, to be fitted again: six numbers of a smooth surface need no more.
FITTED_POINTS = 7


def no_terms(channels: int = 3) -> Floats:
    """The terms of an airlight that is the same everywhere, (channels, TERMS)."""
    return np.zeros((channels, TERMS), np.float32)


def polynomials(x: Positions, y: Positions) -> Positions:
    """The five at points x, y in [-1, 1], any common shape: (..., TERMS)."""
    return np.stack(np.broadcast_arrays(x, y, x * x - 1 / 3, x * y, y * y - 1 / 3), axis=-1)


def at(mean: Floats, terms: Floats, x: Positions, y: Positions) -> Floats:
    """A(x) of mean (C,) and terms (C, TERMS) at points x, y in [-1, 1], any common shape: (..., C) in [0, 1]."""
    return np.asarray(np.clip(mean + polynomials(x, y) @ terms.T, 0, 1), np.float32)


def grid(height: int, width: int) -> tuple[Positions, Positions]:
    """x and y in [-1, 1] at the cell centres of a raster over the whole picture: each (height, width)."""
    y, x = ((np.arange(count) + 0.5) * (2 / count) - 1 for count in (height, width))
    across, down = np.meshgrid(x, y)
    return across, down


def fitted(values: Floats) -> tuple[Floats, Floats]:
    """Mean (C,) and terms (C, TERMS) that come closest to A(x) measured on a raster (h, w, C), by least squares."""
    x, y = (axis.ravel() for axis in grid(*values.shape[:2]))
    basis = np.column_stack([np.ones_like(x), polynomials(x, y)])
    found = np.linalg.lstsq(basis, values.reshape(len(x), -1).astype(np.float64), rcond=None)[0].astype(np.float32)
    return found[0], np.ascontiguousarray(found[1:].T)


def turned(terms: Floats, turns: int) -> Floats:
    """The terms of a picture after `turns` quarter turns counterclockwise, as by numpy.rot90: (C, TERMS)."""
    for _ in range(turns % 4):  # what was at (x, y) is seen from (-y, x)
        x, y, xx, xy, yy = terms.T
        terms = np.stack([y, -x, yy, -xy, xx], axis=1)
    return terms


@dataclass(frozen=True)
class Light:
    """One channel of A(x) on a raster: `rows` (h,) + `columns` (w,) + `y` (h,) * `slope` (w,), held in [0, `white`].

    Every number belongs to an absolute row or column of the whole picture, so a crop has bit for bit the whole's A(x).
    `white` is infinite where nothing needs to be held.
    """

    rows: Floats
    columns: Floats
    y: Floats
    slope: Floats
    white: float

    @classmethod
    def along(cls, mean: float, terms: Floats, x: Positions, y: Positions, white: float) -> "Light":
        """The channel with this mean and these terms (TERMS,) at columns x (w,) and rows y (h,), 1 becoming `white`."""
        factor = white * terms.astype(np.float64)
        lines = (
            factor[1] * y + factor[4] * (y * y - 1 / 3),
            white * mean + factor[0] * x + factor[2] * (x * x - 1 / 3),
            y,
            factor[3] * x,
        )
        rows, columns, down, slope = (np.asarray(line, np.float32) for line in lines)
        return cls(rows, columns, down, slope, white if leaves_range(mean, terms) else np.inf)

    def fill(self, part: slice, out: Array) -> Array:
        """A(x) at some rows into `out` (r, w)."""
        np.multiply(self.y[part, None], self.slope, out=out)
        out += self.columns
        out += self.rows[part, None]
        if self.white < np.inf:
            np.clip(out, np.float32(0), np.float32(self.white), out=out)
        return out


def leaves_range(mean: float, terms: Floats) -> bool:
    """Whether one channel's polynomial leaves [0, 1] somewhere over the picture."""
    x, y = np.meshgrid(*[np.linspace(-1, 1, 65)] * 2)
    values = mean + polynomials(x, y) @ terms
    return bool(values.min() < 0 or values.max() > 1)
