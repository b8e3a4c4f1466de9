"""EXIF, XMP, IPTC, texts, resolution and compression travel; what an upright picture belies is corrected."""

import re
from contextlib import suppress
from dataclasses import replace
from io import BytesIO

import drawn_pictures as pictures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps, JpegImagePlugin
from PIL.PngImagePlugin import PngInfo

from nedr.errors import NedrError
from nedr.pictures import metadata
from nedr.pictures.images import Metadata, Picture, encode, read

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

CARRYING = ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"]


def tagged(kind, orientation, **extra):
    """A file whose pixels lie as EXIF's `orientation` says, and what Pillow makes of it upright."""
    options = (
        {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": "4:4:4"} if kind == "AVIF" else {}
    )
    options |= {"subsampling": 0, "quality": 100} if kind == "JPEG" else {}
    block = b"Exif\0\0" + pictures.exif(orientation, **extra)
    data = pictures.pillow_bytes(pictures.smooth(26, 34), kind, exif=block, **options)
    with Image.open(BytesIO(data)) as image:
        return data, np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("kind", CARRYING)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once_and_its_tag_made_true(kind, orientation):
    data, upright = tagged(kind, orientation)
    first = read(data)
    assert first.pixels.shape == upright.shape
    assert np.abs(first.pixels.astype(int) - upright).max() <= (0 if kind in ("PNG", "TIFF", "WEBP") else 2)
    again = read(encode(first))
    assert again.pixels.shape == first.pixels.shape
    assert np.abs(again.pixels.astype(int) - first.pixels).mean() < 2
    with Image.open(BytesIO(encode(first))) as image:
        assert image.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_orientation_of_deep_tiff(orientation, channels):
    samples = pictures.noise(5, 7, channels, np.uint16).reshape(5, 7, channels)
    alpha = {338: (3, [2])} if channels == 4 else {}
    lying = read(pictures.tiff(samples, {274: (3, [orientation]), **alpha}))
    swap = orientation > 4
    flip, mirror = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    expected = samples.swapaxes(0, 1) if swap else samples
    expected = expected[:: -1 if flip else 1, :: -1 if mirror else 1]
    assert np.array_equal(np.atleast_3d(lying.pixels), expected[..., :3])
    assert channels < 4 or np.array_equal(lying.alpha, expected[..., 3])


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("target", CARRYING)
@pytest.mark.parametrize("source", CARRYING)
def test_exif_position_and_maker_note_travel_between_formats(source, target, orientation):
    data, _ = tagged(source, orientation, size=(34, 26))
    tags = pictures.parsed_exif(read(encode(read(data), target)).info.exif)
    assert tags[0x010F] == "Maker"
    assert tags[0x927C] == b"\1\2maker's own\xff"
    assert tags[0x829A] == pytest.approx(0.004)
    assert [float(part) for part in tags["gps", 2]] == [47.0, 30.0, 12.5]
    assert (tags["gps", 1], tags["gps", 3]) == ("N", "E")
    assert tags.get(0x0112, 1) == 1
    assert (tags[0xA002], tags[0xA003]) == ((26, 34) if orientation == 6 else (34, 26))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_dimensions_in_a_heif_are_those_of_the_picture_as_it_is_turned(orientation):
    pillow_heif = pytest.importorskip("pillow_heif")
    file = BytesIO()
    heif = pillow_heif.from_pillow(Image.fromarray(pictures.smooth(26, 34)))
    heif.save(file, quality=95, exif=b"Exif\0\0" + pictures.exif(orientation, size=(34, 26)))
    found = read(file.getvalue())
    tags = pictures.parsed_exif(found.info.exif)
    assert (tags[0xA002], tags[0xA003]) == found.pixels.shape[1::-1]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_is_kept_byte_for_byte_but_for_what_turning_changes(kind):
    before = pictures.exif(1)
    data = pictures.pillow_bytes(pictures.smooth(26, 34), kind, exif=b"Exif\0\0" + before)
    assert read(encode(read(data))).info.exif == before
    turned = metadata.upright_exif(pictures.exif(6), turned=True)
    assert len(turned) == len(before)
    assert sum(a != b for a, b in zip(pictures.exif(6), turned, strict=True)) <= 1 + 2 * 4


def _in_order(xmp):
    """XMP whose width comes ahead of its height."""
    return re.sub(rb'(exif:PixelYDimension="\d+") (exif:PixelXDimension="\d+")', rb"\2 \1", xmp)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_stated_sizes_are_those_of_the_upright_picture(orientation):
    block = Image.Exif()
    block[0x0112], block[0x0100], block[0x0101] = orientation, 34, 26
    block.get_ifd(0x8769).update({0xA002: 34, 0xA003: 26})
    xmp = (
        b"<tiff:ImageWidth>34</tiff:ImageWidth><tiff:ImageLength>26</tiff:ImageLength>"
        b'<d tiff:Orientation="%d" exif:PixelXDimension="34" exif:PixelYDimension="26"/>' % orientation
    )
    data = pictures.pillow_bytes(pictures.smooth(26, 34), "JPEG", exif=block.tobytes(), xmp=xmp)
    found = read(encode(read(data)))
    tags, (height, width) = pictures.parsed_exif(found.info.exif), found.pixels.shape[:2]
    assert (tags[0x0100], tags[0x0101], tags[0xA002], tags[0xA003]) == (width, height, width, height)
    assert b"<tiff:ImageWidth>%d</tiff:ImageWidth>" % width in found.info.xmp
    assert b"<tiff:ImageLength>%d</tiff:ImageLength>" % height in found.info.xmp
    assert b'exif:PixelXDimension="%d" exif:PixelYDimension="%d"' % (width, height) in _in_order(found.info.xmp)


def test_the_thumbnail_of_the_hazy_picture_is_unlinked():
    block = pictures.exif(1, thumbnail=True)
    before, after = Image.Exif(), Image.Exif()
    before.load(block)
    after.load(metadata.upright_exif(block, turned=False))
    assert before.get_ifd(ExifTags.IFD.IFD1)
    assert not after.get_ifd(ExifTags.IFD.IFD1)


@settings(deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_no_exif_block_is_too_broken(noise, turned):
    for block in (noise, b"II*\0\x08\0\0\0" + noise, b"MM\0*\0\0\0\x08" + noise):
        assert len(metadata.upright_exif(block, turned=turned)) == len(block)


@settings(deadline=None)
@given(st.data())
def test_no_damaged_exif_stops_a_jpeg(data):
    block = bytearray(pictures.exif(6, thumbnail=True))
    for _ in range(data.draw(st.integers(1, 6))):
        block[data.draw(st.integers(8, len(block) - 1))] = data.draw(st.integers(0, 255))
    jpeg = pictures.pillow_bytes(pictures.smooth(8, 8), "JPEG", exif=b"Exif\0\0" + bytes(block))
    found = read(jpeg)
    assert len(read(encode(found)).info.exif) == len(block)
    for kind in ("TIFF", "AVIF", "PNG"):
        with suppress(NedrError):
            encode(found, kind)


@pytest.mark.parametrize("kind", CARRYING)
def test_xmp_is_kept_and_its_orientation_made_true(kind):
    for xmp, upright in (
        (b'<a tiff:Orientation="6" b="6"/>', b'<a tiff:Orientation="1" b="6"/>'),
        (b"<tiff:Orientation>8</tiff:Orientation>", b"<tiff:Orientation>1</tiff:Orientation>"),
    ):
        lying = Metadata(exif=pictures.exif(6), xmp=xmp)
        data = encode(Picture(pictures.smooth(8, 9), None, kind, lying))
        assert read(data).info.xmp == upright
        assert read(encode(read(data))).info.xmp == upright


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_resolution_is_kept(kind, dtype):
    data = encode(pictures.picture(kind=kind, dtype=dtype, info=Metadata(dpi=(300.0, 240.0))))
    assert read(data).info.dpi == pytest.approx((300, 240), abs=0.02)
    assert read(encode(read(data))).info.dpi == pytest.approx((300, 240), abs=0.02)


@pytest.mark.parametrize("kind", CARRYING)
@pytest.mark.parametrize(("channels", "icc"), [(3, pictures.profile()), (1, pictures.profile(grey=True))])
def test_profiles_are_kept(kind, channels, icc):
    if kind == "WEBP" and channels == 1:
        pytest.skip("WebP has no grey: such a picture becomes sRGB (tested below)")
    for dtype in (np.uint8, np.uint16):
        assert (
            read(encode(pictures.picture(channels=channels, dtype=dtype, kind=kind, info=Metadata(icc=icc)))).info.icc
            == icc
        )


@pytest.mark.parametrize("kind", ["BMP", "PPM"])
def test_formats_without_profiles_get_srgb_colours(kind):
    source = pictures.picture(info=Metadata(icc=pictures.profile()))
    found = read(encode(source, kind))
    assert found.info.icc is None
    assert np.array_equal(found.pixels, source.to_srgb(source.pixels))
    assert not np.array_equal(found.pixels, source.pixels)


def test_grey_with_a_profile_becomes_srgb_in_webp():
    source = pictures.picture(channels=1, info=Metadata(icc=pictures.profile(grey=True, gamma=1.0)))
    found = read(encode(replace(source, format="WEBP", info=replace(source.info, saving={"lossless": True}))))
    assert found.info.icc is None
    assert np.array_equal(found.pixels, np.repeat(source.to_srgb(source.pixels)[..., None], 3, axis=2))


def test_a_broken_profile_is_noted_and_kept():
    data = pictures.pillow_bytes(pictures.smooth(8, 8), "JPEG", icc_profile=b"not a profile")
    found = read(data)
    assert any("profile" in note for note in found.notes)
    assert read(encode(found)).info.icc == b"not a profile"
    assert np.array_equal(found.to_srgb(found.pixels), found.pixels)


# Compression


@pytest.mark.parametrize("quality", [35, 75, 95])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_is_compressed_as_it_was(quality, subsampling, progressive):
    options = {"quality": quality, "subsampling": subsampling, "progressive": progressive, "comment": b"by hand"}
    source = pictures.pillow_bytes(pictures.smooth(40, 50), "JPEG", **options)
    with Image.open(BytesIO(source)) as before, Image.open(BytesIO(encode(read(source)))) as after:
        assert after.quantization == before.quantization
        assert JpegImagePlugin.get_sampling(after) == subsampling
        assert bool(after.info.get("progressive")) == progressive
        assert after.info["comment"] == b"by hand"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [None, 60, 97])
def test_jpeg_quality_is_92_unless_stated(channels, quality):
    pixels = pictures.noise(16, 16, channels)
    expected = pictures.pillow_bytes(pixels, "JPEG", quality=quality or 92)
    for source in (Picture(pixels, None, "PNG", Metadata()), read(pictures.pillow_bytes(pixels, "JPEG", quality=30))):
        if source.format == "JPEG" and quality is None:
            continue
        data = encode(source, "JPEG", quality=quality)
        with Image.open(BytesIO(expected)) as before, Image.open(BytesIO(data)) as after:
            assert after.quantization == before.quantization
    if channels == 3:
        with Image.open(BytesIO(encode(Picture(pixels, None, "PNG", Metadata()), "JPEG"))) as image:
            assert JpegImagePlugin.get_sampling(image) == 0


def test_iptc_and_extended_xmp_of_jpeg_are_kept():
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x07\x1c\x02\x05\0\x02Hi\0"
    extended = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40 + b"<more/>"
    segments = b"".join(
        b"\xff" + bytes([number]) + (len(body) + 2).to_bytes(2, "big") + body
        for number, body in ((0xED, iptc), (0xE1, extended), (0xE2, b"MPF\0stale"))
    )
    data = pictures.pillow_bytes(pictures.smooth(8, 8), "JPEG", extra=segments)
    with Image.open(BytesIO(encode(read(data)))) as image:
        bodies = [body for _, body in image.applist]
    assert iptc in bodies
    assert extended in bodies
    assert not any(body.startswith(b"MPF") for body in bodies)


@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"])
def test_tiff_compression_and_iptc_are_kept(compression):
    tags = {33723: (7, b"\x1c\x02\x05\0\x02Hi"), 34377: (1, b"8BIM")}
    saving = {"compression": compression, "tags": tags}
    data = encode(pictures.picture(kind="TIFF", dtype=np.uint16, info=Metadata(saving=saving)))
    with Image.open(BytesIO(encode(read(data)))) as image:
        assert image.info["compression"] == compression
        assert image.tag_v2[33723] == b"\x1c\x02\x05\0\x02Hi"
        assert image.tag_v2[34377] == b"8BIM"


def test_lossy_tiff_becomes_lossless():
    data = pictures.pillow_bytes(pictures.smooth(32, 32), "TIFF", compression="jpeg")
    found = read(data)
    assert np.array_equal(read(encode(found)).pixels, found.pixels)


@pytest.mark.parametrize("alpha", [False, True])
def test_lossless_webp_stays_so(alpha):
    samples = pictures.noise(20, 30, 4 if alpha else 3)
    data = pictures.pillow_bytes(samples, "WEBP", lossless=True, exact=True)
    found = read(encode(read(data)))
    assert np.array_equal(found.pixels, samples[..., :3])
    lossy = read(pictures.pillow_bytes(pictures.smooth(20, 30), "WEBP", quality=60))
    assert not lossy.info.saving["lossless"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_texts_and_colour_chunks_are_kept(dtype):
    extra = PngInfo()
    extra.add_text("Title", "haze")
    extra.add_itxt("Beschreibung", "dünn", "de", "Desc")
    extra.add(b"gAMA", b"\0\0\xb1\x8f")
    extra.add(b"sRGB", b"\0")
    first = read(pictures.pillow_bytes(pictures.smooth(8, 8), "PNG", pnginfo=extra))
    data = encode(replace(first, pixels=first.pixels.astype(dtype)))
    chunks = pictures.png_chunks(data)
    assert (b"gAMA", b"\0\0\xb1\x8f") in chunks
    assert (b"sRGB", b"\0") in chunks
    with Image.open(BytesIO(data)) as image:
        assert image.text["Title"] == "haze"
        assert (str(image.text["Beschreibung"]), image.text["Beschreibung"].lang) == ("dünn", "de")


def test_exif_as_imagemagick_writes_it_into_png_is_found():
    block = b"Exif\0\0" + pictures.exif(6)
    extra = PngInfo()
    extra.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n")
    found = read(pictures.pillow_bytes(pictures.smooth(8, 9), "PNG", pnginfo=extra))
    assert pictures.parsed_exif(found.info.exif)[0x010F] == "Maker"
    again = read(encode(found))
    assert again.pixels.shape == found.pixels.shape
