"""The mean teacher: which labels are kept, and what is learnt from them."""

import pytest

torch = pytest.importorskip("torch")

from nedr.model.nedr import HazeEstimate, NeDR  # noqa: E402
from nedr.training import teacher  # noqa: E402


def estimate(t, airlight=0.8):
    """A network that finds t everywhere."""

    def network(x):
        transmission, light = torch.full((len(x), 1, 8, 8), t), torch.full((len(x), 3), airlight)
        return HazeEstimate(transmission, light, torch.ones(len(x)), torch.zeros(len(x), 3, 5))

    return network


@pytest.fixture
def hazy():
    torch.manual_seed(0)
    return 0.5 * torch.rand(2, 3, 32, 32) + 0.8 * 0.5


def test_a_result_with_less_haze_is_trusted_and_an_unchanged_or_clipped_one_is_not(hazy):
    assert teacher.label(estimate(0.55), hazy).trusted.all()
    assert not teacher.label(estimate(1.0), hazy).trusted.any()  # nothing was done
    assert not teacher.label(estimate(0.2), hazy).trusted.any()  # far too much: black and white
    assert not teacher.trusted(hazy, hazy + 0.05).any()  # hazier


def test_a_student_that_agrees_has_only_the_noise_to_learn(hazy):
    known = teacher.label(estimate(0.55), hazy)
    copy, gain = teacher.changed(hazy, [1, 2])
    assert ((gain >= 0.85) & (gain <= 1.0)).all()
    assert (copy - gain * hazy).std() == pytest.approx(teacher.NOISE, rel=0.1)
    again, _ = teacher.changed(hazy, [1, 2])
    assert torch.equal(copy, again)

    def agrees(x):
        found = estimate(0.55)(x)
        return found._replace(airlight=found.airlight * gain.flatten(1))

    assert teacher.loss(agrees, hazy, known, [1, 2]) < 0.05
    assert teacher.loss(estimate(0.9), hazy, known, [1, 2]) > 0.3


def test_what_is_not_trusted_teaches_nothing(hazy, tiny_config):
    model = NeDR(tiny_config)
    known = teacher.label(estimate(0.55), torch.nn.functional.interpolate(hazy, (64, 64)))
    known = known._replace(transmission=torch.full((2, 1, 16, 16), 0.5))
    pictures = torch.nn.functional.interpolate(hazy, (64, 64))
    one = known._replace(trusted=torch.tensor([True, False]))
    assert teacher.loss(model, pictures, one, [0]) > 0
    nothing = teacher.loss(model, pictures, known._replace(trusted=torch.zeros(2, dtype=torch.bool)), [0])
    assert nothing == 0
    nothing.backward()
    assert not any(p.grad is not None and p.grad.any() for p in model.parameters())
