"""TIFF: bands, depths and arrangements of other writers are read exactly and written back; other readers read ours."""

from dataclasses import replace
from io import BytesIO
from itertools import product

import drawn_pictures as pictures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from nedr.errors import ImageError
from nedr.pictures import images, tiff
from nedr.pictures.images import encode, read


def samples_of(data):
    return tiff.samples(data, tiff.pages(data)[0])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("extra", [None, 0, 2])
def test_tiff_of_both_byte_orders_with_and_without_alpha(order, extra):
    samples = pictures.noise(7, 9, 3 if extra is None else 4, np.uint16)
    data = pictures.tiff(samples, {} if extra is None else {338: (3, [extra])}, order)
    found = read(data)
    assert np.array_equal(found.pixels, samples[..., :3])
    assert np.array_equal(found.alpha, samples[..., 3]) if extra == 2 else found.alpha is None
    assert np.array_equal(found.bands, samples[..., 3:]) if extra == 0 else found.bands is None


def test_premultiplied_alpha_is_divided_out_at_full_depth():
    straight = pictures.noise(7, 9, 4, np.uint16)
    straight[..., 3] = straight[..., 3] // 2 + 32768
    premultiplied = straight.copy()
    premultiplied[..., :3] = np.rint(straight[..., :3] * (straight[..., 3:] / 65535))
    data = pictures.tiff(premultiplied, {338: (3, [1])})
    found = read(data)
    assert np.array_equal(found.alpha, straight[..., 3])
    assert np.abs(found.pixels.astype(int) - straight[..., :3]).max() <= 1


ARRANGEMENTS = [
    {},
    {"compression": "zlib", "predictor": True},
    {"tile": (16, 32)},
    {"tile": (32, 16), "compression": "zlib", "predictor": True},
    {"rowsperstrip": 3},
    {"planarconfig": "separate"},
    {"planarconfig": "separate", "compression": "zlib", "rowsperstrip": 5},
]


@pytest.mark.parametrize("options", ARRANGEMENTS, ids=str)
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_tiff_of_another_writer(options, byteorder, bigtiff):
    tifffile = pytest.importorskip("tifffile")
    for dtype, channels in product((np.uint8, np.uint16), (3, 4, 5)):
        samples, file = pictures.noise(37, 41, channels, dtype), BytesIO()
        stored = np.moveaxis(samples, 2, 0) if "planarconfig" in options else samples
        tifffile.imwrite(file, stored, photometric="rgb", byteorder=byteorder, bigtiff=bigtiff, **options)
        assert np.array_equal(samples_of(file.getvalue()), samples)
        found = read(file.getvalue())
        assert np.array_equal(found.pixels, samples[..., :3])
        assert found.info.dpi is None


@pytest.mark.parametrize("compression", ["raw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_tiff_written_here_is_read_by_another_reader(compression, dtype, channels):
    tifffile = pytest.importorskip("tifffile")
    samples = pictures.noise(29, 31, channels, dtype).reshape(29, 31, channels)
    data = tiff.write(samples, compression, ImageFileDirectory_v2())
    assert np.array_equal(tifffile.imread(BytesIO(data)).reshape(samples.shape), samples)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 70), st.sampled_from(["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"]))
def test_tiff_of_every_compression_returns(height, width, compression):
    for channels, dtype in ((1, np.uint8), (3, np.uint8), (3, np.uint16), (4, np.uint16)):
        samples = pictures.noise(height, width, channels, dtype).reshape(height, width, channels)
        found = read(tiff.write(samples, compression, ImageFileDirectory_v2()))
        assert np.array_equal(np.atleast_3d(found.pixels), samples[..., :3])
        assert channels < 4 or np.array_equal(found.alpha, samples[..., 3])


def test_pictures_of_many_strips_return():
    samples = pictures.noise(700, 400, 3, np.uint16)
    for compression in ("tiff_lzw", "tiff_adobe_deflate"):
        data = tiff.write(samples, compression, ImageFileDirectory_v2())
        assert len(tiff.pages(data)[0][273]) > 3
        assert np.array_equal(read(data).pixels, samples)


# Bands beyond alpha

