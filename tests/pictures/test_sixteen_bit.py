"""16-bit samples: every layout of other writers is read exactly, and other readers read ours."""

import zlib
from io import BytesIO

import drawn_pictures as pictures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from nedr.errors import ImageError
from nedr.pictures import sixteen_bit
from nedr.pictures.images import read


def opened(data):
    return Image.open(BytesIO(data))


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([2, 3, 4]), st.booleans())
def test_png_with_every_filter_plain_and_interlaced(height, width, channels, interlaced):
    samples = pictures.noise(height, width, channels, np.uint16)
    data = pictures.png(samples, interlaced=interlaced, filters=(0, 1, 2, 3, 4))
    assert sixteen_bit.is_deep_colour(opened(data), data)
    assert np.array_equal(sixteen_bit.read_deep_colour(opened(data), data), samples)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("extra", [None, 0, 2])
def test_tiff_of_both_byte_orders_with_and_without_alpha(order, extra):
    samples = pictures.noise(7, 9, 3 if extra is None else 4, np.uint16)
    data = pictures.tiff(samples, {} if extra is None else {338: (3, [extra])}, order)
    found = sixteen_bit.read_deep_colour(opened(data), data)
    assert np.array_equal(found, samples[..., : found.shape[2]])
    assert found.shape[2] == (4 if extra == 2 else 3)


def test_premultiplied_alpha_is_divided_out_at_full_depth():
    straight = pictures.noise(7, 9, 4, np.uint16)
    straight[..., 3] = straight[..., 3] // 2 + 32768
    premultiplied = straight.copy()
    premultiplied[..., :3] = np.rint(straight[..., :3] * (straight[..., 3:] / 65535))
    data = pictures.tiff(premultiplied, {338: (3, [1])})
    found = sixteen_bit.read_deep_colour(opened(data), data)
    assert np.abs(found.astype(int) - straight).max() <= 1


@pytest.mark.parametrize(
    "options", [{"compression": "zlib", "predictor": True}, {"tile": (16, 16)}, {"rowsperstrip": 3}]
)
def test_tiff_of_another_writer(options):
    tifffile = pytest.importorskip("tifffile")
    samples, file = pictures.noise(37, 41, 3, np.uint16), BytesIO()
    tifffile.imwrite(file, samples, photometric="rgb", **options)
    assert np.array_equal(sixteen_bit.read_deep_colour(opened(file.getvalue()), file.getvalue()), samples)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_separate_planes_are_refused_not_misread(compression):
    tifffile = pytest.importorskip("tifffile")
    file = BytesIO()
    planes = np.moveaxis(pictures.noise(20, 30, 3, np.uint16), 2, 0)
    tifffile.imwrite(file, planes, photometric="rgb", planarconfig="separate", compression=compression)
    with pytest.raises(ImageError, match="separate planes"):
        sixteen_bit.read_deep_colour(opened(file.getvalue()), file.getvalue())


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from([2, 3, 4]))
def test_png_written_here_undoes_to_the_samples_by_the_book(height, width, channels):
    samples = pictures.noise(height, width, channels, np.uint16)
    chunks = pictures.png_chunks(sixteen_bit.write_png(samples, [(b"gAMA", b"\0\0\xb1\x8f")]))
    assert [kind for kind, _ in chunks] == [b"IHDR", b"gAMA", b"IDAT", b"IEND"]
    rows = np.frombuffer(zlib.decompress(chunks[2][1]), np.uint8).reshape(height, -1)
    assert (rows[:, 0] == 2).all()
    undone = np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8)  # filter Up
    assert np.array_equal(np.ascontiguousarray(undone).view(">u2").reshape(samples.shape), samples)


@pytest.mark.parametrize("compression", ["raw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_tiff_written_here_is_read_by_another_reader(compression, dtype, channels):
    tifffile = pytest.importorskip("tifffile")
    samples = pictures.noise(29, 31, channels, dtype).reshape(29, 31, channels)
    data = sixteen_bit.write_tiff(samples, compression, ImageFileDirectory_v2())
    assert np.array_equal(tifffile.imread(BytesIO(data)).reshape(samples.shape), samples)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 70), st.sampled_from(["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"]))
def test_tiff_of_every_compression_returns(height, width, compression):
    for channels, dtype in ((1, np.uint8), (3, np.uint8), (3, np.uint16), (4, np.uint16)):
        samples = pictures.noise(height, width, channels, dtype).reshape(height, width, channels)
        found = read(sixteen_bit.write_tiff(samples, compression, ImageFileDirectory_v2()))
        assert np.array_equal(np.atleast_3d(found.pixels), samples[..., :3])
        assert channels < 4 or np.array_equal(found.alpha, samples[..., 3])


def test_pictures_of_many_strips_return():
    samples = pictures.noise(700, 400, 3, np.uint16)
    assert np.array_equal(read(sixteen_bit.write_png(samples, [])).pixels, samples)
    for compression in ("tiff_lzw", "tiff_adobe_deflate"):
        data = sixteen_bit.write_tiff(samples, compression, ImageFileDirectory_v2())
        assert len(opened(data).tag_v2[273]) > 3
        assert np.array_equal(read(data).pixels, samples)


@settings(deadline=None)
@given(st.integers(1, 65535), st.sampled_from([1, 3]))
def test_netpbm_of_any_depth_is_stretched_to_the_whole_range(highest, channels):
    levels = np.random.default_rng(highest).integers(0, highest + 1, (5, 7, channels))
    levels[0, :2] = [[0], [highest]]
    kind = ">u2" if highest > 255 else "u1"
    data = f"P{6 if channels == 3 else 5}\n# note\n7 5\n{highest}\n".encode() + levels.astype(kind).tobytes()
    found = np.atleast_3d(read(data).pixels)
    top = 65535 if highest > 255 else 255
    assert found.dtype == (np.uint16 if highest > 255 else np.uint8)
    assert np.array_equal(found, (levels * top + highest // 2) // highest)
