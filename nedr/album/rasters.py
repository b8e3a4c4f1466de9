"""Rasters in an album: the work of `nedr.raster`, called with the arguments of `nedr.video.pipeline.dehaze`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nedr.errors import UsageError
from nedr.inference.dehazer import Dehazer
from nedr.pictures.job import Job
from nedr.raster.run import Report, dehaze_raster


def dehaze(
    job: Job,
    dehazer: Dehazer,
    *,
    strength: float = 1.0,
    overwrite: bool = False,
    tick: Callable[[int, int], object] | None = None,
    sealed: Callable[[Report, dict[Path, Path]], object] | None = None,
    **_: Any,
) -> Report:
    """Do one job on a raster; missing folders are created. Raises what `dehaze_raster` does.

    tick: called with the rows done and how many there are;  sealed: as in `nedr.video.pipeline.dehaze`
    """
    if job.map or job.compare:
        raise UsageError(f"{job.photo} is a raster; --map and --compare cannot be used with it")
    try:
        job.result.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        folder = job.result.parent
        raise UsageError(f"the folder {folder} cannot be created ({error.strerror}); choose another") from error

    def finished(report: Report, part: Path) -> None:
        if sealed:
            sealed(report, {job.result: part})

    return dehaze_raster(
        job.photo,
        job.result,
        strength=strength,
        dehazer=dehazer,
        overwrite=overwrite,
        watch=tick,
        sealed=finished,
    )