BANDS = [(2, 4, (0,)), (2, 5, (0, 0)), (2, 5, (2, 0)), (2, 6, (0, 2, 0)), (1, 2, (0,)), (1, 2, (2,))]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("photometric", "channels", "extra"), BANDS, ids=str)
def test_bands_beyond_alpha_come_back_untouched(dtype, photometric, channels, extra):
    samples = pictures.noise(9, 11, channels, dtype)
    data = pictures.tiff(samples, {262: (3, [photometric]), 338: (3, extra)})
    found = read(data)
    result = images.encoded(replace(found, pixels=found.pixels // 2))
    assert result.notes == ()
    again = tiff.pages(result.data)[0]
    assert (again[262], again[338]) == (photometric, extra)
    colours = 3 if photometric == 2 else 1
    assert np.array_equal(samples_of(result.data)[..., colours:], samples[..., colours:])
    assert np.array_equal(samples_of(result.data)[..., :colours], samples[..., :colours] // 2)


def test_bands_turn_with_the_picture_and_are_named_where_they_cannot_go():
    samples = pictures.noise(5, 7, 4)
    found = read(pictures.tiff(samples, {338: (3, [0]), 274: (3, [6])}))
    assert np.array_equal(found.bands[..., 0], np.rot90(samples[..., 3], -1))
    assert np.array_equal(read(encode(found)).bands, found.bands)
    assert images.encoded(found, "PNG").notes == ("1 further band left out: not supported by PNG",)


def test_three_grey_bands_of_sixteen_bits_are_colours_and_stay_so_called():
    samples = pictures.noise(5, 7, 4, np.uint16)
    found = read(pictures.tiff(samples, {262: (3, [1]), 338: (3, [0, 0, 0])}))
    assert np.array_equal(found.pixels, samples[..., :3])
    page = tiff.pages(encode(found))[0]
    assert (page[262], page[338]) == (1, (0, 0, 0))
    assert np.array_equal(samples_of(encode(found)), samples)


# Pages


def pages_of(*images_and_types):
    tifffile = pytest.importorskip("tifffile")
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for image, kind in images_and_types:
            photometric = "rgb" if image.ndim == 3 else "minisblack"
            writer.write(image, subfiletype=kind, photometric=photometric, metadata=None)
    return file.getvalue()


def with_mask(samples, mask):
    """A picture with a page of one bit a pixel behind it, of the kind of GDAL's masks."""
    info = images.Metadata(saving={"bands": tiff.Bands(2, mask=True)})
    return encode(images.Picture(samples, mask, "TIFF", info))


def test_a_mask_page_is_alpha_and_comes_back_as_a_page():
    samples, mask = pictures.noise(9, 11), (pictures.noise(9, 11, 1) > 127) * np.uint8(255)
    data = with_mask(samples, mask)
    main, page = tiff.pages(data)
    assert (page[254], page[262], page[258], page[256]) == (4, 4, (1,), 11)
    assert 338 not in main
    with Image.open(BytesIO(data)) as image:
        assert np.array_equal(np.asarray(image), samples)
    found = read(data)
    assert np.array_equal(found.alpha, mask)
    assert np.array_equal(read(encode(found)).alpha, mask)
    assert len(tiff.pages(encode(found))) == 2
    assert np.array_equal(read(encode(found, "PNG")).alpha, mask)


def test_overviews_are_named_and_documents_refused_by_their_pages():
    samples = pictures.noise(16, 24)
    found = read(pages_of((samples, 0), (samples[::2, ::2], 1), (samples[::4, ::4], 1)))
    assert found.notes == ("smaller copies of the original picture left out: 2 (overviews or thumbnails)",)
    with pytest.raises(ImageError, match="3 pages found, expected a single picture"):
        read(pages_of((samples, 0), (pictures.noise(16, 24, 1), 0), (samples, 0)))


@pytest.mark.parametrize("bigtiff", [False, True])
def test_tags_travel_and_none_is_invented(bigtiff):
    tifffile = pytest.importorskip("tifffile")
    place = (33922, "d", 6, (0.0, 0.0, 0.0, 500000.5, 5000000.25, 0.0), True)
    file = BytesIO()
    tifffile.imwrite(
        file, pictures.noise(9, 11), photometric="rgb", bigtiff=bigtiff, extratags=[place], description="survey 7"
    )
    page = tiff.pages(encode(read(file.getvalue())))[0]
    assert page[33922] == place[3]
    assert page[270] == "survey 7"
    assert read(file.getvalue()).info.dpi is None
    plain = tiff.write(pictures.noise(9, 11), "raw", ImageFileDirectory_v2())
    assert not {282, 283, 296}.intersection(tiff.pages(encode(read(plain)))[0])


def test_photoshops_layers_are_named():
    found = read(pictures.tiff(pictures.noise(9, 11), {37724: (1, list(b"Adobe Photoshop Document Data Block"))}))
    assert found.notes == ("Photoshop's layers left out, which show the picture as it was",)
    assert 37724 not in tiff.pages(encode(found))[0]


def test_a_directory_that_leads_back_to_itself_ends():
    data = bytearray(tiff.write(pictures.noise(9, 11), "raw", ImageFileDirectory_v2()))
    first = int.from_bytes(data[4:8], "little")
    following = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    data[following : following + 4] = first.to_bytes(4, "little")
    assert len(tiff.pages(bytes(data))) == 1
