"""PNG: 16 bits of every layout, chunks of any length, and what is safe to copy."""

import struct
import zlib
from io import BytesIO

import drawn_pictures as pictures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nedr.errors import ImageError
from nedr.pictures import images, png
from nedr.pictures.images import Metadata, encode, read


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([2, 3, 4]), st.booleans())
def test_png_with_every_filter_plain_and_interlaced(height, width, channels, interlaced):
    samples = pictures.noise(height, width, channels, np.uint16)
    data = pictures.png(samples, interlaced=interlaced, filters=(0, 1, 2, 3, 4))
    assert png.has_deep_colour(data)
    assert np.array_equal(png.read_deep_colour(Image.open(BytesIO(data)), data), samples)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from([2, 3, 4]))
def test_png_written_here_undoes_to_the_samples_by_the_book(height, width, channels):
    samples = pictures.noise(height, width, channels, np.uint16)
    chunks = pictures.png_chunks(png.with_chunks(png.write(samples), [(b"gAMA", b"\0\0\xb1\x8f")]))
    assert [kind for kind, _ in chunks] == [b"IHDR", b"gAMA", b"IDAT", b"IEND"]
    rows = np.frombuffer(zlib.decompress(chunks[2][1]), np.uint8).reshape(height, -1)
    assert (rows[:, 0] == 2).all()
    undone = np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8)  # filter Up
    assert np.array_equal(np.ascontiguousarray(undone).view(">u2").reshape(samples.shape), samples)


def test_pictures_of_many_strips_return():
    samples = pictures.noise(700, 400, 3, np.uint16)
    assert np.array_equal(read(png.write(samples)).pixels, samples)


LONG = b"<x:xmpmeta>" + b"0123456789abcdef" * 100_000 + b"</x:xmpmeta>"  # 1.6 MB


def with_extra(*extra):
    return png.with_chunks(pictures.pillow_bytes(pictures.noise(9, 11), "PNG"), extra)


@pytest.mark.parametrize("is_packed", [False, True])
def test_xmp_texts_and_profiles_of_over_a_megabyte_are_kept(is_packed):
    xmp = b"XML:com.adobe.xmp\0" + (b"\1\0\0\0" + zlib.compress(LONG) if is_packed else bytes(4) + LONG)
    texts = [(b"zTXt", b"Long\0\0" + zlib.compress(LONG)), (b"tEXt", b"Longer\0" + LONG)]
    profile = pictures.profile() + bytes(1_500_000)
    found = read(with_extra((b"iTXt", xmp), (b"iCCP", b"own\0\0" + zlib.compress(profile)), *texts))
    assert found.info.xmp == LONG
    assert found.info.icc == profile
    again = encode(found)
    assert read(again).info.xmp == LONG
    assert [chunk for chunk in pictures.png_chunks(again) if chunk[0] in (b"zTXt", b"tEXt")] == texts


def test_what_unfolds_without_end_is_left_out_with_a_note(monkeypatch):
    monkeypatch.setattr(png, "MOST_TEXT", 1_000_000)
    packed = zlib.compress(bytes(3_000_000))
    found = read(with_extra((b"iCCP", b"own\0\0" + packed), (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed)))
    assert (found.info.icc, found.info.xmp) == (None, None)
    assert [note.partition(" left out")[0] for note in found.notes] == ["colour profile", "XMP"]


def test_chunks_that_are_safe_to_copy_are_kept_and_others_named():
    resolution = (b"pHYs", struct.pack(">2IB", 3, 4, 0))  # a shape of pixels, not a resolution
    colours = [(b"mDCV", bytes(24)), (b"cLLI", bytes(8))]
    found = read(with_extra((b"caBX", b"signed"), (b"prVt", b"own"), resolution, *colours))
    assert found.notes == ("chunk caBX left out, which may not fit the changed picture",)
    again = encode(found)
    assert {(b"prVt", b"own"), resolution, *colours} <= set(pictures.png_chunks(again))
    assert b"caBX" not in again


def test_what_lies_where_a_chunk_should_be_is_not_copied():
    """A chunk's type is four letters; behind a damaged end there may be anything."""
    data = with_extra((b"prVt", b"own"))
    found = read(data[:-12] + b"\0\0\0\x03 han3 2\0\0\0\0" + data[-12:])
    assert {kind for kind, _ in pictures.png_chunks(encode(found))} == {b"IHDR", b"prVt", b"IDAT", b"IEND"}


def test_texts_are_named_where_another_format_loses_them():
    found = read(with_extra((b"tEXt", b"Title\0haze"), (b"tEXt", b"Author\0me")))
    assert images.encoded(found, "JPEG").notes == ("text 'Title', text 'Author' left out: not supported by JPEG",)


def blank(width, height, depth, colour):
    """A PNG of one colour, a thousandth of what it unfolds to."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    row = bytes(1 + width * channels * depth // 8)
    packer = zlib.compressobj()
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0)
    return pictures.png_file([(b"IHDR", header), (b"IDAT", body), (b"IEND", b"")])


def test_work_is_bounded_by_what_the_header_says():
    deep = blank(500, 500, 16, 6)
    with pytest.raises(ImageError, match="of 64 bits each"):
        read(deep, max_pixels=400_000)
    assert read(deep, max_pixels=500_000).pixels.shape == (500, 500, 3)
    with pytest.raises(ImageError, match="MB of pixels"):
        read(blank(8000, 3000, 16, 6))


def test_a_picture_with_long_metadata_travels_between_formats():
    for kind in ("PNG", "TIFF", "WEBP"):
        found = read(encode(pictures.picture(info=Metadata(xmp=LONG)), kind))
        assert found.info.xmp == LONG
