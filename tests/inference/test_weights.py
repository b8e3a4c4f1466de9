"""The table of weights: what ships is what the table says, and what is wrong is said in one line."""

import hashlib
import json

import pytest

from nedr.errors import NedrError, UsageError
from nedr.inference import weights


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A package folder with one set of weights in its table."""
    (tmp_path / "small.onnx").write_bytes(b"weights")
    line = {
        "file": "small.onnx",
        "sha256": hashlib.sha256(b"weights").hexdigest(),
        "licence": "Apache-2.0",
        "description": "for a test",
    }
    (tmp_path / weights.TABLE).write_text(json.dumps({"small": line}))
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    return tmp_path


def test_what_ships_is_what_the_table_says():
    for name, line in weights.available().items():
        assert weights.verify(name) == weights.FOLDER / line.file
        assert line.licence
        assert line.description
    listed = {line.file for line in weights.available().values()}
    assert {file.name for file in weights.FOLDER.glob("*.onnx")} == listed


def test_a_name_leads_to_its_verified_file(folder):
    assert weights.path("small") == folder / "small.onnx"
    assert weights.verify("small") == folder / "small.onnx"
    assert weights.resolve("small") == folder / "small.onnx"
    assert weights.available()["small"].licence == "Apache-2.0"


def test_one_flipped_bit_is_noticed(folder):
    (folder / "small.onnx").write_bytes(b"veights")
    with pytest.raises(NedrError, match=r"damaged: expected sha256 [0-9a-f]{64}, found"):
        weights.resolve("small")


def test_a_missing_file_is_named(folder):
    (folder / "small.onnx").unlink()
    with pytest.raises(NedrError, match=r"missing at .*small\.onnx"):
        weights.path("small")


def test_an_unknown_name_is_answered_with_the_known_ones(folder):
    with pytest.raises(UsageError, match=r"'large'.*small"):
        weights.path("large")
    with pytest.raises(UsageError, match="small"):
        weights.resolve("large")


def test_any_onnx_file_can_be_used(folder, tmp_path):
    own = tmp_path / "own.onnx"
    with pytest.raises(UsageError, match="no weights file"):
        weights.resolve(own)
    own.write_bytes(b"")
    assert weights.resolve(own) == own
    assert weights.resolve(str(own)) == own


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": {"file": "x"}}'])
def test_a_damaged_table_is_one_clear_error(folder, text):
    (folder / weights.TABLE).write_text(text)
    weights._table.cache_clear()
    with pytest.raises(NedrError, match="table of weights"):
        weights.available()
    weights._table.cache_clear()
