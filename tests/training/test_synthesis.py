"""Haze drawn on clear pictures."""

import dataclasses

import numpy as np
import pytest

from nedr.training.synthesis import (
    HazeConfig,
    add_haze,
    add_linear_haze,
    ambient_airlight,
    apparent_transmission,
    draw_airlight,
    labelled_depth,
    procedural_depth,
    sky,
    synthesise,
    transmission,
    under_sky,
    uneven_light,
)

OPTICS = ("patchy", "clear", "light", "lit", "linear", "ambient", "cast", "plain", "fog", "burnt", "occluded")
CAMERA = ("noise", "jpeg", "exposure")
PLAIN = HazeConfig(**dict.fromkeys(OPTICS + CAMERA, 0.0))


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    image = rng.random((48, 64, 3)).astype(np.float32)
    image[:20] = (0.6, 0.7, 0.9)
    return image


def test_scattering_model_by_hand():
    clear = np.full((1, 1, 3), 0.2, np.float32)
    t = transmission(np.full((1, 1), 0.5, np.float32), 2.0)
    assert t[0, 0] == pytest.approx(np.exp(-1.0))
    hazy = add_haze(clear, t, np.array([1.0, 0.5, 0.2], np.float32))
    expected = 0.2 * np.exp(-1.0) + np.array([1.0, 0.5, 0.2]) * (1 - np.exp(-1.0))
    np.testing.assert_allclose(hazy[0, 0], expected, rtol=1e-6)


def test_a_sample_obeys_the_model_it_states(scene):
    depth = procedural_depth(scene, np.random.default_rng(1))
    sample = synthesise(scene, depth, PLAIN, np.random.default_rng(2))
    np.testing.assert_allclose(sample.hazy, add_haze(sample.clear, sample.transmission, sample.airlight), atol=1e-6)
    np.testing.assert_allclose(sample.transmission, np.exp(-sample.density * depth), rtol=1e-5)
    np.testing.assert_array_equal(sample.clear, scene)


def test_haze_in_linear_light_by_hand():
    clear, t = np.full((1, 1, 3), 0.2, np.float32), np.full((1, 1), 0.25, np.float32)
    hazy = add_linear_haze(clear, t, np.array([1.0, 0.5, 0.2], np.float32))
    expected = (0.2**2.2 * 0.25 + np.array([1.0, 0.5, 0.2]) ** 2.2 * 0.75) ** (1 / 2.2)
    np.testing.assert_allclose(hazy[0, 0], expected, rtol=1e-5)


def test_apparent_transmission_is_the_true_one_where_pixel_values_mix(scene):
    rng = np.random.default_rng(3)
    t, airlight = rng.uniform(0.1, 1.0, (48, 64)).astype(np.float32), np.array([0.9, 0.85, 0.8], np.float32)
    np.testing.assert_allclose(apparent_transmission(add_haze(scene, t, airlight), scene, airlight, t), t, atol=1e-4)


def test_apparent_transmission_explains_linear_haze_best(scene):
    t, airlight = np.full((48, 64), 0.6, np.float32), np.array([0.9, 0.85, 0.8], np.float32)
    hazy = add_linear_haze(scene, t, airlight)
    found = apparent_transmission(hazy, scene, airlight, t)
    assert found.mean() < 0.55  # light that mixes before the gamma looks like more haze
    errors = [np.square(add_haze(scene, np.clip(found + d, 0, 1), airlight) - hazy).mean() for d in (-0.05, 0.0, 0.05)]
    assert errors[1] == min(errors)


def test_uneven_light_varies_the_airlight_over_the_picture(scene):
    depth = np.ones((48, 64), np.float32)
    dense = dataclasses.replace(PLAIN, lit=1.0, beta=(6.0, 6.0), tint_slight=0.0, tint_strong=0.0)
    sample = synthesise(scene, depth, dense, np.random.default_rng(2))
    assert np.ptp(sample.hazy.mean(axis=-1)) > 0.05
    np.testing.assert_allclose(sample.hazy, add_haze(scene, sample.transmission, sample.light), atol=1e-6)
    np.testing.assert_allclose(sample.light.mean(axis=(0, 1)), sample.airlight, rtol=1e-4)
    assert np.ptp(sample.light, axis=(0, 1)).max() > 0.05


