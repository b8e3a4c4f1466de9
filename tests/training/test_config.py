"""Configuration files: strict, typed, helpful."""

from dataclasses import dataclass, field

import pytest

from nedr.errors import UsageError
from nedr.training.config import from_dict, load, parse_override, to_json


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    steps: int = 5

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, found {self.steps}")


@dataclass(frozen=True)
class Outer:
    name: str = "a"
    pair: tuple[float, float] = (0.0, 1.0)
    sizes: tuple[tuple[int, int], ...] = ((1, 2),)
    flag: bool = False
    inner: Inner = field(default_factory=Inner)


def test_round_trip_through_json():
    import json

    config = Outer(name="b", pair=(0.5, 2.0), sizes=((3, 4), (5, 6)), flag=True, inner=Inner(rate=1.0, steps=2))
    assert from_dict(Outer, json.loads(to_json(config))) == config


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"nmae": "x"}, "unknown key 'nmae'; did you mean 'name'"),
        ({"inner": {"stpes": 1}}, "unknown key 'stpes'; did you mean 'steps'"),
        ({"inner": {"steps": 0}}, "at least 1"),
        ({"inner": {"steps": 1.5}}, "expected int, found 1.5"),
        ({"inner": {"steps": True}}, "expected int, found True"),
        ({"inner": 3}, "expected a table"),
        ({"pair": [1.0]}, "expected 2 values, found 1"),
        ({"pair": 1.0}, "expected a list"),
        ({"flag": 1}, "expected bool"),
    ],
)
def test_mistakes_are_named(data, message):
    with pytest.raises(UsageError, match=message):
        from_dict(Outer, data)


def test_file_and_overrides(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('name = "run"\n[inner]\nrate = 1\n')
    config = load(Outer, path, dict([parse_override("inner.steps=7"), parse_override("pair=[2, 3]")]))
    assert config == Outer(name="run", pair=(2.0, 3.0), inner=Inner(rate=1.0, steps=7))
    with pytest.raises(UsageError, match="no configuration file"):
        load(Outer, tmp_path / "none.toml")
    path.write_text("name = ")
    with pytest.raises(UsageError, match="not valid TOML"):
        load(Outer, path)
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(UsageError, match="not valid TOML"):
        load(Outer, path)
    with pytest.raises(UsageError, match="cannot read"):
        load(Outer, tmp_path)
    path.write_text("flag = true")
    with pytest.raises(UsageError, match="'flag' is a value"):
        load(Outer, path, {"flag.x": 1})
    with pytest.raises(UsageError, match="KEY=VALUE"):
        parse_override("inner.steps")


def test_changes_of_a_run_are_named_and_its_length_is_free():
    import dataclasses

    from nedr.training.config import OptimConfig, TrainConfig, UnpairedConfig, changes

    before = TrainConfig()
    optim = OptimConfig(steps=9_000, decay=100)
    longer = dataclasses.replace(before, optim=optim, log=dataclasses.replace(before.log, scalars=1))
    assert changes(to_json(before), longer) == []
    other = dataclasses.replace(before, seed=2, optim=dataclasses.replace(optim, rate=1.0), unpaired=UnpairedConfig())
    assert changes(to_json(before), other) == [
        "seed = 1 (now 2)",
        f"optim.rate = {before.optim.rate} (now 1.0)",
        "unpaired = no table (now a table)",
    ]
    assert changes("{}", before) == []  # what an older record does not hold has its default
    with pytest.raises(UsageError, match="unknown key"):
        changes('{"sede": 1}', before)


def test_configurations_of_the_project_load():
    pytest.importorskip("torch")
    from pathlib import Path

    from nedr.training.config import TrainConfig

    files = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))
    assert files
    for path in files:
        assert load(TrainConfig, path).optim.steps > 0


def test_the_papers_configuration_is_its_preset():
    pytest.importorskip("torch")
    from pathlib import Path

    from nedr.model.nedr import PRESETS
    from nedr.training.config import TrainConfig

    assert load(TrainConfig, Path(__file__).parents[2] / "configs/paper.toml").model == PRESETS["paper"]
