"""IDRM: a continuous function of position."""

import pytest
import torch

from nedr.model.idrm import IDRM


@pytest.fixture
def field():
    torch.manual_seed(0)
    module = IDRM(6, (16, 16), 3).double().requires_grad_(False)
    grid = torch.randn(1, 6, 5, 7, dtype=torch.float64)
    cell = torch.tensor([0.1, 0.1], dtype=torch.float64)
    return lambda points: module(grid, points, cell)


def line(n: int, y: float, start: float, stop: float) -> torch.Tensor:
    x = torch.linspace(start, stop, n, dtype=torch.float64)
    return torch.stack([x, torch.full_like(x, y)], dim=-1)[None]


@pytest.mark.parametrize("y", [0.0, 0.2, -0.83])
def test_field_is_continuous_across_cell_borders(field, y):
    steps = [(field(line(n, y, -1.0, 1.0))[0].diff(dim=0).abs().max()) for n in (2_001, 20_001)]
    assert steps[0] > 1e-4
    assert steps[1] < 0.15 * steps[0]


def test_field_sees_the_position_inside_a_cell(field):
    inside = line(5, 0.0, -0.14 + 1e-3, 0.14 - 1e-3)  # all within the middle cell of seven
    values = field(inside)[0]
    assert (values[1:] - values[:-1]).abs().max() > 1e-3


def test_answer_does_not_depend_on_the_other_points(field):
    points = torch.rand(1, 40, 2, dtype=torch.float64) * 2 - 1
    together = field(points)
    alone = torch.cat([field(points[:, i : i + 1]) for i in range(40)], dim=1)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(4, 5), (8, 10), (12, 20), (7, 9), (3, 2), (1, 1), (50, 31)])
def test_a_lattice_of_any_size_equals_its_points(height, width):
    torch.manual_seed(1)
    module = IDRM(6, (16, 16), 3).double().requires_grad_(False)
    grid = torch.randn(2, 6, 4, 5, dtype=torch.float64)
    ys, xs = (torch.arange(n, dtype=torch.float64) * (2 / n) + (1 / n - 1) for n in (height, width))
    points = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1).reshape(1, -1, 2).expand(2, -1, -1)
    expected = module(grid, points, torch.tensor([2 / width, 2 / height], dtype=torch.float64))
    found = module.lattice(grid, height, width)
    assert found.shape == (2, 3, height, width)
    torch.testing.assert_close(found, expected.permute(0, 2, 1).unflatten(-1, (height, width)), rtol=0, atol=1e-6)


def test_lattices_agree_where_their_points_do():
    module = IDRM(6, (8, 8), 3).double().requires_grad_(False)
    torch.nn.init.zeros_(module.position.across.weight[:, -1])  # what a cell's size adds
    torch.nn.init.zeros_(module.position.down.weight[:, -1])
    grid = torch.randn(1, 6, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(module.lattice(grid, 27, 33)[..., 1::3, 1::3], module.lattice(grid, 9, 11))


def test_a_lattice_may_be_asked_for_by_tensors():
    module, grid = IDRM(6, (8, 8), 3).requires_grad_(False), torch.randn(1, 6, 4, 5)
    torch.testing.assert_close(module.lattice(grid, torch.tensor(7), torch.tensor(9)), module.lattice(grid, 7, 9))
