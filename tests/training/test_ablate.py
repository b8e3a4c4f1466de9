"""Ablation: what differs between the variants, what does not, and that a stopped one goes on."""

import csv
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from lightning_fabric import Fabric  # noqa: E402

from nedr.cli.main import main  # noqa: E402
from nedr.errors import UsageError  # noqa: E402
from nedr.model.nedr import NeDRConfig  # noqa: E402
from nedr.training import ablate as ab  # noqa: E402
from nedr.training.config import LogConfig, Paths, TrainConfig  # noqa: E402
from nedr.training.data import DataConfig  # noqa: E402
from nedr.training.warmup import Run  # noqa: E402

OFF = [("kan",), ("idrm",), ("drem",), ("kan", "idrm", "drem")]
TINY = """
[model]
widths = [4, 8, 8, 8]
idrm_hidden = [8, 8]
idrm_outputs = 4
drem_width = 8
drem_growth = 4
head_width = 4
[data]
views = [[64, 64]]
batch = 2
holdout = 1000
workers = 0
"""


@pytest.fixture
def config(tiny_config):
    return TrainConfig(model=tiny_config, data=DataConfig(views=((64, 64),), batch=2, holdout=1000, workers=0))


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(4):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        (tmp_path / "clear").mkdir(exist_ok=True)
        coarse.resize((96, 80), Image.Resampling.BICUBIC).save(tmp_path / f"clear/{index}.png")
    rows = "".join(f"{name},clear/{hazy}.png,clear/{clear}.png\n" for name, hazy, clear in [("a", 0, 1), ("b", 2, 3)])
    (tmp_path / "pairs.csv").write_text("set,hazy,clear\n" + rows)
    return Paths(tmp_path / "out", tmp_path / "clear", validation=tmp_path / "pairs.csv")


@pytest.fixture
def runs(monkeypatch):
    """Training replaced by a note of its configuration, scores by the number of parts left out and the seed."""
    seen = []

    def fit(config, paths, *, fabric=None):
        seen.append((config, paths))
        paths.out.mkdir(parents=True)
        return config

    parts = ("kan", "idrm", "drem")
    scored = lambda self, run: dict.fromkeys("ab", 20.0 + run.seed - sum(not getattr(run.model, p) for p in parts))  # noqa: E731
    monkeypatch.setattr(ab, "fit", fit)
    monkeypatch.setattr(ab, "load_weights", lambda run: run)
    monkeypatch.setattr(ab.Validation, "scores", scored)
    return seen


def test_variants_differ_in_one_switch_and_the_runs_of_a_seed_in_nothing_else(config, paths, runs):
    ab.ablate(config, paths, steps=10, seeds=2)
    assert [run.seed for run, _ in runs] == [1] * 5 + [2] * 5
    assert len({where.out for _, where in runs}) == 10
    for start in (0, 5):
        full = runs[start][0]
        assert full.model == config.model
        for (run, _), off in zip(runs[start + 1 : start + 5], OFF, strict=True):
            assert run == dataclasses.replace(full, model=dataclasses.replace(full.model, **dict.fromkeys(off, False)))


def test_finished_runs_are_skipped_and_more_seeds_are_added(config, paths, runs):
    first = ab.ablate(config, paths, steps=10, seeds=1)
    again = ab.ablate(config, paths, steps=10, seeds=2)
    assert again[:5] == first
    assert len(runs) == 10


def test_another_budget_or_recipe_in_the_same_folder_is_refused(config, paths, runs):
    ab.ablate(config, paths, steps=10, seeds=1)
    for other, steps in ((config, 11), (dataclasses.replace(config, seed=2), 10)):
        with pytest.raises(UsageError, match="another configuration"):
            ab.ablate(other, paths, steps=steps, seeds=1)


def test_the_table_shows_mean_spread_and_the_difference_within_each_seed(config, paths, runs):
    results = ab.ablate(config, paths, steps=10, seeds=3)
    text = ab.markdown_table(results, config.model)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == ["variant", "parameters", "GMACs", "steps", "a", "b", "all", "to full"]
    assert [row[0] for row in rows[2:]] == list(ab.VARIANTS)
    assert rows[2][3:] == ["10", "22.00 ± 1.00", "22.00 ± 1.00", "22.00 ± 1.00", ""]
    assert {tuple(row[4:]) for row in rows[3:6]} == {("21.00 ± 1.00",) * 3 + ("-1.00 ± 0.00",)}
    assert rows[6][4:] == ["19.00 ± 1.00", "19.00 ± 1.00", "19.00 ± 1.00", "-3.00 ± 0.00"]
    assert "Seeds 1, 2, 3." in text
    assert (paths.out / "ablation.md").read_text("utf-8") == text


def test_the_csv_holds_every_run_and_set(config, paths, runs):
    results = ab.ablate(config, paths, steps=10, seeds=2)
    rows = list(csv.DictReader(io.StringIO((paths.out / "ablation.csv").read_text())))
    assert len(rows) == 2 * 5 * 2
    assert {(row["variant"], int(row["seed"]), float(row["psnr"])) for row in rows} == {
        (result.variant, result.seed, result.psnr["a"]) for result in results
    }


