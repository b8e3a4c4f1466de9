"""How far a run on many photographs has come, and afterwards what became of each."""

import csv
import io
import json
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from nedr.album.run import Outcome
from nedr.errors import UsageError
from nedr.pictures import images
from nedr.raster.header import is_tiff

COLUMNS = ("photo", "outcome", "result", "density", "transmission", "seconds", "error", "notes")
SUFFIXES = (".json", ".csv")

# Seconds between two drawings of the bar.
REDRAW = 0.5


class Progress:
    """A bar on a terminal: done of total, photographs per second, time left, and the files in work; elsewhere none.

    Drawn while it is open as a context, from any thread; what is printed meanwhile is printed inside `hidden`.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total, self.done, self.failed, self.started = total, 0, 0, time.monotonic()
        self._stream = stream or sys.stderr
        self._work: dict[str, list[tuple[float, int, int | None]]] = {}  # the first and the last that was heard of each
        self._lock, self._ended = threading.RLock(), threading.Event()

    @property
    def is_drawn(self) -> bool:
        """Whether somebody watches."""
        return self.total > 0 and self._stream.isatty()

    def __enter__(self) -> "Progress":
        if self.is_drawn:
            threading.Thread(target=self._redraw, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Draw no more."""
        self._ended.set()
        self._clear()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """While lines are printed."""
        with self._lock:
            self._clear()
            yield
            self._draw()

    def count(self, outcome: Outcome) -> None:
        """One more is finished."""
        with self._lock:
            self.done += 1
            self.failed += outcome.state == "failed"
            self._work.pop(outcome.task.job.photo.name, None)

    def frame(self, name: str, done: int, total: int | None) -> None:
        """How far a file is: a photograph at 0, a video by its frames, a raster by its rows, of `total` if known."""
        with self._lock:
            heard = (time.monotonic(), done, total)
            known = self._work.setdefault(name, [heard, heard])
            known[bool(known[0][1])] = heard  # frames count from the first, which waits for the network

    def line(self) -> str:
        """The bar as text."""
        now = time.monotonic()
        work = [_at_work(name, heard[0], heard[1], now) for name, heard in list(self._work.items())[:2]]
        work += [f"and {len(self._work) - 2} more"] if len(self._work) > 2 else []
        if self.total == 1:
            return "".join(work)
        full = round(20 * self.done / self.total)
        parts = [f"[{'#' * full}{'.' * (20 - full)}] {pace(self.done, self.total, now - self.started)}"]
        parts += [f"{self.failed} failed"] if self.failed else []
        return "  ".join([*parts, *work])

    def _redraw(self) -> None:
        while not self._ended.wait(REDRAW):
            self._draw()

    def _draw(self) -> None:
        with self._lock:
            if self.is_drawn and not self._ended.is_set():
                text = self.line()[: shutil.get_terminal_size().columns - 1]
                print(f"\r{text}\x1b[K", end="", file=self._stream, flush=True)

    def _clear(self) -> None:
        if self.is_drawn:
            print("\r\x1b[K", end="", file=self._stream, flush=True)


def _at_work(name: str, first: tuple[float, int, int | None], last: tuple[float, int, int | None], now: float) -> str:
    """How far a file is: of a video the frames, of a raster the rows, of a photograph the time."""
    since, before, _ = first
    if not last[1]:
        return f"{name} {_clock(now - since)}"
    return f"{name}: {pace(last[1], last[2], last[0] - since, 'rows' if is_tiff(name) else 'frames', before)}"


def pace(done: int, total: int | None, seconds: float, unit: str = "", first: int = 0) -> str:
    """How far something is, `seconds` after `first` were done: done of total, done per second, time left."""
    parts = [" ".join(filter(None, (f"{done} of {total}" if total else str(done), unit)))]
    if done > first:
        parts.append(f"{(done - first) / max(seconds, 1e-6):.1f}{' ' * bool(unit)}{unit}/s")
    if done > first and total:
        parts.append(f"{_clock(seconds / (done - first) * max(0, total - done))} left")
    return "  ".join(parts)


def summary(outcomes: Iterable[Outcome], seconds: float) -> str:
    """One line that counts what became of all photographs."""
    counts = Counter(outcome.state for outcome in outcomes)
    parts = [f"{counts['done']} dehazed", f"{counts['skipped']} done before", f"{counts['failed']} failed"]
    words = {"copied": "sidecars copied", "unread": "not read", "left": "left"}
    parts += [f"{counts[state]} {word}" for state, word in words.items() if counts[state]]
    return f"{', '.join(parts)} in {_clock(seconds)}"


def unread(photos: Sequence[Path]) -> str:
    """One line that names the pictures of unsupported kinds."""
    kinds = sorted({photo.suffix.lower() for photo in photos})
    names = ", ".join(map(str, photos[:5])) + (f" and {len(photos) - 5} more" if len(photos) > 5 else "")
    return f"left out, since {' and '.join(kinds)} files are not read: {names}"


def check(path: Path) -> None:
    """Raises UsageError unless a report can have this name."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: expected a report that ends in .json or .csv")


def write(path: Path, outcomes: Iterable[Outcome]) -> None:
    """One row for each photograph, with the columns COLUMNS, as JSON or CSV; an old report is replaced."""
    rows = [row(outcome) for outcome in outcomes]
    if path.suffix.lower() == ".json":
        text = json.dumps(rows, ensure_ascii=False, indent=1) + "\n"
    else:
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = table.getvalue()
    images.write(path, text.encode("utf-8", "backslashreplace"), overwrite=True)


def row(outcome: Outcome) -> dict[str, Any]:
    """The columns of one photograph; what does not apply is None."""
    job = outcome.task.job
    return {
        "photo": str(job.photo),
        "outcome": outcome.state,
        "result": str(job.result) if outcome.state in ("done", "skipped") else None,
        "density": outcome.haze.get("density"),
        "transmission": outcome.haze.get("transmission"),
        "seconds": round(outcome.seconds, 3),
        "error": str(outcome.error) if outcome.error else None,
        "notes": "; ".join(outcome.haze.get("notes", ())) or None,
    }


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
