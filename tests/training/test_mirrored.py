"""What exported weights answer: the mean over a view and its mirror image."""

import pytest

torch = pytest.importorskip("torch")

from nedr.model.heads import airlight_at  # noqa: E402
from nedr.model.nedr import NeDR  # noqa: E402
from nedr.training.mirrored import with_mirror_image  # noqa: E402


def test_it_is_the_mean_of_what_both_views_say(tiny_config):
    torch.manual_seed(1)
    model, view = NeDR(tiny_config).eval(), torch.rand(2, 3, 64, 96)
    torch.nn.init.normal_(model.airlight_head.last.weight, std=0.1)
    here, there, found = model(view, (7, 9)), model(view.flip(-1), (7, 9)), with_mirror_image(model, view, (7, 9))
    optical = (here.transmission.log() + there.transmission.flip(-1).log()) / 2
    torch.testing.assert_close(found.transmission.log(), optical)
    torch.testing.assert_close(found.density, (here.density + there.density) / 2)
    light, of_mirror, mean = (airlight_at(said.airlight, said.terms, 7, 9) for said in (here, there, found))
    torch.testing.assert_close(mean, (light + of_mirror.flip(-1)) / 2)
    assert (light - of_mirror.flip(-1)).abs().max() > 0.01
