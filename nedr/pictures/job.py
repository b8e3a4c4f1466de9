"""What is read and what is written: the files of one photograph."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One photograph, or a video, and the files it becomes.

    result: the photograph without its haze;  format: what it is written as, None for the photograph's own
    map: the transmission as a coloured picture (PNG), or None;  compare: before | after in one picture, or None
    Those of a video are videos.
    """

    photo: Path
    result: Path
    format: str | None = None
    map: Path | None = None
    compare: Path | None = None

    @property
    def targets(self) -> tuple[Path, ...]:
        """Every file that will be written."""
        return tuple(path for path in (self.result, self.map, self.compare) if path is not None)
