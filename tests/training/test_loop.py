"""Training: it learns, it resumes on the same curve, it keeps what it publishes whole."""

import copy
import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from lightning_fabric import Fabric  # noqa: E402

from nedr.errors import NedrError, UsageError  # noqa: E402
from nedr.model.nedr import NeDR  # noqa: E402
from nedr.training import loop, losses  # noqa: E402
from nedr.training.checkpoint import (  # noqa: E402
    average,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
    views_of,
)
from nedr.training.config import LogConfig, LossConfig, OptimConfig, Paths, TrainConfig  # noqa: E402
from nedr.training.data import DataConfig  # noqa: E402
from nedr.training.stream import Stream, batches  # noqa: E402
from nedr.training.warmup import CHECKPOINT, Run, draw_lattice, rate_factor  # noqa: E402


@pytest.fixture
def clear(tmp_path):
    folder = tmp_path / "clear"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((128, 96), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def config(tiny_config):
    return TrainConfig(
        model=tiny_config,
        data=DataConfig(views=((64, 64), (64, 96)), batch=2, holdout=1000, workers=0),
        optim=OptimConfig(steps=6, warm=2, decay=2),
        log=LogConfig(scalars=1, pictures=4, validate=100, checkpoint=3),
    )


def weights(path):
    return load_weights(path).state_dict()


def test_a_killed_run_resumes_on_the_same_curve(config, clear, tmp_path, monkeypatch):
    whole = weights(loop.fit(config, Paths(tmp_path / "whole", clear), progress=False))

    advance, calls = Run.advance, []

    def dies_at_the_fifth(self, batch):
        calls.append(self.step)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return advance(self, batch)

    paths = Paths(tmp_path / "killed", clear)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "advance", dies_at_the_fifth)
        with pytest.raises(KeyboardInterrupt):
            loop.fit(config, paths, progress=False)
    assert load_checkpoint(paths.out / CHECKPOINT)["step"] == 3
    resumed = weights(loop.fit(config, paths, progress=False))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_training_lowers_the_loss_on_what_it_sees(config, clear, tmp_path):
    run = Run(config, Paths(tmp_path, clear), Fabric(accelerator="cpu", devices=1))
    batch = next(iter(batches(config, run.paths, 0)))
    run.step = config.optim.warm  # full rate
    totals = []
    for _ in range(12):
        totals.append(run.advance(batch)["total"])
        run.step = config.optim.warm
    assert totals[-1] < 0.8 * totals[0]


def test_divergence_stops_the_run_and_keeps_the_checkpoint(config, clear, tmp_path, monkeypatch):
    paths = Paths(tmp_path / "run", clear)
    loop.fit(dataclasses.replace(config, optim=OptimConfig(steps=3, warm=2, decay=1)), paths, progress=False)
    before = (paths.out / CHECKPOINT).read_bytes()
    monkeypatch.setattr(losses, "radiance_l1", lambda a, b, weight: (a - b).sum() * math.nan)
    with pytest.raises(NedrError, match="step 3"):
        loop.fit(config, paths, progress=False)
    assert (paths.out / CHECKPOINT).read_bytes() == before


def test_processes_share_the_pictures_of_each_step():
    alone = list(Stream(3, 5, 4))
    assert alone == list(range(12, 20))
    shares = [list(Stream(3, 5, 4, rank=rank, world=2)) for rank in range(2)]
    assert shares == [[12, 13, 16, 17], [14, 15, 18, 19]]
    with pytest.raises(UsageError, match="batch of 4"):
        Stream(0, 1, 4, world=3)


