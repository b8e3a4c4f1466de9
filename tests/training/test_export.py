"""ONNX equals torch, and a failed export leaves what was there."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from nedr.errors import NedrError, UsageError  # noqa: E402
from nedr.model.nedr import PRESETS, NeDR  # noqa: E402
from nedr.training import export  # noqa: E402
from nedr.training.calibrate import calibrate  # noqa: E402
from nedr.training.checkpoint import save_weights  # noqa: E402


@pytest.fixture
def weights(tiny_config, tmp_path):
    """Published weights at random, those too that start at zero: A(x) changes over the picture."""
    torch.manual_seed(0)
    model = NeDR(tiny_config)
    torch.nn.init.normal_(model.airlight_head.last.weight, std=0.05)
    save_weights(model, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_onnx_equals_torch_at_three_sizes_and_says_what_it_is(weights, tiny_config, tmp_path):
    rows = export.export(weights, tmp_path / "w.onnx", view=192)
    assert len({row.height / row.width for row in rows}) == 3
    assert sum(row.stride % 1 > 0 for row in rows) >= 2
    assert max(row.largest_difference for row in rows) < export.PARITY_TOLERANCE
    properties = {entry.key: entry.value for entry in onnx.load(tmp_path / "w.onnx").metadata_props}
    assert properties["nedr.view"] == "192"
    assert properties["nedr.stride"] == "4"
    assert json.loads(properties["nedr.config"])["widths"] == list(tiny_config.widths)


def test_the_file_says_how_many_views_it_has_learnt_from(tiny_config, tmp_path):
    from nedr.cli.info import _views
    from nedr.inference.weights import views

    for said in ({"warm-up 96x128": 523_000, "unpaired 192x256": 8}, {}):
        save_weights(NeDR(tiny_config), tmp_path / "w.safetensors", views=said)
        export.export(tmp_path / "w.safetensors", tmp_path / "w.onnx", overwrite=True)
        assert views(tmp_path / "w.onnx") == said
        assert ("523,000 warm-up 96x128" in _views(tmp_path / "w.onnx")) == bool(said)
    (tmp_path / "w.onnx").write_text("damaged")
    assert _views(tmp_path / "w.onnx") == ""


def test_exported_weights_run_in_the_dehazer(weights, tmp_path):
    from nedr.inference.dehazer import Dehazer

    export.export(weights, tmp_path / "w.onnx")
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    assert Dehazer(weights=tmp_path / "w.onnx", threads=1).dehaze(picture).shape == picture.shape
    field = Dehazer(weights=tmp_path / "w.onnx", threads=1, lattice=37).field(picture)
    assert field.lattice.shape == (28, 37)
    assert np.abs(field.terms).max() > 0.01


def test_a_difference_writes_nothing(weights, tmp_path, monkeypatch):
    (tmp_path / "w.onnx").write_text("kept")
    monkeypatch.setattr(export, "compare", lambda model, graph, h, w, stride: export.Parity(h, w, stride, 0.5))
    with pytest.raises(NedrError, match=r"differ by 0\.5"):
        export.export(weights, tmp_path / "w.onnx", overwrite=True)
    assert (tmp_path / "w.onnx").read_text() == "kept"


def test_impossible_views_and_existing_targets(weights, tmp_path):
    with pytest.raises(UsageError, match="multiple of 32"):
        export.export(weights, tmp_path / "w.onnx", view=100)
    (tmp_path / "w.onnx").write_text("kept")
    with pytest.raises(UsageError, match="exists"):
        export.export(weights, tmp_path / "w.onnx")
    assert (tmp_path / "w.onnx").read_text() == "kept"


def test_paper_preset_exports(tmp_path):
    save_weights(NeDR(PRESETS["paper"]), tmp_path / "paper.safetensors")
    rows = export.export(tmp_path / "paper.safetensors", tmp_path / "paper.onnx")
    assert max(row.largest_difference for row in rows) < export.PARITY_TOLERANCE


def test_weights_that_half_precision_would_change_stay_in_single(tiny_config, tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = NeDR(tiny_config)
    calibrate(model, torch.rand(4, 3, 128, 160))
    save_weights(model, tmp_path / "w.safetensors")
    monkeypatch.setattr(export, "PARITY_TOLERANCE", 0.02)
    export.export(tmp_path / "w.safetensors", tmp_path / "half.onnx")
    monkeypatch.setattr(export, "PARITY_TOLERANCE", 5e-4)
    parity = export.export(tmp_path / "w.safetensors", tmp_path / "single.onnx")
    assert max(row.largest_difference for row in parity) <= 5e-4
    assert (tmp_path / "single.onnx").stat().st_size > (tmp_path / "half.onnx").stat().st_size
