"""Every loss against a hand-computed value."""

import pytest

torch = pytest.importorskip("torch")

from nedr.training import losses  # noqa: E402


def full(value, *shape):
    return torch.full(shape, value)


def test_values_by_hand():
    a, b = full(0.5, 2, 3, 4, 4), full(0.2, 2, 3, 4, 4)
    assert losses.radiance_l1(a, b).item() == pytest.approx(0.3)
    b[0] = 0.1
    assert losses.radiance_rms(a, b).item() == pytest.approx((0.4 + 0.3) / 2, abs=1e-4)
    truth = full(0.5, 1, 1, 8, 8)
    truth[..., :4, :] = 1.0
    lattice = torch.tensor([[[[0.9], [0.6]]]])
    assert losses.transmission_l1(lattice, truth).item() == pytest.approx(0.1)
    shown = full(1.0, 2, 1, 2, 2)
    shown[1, 0, 0, 0] = 0.25
    airlight = losses.airlight_l1(full(0.9, 2, 3), full(0.7, 2, 3), shown)
    assert airlight.item() == pytest.approx(0.75 * 0.2 / 2)
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
    maps = lambda x: [x, 2 * x]  # noqa: E731
    assert losses.perceptual(maps, a, b).item() == pytest.approx(0.3 / 0.2, rel=1e-3)


def test_edges_by_hand_and_blind_to_a_constant():
    truth = full(0.5, 1, 1, 64, 64)
    truth[..., :32, :] = 1.0  # on the lattice of 16 rows: one outline, 1, 2 and 4 of 15, 14 and 12 differences
    flat = full(0.5, 1, 1, 16, 16)
    expected = 0.5 * 0.5 * (1 / 15 + 2 / 14 + 4 / 12)
    assert losses.transmission_edges(flat, truth).item() == pytest.approx(expected, rel=1e-5)
    exact = losses.lattice_image(truth, 16, 16)
    assert losses.transmission_edges(exact - 0.2, truth).item() == pytest.approx(0.0, abs=1e-6)
