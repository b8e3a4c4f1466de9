"""Clear photographs and folders made hazy: where each result goes, and the making of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from nedr.album import one
from nedr.album import plan as folders
from nedr.errors import UsageError
from nedr.inference.hazer import Hazer
from nedr.pictures import images
from nedr.pictures.job import Job


def plan_hazy(sources: list[str], output: str | None = None) -> list[folders.Task]:
    """The tasks of photographs and folders: PHOTO.hazy.SUFFIX beside each, or in the folder `output`, trees kept.

    Raises UsageError for a folder without an output, and what `nedr.album.plan.plan_tasks` does.
    """
    if output is None and (given := [source for source in sources if Path(source).is_dir()]):
        raise UsageError(f"{given[0]} is a folder: say with -o FOLDER where its hazy pictures go")

    def named(task: folders.Task) -> folders.Task:
        stem, suffix = task.job.result.stem, task.job.result.suffix
        name = f"{stem.removesuffix('.dehazed')}.hazy{suffix}" if stem.endswith(".dehazed") else task.job.result.name
        return replace(task, job=replace(task.job, result=task.job.result.with_name(name)))

    tasks = folders.plan_tasks(sources, output)
    return [named(task) for task in tasks if not task.unread and task.job.photo.suffix.lower() != folders.SIDECAR]


def write_hazy(job: Job, hazer: Hazer, *, quality: int | None = None, overwrite: bool = False, **haze: Any) -> None:
    """Read one clear photograph and write it hazy, by the options of `Hazer.add`.

    Raises what `nedr.album.one.dehaze_file` does.
    """
    picture = images.read(images.contents(job.photo), name=str(job.photo))
    one.write(job.result, images.encode(hazer.add(picture, **haze), job.format, quality=quality), overwrite=overwrite)
