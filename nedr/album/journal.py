"""What has been done in a folder of results: a small database in its subfolder .nedr, so that the next run carries on.

What the files of a photograph will be is written down before they are, and that they were written afterwards. A run
that is killed in between leaves an entry that was begun: then the contents of the files say whether they were finished.
Of several entries for one result the newest counts, whoever wrote it. Photographs named one by one have no folder of
results; what became of them is kept in one database of the user's.
"""

import errno
import hashlib
import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nedr.errors import NedrError, UsageError
from nedr.pictures import atomic

FOLDER = ".nedr"
"""The subfolder of a folder of results that holds its journal."""

DATABASE = "album.sqlite"

FORGOTTEN = 400 * 86400
"""Seconds after which the user's own journal forgets a photograph."""

_TABLES = """
CREATE TABLE IF NOT EXISTS photographs (
    result BLOB PRIMARY KEY, at REAL, photo BLOB, size INTEGER, stamp TEXT, digest TEXT, settings TEXT, haze TEXT,
    written INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    result BLOB, name BLOB, digest TEXT, size INTEGER, stamp TEXT, current INTEGER, PRIMARY KEY (result, name)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Record:
    """A photograph and the files it becomes.

    result: the photograph without its haze, relative to the folder, with slashes;  photo: where it was read from
    size, stamp, digest: of the photograph: bytes, modification time (nanoseconds, or what the storage gives), contents
    settings: digest of everything else that decides the result;  files: digests by name, relative to the folder
    haze: what was found, as in `nedr.album.one.Haze`;  at: when, in seconds since 1970
    """

    result: str
    photo: str
    size: int
    stamp: str
    digest: str
    settings: str
    files: Mapping[str, str]
    haze: Mapping[str, Any] = field(default_factory=dict)
    at: float = field(default_factory=time.time)

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
    """Size in bytes and modification time of a local file. Raises OSError."""
    found = path.stat()
    return found.st_size, str(found.st_mtime_ns)


# Journals as lines of JSON: what runs on many machines write, each its own file, and what folders had before


def line(record: Record) -> str:
    """A record as a line of a journal."""
    return json.dumps(asdict(record)) + "\n"


def written_line(record: Record, files: Mapping[str, Sequence[Any]]) -> str:
    """The line that says that the files of a record were written: size and stamp of each by its name."""
    return json.dumps({"result": record.result, "identity": record.identity, "written": files}) + "\n"


Written = tuple[Record, Mapping[str, Sequence[Any]] | None]
"""A record, and size and stamp of each of its files by name; None when they may not have been written."""


def read_lines(text: str, at: float = 0.0) -> Iterator[Written]:
    """The records of a journal, in order; lines torn by a killed run are skipped.

    at: when a record was made that does not say so itself, in seconds since 1970
    """
    begun: dict[str, Record] = {}
    for entry in _entries(text):
        with suppress(KeyError, TypeError):  # a line of another version
            if "written" not in entry:
                record = Record(**({"at": at} | entry))
                begun[record.result] = record
                yield record, None
            elif (planned := begun.get(entry["result"])) and planned.identity == entry["identity"]:
                yield planned, entry["written"]


def _entries(text: str) -> Iterator[dict[str, Any]]:
    for each in text.splitlines():
        with suppress(ValueError):
            entry = json.loads(each)
            if isinstance(entry, dict) and "result" in entry:
                yield entry


# The database


class Journal:
    """What was done in one folder of results. Calls may come from several threads, and other processes may write too.

    Raises NedrError for a database that cannot be read or written.
    """

    def __init__(self, folder: Path, database: sqlite3.Connection) -> None:
        self.folder, self._database, self._lock = folder, database, threading.RLock()
        self._written: list[Written] = []
        with self._changing() as change:
            change.execute("PRAGMA journal_mode = PERSIST")  # a commit waits for the disk half as often
            change.executescript(_TABLES)

    def name(self, path: Path) -> str:
        """What a file is called in the journal: relative to the folder, if it lies there."""
        if path.is_relative_to(self.folder):
            return path.relative_to(self.folder).as_posix()
        return path.absolute().as_posix()

    def finished(self, result: Path, photo: Path, settings: str, *, untouched: bool = False) -> Record | None:
        """The record of a photograph whose files are there, made of the same contents with the same settings.

        untouched: only if nobody has changed the files since
        """
        self.flush()
        found = self._found(self.name(result))
        if found is None or found[0].settings != settings or not self._is_whole(*found, untouched=untouched):
            return None
        record = found[0]
        try:
            size, time = stamp(photo)
            same = size == record.size and (time == record.stamp or digest_file(photo) == record.digest)
        except OSError:  # reading it again will say why
            return None
        return record if same else None

    def may_replace(self, result: Path, photo: Path, contents: str, target: Path) -> bool:
        """Whether `target` is one of our results, left as it was written, and of this very photograph."""
        found, name = self._found(self.name(result)), self.name(target)
        if found is None or (found[0].photo != str(photo.resolve()) and found[0].digest != contents):
            return False
        if name == self.name(photo):
            return False
        known = self._files(found[0].result).get(name)
        return known is not None and self._is_untouched(target, *known)

    def begin(self, record: Record) -> None:
        """To be called before the files of a record are written; afterwards it is on the disk."""
        self.take_over([(record, None)])

    def done(self, record: Record) -> None:
        """To be called when all files of a record are written. Raises NedrError if one has disappeared.

        It goes to the disk with what comes next, or with `flush`: if it is killed before, contents are compared.
        """
        try:
            written = {name: [*stamp(self.folder / name)] for name in record.files}
        except OSError as error:
            raise NedrError(f"{error.filename} has disappeared: {error.strerror}") from error
        with self._lock:
            self._written.append((record, written))

    def flush(self) -> None:
        """Write down what is known only here."""
        if self._written:
            self.take_over(())

    def take_over(self, records: Iterable[Written]) -> None:
        """Records of other journals; those that are older than what is known here change nothing."""
        with self._changing() as change:
            waiting, self._written = self._written, []
            for record, written in (*waiting, *records):
                if written is None:
                    _begin(change, record)
                else:
                    _done(change, record, written)

    def forget(self, before: float) -> None:
        """Leave out what was done before a time, in seconds since 1970."""
        with self._changing() as change:
            change.execute("DELETE FROM photographs WHERE at < ?", (before,))
            change.execute("DELETE FROM files WHERE result NOT IN (SELECT result FROM photographs)")

    def records(self) -> list[Written]:
        """All records; those that were written with size and stamp of each file."""
        self.flush()
        with self._changing() as change:
            results = [os.fsdecode(row[0]) for row in change.execute("SELECT result FROM photographs")]
        return [self._with_files(*found) for found in filter(None, map(self._found, results))]

    def _with_files(self, record: Record, written: bool) -> Written:
        known = self._files(record.result)
        return record, {name: list(known[name][1:]) for name in record.files} if written else None

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """The database, for one change or question at a time, which is kept whole or not at all."""
        with self._lock, _explained(self.folder), self._database:
            yield self._database

    def _found(self, result: str) -> tuple[Record, bool] | None:
        """A result's record, and whether its files were written."""
        asked = "SELECT at, photo, size, stamp, digest, settings, haze, written FROM photographs WHERE result = ?"
        with self._changing() as change:
            row = change.execute(asked, (os.fsencode(result),)).fetchone()
        if row is None:
            return None
        at, photo, size, stamp, contents, settings, haze, written = row
        names = "SELECT name, digest FROM files WHERE result = ? AND current"
        with self._changing() as change:
            files = {os.fsdecode(name): made for name, made in change.execute(names, (os.fsencode(result),))}
        photo = os.fsdecode(photo)
        return Record(result, photo, size, stamp, contents, settings, files, json.loads(haze), at), bool(written)

    def _files(self, result: str) -> dict[str, tuple[str, int | None, str | None]]:
        """Digest, size and stamp of everything that was ever made of a photograph, such as an earlier map."""
        asked = "SELECT name, digest, size, stamp FROM files WHERE result = ?"
        with self._changing() as change:
            return {os.fsdecode(name): known for name, *known in change.execute(asked, (os.fsencode(result),))}

    def _is_whole(self, record: Record, written: bool, *, untouched: bool) -> bool:
        if written and not untouched:
            return all((self.folder / name).is_file() for name in record.files)
        known = self._files(record.result)
        return all(self._is_untouched(self.folder / name, *known[name]) for name in record.files)

    def _is_untouched(self, target: Path, made: str, size: int | None, time: str | None) -> bool:
        try:
            return stamp(target) == (size, time) or digest_file(target) == made
        except OSError:
            return False


