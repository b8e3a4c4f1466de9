"""Any picture file in, the same kind out: size, depth, grey, alpha; hostile files end in one line, never in a crash."""

import random
import struct
import sys
import tracemalloc
import zlib
from io import BytesIO, StringIO
from itertools import product

import drawn_pictures as pictures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nedr.errors import ImageError, MissingExtraError, NedrError, UsageError
from nedr.pictures import images
from nedr.pictures.images import Metadata, Picture, encode, read

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

LOSSLESS = {
    **{
        ("PNG", channels, dtype, alpha): {} for channels, dtype, alpha in product((1, 3), (np.uint8, np.uint16), (0, 1))
    },
    **{("TIFF", channels, dtype, 0): {} for channels, dtype in product((1, 3), (np.uint8, np.uint16))},
    ("TIFF", 1, np.uint8, 1): {},
    ("TIFF", 3, np.uint8, 1): {},
    ("TIFF", 3, np.uint16, 1): {},
    ("TIFF", 1, np.uint16, 1): {},
    **{("PPM", channels, dtype, 0): {} for channels, dtype in product((1, 3), (np.uint8, np.uint16))},
    ("BMP", 1, np.uint8, 0): {},
    ("BMP", 3, np.uint8, 0): {},
    ("BMP", 3, np.uint8, 1): {},
    ("WEBP", 3, np.uint8, 0): {"lossless": True},
    ("WEBP", 3, np.uint8, 1): {"lossless": True},
}
sizes = st.integers(1, 40)


def same(a, b):
    return (a is None and b is None) or (a.dtype == b.dtype and np.array_equal(a, b))


@settings(deadline=None, max_examples=15)
@given(height=sizes, width=sizes)
@pytest.mark.parametrize("layout", LOSSLESS, ids=lambda v: f"{v[0]}-{v[1]}-{np.dtype(v[2]).name}-{'alpha' * v[3]}")
def test_lossless_formats_return_every_sample(layout, height, width):
    kind, channels, dtype, alpha = layout
    source = pictures.picture(height, width, channels, dtype, alpha, kind, Metadata(saving=LOSSLESS[layout]))
    found = read(encode(source))
    assert found.format == kind
    assert same(found.pixels, source.pixels)
    assert same(found.alpha, source.alpha)
    assert same(read(encode(found)).pixels, source.pixels)


@settings(deadline=None, max_examples=10)
@given(height=sizes, width=sizes)
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("alpha", [False, True])
def test_lossy_formats_keep_size_looks_and_alpha(kind, alpha, height, width):
    opacity = pictures.noise(height, width, 1) if alpha and kind != "JPEG" else None
    source = Picture(pictures.smooth(height, width), opacity, kind, Metadata())
    found = read(encode(source))
    assert found.pixels.shape == source.pixels.shape
    assert np.abs(found.pixels.astype(int) - source.pixels).mean() <= 2.5  # AVIF of 2 x 1 pixels has 2.5
    assert same(found.alpha, source.alpha)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "PPM"])
def test_grey_stays_grey(kind):
    source = Picture(pictures.smooth(20, 30)[..., 0], None, kind, Metadata())
    found = read(encode(source))
    assert found.pixels.shape == (20, 30)
    assert read(encode(found)).pixels.shape == (20, 30)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "BMP"])
def test_eight_bit_formats_round_sixteen(kind):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    deep = Picture(values, None, "PNG", Metadata())
    rounded = Picture(np.rint(values / 257).astype(np.uint8), None, "PNG", Metadata())
    assert encode(deep, kind) == encode(rounded, kind)


def test_what_a_format_cannot_hold_is_named():
    info = Metadata(exif=pictures.exif(), icc=pictures.profile(), xmp=b"<x/>")
    source = pictures.picture(dtype=np.uint16, info=info)
    assert images.encoded(source, "TIFF").notes == ()
    assert images.encoded(source, "JPEG").notes == ("16 bits per sample rounded to 8, since JPEG holds no more",)
    assert images.encoded(source, "PPM").notes == (
        "colours converted to sRGB, since PPM cannot hold their profile",
        "EXIF and XMP left out: not supported by PPM",
    )


@pytest.mark.parametrize("target", ["PNG", "TIFF", "WEBP", "BMP"])
def test_sixteen_bit_grey_with_alpha_goes_where_it_can(target):
    source = pictures.picture(channels=1, dtype=np.uint16, alpha=True)
    data = encode(source, target)
    expected = source.alpha if target in ("PNG", "TIFF") else np.rint(source.alpha / 257).astype(np.uint8)
    assert same(read(data).alpha, expected)


