"""Rasters that the tests draw: what is kept, that windows agree with the whole, and that a killed run goes on."""

import subprocess
import sys

import numpy as np
import pytest
import standin

rasterio = pytest.importorskip("rasterio")

from rasterio.control import GroundControlPoint  # noqa: E402
from rasterio.enums import ColorInterp  # noqa: E402
from rasterio.transform import from_origin  # noqa: E402

import nedr  # noqa: E402
from nedr.errors import ImageError, UsageError  # noqa: E402
from nedr.raster import layout, run  # noqa: E402
from nedr.raster.header import is_raster  # noqa: E402

TYPICAL = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate", "predictor": 2}
WHERE = {"crs": "EPSG:32633", "transform": from_origin(500000, 4600000, 0.25, 0.25)}


@pytest.fixture(scope="module")
def dehazer(tmp_path_factory):
    return nedr.Dehazer(standin.write(tmp_path_factory.mktemp("weights") / "standin.onnx"), threads=2)


def scene(height=300, width=430, count=3, dtype="uint8", top=255):
    """Slow gradients with a little texture, hazy: low contrast around a bright grey."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [
        0.6 + 0.2 * np.sin(x / (31 + 7 * c)) * np.cos(y / (23 + 5 * c)) + 0.02 * ((x + y + c) % 3) for c in range(count)
    ]
    values = np.stack(planes) * top
    return (np.rint(values) if np.dtype(dtype).kind in "iu" else values).astype(dtype)


def drawn(path, pixels, *, levels=(), mask=None, tags=None, interpretation=None, **options):
    count, height, width = pixels.shape
    how = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": pixels.dtype}
    how |= {"photometric": "RGB"} if count >= 3 else {}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **(how | WHERE | TYPICAL | options)) as file,
    ):
        if interpretation:
            file.colorinterp = interpretation
        file.write(pixels)
        if mask is not None:
            file.write_mask(mask)
        file.update_tags(**(tags or {}))
        if levels:
            file.build_overviews(levels)
    return path


def read(path):
    with rasterio.open(path) as file:
        return file.read()


def test_windows_agree_with_the_whole(tmp_path, dehazer, monkeypatch):
    pixels = scene()
    path = drawn(tmp_path / "a.tif", pixels)
    monkeypatch.setattr(run, "WINDOW_PIXELS", 64 * 128)
    report = nedr.dehaze_raster(path, tmp_path / "out.tif", dehazer=dehazer)
    field = run.raster_field(path, dehazer=dehazer)
    whole = field.apply(np.moveaxis(pixels, 0, -1))
    assert np.array_equal(read(tmp_path / "out.tif"), np.moveaxis(whole, -1, 0))
    crop = field.apply(np.moveaxis(pixels[:, 100:200, 50:300], 0, -1), region=(50, 100, 300, 200), full=(300, 430))
    assert np.array_equal(crop, whole[100:200, 50:300])
    assert np.abs(whole.astype(int) - np.moveaxis(pixels, 0, -1)).mean() > 5
    assert (report.height, report.width, report.resumed) == (300, 430, 0)


def test_a_raster_is_dehazed_as_a_photograph_is(tmp_path, dehazer):
    pixels = scene()
    nedr.dehaze_raster(drawn(tmp_path / "a.tif", pixels), tmp_path / "out.tif", dehazer=dehazer)
    photograph = np.moveaxis(dehazer.dehaze(np.moveaxis(pixels, 0, -1)), -1, 0)
    assert np.abs(read(tmp_path / "out.tif").astype(int) - photograph).mean() < 1


@pytest.mark.parametrize("tiles", [{}, {"tiled": False, "blockxsize": 430, "blockysize": 7}])
def test_the_overview_is_the_mean_of_what_it_stands_for(tmp_path, tiles):
    pixels = scene()
    with rasterio.open(drawn(tmp_path / "a.tif", pixels, **tiles)) as file:
        small = layout.overview(file, (1, 2, 3), 107)
    assert small.shape == (3, 75, 108)
    assert np.allclose(small[:, :, :107], pixels[:, :, :428].reshape(3, 75, 4, 107, 4).mean(axis=(2, 4)), atol=0.01)
    assert np.allclose(small[:, :, 107], pixels[:, :, 428:].reshape(3, 75, 8).mean(axis=2), atol=0.01)


def test_what_the_file_says_is_kept(tmp_path, dehazer):
    pixels = scene(count=5)
    pixels[4] = np.where(np.arange(430) < 100, 0, 255)
    meaning = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined, ColorInterp.alpha]
    tags = {"TIFFTAG_SOFTWARE": "mapper", "flight": "7", "AREA_OR_POINT": "Point"}
    path = drawn(tmp_path / "a.tif", pixels, levels=(2, 4), tags=tags, interpretation=meaning)
    with rasterio.open(path, "r+") as file:
        file.set_band_description(4, "near infrared")
        file.update_tags(4, STATISTICS_MAXIMUM="9", wavelength="840")
        file.update_tags(1, STATISTICS_MAXIMUM="9")
    nedr.dehaze_raster(path, tmp_path / "out.tif", dehazer=dehazer)
    with rasterio.open(path) as before, rasterio.open(tmp_path / "out.tif") as after:
        assert after.profile == before.profile
        assert (after.crs, after.transform, after.colorinterp) == (before.crs, before.transform, before.colorinterp)
        assert (after.descriptions, after.tags()) == (before.descriptions, before.tags())
        assert after.tags(4) == before.tags(4)
        assert "STATISTICS_MAXIMUM" not in after.tags(1)
        assert after.overviews(1) == after.overviews(4) == [2, 4]
        result, pixels = after.read(), before.read()
        assert after.tags(ns="IMAGE_STRUCTURE") == before.tags(ns="IMAGE_STRUCTURE")
    assert np.array_equal(result[3:], pixels[3:])
    assert np.array_equal(result[:3, :, :100], pixels[:3, :, :100])  # invisible pixels stay too
    assert not np.array_equal(result[:3, :, 100:], pixels[:3, :, 100:])


def test_control_points_and_masks_are_kept(tmp_path, dehazer):
    mask = np.full((300, 430), 255, np.uint8)
    mask[:120] = 0
    path = drawn(tmp_path / "a.tif", scene(), mask=mask, crs=None, transform=None)
    with rasterio.open(path, "r+") as file:
        file.gcps = [GroundControlPoint(y, x, 10 + x, 20 + y) for y, x in ((0, 0), (0, 430), (300, 0))], WHERE["crs"]
    nedr.dehaze_raster(path, tmp_path / "out.tif", dehazer=dehazer)
    with rasterio.open(tmp_path / "out.tif") as file:
        assert [(point.row, point.col, point.x) for point in file.gcps[0]] == [(0, 0, 10), (0, 430, 440), (300, 0, 10)]
        assert np.array_equal(file.dataset_mask(), mask)
        assert np.array_equal(file.read()[:, :120], scene()[:, :120])
    assert not (tmp_path / "out.tif.msk").exists()


@pytest.mark.parametrize("nodata", [0, 255])
def test_nodata_stays_and_nothing_measured_becomes_it(tmp_path, dehazer, nodata):
    pixels = scene()
    pixels[:, :, 200:] = nodata
    pixels[:, 50:60, :50] = 1 if nodata == 0 else 254  # what dehazing takes over the edge
    nedr.dehaze_raster(drawn(tmp_path / "a.tif", pixels, nodata=nodata), tmp_path / "out.tif", dehazer=dehazer)
    result = read(tmp_path / "out.tif")
    assert np.array_equal(result == nodata, pixels == nodata)
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.nodata == nodata


def test_holes_do_not_change_the_haze_of_the_rest(tmp_path, dehazer):
    pixels = scene()
    whole = run.raster_field(drawn(tmp_path / "a.tif", pixels), dehazer=dehazer)
    pixels[:, :, 400:] = 0
    holed = run.raster_field(drawn(tmp_path / "b.tif", pixels, nodata=0), dehazer=dehazer)
    dark = run.raster_field(drawn(tmp_path / "c.tif", pixels), dehazer=dehazer)
    assert np.abs(holed.lattice - whole.lattice).max() < 0.1 < np.abs(dark.lattice - whole.lattice).max()
    pixels[:] = 0
    with pytest.raises(ImageError, match="no valid pixel"):
        run.raster_field(drawn(tmp_path / "d.tif", pixels, nodata=0), dehazer=dehazer)


@pytest.mark.parametrize(("dtype", "top"), [("uint16", 4095), ("int16", 10000), ("float32", 1.0), ("uint16", 65535)])
def test_ranges_of_many_sensors_give_one_picture(tmp_path, dehazer, dtype, top):
    pixels = scene(dtype=dtype, top=0.9 * top)
    plain = {"predictor": 1}
    nedr.dehaze_raster(drawn(tmp_path / "a.tif", pixels, **plain), tmp_path / "out.tif", dehazer=dehazer, white=top)
    expected = dehazer.dehaze(np.moveaxis(pixels / np.float32(top), 0, -1).astype(np.float32))
    assert np.abs(read(tmp_path / "out.tif") / np.float32(top) - np.moveaxis(expected, -1, 0)).mean() < 0.005


def test_what_is_beyond_the_range_stays(tmp_path, dehazer):
    pixels = scene(dtype="float32", top=1)
    pixels[:, 0, 0], pixels[:, 1, 1], pixels[:, 2, 2] = 1.5, np.nan, -0.25
    path = drawn(tmp_path / "a.tif", pixels, predictor=1, nodata=np.nan)
    nedr.dehaze_raster(path, tmp_path / "out.tif", dehazer=dehazer, white=1)
    result = read(tmp_path / "out.tif")
    for at in range(3):
        assert np.array_equal(result[:, at, at], pixels[:, at, at], equal_nan=True)


def test_the_range_of_twelve_bits_is_seen(tmp_path, dehazer):
    report = nedr.dehaze_raster(
        drawn(tmp_path / "a.tif", scene(dtype="uint16", top=3500)), tmp_path / "out.tif", dehazer=dehazer
    )
    assert "white at 4095" in report.notes[0]


def test_bands_in_another_order(tmp_path, dehazer):
    pixels = scene()
    nedr.dehaze_raster(drawn(tmp_path / "rgb.tif", pixels), tmp_path / "a.tif", dehazer=dehazer)
    path = drawn(tmp_path / "bgr.tif", pixels[::-1], photometric="MINISBLACK")
    nedr.dehaze_raster(path, tmp_path / "b.tif", dehazer=dehazer, bands=(3, 2, 1))
    assert np.array_equal(read(tmp_path / "b.tif"), read(tmp_path / "a.tif")[::-1])
    with pytest.raises(UsageError, match="1 or 3 different bands"):
        nedr.dehaze_raster(path, tmp_path / "c.tif", dehazer=dehazer, bands=(1, 2, 9))


def test_jpeg_tiles_stay_jpeg(tmp_path, dehazer):
    path = drawn(tmp_path / "a.tif", scene(), compress="jpeg", photometric="YCBCR", predictor=1)
    nedr.dehaze_raster(path, tmp_path / "out.tif", dehazer=dehazer)
    with rasterio.open(path) as before, rasterio.open(tmp_path / "out.tif") as after:
        assert after.tags(ns="IMAGE_STRUCTURE") == before.tags(ns="IMAGE_STRUCTURE")
        assert after.profile == before.profile


KILLED = """
import os, sys
import nedr
from nedr.raster import run
run.WINDOW_PIXELS, run.CHECKPOINT_PIXELS = 64 * 430, 2 * 64 * 430
rows = []
def watch(done, total):
    rows.append(done)
    if len(rows) == 4:
        os._exit(9)