def test_light_keeps_its_mean_unless_it_burns_out():
    airlight = np.array([0.5, 0.45, 0.4], np.float32)
    for seed in range(20):
        light = uneven_light(airlight, 48, 64, np.random.default_rng(seed))
        np.testing.assert_allclose(light.mean(axis=(0, 1)), airlight, atol=0.02)
        assert np.ptp(light.mean(axis=-1)) > 0.02


def test_what_lies_on_a_picture_teaches_nothing(scene):
    depth = procedural_depth(scene, np.random.default_rng(1))
    covered = []
    for seed in range(20):
        sample = synthesise(scene, depth, dataclasses.replace(PLAIN, occluded=1.0), np.random.default_rng(seed))
        there = sample.weight > 0
        covered.append(1 - there.mean())
        model = add_haze(scene, sample.transmission, sample.airlight)
        np.testing.assert_allclose(sample.hazy[there], model[there], atol=1e-6)
        np.testing.assert_array_equal(sample.clear[there], scene[there])
        np.testing.assert_array_equal(sample.clear[~there], sample.hazy[~there])
    assert min(covered) > 0
    assert max(covered) < 1


def test_a_known_sky_can_weigh_less_and_a_burnt_out_one_nothing(scene):
    mask = np.zeros((48, 64), np.float32)
    mask[:20] = 1.0
    depth = np.ones((48, 64), np.float32)
    dusky = dataclasses.replace(PLAIN, airlight=(0.4, 0.5), sky=0.5)
    plain = synthesise(scene, depth, dusky, np.random.default_rng(0), sky=mask)
    assert (plain.weight[:20] == 0.5).all()
    assert (plain.weight[20:] == 1.0).all()
    burnt = synthesise(scene, depth, dataclasses.replace(dusky, burnt=1.0), np.random.default_rng(0), sky=mask)
    assert (burnt.weight[:20] == 0).all()
    assert (burnt.weight[20:] == 1.0).all()
    assert burnt.hazy[:20].mean() > plain.hazy[:20].mean()


def test_haze_by_day_is_about_as_bright_as_the_sky_at_least(scene):
    """The sky of `scene` has a brightness of 0.73; A keeps its hue, and where no sky is known it is as drawn."""
    known = np.zeros((48, 64), np.float32)
    dim, bright = np.array([0.4, 0.4, 0.5], np.float32), np.full(3, 0.9, np.float32)
    assert under_sky(dim, scene, known, np.random.default_rng(0)) is dim
    known[:20] = 1.0
    for seed in range(20):
        airlight = under_sky(dim, scene, known, np.random.default_rng(seed))
        assert 0.85 * 0.733 < airlight.mean() < 1.05 * 0.734
        np.testing.assert_allclose(airlight / airlight[0], dim / dim[0], rtol=1e-5)
        np.testing.assert_array_equal(under_sky(bright, scene, known, np.random.default_rng(seed)), bright)
    config, depth = dataclasses.replace(PLAIN, airlight=(0.2, 0.3), dark=0.0, tint_strong=0.0), np.ones((48, 64))
    for horizon, low, high in ((0.0, 0.15, 0.35), (1.0, 0.6, 0.8)):
        drawn = dataclasses.replace(config, horizon=horizon)
        sample = synthesise(scene, depth.astype(np.float32), drawn, np.random.default_rng(3), sky=known)
        assert low < sample.airlight.mean() < high


def test_fog_is_dense_and_its_scene_dark(scene):
    fog = dataclasses.replace(PLAIN, fog=1.0)
    samples = [synthesise(scene, np.ones((48, 64), np.float32), fog, np.random.default_rng(s)) for s in range(20)]
    assert all(1.5 <= sample.density <= 5.0 for sample in samples)
    assert all(sample.clear[sample.weight > 0].mean() < 0.75 * scene.mean() for sample in samples)
    assert 0.4 < np.mean([(sample.weight == 0).any() for sample in samples]) < 1.0  # lamps in most


def test_labelled_depth_follows_the_distance_and_ends_in_the_sky():
    grey, far, mask = (np.zeros(shape, np.float32) for shape in ((96, 128, 3), (96, 128), (96, 128)))
    far[:] = np.linspace(1.0, 0.0, 96, dtype=np.float32)[:, None]
    mask[:30] = 1.0
    for seed in range(20):
        depth = labelled_depth(grey, far, mask, np.random.default_rng(seed))
        assert depth[29].min() > 0.95  # the sky is farthest above the skyline, and no farther higher up
        assert (np.diff(depth[:30].mean(axis=1)) >= 0).all()
        assert 0 < depth.min() <= depth[30:].max() <= 1.0
        rows = depth[30:].mean(axis=1)
        assert (np.diff(rows) <= 1e-6).all()  # lower in the picture is nearer
        assert rows[0] > 0.55  # the skyline lies not far before the sky
        assert rows[0] > 1.2 * rows[-1]
    tops = [labelled_depth(grey, far, mask, np.random.default_rng(seed))[0, 0] for seed in range(40)]
    assert 0.2 < np.mean(np.array(tops) == 1.0) < 0.6
    assert 0.2 < min(tops) < 0.5
    assert labelled_depth(grey, far, np.ones_like(mask), np.random.default_rng(0)).max() <= 1.0


