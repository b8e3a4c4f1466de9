"""Fixtures that several test files share."""

import os
import sys
import tempfile

import pytest


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
