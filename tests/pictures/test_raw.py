"""Camera raw files: DNGs made here, one sample a pixel behind a colour filter, become 16-bit pictures."""

import os
import struct
import sys
from io import BytesIO
from pathlib import Path

import drawn_pictures as pictures
import numpy as np
import pytest
from PIL import Image

from nedr.album import one, plan
from nedr.cli.main import main
from nedr.errors import ImageError, MissingExtraError, UsageError
from nedr.inference.dehazer import Dehazer
from nedr.pictures import images, raw, tiff
from nedr.pictures.images import encode, read

HEIGHT, WIDTH = 64, 96
SAMPLES = sorted(Path(folder).iterdir()) if (folder := os.environ.get("NEDR_RAW_SAMPLES")) else []
"""Files of real cameras: none can be shipped with the tests, see docs/formats.md."""


def scene():
    """Linear colours (H, W, 3) in [0, 1]: red grows to the right, green downwards."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([0.1 + 0.3 * x / WIDTH, 0.1 + 0.3 * y / HEIGHT, np.full(x.shape, 0.2)], axis=2)


def dng(*, neutral=(1, 1, 1), orientation=1, byteorder="<", pattern="RGGB", preview=False, blacks=(0, 0, 0, 0)):
    """A DNG with a Bayer pattern, or linear without one; `neutral` is how the camera saw white, `blacks` how it saw
    nothing at each place of the pattern. With a preview what the sensor saw lies in a directory below the first.
    """
    tifffile = pytest.importorskip("tifffile")
    linear = (scene() * neutral * 65535).astype(np.uint16)
    mosaic, channels = np.empty((HEIGHT, WIDTH), np.uint16), ["RGB".index(colour) for colour in pattern or ""]
    for place, channel in enumerate(channels):
        row, column = divmod(place, 2)
        mosaic[row::2, column::2] = linear[row::2, column::2, channel] + blacks[place]
    to_camera = (32406, -15372, -4986, -9689, 18758, 415, 557, -2040, 10570)
    matrix = [number for value in to_camera for number in (value, 10000)]
    white = [number for value in neutral for number in (round(value * 1000), 1000)]
    tags = [
        (271, "s", 0, "Maker", True),
        (272, "s", 0, "Model X", True),
        (274, "H", 1, orientation, True),
        (50706, "B", 4, (1, 4, 0, 0), True),  # DNG's version
        (50708, "s", 0, "Maker Model X", True),
        (50721, "2i", 9, tuple(matrix), True),  # from XYZ to the camera's colours
        (50728, "2I", 3, tuple(white), True),
        (50778, "H", 1, 21, True),  # daylight
    ]
    sensor = [(50717, "I", 1, 65535, True)]  # white level
    if pattern:
        sensor += [(33421, "H", 2, (2, 2), True), (33422, "B", 4, tuple(channels), True)]  # its size and its colours
        sensor += [(50713, "H", 2, (2, 2), True), (50714, "I", 4, blacks, True)]
    how, file = {"photometric": "cfa" if pattern else "linear_raw", "metadata": None}, BytesIO()
    with tifffile.TiffWriter(file, byteorder=byteorder) as writer:
        if preview:
            small = np.zeros((8, 12, 3), np.uint8)
            writer.write(small, photometric="rgb", subfiletype=1, subifds=1, extratags=tags, metadata=None)
        writer.write(mosaic if pattern else linear, extratags=sensor + tags * (not preview), **how)
    return file.getvalue()


def hues(pixels):
    """How red and how blue a picture is, against its green."""
    mean = pixels.reshape(-1, 3).astype(float).mean(axis=0)
    return mean[0] / mean[1], mean[2] / mean[1]


@pytest.fixture(autouse=True)
def _reader():
    pytest.importorskip("rawpy")


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_raw_file_becomes_a_picture_of_sixteen_bits(byteorder):
    found = read(dng(byteorder=byteorder))
    assert (found.format, found.pixels.shape, found.pixels.dtype) == ("RAW", (HEIGHT, WIDTH, 3), np.uint16)
    inner = found.pixels[8:-8, 8:-8].astype(int)
    assert (np.diff(inner[..., 0].mean(axis=0)) > 0).mean() > 0.9  # red grows to the right
    assert (np.diff(inner[..., 1].mean(axis=1)) > 0).mean() > 0.9
    assert len(np.unique(inner)) > len(np.unique(inner // 257))  # more than 8 bits can tell apart
    assert len(found.notes) == 1
    assert "white balance camera, sRGB, 16 bits" in found.notes[0]


@pytest.mark.parametrize("pattern", ["BGGR", "GRBG", "GBRG", None])
def test_every_layout_of_the_sensor_gives_the_same_picture(pattern):
    first, found = (read(data).pixels[8:-8, 8:-8].astype(int) for data in (dng(), dng(pattern=pattern)))
    assert np.abs(first - found).mean() < 600  # of 65535


@pytest.mark.parametrize("blacks", [(512, 512, 512, 512), (200, 900, 500, 1400)])
def test_black_is_what_each_colour_of_the_sensor_says(blacks):
    assert np.abs(read(dng(blacks=blacks)).pixels.astype(int) - read(dng()).pixels).mean() < 257


@pytest.mark.parametrize("is_sized", [True, False])
def test_a_preview_before_the_sensors_picture_is_passed_over(is_sized):
    data = dng(preview=True)
    if not is_sized:  # as Sony's cameras write it
        width = struct.pack("<HHII", 256, 4, 1, 12)
        assert data.count(width) == 1
        data = data.replace(width, struct.pack("<HHII", 255, 4, 1, 12))
    found = read(data)
    assert (found.format, found.pixels.shape) == ("RAW", (HEIGHT, WIDTH, 3))
    exif = Image.Exif()
    exif.load(found.info.exif)
    assert exif[271] == "Maker"


def test_a_sensors_picture_below_the_first_directory_is_enough_to_know_a_raw_file():
    data = dng(preview=True).replace(struct.pack("<HHII", 254, 4, 1, 1), struct.pack("<HHII", 254, 4, 1, 0))
    assert tiff.is_raw(data.replace(struct.pack("<HH", 50706, 1), struct.pack("<HH", 50700, 1)))
    assert not tiff.is_raw(pictures.tiff(pictures.noise(4, 4), {330: (4, [1])}))


@pytest.mark.skipif(not SAMPLES, reason="NEDR_RAW_SAMPLES names no folder of raw files")
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_a_cameras_own_file_is_developed_in_full(sample):
    import rawpy

    found = read(sample)
    with rawpy.imread(str(sample)) as file:
        assert sorted(found.pixels.shape[:2]) == sorted((file.sizes.height, file.sizes.width))
    assert found.format == "RAW"
    assert found.info.exif
    assert found.pixels.std() > 1000


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_a_raw_file_stands_upright_and_says_so(orientation, turns):
    lying, found = read(dng()), read(dng(orientation=orientation))
    assert np.array_equal(found.pixels, np.rot90(lying.pixels, turns))
    tags = pictures.parsed_exif(found.info.exif)
    assert (tags[0x010F], tags[0x0110]) == ("Maker", "Model X")
    assert tags.get(0x0112, 1) == 1


def test_the_cameras_white_balance_makes_grey_grey():
    tinted = read(dng(neutral=(0.5, 1, 0.7)))
    assert hues(tinted.pixels) == pytest.approx(hues(read(dng()).pixels), rel=0.1)
    daylight = read(dng(neutral=(0.5, 1, 0.7)), development=raw.Development(white_balance="daylight"))
    assert hues(daylight.pixels) != pytest.approx(hues(tinted.pixels), rel=0.1)


def test_factors_of_the_callers_own_take_the_place_of_the_cameras():
    tinted = dng(neutral=(0.5, 1, 0.7))
    chosen = read(tinted, development=raw.Development(white_balance=(1 / 0.5, 1, 1 / 0.7)))
    assert hues(chosen.pixels) == pytest.approx(hues(read(tinted).pixels), rel=0.02)
    warm = read(tinted, development=raw.Development(white_balance=(4, 1, 1 / 0.7)))
    assert hues(warm.pixels)[0] > 1.2 * hues(chosen.pixels)[0]
    assert "white balance 4,1,1.42857," in warm.notes[0]


def test_exposure_is_in_stops():
    darker = read(dng(), development=raw.Development(exposure=-1))
    assert "exposure -1" in darker.notes[0]
    balances = ("tungsten", (2, 1), (2, 1, 0), (2, 1, float("inf")))
    for wrong in ({"exposure": 4}, {"exposure": -3}, *({"white_balance": balance} for balance in balances)):
        with pytest.raises(UsageError, match="expected"):
            raw.Development(**wrong)


def test_the_result_is_a_tiff_unless_another_format_is_asked_for(tmp_path):
    photo = tmp_path / "photo.dng"
    photo.write_bytes(dng(orientation=6))
    for output, kind, dtype in ((None, "TIFF", np.uint16), (str(tmp_path / "photo.jpg"), "JPEG", np.uint8)):
        (job,) = one.plan_jobs([str(photo)], output)
        haze = one.dehaze_file(job, Dehazer(method="dcp", threads=1))
        found = read(job.result)
        assert job.result.name == ("photo.jpg" if output else "photo.dehazed.tif")
        assert (found.format, found.pixels.dtype, found.pixels.shape) == (kind, dtype, (WIDTH, HEIGHT, 3))
        assert pictures.parsed_exif(found.info.exif)[0x0110] == "Model X"
        assert "developed by LibRaw" in haze.notes[0]
    assert encode(read(dng()))[:4] == b"II*\0"


@pytest.fixture
def trip(tmp_path, monkeypatch):
    """A folder with a pair, a raw file and a JPEG alone, and a HEIF's name beside a raw file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trip").mkdir()
    for name in ("pair.DNG", "alone.dng", "phone.dng"):
        (tmp_path / "trip" / name).write_bytes(dng())
    images.write(tmp_path / "trip/PAIR.jpg", pictures.pillow_bytes(pictures.smooth(40, 60), "JPEG"))
    images.write(tmp_path / "trip/other.jpg", pictures.pillow_bytes(pictures.smooth(40, 60), "JPEG"))
    (tmp_path / "trip/phone.heic").write_bytes(b"never read")
    return tmp_path / "trip"


