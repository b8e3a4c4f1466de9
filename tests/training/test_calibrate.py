"""The calibrated start: every layer answers, at every level, whatever the encoder begins with."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from nedr.model.nedr import PRESETS, NeDR, scene_radiance  # noqa: E402
from nedr.training.calibrate import calibrate  # noqa: E402

SMALL = {"idrm_hidden": (16, 16), "drem_width": 8, "drem_growth": 4, "head_width": 8, "idrm_outputs": 8}


def spreads(model, views):
    """The deviation of what each of the network's parts answers."""
    found = {}
    parts = {f"level {i}": block for i, block in enumerate(model.kan_cid)}
    parts |= {f"mapped {i}": block for i, block in enumerate(model.mapper.levels)}
    parts |= {f"refined {i}": layer for i, layer in enumerate(model.refine)}
    parts |= {"drem": model.drem.redundant, "idrm": model.idrm.last, "head": model.transmission_head.last}
    parts |= {f"features {i}": layer for i, layer in enumerate(model.standardise)}
    for name, part in parts.items():
        part.register_forward_hook(lambda _, __, output, name=name: found.update({name: output.std().item()}))
    with torch.no_grad():
        model.eval()(views)
    return found


def views():
    """Smooth pictures, as photographs are."""
    torch.manual_seed(0)
    coarse = torch.rand(2, 3, 4, 4)
    return torch.nn.functional.interpolate(coarse, (64, 64), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("preset", ["base", "paper"])
def test_every_level_carries_signal_from_the_start(preset):
    torch.manual_seed(0)
    model = NeDR(dataclasses.replace(PRESETS[preset], **SMALL, lattice_stride=2))
    calibrate(model, views())
    found = spreads(model, views())
    assert len(found) == 19
    assert all(0.1 < spread < 10 for spread in found.values()), found


def test_without_calibration_the_features_of_a_random_encoder_vanish():
    """The reason for all this: under unit statistics each level is a fraction of the one before."""
    torch.manual_seed(0)
    features = NeDR(dataclasses.replace(PRESETS["paper"], **SMALL)).encoder(views())
    assert features[-1].std() < 1e-3


def test_an_encoder_that_has_statistics_keeps_them(tiny_config):
    model = NeDR(tiny_config)
    norm = model.encoder.stem
    norm.mean.fill_(0.1)
    norm.variance.fill_(0.7)
    calibrate(model, views())
    assert (norm.mean == 0.1).all()
    assert (norm.variance == 0.7).all()


def test_what_begins_at_zero_on_purpose_stays(tiny_config):
    model = NeDR(tiny_config)
    calibrate(model, views())
    assert not model.airlight_head.last.weight.any()


def test_calibration_is_done_once_and_leaves_no_hooks(tiny_config):
    torch.manual_seed(0)
    model = NeDR(tiny_config).train()
    calibrate(model, views())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert model.training
    model.eval()(torch.rand(1, 3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_papers_encoder_learns_from_a_random_start():
    """Lite3 with a small decoder fits a picture under haze; without calibration nothing reaches its decoder."""
    torch.manual_seed(0)
    config = dataclasses.replace(
        PRESETS["paper"], **SMALL, widths=(8, 8, 8, 8), lattice_stride=2, airlight="brightest", dropout=0.0
    )
    model = NeDR(config)
    clear = views()[..., ::2, ::2]
    t = 0.3 + 0.6 * clear.mean(dim=1, keepdim=True)
    hazy = clear * t + 0.9 * (1 - t)
    calibrate(model, hazy)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    totals = []
    for _ in range(40):
        estimate = model(hazy)
        loss = (scene_radiance(hazy, estimate.transmission, estimate.airlight) - clear).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    assert sum(totals[-5:]) < 0.7 * sum(totals[:5])
