"""The whole network: shapes, presets, switches, the physics, and what trains."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from nedr.model.heads import airlight_at, dark_channel_airlight
from nedr.model.nedr import (
    CUES,
    CUES_OVER_AIRLIGHT,
    PRESETS,
    NeDR,
    NeDRConfig,
    cues,
    cues_over_airlight,
    depth,
    scene_radiance,
)
from nedr.model.resample import averaged


def parameters(model: torch.nn.Module) -> float:
    return sum(p.numel() for p in model.parameters()) / 1e6


@pytest.mark.parametrize("size", [(64, 64), (64, 128), (32, 320)])
def test_any_aspect_ratio(tiny_config, size):
    estimate = NeDR(tiny_config)(torch.rand(2, 3, *size))
    assert estimate.transmission.shape == (2, 1, size[0] // 4, size[1] // 4)
    assert estimate.airlight.shape == (2, 3)
    assert estimate.density.shape == (2,)
    assert ((estimate.transmission > 0) & (estimate.transmission <= 1)).all()
    assert ((estimate.airlight > 0) & (estimate.airlight < 1)).all()
    assert (estimate.density > 0).all()
    assert estimate.terms.shape == (2, 3, 5)


def test_lattice_is_the_callers_choice(tiny_config):
    model, view = NeDR(tiny_config).eval(), torch.rand(1, 3, 64, 96)
    assert model(view, (50, 70)).transmission.shape == (1, 1, 50, 70)
    torch.testing.assert_close(model(view, (16, 24)).transmission, model(view).transmission)


@pytest.fixture
def spotted():
    """A grey view with one dark blue pixel in the cell (2, 3), and the minimum of each cell."""
    view = torch.full((1, 3, 32, 48), 0.8)
    view[0, 2, 9, 13] = 0.1
    return view, -F.max_pool2d(-view, 4)


def around(row, column):
    """1 in the 7 x 7 cells around a cell of 8 x 12, else 0."""
    patch = torch.zeros(8, 12)
    patch[max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4] = 1.0
    return patch


def test_cues_by_hand(spotted):
    cells, patches, brightest, inside, wide = cues(*spotted)[0]
    assert cells[2, 3] == pytest.approx(0.1)
    assert (cells == 0.1).sum() == 1
    torch.testing.assert_close(patches, 0.8 - 0.7 * around(2, 3))
    torch.testing.assert_close(brightest, torch.full((8, 12), 0.8))
    assert inside[2, 3] == pytest.approx(0.7 / 3 * (1 / 16 * 15 / 16) ** 0.5, rel=1e-3)
    assert (inside > 0.01).sum() == 1
    assert ((wide > 0.002) == around(2, 3).bool()).all()


def test_cues_over_the_airlight_by_hand(spotted):
    view, darkest = spotted
    airlight, terms = torch.tensor([[1.0, 0.8, 0.5]]), torch.zeros(1, 3, 5)
    found = cues_over_airlight(F.avg_pool2d(view, 4), darkest, airlight, terms)[0]
    assert found.shape == (CUES_OVER_AIRLIGHT, 8, 12)
    torch.testing.assert_close(found[:3, 0, 0], torch.tensor([0.8, 1.0, 1.6]))
    assert found[3, 2, 3] == pytest.approx(0.2)  # 0.1 / 0.5
    torch.testing.assert_close(found[4], 0.8 - 0.6 * around(2, 3))
    assert cues(view, darkest).shape[1] == CUES


def test_result_of_a_picture_does_not_depend_on_its_batch(tiny_config):
    model, views = NeDR(tiny_config).train(), torch.rand(3, 3, 64, 64)
    together, alone = model(views), model(views[1:2])
    torch.testing.assert_close(together.transmission[1:2], alone.transmission, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.airlight[1:2], alone.airlight, rtol=1e-4, atol=1e-5)


def test_base_preset_keeps_its_budget():
    with torch.device("meta"):
        model, view = NeDR(PRESETS["base"]), torch.empty(1, 3, 256, 256)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(view)
    assert parameters(model) <= 5.0
    assert counter.get_total_flops() / 2e9 <= 3.0


def test_paper_preset_has_the_published_sizes_and_trains_a_step():
    model = NeDR(PRESETS["paper"])
    assert model.encoder.channels == (32, 48, 136, 384)
    assert [level.out_channels for level in model.mapper.levels] == [32, 64, 128, 256]
    assert model.drem.first.out_channels == 64
    assert model.density_head.hidden.in_features == 600
    moved = step(model, torch.rand(1, 3, 32, 32))
    assert moved["drem"] > 0
    assert moved["idrm"] > 0


@pytest.mark.parametrize("off", [(), ("kan_cid",), ("idrm",), ("drem",), ("kan_cid", "idrm", "drem")])
def test_every_part_can_be_switched_off_and_the_rest_trains(tiny_config, off):
    model = NeDR(dataclasses.replace(tiny_config, **dict.fromkeys(off, False)))
    moved = step(model, torch.rand(1, 3, 64, 64))
    assert moved["encoder"] > 0
    assert moved["transmission_head"] > 0
    for part in ("kan_cid", "drem"):
        assert (part in moved) == (part not in off)


def test_drem_on_a_finer_lattice_gives_the_mean_of_its_cells(tiny_config):
    torch.manual_seed(0)
    plain, finer = NeDR(tiny_config).eval(), NeDR(dataclasses.replace(tiny_config, drem_scale=2)).eval()
    finer.load_state_dict(plain.state_dict())
    view = torch.rand(1, 3, 64, 64)
    coarse, fine = finer(view, (9, 11)), plain(view, (18, 22))
    torch.testing.assert_close(coarse.transmission, averaged(fine.transmission, 9, 11))
    torch.testing.assert_close(coarse.airlight, fine.airlight)


def step(model: NeDR, view: torch.Tensor) -> dict[str, float]:
    """How far one training step moves each part of the network."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    estimate = model(view)
    radiance = scene_radiance(view, estimate.transmission, estimate.airlight, estimate.terms)
    loss = radiance.square().mean() + estimate.density.mean()
    loss.backward()
    optimizer.step()
    moved: dict[str, float] = {}
    for name, p in model.named_parameters():
        part = name.split(".")[0]
        moved[part] = moved.get(part, 0.0) + (p.detach() - before[name]).abs().sum().item()
    return moved