# Layouts other programs write


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_palettes_become_rgb_with_a_note(kind):
    palette = Image.fromarray(pictures.noise(9, 11)).quantize(16)
    found = read(pictures.pillow_bytes(palette, kind))
    assert np.array_equal(found.pixels, np.asarray(palette.convert("RGB")))
    assert found.alpha is None
    assert any("palette" in note for note in found.notes)


def test_palette_with_transparency_gets_alpha():
    palette = Image.fromarray(pictures.noise(9, 11)).quantize(16)
    found = read(pictures.pillow_bytes(palette, "PNG", transparency=bytes(range(0, 160, 10))))
    assert np.array_equal(found.alpha, np.asarray(palette) * 10)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "BMP"])
def test_bilevel_becomes_grey(kind):
    bits = pictures.noise(9, 11, 1) > 127
    found = read(pictures.pillow_bytes(Image.fromarray(bits), kind))
    assert np.array_equal(found.pixels, bits * np.uint8(255))
    assert np.array_equal(read(encode(found)).pixels, found.pixels)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_transparent_grey_of_few_bits_becomes_alpha(bits):
    step = 255 // (2**bits - 1)
    levels = pictures.noise(9, 11, 1) // step
    levels[0, 0] = 2
    rows = np.packbits((levels[..., None] >> np.arange(bits - 1, -1, -1) & 1).reshape(9, -1), axis=1)
    body = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())  # each row behind a 0, for no filter
    header = struct.pack(">2I5B", 11, 9, bits, 0, 0, 0, 0)
    found = read(pictures.png_file([(b"IHDR", header), (b"tRNS", b"\0\2"), (b"IDAT", body), (b"IEND", b"")]))
    assert np.array_equal(found.pixels, levels * step)
    assert np.array_equal(found.alpha == 0, levels == 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_colour_of_sixteen_bits_becomes_alpha(channels):
    samples = pictures.noise(9, 11, channels, np.uint16).reshape(9, 11, channels)
    samples[3, 4] = samples[0, 0]
    samples[5, 5] = samples[0, 0] ^ 1  # differs in the last bit only
    found = read(pictures.png(samples, key=samples[0, 0].astype(">u2").tobytes()))
    assert np.array_equal(np.atleast_3d(found.pixels), samples)
    assert np.argwhere(found.alpha == 0).tolist() == [[0, 0], [3, 4]]
    assert found.alpha.max() == 65535


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_tiff_with_white_zero_is_inverted(dtype):
    samples = pictures.noise(9, 11, 1, dtype).reshape(9, 11, 1)
    found = read(pictures.tiff(samples, {262: (3, [0])}))
    assert np.array_equal(found.pixels, np.iinfo(dtype).max - samples[..., 0])
    assert np.array_equal(read(encode(found)).pixels, found.pixels)


def test_twelve_bit_tiff_fills_sixteen():
    levels = np.array([[0, 1, 2048, 4095]])
    packed = b"".join(int(a << 12 | b).to_bytes(3, "big") for a, b in levels.reshape(-1, 2))
    data = pictures.tiff(np.frombuffer(packed, np.uint8).reshape(1, 6, 1), {256: (4, [4]), 258: (3, [12])})
    assert read(data).pixels.tolist() == [[0, 16, 32776, 65535]]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_srgb_with_a_note(kind):
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[:, 8:, 1:3] = 255  # red
    found = read(pictures.pillow_bytes(pictures.cmyk(ink), kind, icc_profile=pictures.profile()))
    assert found.pixels.shape == (16, 16, 3)
    assert found.info.icc is None
    assert np.abs(found.pixels[0, [0, 15]].astype(int) - [[255, 255, 255], [255, 0, 0]]).max() < 12
    assert any("CMYK" in note for note in found.notes)
    assert read(encode(found)).pixels.shape == (16, 16, 3)


def test_text_netpbm_is_read():
    assert read(b"P3 2 1 255 1 2 3 4 5 6").pixels.tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert read(b"P2\n2 1\n65535\n256 65535\n").pixels.tolist() == [[256, 65535]]


def test_a_jpeg_with_further_pictures_gives_the_first_and_says_so():
    first, second = Image.fromarray(pictures.smooth(16, 24)), Image.new("RGB", (8, 8))
    data = pictures.pillow_bytes(first, "MPO", save_all=True, append_images=[second])
    found = read(data)
    assert (found.format, found.pixels.shape) == ("JPEG", (16, 24, 3))
    assert any("2 pictures" in note for note in found.notes)
    assert len(read(encode(found)).notes) == 0


def test_a_tiff_may_carry_a_thumbnail():
    picture, small = Image.fromarray(pictures.smooth(16, 24)), Image.fromarray(pictures.smooth(4, 6))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    found = read(pictures.pillow_bytes(picture, "TIFF", save_all=True, append_images=[small]))
    assert np.array_equal(found.pixels, np.asarray(picture))


def test_heif_is_read_where_its_reader_is_installed():
    pillow_heif = pytest.importorskip("pillow_heif")
    file = BytesIO()
    block = b"Exif\0\0" + pictures.exif(6, size=(34, 26))
    heif = pillow_heif.from_pillow(Image.fromarray(pictures.smooth(26, 34)))
    heif.save(file, quality=95, exif=block, icc_profile=pictures.profile())
    found = read(file.getvalue())
    assert found.format == "HEIF"
    assert np.abs(found.pixels.astype(int) - np.rot90(pictures.smooth(26, 34), -1)).mean() < 3
    assert pictures.parsed_exif(found.info.exif)[0x0112] == 1
    assert read(encode(found)).format == "JPEG"
    with pytest.raises(UsageError, match="HEIF cannot be written"):
        encode(found, "HEIF")


def test_heif_without_its_reader_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtraError, match=r"\[heif\]"):
        read(struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic")


# Sources


def test_paths_bytes_and_files_give_the_same_picture(tmp_path):
    data = encode(pictures.picture())
    path = tmp_path / "Überblick 霞.jpg"  # the suffix is wrong on purpose
    path.write_bytes(data)
    with path.open("rb") as file:
        sources = [path, str(path), data, bytearray(data), BytesIO(data), file]
        found = [read(source) for source in sources]
    assert {f.format for f in found} == {"PNG"}
    assert all(same(f.pixels, found[0].pixels) for f in found)


def test_pixels_and_alpha_are_contiguous_for_every_kind():
    for name, data in pictures.every_kind().items():
        found = read(data)
        assert found.pixels.flags.c_contiguous, name
        assert found.alpha is None or found.alpha.flags.c_contiguous, name
        assert found.alpha is None or found.alpha.shape == found.pixels.shape[:2], name


@pytest.mark.parametrize("suffix", images.SUFFIXES)
def test_suffixes_name_formats(suffix):
    assert images.format_for(f"a/b.c{suffix.upper()}") == images.SUFFIXES[suffix]


@pytest.mark.parametrize("name", ["photo", "photo.psd", ".png/photo", "photo.jpg.txt"])
def test_other_suffixes_are_usage_errors(name):
    with pytest.raises(UsageError, match="suffix"):
        images.format_for(name)


# Refusals


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_animations_are_refused(kind):
    frames = [Image.fromarray(pictures.noise(16, 16, seed=i)) for i in range(3)]
    data = pictures.pillow_bytes(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"animated \(3 frames\).*extract"):
        read(data)


def test_pages_are_refused():
    pages = [Image.fromarray(pictures.noise(16, 16, seed=i)) for i in range(2)]
    with pytest.raises(ImageError, match="2 pages"):
        read(pictures.pillow_bytes(pages[0], "TIFF", save_all=True, append_images=pages[1:]))


@pytest.mark.parametrize("samples", [np.zeros((3, 4), np.float32), np.zeros((3, 4), np.int32)])
def test_other_samples_are_refused(samples):
    with pytest.raises(ImageError, match="8 or 16 bits"):
        read(pictures.pillow_bytes(samples, "TIFF"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\0" * 500, "not a picture"),
        (b"hello there", "not a picture"),
        (b"GIF89a" + bytes(20), "GIF"),
        (b"<html>404</html>", "text"),
        (b"%PDF-1.7", "PDF"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\0\0\0\x20ftypisom" + bytes(20), "video"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"P6 0 5 255\n", "PPM"),
    ],
)
def test_what_is_no_picture_says_so_in_one_line(data, words):
    with pytest.raises(ImageError, match=rf"^[^\n]*{words}[^\n]*$"):
        read(data)


def test_paths_that_are_no_files_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read(tmp_path / "missing.jpg")
    with pytest.raises(UsageError, match="folder"):
        read(tmp_path)
    with pytest.raises(ImageError):
        read("nul\0.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"empty\.jpg is empty"):
        read(tmp_path / "empty.jpg")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX device files")
def test_endless_devices_are_refused():
    with pytest.raises(UsageError, match="device"):
        read("/dev/zero")


def test_text_files_are_refused():
    with pytest.raises(ImageError, match="'rb'"):
        read(StringIO("text"))


def gigantic(width, height):
    """Small files whose headers promise `width` x `height`."""
    png = pictures.png_file([(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"")])
    bmp = struct.pack("<2sIIIIiiHHIIiiII", b"BM", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    tiff = pictures.tiff(pictures.noise(1, 1, dtype=np.uint16), {256: (4, [width]), 257: (4, [height])})
    return {"PNG": png, "BMP": bmp, "TIFF": tiff, "PPM": b"P6 %d %d 255\n" % (width, height)}


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_gigantic_headers_are_refused_before_decoding(kind):
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=r"10000 megapixels found, expected at most (300|200 of 48 bits each);"):
            read(gigantic(100_000, 100_000)[kind])
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", pictures.every_kind())
def test_the_limit_is_ours_not_pillows(name, monkeypatch, recwarn):
    data = pictures.every_kind()[name]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    pixels = read(data).pixels
    assert Image.MAX_IMAGE_PIXELS == 2
    assert not recwarn.list
    bits = 80 if "bands" in name else 64 if ("uint16" in name and "PNG 3" in name) or "TIFF 3 uint16" in name else 32
    count = -(-pixels.shape[0] * pixels.shape[1] * max(32, bits) // 32)
    assert read(data, max_pixels=count).pixels.shape == pixels.shape
    with pytest.raises(ImageError, match="megapixels"):
        read(data, max_pixels=count - 1)
    assert Image.MAX_IMAGE_PIXELS == 2


def test_encode_refuses_what_would_lose_transparency():
    source = pictures.picture(alpha=True)
    for kind in ("JPEG", "PPM"):
        with pytest.raises(UsageError, match="transparency"):
            encode(source, kind)
        opaque = Picture(source.pixels, np.full_like(source.alpha, 255), "PNG", Metadata())
        assert read(encode(opaque, kind)).alpha is None


@pytest.mark.parametrize(("kind", "quality"), [("XCF", None), ("", 0), ("JPEG", 101), ("JPEG", -1), ("HEIF", None)])
def test_encode_refuses_wrong_options(kind, quality):
    with pytest.raises(UsageError):
        encode(pictures.picture(), kind, quality=quality)


def test_too_large_for_the_format_is_an_image_error():
    with pytest.raises(ImageError, match="written as WEBP"):
        encode(Picture(np.zeros((1, 20000, 3), np.uint8), None, "PNG", Metadata()), "WEBP")


# Hostile files


def damaged(data, luck):
    """`data` cut short, or with a few bits or bytes changed; a PNG's checksums are repaired every other time."""
    kind = luck.randrange(3)
    if kind == 0:
        return data[: luck.randrange(len(data))]
    broken = bytearray(data)
    for _ in range(luck.randint(1, 5)):
        place = luck.randrange(len(broken))
        broken[place] = broken[place] ^ (1 << luck.randrange(8)) if kind == 1 else luck.randrange(256)
    if data.startswith(b"\x89PNG") and luck.random() < 0.5:
        return pictures.png_file(pictures.png_chunks(bytes(broken)))
    return bytes(broken)


def survives(data, path, kind):
    """Whether `data` is read, looked at, and written to `path`, or else the one line that says why not."""
    try:
        found = read(data, max_pixels=2_000_000)
        found.from_srgb(found.to_srgb(found.pixels[:2, :2]))
        images.write(path, encode(found, kind))
    except NedrError as error:
        return str(error)
    return read(path).pixels.shape == found.pixels.shape


@pytest.mark.parametrize("name", pictures.every_kind())
def test_damaged_files_raise_nothing_but_our_errors(name, tmp_path):
    """140 of each of 17 kinds or more, 2,380 in all."""
    data, luck = pictures.every_kind()[name], random.Random(name)
    for number in range(140):
        path = tmp_path / f"{number}.png"
        outcome = survives(damaged(data, luck), path, "PNG" if number % 4 == 0 else None)
        assert outcome is True or (20 < len(outcome) < 400 and "\n" not in outcome and not path.exists()), outcome
    assert all(path.suffix == ".png" for path in tmp_path.iterdir())


@pytest.mark.parametrize("name", pictures.every_kind())
def test_truncated_files_are_refused_wherever_pixels_are_missing(name):
    data = pictures.every_kind()[name]
    for share in (0.1, 0.3, 0.5, 0.7):
        with pytest.raises(NedrError):
            read(data[: int(len(data) * share)])
