"""Bars and frames are found to the pixel, skies and studio walls are none, and what is inside is seen by itself."""

import io
from dataclasses import replace

import numpy as np
import pytest
import standin
from PIL import Image, ImageDraw

from nedr.errors import ImageError
from nedr.inference.airlight import TERMS
from nedr.inference.borders import Borders, combined, find
from nedr.inference.dehazer import Dehazer
from nedr.inference.field import HazeField


@pytest.fixture(scope="module")
def dehazer(tmp_path_factory):
    """A Dehazer of the stand-in network."""
    return Dehazer(standin.write(tmp_path_factory.mktemp("weights") / "standin.onnx"), threads=1)


def scene(height=300, width=400, seed=0):
    """A hazy landscape: a bright sky over a rough skyline, texture below it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    skyline = height * (0.35 + 0.08 * np.sin(x / 31) + 0.05 * np.sin(x / 7 + seed))
    sky = 205 + 30 * y / height + np.zeros((3, 1, 1)) + np.array([0, 4, 10])[:, None, None]
    ground = 120 + 40 * np.sin(x / 9) * np.cos(y / 11) + 20 * rng.random((3, height, width))
    return np.moveaxis(np.where(y < skyline, sky, ground), 0, 2).clip(0, 255).astype(np.uint8)


def framed(picture, top=0, bottom=0, left=0, right=0, colour=(0, 0, 0)):
    """The picture with bars around it."""
    canvas = Image.new("RGB", (picture.shape[1] + left + right, picture.shape[0] + top + bottom), tuple(colour))
    canvas.paste(Image.fromarray(picture), (left, top))
    return np.asarray(canvas)


def jpeg(picture, quality):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def widths(picture):
    found = find(picture)
    return found.top, found.bottom, found.left, found.right


KINDS = [
    ({"top": 40, "bottom": 40}, (0, 0, 0)),
    ({"top": 24, "bottom": 71}, (0, 0, 0)),
    ({"left": 133, "right": 133}, (0, 0, 0)),
    ({"left": 60, "right": 31}, (40, 40, 40)),
    ({"top": 3, "bottom": 3, "left": 3, "right": 3}, (0, 0, 0)),
    ({"top": 16, "bottom": 16, "left": 16, "right": 16}, (255, 255, 255)),
    ({"top": 12, "bottom": 50, "left": 30, "right": 20}, (180, 30, 60)),
    ({"top": 35, "bottom": 35}, (128, 128, 128)),
    ({"bottom": 54}, (10, 10, 12)),
]


@pytest.mark.parametrize(("sides", "colour"), KINDS)
def test_bars_of_any_width_and_colour_are_found_to_the_pixel(sides, colour):
    assert find(framed(scene(), **sides, colour=colour)).widths == sides


@pytest.mark.parametrize(("sides", "colour"), KINDS)
@pytest.mark.parametrize("quality", [30, 60, 90])
def test_bars_are_found_after_compression(sides, colour, quality):
    """Within two pixels of where they end, or four in strong colours, which are stored more coarsely."""
    if quality < 90 and colour == (128, 128, 128):
        pytest.skip("a grey as bright as the picture has no edge left")
    noisy = np.random.default_rng(0).normal(0, 1.5, (500, 700, 3))
    picture = framed(scene(), **sides, colour=colour)
    picture = np.clip(picture + noisy[: picture.shape[0], : picture.shape[1]], 0, 255).astype(np.uint8)
    found = find(jpeg(picture, quality)).widths
    assert found.keys() == sides.keys()
    if max(colour) - min(colour) < 50 or quality > 30:
        reach = 2 if max(colour) - min(colour) < 50 else 4
        assert all(abs(found[side] - width) <= reach for side, width in sides.items())


@pytest.mark.parametrize("convert", [lambda p: p.astype(np.uint16) * 257, lambda p: p / 255, lambda p: p[..., 1]])
def test_every_number_type_and_grey_has_its_borders(convert):
    picture = framed(scene(), 40, 30)
    assert widths(convert(picture)) == (40, 30, 0, 0)
    assert widths(np.dstack([picture, picture[..., 0]])) == (40, 30, 0, 0)


def test_captions_in_a_bar_do_not_hide_it():
    image = Image.fromarray(framed(scene(), 60, 60))
    pen = ImageDraw.Draw(image)
    pen.text((60, 372), "What they said in the film,\nin two lines of white.", fill=(255, 255, 255), font_size=18)
    pen.rectangle((330, 10, 380, 40), fill=(200, 40, 40))
    assert widths(np.asarray(image)) == (60, 60, 0, 0)


def test_frames_in_frames_and_bars_of_two_colours():
    assert widths(framed(framed(scene(), 10, 10, 10, 10), 20, 20, 20, 20, (255, 255, 255))) == (30, 30, 30, 30)
    assert widths(framed(framed(scene(), 30, 30), left=50, right=50, colour=(255, 255, 255))) == (30, 30, 50, 50)


def night(rng):
    """Black sky with stars and lit windows below an uneven skyline."""
    picture = rng.normal(3, 1.5, (300, 400, 3))
    picture[rng.random((300, 400)) < 0.002] = 220
    for x in range(0, 400, 25):
        top = rng.integers(150, 250)
        picture[top:, x : x + 24] = 14
        picture[top + 5 :: 9, x + 3 : x + 22 : 6] = 200
    return picture


def studio(rng):
    """A round thing before a burnt-out white wall, on a table that is as white."""
    y, x = np.mgrid[:300, :400]
    picture = np.full((300, 400, 3), 254.0)
    picture[(y - 170) ** 2 + (x - 200) ** 2 < 80**2] = (90, 60, 140)
    return picture + rng.normal(0, 0.4, picture.shape)


def snow(rng):
    """Even snow below even cloud, with trees where they meet."""
    picture = np.full((300, 400, 3), 236.0)
    picture[150:] = 248
    for x in range(20, 400, 40):
        picture[120 : 150 + rng.integers(-10, 20), x : x + 15] = (60, 70, 65)
    return picture + rng.normal(0, 1, picture.shape)


def sea(rng):
    """A burnt-out sky over a level sea."""
    picture = np.full((300, 400, 3), 255.0)
    picture[140:] = (70, 110, 130)
    picture[140:] += rng.normal(0, 12, (160, 400, 3))
    return picture


def fog(rng):
    """Nothing but fog."""
    return np.full((300, 400, 3), 190.0) + rng.normal(0, 1, (300, 400, 3))


@pytest.mark.parametrize("draw", [night, studio, snow, sea, fog, lambda rng: np.zeros((300, 400, 3)), lambda rng: 0])
@pytest.mark.parametrize("quality", [None, 50])
def test_skies_walls_and_darkness_are_no_border(draw, quality):
    rng = np.random.default_rng(0)
    picture = np.clip(draw(rng) + np.zeros((300, 400, 3)), 0, 255).astype(np.uint8)
    assert not find(picture if quality is None else jpeg(picture, quality))
    assert not find(scene())


@pytest.mark.parametrize("shape", [(1, 1), (1, 40, 3), (40, 1, 3), (2, 2, 3), (5, 400, 3), (400, 3)])
def test_small_pictures_have_no_borders_of_note(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert not find(picture)
    assert not find(np.zeros(shape, np.uint8))


def test_a_videos_borders_are_those_of_most_frames():
    bars, none = Borders(300, 400, top=40, bottom=40), Borders(300, 400)
    dark = replace(bars, top=90)  # a dark scene seems to widen the bar
    assert combined([bars, dark, none, bars, bars]) == bars
    assert combined([none, none, bars]) == none
    with pytest.raises(ValueError, match="at least one"):
        combined([])


# Haze inside borders


@pytest.mark.parametrize(("sides", "colour"), KINDS)
def test_what_is_inside_is_dehazed_as_if_it_were_alone_and_bars_stay(dehazer, sides, colour):
    picture = framed(scene(), **sides, colour=colour)
    x0, y0, x1, y1 = find(picture).inside
    result = dehazer.dehaze(picture)
    assert np.array_equal(result[y0:y1, x0:x1], dehazer.dehaze(scene()))
    outside = np.ones(picture.shape[:2], bool)
    outside[y0:y1, x0:x1] = False
    assert np.array_equal(result[outside], picture[outside])


def test_the_field_says_what_was_found(dehazer):
    field = dehazer.field(framed(scene(), 40, 60, 0, 100))
    assert field.rectangle(400, 500) == (0, 40, 400, 340)
    assert field.rectangle(100, 125) == (0, 10, 100, 85)
    assert field.transmission(400, 500)[:40].min() == 1
    assert field.at(0.5, 0.05) == 1
    assert field.at(0.4, 0.3) == pytest.approx(dehazer.field(scene()).at(0.5, (0.3 * 400 - 40) / 300))
    assert dehazer.field(scene()).rectangle(300, 400) == (0, 0, 400, 300)


def test_borders_can_be_told(dehazer):
    picture = framed(scene(), 40, 60)
    whole = dehazer.field(picture, borders=Borders(400, 400))
    assert whole.rectangle(400, 400) == (0, 0, 400, 400)
    assert dehazer.field(picture, borders=Borders(400, 400, top=10)).rectangle(400, 400) == (0, 10, 400, 400)
    with pytest.raises(ImageError, match="size 300 x 400"):
        dehazer.field(picture, borders=Borders(300, 400))


@pytest.mark.parametrize("region", [(0, 0, 500, 400), (37, 10, 300, 200), (0, 0, 90, 39), (90, 300, 500, 400)])
def test_crops_across_borders_are_bit_for_bit_the_whole(dehazer, region):
    picture = framed(scene(), 40, 60, 100)
    field = replace(dehazer.field(picture), terms=np.full((3, TERMS), 0.02, np.float32))
    x0, y0, x1, y1 = region
    crop = field.apply(picture[y0:y1, x0:x1], region=region, full=picture.shape[:2])
    assert np.array_equal(crop, field.apply(picture)[y0:y1, x0:x1])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_borders_turn_with_the_field(turns):
    rng = np.random.default_rng(0)
    lattice = rng.uniform(0.3, 0.9, (6, 8)).astype(np.float32)
    terms = rng.uniform(-0.05, 0.05, (3, TERMS)).astype(np.float32)
    airlight = np.full(3, 0.8, np.float32)
    field = HazeField(lattice, None, airlight, 1.0, terms=terms, inside=(0.25, 0.1, 1.0, 0.8))
    picture = rng.random((40, 80, 3), np.float32)
    expected = np.rot90(field.apply(picture), turns)
    assert np.allclose(field.turned(turns).apply(np.ascontiguousarray(np.rot90(picture, turns))), expected, atol=1e-5)


def test_insides_that_cannot_be_are_refused():
    for inside in ((0, 0, 0, 1), (0.5, 0, 1.2, 1), (0, 0.9, 1, 0.1)):
        with pytest.raises(ImageError, match="inside"):
            HazeField(np.full((2, 2), 0.5, np.float32), None, np.ones(3, np.float32), 1.0, inside=inside)
