"""What a release says of itself is the same everywhere."""

import importlib.util
import re
import tomllib
from pathlib import Path

import nedr

ROOT = Path(__file__).parents[1]


def test_one_version():
    citation = (ROOT / "CITATION.cff").read_text()
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^version: (.+)$", citation, re.M)[1] == nedr.__version__
    assert re.search(r"^## \[(\d.*?)\]", changes, re.M)[1] == nedr.__version__


def test_every_extra_is_explained():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = (ROOT / "docs" / "install.md").read_text()
    assert [name for name in extras if f"`{name}`" not in text] == []


def test_links_of_the_documents_lead_somewhere():
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert len(documents) > 10
    broken = []
    for document in documents:
        for link in re.findall(r"\]\((?!\w+:|#)([^)\s#]+)", document.read_text()):
            if not (document.parent / link).exists():
                broken.append(f"{document.relative_to(ROOT)}: {link}")
    assert broken == []


def test_an_index_page_shows_the_pictures():
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
    release = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(release)
    text = release.absolute("![a](docs/a.png) [b](docs/b.md#c) [d](https://d.org/e) [f](#g)", "https://h.org/o/n", "v1")
    assert text == (
        "![a](https://h.org/o/n/raw/v1/docs/a.png) [b](https://h.org/o/n/blob/v1/docs/b.md#c) "
        "[d](https://d.org/e) [f](#g)"
    )
