"""Maps brought from one raster of the whole picture to another, of any sizes: two small matrix products.

A raster of n cells over the same picture has its cell centres at (i + 1/2) / n. Sizes may be tensors, so that an
exported graph takes them as inputs.
"""

import torch
from torch import Tensor

Size = int | Tensor


def averaged(x: Tensor, height: Size, width: Size) -> Tensor:
    """The mean over the area of each cell: (B, C, H, W) -> (B, C, height, width), whatever the ratio."""
    return _applied(x, _overlaps(x, -2, height), _overlaps(x, -1, width))


def sampled(x: Tensor, height: Size, width: Size) -> Tensor:
    """The bilinear interpolant at each cell's centre: (B, C, H, W) -> (B, C, height, width)."""
    return _applied(x, _tents(x, -2, height), _tents(x, -1, width))


def centres(count: Size, like: Tensor) -> Tensor:
    """Cell centres of a raster's axis in [-1, 1]: (count,)."""
    return (numbers(count, like) + 0.5) * (2.0 / count) - 1.0


def numbers(count: Size, like: Tensor) -> Tensor:
    """0, 1, ... in the type and place of `like`: (count,)."""
    return torch.arange(count, device=like.device, dtype=like.dtype)  # type: ignore[arg-type]  # takes tensors too


def _applied(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return rows @ x @ columns.T


def _overlaps(x: Tensor, axis: int, count: Size) -> Tensor:
    """(count, n): which part of each target cell every source cell of an axis covers."""
    size = x.shape[axis]
    source = numbers(size, x)
    first = numbers(count, x)[:, None] * (size / count)
    shared = torch.minimum(source + 1.0, first + size / count) - torch.maximum(source, first)
    return shared.clamp_min(0.0) * (count / size)


def _tents(x: Tensor, axis: int, count: Size) -> Tensor:
    """(count, n): the weight of every source cell of an axis at each target centre; the outer cells reach further."""
    size = x.shape[axis]
    position = ((centres(count, x) + 1.0) * (size / 2.0) - 0.5).clamp(0.0, size - 1.0)
    source = numbers(size, x)
    return (1.0 - (position[:, None] - source).abs()).clamp_min(0.0)
