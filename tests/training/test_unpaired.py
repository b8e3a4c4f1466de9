"""The unpaired stage: cycles, losses that move what they should, one curve through kill -9 and in two processes."""

import dataclasses
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from lightning_fabric import Fabric  # noqa: E402

from nedr.errors import NedrError, UsageError  # noqa: E402
from nedr.model.nedr import HazeEstimate, depth, scene_radiance  # noqa: E402
from nedr.model.rehaze import physical_haze  # noqa: E402
from nedr.model.resample import averaged  # noqa: E402
from nedr.training import loop, losses, unpaired  # noqa: E402
from nedr.training.checkpoint import load_checkpoint, load_published, load_weights  # noqa: E402
from nedr.training.config import LogConfig, OptimConfig, Paths, TrainConfig, UnpairedConfig  # noqa: E402
from nedr.training.data import DataConfig, held_out  # noqa: E402
from nedr.training.stream import batches, samples  # noqa: E402
from nedr.training.warmup import CHECKPOINT, WEIGHTS  # noqa: E402

STEPS = 6


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Clear, hazy and measured pictures, a few of each."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in ("clear", "hazy", "scenes/clear", "scenes/depth"):
        (root / name).mkdir(parents=True)
        for index in range(4):
            coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
            picture = coarse.resize((128, 96), Image.Resampling.BICUBIC)
            if name == "hazy":
                picture = Image.blend(picture, Image.new("RGB", picture.size, (220, 220, 225)), 0.6)
            picture.convert("L" if name == "scenes/depth" else "RGB").save(root / name / f"{index}.png")
    return root


@pytest.fixture
def config(tiny_config):
    return TrainConfig(
        model=tiny_config,
        data=DataConfig(views=((64, 64), (64, 96)), batch=2, holdout=1000, workers=0),
        optim=OptimConfig(steps=STEPS, warm=1, decay=2),
        unpaired=UnpairedConfig(identity=0.5, perceptual=0.1, teacher=0.5, rehaze_width=4, critic_width=4, pool=1),
        log=LogConfig(scalars=1, pictures=4, validate=100, checkpoint=2),
    )


@pytest.fixture
def paths(pictures, tmp_path):
    return Paths(tmp_path / "run", clear=pictures / "clear", hazy=pictures / "hazy")


@pytest.fixture
def run(config, paths):
    return loop.begin(config, paths, Fabric(accelerator="cpu", devices=1))


def first_batch(run):
    return next(iter(batches(run.config, run.paths, 0)))


