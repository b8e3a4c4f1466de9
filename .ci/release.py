"""The files of a release: an sdist and a wheel of what is committed, built, checked and installed on its own.

python .ci/release.py [--url https://HOST/OWNER/NAME] [--out dist]

With --url, the address where the repository is public, the package's page on an index links there, and the README's
pictures and links, which are relative in the repository, point to the tag of this version. Needs build and twine.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURES = (".png", ".jpg", ".svg", ".webp")


def main() -> None:
    """Build into --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="where the repository is public")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        committed(tree)
        if arguments.url:
            address(tree, arguments.url.rstrip("/"))
        shutil.rmtree(arguments.out, ignore_errors=True)
        run(sys.executable, "-m", "build", "--quiet", "--outdir", arguments.out, tree)
        run(sys.executable, "-m", "twine", "check", "--strict", *arguments.out.iterdir())
        alone(next(arguments.out.glob("*.whl")), Path(folder))


def committed(tree: Path) -> None:
    """The last commit's files, and nothing that happens to lie beside them."""
    tree.mkdir()
    archive = subprocess.run(["git", "-C", ROOT, "archive", "HEAD"], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", tree], input=archive, check=True)


def address(tree: Path, url: str) -> None:
    """Write the repository's address into the files that an index shows."""
    version = re.search(r'__version__ = "(.+)"', (tree / "nedr/__init__.py").read_text())[1]
    readme, project = tree / "README.md", tree / "pyproject.toml"
    readme.write_text(absolute(readme.read_text(), url, f"v{version}"))
    table = {"Source": url, "Issues": f"{url}/issues", "Changelog": f"{url}/blob/v{version}/CHANGELOG.md"}
    urls = "\n".join(f'{name} = "{where}"' for name, where in table.items())
    project.write_text(f"{project.read_text()}\n[project.urls]\n{urls}\n")


def absolute(text: str, url: str, tag: str) -> str:
    """Markdown whose relative links and pictures point into the repository at `url`."""

    def link(match: re.Match[str]) -> str:
        where = "raw" if match[2].lower().endswith(PICTURES) else "blob"
        return f"{match[1]}{url}/{where}/{tag}/{match[2]})"

    return re.sub(r"(\]\()(?!\w+:|#|/)([^)\s]+)\)", link, text)


def alone(wheel: Path, folder: Path) -> None:
    """Install the wheel in an empty environment, and use it there on a photograph."""
    venv.create(folder / "alone", with_pip=True)
    python = folder / "alone" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel)
    run(python, "-m", "nedr", "weights", "verify", cwd=folder)
    run(python, "-m", "nedr", ROOT / "examples/rio.jpg", "-o", folder / "rio.jpg", cwd=folder)


def run(*command: object, cwd: Path = ROOT) -> None:
    """Run a command, or end as it does."""
    if status := subprocess.run(list(map(str, command)), cwd=cwd, check=False).returncode:
        raise SystemExit(status)


if __name__ == "__main__":
    main()
