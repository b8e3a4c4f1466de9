"""What the words on the command line mean: patterns become the files they match, and results are not photographs."""

import glob
import os
import re
import stat
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nedr.errors import UsageError

OWN_MARKS = frozenset({"dehazed", "transmission", "compare"})
"""PHOTO.dehazed.jpg is a result of nedr where a PHOTO lies beside it."""

_NO_FOLDERS = frozenset(
    {"@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "$recycle.bin", "@tmp", "lost+found"}
    | {"system volume information", "__macosx"}
)
"""Folders, in lower case, in which disks and archives keep thumbnails and what was thrown away."""


@dataclass(frozen=True)
class Sources:
    """The files and folders that are meant;  results: those among the files that are left out, since nedr made them."""

    paths: list[str]
    results: list[str]


def expand_sources(words: Sequence[str], marks: Collection[str] = OWN_MARKS) -> Sources:
    """The files and folders that words name or, where no shell has done it, match: `*.jpg`, `trip/**/*.jpg`.

    Among several files the results of others are left out; a single one is meant as it stands.
    marks: by which results are recognised, as in OWN_MARKS

    Raises UsageError for a pattern that nothing matches, and for an address of the web.
    """
    paths = [path for word in words for path in _matched(word)]
    if len(paths) < 2:
        return Sources(paths, [])
    stems = {folder: _stems(folder) for folder in {Path(path).parent for path in paths}}
    results = [path for path in paths if is_result(Path(path), stems[Path(path).parent], marks)]
    left_out = set(results)
    return Sources([path for path in paths if path not in left_out], results)


def is_result(path: Path, stems: Collection[str], marks: Collection[str] = OWN_MARKS) -> bool:
    """Whether a file has the name of a result, in a folder whose files have these stems."""
    stem, _, mark = path.stem.rpartition(".")
    return mark in marks and stem in stems


def is_hidden(name: str) -> bool:
    """Whether a file or folder called so holds nobody's photographs: hidden, thumbnails, thrown away."""
    return name.startswith(".") or name.casefold() in _NO_FOLDERS


def is_pipe(path: str) -> bool:
    """Whether a path is read once from its start to its end: a named pipe, a device, an open file of the shell."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or str(path).startswith(("/dev/", "/proc/"))


def identity(path: Path) -> Hashable:
    """One value for all names of a file or folder, whether it exists or not."""
    try:
        found = path.stat()
    except OSError:
        return os.path.normcase(os.path.realpath(path))
    return found.st_dev, found.st_ino


def _matched(word: str) -> Iterable[str]:
    if os.path.lexists(word):
        return [word]
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", word):
        raise UsageError(f"{word} is an address; expected a file: download it first")
    if not glob.has_magic(word):
        return [word]
    named = Path(word).parts
    found = sorted(glob.glob(word, recursive=True))  # noqa: PTH207 Path.glob wants relative patterns
    kept = [path for path in found if not any(is_hidden(part) for part in Path(path).parts if part not in named)]
    if not kept:
        raise UsageError(f"no file matches {word}")
    return kept


def _stems(folder: Path) -> set[str]:
    try:
        return {path.stem for path in folder.iterdir()}
    except OSError:
        return set()
