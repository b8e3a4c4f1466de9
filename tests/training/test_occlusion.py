"""What lies on pictures: opaque, where the mask says, and of every kind."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from nedr.training.occlusion import DRAWS, SHARES, glow, occlude


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return [rng.random((64, 96, 3), dtype=np.float32) for _ in range(2)]


@pytest.mark.parametrize("seed", range(30))
def test_the_picture_stays_outside_the_mask(pictures, seed):
    result, mask = occlude(pictures[0], np.random.default_rng(seed))
    assert mask.any()
    assert result.dtype == np.float32
    assert 0 <= result.min() <= result.max() <= 1
    np.testing.assert_array_equal(result[~mask], pictures[0][~mask])


@pytest.mark.parametrize("draw", [draw for draw in DRAWS if draw.__name__ != "_caption"])
def test_nothing_shines_through(draw):
    """The same thing drawn on a black and on a white picture: the same pixels, except for the soft edges of letters."""
    for seed in range(20):
        drawn = []
        for ground in (0, 255):
            picture, mask = Image.new("RGB", (96, 64), (ground,) * 3), Image.new("L", (96, 64))
            draw(ImageDraw.Draw(picture), ImageDraw.Draw(mask), (96, 64), np.random.default_rng(seed))
            drawn.append((np.asarray(picture), np.asarray(mask)))
        (black, mask), (white, again) = drawn
        np.testing.assert_array_equal(mask, again)
        np.testing.assert_array_equal(black[mask > 0], white[mask > 0])
        assert (white[mask == 0] == 255).all()


@pytest.mark.parametrize("draw", DRAWS)
def test_each_kind_covers_something_and_leaves_something(draw):
    covered = []
    for seed in range(30):
        picture, mask = Image.new("RGB", (96, 64)), Image.new("L", (96, 64))
        draw(ImageDraw.Draw(picture), ImageDraw.Draw(mask), (96, 64), np.random.default_rng(seed))
        covered.append(np.asarray(mask).mean() / 255)
    assert np.mean(covered) > 0.005
    assert max(covered) < 0.7


def test_shares_are_probabilities():
    assert len(SHARES) == len(DRAWS)
    assert sum(SHARES) == pytest.approx(1.0)


def test_lamps_only_add_light_and_are_masked_where_they_outshine_the_fog():
    fog = np.full((64, 96, 3), 0.5, np.float32)
    for seed in range(10):
        shining, mask = glow(fog, np.random.default_rng(seed))
        assert (shining >= fog).all()
        assert shining.max() <= 1
        assert 0 < mask.mean() < 0.5
        assert shining[mask].mean() > shining[~mask].mean() + 0.05
