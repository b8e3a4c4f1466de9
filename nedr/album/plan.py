"""Folders of photographs: what is in them, and where each result goes.

>>> for task in plan_tasks(["trip", "more/b.jpg"], "dehazed"):
...     print(task.job.photo, task.job.result)
"""

import os
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

from nedr.album import journal, one
from nedr.album.sources import identity, is_hidden, is_result
from nedr.errors import ImageError, NedrError, UsageError
from nedr.pictures import images
from nedr.pictures.job import Job
from nedr.video import formats

SIDECAR = ".xmp"
"""The suffix of files beside photographs that say more about them: PHOTO.xmp or PHOTO.jpg.xmp."""

# A .ts in a folder is more often TypeScript than a transport stream.
_SUFFIXES = frozenset(images.SUFFIXES) | frozenset(formats.READ_ONLY) | (frozenset(formats.CONTAINERS) - {".ts"})

# What a camera writes side by side under one name.
_RAW, _DEVELOPED = ("RAW",), ("JPEG", "HEIF")

# Pictures that are not read.
_UNREAD = frozenset({".exr", ".hdr", ".jp2", ".jxl", ".psb", ".psd", ".raw", ".svg", ".xcf"})


@dataclass(frozen=True)
class Selection:
    """Which photographs of a folder are meant: globs on names, or on paths within the folder, in any case.

    include: at least one must match, if there are any;  exclude: none may, nor one match a folder above
    prefer: of a camera's raw file and its JPEG or HEIF of the same name: "raw", "jpeg", or "both"

    Raises UsageError for another preference.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    prefer: str = "both"

    def __post_init__(self) -> None:
        if self.prefer not in ("raw", "jpeg", "both"):
            raise UsageError(f"expected to prefer raw, jpeg or both, found {self.prefer!r}")

    def takes(self, path: str) -> bool:
        """Whether a photograph at `path` within the folder, with slashes, is wanted."""
        return self.enters(path) and (not self.include or any(_matches(path, glob) for glob in self.include))

    def enters(self, path: str) -> bool:
        """Whether a folder at `path` is searched."""
        return not any(_matches(path, glob) for glob in self.exclude)


@dataclass(frozen=True)
class Task:
    """A job, and the folder of results whose journal it belongs to: None for a photograph named on its own.

    error: why it cannot be done;  unread: whether it is a picture of a kind that is not read
    """

    job: Job
    root: Path | None = None
    error: NedrError | None = None
    unread: bool = False


def plan_tasks(
    sources: Sequence[str],
    output: str | None = None,
    *,
    map: bool = False,
    compare: bool = False,
    selection: Selection | None = None,
) -> list[Task]:
    """The tasks of photographs and folders given together; nothing is written.

    Without a folder among them this is `nedr.album.one.plan_jobs`. A folder's photographs go to the same places under
    `output` (of several folders, under their names), or under FOLDER.dehazed without one; a photograph named beside
    folders becomes PHOTO.dehazed.SUFFIX there. Results whose names would be the same, or differ in case alone, get
    numbers. The sidecars of a folder's photographs go where these go.
    A folder that cannot be listed, or in which nothing is found, becomes a task with an error.

    Raises UsageError for an output that is a file or one of the folders, and what `nedr.album.one.plan_jobs` does.
    """
    folders = [Path(source) for source in sources if Path(source).is_dir()]
    photos = [source for source in sources if not Path(source).is_dir()]
    if not folders:
        return [Task(job) for job in one.plan_jobs(photos, output, map=map, compare=compare)]
    _check_folders(folders, output)
    root = None if output is None else Path(output)
    named = one.plan_jobs(photos, output and f"{output}{os.sep}", map=map, compare=compare) if photos else []
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
    if len({identity(folder) for folder in folders}) < len(folders):
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
    found = sorted(find_photographs(folder, leave=results, selection=selection), key=_claims_later)
    if all(photo.unread for photo in found):
        yield Task(Job(folder, top), error=UsageError(f"no photographs of those asked for in {folder}"))
    for photo in found:
        yield from _tasks(photo, top / photo.path.parent.relative_to(folder), results, names, extra)


@dataclass(frozen=True)
class Found:
    """A photograph in a folder, or with an error a folder that cannot be listed.

    sidecars: the files beside it that say more about it;  unread: whether it is a picture of a kind that is not read
    """

    path: Path
    error: NedrError | None = None
    sidecars: tuple[Path, ...] = ()
    unread: bool = False


def find_photographs(folder: Path, *, leave: Path, selection: Selection) -> Iterator[Found]:
    """Every photograph below a folder, by its suffix, sorted within each folder; what lies in `leave` is skipped.

    Links are followed, after the real folders, and each folder is searched once. Hidden names, thumbnails and bins,
    other folders of nedr's results, results beside their photographs, pipes and devices are skipped.
    """
    queue, seen = deque([folder]), {identity(leave)}
    while queue:
        here = queue.popleft()
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            yield Found(here, ImageError(f"the folder {here} cannot be read: {error.strerror}"))
            continue
        is_ours = here != folder and any(entry.name == journal.FOLDER for entry in entries)
        if is_ours or identity(here) in seen:
            continue
        seen.add(identity(here))
        wanted = [entry for entry in entries if not is_hidden(entry.name)]
        below = [here / entry.name for entry in wanted if _is_directory(entry)]
        below = [path for path in below if selection.enters(path.relative_to(folder).as_posix())]
        queue.extendleft(path for path in reversed(below) if not path.is_symlink())
        queue.extend(path for path in below if path.is_symlink())
        files = [here / entry.name for entry in wanted if _is_file(entry)]
        for found in _photographs(_preferred(files, folder, selection)):
            if selection.takes(found.path.relative_to(folder).as_posix()):
                yield found


def _preferred(files: list[Path], folder: Path, selection: Selection) -> list[Path]:
    """The files without those of pairs that are not preferred; only what is wanted makes a pair."""
    if selection.prefer == "both":
        return files
    better, worse = (_RAW, _DEVELOPED) if selection.prefer == "raw" else (_DEVELOPED, _RAW)
    wanted = [path for path in files if selection.takes(path.relative_to(folder).as_posix())]
    stems = {_folded(path.stem) for path in wanted if _format(path) in better}
    return [path for path in files if _format(path) not in worse or _folded(path.stem) not in stems]


def _format(path: Path) -> str | None:
    return images.SUFFIXES.get(path.suffix.lower())


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, say: reading it will tell
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file, or a link that leads nowhere, which reading will tell."""
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry).exists())
    except OSError:
        return True


