"""PIL images through `any_picture`: upright for the network, and what they were on the way back."""

import drawn_pictures as pictures
import numpy as np
import pytest
from PIL import Image, ImageOps

from nedr.pictures import any_picture
from nedr.pictures.images import read


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
def test_an_image_is_seen_upright_and_comes_back_as_it_lay(mode, orientation):
    image = Image.fromarray(pictures.noise(6, 9)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.info["exif"] = exif.tobytes()
    source = any_picture.unpack(image)
    upright = np.asarray(ImageOps.exif_transpose(image.convert("RGB") if mode == "P" else image))
    assert np.array_equal(source.pictures[0], upright[..., 0] if mode == "LA" else upright)
    result = source.repack([source.pictures[0] // 2])
    assert (result.mode, result.size, result.info["exif"]) == (mode, image.size, image.info["exif"])
    if mode != "P":
        assert np.array_equal(np.asarray(result)[..., 0], np.asarray(image)[..., 0] // 2)


def test_an_image_and_its_file_are_the_same_to_the_network(tmp_path):
    path = tmp_path / "lying.jpg"
    path.write_bytes(pictures.pillow_bytes(pictures.smooth(16, 24), "JPEG", exif=b"Exif\0\0" + pictures.exif(6)))
    with Image.open(path) as image:
        assert np.array_equal(any_picture.unpack(image).pictures[0], read(path).pixels)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_transparent_colour_stays_transparent_whatever_the_colours_become(mode):
    image = Image.fromarray(pictures.noise(6, 9, len(mode) if mode == "RGB" else 1))
    key = image.getpixel((2, 1))
    image.info["transparency"] = key
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    source = any_picture.unpack(image)
    result = source.repack([source.pictures[0] // 2])
    assert result.mode == mode
    assert np.array_equal(np.asarray(result.convert("RGBA"))[..., 3], alpha)
    assert np.abs(np.asarray(result).astype(int) - np.asarray(image) // 2)[alpha > 0].max() <= 1


def test_a_palette_with_a_transparent_colour_keeps_it():
    image = Image.fromarray(pictures.smooth(12, 18)).quantize(16)
    image.info["transparency"] = 3
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    assert (alpha == 0).any()
    source = any_picture.unpack(image)
    planes = source.pictures[0].copy()
    planes[..., :3] //= 2
    result = source.repack([planes])
    assert result.mode == "P"
    again = np.asarray(result.convert("RGBA"))
    assert np.array_equal(again[..., 3], alpha)
    assert np.abs(again[..., :3].astype(int) - planes[..., :3])[alpha > 0].mean() < 6


def test_a_palette_with_partial_transparency_keeps_it():
    image = Image.fromarray(pictures.noise(12, 18)).quantize(4)
    image.info["transparency"] = bytes([0, 80, 160, 255])
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    source = any_picture.unpack(image)
    planes = source.pictures[0].copy()
    planes[..., :3] //= 2
    again = np.asarray(source.repack([planes]).convert("RGBA"))
    assert np.abs(again[..., 3].astype(int) - alpha).max() <= 8
