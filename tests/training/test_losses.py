"""Every loss against a hand-computed value, and none that looks where the weight is 0."""

import pytest

torch = pytest.importorskip("torch")

from nedr.model.heads import airlight_at  # noqa: E402
from nedr.training import losses  # noqa: E402


def full(value, *shape):
    return torch.full(shape, value)


def test_radiance_by_hand():
    a, b, whole = full(0.5, 2, 3, 4, 4), full(0.2, 2, 3, 4, 4), full(1.0, 2, 1, 4, 4)
    assert losses.radiance_l1(a, b, whole).item() == pytest.approx(0.3)
    b[0] = 0.1
    assert losses.radiance_rms(a, b, whole).item() == pytest.approx((0.4 + 0.3) / 2, abs=1e-4)
    half = whole.clone()
    half[0, :, :2] = 0.5
    assert losses.radiance_l1(a, b, half).item() == pytest.approx((0.4 * 12 + 0.3 * 16) / 28)


def test_transmission_by_hand():
    found, truth = torch.tensor([[[[0.9, 0.6]]]]), torch.tensor([[[[1.0, 0.5]]]])
    assert losses.transmission_l1(found, truth, full(1.0, 1, 1, 1, 2)).item() == pytest.approx(0.1)
    weight = torch.tensor([[[[1.0, 3.0]]]])
    logarithms = (0.10536 + 3 * 0.18232) / 4
    assert losses.transmission_log(found, truth, weight).item() == pytest.approx(logarithms, rel=1e-3)
    assert losses.transmission_log(full(0.001, 1, 1, 1, 1), full(0.04, 1, 1, 1, 1), full(1.0, 1, 1, 1, 1)).item() == 0


def test_airlight_counts_as_far_as_it_is_seen():
    airlight, terms, t = full(0.9, 2, 3), torch.zeros(2, 3, 5), full(1.0, 2, 1, 16, 16)
    light = full(0.7, 2, 3, 16, 16)
    assert losses.airlight_l1(airlight, terms, light, t).item() == 0
    t[1] = 0.25
    assert losses.airlight_l1(airlight, terms, light, t).item() == pytest.approx(0.5 * 1.2 * 0.75 * 0.2)
    terms[:, :, 1] = 0.1
    exact = airlight_at(full(0.5, 2, 3), terms, 16, 16)
    assert losses.airlight_l1(full(0.5, 2, 3), terms, exact, t).item() == pytest.approx(0.0, abs=1e-6)


def test_density_by_hand():
    density = losses.density_l1(torch.tensor([1.0, 0.1]), torch.tensor([2.0, 0.0]), 0.1)
    assert density.item() == pytest.approx(0.5 * 0.6931, abs=1e-4)


def test_unpaired_values_by_hand():
    a, b = full(0.5, 2, 3, 4, 4), full(0.2, 2, 3, 4, 4)
    assert losses.cycle_l1(a, b).item() == pytest.approx(0.3)
    assert losses.lsgan(full(0.7, 2, 1, 3, 3), real=True).item() == pytest.approx(0.09)
    assert losses.lsgan(full(0.7, 2, 1, 3, 3), real=False).item() == pytest.approx(0.49)
    assert losses.density_square(torch.tensor([1.0, 2.0]), torch.tensor([1.5, 2.0])).item() == pytest.approx(0.125)
    far = torch.tensor([[[[0.4, 9.0]]]])
    assert losses.depth_l1(full(1.0, 1, 1, 1, 2), far, (0.2, 3.0)).item() == pytest.approx((0.6 + 2.0) / 2)
    truth = full(0.5, 2, 1, 8, 8)
    truth[1, :, :4] = 0.7  # a cell is its mean
    assert losses.known_depth_l1(full(0.8, 2, 1, 1, 2), truth).item() == pytest.approx((0.3 + 0.2) / 2)
    haze = losses.known_haze_l1(full(0.5, 2, 1, 2, 2), full(0.9, 2, 3), full(0.4, 2, 1, 2, 2), full(0.6, 2, 3))
    assert haze.item() == pytest.approx(0.1 + 0.3)
    result, clear = full(0.5, 1, 3, 8, 8), full(0.2, 2, 3, 8, 8)
    assert losses.dark_channel_gap(result, clear).item() == pytest.approx(0.3)
    result[:, 2] = -0.1  # too much was taken away
    assert losses.dark_channel_gap(result, clear).item() == pytest.approx(0.3)
    maps = lambda x: [x, 2 * x]  # noqa: E731
    assert losses.perceptual(maps, a, b).item() == pytest.approx(0.3 / 0.2, rel=1e-3)


def test_edges_by_hand_and_blind_to_a_constant():
    truth, weight = full(0.5, 1, 1, 16, 16), full(1.0, 1, 1, 16, 16)
    truth[..., :8, :] = 1.0  # one outline: 1, 2 and 4 of 15, 14 and 12 differences
    expected = 0.5 * 0.5 * (1 / 15 + 2 / 14 + 4 / 12)
    found = losses.transmission_edges(full(0.5, 1, 1, 16, 16), truth, weight)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert losses.transmission_edges(truth - 0.2, truth, weight).item() == pytest.approx(0.0, abs=1e-6)


PIXELS = [losses.radiance_l1, losses.radiance_rms]
CELLS = [losses.transmission_l1, losses.transmission_log, losses.transmission_edges]


@pytest.mark.parametrize("loss", PIXELS + CELLS)
def test_nothing_is_learnt_where_the_weight_is_zero(loss):
    torch.manual_seed(0)
    channels = 3 if loss in PIXELS else 1
    predicted, truth = torch.rand(2, channels, 16, 16), torch.rand(2, channels, 16, 16)
    weight = torch.rand(2, 1, 16, 16) + 0.1
    weight[..., 3:9, 5:11] = 0.0
    before = loss(predicted, truth, weight)
    assert before > 0
    predicted[..., 3:9, 5:11], truth[..., 3:9, 5:11] = 0.9, 0.1
    assert loss(predicted, truth, weight).item() == pytest.approx(before.item())
    predicted.requires_grad_()
    loss(predicted, truth, weight).backward()
    assert not predicted.grad[..., 3:9, 5:11].any()
    nothing = loss(predicted.detach(), truth, torch.zeros_like(weight))
    assert nothing.item() == pytest.approx(0.0, abs=2e-3)  # a number, also of a picture that is covered


def test_a_cell_that_is_covered_in_part_says_nothing():
    weight = full(1.0, 1, 1, 8, 8)
    weight[..., 2, 2] = 0.0
    weight[..., 4:, :] = 0.5
    cells = losses.on_lattice(weight, 4, 4)[0, 0]
    assert cells[1, 1] == 0
    assert (cells[:2].sum(), cells[2:].sum()) == (7, 4)
    assert losses.on_lattice(weight, 3, 5).min() == 0
