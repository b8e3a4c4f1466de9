"""Animations come in frame by frame and go out with their times, repetitions and metadata."""

from io import BytesIO

import drawn_pictures as pictures
import numpy as np
import pytest
from PIL import Image

from nedr.errors import ImageError
from nedr.pictures import animation, png
from nedr.pictures.images import encode, read

FILES = pictures.animations()


def facts(data):
    """Format, size, frame count, times and repetitions as Pillow reads them."""
    with Image.open(BytesIO(data)) as image:
        times = []
        for number in range(image.n_frames):
            image.seek(number)
            image.load()
            times.append(image.info["duration"])
        return image.format, image.size, times, image.info.get("loop")


@pytest.mark.parametrize("kind", FILES)
def test_frames_times_and_repetitions_return(kind):
    found = animation.read(FILES[kind])
    frames = list(found)
    assert found.durations == (40, 80, 120)
    assert [frame.shape for frame in frames] == [(20, 24, 3)] * 3
    darker = [frame // 2 for frame in frames]
    data = animation.encode(darker, found)
    assert facts(data) == facts(FILES[kind])
    for frame, expected in zip(animation.read(data), darker, strict=True):
        assert np.abs(frame.astype(int) - expected).mean() < (6 if kind == "GIF" else 2)


@pytest.mark.parametrize("target", animation.FORMATS)
def test_animations_become_one_another(target):
    found = animation.read(FILES["GIF"])
    data = animation.encode(list(found), found, target)
    kind, size, times, _ = facts(data)
    assert (kind, size, times) == (target, (24, 20), [40, 80, 120])


@pytest.mark.parametrize("kind", animation.FORMATS)
def test_transparency_moves_along(kind):
    frames = [np.dstack([pictures.smooth(20, 24), np.full((20, 24), 255, np.uint8)]) for _ in range(2)]
    frames[0][4:9, 5:12, 3], frames[1][10:, ::3, 3] = 0, 0
    like = animation.Animation("PNG", (50, 60), 0, True, FILES["PNG"])
    for frame, expected in zip(animation.read(animation.encode(frames, like, kind)), frames, strict=True):
        assert np.array_equal(frame[..., 3], expected[..., 3])


def test_metadata_of_an_animation_stay():
    extra = [*png.described(icc=pictures.profile(), exif=pictures.exif(), xmp=b"<x/>"), (b"tEXt", b"Title\0haze")]
    found = animation.read(png.with_chunks(FILES["PNG"], extra))
    chunks = pictures.png_chunks(animation.encode(list(found), found))
    assert {kind for kind, _ in chunks} >= {b"iCCP", b"eXIf", b"iTXt", b"tEXt", b"acTL"}
    frames = [Image.fromarray(frame) for frame in found]
    options = {"icc_profile": pictures.profile(), "exif": pictures.exif(), "xmp": b"<x/>", "lossless": True}
    found = animation.read(pictures.pillow_bytes(frames[0], "WEBP", save_all=True, append_images=frames[1:], **options))
    with Image.open(BytesIO(animation.encode(list(found), found))) as image:
        assert image.info["icc_profile"] == pictures.profile()
        assert image.info["xmp"] == b"<x/>"
        assert image.getexif()[0x010F] == "Maker"
    assert all(np.array_equal(a, b) for a, b in zip(found, frames, strict=True))


def test_single_pictures_are_no_animations():
    assert all(animation.read(data) is None for data in pictures.every_kind().values())


def test_what_cannot_be_says_why():
    found = animation.read(FILES["GIF"])
    with pytest.raises(ImageError, match="JPEG holds no animation"):
        animation.encode(list(found), found, "JPEG")
    with pytest.raises(ImageError, match=r"3 frames of 24 x 20 found, expected at most 0\.001 megapixels"):
        animation.read(FILES["GIF"], max_pixels=1000)
    for kind, data in FILES.items():
        with pytest.raises(ImageError, match=kind):
            list(animation.read(data[: len(data) * 2 // 3]) or read(data[: len(data) * 2 // 3]).pixels)


def test_a_still_gif_stays_one():
    source = pictures.every_kind()["GIF"]
    found = read(source)
    assert (found.format, found.notes, found.pixels.shape) == ("GIF", (), (13, 17, 3))
    again = read(encode(found))
    assert again.format == "GIF"
    assert np.abs(again.pixels.astype(int) - found.pixels).max() <= 8
    grey = read(encode(read(pictures.pillow_bytes(pictures.noise(9, 11, 1), "GIF"))))
    assert np.array_equal(grey.pixels, pictures.noise(9, 11, 1))


def test_a_still_gif_keeps_what_is_transparent():
    alpha = np.where(pictures.noise(9, 11, 1) > 127, 255, 0).astype(np.uint8)
    found = read(pictures.pillow_bytes(np.dstack([pictures.smooth(9, 11), alpha]), "GIF"))
    assert np.array_equal(found.alpha, alpha)
    assert np.array_equal(read(encode(found)).alpha, alpha)
