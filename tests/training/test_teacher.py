"""The mean teacher: which labels are kept, and what is learnt from them."""

import pytest

torch = pytest.importorskip("torch")

from nedr.model.nedr import HazeEstimate, NeDR, scene_radiance  # noqa: E402
from nedr.training import teacher  # noqa: E402


def estimate(t, airlight=0.8, terms=0.0):
    """A network that finds t everywhere."""

    def network(x, lattice=(8, 8)):
        transmission, light = torch.full((len(x), 1, *lattice), t), torch.full((len(x), 3), airlight)
        return HazeEstimate(transmission, light, torch.ones(len(x)), torch.full((len(x), 3, 5), terms))

    return network


@pytest.fixture
def hazy():
    """Pictures under haze of t = 0.5 and A = 0.8."""
    torch.manual_seed(0)
    return 0.5 * torch.rand(2, 3, 96, 96) + 0.8 * 0.5


def test_a_result_with_less_haze_is_trusted_and_an_unchanged_or_clipped_one_is_not(hazy):
    assert teacher.label(estimate(0.55), hazy).trusted.all()
    assert not teacher.label(estimate(1.0), hazy).trusted.any()  # nothing was done
    assert not teacher.label(estimate(0.2), hazy).trusted.any()  # far too much: black and white
    assert not teacher.trusted(hazy, hazy + 0.05).any()  # hazier


def test_a_label_is_what_three_looks_have_in_common(hazy):
    looks = []

    def network(x, lattice=(8, 8)):
        """Of another opinion each time; from left to right t falls and A rises."""
        looks.append(tuple(x.shape[-2:]))
        t = torch.linspace(0.8, 0.4, lattice[1]).expand(len(x), 1, *lattice) / len(looks) ** 0.3
        terms = torch.zeros(len(x), 3, 5)
        terms[..., 0] = 0.1
        return HazeEstimate(t, torch.full((len(x), 3), 0.7 + 0.1 * len(looks)), torch.ones(len(x)), terms)

    known = teacher.label(network, hazy)
    assert looks == [(96, 96), (96, 96), (64, 64)]
    assert known.airlight.allclose(torch.tensor(0.9))
    assert known.terms[..., 0].allclose(torch.tensor(0.1 / 3))  # a slope to the left in the mirror image
    falling = torch.linspace(0.8, 0.4, 8).log()
    assert known.transmission.log()[0, 0, 0].allclose(
        (2 * falling + falling.flip(0) - 0.3 * torch.tensor(6.0).log()) / 3
    )


def test_a_copy_lies_under_more_of_the_same_haze(hazy):
    t, dark = 0.5, torch.zeros_like(hazy) + 0.8 * 0.5  # J = 0
    known = teacher.label(estimate(t), hazy)
    sizes, thickest = set(), 1.0
    for seed in range(6):
        copy = teacher.changed(dark, known, [1, seed], more=2.0)
        sizes.add(copy.hazy.shape[-1])
        thicker = copy.transmission.amax(dim=(1, 2, 3))
        assert ((thicker <= t) & (thicker >= t**3.0)).all()
        thickest = min(thickest, thicker.min().item())
        assert ((copy.gain >= 0.85) & (copy.gain <= 1.0)).all()
        expected = copy.gain * 0.8 * (1 - thicker[:, None, None, None])
        assert (copy.hazy - expected).mean().abs() < 0.003
        assert (copy.hazy - expected).std() == pytest.approx(teacher.NOISE, rel=0.1)
    assert sizes == {64, 96}
    assert thickest < t**2.0
    assert torch.equal(copy.hazy, teacher.changed(dark, known, [1, 5], more=2.0).hazy)


def test_a_student_that_agrees_has_nothing_to_learn(hazy):
    known = teacher.label(estimate(0.55), hazy)
    copy = teacher.changed(hazy, known, [1, 2], more=0.6)

    def agrees(x, lattice):
        found = estimate(0.55)(x, lattice)
        return found._replace(transmission=copy.transmission, airlight=found.airlight * copy.gain.flatten(1))

    assert teacher.loss(agrees, hazy, known, [1, 2], more=0.6) < 1e-5
    assert teacher.loss(estimate(0.9), hazy, known, [1, 2], more=0.6) > 0.3


def test_what_is_not_trusted_teaches_nothing(hazy, tiny_config):
    model = NeDR(tiny_config)
    known = teacher.label(estimate(0.55), hazy)
    assert teacher.loss(model, hazy, known._replace(trusted=torch.tensor([True, False])), [0], more=0.6) > 0
    nothing = teacher.loss(model, hazy, known._replace(trusted=torch.zeros(2, dtype=torch.bool)), [0], more=0.6)
    assert nothing == 0
    nothing.backward()
    assert not any(p.grad is not None and p.grad.any() for p in model.parameters())


def test_labels_of_thin_haze_count_more(hazy):
    thin_and_thick = torch.tensor([0.9, 0.3])[:, None, None, None].expand(2, 1, 8, 8)
    known = teacher.label(estimate(0.55), hazy)._replace(transmission=thin_and_thick)
    copy = teacher.changed(hazy, known, [1, 3], more=0.6)
    found = estimate(0.7)(copy.hazy)
    said = scene_radiance(copy.hazy, found.transmission, found.airlight, found.terms)
    truth = scene_radiance(copy.hazy, copy.transmission, known.airlight * copy.gain.flatten(1), known.terms)
    apart = (found.transmission - copy.transmission).abs().mean(dim=(1, 2, 3))
    apart = apart + (said - truth).abs().mean(dim=(1, 2, 3))
    expected = (0.9 * apart[0] + 0.3 * apart[1]) / 2
    assert teacher.loss(estimate(0.7), hazy, known, [1, 3], more=0.6).item() == pytest.approx(expected.item(), rel=1e-4)
