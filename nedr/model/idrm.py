"""IDRM: the haze degradation as a continuous function of position (NeDR-Dehaze, Sec. 3; LIIF, Chen et al. 2021).

    y(x) = sum_k w_k(x) F_MLP(unfold3x3(E')_k, x - x_k, PE(x - x_k), c),   k over the 4 nearest cells of the coarse grid

with w_k the area of the rectangle opposite to k (local ensemble, sums to 1) and c the size of a query cell. Three exact
identities keep it cheap: the first layer is linear in its concatenated inputs, so its feature part is a 3x3 convolution
on the coarse grid; its coordinate part is a sum of a function of x and one of y, so a whole lattice needs only one of
each per column and row; and the last layer commutes with the sum over k.
"""

import math
from itertools import pairwise, product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nedr.model.heads import SLOPE
from nedr.model.resample import Size, numbers

FREQUENCIES = 4
COORDINATES = 2 + 4 * FREQUENCIES + 2  # offset, sin and cos of it at four frequencies, query cell size; x and y in turn


def positional_encoding(offset: Tensor, cell: Tensor) -> Tensor:
    """[r, sin(2^l pi r), cos(2^l pi r) for l = 0..3, c] of one axis: (...,), () in coarse cells -> (..., 10)."""
    angles = offset[..., None] * (math.pi * 2.0 ** torch.arange(FREQUENCIES, device=offset.device))
    return torch.cat([offset[..., None], angles.sin(), angles.cos(), cell.expand_as(offset)[..., None]], dim=-1)


class PositionCode(nn.Module):
    """The coordinate part of F_MLP's first layer, W_r [r, PE(r)] + W_c c: a sum of one term for x and one for y."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.across = nn.Linear(COORDINATES // 2, outputs, bias=False)
        self.down = nn.Linear(COORDINATES // 2, outputs, bias=False)

    def forward(self, across: Tensor, down: Tensor, cell: tuple[Tensor, Tensor]) -> Tensor:
        """Offsets (W,) and (H,), or both (..., N), query cell (x, y), in coarse cells -> (H, W, C), or (..., N, C)."""
        x: Tensor = self.across(positional_encoding(across, cell[0]))
        y: Tensor = self.down(positional_encoding(down, cell[1]))
        return y[:, None] + x[None] if across.dim() == 1 else y + x


class IDRM(nn.Module):
    """Implicit decoder of the coarse grid E': ask it at any position, or on any lattice over the whole picture."""

    def __init__(self, features: int, hidden: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.first_features = nn.Conv2d(features, hidden[0], 3, padding=1, padding_mode="replicate")
        self.position = PositionCode(hidden[0])
        self.hidden = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(hidden))
        self.last = nn.Linear(hidden[-1], outputs)

    def forward(self, grid: Tensor, points: Tensor, cell: Tensor) -> Tensor:
        """Ask at `points`, anywhere: each answer depends on its own point only.

        grid: (B, features, h, w); points: (B, N, 2) as (x, y) in [-1, 1] over the picture; cell: (2,) size of a query
        cell in the same units. Returns (B, N, outputs).
        """
        height, width = grid.shape[-2:]
        extent = points.new_tensor([width, height])
        cells = self._padded_first_layer(grid)
        position = (points + 1.0) / 2.0 * extent - 0.5  # in coarse cells, 0 at the first cell's centre
        lower = position.floor()
        fraction = position - lower
        size = cell / 2.0 * extent
        batch = torch.arange(len(grid), device=grid.device)[:, None]
        total = torch.zeros((), dtype=grid.dtype, device=grid.device)
        for dx, dy in product((0, 1), (0, 1)):
            corner = points.new_tensor([dx, dy])
            index = (lower + corner + 1.0).long()
            x, y = index[..., 0].clamp(0, width + 1), index[..., 1].clamp(0, height + 1)
            offset = fraction - corner
            weight = (1.0 - offset.abs()).prod(-1, keepdim=True)
            code = self.position(offset[..., 0], offset[..., 1], (size[0], size[1]))
            total = total + weight * self._hidden(cells[batch, y, x] + code)
        answer: Tensor = self.last(total)
        return answer

    def lattice(self, grid: Tensor, height: Size, width: Size) -> Tensor:
        """Ask at the centres of a (height, width) lattice over the whole picture: returns (B, outputs, height, width).

        Any size, and the very values of `forward` there: rows and columns of cells are gathered, not points.
        """
        cells = self._padded_first_layer(grid)
        top, down, tall = _offsets(grid, height, -2)
        left, across, wide = _offsets(grid, width, -1)
        total = torch.zeros((), dtype=grid.dtype, device=grid.device)
        for dy in (0, 1):
            rows = cells.index_select(1, top + dy)
            for dx in (0, 1):
                corner = rows.index_select(2, left + dx)
                weight = (1.0 - (down - dy).abs())[:, None, None] * (1.0 - (across - dx).abs())[None, :, None]
                total = total + weight * self._hidden(corner + self.position(across - dx, down - dy, (wide, tall)))
        answer: Tensor = self.last(total)
        return answer.permute(0, 3, 1, 2)

    def _padded_first_layer(self, grid: Tensor) -> Tensor:
        """W_f unfold3x3(E') with one more cell around: (B, h + 2, w + 2, hidden)."""
        return F.pad(self.first_features(grid), (1, 1, 1, 1), mode="replicate").permute(0, 2, 3, 1)

    def _hidden(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(x, SLOPE)
        for layer in self.hidden:
            x = F.leaky_relu(layer(x), SLOPE)
        return x


def _offsets(grid: Tensor, count: Size, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of `count` query rows or columns: index of the cell before each (in padded cells), offset from it, cell size."""
    ratio = grid.shape[axis] / count
    size = ratio.to(grid.dtype) if isinstance(ratio, Tensor) else grid.new_full((), ratio)
    position = (numbers(count, grid) + 0.5) * size - 0.5
    lower = position.floor()
    return (lower + 1.0).long(), position - lower, size