def _photographs(files: list[Path]) -> Iterator[Found]:
    stems = {path.stem for path in files}
    sidecars = {path.name.casefold(): path for path in files if path.suffix.lower() == SIDECAR}
    for path in files:
        suffix = path.suffix.lower()
        if suffix in _SUFFIXES and not is_result(path, stems):
            beside = (f"{name.casefold()}{SIDECAR}" for name in (path.stem, path.name))
            yield Found(path, sidecars=tuple(sidecars.pop(name) for name in beside if name in sidecars))
        elif suffix in _UNREAD:
            yield Found(path, unread=True)


def _tasks(found: Found, folder: Path, root: Path, names: "_Names", extra: tuple[bool, bool]) -> Iterator[Task]:
    """The task of a photograph, and those of its sidecars."""
    if found.error:
        yield Task(Job(found.path, folder), error=found.error)
    elif found.unread:
        kind = found.path.suffix.lower()
        yield Task(Job(found.path, folder), error=ImageError(f"{kind} files are not read"), unread=True)
    else:
        job = _job(found.path, folder, names, extra)
        yield Task(job, root)
        for sidecar in found.sidecars:
            name = job.result.stem if sidecar.stem == found.path.stem else job.result.name
            yield Task(Job(sidecar, names.free(folder, [f"{name}{sidecar.suffix}"])), root)


def _job(photo: Path, folder: Path, names: "_Names", extra: tuple[bool, bool]) -> Job:
    video = formats.is_video(photo)
    suffix, kind = (formats.result_suffix(photo), None) if video else images.result_for(photo.suffix)
    result, of_map = names.free(folder, [photo.stem + suffix]), suffix if video else ".png"
    job = Job(photo, result, kind)
    if extra[0]:
        wishes = [f"{result.stem}.transmission{of_map}", f"{result.name}.transmission{of_map}"]
        job = replace(job, map=names.free(folder, wishes))
    if extra[1]:
        job = replace(job, compare=names.free(folder, [f"{result.stem}.compare{result.suffix}"]))
    return job


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
