"""What one worker of a cluster does, without a cluster: storages that fail, workers that die, journals of others."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import standin
from PIL import Image

pytest.importorskip("ray", reason="needs the extra [ray]")

from fsspec.implementations.memory import MemoryFileSystem

from nedr.album import journal
from nedr.album import ray as pipeline
from nedr.album.run import Options
from nedr.cli import main as cli


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(standin.write(tmp_path_factory.mktemp("weights") / "standin.onnx"))


@pytest.fixture
def actor(weights, monkeypatch):
    """A worker as one of Ray's: actor(root, output), which knows what the output's journals say."""
    monkeypatch.setattr(pipeline.ray, "get", lambda known: known)
    network = pipeline.sha256(Path(weights))

    def made(root, output):
        options = Options(network=network)
        plan = pipeline._Plan(pipeline._url(root), pipeline._url(output), options, weights, "nedr", 1)
        return pipeline._Actor(plan, pipeline._known(output))

    return made


@pytest.fixture
def store():
    """A storage in memory, in which a file appears whole or not at all, and nothing is renamed."""
    fs = MemoryFileSystem()
    for k in range(4):
        fs.pipe_file(f"/raw/{k}.png", photograph(k))
    yield fs
    fs.rm("/", recursive=True)


def photograph(k):
    held, ramp = io.BytesIO(), np.linspace(90, 220, 40 * 60).reshape(40, 60)
    Image.fromarray(np.stack([ramp, ramp * 0.95, ramp * 0.8 + k], axis=2).astype(np.uint8)).save(held, "PNG")
    return held.getvalue()


PATHS = {"path": [f"memory://raw/{k}.png" for k in range(4)]}


def test_a_storage_that_fails_now_and_then_loses_nothing(actor, store, monkeypatch):
    monkeypatch.setattr(pipeline, "PAUSES", (0, 0))
    for name in ("cat_file", "pipe_file", "info"):
        real, calls = getattr(MemoryFileSystem, name), []

        def flaky(self, path, *words, real=real, calls=calls, **options):
            calls.append(path)
            if len(calls) % 2:
                raise ConnectionError("reset by peer")
            return real(self, path, *words, **options)

        monkeypatch.setattr(MemoryFileSystem, name, flaky)
    assert actor("memory://raw", "memory://clear")(PATHS)["outcome"] == ["done"] * 4
    monkeypatch.undo()
    assert {path for path in store.find("/clear") if path.endswith(".png")} == {f"/clear/{k}.png" for k in range(4)}


def test_a_storage_that_goes_on_failing_is_a_row_with_its_reason(actor, store, monkeypatch):
    monkeypatch.setattr(pipeline, "PAUSES", (0, 0))
    real = MemoryFileSystem.cat_file

    def broken(self, path, *words, **options):
        if path.endswith("2.png"):
            raise ConnectionError("reset by peer")
        return real(self, path, *words, **options)

    worker = actor("memory://raw", "memory://clear")
    monkeypatch.setattr(MemoryFileSystem, "cat_file", broken)
    rows = worker(PATHS)
    assert rows["outcome"] == ["done", "done", "failed", "done"]
    assert rows["error"][2] == "reset by peer"


def test_a_worker_that_dies_between_results_and_notes_costs_nothing_twice(actor, store, monkeypatch):
    monkeypatch.setattr(pipeline._Actor, "_note", lambda self, records: None)
    assert actor("memory://raw", "memory://clear")(PATHS)["outcome"] == ["done"] * 4
    monkeypatch.undo()
    before = store.find("/clear", detail=True)
    monkeypatch.setattr(pipeline.ray, "get", lambda known: known)
    assert actor("memory://raw", "memory://clear")(PATHS)["outcome"] == ["done"] * 4
    after = store.find("/clear", detail=True)
    assert set(before) < set(after)
    assert actor("memory://raw", "memory://clear")(PATHS)["outcome"] == ["skipped"] * 4


def test_an_exception_of_another_kind_is_a_row(actor, store, monkeypatch):
    worker = actor("memory://raw", "memory://clear")
    monkeypatch.setattr(pipeline.batch, "render", lambda *words, **options: 1 / 0)
    rows = worker(PATHS)
    assert rows["outcome"] == ["failed"] * 4
    assert rows["error"][0].startswith("a fault of nedr, ZeroDivisionError in nedr/album/ray.py, line ")


def test_clusters_and_folders_carry_on_what_the_other_began(actor, weights, tmp_path, capsys):
    (tmp_path / "trip").mkdir()
    for k in range(4):
        (tmp_path / f"trip/{k}.png").write_bytes(photograph(k))
    paths = {"path": [str(tmp_path / f"trip/{k}.png") for k in range(4)]}
    trip, out = str(tmp_path / "trip"), str(tmp_path / "out")
    assert actor(trip, out)({"path": paths["path"][:2]})["outcome"] == ["done"] * 2
    assert cli.main([trip, "-o", out, "--weights", weights, "--json"]) == 0
    told = [json.loads(line)["outcome"] for line in capsys.readouterr().out.splitlines()]
    assert sorted(told) == ["done", "done", "skipped", "skipped"]
    assert not list((tmp_path / "out" / journal.FOLDER).glob("*.jsonl"))
    assert actor(trip, out)(paths)["outcome"] == ["skipped"] * 4
    shutil.rmtree(tmp_path / "out" / journal.FOLDER)
    assert actor(trip, out)(paths)["outcome"] == ["done"] * 4
