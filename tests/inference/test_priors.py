import csv
import os
from pathlib import Path

import numpy as np
import pytest

from nedr.errors import ImageError
from nedr.inference.priors import colour_attenuation_prior, dark_channel_prior

DATA = Path(os.environ.get("NEDR_DATA", "no folder is named by NEDR_DATA"))
PRIORS = [dark_channel_prior, colour_attenuation_prior]


def scene(height=120, width=160, seed=0):
    """A clear picture of saturated squares (6 px wide, so every patch holds a dark channel) and a smooth t."""
    colours = np.random.default_rng(seed).random((height // 6, width // 6 + 1, 3))
    colours[np.arange(colours.shape[0])[:, None], np.arange(colours.shape[1]), colours.argmin(axis=2)] = 0
    clear = colours.repeat(6, axis=0).repeat(6, axis=1)[:height, :width].astype(np.float32)
    t = np.broadcast_to(np.linspace(0.15, 0.9, height, dtype=np.float32)[:, None], (height, width))
    return clear, t


def haze(clear, t, airlight):
    return clear * t[..., None] + np.float32(airlight) * (1 - t[..., None])


@pytest.mark.parametrize("density", [0.2, 0.5, 0.9])
def test_dark_channel_prior_recovers_the_haze_where_its_assumption_holds(density):
    clear, _ = scene(204, 204)
    airlight = np.array([0.8, 0.85, 0.9], np.float32)
    hazy = haze(clear, np.full((204, 204), density, np.float32), airlight)
    # A patch of haze alone, where the airlight shows.
    hazy[:20, :20] = airlight
    field = dark_channel_prior(hazy)
    np.testing.assert_allclose(field.airlight, airlight, atol=1e-5)
    # omega keeps a twentieth of the haze: 1 - 0.95 (1 - t), beyond two radii of the guided filter from that patch.
    np.testing.assert_allclose(field.lattice[150:], 0.05 + 0.95 * density, atol=1e-3)


def test_dark_channel_prior_is_blind_to_a_tint_of_the_airlight():
    clear, t = scene()
    lattices = []
    for airlight in ([0.9, 0.9, 0.9], [0.9, 0.7, 0.5]):
        hazy = haze(clear * np.float32(airlight), t, airlight)
        hazy[:10] = airlight
        grey = hazy / np.float32(airlight)
        lattices.append(dark_channel_prior(grey).lattice - dark_channel_prior(hazy).lattice)
    # Only the guide's grey differs between a picture and its white-balanced version.
    assert abs(lattices[1]).mean() < 0.03


def test_colour_attenuation_prior_of_a_flat_colour():
    # v = 0.8, s = (0.8 - 0.4) / 0.8 = 0.5: d = 0.121779 + 0.959710 * 0.8 - 0.780245 * 0.5, t = exp(-d).
    field = colour_attenuation_prior(np.full((30, 40, 3), [0.8, 0.6, 0.4], np.float32))
    np.testing.assert_allclose(field.lattice, np.exp(-(0.121779 + 0.959710 * 0.8 - 0.780245 * 0.5)), atol=1e-5)
    np.testing.assert_allclose(field.airlight, [0.8, 0.6, 0.4], atol=1e-6)
    assert field.density == 1


def test_colour_attenuation_prior_calls_pale_and_bright_hazy():
    clear, t = scene()
    field = colour_attenuation_prior(haze(clear, t, 0.9))
    assert np.corrcoef(field.lattice.ravel(), t.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 3), (15, 15), (33, 200)])
@pytest.mark.parametrize("content", ["noise", "black", "white", "red"])
def test_any_size_and_content_gives_a_usable_field(prior, shape, content):
    colours = {"black": [0, 0, 0], "white": [1, 1, 1], "red": [1, 0, 0]}
    image = np.random.default_rng(0).random((*shape, 3), np.float32)
    if content != "noise":
        image[:] = colours[content]
    field = prior(image)
    assert field.lattice.shape == shape
    assert field.lattice.dtype == np.float32
    assert field.airlight.shape == (3,)
    assert field.airlight.dtype == np.float32
    assert np.isfinite(field.lattice).all()
    assert field.lattice.min() >= np.float32(0.1)
    assert field.lattice.max() <= 1
    assert (field.airlight >= 0).all()
    assert (field.airlight <= 1).all()


@pytest.mark.parametrize("prior", PRIORS)
def test_the_airlight_does_not_hang_on_one_bright_pixel(prior):
    clear, t = scene()
    hazy = haze(clear, t, 0.7)
    hazy[:10] = 0.7
    lamp = hazy.copy()
    lamp[4, 4] = 1
    np.testing.assert_allclose(prior(lamp).airlight, prior(hazy).airlight, atol=0.01)


@pytest.mark.parametrize("prior", PRIORS)
def test_the_picture_is_left_as_it_was_and_the_answer_repeats(prior):
    image = np.random.default_rng(1).random((40, 50, 3), np.float32)
    before = image.copy()
    first, second = prior(image), prior(image)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(first.lattice, second.lattice)


@pytest.mark.parametrize("prior", PRIORS)
def test_the_lattice_is_the_transmission_at_full_size(prior):
    image = np.random.default_rng(1).random((40, 50, 3), np.float32)
    field = prior(image)
    np.testing.assert_array_equal(field.transmission(40, 50), field.lattice)


@pytest.mark.parametrize("prior", PRIORS)
def test_the_field_applies_the_papers_plain_inversion(prior):
    hazy = haze(*scene(), [0.7, 0.8, 0.9])
    field = prior(hazy)
    expected = ((hazy - field.airlight) / field.lattice[..., None] + field.airlight).clip(0, 1)
    np.testing.assert_allclose(field.apply(hazy), expected, atol=1e-4)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize(
    "image", [np.zeros((5, 5), np.float32), np.zeros((5, 5, 3)), np.zeros((5, 5, 4), np.float32), np.zeros((0, 5, 3))]
)
def test_unusable_arrays_are_named(prior, image):
    with pytest.raises(ImageError, match=r"float32 \(H, W, 3\)"):
        prior(image)


@pytest.mark.skipif(not (DATA / "pairs.csv").is_file(), reason=f"no validation pairs: {DATA}")
@pytest.mark.parametrize("prior", PRIORS)
def test_indoor_haze_is_cleared_by_several_decibels(prior):
    from nedr.pictures import images

    with (DATA / "pairs.csv").open(newline="") as rows:
        row = next(row for row in csv.DictReader(rows) if row["set"] == "sots-indoor")
    hazy, clear = (images.read(DATA / row[side]).pixels.astype(np.float32) / 255 for side in ("hazy", "clear"))
    field = prior(hazy)
    before, after = (10 * np.log10(1 / np.mean((picture - clear) ** 2)) for picture in (hazy, field.apply(hazy)))
    assert after > before + 2
