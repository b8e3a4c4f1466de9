import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import standin
from PIL import Image

pytest.importorskip("ray", reason="needs the extra [ray]")
pytest.importorskip("fsspec", reason="needs the extra [ray]")

import fsspec
import ray

import nedr
from nedr.album import journal
from nedr.errors import UsageError
from nedr.inference.dehazer import Dehazer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(standin.write(tmp_path_factory.mktemp("weights") / "standin.onnx"))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A folder that fsspec knows as dir://, which to the pipeline is a storage like any other but the local disk."""
    folder = tmp_path_factory.mktemp("store")
    fsspec.config.conf["dir"] = {"path": str(folder), "target_protocol": "file"}
    yield folder
    del fsspec.config.conf["dir"]


@pytest.fixture(scope="module")
def cluster(store):
    """A Ray of two workers on this machine."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
        object_store_memory=100_000_000,
        runtime_env={
            "env_vars": {
                "PYTHONPATH": paths,
                "OMP_NUM_THREADS": "1",
                "FSSPEC_DIR_PATH": str(store),
                "FSSPEC_DIR_TARGET_PROTOCOL": "file",
            }
        },
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture
def trip(tmp_path):
    folder = tmp_path / "trip" / "day 1"
    folder.mkdir(parents=True)
    ramp = np.linspace(90, 220, 40 * 60).reshape(40, 60)
    for k in range(6):
        pixels = np.stack([ramp, ramp * 0.95, ramp * 0.8 + k], axis=2).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.jpg")
    (folder / "bad.jpg").write_bytes(b"text")
    (folder / "notes.txt").write_text("text")
    return tmp_path


def rows(folder, weights, output="out", **options):
    ds = nedr.ray.photographs(str(folder / "trip"))
    done = nedr.ray.dehaze_files(
        ds, str(folder / output), root=str(folder / "trip"), weights=weights, batch_size=3, **options
    )
    return {Path(row["path"]).name: row for row in done.take_all()}


def outcomes(found):
    return {name: row["outcome"] for name, row in found.items()}


def test_a_bad_file_is_one_row_and_the_next_run_does_nothing_again(cluster, trip, weights):
    first = rows(trip, weights)
    assert outcomes(first) == {f"{k}.jpg": "done" for k in range(6)} | {"bad.jpg": "failed"}
    assert "bad.jpg is not a picture" in first["bad.jpg"]["error"]
    assert first["0.jpg"]["density"] == 1.5
    for k in range(6):
        photo, result = trip / f"trip/day 1/{k}.jpg", trip / f"out/day 1/{k}.jpg"
        assert result.read_bytes() == Dehazer(weights).dehaze(photo.read_bytes())
    (trip / "out/day 1/2.jpg").unlink()
    again = {f"{k}.jpg": "skipped" for k in range(6)} | {"bad.jpg": "failed", "2.jpg": "done"}
    assert outcomes(rows(trip, weights)) == again


def test_a_folder_run_knows_what_ray_has_done(cluster, trip, weights):
    rows(trip, weights)
    command = [sys.executable, "-m", "nedr", trip / "trip", "-o", trip / "out", "--weights", weights, "--json"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)  # Ray writes into this process's stdout
    assert run.returncode == 1, run.stderr
    told = [json.loads(line) for line in run.stdout.splitlines()]
    assert sorted(line["outcome"] for line in told) == ["failed"] + ["skipped"] * 6
    assert outcomes(rows(trip, weights))["1.jpg"] == "skipped"


def test_a_run_killed_before_it_took_notes_is_carried_on_and_strangers_stay(cluster, trip, weights):
    rows(trip, weights)
    for path in (trip / "out" / journal.FOLDER).iterdir():
        path.unlink()
    (trip / "out/day 1/4.jpg").write_bytes(b"precious")
    found = rows(trip, weights)
    assert found["0.jpg"]["outcome"] == "done"
    assert "overwrite" in found["4.jpg"]["error"]
    assert (trip / "out/day 1/4.jpg").read_bytes() == b"precious"


def test_a_folder_without_photographs_is_told_at_once(cluster, tmp_path):
    for name in (".", "missing"):
        with pytest.raises(UsageError, match="no photographs in"):
            nedr.ray.photographs(str(tmp_path / name))


def test_a_strength_that_cannot_be_is_told_at_once(cluster, trip):
    with pytest.raises(UsageError):
        rows(trip, None, strength=2)


def test_the_worked_example_from_one_storage_to_another(cluster, trip, store, capsys):
    """The weights are those that ship; nothing but fsspec touches the storage."""
    (trip / "trip").rename(store / "raw")
    example = runpy.run_path(str(ROOT / "examples" / "million.py"))["main"]
    for done in ("6 done", "6 skipped"):
        assert example(["dir://raw", "dir://clear", "--report", str(trip / "report")]) == 1
        out = capsys.readouterr().out.splitlines()
        assert "dir://raw/day 1/bad.jpg is not a picture" in out[-2]
        assert set(out[-1].split(", ")) == {done, "1 failed"}
    clear = store / "clear"
    assert {path.name for path in (clear / "day 1").iterdir()} == {f"{k}.jpg" for k in range(6)}
    dehazer = Dehazer(threads=1)
    for path in (clear / "day 1").iterdir():
        assert path.read_bytes() == dehazer.dehaze((store / "raw" / "day 1" / path.name).read_bytes())
    table = ray.data.read_parquet(str(trip / "report")).take_all()
    assert {row["result"] for row in table} == {"", *(f"dir://clear/day 1/{k}.jpg" for k in range(6))}