def test_no_gradient_from_the_density_into_the_encoder(tiny_config):
    model = NeDR(tiny_config)
    model(torch.rand(1, 3, 64, 64)).density.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.encoder.parameters())
    assert model.density_head.last.weight.grad.abs().sum() > 0


def test_inversion_undoes_the_scattering_model():
    torch.manual_seed(0)
    clear, t, airlight = torch.rand(2, 3, 8, 9), torch.rand(2, 1, 8, 9) * 0.9 + 0.1, torch.rand(2, 3)
    hazy = clear * t + airlight[:, :, None, None] * (1 - t)
    torch.testing.assert_close(scene_radiance(hazy, t, airlight), clear, rtol=1e-3, atol=1e-4)


def test_inversion_undoes_an_airlight_that_varies():
    torch.manual_seed(0)
    clear, t, terms = torch.rand(2, 3, 8, 9), torch.rand(2, 1, 8, 9) * 0.9 + 0.1, 0.02 * torch.randn(2, 3, 5)
    airlight = torch.rand(2, 3) * 0.4 + 0.3
    hazy = clear * t + airlight_at(airlight, terms, 8, 9) * (1 - t)
    torch.testing.assert_close(scene_radiance(hazy, t, airlight, terms), clear, rtol=1e-3, atol=1e-4)


def test_depth_inverts_transmission():
    d, beta = torch.rand(2, 1, 4, 4), torch.tensor([0.6, 1.8])
    torch.testing.assert_close(depth(torch.exp(-beta[:, None, None, None] * d), beta), d, rtol=1e-4, atol=1e-5)


def test_published_airlights():
    image = torch.full((1, 3, 40, 40), 0.2)
    image[0, :, 5:20, 5:20] = torch.tensor([0.7, 0.8, 0.9])[:, None, None]
    image[0, 0, 30, 30] = 1.0
    torch.testing.assert_close(dark_channel_airlight(image)[0], torch.tensor([0.7, 0.8, 0.9]))
    brightest = NeDR(dataclasses.replace(PRESETS["base"], airlight="brightest"))(torch.rand(1, 3, 64, 64) * 0.5)
    assert brightest.airlight.max() <= 0.5
    assert not brightest.terms.any()


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="grid_stride"):
        NeDRConfig(grid_stride=3)
    with pytest.raises(ValueError, match="0 < low < high"):
        NeDRConfig(density=(1.0, 0.5))
    with pytest.raises(ValueError, match="coarser"):
        NeDRConfig(grid_stride=2, lattice_stride=4)
    with pytest.raises(ValueError, match="kan_layers"):
        NeDRConfig(kan_layers=1)
    with pytest.raises(ValueError, match="drem_scale"):
        NeDRConfig(drem_scale=0)
