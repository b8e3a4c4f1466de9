"""A raster on the way to its name: it grows in a hidden file beside it, and a note says how far it got and of what.

A run that is killed leaves both; the same call resumes from the note, any other starts over.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nedr.errors import UsageError
from nedr.pictures import atomic


@dataclass(frozen=True)
class Unfinished:
    """target: the name to come;  identity: a fingerprint of all that decides the result."""

    target: Path
    identity: str

    @property
    def part(self) -> Path:
        """The file that grows."""
        return self.target.with_name(f".{self.target.name}.unfinished")

    @property
    def note(self) -> Path:
        """What says how far it got."""
        return self.target.with_name(f".{self.target.name}.unfinished.json")

    @property
    def rows(self) -> int:
        """How many rows are done and on the disk."""
        try:
            noted = json.loads(self.note.read_text())
            return int(noted["rows"]) if noted["identity"] == self.identity and self.part.is_file() else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def reached(self, rows: int) -> None:
        """Note how many rows are done, once they are on disk."""
        with self.part.open("rb+") as file:
            os.fsync(file.fileno())
        atomic.write(self.note, json.dumps({"identity": self.identity, "rows": rows}).encode(), overwrite=True)

    def publish(self, *, overwrite: bool) -> None:
        """Give the finished file its name."""
        with atomic.part(self.target, overwrite=overwrite) as part:
            self.part.replace(part)
        self.note.unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep a second run from writing the same raster meanwhile, where the system knows locks."""
        lock = self.target.with_name(f".{self.target.name}.unfinished.lock")
        try:
            file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UsageError(f"{self.target} may not be written ({error.strerror}); choose another folder") from error
        try:
            _lock(file, self.target)
            yield
            with suppress(OSError):
                lock.unlink()
        finally:
            os.close(file)


def _lock(file: int, target: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"another nedr is writing {target}; wait for it, or choose another name") from None
    except OSError:  # some network folders know no locks
        return
