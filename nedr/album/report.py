"""Telling how far a run on many photographs is, and afterwards what became of each."""

import csv
import io
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from nedr.album.run import Outcome
from nedr.errors import UsageError
from nedr.pictures import images
from nedr.raster.header import is_tiff

COLUMNS = ("photo", "outcome", "result", "density", "transmission", "seconds", "error", "notes")
SUFFIXES = (".json", ".csv")

# Seconds between two drawings of a bar that is asked to move with every frame.
REDRAW = 0.25


@dataclass
class Progress:
    """A bar on a terminal: done of total, photographs per second, time left. Elsewhere nothing is drawn.

    video: behind it, how far the video is that was heard of last
    """

    total: int
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    started: float = field(default_factory=time.monotonic)
    failed: int = 0
    done: int = 0
    video: str = ""
    begun: dict[str, tuple[float, int]] = field(default_factory=dict)
    drawn: float = 0.0

    @property
    def is_drawn(self) -> bool:
        """Whether somebody watches."""
        return self.stream.isatty() and (self.total > 1 or bool(self.video))

    def count(self, outcome: Outcome) -> None:
        """One more is through."""
        self.done += 1
        self.failed += outcome.state == "failed"
        if self.video.startswith(f"{outcome.task.job.photo.name}: "):
            self.video = ""
        self.draw()

    def frame(self, name: str, done: int, total: int | None) -> None:
        """A video has one more frame done, or a raster more rows, of `total` if that is known; drawn a few times a
        second.
        """
        now = time.monotonic()
        since, first = self.begun.setdefault(name, (now, done))
        if now - self.drawn < REDRAW or done == first:
            return
        self.drawn = now
        self.video = f"{name}: {pace(done, total, now - since, 'rows' if is_tiff(name) else 'frames', first)}"
        self.draw()

    def draw(self) -> None:
        """Draw the bar where the cursor's line begins."""
        if self.is_drawn:
            print(f"\r{self.line(time.monotonic() - self.started)}\x1b[K", end="", file=self.stream, flush=True)

    def clear(self) -> None:
        """Remove the bar, so that a line can be printed."""
        if self.is_drawn:
            print("\r\x1b[K", end="", file=self.stream, flush=True)

    def line(self, seconds: float) -> str:
        """The bar as text, `seconds` after the start."""
        if self.total == 1 and self.video:
            return self.video
        full = round(20 * self.done / self.total)
        parts = [f"[{'#' * full}{'.' * (20 - full)}] {pace(self.done, self.total, seconds)}"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        return "  ".join([*parts, self.video] if self.video else parts)


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
    parts = [f"{counts['done']} cleared", f"{counts['skipped']} done before", f"{counts['failed']} failed"]
    if counts["left"]:
        parts.append(f"{counts['left']} left")
    return f"{', '.join(parts)} in {_clock(seconds)}"


def check(path: Path) -> None:
    """Raises UsageError unless a report can be called so."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: expected a report called .json or .csv")


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
