"""KANLinear and KAN-CID."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from nedr.model.kan import BASES, KANLinear, cubic_bspline
from nedr.model.kan_cid import KANCID, reflect_pad


def scipy_bases(x: np.ndarray, intervals: int) -> np.ndarray:
    step = 2.0 / intervals
    knots = -1.0 + step * np.arange(-3, intervals + 4)
    splines = [BSpline.basis_element(knots[j : j + 5], extrapolate=False) for j in range(intervals + 3)]
    return np.stack([np.nan_to_num(spline(x)) for spline in splines], axis=-1)


@pytest.mark.parametrize("intervals", [3, 5, 8])
def test_bspline_equals_scipy(intervals):
    x = np.linspace(-3.0, 3.0, 1201)
    found = cubic_bspline(torch.from_numpy(x), intervals).numpy()
    np.testing.assert_allclose(found, scipy_bases(x, intervals), atol=1e-12)


def test_bases_sum_to_one_on_the_grid():
    x = torch.linspace(-1.0, 1.0, 101)
    torch.testing.assert_close(cubic_bspline(x).sum(-1), torch.ones(101))


def test_closed_form_derivative():
    x = torch.linspace(-2.4, 2.4, 97, dtype=torch.float64).add(0.003).requires_grad_()
    assert torch.autograd.gradcheck(cubic_bspline, (x,))


def test_values_outside_the_grid_still_answer_and_train():
    layer = KANLinear(3, 2)
    x = torch.tensor([[5.0, 9.0, 30.0], [6.0, 10.0, 31.0]], requires_grad=True)
    answers = layer(x)
    assert torch.isfinite(answers).all()
    assert not torch.allclose(answers[0], answers[1])
    answers.sum().backward()
    assert (x.grad.abs() > 0).all()


def test_kan_linear_is_base_plus_spline():
    layer = KANLinear(4, 3)
    x = torch.randn(5, 4)
    bases = torch.from_numpy(scipy_bases(x.numpy(), 5)).float().reshape(5, 4 * BASES)
    expected = layer.base(torch.nn.functional.silu(x)) + bases @ layer.spline.weight.T
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 9), st.integers(1, 9))
def test_reflect_pad_works_on_any_map(height, width):
    x = np.random.default_rng(0).random((1, 2, height, width), dtype=np.float32)
    expected = np.pad(x, ((0, 0), (0, 0), (3, 3), (3, 3)), mode="reflect")
    np.testing.assert_array_equal(reflect_pad(torch.from_numpy(x), 3).numpy(), expected)


def test_kan_cid_keeps_the_shape_of_the_smallest_map():
    assert KANCID(4)(torch.randn(2, 4, 1, 2)).shape == (2, 4, 1, 2)


@pytest.mark.parametrize("on", [True, False])
def test_kan_cid_with_and_without_what_is_not_published(on):
    """Without the way around it hears only the depthwise convolution; without normalisation, the channels' level."""
    torch.manual_seed(0)
    x, around, norm = torch.randn(2, 4, 8, 8), KANCID(4, residual=on), KANCID(4, norm=on)
    for block in (around, norm):
        torch.nn.init.zeros_(block.channel_independent.weight)
    assert (around(x).std(dim=(-2, -1)).max() > 1e-3) == on
    assert torch.allclose(norm(x + 3.0), norm(x), atol=1e-5) == on


def test_kan_cid_mixes_in_as_many_layers_as_asked_for():
    torch.manual_seed(0)
    block, x = KANCID(4, layers=3), torch.randn(2, 4, 8, 8)
    block(x).square().mean().backward()
    assert [layer.spline.weight.grad.abs().sum() > 0 for layer in block.between] == [True]
    assert "between.0.base.weight" not in KANCID(4).state_dict()
    torch.nn.init.zeros_(block.between[0].base.weight)
    torch.nn.init.zeros_(block.between[0].spline.weight)
    assert block(x).std(dim=(0, 2, 3)).max() < 1e-6  # nothing passes the layer between
