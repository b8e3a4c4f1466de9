"""What has been done in a folder of results: a journal in its subfolder .nedr, so that the next run carries on.

A line is appended before the files of a photograph are written, with what they will be, and another one after.
A run that is killed leaves at worst a torn line, which is passed over, or a first line without its second: then the
contents of the files say whether they were finished. Every *.jsonl in the folder counts; each writer has its own.
"""

import hashlib
import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nedr.errors import NedrError, UsageError

FOLDER = ".nedr"
"""The subfolder of a folder of results that holds its journals."""

JOURNAL = "album.jsonl"


@dataclass(frozen=True)
class Record:
    """A photograph and the files it becomes.

    result: the photograph without its haze, relative to the folder, with slashes;  photo: where it was read from
    size, stamp, digest: of the photograph: bytes, time of change (nanoseconds, or what the storage gives), contents
    settings: digest of everything else that decides the result;  files: digests by name, relative to the folder
    haze: what was found, as in `nedr.album.one.Haze`
    """

    result: str
    photo: str
    size: int
    stamp: str
    digest: str
    settings: str
    files: Mapping[str, str]
    haze: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """The same for records whose files are the same."""
        return f"{self.digest} {self.settings}"


def digest(data: bytes) -> str:
    """A fingerprint of contents: 128 bits of BLAKE2b, in hexadecimal."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def digest_file(path: Path) -> str:
    """The fingerprint of a file's contents, of any size. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def settings(**options: Any) -> str:
    """A fingerprint of options, which must be plain values."""
    return digest(json.dumps(options, sort_keys=True).encode())


def stamp(path: Path) -> tuple[int, str]:
    """Size in bytes and time of change of a local file. Raises OSError."""
    found = path.stat()
    return found.st_size, str(found.st_mtime_ns)


def lines(text: str) -> Iterator[dict[str, Any]]:
    """The lines of a journal; those that a killed run left torn are passed over."""
    for line in text.splitlines():
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and "result" in entry:
                yield entry


def line(record: Record) -> str:
    """A record as a line of a journal."""
    return json.dumps(asdict(record)) + "\n"


def written_line(record: Record, files: Mapping[str, Sequence[Any]]) -> str:
    """The line that says that the files of a record were written: size and stamp of each by its name."""
    return json.dumps({"result": record.result, "identity": record.identity, "written": files}) + "\n"


class Manifest:
    """The journal of one folder of results; loaded at once, and written only inside `with manifest:`.

    While it is open no other run may write to the folder. Calls may come from several threads. Raises NedrError for
    a journal that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._planned: dict[str, Record] = {}
        self._written: dict[str, tuple[str, dict[str, list[Any]]]] = {}  # identity, {name: [size, time of change]}
        self._journal: int | None = None
        self._lock = threading.Lock()
        try:
            for journal in sorted((folder / FOLDER).glob("*.jsonl")):
                for entry in lines(journal.read_text(encoding="utf-8", errors="replace")):
                    self._learn(entry)
        except OSError as error:
            raise NedrError(f"{folder / FOLDER} cannot be read: {error.strerror}") from error

    def __enter__(self) -> "Manifest":
        journal = self.folder / FOLDER / JOURNAL
        try:
            journal.parent.mkdir(parents=True, exist_ok=True)
            self._journal = os.open(journal, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            reason = f"{self.folder} may not be written ({error.strerror}); choose another folder"
            raise UsageError(reason) from error
        if _locked(self._journal, self.folder):
            self._sweep()
        self._append("\n")  # ends a line that a killed run left torn
        return self

    def __exit__(self, *_: object) -> None:
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None

    def name(self, path: Path) -> str:
        """What a file of the folder is called in the journal."""
        return path.relative_to(self.folder).as_posix()

    def finished(self, result: Path, photo: Path, settings: str) -> Record | None:
        """The record of a photograph whose files are there, made of the same contents with the same settings."""
        record = self._planned.get(self.name(result))
        if record is None or record.settings != settings or not self._is_whole(record):
            return None
        try:
            size, time = stamp(photo)
            same = size == record.size and (time == record.stamp or digest_file(photo) == record.digest)
        except OSError:  # reading it again will say why
            return None
        return record if same else None

    def may_replace(self, result: Path, photo: Path, contents: str, target: Path) -> bool:
        """Whether `target` is this album's own, left as it was written, and of this very photograph."""
        name = self.name(result)
        record = self._planned.get(name)
        if record is None or (record.photo != str(photo.resolve()) and record.digest != contents):
            return False
        written = self._written.get(name, ("", {}))[1].get(self.name(target))
        try:
            return written == [*stamp(target)] or self._is_planned(record, target)
        except OSError:
            return False

    def begin(self, record: Record) -> None:
        """To be called before the files of a record are written. Raises NedrError when the journal cannot be."""
        with self._lock:
            self._planned[record.result] = record
            self._append(line(record))

    def done(self, record: Record) -> None:
        """To be called when all files of a record are written. Raises NedrError when the journal cannot be."""
        try:
            written = {name: [*stamp(self.folder / name)] for name in record.files}
        except OSError as error:
            raise NedrError(f"{error.filename} is gone again: {error.strerror}") from error
        with self._lock:
            self._remember(record.result, record.identity, written)
            self._append(written_line(record, written))

    def _learn(self, entry: dict[str, Any]) -> None:
        with suppress(KeyError, TypeError):  # a line of another version
            if "written" in entry:
                self._remember(entry["result"], entry["identity"], entry["written"])
            else:
                self._planned[entry["result"]] = Record(**entry)

    def _remember(self, result: str, identity: str, written: dict[str, list[Any]]) -> None:
        """What was written for a photograph; files of other settings, such as an earlier map, stay known as ours."""
        _, earlier = self._written.get(result, ("", {}))
        self._written[result] = (identity, earlier | written)

    def _is_whole(self, record: Record) -> bool:
        identity, _ = self._written.get(record.result, ("", {}))
        if identity == record.identity:
            return all((self.folder / name).is_file() for name in record.files)
        with suppress(OSError):
            return all(self._is_planned(record, self.folder / name) for name in record.files)
        return False

    def _is_planned(self, record: Record, target: Path) -> bool:
        return digest_file(target) == record.files.get(self.name(target))

    def _append(self, text: str) -> None:
        if self._journal is None:
            raise RuntimeError("the manifest is written inside `with manifest:` only")
        try:
            os.write(self._journal, text.encode())
        except OSError as error:
            raise NedrError(f"{self.folder / FOLDER} could not be written: {error.strerror}") from error

    def _sweep(self) -> None:
        """Remove what a killed run had begun to write; nobody else writes here now."""
        for part in self.folder.rglob(".nedr-*.part"):
            with suppress(OSError):
                part.unlink()


def _locked(journal: int, folder: Path) -> bool:
    """Take the folder for this run; False where the system or the disk knows no locks."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"another nedr is writing to {folder}; wait for it, or choose another folder") from None
    except OSError:
        return False
    return True
