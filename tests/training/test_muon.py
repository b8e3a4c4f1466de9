"""Muon: orthogonal steps for kernels, AdamW for the rest, one curve through an interruption."""

import pytest

torch = pytest.importorskip("torch")

from nedr.training.muon import Muon, is_kernel, orthogonal  # noqa: E402


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_singular_values_come_near_one_and_directions_stay(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape) * 1e-3
    found = orthogonal(matrix)
    assert found.shape == shape
    values = torch.linalg.svdvals(found)
    assert 0.6 < values.min() <= values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    aligned = left.T @ found @ right.T
    assert (aligned - torch.diag(aligned.diagonal())).abs().max() < 0.05


def test_which_parameters_are_kernels():
    layers = torch.nn.Conv2d(8, 16, 3), torch.nn.Conv2d(8, 8, 3, groups=8), torch.nn.Linear(8, 1)
    assert [is_kernel(layer.weight) for layer in layers] == [True, False, False]
    assert not is_kernel(layers[0].bias)


def two_layers():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3), torch.nn.Conv2d(8, 8, 1))
    groups = [{"params": [layer.bias for layer in model]}, {"params": [layer.weight for layer in model], "muon": True}]
    return model, Muon(groups, lr=1e-2, weight_decay=0.0, fused=True)


def descend(model, optimizer, steps):
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    totals = []
    for _ in range(steps):
        loss = (model(x) - 1.0).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    return totals


def test_every_direction_of_a_kernel_moves_alike_whatever_the_gradients_size():
    model, optimizer = two_layers()
    before = model[0].weight.detach().clone()
    descend(model, optimizer, 1)
    moved = (model[0].weight.detach() - before).flatten(1)
    values = torch.linalg.svdvals(moved)
    assert values.max() < 2.5 * values.min()
    assert moved.square().mean().sqrt() == pytest.approx(0.2 * 1e-2, rel=0.3)  # about AdamW's step, at that rate


def test_it_learns_and_its_state_can_be_taken_up_again():
    model, optimizer = two_layers()
    totals = descend(model, optimizer, 20)
    assert totals[-1] < 0.6 * totals[0]
    again, resumed = two_layers()
    descend(again, resumed, 10)
    state = resumed.state_dict()
    resumed = Muon([{"params": g["params"], "muon": g.get("muon")} for g in resumed.param_groups], lr=1e-2, fused=True)
    resumed.load_state_dict(state)
    assert descend(again, resumed, 10) == totals[10:]
