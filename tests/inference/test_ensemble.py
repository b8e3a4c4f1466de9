"""The best quality: what views of three sizes say, in the mean."""

import numpy as np
import pytest

from nedr.inference import airlight
from nedr.inference.dehazer import Dehazer
from nedr.inference.ensemble import ensemble
from nedr.inference.onnx import Estimate


class Stairs:
    """A network whose optical depth falls to the right, and grows with everything else from call to call."""

    view, stride = 192, 4

    def __init__(self):
        self.seen = []

    def __call__(self, view, lattice=None):
        self.seen.append(view)
        rows, columns = lattice or (view.shape[0] // self.stride, view.shape[1] // self.stride)
        t = np.exp(-len(self.seen) * np.linspace(1.0, 0.1, columns, dtype=np.float32))
        terms = np.full((3, airlight.TERMS), 0.1 * len(self.seen), np.float32)
        return Estimate(np.tile(t, (rows, 1)), np.full(3, 0.2 * len(self.seen), np.float32), len(self.seen), terms)


def scene(height, width):
    """Blocks under a veil that thickens to the left."""
    blocks = (
        np.random.default_rng(3).integers(20, 230, (6, 8, 3)).repeat(height // 6, axis=0).repeat(width // 8, axis=1)
    )
    t = np.linspace(0.3, 0.9, blocks.shape[1])[:, None]
    return np.rint(blocks * t + 205 * (1 - t)).astype(np.uint8)


def test_it_is_the_mean_of_the_views():
    network, rng = Stairs(), np.random.default_rng(0)
    views = [rng.random((128, width, 3), np.float32) for width in (160, 192)]
    found = ensemble(network, views, (4, 7))
    assert [seen.shape for seen in network.seen] == [view.shape for view in views]
    depth = np.linspace(1.0, 0.1, 7)
    assert np.allclose(-np.log(found.transmission), np.tile(1.5 * depth, (4, 1)), atol=1e-6)
    assert np.allclose(found.airlight, 0.3)
    assert found.density == pytest.approx(1.5)
    assert np.allclose(found.terms, 0.15)
    assert all(values.dtype == np.float32 for values in (found.transmission, found.airlight, found.terms))


def test_three_views_are_seen_at_the_best_quality_and_one_otherwise():
    seen = {}
    for quality in ("fast", "balanced", "best"):
        network = Stairs()
        Dehazer(network, quality=quality).field(scene(144, 192))
        seen[quality] = [view.shape[1] for view in network.seen]
    assert seen == {"fast": [192], "balanced": [192], "best": [160, 192, 224]}


@pytest.mark.parametrize("quality", ["fast", "balanced", "best"])
def test_a_mirror_image_has_nearly_the_mirrored_haze(quality):
    """By the weights that ship. Not exactly: of the three pictures that the network sees of one, two are mirrored."""
    picture = scene(144, 192)
    field, mirrored = (Dehazer(quality=quality, threads=1).field(x) for x in (picture, picture[:, ::-1]))
    assert field.lattice.std() > 0.02
    assert np.abs(field.lattice - mirrored.lattice[:, ::-1]).mean() < 0.01
    assert np.allclose(field.airlight, mirrored.airlight, atol=0.01)
    assert np.abs(field.terms).max() > 0.01
    assert np.allclose(field.terms, mirrored.terms * airlight.MIRRORED, atol=0.007)