@contextmanager
def open_album(folder: Path, *, writing: bool = True) -> Iterator[Journal]:
    """The journal of a folder of results. While it is open for writing, no other run may write to the folder.

    Journals that lie beside it, of many machines or of earlier versions, are taken over.

    Raises UsageError when another run has it, or the folder may not be written, NedrError for a damaged journal.
    """
    home = folder / FOLDER
    with closing(_connected(home, writing)) as database, _alone(home, writing):
        journal = Journal(folder, database)
        _take_over_lines(journal, home, writing)
        if writing:
            _sweep(folder)
        with _flushed(journal):
            yield journal


@contextmanager
def _flushed(journal: Journal) -> Iterator[None]:
    """Write down in the end what is known; on a full disk it is not, and the next run compares contents."""
    try:
        yield
    finally:
        with suppress(NedrError):
            journal.flush()


def _take_over_lines(journal: Journal, home: Path, writing: bool) -> None:
    """Take over the journals of lines beside a database, the oldest first; they are needed no longer afterwards."""
    with _explained(home.parent):
        beside = sorted(home.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
        for path in beside:
            text = path.read_text(encoding="utf-8", errors="replace")
            journal.take_over(read_lines(text, path.stat().st_mtime))
        for path in beside if writing else ():
            path.unlink()


@contextmanager
def open_own(*, writing: bool = True) -> Iterator[Journal]:
    """The user's own journal, for photographs named one by one; where there can be none, one that is soon forgotten."""
    folder = own_folder()
    try:
        database = _connected(folder, writing)
        journal = Journal(folder, database)
    except NedrError:
        database = sqlite3.connect(":memory:", check_same_thread=False)
        journal = Journal(folder, database)
    with closing(database):
        journal.forget(time.time() - FORGOTTEN)
        with _flushed(journal):
            yield journal


def own_folder() -> Path:
    """Where the user's own journal lies; $XDG_STATE_HOME, or %LOCALAPPDATA% on Windows, says where such things go."""
    place = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_STATE_HOME")
    home = Path(place) if place else Path("~/.local/state")
    return Path(os.path.expanduser(home)) / "nedr"  # noqa: PTH111 unlike Path.expanduser it takes what has no home


def _connected(home: Path, writing: bool) -> sqlite3.Connection:
    """The database of a folder, or a copy of it in memory."""
    with _explained(home.parent):
        if writing:
            _make(home)
            return sqlite3.connect(home / DATABASE, timeout=60, check_same_thread=False)
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        if (home / DATABASE).exists():
            with closing(sqlite3.connect(f"{(home / DATABASE).absolute().as_uri()}?mode=ro", uri=True)) as database:
                database.backup(copy)
        return copy


def _make(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not os.access(home, os.W_OK):
            raise PermissionError(errno.EACCES, "Permission denied")
    except OSError as error:
        reason = f"{home.parent} may not be written ({error.strerror}); choose another folder"
        raise UsageError(reason) from error


@contextmanager
def _alone(home: Path, writing: bool) -> Iterator[None]:
    """Keep other runs out; where the disk knows no locks, nothing is kept."""
    if not writing:
        yield
        return
    with closing(sqlite3.connect(home / "lock", timeout=0, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                reason = f"another nedr is writing to {home.parent}; wait for it, or choose another folder"
                raise UsageError(reason) from None
        yield


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Make of the database's errors one of ours, with the system's behind it where the disk is full or read-only."""
    try:
        yield
    except sqlite3.Error as error:
        kinds = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_READONLY: errno.EROFS}
        kind = kinds.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        cause = OSError(kind, os.strerror(kind)) if kind else error
        raise NedrError(f"the journal of {folder} cannot be used: {error}; remove it to start afresh") from cause
    except OSError as error:
        raise NedrError(f"the journal of {folder} cannot be used: {error.strerror or error}") from error


def _begin(change: sqlite3.Connection, record: Record) -> None:
    """Write a record down, unless a newer one is known."""
    result = os.fsencode(record.result)
    row = (result, record.at, os.fsencode(record.photo), record.size, record.stamp, record.digest, record.settings)
    asked = """INSERT INTO photographs VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT DO UPDATE SET
        (at, photo, size, stamp, digest, settings, haze, written) =
        (excluded.at, excluded.photo, excluded.size, excluded.stamp, excluded.digest, excluded.settings, excluded.haze,
        0) WHERE excluded.at >= photographs.at"""
    if change.execute(asked, (*row, json.dumps(dict(record.haze)))).rowcount == 0:
        return
    change.execute("UPDATE files SET current = 0 WHERE result = ?", (result,))
    made = """INSERT INTO files VALUES (?, ?, ?, NULL, NULL, 1)
        ON CONFLICT DO UPDATE SET (digest, current) = (excluded.digest, 1)"""
    change.executemany(made, [(result, os.fsencode(name), made_of) for name, made_of in record.files.items()])


def _done(change: sqlite3.Connection, record: Record, written: Mapping[str, Sequence[Any]]) -> None:
    """Write down that the files of a record were written, if it is the one that is known."""
    result = os.fsencode(record.result)
    asked = "UPDATE photographs SET written = 1 WHERE result = ? AND digest = ? AND settings = ? AND at = ?"
    if change.execute(asked, (result, record.digest, record.settings, record.at)).rowcount:
        rows = [(size, time, result, os.fsencode(name)) for name, (size, time) in written.items()]
        change.executemany("UPDATE files SET size = ?, stamp = ? WHERE result = ? AND name = ?", rows)


def _sweep(folder: Path) -> None:
    """Remove what killed runs had begun to write."""
    for part in folder.rglob(atomic.PARTS):
        if atomic.is_abandoned(part):
            with suppress(OSError):
                part.unlink()
