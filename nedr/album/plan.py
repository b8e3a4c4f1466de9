"""Folders of photographs: what is in them, and where each result goes.

>>> for task in plan(["trip", "more/b.jpg"], "cleared"):
...     print(task.job.photo, task.job.result)
"""

import os
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

from nedr.album import journal, one
from nedr.errors import ImageError, NedrError, UsageError
from nedr.pictures import images
from nedr.pictures.job import Job
from nedr.video import formats

OWN_MARKS = frozenset({"dehazed", "transmission", "compare"})
"""PHOTO.dehazed.jpg is a result of nedr where a PHOTO lies beside it: folders are searched without those."""


# A .ts in a folder is more often TypeScript than a transport stream.
_SUFFIXES = frozenset(images.SUFFIXES) | frozenset(formats.READ_ONLY) | (frozenset(formats.CONTAINERS) - {".ts"})


@dataclass(frozen=True)
class Selection:
    """Which photographs of a folder are meant: globs on names, or on paths within the folder, in any case.

    include: at least one must match, if there are any;  exclude: none may, nor one match a folder above
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def takes(self, path: str) -> bool:
        """Whether a photograph at `path` within the folder, with slashes, is wanted."""
        return self.enters(path) and (not self.include or any(_matches(path, glob) for glob in self.include))

    def enters(self, path: str) -> bool:
        """Whether a folder at `path` is searched."""
        return not any(_matches(path, glob) for glob in self.exclude)


@dataclass(frozen=True)
class Task:
    """A job, and the folder of results whose manifest it belongs to: None for none; `error`: why it cannot be done."""

    job: Job
    root: Path | None = None
    error: NedrError | None = None


def plan(
    sources: Sequence[str],
    output: str | None = None,
    *,
    map: bool = False,
    compare: bool = False,
    selection: Selection | None = None,
) -> list[Task]:
    """The tasks of photographs and folders given together; nothing is written.

    Without a folder among them this is `nedr.album.one.plan`. A folder's photographs go to the same places under
    `output` (of several folders, under their names), or under FOLDER.dehazed without one; a photograph named beside
    folders becomes PHOTO.dehazed.SUFFIX there. Results whose names would be the same, or differ in case alone, get
    numbers.
    A folder that cannot be listed, or in which nothing is found, becomes a task with an error.

    Raises UsageError for an output that is a file or one of the folders, and what `nedr.album.one.plan` does.
    """
    folders = [Path(source) for source in sources if Path(source).is_dir()]
    photos = [source for source in sources if not Path(source).is_dir()]
    if not folders:
        return [Task(job) for job in one.plan(photos, output, map=map, compare=compare)]
    _check_folders(folders, output)
    root = None if output is None else Path(output)
    named = one.plan(photos, output and f"{output}{os.sep}", map=map, compare=compare) if photos else []
    names = _Names(target for job in named for target in job.targets)
    jobs, tasks = iter(named), list[Task]()
    for source in sources:
        if not Path(source).is_dir():
            tasks.append(Task(next(jobs), root))
            continue
        folder, results = Path(source), root or _beside(Path(source))
        top = names.free(results, [_name(folder)]) if root and len(folders) > 1 else results
        tasks += _in_folder(folder, results, top, names, selection or Selection(), (map, compare))
    return tasks


def _check_folders(folders: list[Path], output: str | None) -> None:
    if len({_identity(folder) for folder in folders}) < len(folders):
        raise UsageError(f"a folder is given twice among {', '.join(map(str, folders))}; leave one out")
    if output is not None and Path(output).exists() and not Path(output).is_dir():
        raise UsageError(f"{output} is a file; expected a folder for the results of {folders[0]}")
    for folder in folders:
        if output is not None and Path(output).exists() and folder.samefile(output):
            raise UsageError(f"{output} would be both read and written; choose another folder for the results")


def _in_folder(
    folder: Path, results: Path, top: Path, names: "_Names", selection: Selection, extra: tuple[bool, bool]
) -> Iterator[Task]:
    """The tasks of one folder: its tree goes to `top`, its record to `results`."""
    found = sorted(find(folder, leave=results, selection=selection), key=_claims_later)
    if not found:
        yield Task(Job(folder, top), error=UsageError(f"no photographs of those asked for in {folder}"))
    for photo in found:
        yield _task(photo, top / photo.path.parent.relative_to(folder), results, names, extra)


@dataclass(frozen=True)
class Found:
    """A photograph in a folder, or with an error a folder that cannot be listed."""

    path: Path
    error: NedrError | None = None


def find(folder: Path, *, leave: Path, selection: Selection) -> Iterator[Found]:
    """Every photograph below a folder, told by its suffix, sorted within each folder; what lies in `leave` is not.

    Links are followed, after the real folders, and each folder is searched once. Hidden names, other folders of
    nedr's results and results beside their photographs are passed over.
    """
    queue, seen = deque([folder]), {_identity(leave)}
    while queue:
        here = queue.popleft()
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            yield Found(here, ImageError(f"the folder {here} cannot be read: {error.strerror}"))
            continue
        is_ours = here != folder and any(entry.name == journal.FOLDER for entry in entries)
        if is_ours or _identity(here) in seen:
            continue
        seen.add(_identity(here))
        wanted = [entry for entry in entries if not entry.name.startswith(".")]
        inner = {entry.name for entry in wanted if _is_folder(entry)}
        below = [here / entry.name for entry in wanted if entry.name in inner]
        below = [path for path in below if selection.enters(path.relative_to(folder).as_posix())]
        queue.extendleft(path for path in reversed(below) if not path.is_symlink())
        queue.extend(path for path in below if path.is_symlink())
        files = [here / entry.name for entry in wanted if entry.name not in inner]
        for path in _photographs(files):
            if selection.takes(path.relative_to(folder).as_posix()):
                yield Found(path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, say: reading it will tell
        return False


def _photographs(files: list[Path]) -> Iterator[Path]:
    stems = {path.stem for path in files}
    for path in files:
        stem, _, mark = path.stem.rpartition(".")
        if path.suffix.lower() in _SUFFIXES and not (mark in OWN_MARKS and stem in stems):
            yield path


def _task(found: Found, folder: Path, root: Path, names: "_Names", extra: tuple[bool, bool]) -> Task:
    photo, (with_map, with_compare) = found.path, extra
    if found.error:
        return Task(Job(photo, folder), error=found.error)
    video = formats.is_video(photo)
    read_only = not video and images.format_for(photo) in images.READ_ONLY
    wish = photo.stem + (formats.result_suffix(photo) if video else ".jpg" if read_only else photo.suffix)
    result = names.free(folder, [wish])
    kind = result.suffix if video else ".png"
    job = Job(
        photo,
        result,
        "JPEG" if read_only else None,
        map=names.free(folder, [f"{result.stem}.transmission{kind}", f"{result.name}.transmission{kind}"])
        if with_map
        else None,
        compare=names.free(folder, [f"{result.stem}.compare{result.suffix}"]) if with_compare else None,
    )
    return Task(job, root)


def _claims_later(found: Found) -> tuple[bool, Path]:
    """Photographs that keep their suffix choose their names first, so that these do not depend on a HEIF nearby."""
    return images.SUFFIXES.get(found.path.suffix.lower()) in images.READ_ONLY, found.path


def _beside(folder: Path) -> Path:
    full = folder.resolve()
    if not full.name:
        raise UsageError(f"{folder} has no name to call the results after; say where with -o FOLDER")
    return folder.with_name(f"{folder.name}.dehazed") if folder.name not in ("", "..") else Path(f"{full}.dehazed")


def _name(folder: Path) -> str:
    return folder.resolve().name or "root"


def _identity(folder: Path) -> tuple[int, int] | None:
    """One value for all names of a folder; None for one that is not there."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _matches(path: str, glob: str) -> bool:
    path, glob = _folded(path), _folded(glob)
    return fnmatchcase(path, glob) or fnmatchcase(path.rpartition("/")[2], glob)


def _folded(name: str) -> str:
    """One text for names that are one file on some disks: those ignore case and how accents are composed."""
    return unicodedata.normalize("NFC", name).casefold()


class _Names:
    """The names of results, each given once."""

    def __init__(self, taken: Iterable[Path] = ()) -> None:
        self._taken = {_folded(str(path)) for path in taken}

    def free(self, folder: Path, wishes: Sequence[str]) -> Path:
        """The first of the wishes that is free in a folder, else the last one with a number."""
        last = Path(wishes[-1])
        numbered = (f"{last.stem}~{number}{last.suffix}" for number in range(2, len(self._taken) + 3))
        for name in chain(wishes, numbered):
            key = _folded(str(folder / name))
            if key not in self._taken:
                self._taken.add(key)
                return folder / name
        raise AssertionError("there are more numbers than names taken")