@pytest.mark.parametrize(
    ("prefer", "left"), [("both", set()), ("raw", {"PAIR.jpg", "phone.heic"}), ("jpeg", {"pair.DNG", "phone.dng"})]
)
def test_of_pairs_in_folders_the_preferred_is_taken(trip, prefer, left):
    found = plan.find_photographs(trip, leave=trip / "none", selection=plan.Selection(prefer=prefer))
    assert {path.name for path in trip.iterdir()} - {photo.path.name for photo in found} == left


def test_a_preferred_file_that_is_not_wanted_makes_no_pair(trip):
    selection = plan.Selection(include=("*.jpg",), prefer="raw")
    found = plan.find_photographs(trip, leave=trip / "none", selection=selection)
    assert sorted(photo.path.name for photo in found) == ["PAIR.jpg", "other.jpg"]


def test_the_command_develops_as_it_is_told_and_again_when_that_changes(trip, capsys):
    (trip / "phone.heic").unlink()
    call = ["trip", "-o", "out", "--prefer", "raw", "--method", "dcp"]
    assert main(call) == 0
    first = read(trip.parent / "out/alone.tif").pixels
    capsys.readouterr()
    assert main([*call, "--white-balance", "daylight", "--exposure", "-1"]) == 0
    told = capsys.readouterr()
    assert "white balance daylight, exposure -1" in told.err
    assert "alone.dng" in told.out
    assert "other.jpg" not in told.out  # a JPEG has nothing to develop
    assert not np.array_equal(read(trip.parent / "out/alone.tif").pixels, first)
    assert main([*call, "--white-balance", "2,1,1.5"]) == 0
    assert "white balance 2,1,1.5," in capsys.readouterr().err
    for wrong in (["--white-balance", "2,1"], ["--exposure", "9"], ["--prefer", "dng"]):
        assert main([*call, *wrong]) == 2


