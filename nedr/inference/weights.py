"""The weights that ship: a table of files inside the package, each with its sha256 and licence.

The table is pretrained/pretrained.json, written together with the files, and read when first asked for.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path

from nedr.errors import NedrError, UsageError
from nedr.inference.onnx import opened

FOLDER = Path(__file__).parent / "pretrained"
TABLE = "pretrained.json"
DEFAULT = "base"


@dataclass(frozen=True)
class Weights:
    """One line of the table: the file's name beside it, its sha256 in hexadecimal, its licence, what it is."""

    name: str
    file: str
    sha256: str
    licence: str
    description: str


def available() -> dict[str, Weights]:
    """Every set of weights that ships, by name. Raises NedrError when the table is missing or damaged."""
    return dict(_table(FOLDER / TABLE))


def path(name: str = DEFAULT) -> Path:
    """The file of the weights called `name`. Raises UsageError for an unknown name, NedrError when the file is gone."""
    table = available()
    if name not in table:
        raise UsageError(f"no weights are called {name!r}: expected {' or '.join(table) or 'none'}, or an .onnx file")
    file = FOLDER / table[name].file
    if not file.is_file():
        raise NedrError(f"the weights {name!r} are missing at {file}; install the package again")
    return file


def verify(name: str = DEFAULT) -> Path:
    """`path(name)`, after its content was found to be what the table says. Raises NedrError on a mismatch."""
    file, expected = path(name), available()[name].sha256
    found = sha256(file)
    if found != expected:
        raise NedrError(
            f"the weights {name!r} at {file} are damaged: expected sha256 {expected}, found {found}; "
            "install the package again"
        )
    return file


def views(file: Path) -> dict[str, int]:
    """How many views the network in an .onnx file has learnt from, by stage and size; {} if it does not say."""
    session = opened(file, 1, ["CPUExecutionProvider"])
    said: dict[str, int] = json.loads(session.get_modelmeta().custom_metadata_map.get("nedr.views", "{}"))
    return said


def resolve(weights: str | PathLike[str] | None = None) -> Path:
    """The file meant by `weights`: None for the default, a name of the table (verified), or a path to an .onnx file.

    Raises UsageError when it is neither, NedrError when the file is missing or damaged.
    """
    if weights is None:
        return verify(DEFAULT)
    if isinstance(weights, str) and weights in available():
        return verify(weights)
    file = Path(weights)
    if file.suffix != ".onnx":
        raise UsageError(f"expected weights called {' or '.join(available())} or a path to an .onnx file, found {file}")
    if not file.is_file():
        raise UsageError(f"no weights file at {file}")
    return file


def sha256(file: Path) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@lru_cache(maxsize=4)
def _table(file: Path) -> dict[str, Weights]:
    try:
        lines = json.loads(file.read_text(encoding="utf-8"))
        return {name: Weights(name=name, **line) for name, line in lines.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise NedrError(f"the table of weights at {file} cannot be read: {error}; install the package again") from error
