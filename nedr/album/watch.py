"""Waiting for photographs to arrive in folders (needs the extra [watch])."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nedr.album import journal
from nedr.errors import missing_extra

SETTLED = 2.0
"""Seconds for which a file must stay as it is to count as complete."""


def changes(folders: Sequence[Path]) -> Iterator[bool]:
    """Several times a second whether something below the folders has changed. Raises MissingExtraError."""
    try:
        import watchfiles
    except ImportError as error:
        raise missing_extra("watching a folder", "watch") from error
    often = round(1000 * SETTLED / 4)
    for found in watchfiles.watch(*folders, watch_filter=None, rust_timeout=often, yield_on_timeout=True):
        yield bool(found)


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