def values(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def cycles(run, batch, weights=None):
    """Both cycles of a batch."""
    weights = weights or run.weights
    there = unpaired.dehaze_cycle(run.networks, batch["real"], weights)
    return there, unpaired.rehaze_cycle(run.networks, batch, there.estimate, weights)


def moved(module, before):
    return any(not torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_both_cycles_come_back_in_shape_and_range(run):
    batch = first_batch(run)
    there, back = cycles(run, batch)
    for picture in (there.clear, there.hazy, back.hazy, back.clear):
        assert picture.shape == batch["real"].shape
        assert 0 <= picture.min() <= picture.max() <= 1


def test_untrained_rehazing_is_the_scattering_model(run):
    batch = first_batch(run)
    clear, density, airlight = batch["clear"], batch["drawn_density"], batch["drawn_airlight"]
    distance = run.networks.depth(clear)
    hazy = run.networks.rehaze(clear, distance, density, airlight)
    t = torch.nn.functional.interpolate(
        torch.exp(-density.view(-1, 1, 1, 1) * distance), clear.shape[-2:], mode="bilinear"
    )
    torch.testing.assert_close(hazy, clear * t + airlight[..., None, None] * (1 - t), atol=1e-6, rtol=0)


def test_published_airlight_is_the_brightest_of_the_clear_picture(run):
    batch, published = first_batch(run), dataclasses.replace(run.weights, airlight="brightest")
    batch["drawn_density"] = torch.full((2,), 50.0)  # so dense that only A is left
    hazy = cycles(run, batch, published)[1].hazy
    torch.testing.assert_close(hazy.mean(dim=(2, 3)), batch["clear"].amax(dim=(2, 3)), atol=0.05, rtol=0)


def test_a_step_moves_every_network_and_logs_every_term(run):
    networks = [*run.networks, run.averaged]
    before = [values(network) for network in networks]
    terms = {name: value.detach() for name, value in run.advance(first_batch(run)).items()}
    assert all(moved(network, old) for network, old in zip(networks, before, strict=True))
    wanted = {"cycle_hazy", "cycle_clear", "adversarial_clear", "adversarial_hazy", "density", "depth", "identity"}
    wanted |= {"perceptual", "radiance_l1", "critic_clear", "critic_clear_accuracy", "transmission_spread", "total"}
    wanted |= {"teacher", "transmission_mean", "density_mean", "rehazed_transmission_mean"}
    assert wanted <= terms.keys()
    assert all(math.isfinite(value) for value in terms.values())


def test_each_loss_moves_only_what_it_is_for(run):
    batch = first_batch(run)
    there = unpaired.dehaze_cycle(run.networks, batch["real"], run.weights)
    sum(unpaired.depth_loss(run.networks.depth, there.clear, there.estimate, batch, run.weights).values()).backward()
    assert gets_gradient(run.networks.depth)
    assert not gets_gradient(run.networks.dehaze)
    run.networks.depth.zero_grad()
    with unpaired.frozen(run.networks.depth, run.networks.critic_clear, run.networks.critic_hazy):
        there, back = cycles(run, batch)
        torch.stack([*unpaired.generator_loss(run.networks, there, back, batch, run.weights).values()]).sum().backward()
    assert [gets_gradient(network) for network in run.networks] == [True, False, True, False, False]
    unpaired.critic_loss(run.networks.critic_clear, batch["clear"], there.clear.detach())[0].backward()
    assert [gets_gradient(network) for network in run.networks[3:]] == [True, False]


def gets_gradient(module):
    return any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_depth_loss_is_the_distance_to_the_depth_of_the_haze(run):
    batch = first_batch(run)
    there = unpaired.dehaze_cycle(run.networks, batch["real"], run.weights)
    found = depth(there.estimate.transmission, there.estimate.density).clamp(0.05, 3.0)
    expected = (run.networks.depth(there.clear) - found).abs().mean().item()
    terms = unpaired.depth_loss(run.networks.depth, there.clear, there.estimate, batch, run.weights)
    assert terms["depth"].item() == pytest.approx(expected, rel=1e-4)
    expected = losses.known_depth_l1(run.networks.depth(batch["clear"]), batch["depth"]).item()
    assert terms["known_depth"].item() == pytest.approx(run.weights.supervised * expected, rel=1e-4)


def test_known_haze_is_what_was_put_there(run):
    batch = first_batch(run)
    weights = dataclasses.replace(run.weights, known_haze=2.0, dark_channel=0.5)
    there, back = cycles(run, batch, weights)
    density = batch["drawn_density"].view(-1, 1, 1, 1)
    torch.testing.assert_close(back.transmission, torch.exp(-density * run.networks.depth(batch["clear"])))
    terms = unpaired.cures(there, back, batch, weights)
    errors = (back.estimate.transmission - back.transmission).abs().mean()
    errors = errors + (back.estimate.airlight - batch["drawn_airlight"]).abs().mean()
    assert terms["known_haze"].item() == pytest.approx(2.0 * errors.item(), rel=1e-4)
    found = there.estimate
    result = scene_radiance(batch["real"], found.transmission, found.airlight, found.terms)
    gap = losses.dark_channel_gap(result, batch["clear"]).item()
    assert terms["dark_channel"].item() == pytest.approx(0.5 * gap, rel=1e-4)
    terms["known_haze"].backward()
    assert gets_gradient(run.networks.dehaze)
    assert unpaired.cures(there, back, batch, run.weights) == {}


def test_rehazed_pictures_teach_all_that_is_known_of_them(run):
    batch, loss, lowest = first_batch(run), run.config.loss, run.config.model.density[0]
    _, back = cycles(run, batch)
    terms = unpaired.rehazed_terms(back, batch, loss, lowest=lowest)
    assert all(value > 0 for value in terms.values())
    error = (back.estimate.transmission - back.transmission).abs().mean()
    assert terms["rehazed_transmission_l1"].item() == pytest.approx(loss.transmission_l1 * error.item(), rel=1e-4)
    truth = HazeEstimate(back.transmission, back.airlight, batch["drawn_density"], torch.zeros(2, 3, 5))
    right = unpaired.rehazed_terms(back._replace(estimate=truth), batch, loss, lowest=lowest)
    assert all(value < 0.005 for value in right.values())
    run.weights = dataclasses.replace(run.weights, rehazed=0.5)
    said = run.advance(batch)
    assert said["rehazed_transmission_l1"].item() == pytest.approx(
        0.5 * terms["rehazed_transmission_l1"].item(), rel=1e-3
    )


def test_without_a_term_that_needs_depth_there_is_no_depth_network(run, monkeypatch):
    run.weights = dataclasses.replace(
        run.weights, source="its", supervised=0.0, cycle=0.0, depth=0.0, rehazed=1.0, transferred=0.4, drawn=0.6
    )
    batch, before = first_batch(run), values(run.networks.depth)
    batch["drawn_luck"], batch["drawn_depth"] = torch.tensor([0.3, 0.6]), batch["depth"].flip(-1)
    monkeypatch.setattr(type(run.networks.depth), "forward", lambda *_: pytest.fail("asked for depth"))
    terms = run.advance(batch)
    assert not {"cycle_hazy", "cycle_clear", "depth"} & terms.keys()
    assert not moved(run.networks.depth, before)
    run.save()
    assert not (run.paths.out / unpaired.REHAZING).exists()
    with pytest.raises(ValueError, match="expected depth > 0"):
        dataclasses.replace(run.weights, depth_first=3)


def test_what_is_found_in_hazy_pictures_can_wait(run):
    run.weights = dataclasses.replace(
        run.weights, source="its", supervised=0.0, transferred=0.4, drawn=0.6, found_after=1
    )
    batch = first_batch(run)
    batch["drawn_luck"], batch["drawn_depth"] = torch.tensor([0.1, 0.3]), batch["depth"].flip(-1)
    drawn = torch.exp(-batch["drawn_density"].view(-1, 1, 1, 1) * averaged(batch["drawn_depth"], 16, 16))
    seen = [run.advance(batch) for _ in range(2)]
    assert [bool("teacher" in terms) for terms in seen] == [False, True]
    assert seen[0]["rehazed_transmission_mean"].item() == pytest.approx(drawn.mean().item(), rel=1e-3)
    assert seen[1]["rehazed_transmission_mean"].item() != pytest.approx(drawn.mean().item(), rel=1e-3)
    assert run.weights.at(0).drawn == pytest.approx(1.0)
    assert dataclasses.replace(run.weights, drawn=0.0).at(0).drawn == 0.0  # D(J) then


def test_haze_can_be_put_on_measured_depth(run):
    batch = first_batch(run)
    batch["depth"] = torch.linspace(0.1, 1.0, 64).expand(2, 1, 64, 64).contiguous()
    batch["clear"] = batch["clear"][..., :64, :64]
    _, back = cycles(run, batch, dataclasses.replace(run.weights, measured_depth=True))
    distance = torch.linspace(0.1, 1.0, 64).unflatten(0, (back.transmission.shape[-1], -1)).mean(dim=1)
    expected = torch.exp(-batch["drawn_density"][:, None] * distance)
    torch.testing.assert_close(back.transmission[:, 0, 3], expected)


def test_a_share_of_rehazed_pictures_has_the_depth_found_in_hazy_ones(run):
    weights, batch = dataclasses.replace(run.weights, transferred=0.5, depth_mean=0.4), first_batch(run)
    batch["drawn_luck"] = torch.tensor([0.4, 0.6])
    there, back = cycles(run, batch, weights)
    found = depth(there.estimate.transmission, there.estimate.density)
    own = unpaired.depth_of(run.networks.depth, batch["clear"], weights)
    distance = torch.stack([0.4 * found[0].flip(-2, -1) / found[0].mean(), own[1]])
    torch.testing.assert_close(back.transmission, torch.exp(-batch["drawn_density"].view(-1, 1, 1, 1) * distance))


def test_a_share_of_rehazed_pictures_has_drawn_depth(run):
    weights, batch = dataclasses.replace(run.weights, source="its", supervised=0.0, drawn=0.5), first_batch(run)
    batch["drawn_luck"], batch["drawn_depth"] = torch.tensor([0.4, 0.6]), batch["depth"].flip(-1)
    _, back = cycles(run, batch, weights)
    own = unpaired.depth_of(run.networks.depth, batch["clear"], weights)
    distance = torch.stack([own[0], averaged(batch["drawn_depth"], *own.shape[-2:])[1]])
    torch.testing.assert_close(back.transmission, torch.exp(-batch["drawn_density"].view(-1, 1, 1, 1) * distance))
    for wrong in ({"drawn": 0.6, "transferred": 0.6}, {"transferred": -0.1}):
        with pytest.raises(ValueError, match="at most 1 together"):
            dataclasses.replace(weights, **wrong)
    with pytest.raises(ValueError, match=r"expected unpaired.drawn = 0"):
        UnpairedConfig(drawn=0.5)


def test_haze_that_is_put_on_can_be_uneven(run):
    batch = first_batch(run)
    own = unpaired.depth_of(run.networks.depth, batch["clear"], run.weights)
    batch["drawn_unevenness"] = torch.stack([torch.full((1, 6, 8), 2.0), torch.linspace(-1, 1, 8).expand(1, 6, 8)])
    _, back = cycles(run, batch, dataclasses.replace(run.weights, uneven=0.5))
    distance = -back.transmission.log() / batch["drawn_density"].view(-1, 1, 1, 1)
    torch.testing.assert_close(distance.mean(dim=(1, 2, 3)), own.mean(dim=(1, 2, 3)))
    torch.testing.assert_close(distance[0], own[0])  # the same everywhere is even
    ratio = (distance[1] / own[1]).mean(dim=(0, 1))
    assert (ratio.diff() > 0).all()
    assert (ratio[-1] / ratio[0]).item() == pytest.approx(math.exp(0.5 * 2.0), rel=0.1)


def test_rehazing_can_do_without_its_residual(run):
    torch.nn.init.constant_(run.networks.rehaze.unet.last.bias, 1.0)
    batch, bare = first_batch(run), dataclasses.replace(run.weights, residual=False)
    _, back = cycles(run, batch, bare)
    clear, density, airlight = batch["clear"], batch["drawn_density"], batch["drawn_airlight"]
    _, expected = physical_haze(clear, run.networks.depth(clear), density, airlight)
    torch.testing.assert_close(back.hazy, expected)
    with torch.no_grad():
        assert (cycles(run, batch)[1].hazy - expected).abs().mean() > 0.01
    run.weights, before = bare, values(run.networks.rehaze)
    run.advance(batch)  # R has nothing to learn
    assert not moved(run.networks.rehaze, before)


def test_depth_can_be_held_to_a_mean(run):
    weights, batch = dataclasses.replace(run.weights, depth_mean=0.4), first_batch(run)
    distance = unpaired.depth_of(run.networks.depth, batch["clear"], weights)
    torch.testing.assert_close(distance.mean(dim=(1, 2, 3)), torch.full((2,), 0.4))
    free = unpaired.depth_of(run.networks.depth, batch["clear"], run.weights)
    torch.testing.assert_close(distance / free, (distance / free).mean(dim=(1, 2, 3), keepdim=True).expand_as(free))


def test_without_cycles_only_dehazing_learns(config, paths):
    terms = {"cycle": 0.0, "density": 0.0, "depth": 0.0, "adversarial": 0.0}
    with pytest.raises(ValueError, match="perceptual = 0"):
        dataclasses.replace(config.unpaired, **terms)
    weights = dataclasses.replace(config.unpaired, **terms, perceptual=0.0)
    config = dataclasses.replace(config, unpaired=weights)
    run = loop.begin(config, paths, Fabric(accelerator="cpu", devices=1))
    before = [values(network) for network in run.networks]
    said = run.advance(first_batch(run))
    moving = [moved(network, old) for network, old in zip(run.networks, before, strict=True)]
    assert moving == [True, False, False, False, False]
    assert {"teacher", "identity", "radiance_l1", "total"} <= said.keys()
    loop.fit(config, paths, progress=False)
    assert load_weights(paths.out / WEIGHTS).config == config.model
    assert not (paths.out / unpaired.REHAZING).exists()  # it learnt nothing


def test_photographs_can_be_held_out(config, paths):
    pictures = sorted(paths.hazy.iterdir())
    one_in = next(n for n in range(2, 99) if 0 < sum(held_out(p, n) for p in pictures) < len(pictures))
    kept = dataclasses.replace(config, unpaired=dataclasses.replace(config.unpaired, holdout=one_in))
    real = samples(kept, paths).parts[1]
    assert set(real.pictures) == {p for p in pictures if not held_out(p, one_in)}
    assert len(samples(config, paths).parts[1].pictures) == len(pictures)
    with pytest.raises(ValueError, match="holdout"):
        UnpairedConfig(holdout=1)


def test_depth_may_learn_first_and_alone(config, paths):
    weights = dataclasses.replace(config.unpaired, depth_first=1)
    run = loop.begin(dataclasses.replace(config, unpaired=weights), paths, Fabric(accelerator="cpu", devices=1))
    batch = first_batch(run)
    for moving in ([False, True, False, False, False], [True] * 5):
        before = [values(network) for network in run.networks]
        run.advance(batch)
        assert [moved(network, old) for network, old in zip(run.networks, before, strict=True)] == moving


@pytest.mark.parametrize("term", ["cycle", "density", "adversarial", "supervised", "identity", "perceptual", "depth"])
def test_every_term_can_be_zero(config, paths, term):
    weights = dataclasses.replace(config.unpaired, **{term: 0.0})
    run = loop.begin(dataclasses.replace(config, unpaired=weights), paths, Fabric(accelerator="cpu", devices=1))
    terms = run.advance(first_batch(run))
    names = {"cycle": "cycle_hazy", "adversarial": "adversarial_clear", "supervised": "radiance_l1"}
    assert float(terms.get(names.get(term, term), torch.zeros(())).detach()) == 0.0


def test_training_lowers_the_cycles(run):
    batch, totals = first_batch(run), []
    for _ in range(12):
        run.step = run.config.optim.warm
        terms = run.advance(batch)
        totals.append(float(terms["cycle_hazy"].detach() + terms["cycle_clear"].detach()))
    assert np.mean(totals[-3:]) < 0.9 * totals[0]


def test_divergence_stops_the_run_and_keeps_the_checkpoint(config, paths, monkeypatch):
    short = dataclasses.replace(config, optim=OptimConfig(steps=2, warm=1, decay=1))
    loop.fit(short, paths, progress=False)
    before = (paths.out / CHECKPOINT).read_bytes()
    monkeypatch.setattr(unpaired.losses, "cycle_l1", lambda a, b: (a - b).sum() * math.nan)
    with pytest.raises(NedrError, match="at step 2"):
        loop.fit(config, paths, progress=False)
    assert (paths.out / CHECKPOINT).read_bytes() == before


def test_constant_transmission_stops_the_run_and_is_never_saved(config, paths, monkeypatch):
    monkeypatch.setattr(unpaired, "FLAT", 10.0)
    monkeypatch.setattr(unpaired, "PATIENCE", 4)
    with pytest.raises(NedrError, match="collapsed to a constant at step 3"):
        loop.fit(config, paths, progress=False)
    assert not (paths.out / CHECKPOINT).exists()


def test_ending_flat_is_an_error_that_says_which_weights_are_there(config, paths, monkeypatch):
    loop.fit(dataclasses.replace(config, optim=OptimConfig(steps=2, warm=1, decay=1)), paths, progress=False)
    monkeypatch.setattr(unpaired, "FLAT", 10.0)
    config = dataclasses.replace(config, optim=OptimConfig(steps=3, warm=1, decay=1))
    with pytest.raises(NedrError, match=r"last step, 3: .*weights.safetensors holds those of step 2"):
        loop.fit(config, paths, progress=False)
    assert load_checkpoint(paths.out / CHECKPOINT)["step"] == 2


def test_a_passing_flat_spell_is_forgiven(run, monkeypatch):
    monkeypatch.setattr(unpaired, "PATIENCE", 3)
    for spread in (0.0, 0.0, 0.1, 0.0, 0.0):
        run.watch(spread)
    with pytest.raises(NedrError, match="collapsed"):
        run.watch(0.0)


def test_the_critics_are_shown_past_fakes_again():
    pool = unpaired.FakePool(1, [0], 0)
    shown = [float(pool.exchange(torch.full((1, 3, 2, 2), float(step)), step).mean()) for step in range(40)]
    again = [value for step, value in enumerate(shown) if value != step]
    assert 8 < len(again) < 32
    assert all(value < step for step, value in enumerate(shown) if value != step)
    none = unpaired.FakePool(0, [0], 0)
    assert float(none.exchange(torch.ones(1, 3, 2, 2), 5).mean()) == 1


def test_processes_share_a_pool_place_by_place():
    whole, parts = unpaired.FakePool(2, [7], 0), [unpaired.FakePool(2, [7], first) for first in (0, 2)]
    for step in range(12):
        fakes = torch.rand(4, 3, 2, 2)
        split = torch.cat([pool.exchange(part, step) for pool, part in zip(parts, fakes.split(2), strict=True)])
        assert torch.equal(whole.exchange(fakes, step), split)


def test_what_is_published_can_be_loaded(config, paths):
    loop.fit(config, paths, progress=False)
    assert load_weights(paths.out / WEIGHTS).config == config.model
    rehazing = load_published(paths.out / unpaired.REHAZING)
    assert rehazing.config.depth.bounds == config.unpaired.depth_range
    with pytest.raises(NedrError, match="expected a network that removes haze"):
        load_weights(paths.out / unpaired.REHAZING)


def test_folders_that_the_stage_needs(config, paths):
    with pytest.raises(UsageError, match="--hazy"):
        loop.fit(config, dataclasses.replace(paths, hazy=None), progress=False)
    its = dataclasses.replace(config, unpaired=UnpairedConfig(source="its", supervised=0.0))
    with pytest.raises(UsageError, match="--depth"):
        loop.fit(its, paths, progress=False)
    with pytest.raises(ValueError, match="supervised = 0"):
        UnpairedConfig(source="its")


def test_another_runs_checkpoint_is_refused(config, paths):
    paths.out.mkdir()
    warm = dataclasses.replace(config, unpaired=None, optim=OptimConfig(steps=2, warm=1, decay=1))
    loop.fit(warm, paths, progress=False)
    with pytest.raises(NedrError, match="choose another --out"):
        loop.fit(config, paths, progress=False)


TOML = """
[model]
widths = [4, 8, 8, 8]
idrm_hidden = [8, 8]
idrm_outputs = 4
drem_width = 8
drem_growth = 4
head_width = 4
airlight = "brightest"
[data]
views = [[64, 64], [64, 96]]
batch = 4
workers = 0
[optim]
steps = 6
warm = 1
decay = 2
[unpaired]
source = "its"
supervised = 0.0
airlight = "brightest"
rehaze_width = 4
critic_width = 4
pool = 2
[log]
scalars = 1
checkpoint = 1
"""


def command(pictures, out, *options):
    (out.parent / "run.toml").write_text(TOML)
    words = ["train", "--config", out.parent / "run.toml", "--depth", pictures / "scenes", "--out", out, *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    line = [sys.executable, "-m", "nedr", *map(str, words), "--threads", "1", "--accelerator", "cpu"]
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process):
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out


@pytest.fixture(scope="module")
def alone(pictures, tmp_path_factory):
    """The folder of a run that one process finished undisturbed."""
    out = tmp_path_factory.mktemp("alone") / "run"
    finished(command(pictures, out))
    return out


def curve(out):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "log"))
    events.Reload()
    names = [name for name in events.Tags()["scalars"] if name != "train/views_per_second"]
    return {name: {event.step: event.value for event in events.Scalars(name)} for name in names}


