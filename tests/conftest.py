"""Fixtures that several test files share."""

import pytest


@pytest.fixture
def tiny_config():
    """The smallest network that has every part: for tests of training and export."""
    pytest.importorskip("torch")
    from nedr.model.nedr import NeDRConfig

    return NeDRConfig(
        widths=(4, 8, 8, 8), idrm_hidden=(8, 8), idrm_outputs=4, drem_width=8, drem_growth=4, head_width=4
    )
