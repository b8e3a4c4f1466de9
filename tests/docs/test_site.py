"""The documentation's site and its notebooks, built and run as a reader would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr + built.stdout
    return folder


def test_every_page_is_built_and_nothing_comes_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    foreign = re.compile(
        r"<(?:script|img|iframe)[^>]+src=\"?https?:[^\s>]+|<link[^>]+rel=\"?stylesheet[^>]+https?:[^\s>]+"
    )
    assert [found for page in pages for found in foreign.findall(page.read_text())] == []


def test_the_reference_knows_every_public_name(site):
    import nedr

    text = (site / "api.html").read_text()
    names = [name for name in nedr.__all__ if name != "__version__"]
    assert [name for name in names if f'.{name}"' not in text] == []


@pytest.mark.parametrize("name", ["field", "research"])
def test_notebooks_run(name, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = ROOT / "docs" / "notebooks"
    notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": folder}}).execute()