@pytest.mark.parametrize("steps", [2, 7, 100, 20_000])
def test_a_budget_is_a_valid_recipe_of_that_many_steps(config, steps):
    optim = ab.budget(config, steps).optim
    assert optim.steps == steps
    assert optim.warm == min(config.optim.warm, steps // 10)
    assert 1 <= optim.decay <= max(1, steps // 2)


def test_calls_that_cannot_be_are_refused_before_any_run(config, paths, runs):
    without = dataclasses.replace(config, model=dataclasses.replace(config.model, drem=False))
    calls = [
        (config, paths, {"steps": 1}, "2 steps"),
        (config, paths, {"steps": 9, "seeds": 0}, "1 seed"),
        (config, dataclasses.replace(paths, validation=None), {"steps": 9}, "validation"),
        (config, dataclasses.replace(paths, init=paths.out), {"steps": 9}, "alike"),
        (without, paths, {"steps": 9}, "leaves out drem"),
        (config, paths, {"steps": 9, "vary": ["cue=false"]}, "did you mean 'cues'"),
        (config, paths, {"steps": 9, "vary": ["cues=true"]}, "says already"),
    ]
    for recipe, where, options, words in calls:
        with pytest.raises(UsageError, match=words):
            ab.ablate(recipe, where, **options)
    assert runs == []


def test_what_each_part_costs():
    """DREM and IDRM cost weights and multiplications; what stands in for the KAN costs what it does."""
    full = ab.size(NeDRConfig())
    for variant in ("no-idrm", "no-drem"):
        assert all(part < whole for part, whole in zip(ab.size(ab.ablated(NeDRConfig(), variant)), full, strict=True))
    assert ab.size(ab.ablated(NeDRConfig(), "linear-kan")) == pytest.approx(full, rel=2e-3)


def test_equal_time_gives_cheaper_variants_more_steps(config, paths, runs, monkeypatch):
    seconds = dict(zip(ab.VARIANTS, (0.8, 0.8, 0.4, 0.5, 0.2), strict=True))
    monkeypatch.setattr(ab, "pace", lambda *_: seconds)
    first = ab.ablate(config, paths, steps=100, seeds=1, equal_time=True)
    assert [result.steps for result in first] == [100, 100, 200, 160, 400]
    assert [run.optim.steps for run, _ in runs] == [100, 100, 200, 160, 400]
    monkeypatch.setattr(ab, "pace", None)  # measured once
    assert ab.ablate(config, paths, steps=100, seeds=1, equal_time=True) == first
    faster = {"full": 0.4, "cues=false": 0.2}  # on another day; only what is new is measured
    monkeypatch.setattr(ab, "pace", lambda recipe, paths, fabric, variants: {name: faster[name] for name in variants})
    more = ab.ablate(config, paths, steps=100, seeds=1, equal_time=True, vary=["cues=false"])
    assert more[:-1] == first
    assert more[-1].steps == 200


def test_further_variants_change_what_they_name(config, paths, runs):
    results = ab.ablate(config, paths, steps=10, seeds=1, vary=["cues=false", "density=[0.6, 1.8]"])
    assert [result.variant for result in results[5:]] == ["cues=false", "density=[0.6, 1.8]"]
    assert [runs[index][0].model for index in (5, 6)] == [
        dataclasses.replace(config.model, cues=False),
        dataclasses.replace(config.model, density=(0.6, 1.8)),
    ]
    assert "| cues=false |" in ab.markdown_table(results, config.model)
    alone = ab.ablate(config, paths, steps=10, seeds=1, vary=["cues=false"], boxes=False)
    assert alone == [results[0], results[5]]
    with pytest.raises(UsageError, match="others to vary"):
        ab.ablate(config, paths, steps=10, seeds=1, boxes=False)


def test_pace_is_measured_for_every_variant(config, paths):
    found = ab.pace(config, paths, Fabric(accelerator="cpu", devices=1), [*ab.VARIANTS, "cues=false"], rounds=3)
    assert list(found) == [*ab.VARIANTS, "cues=false"]
    assert all(0 < seconds < 60 for seconds in found.values())


def test_a_killed_ablation_goes_on_to_the_same_scores(config, paths, monkeypatch):
    monkeypatch.setattr(ab, "VARIANTS", {"full": (), "no-drem": ("drem",)})
    config = dataclasses.replace(config, log=LogConfig(checkpoint=2))
    whole = ab.ablate(config, paths, steps=4, seeds=1)

    advance, calls = Run.advance, []

    def dies_late(self, *arguments):
        calls.append(self.step)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return advance(self, *arguments)

    elsewhere = dataclasses.replace(paths, out=paths.out.with_name("killed"))
    with monkeypatch.context() as patch:
        patch.setattr(Run, "advance", dies_late)
        with pytest.raises(KeyboardInterrupt):
            ab.ablate(config, elsewhere, steps=4, seeds=1)
    assert ab.ablate(config, elsewhere, steps=4, seeds=1) == whole


def test_the_command_prints_the_table_and_leaves_it_behind(paths, tmp_path, capsys):
    (tmp_path / "tiny.toml").write_text(TINY)
    where = [f"--{name}={value}" for name, value in (("clear", paths.clear), ("val", paths.validation))]
    call = ["ablate", f"--config={tmp_path / 'tiny.toml'}", *where, f"--out={paths.out}", "--steps=2", "--seeds=1"]
    assert main(call) == 0
    assert capsys.readouterr().out == (paths.out / "ablation.md").read_text("utf-8")
