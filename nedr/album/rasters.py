"""Rasters as an album does them: the work of `nedr.raster` with the arguments of `nedr.video.pipeline.dehaze`."""

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
    """Do one job on a raster; folders that are missing are made. The errors are those of `dehaze_raster`.

    tick: called with the rows done and how many there are;  sealed: as in `nedr.video.pipeline.dehaze`
    """
    if job.map or job.compare:
        raise UsageError(f"{job.photo} is a raster, of which there is no --map and no --compare; leave these out")
    try:
        job.result.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {job.result.parent} cannot be made ({error.strerror}); choose another") from error

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