def test_rate_rises_stays_and_falls():
    config = OptimConfig(steps=100, warm=10, decay=20)
    rates = [rate_factor(step, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:80] == [1.0] * 70
    assert all(a > b for a, b in pairwise(rates[80:]))
    assert 0 < rates[99] < 0.01
    with pytest.raises(ValueError, match="warm"):
        OptimConfig(steps=10, warm=8, decay=8)


def test_validation_scores_and_logs(config, clear, tmp_path, capsys):
    (tmp_path / "pairs.csv").write_text("set,hazy,clear\nmine,clear/0.png,clear/1.png\n")
    config = dataclasses.replace(config, log=dataclasses.replace(config.log, validate=3, alive=3))
    loop.fit(config, Paths(tmp_path / "run", clear, validation=tmp_path / "pairs.csv"), progress=False)
    printed = capsys.readouterr().out
    assert "step 3  mine" in printed
    assert "step 3  DREM adds" in printed
    (events,) = (tmp_path / "run/log").iterdir()
    logged = events.read_bytes()
    assert all(tag in logged for tag in (b"psnr/mine", b"dead/drem.gather", b"share/IDRM position/mine"))


def test_weights_carry_their_configuration_and_refuse_strangers(tiny_config, tmp_path):
    model = NeDR(tiny_config)
    save_weights(model, tmp_path / "w.safetensors")
    again = load_weights(tmp_path / "w.safetensors")
    assert again.config == tiny_config
    view = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(again(view).transmission, model.eval()(view).transmission)
    (tmp_path / "other.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(NedrError, match="cannot read weights"):
        load_weights(tmp_path / "other.safetensors")


def test_published_weights_in_half_precision_give_nearly_the_same_estimate(tiny_config, tmp_path):
    torch.manual_seed(3)
    model, view = NeDR(tiny_config).eval(), torch.rand(1, 3, 128, 128)
    for half in (False, True):
        save_weights(model, tmp_path / f"{half}.safetensors", half=half)
    full, small = ((tmp_path / f"{half}.safetensors") for half in (False, True))
    assert small.stat().st_size < 0.6 * full.stat().st_size
    with torch.no_grad():
        there, here = (load_weights(path)(view).transmission for path in (full, small))
    assert (there - here).abs().max() < 5e-3


def test_weights_are_averaged_by_their_shares(tiny_config, tmp_path):
    files = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for seed, path in enumerate(files):
        torch.manual_seed(seed)
        save_weights(NeDR(tiny_config), path, views={"warm-up 64x64": 100 * (seed + 1)})
    first, second = (load_weights(path).state_dict() for path in files)
    for shares, part in (((3.0, 1.0), 0.75), (None, 0.5)):
        model, views = average(files, shares)
        assert views == {"warm-up 64x64": 200}
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, part * first[name] + (1.0 - part) * second[name])
    for wrong in ((1.0,), (1.0, -1.0), (1.0, math.nan)):
        with pytest.raises(UsageError, match="2 positive shares"):
            average(files, wrong)
    with pytest.raises(UsageError, match="at least two"):
        average(files[:1])
    save_weights(NeDR(dataclasses.replace(tiny_config, head_width=5)), files[1])
    with pytest.raises(UsageError, match=r"b.safetensors holds a network with another configuration"):
        average(files)


def test_resuming_as_something_else_is_refused_unless_forced(config, clear, tmp_path):
    paths = Paths(tmp_path / "run", clear)
    loop.fit(config, paths, progress=False)
    before = (paths.out / CHECKPOINT).read_bytes()
    optim = dataclasses.replace(config.optim, rate=1e-5, steps=7)
    other = dataclasses.replace(config, seed=2, optim=optim, loss=LossConfig(airlight_l1=0.0))
    with pytest.raises(UsageError, match=r"seed = 1 \(now 2\), optim.rate = .*, loss.airlight_l1 = .*--force"):
        loop.fit(other, paths, progress=False)
    assert (paths.out / CHECKPOINT).read_bytes() == before
    loop.fit(other, paths, progress=False, force=True)
    assert load_checkpoint(paths.out / CHECKPOINT)["step"] == 7


def test_a_run_may_be_prolonged(config, clear, tmp_path):
    paths = Paths(tmp_path / "run", clear)
    loop.fit(config, paths, progress=False)
    longer = dataclasses.replace(config, optim=dataclasses.replace(config.optim, steps=8, decay=1))
    loop.fit(longer, paths, progress=False)
    assert load_checkpoint(paths.out / CHECKPOINT)["step"] == 8


def test_weights_on_the_way_can_be_kept(config, clear, tmp_path):
    paths, optim = Paths(tmp_path / "run", clear), dataclasses.replace(config.optim, steps=9, decay=1)
    kept = dataclasses.replace(config, optim=optim, log=dataclasses.replace(config.log, keep=6))
    last = loop.fit(kept, paths, progress=False)
    on_the_way = paths.out / "weights-000006.safetensors"
    assert set(paths.out.glob("*.safetensors")) == {last, on_the_way}
    assert sum(views_of(on_the_way).values()) == 6 * 2
    assert any(not torch.equal(value, weights(last)[name]) for name, value in weights(on_the_way).items())
    with pytest.raises(ValueError, match="multiple of checkpoint = 3, found 4"):
        LogConfig(checkpoint=3, keep=4)


def test_weights_say_how_many_views_they_have_learnt_from(config, clear, tmp_path):
    first = loop.fit(config, Paths(tmp_path / "first", clear), progress=False)
    seen = views_of(first)
    assert seen.keys() <= {"warm-up 64x64", "warm-up 64x96"}
    assert sum(seen.values()) == 6 * 2
    checkpoint = load_checkpoint(tmp_path / "first" / CHECKPOINT)
    del checkpoint["views"]  # as a version that did not count wrote it
    save_checkpoint(tmp_path / "first" / CHECKPOINT, checkpoint)
    assert views_of(loop.fit(config, Paths(tmp_path / "first", clear), progress=False)) == seen
    small = dataclasses.replace(config, data=dataclasses.replace(config.data, views=((64, 64),)))
    again = views_of(loop.fit(small, Paths(tmp_path / "second", clear, init=first), progress=False))
    assert again == seen | {"warm-up 64x64": seen.get("warm-up 64x64", 0) + 12}


def test_initial_weights_must_fit_the_run(config, tiny_config, clear, tmp_path):
    save_weights(NeDR(dataclasses.replace(tiny_config, drem=False)), tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="another configuration"):
        loop.fit(config, Paths(tmp_path / "run", clear, init=tmp_path / "w.safetensors"), progress=False)


def test_weights_of_the_first_network_give_their_encoder(config, tiny_config, clear, tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(5)
    tensors = {f"encoder.{name}": value for name, value in NeDR(tiny_config).encoder.state_dict().items()}
    old = tmp_path / "first.safetensors"
    save_file(tensors | {"drem.first.weight": torch.zeros(3)}, old, metadata={"format": "nedr-1", "config": "{}"})
    run = Run(config, Paths(tmp_path, clear, init=old), Fabric(accelerator="cpu", devices=1))
    stem = run.model.encoder.stem
    torch.testing.assert_close(stem.weight, tensors["encoder.stem.weight"])
    assert (run.model.standardise[0].deviation != 1).all()  # and the rest a calibrated start
    with pytest.raises(NedrError, match="nedr-1"):
        load_weights(old)


def test_another_lattice_in_each_step_between_the_strides():
    sizes = [draw_lattice(torch.Size((2, 3, 96, 128)), (3.0, 8.0), 1, step) for step in range(200)]
    assert sizes == [draw_lattice(torch.Size((2, 3, 96, 128)), (3.0, 8.0), 1, step) for step in range(200)]
    heights = [height for height, _ in sizes]
    assert 12 <= min(heights) < 15
    assert 28 < max(heights) <= 32
    assert len(set(sizes)) > 15
    assert all(abs(width / height - 4 / 3) < 0.1 for height, width in sizes)


def test_a_checkpoint_with_code_is_refused(tmp_path):
    torch.save({"step": Exploit()}, tmp_path / "checkpoint.pt")
    with pytest.raises(NedrError, match="cannot resume"):
        load_checkpoint(tmp_path / "checkpoint.pt")


class Exploit:
    def __reduce__(self):
        return print, ("code ran",)


def test_a_compiled_network_serves_every_lattice_and_learns(tiny_config, monkeypatch):
    from torch._dynamo.testing import CompileCounterWithBackend

    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", torch._dynamo.config.recompile_limit)  # put back
    model = NeDR(tiny_config).to(memory_format=torch.channels_last).train()
    twin, compiler = copy.deepcopy(model), CompileCounterWithBackend("aot_eager")
    loop.compile_network(model, compiler)
    view = torch.rand(2, 3, 64, 96).contiguous(memory_format=torch.channels_last)
    for lattice in ((16, 24), (19, 28)):
        found, expected = model(view, lattice), twin(view, lattice)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        for estimate in (found, expected):
            torch.stack([part.mean() for part in estimate]).sum().backward()
    assert compiler.frame_count == 1
    for learnt, reference in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(learnt.grad, reference.grad, atol=1e-5, rtol=1e-3)
    assert model.state_dict().keys() == twin.state_dict().keys()
