"""What is kept for callers for a while: pictures, videos and results, in a folder that is deleted with the server.

Everything has an unguessable name, a limit in bytes and an end: what has been unused longest goes first.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nedr.errors import UsageError
from nedr.web.limits import Limits, Refusal

PREFIX = "nedr-serve-"


@dataclass(eq=False)
class Entry:
    """Something kept: `folder` holds its files, `about` what callers are told about it, `bytes` its counted size.

    spare: files that can be recreated, and so are deleted before whole entries are;  dropped: it is no longer kept, and
    its files are deleted once nobody works with them
    """

    name: str
    folder: Path
    about: dict[str, Any] = field(default_factory=dict)
    bytes: int = 0
    used: float = field(default_factory=time.monotonic)
    pins: int = 0
    spare: tuple[str, ...] = ()
    dropped: bool = False

    @contextlib.contextmanager
    def pinned(self) -> Iterator[None]:
        """Keep it while it is being worked with."""
        self.pins += 1
        try:
            yield
        finally:
            self.pins -= 1
            self.used = time.monotonic()
            if self.dropped:
                self.drop()

    def drop(self) -> None:
        """Delete the files, now or when the last work with them is done."""
        self.dropped = True
        if not self.pins:
            shutil.rmtree(self.folder, ignore_errors=True)


class Store:
    """Entries by name. Raises UsageError if no folder can be created."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._entries: dict[str, Entry] = {}
        self._root: Path | None = None

    def open(self) -> Entry:
        """A new entry with an empty folder."""
        entry = Entry(secrets.token_urlsafe(18), self._folder() / secrets.token_hex(8))
        entry.folder.mkdir(mode=0o700)
        self._entries[entry.name] = entry
        return entry

    def find(self, name: str) -> Entry:
        """An entry, marked as used now. Raises Refusal 404."""
        entry = self._entries.get(name)
        if entry is None:
            raise Refusal(404, "this is not kept here (any more); send the file again", "gone")
        entry.used = time.monotonic()
        return entry

    def has(self, name: str) -> bool:
        """Whether an entry is kept."""
        return name in self._entries

    def grow(self, entry: Entry, count: int) -> None:
        """Count `count` more bytes for an entry, and drop others if all together are too large.

        Raises Refusal 507, and drops the entry, if what is in use leaves no room.
        """
        entry.bytes += count
        if self.bytes > self._limits.store:
            with entry.pinned():
                self.tidy()
        if self.bytes > self._limits.store:
            self.drop(entry)
            raise Refusal(507, "the server has no room left for this; try again later", "no_room")

    def weigh(self, entry: Entry) -> None:
        """Count an entry's files again. Raises as `grow` does."""
        if not entry.dropped:
            self.grow(entry, _size(entry.folder) - entry.bytes)

    def drop(self, entry: Entry) -> None:
        """Stop keeping an entry."""
        self._entries.pop(entry.name, None)
        entry.drop()

    async def keep_tidy(self) -> None:
        """Drop what has long been unused, from time to time, until cancelled."""
        while True:
            await asyncio.sleep(min(60, self._limits.kept_seconds))
            self.tidy()

    @property
    def bytes(self) -> int:
        """The size of all entries."""
        return sum(entry.bytes for entry in self._entries.values())

    def tidy(self) -> None:
        """Drop what has long been unused, and, if all together are too large, what has been unused longest."""
        old = time.monotonic() - self._limits.kept_seconds
        free = sorted((one for one in self._entries.values() if not one.pins), key=lambda one: one.used)
        for entry in free:
            if entry.used < old:
                self.drop(entry)
        for lighten in (self._thin, self.drop):
            for entry in free:
                if self.bytes <= self._limits.store:
                    return
                lighten(entry)

    def _thin(self, entry: Entry) -> None:
        for name in entry.spare:
            (entry.folder / name).unlink(missing_ok=True)
        entry.bytes = 0 if entry.dropped else _size(entry.folder)

    def close(self) -> None:
        """Delete everything."""
        self._entries.clear()
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
            self._root = None

    def _folder(self) -> Path:
        if self._root is None:
            try:
                _sweep(Path(tempfile.gettempdir()))
                self._root = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
            except OSError as error:
                raise UsageError(
                    f"cannot write to any temporary folder ({error}); set TMPDIR, or in a container add --tmpfs /tmp"
                ) from None
        return self._root


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _sweep(folder: Path) -> None:
    """Delete what killed servers left behind."""
    if os.name != "posix":
        return
    for left in folder.glob(f"{PREFIX}*-*"):
        try:
            os.kill(int(left.name.removeprefix(PREFIX).partition("-")[0]), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except (ValueError, PermissionError):
            continue
