"""Filters over squares do what their definitions say."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nedr.inference.filters import box_mean, guided_filter, lattice_mean, minimum_filter

planes = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=24), elements=st.floats(0, 1, width=32)
)


def naive(plane, radius, reduce):
    """A filter by its definition: the window around each pixel, cut at the border."""
    out = np.empty(plane.shape)
    for y, x in np.ndindex(plane.shape):
        out[y, x] = reduce(plane[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1], dtype=None)
    return out


def around(radius):
    return partial(box_mean, radius=radius)


@settings(deadline=None)
@given(planes, st.integers(0, 30))
def test_minimum_filter_is_the_minimum_of_each_window(plane, radius):
    expected = naive(plane, radius, lambda window, dtype: window.min())
    np.testing.assert_array_equal(minimum_filter(plane, radius), expected)


@settings(deadline=None)
@given(planes, st.integers(0, 30))
def test_box_mean_is_the_mean_of_each_window(plane, radius):
    expected = naive(plane, radius, lambda window, dtype: window.mean(dtype=np.float64))
    np.testing.assert_allclose(box_mean(plane, radius), expected, atol=1e-6)


@pytest.mark.parametrize("run", [lambda p: minimum_filter(p, 7), lambda p: box_mean(p, 20)])
def test_strips_leave_no_seams(run, monkeypatch):
    plane = np.random.default_rng(0).random((70, 90), np.float32)
    whole = run(plane)
    monkeypatch.setattr("nedr.inference.filters.STRIP_VALUES", 300)
    np.testing.assert_array_equal(run(plane), whole)


def test_box_mean_does_not_lose_precision_along_a_large_picture():
    plane = np.full((20000, 3), 0.3, np.float32)
    np.testing.assert_allclose(box_mean(plane, 2), plane, rtol=1e-6)


def test_guided_filter_follows_its_equations():
    rng = np.random.default_rng(0)
    guide, plane = rng.random((9, 11), np.float32), rng.random((9, 11), np.float32)
    mean = lambda p: naive(p, 2, lambda window, dtype: window.mean(dtype=np.float64))  # noqa: E731
    guide64, plane64 = guide.astype(float), plane.astype(float)
    slope = mean(guide64 * plane64) - mean(guide64) * mean(plane64)
    slope /= mean(guide64**2) - mean(guide64) ** 2 + 0.01
    offset = mean(plane64) - slope * mean(guide64)
    np.testing.assert_allclose(
        guided_filter(guide, plane, around(2), 0.01), mean(slope) * guide64 + mean(offset), atol=1e-5
    )


def test_guided_filter_keeps_an_edge_of_its_guide():
    step = np.zeros((40, 40), np.float32)
    step[:, 20:] = 1
    # Strong edge, weak eps: the filter is the identity on it, where a box of the same radius would blur it away.
    np.testing.assert_allclose(guided_filter(step, step, around(8), 1e-4), step, atol=2e-3)
    assert abs(box_mean(step, 8) - step).max() > 0.4


def test_the_mean_on_a_lattice_holds_its_edge():
    values = np.random.default_rng(1).random((7, 9), np.float32)
    padded = np.pad(values, 2, mode="edge")
    expected = [[padded[y : y + 5, x : x + 5].mean() for x in range(9)] for y in range(7)]
    assert np.allclose(lattice_mean(values, 2), expected, atol=1e-6)
