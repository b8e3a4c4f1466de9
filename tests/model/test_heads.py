"""A(x): its mean, its bounds, where it starts."""

import pytest
import torch

from nedr.model.heads import TERMS, AirlightHead, BoundedHead, DensityHead, airlight_at, polynomials
from nedr.model.resample import averaged


def test_each_polynomial_has_a_mean_of_zero_and_differs_from_the_others():
    shapes = polynomials(200, 300, torch.zeros((), dtype=torch.float64)).flatten(1)
    assert shapes.shape == (TERMS, 60_000)
    assert shapes.mean(dim=1).abs().max() < 2e-5
    assert torch.linalg.matrix_rank(shapes) == TERMS


def test_the_mean_of_a_varying_airlight_is_the_airlight():
    torch.manual_seed(0)
    airlight, terms = torch.rand(4, 3) * 0.4 + 0.3, (torch.rand(4, 3, TERMS) - 0.5) * 0.1  # far from 0 and 1
    torch.testing.assert_close(airlight_at(airlight, terms, 60, 80).mean(dim=(2, 3)), airlight, atol=1e-4, rtol=0)


def test_a_varying_airlight_is_the_same_at_any_resolution_and_stays_within_bounds():
    torch.manual_seed(0)
    airlight, terms = torch.rand(4, 3), torch.randn(4, 3, TERMS)
    fine = airlight_at(airlight, terms, 63, 84)
    torch.testing.assert_close(fine[..., 1::3, 1::3], airlight_at(airlight, terms, 21, 28))  # the same centres
    assert fine.min() >= 0
    assert fine.max() <= 1
    still = airlight_at(airlight, torch.zeros(4, 3, TERMS), 5, 7)
    torch.testing.assert_close(still, airlight[:, :, None, None].expand(-1, -1, 5, 7))


def test_x_goes_right_and_y_down():
    terms = torch.zeros(1, 3, TERMS)
    terms[0, 0, 0], terms[0, 1, 1] = 0.2, 0.2
    light = airlight_at(torch.full((1, 3), 0.5), terms, 4, 4)[0]
    torch.testing.assert_close(light[0, 0], torch.tensor([0.35, 0.45, 0.55, 0.65]))
    torch.testing.assert_close(light[1, :, 0], torch.tensor([0.35, 0.45, 0.55, 0.65]))


@pytest.mark.parametrize("size", [(8, 8), (5, 9)])
def test_an_untrained_airlight_is_the_colour_where_t_is_low_and_the_same_everywhere(size):
    torch.manual_seed(0)
    image, transmission = torch.rand(2, 3, 16, 16) * 0.3, torch.ones(2, 1, 16, 16)
    image[..., :8, :], transmission[..., :8, :] = torch.tensor([0.9, 0.8, 0.7])[:, None, None], 0.0
    image, transmission = averaged(image, *size), averaged(transmission, *size)
    head = AirlightHead(4, 6)
    airlight, terms = head(0.01 * torch.randn(2, 4, *size), image, transmission, torch.rand(2, 6))
    torch.testing.assert_close(airlight, torch.tensor([[0.9, 0.8, 0.7]] * 2), atol=0.02, rtol=0)
    assert not terms.any()


HEADS = pytest.mark.parametrize(
    ("head", "shape"), [(BoundedHead(5, 4, (0.03, 1.0)), (2, 5, 6, 8)), (DensityHead(5, (0.05, 4.0)), (2, 5))]
)


@HEADS
def test_an_answer_at_a_bound_learns_the_way_back(head, shape):
    """Its value is the same in training as in use."""
    torch.manual_seed(0)
    with torch.no_grad():
        head.last.bias.fill_(60.0)
    answer = head(torch.randn(shape))
    assert (answer == head.high).all()
    answer.sum().backward()
    assert head.last.bias.grad.abs().max() > 0
    assert torch.equal(head.eval()(torch.randn(shape)), answer)


@HEADS
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_an_answer_whose_truth_is_the_bound_does_not_push_what_it_is_computed_from_ever_further_out(head, shape, side):
    """t of a picture without haze is 1, which tanh never reaches: values grew to 1e10, and gradients to 1e9."""
    torch.manual_seed(0)
    head.train()
    bound = head.high if side > 0 else head.low
    gradients = {}
    for value in (3.0, 6.0):
        with torch.no_grad():
            head.last.weight.zero_()
            head.last.bias.fill_(side * value)
        head.zero_grad()
        (head(torch.randn(shape)) - bound).square().sum().backward()
        gradients[value] = side * head.last.bias.grad.item()
    assert gradients[3.0] < 0.0
    assert gradients[6.0] == 0.0
