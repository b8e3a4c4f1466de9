"""Waiting for photographs to arrive in folders (needs the extra [watch])."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nedr.album import journal
from nedr.errors import missing_extra

SETTLED = 2.0
"""Seconds for which a file must stay as it is to count as complete."""


@contextmanager
def changes(folders: Sequence[Path]) -> Iterator[threading.Event]:
    """An event that is set whenever something below the folders changes. Raises MissingExtraError."""
    try:
        from watchdog.events import FileSystemEvent, FileSystemEventHandler
        from watchdog.observers import Observer
    except ImportError as error:
        raise missing_extra("watching a folder", "watch") from error
    changed = threading.Event()

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            if event.event_type not in ("opened", "closed_no_write"):  # reading changes nothing
                changed.set()

    observer = Observer()
    for folder in folders:
        observer.schedule(Handler(), str(folder), recursive=True)
    observer.start()
    try:
        yield changed
    finally:
        observer.stop()
        observer.join()


class Complete:
    """Tells which files are complete: those whose size and time have not changed for a while.

    clock: seconds that only grow, by default those of the system.
    """

    def __init__(self, seconds: float = SETTLED, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._seen: dict[Path, tuple[tuple[int, str], float]] = {}

    def __call__(self, path: Path) -> bool:
        """Whether `path` is complete; asked once, it is not yet known."""
        try:
            found = journal.stamp(path)
        except OSError:
            self._seen.pop(path, None)
            return False
        last, since = self._seen.get(path, (None, 0.0))
        if last != found:
            self._seen[path] = (found, self._clock())
            return False
        return self._clock() - since >= self._seconds
