"""Rasters on the command line and in folders."""

import json
import sys

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")

from nedr.cli.main import main  # noqa: E402
from nedr.raster import run  # noqa: E402

GEO = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.25, 0, 500000, 0, -0.25, 4600000)}


@pytest.fixture
def ortho(tmp_path):
    y, x = np.mgrid[0:200, 0:260]
    pixels = np.stack([150 + 40 * np.sin(x / (20 + c)) * np.cos(y / 30) for c in range(3)]).astype(np.uint8)
    path = tmp_path / "trip" / "ortho.tif"
    path.parent.mkdir()
    how = {"driver": "GTiff", "count": 3, "height": 200, "width": 260, "dtype": "uint8", "photometric": "RGB"}
    with rasterio.open(path, "w", **how, **GEO) as file:
        file.write(pixels)
    return path


def test_the_command_keeps_the_georeference(ortho, capsys):
    assert main([str(ortho), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    result = ortho.with_name("ortho.dehazed.tif")
    assert found["dehazed"] == str(result)
    with rasterio.open(result) as file, rasterio.open(ortho) as before:
        assert (file.crs, file.transform) == (before.crs, before.transform)
        assert np.array_equal(
            np.moveaxis(file.read(), 0, -1), run.raster_field(ortho).apply(np.moveaxis(before.read(), 0, -1))
        )


def test_a_folder_records_rasters_and_passes_over_finished_ones(ortho, tmp_path, capsys):
    assert main([str(ortho.parent), "-o", str(tmp_path / "out")]) == 0
    with rasterio.open(tmp_path / "out" / "ortho.tif") as file:
        assert file.crs == GEO["crs"]
    capsys.readouterr()
    assert main([str(ortho.parent), "-o", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "skipped"


def test_a_raster_that_becomes_a_photograph_is_one(ortho, tmp_path):
    assert main([str(ortho), "-o", str(tmp_path / "small.jpg")]) == 0
    assert (tmp_path / "small.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_what_rasters_do_not_have_is_told(ortho, capsys):
    assert main([str(ortho), "--compare"]) == 2
    assert "--map and --compare cannot be used" in capsys.readouterr().err
    assert [path.name for path in ortho.parent.iterdir()] == ["ortho.tif"]


def test_the_extra_is_named_where_only_it_helps(tmp_path, monkeypatch, capsys):
    path = tmp_path / "huge.tif"
    with rasterio.open(path, "w", driver="GTiff", count=1, dtype="uint8", width=20000, height=20000, SPARSE_OK=True):
        pass
    monkeypatch.setitem(sys.modules, "rasterio", None)
    monkeypatch.delitem(sys.modules, "nedr.raster.run")
    monkeypatch.delitem(sys.modules, "nedr.album.rasters", raising=False)
    monkeypatch.delattr("nedr.album.rasters", raising=False)
    assert main([str(path)]) == 1
    assert "[geo]'" in capsys.readouterr().err