def test_without_its_reader_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    for data in (dng(), b"FUJIFILMCCD-RAW " + bytes(80), b"\0\0\0\x18ftypcrx " + bytes(20)):
        with pytest.raises(MissingExtraError, match=r"raw\]"):
            read(data)


@pytest.mark.parametrize("tags", [{254: (4, [1])}, {50706: (1, [1, 4, 0, 0])}, {262: (3, [32803])}])
def test_what_only_looks_raw_is_refused_rather_than_a_preview_taken(tags):
    with pytest.raises(ImageError, match="raw file that LibRaw cannot read"):
        read(pictures.tiff(pictures.noise(4, 4), tags))


def test_damaged_raw_files_end_in_one_line():
    data = dng()
    for length in (20, 200, len(data) // 2):
        with pytest.raises(ImageError, match=r"^[^\n]*$"):
            read(data[:length])
    with pytest.raises(ImageError, match="megapixels"):
        read(data, max_pixels=1000)
    with pytest.raises(ImageError, match="LibRaw cannot read"):
        read(b"II\x1a\0\0\0HEAPCCDR" + bytes(100))


@pytest.mark.parametrize("preview", [True, False])
def test_a_raw_file_cut_short_says_how_much_there_is(preview, monkeypatch):
    data = dng(preview=preview)
    missing = f"truncated, {len(data)} bytes expected and {len(data) - 100} found"
    with pytest.raises(ImageError, match=missing):
        read(data[:-100])
    black = raw.Developed(np.zeros((4, 4, 3), np.uint16), None, ())  # LibRaw's answer for some makers' files
    monkeypatch.setattr(raw, "develop", lambda *_: black)
    found = read(data[:-100], salvage=True)
    assert found.notes[-1] == f"{missing}; what is missing stays black"


@pytest.mark.parametrize(
    ("suffix", "expected"), [(".NEF", (".tif", "TIFF")), (".heic", (".jpg", "JPEG")), (".JPG", (".JPG", None))]
)
def test_results_are_named_for_what_they_become(suffix, expected):
    assert images.result_for(suffix) == expected
