"""Fixtures that several test files share."""

import os
import sys
import tempfile

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: torch must not take all of them in each
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def tiny_config():
    """The smallest network that has every part: for tests of training and export."""
    pytest.importorskip("torch")
    from nedr.model.nedr import NeDRConfig

    return NeDRConfig(
        widths=(4, 8, 8, 8), idrm_hidden=(8, 8), idrm_outputs=4, drem_width=8, drem_growth=4, head_width=4
    )


# What the user's own journal knows of photographs must not come from outside, nor stay behind.
_state = tempfile.TemporaryDirectory()
os.environ["LOCALAPPDATA" if sys.platform == "win32" else "XDG_STATE_HOME"] = _state.name
