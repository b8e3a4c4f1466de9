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


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A file of weights whose network is small and finds plausible haze."""
    import standin

    return standin.write(tmp_path_factory.mktemp("weights") / "standin.onnx")


@pytest.fixture
def nedr(weights, capsys):
    """Run a command with stand-in weights: (exit status, lines on stdout, lines on stderr)."""

    from nedr.cli.main import main

    def run(*words, bare=False):
        try:
            status = main([*map(str, words)] + ([] if bare else ["--weights", str(weights)]))
        except SystemExit as leaving:
            status = leaving.code
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.splitlines()

    return run
