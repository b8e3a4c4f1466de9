"""IDRM: the haze degradation as a continuous function of position (NeDR-Dehaze, Sec. 3; LIIF, Chen et al. 2021).

    y(x) = sum_k w_k(x) F_MLP(unfold3x3(E')_k, x - x_k, PE(x - x_k), c),   k over the 4 nearest cells of the coarse grid

with w_k the area of the rectangle opposite to k (local ensemble, sums to 1) and c the size of a query cell. Three exact
identities keep it cheap: the first layer is linear in its concatenated inputs, so its feature part is a 3x3 convolution
on the coarse grid; on a regular lattice with an integer ratio the offsets x - x_k repeat in every cell; and the last
layer commutes with the sum over k.
"""

import math
from itertools import pairwise, product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FREQUENCIES = 4
COORDINATES = 2 + 4 * FREQUENCIES + 2  # offset, sin and cos of it at four frequencies, query cell size


def positional_encoding(offset: Tensor, cell: Tensor) -> Tensor:
    """[r, sin(2^l pi r), cos(2^l pi r) for l = 0..3, c]: (..., 2), (..., 2) in coarse cells -> (..., COORDINATES)."""
    angles = torch.cat([offset * (math.pi * 2.0**level) for level in range(FREQUENCIES)], dim=-1)
    return torch.cat([offset, angles.sin(), angles.cos(), cell], dim=-1)


class IDRM(nn.Module):
    """Implicit decoder of the coarse grid E': ask it at any position, or on any lattice over the whole picture."""

    def __init__(self, features: int, hidden: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.first_features = nn.Conv2d(features, hidden[0], 3, padding=1, padding_mode="replicate")
        self.first_coordinates = nn.Linear(COORDINATES, hidden[0], bias=False)
        self.hidden = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(hidden))
        self.last = nn.Linear(hidden[-1], outputs)

    def forward(self, grid: Tensor, points: Tensor, cell: Tensor) -> Tensor:
        """Ask at `points`, anywhere: each answer depends on its own point only.

        grid: (B, features, h, w); points: (B, N, 2) as (x, y) in [-1, 1] over the picture; cell: (2,) size of a query
        cell in the same units. Returns (B, N, outputs).
        """
        height, width = grid.shape[-2:]
        extent = points.new_tensor([width, height])
        cells = self._padded_first_layer(grid).permute(0, 2, 3, 1)  # (B, h + 2, w + 2, hidden)
        position = (points + 1.0) / 2.0 * extent - 0.5  # in coarse cells, 0 at the first cell's centre
        lower = position.floor()
        fraction = position - lower
        size = (cell / 2.0 * extent).expand_as(fraction)
        batch = torch.arange(len(grid), device=grid.device)[:, None]
        total = torch.zeros((), dtype=grid.dtype, device=grid.device)
        for dx, dy in product((0, 1), (0, 1)):
            corner = points.new_tensor([dx, dy])
            index = (lower + corner + 1.0).long()
            x, y = index[..., 0].clamp(0, width + 1), index[..., 1].clamp(0, height + 1)
            weight = (1.0 - (fraction - corner).abs()).prod(-1, keepdim=True)
            total = total + weight * self._hidden(cells[batch, y, x], positional_encoding(fraction - corner, size))
        answer: Tensor = self.last(total)
        return answer

    def lattice(self, grid: Tensor, height: int, width: int) -> Tensor:
        """Ask at the centres of a (height, width) lattice over the whole picture: returns (B, outputs, height, width).

        Lattices an integer number of times finer than the grid take the fast path; the values are the same.
        """
        rows, columns = grid.shape[-2:]
        if height % rows == 0 and width % columns == 0:
            return self.regular(grid, height // rows, width // columns)
        ys, xs = (torch.arange(n, device=grid.device) * (2.0 / n) + (1.0 / n - 1.0) for n in (height, width))
        points = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1).reshape(1, -1, 2)
        cell = points.new_tensor([2.0 / width, 2.0 / height])
        answer: Tensor = self(grid, points.expand(len(grid), -1, -1), cell)
        return answer.permute(0, 2, 1).reshape(len(grid), -1, height, width)

    def _padded_first_layer(self, grid: Tensor) -> Tensor:
        return F.pad(self.first_features(grid), (1, 1, 1, 1), mode="replicate")

    def _hidden(self, features: Tensor, coordinates: Tensor) -> Tensor:
        x = F.relu(features + self.first_coordinates(coordinates))
        for layer in self.hidden:
            x = F.relu(layer(x))
        return x

    def regular(self, grid: Tensor, ratio_y: int, ratio_x: int) -> Tensor:
        """Ask on the lattice that splits every cell into ratio_y x ratio_x: (B, outputs, h * ratio_y, w * ratio_x)."""
        cells = self._padded_first_layer(grid).permute(0, 2, 3, 1)  # (B, h + 2, w + 2, hidden)
        size = (1.0 / ratio_x, 1.0 / ratio_y)
        lines = []
        for row in range(ratio_y):
            inside_y = (row + 0.5) / ratio_y - 0.5
            line = [self._inside_cell(cells, ((x + 0.5) / ratio_x - 0.5, inside_y), size) for x in range(ratio_x)]
            lines.append(torch.stack(line, dim=3))  # (B, h, w, ratio_x, hidden)
        answer: Tensor = self.last(torch.stack(lines, dim=2))  # (B, h, ratio_y, w, ratio_x, outputs)
        return answer.flatten(1, 2).flatten(2, 3).permute(0, 3, 1, 2)

    def _inside_cell(self, cells: Tensor, inside: tuple[float, float], size: tuple[float, float]) -> Tensor:
        """The ensemble at one position inside every cell at once: `inside` is (x, y) from the centre, in cells."""
        rows, columns = cells.shape[1] - 2, cells.shape[2] - 2
        lower = [math.floor(value) for value in inside]
        total = torch.zeros((), dtype=cells.dtype, device=cells.device)
        for dx, dy in product((0, 1), (0, 1)):
            x, y = 1 + lower[0] + dx, 1 + lower[1] + dy
            offset = (inside[0] - lower[0] - dx, inside[1] - lower[1] - dy)
            weight = (1.0 - abs(offset[0])) * (1.0 - abs(offset[1]))
            coordinates = positional_encoding(cells.new_tensor(offset), cells.new_tensor(size))
            total = total + weight * self._hidden(cells[:, y : y + rows, x : x + columns], coordinates)
        return total