nedr.dehaze_raster(sys.argv[1], sys.argv[2], dehazer=nedr.Dehazer(sys.argv[3]), watch=watch)
"""


def killed(path, out, weights):
    """Dehaze until some rows are done, and then die without a word."""
    ended = subprocess.run([sys.executable, "-c", KILLED, path, out, weights], check=False)
    assert ended.returncode == 9
    return out.with_name(f".{out.name}.unfinished")


def test_a_killed_run_goes_on(tmp_path, dehazer):
    path, out = drawn(tmp_path / "a.tif", scene(), levels=(2,)), tmp_path / "out.tif"
    killed(path, out, standin.write(tmp_path / "w.onnx"))
    assert not out.exists()
    report = nedr.dehaze_raster(path, out, dehazer=dehazer)
    assert report.resumed == 128
    nedr.dehaze_raster(path, tmp_path / "again.tif", dehazer=dehazer)
    assert np.array_equal(read(out), read(tmp_path / "again.tif"))
    with rasterio.open(out) as file:
        assert file.overviews(1) == [2]
    assert sorted(found.name for found in tmp_path.iterdir()) == ["a.tif", "again.tif", "out.tif", "w.onnx"]


def test_another_call_starts_afresh(tmp_path, dehazer):
    path, out = drawn(tmp_path / "a.tif", scene()), tmp_path / "out.tif"
    killed(path, out, standin.write(tmp_path / "w.onnx"))
    assert nedr.dehaze_raster(path, out, dehazer=dehazer, strength=0.5).resumed == 0
    nedr.dehaze_raster(path, tmp_path / "again.tif", dehazer=dehazer, strength=0.5)
    assert np.array_equal(read(out), read(tmp_path / "again.tif"))


def test_a_damaged_beginning_is_begun_again(tmp_path, dehazer):
    path, out = drawn(tmp_path / "a.tif", scene()), tmp_path / "out.tif"
    killed(path, out, standin.write(tmp_path / "w.onnx")).write_bytes(b"II*\0torn")
    assert nedr.dehaze_raster(path, out, dehazer=dehazer).resumed == 0
    assert read(out).shape == (3, 300, 430)


def test_strength_0_keeps_every_pixel(tmp_path, dehazer):
    path = drawn(tmp_path / "a.tif", scene())
    nedr.dehaze_raster(path, tmp_path / "out.tif", dehazer=dehazer, strength=0)
    assert np.array_equal(read(tmp_path / "out.tif"), scene())


def test_wrong_calls_are_told_and_lose_nothing(tmp_path, dehazer):
    path = drawn(tmp_path / "a.tif", scene())
    (tmp_path / "there.tif").write_bytes(b"mine")
    for target, message in (
        (tmp_path / "there.tif", "exists"),
        (tmp_path / "out.png", "ends in .tif"),
        (tmp_path / "no" / "out.tif", "folder does not exist"),
        (path, "both read and written"),
    ):
        with pytest.raises(UsageError, match=message):
            nedr.dehaze_raster(path, target, dehazer=dehazer)
    with pytest.raises(UsageError, match="does not exist"):
        nedr.dehaze_raster(tmp_path / "none.tif", tmp_path / "out.tif", dehazer=dehazer)
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(ImageError, match="cannot be read"):
        nedr.dehaze_raster(tmp_path / "text.tif", tmp_path / "out.tif", dehazer=dehazer)
    complex_raster = drawn(tmp_path / "complex.tif", scene(count=1, dtype="complex64", top=1), predictor=1)
    with pytest.raises(ImageError, match="found complex64"):
        nedr.dehaze_raster(complex_raster, tmp_path / "out.tif", dehazer=dehazer)
    assert (tmp_path / "there.tif").read_bytes() == b"mine"
    assert not list(tmp_path.glob(".*"))


def test_rasters_are_told_from_photographs(tmp_path):
    plain = {"crs": None, "transform": None}
    assert is_raster(drawn(tmp_path / "geo.tif", scene()))
    assert is_raster(drawn(tmp_path / "big.tif", scene(), BIGTIFF="YES"))
    assert not is_raster(drawn(tmp_path / "photo.tif", scene(), **plain))
    sparse = {"width": 20000, "height": 20000, "SPARSE_OK": True}
    with rasterio.open(tmp_path / "huge.tif", "w", driver="GTiff", count=1, dtype="uint8", **sparse):
        pass
    assert is_raster(tmp_path / "huge.tif")
    (tmp_path / "empty.tif").write_bytes(b"II*\0")
    assert not is_raster(tmp_path / "empty.tif")
    assert not is_raster(tmp_path / "none.tif")
