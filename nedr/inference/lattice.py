"""A coarse lattice as a continuous function: cubic convolution (Keys, IEEE TASSP 1981, a = -1/2), edges held.

Lattice values sit at cell centres: of `size` cells over the unit interval, cell i at (i + 1/2) / size. The surface
passes through every value and has a continuous slope, so a sky shows no facets. The value at a point depends on that
point alone: any window of any raster gives bit for bit what the whole raster gives there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from nedr.pictures.arrays import Array, Floats


@dataclass(frozen=True)
class Band:
    """Rows `start` to `stop` of a window whose centres fall between the same two lattice rows."""

    cell: int
    start: int
    stop: int


def positions(count: int, size: int, start: int, stop: int) -> npt.NDArray[np.float64]:
    """The centres of pixels `start` to `stop`, of `count` over the interval, in lattice rows: (stop - start,)."""
    return np.asarray((np.arange(start, stop, dtype=np.float64) + 0.5) * (size / count) - 0.5, np.float64)


def split(where: npt.NDArray[np.float64], size: int) -> tuple[npt.NDArray[np.intp], Floats]:
    """Lattice positions as cell (-1 to size - 1) and fraction in [0, 1] past that cell's centre, each (n,)."""
    cell = np.clip(np.floor(where), -1, size - 1)
    return cell.astype(np.intp), np.clip(where - cell, 0, 1).astype(np.float32)


def weights(fraction: Floats) -> Floats:
    """Weights of the four cells around a point, `fraction` past the second one: (n,) -> (4, n); they sum to one."""
    f = fraction
    return np.stack(
        [
            ((1 - 0.5 * f) * f - 0.5) * f,
            (1.5 * f - 2.5) * f * f + 1,
            ((2 - 1.5 * f) * f + 0.5) * f,
            0.5 * (f - 1) * f * f,
        ]
    )


def along_rows(stack: Floats, count: int, start: int, stop: int) -> Floats:
    """The lattices of `stack` (k, h, w) interpolated along their rows at columns `start` to `stop` of `count`.

    Returns (k, h + 4, stop - start), the edge rows held twice on either side.
    """
    cell, fraction = split(positions(count, stack.shape[2], start, stop), stack.shape[2])
    padded = np.pad(stack, ((0, 0), (2, 2), (2, 2)), mode="edge")
    tap = weights(fraction)
    total: Floats = padded[:, :, cell + 1] * tap[0]
    for k in (1, 2, 3):
        total += padded[:, :, cell + 1 + k] * tap[k]
    return total


def bands(count: int, size: int, start: int, stop: int) -> tuple[list[Band], Floats]:
    """Rows `start` to `stop` of `count`, cut where the cell changes, and each row's fraction (stop - start,)."""
    cell, fraction = split(positions(count, size, start, stop), size)
    edges = [0, *(np.flatnonzero(np.diff(cell)) + 1).tolist(), stop - start]
    return [Band(int(cell[row]), row, end) for row, end in pairwise(edges)], fraction


def polynomial(rows: Floats, cell: int) -> Floats:
    """The cubic between lattice rows `cell` and `cell + 1`, constant first: (k, h + 4, w) -> (k, 4, w)."""
    p0, p1, p2, p3 = (rows[:, cell + 1 + k] for k in range(4))
    square = p0 - 2.5 * p1 + 2 * p2 - 0.5 * p3
    cube = 0.5 * (p3 - p0) + 1.5 * (p1 - p2)
    return np.stack([p1, 0.5 * (p2 - p0), square, cube], axis=1)


def evaluate(cubic: Floats, fraction: Floats, out: Array) -> Array:
    """The cubic (4, w) at each row's `fraction` (r,), by Horner's rule into `out` (r, w)."""
    f = fraction[:, None]
    np.multiply(f, cubic[3], out=out)
    for k in (2, 1):
        out += cubic[k]
        out *= f
    out += cubic[0]
    return out


def sample(lattice: Floats, height: int, width: int) -> Floats:
    """The surface at the pixel centres of a whole (height, width) raster, float32 (height, width)."""
    out = np.empty((height, width), np.float32)
    for left, right in spans(width):
        rows = along_rows(lattice[None], width, left, right)
        cut, fraction = bands(height, lattice.shape[0], 0, height)
        for band in cut:
            part = slice(band.start, band.stop)
            evaluate(polynomial(rows, band.cell)[0], fraction[part], out[part, left:right])
    return out


def at(lattice: Floats, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Floats:
    """The surface at points x, y in [0, 1], any common shape."""
    height, width = lattice.shape
    row, down = split(y.ravel() * height - 0.5, height)
    column, across = split(x.ravel() * width - 0.5, width)
    padded = np.pad(lattice, 2, mode="edge")
    step = np.arange(1, 5)[:, None]
    near = padded[(row + step)[:, None], (column + step)[None]]  # (4, 4, n)
    values: Floats = np.einsum("yxn,yn,xn->n", near, weights(down), weights(across))
    return values.reshape(x.shape)


def spans(width: int, limit: int = 4096) -> Iterator[tuple[int, int]]:
    """Column ranges of at most `limit` pixels that cover `width`: what is worked on at a time stays in the cache."""
    for left in range(0, width, limit):
        yield left, min(left + limit, width)
