"""netpbm at any depth."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nedr.pictures.images import read


@settings(deadline=None)
@given(st.integers(1, 65535), st.sampled_from([1, 3]))
def test_netpbm_of_any_depth_is_stretched_to_the_whole_range(highest, channels):
    levels = np.random.default_rng(highest).integers(0, highest + 1, (5, 7, channels))
    levels[0, :2] = [[0], [highest]]
    kind = ">u2" if highest > 255 else "u1"
    data = f"P{6 if channels == 3 else 5}\n# note\n7 5\n{highest}\n".encode() + levels.astype(kind).tobytes()
    found = np.atleast_3d(read(data).pixels)
    top = 65535 if highest > 255 else 255
    assert found.dtype == (np.uint16 if highest > 255 else np.uint8)
    assert np.array_equal(found, (levels * top + highest // 2) // highest)
