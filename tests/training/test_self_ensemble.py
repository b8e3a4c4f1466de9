"""What exported weights answer: the mean over a view and its mirrored copies under more and under less of its haze."""

import pytest

torch = pytest.importorskip("torch")

from nedr.model.nedr import HazeEstimate, NeDR  # noqa: E402
from nedr.training.self_ensemble import SHARES, mirrored_copy, self_ensemble  # noqa: E402

SCENE, AIRLIGHT = torch.tensor([0.2, 0.3, 0.25]), torch.tensor([0.8, 0.85, 0.9])


def hazy(t):
    """J t + A (1 - t) of a scene of one colour: (..., H, W) -> (..., 3, H, W)."""
    scene, light = SCENE[:, None, None], AIRLIGHT[:, None, None]
    return scene * t[..., None, :, :] + light * (1 - t[..., None, :, :])


def slope(batch, height=12, width=16):
    """t that rises to the right and with the picture, 0.4 to 0.8."""
    return torch.linspace(0.4, 0.7, width).expand(batch, height, width) + 0.1 * torch.arange(batch)[:, None, None]


def perfect(view, lattice=None):
    """A network that knows the scene and the airlight, and reads t off the view; the terms say which side is darker."""
    t = ((view - AIRLIGHT[:, None, None]) / (SCENE - AIRLIGHT)[:, None, None]).mean(dim=1, keepdim=True)
    side = (view[..., :8].mean(dim=(1, 2, 3)) - view[..., 8:].mean(dim=(1, 2, 3))).sign()
    terms = torch.zeros(len(view), 3, 5)
    terms[..., 0] = 0.1 * side[:, None]
    return HazeEstimate(t, AIRLIGHT.expand(len(view), 3), torch.ones(len(view)), terms)


def saying(*answers):
    """A network that answers, call by call, with one t, one A and one beta everywhere."""
    calls = iter(answers)

    def network(view, lattice=None):
        t, airlight, density = next(calls)
        batch = len(view)
        full, light = torch.full((batch, 1, 4, 6), t), torch.full((batch, 3), airlight)
        return HazeEstimate(full, light, torch.full((batch,), density), torch.zeros(batch, 3, 5))

    return network


def test_a_network_that_is_right_stays_right():
    t = slope(2)
    found = self_ensemble(perfect, hazy(t))
    torch.testing.assert_close(found.transmission[:, 0], t)
    torch.testing.assert_close(found.airlight, AIRLIGHT.expand(2, 3))
    torch.testing.assert_close(found.terms[..., 0], torch.full((2, 3), 0.1))  # to the other side in mirrored copies


@pytest.mark.parametrize("share", SHARES)
def test_a_copy_is_mirrored_and_has_a_share_of_the_transmission(share):
    t = slope(2)
    torch.testing.assert_close(mirrored_copy(hazy(t), AIRLIGHT.expand(2, 3), share), hazy(share * t).flip(-1))


@pytest.mark.parametrize(("optical", "weight"), [(0.0, 0.0), (0.15, 0.5), (0.3, 1.0), (1.2, 1.0)])
def test_copies_count_where_there_is_haze(optical, weight):
    first = torch.tensor(-optical).exp().item()
    found = self_ensemble(saying((first, 0.6, 1.0), (0.35, 0.9, 2.0)), torch.rand(1, 3, 16, 24))
    others = [-torch.tensor(0.35 / share).log() for share in SHARES]
    expected = (optical + weight * sum(others)) / (1 + 2 * weight)
    torch.testing.assert_close(-found.transmission.log(), expected.expand(1, 1, 4, 6), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.airlight, torch.full((1, 3), (0.6 + 1.8 * weight) / (1 + 2 * weight)))
    torch.testing.assert_close(found.density, torch.full((1,), (1 + 4 * weight) / (1 + 2 * weight)))


def test_no_transmission_exceeds_one():
    found = self_ensemble(saying((0.9, 0.8, 1.0), (1.0, 0.8, 1.0)), torch.rand(1, 3, 16, 24))
    assert 0.9 < found.transmission.max() <= 1


def test_a_picture_is_answered_alone_as_in_a_batch(tiny_config):
    torch.manual_seed(1)
    model, views = NeDR(tiny_config).eval(), torch.rand(2, 3, 64, 96)
    both = self_ensemble(model, views, (7, 9))
    for index in range(2):
        alone = self_ensemble(model, views[index : index + 1], (7, 9))
        for here, there in zip(both, alone, strict=True):
            torch.testing.assert_close(here[index], there[0], atol=1e-5, rtol=1e-4)