def test_killed_without_warning_it_goes_on_along_the_same_curve(pictures, alone, tmp_path):
    process = command(pictures, tmp_path / "run")
    while not (tmp_path / "run/checkpoint.pt").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 0 < load_checkpoint(tmp_path / "run/checkpoint.pt")["step"] < STEPS
    finished(command(pictures, tmp_path / "run"))
    whole, resumed = (load_checkpoint(out / "checkpoint.pt") for out in (alone, tmp_path / "run"))
    for name in ("model", "average"):
        assert all(torch.equal(whole[name][key], resumed[name][key]) for key in whole[name])
    for a, b in zip(whole["partners"], resumed["partners"], strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_two_processes_have_the_losses_of_one_with_the_whole_batch(pictures, alone, tmp_path):
    finished(command(pictures, tmp_path / "run", "--devices", "2"))
    one, two = curve(alone), curve(tmp_path / "run")
    assert one.keys() == two.keys()
    assert len(one["train/cycle_hazy"]) == STEPS
    for name, values in one.items():
        if "accuracy" not in name and "spread" not in name:  # which count, and which are taken within one process
            # Later steps magnify what rounding leaves between one process and two.
            np.testing.assert_allclose([*two[name].values()][:4], [*values.values()][:4], 1e-3, 1e-5, err_msg=name)