def test_plain_haze_is_even_and_of_one_colour_whatever_else_is_drawn(scene):
    depth = procedural_depth(scene, np.random.default_rng(1))
    always = dataclasses.replace(PLAIN, patchy=1.0, ambient=1.0, cast=1.0, lit=1.0, linear=1.0, burnt=1.0, fog=1.0)
    sample = synthesise(scene, depth, dataclasses.replace(always, plain=1.0), np.random.default_rng(2))
    np.testing.assert_array_equal(sample.clear, scene)
    np.testing.assert_allclose(sample.transmission, np.exp(-sample.density * depth), rtol=1e-5)
    np.testing.assert_allclose(sample.hazy, add_haze(scene, sample.transmission, sample.airlight), atol=1e-6)


def test_same_seed_same_sample_other_seed_another(scene):
    depth = procedural_depth(scene, np.random.default_rng(1))
    a, b, c = (synthesise(scene, depth, HazeConfig(), np.random.default_rng(s)) for s in (5, 5, 6))
    np.testing.assert_array_equal(a.hazy, b.hazy)
    assert not np.array_equal(a.hazy, c.hazy)


@pytest.mark.parametrize("seed", range(20))
def test_everything_drawn_stays_in_range(scene, seed):
    rng = np.random.default_rng(seed)
    depth = procedural_depth(scene, rng)
    assert depth.shape == (48, 64)
    assert 0.0 < depth.min() <= depth.max() == 1.0
    sample = synthesise(scene, depth, HazeConfig(), rng)
    for values in (*sample[:5], sample.weight):
        assert values.dtype == np.float32
        assert 0.0 <= values.min() <= values.max() <= 1.0
    assert sample.transmission.min() > 0.0


def test_a_clear_sample_has_no_haze(scene):
    config = dataclasses.replace(PLAIN, clear=1.0)
    sample = synthesise(scene, np.ones((48, 64), np.float32), config, np.random.default_rng(0))
    assert (sample.transmission == 1.0).all()
    assert sample.density == 0.0
    np.testing.assert_allclose(sample.hazy, scene, atol=1e-6)


def test_airlight_goes_from_grey_to_tinted():
    rng = np.random.default_rng(0)
    drawn = np.stack([draw_airlight(HazeConfig(), rng) for _ in range(500)])
    spread = drawn.max(axis=1) - drawn.min(axis=1)
    assert (spread < 0.01).mean() > 0.3
    assert (spread > 0.1).mean() > 0.05
    assert (drawn[:, 2] > drawn[:, 0] + 0.05).any()
    assert (drawn[:, 0] > drawn[:, 2] + 0.05).any()


def test_sky_is_found_and_farthest(scene):
    found = sky(scene)
    assert found[:15].mean() > 0.9
    assert found[25:].mean() < 0.05
    depth = procedural_depth(scene, np.random.default_rng(3))
    assert depth[:15].min() > depth[25:].mean()


def test_ambient_haze_has_the_light_of_the_scene(scene):
    orange = scene * np.array([1.0, 0.5, 0.25], np.float32)
    for seed in range(20):
        airlight = ambient_airlight(orange, np.random.default_rng(seed))
        assert airlight[0] > airlight[1] > airlight[2] > 0
        assert 0.9 * orange.mean() < airlight.mean() < 2.0 * orange.mean()


def test_a_cast_colours_scene_and_airlight_and_stays(scene):
    config = dataclasses.replace(PLAIN, cast=1.0, tint_slight=0.0, tint_strong=0.0)
    for seed in range(20):
        sample = synthesise(
            np.full_like(scene, 0.5), np.ones((48, 64), np.float32), config, np.random.default_rng(seed)
        )
        cast = sample.clear[0, 0] / sample.clear.max()
        np.testing.assert_allclose(sample.airlight / sample.airlight.max(), cast, atol=1e-5)
        assert cast.min() < 0.97
