"""Photographs in files: where the results of each one go, decided before any work, and the making of them.

>>> for job in plan_jobs(["a.jpg", "b.jpg"], "dehazed"):
...     dehaze_file(job, Dehazer())
"""

import os
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nedr.album import animated
from nedr.album.sources import identity
from nedr.errors import UsageError
from nedr.inference.borders import Side
from nedr.inference.dehazer import Dehazer
from nedr.inference.field import HazeField
from nedr.pictures import animation, images
from nedr.pictures.arrays import Array
from nedr.pictures.images import Metadata, Picture
from nedr.pictures.job import Job
from nedr.pictures.raw import Development
from nedr.video import formats


@dataclass(frozen=True)
class Haze:
    """What was found in a photograph.

    width, height: in pixels, upright;  airlight: RGB in [0, 1], sRGB;  density: scattering coefficient
    transmission: its mean over the picture;  notes: what the result has not, or has otherwise, one sentence each
    borders: widths in pixels of the bars or frame around it, by side; they stay as they are and are in no mean
    """

    width: int
    height: int
    airlight: tuple[float, ...]
    density: float
    transmission: float
    notes: tuple[str, ...]
    borders: dict[Side, int] = field(default_factory=dict)


def plan_jobs(
    photos: Sequence[str], output: str | None = None, *, map: bool = False, compare: bool = False
) -> list[Job]:
    """Where everything goes: PHOTO.dehazed.SUFFIX beside each photograph, or at `output`; nothing is written.

    A video is recognised by its suffix, or when that is unknown by its first bytes, and becomes videos.

    output: a folder (one that exists, or a name that ends in a separator or has no suffix, or any name for several
        photographs), or the file of a single photograph, whose suffix then names the format.
    map, compare: also PHOTO.transmission.png and PHOTO.compare.SUFFIX, in the same place.

    Raises UsageError for an output of unknown or read-only format, for several photographs into one file, and when two
    would write the same file, or one would write what another is yet to be read from.
    """
    if output is None or _names_folder(output):
        folder = None if output is None else Path(output)
        jobs = [_named(Path(photo), folder, map=map, compare=compare) for photo in photos]
    elif len(photos) == 1:
        kind = _kind(photos[0], output)
        jobs = [_job(Path(photos[0]), Path(output), kind, Path(output).stem, map=map, compare=compare)]
    else:
        raise UsageError(
            f"{output} is one file for {len(photos)} photographs; end it with {os.sep} to make it a folder"
        )
    _check_distinct(jobs)
    return jobs


def dehaze_file(
    job: Job,
    dehazer: Dehazer,
    *,
    strength: float = 1.0,
    quality: int | None = None,
    overwrite: bool = False,
    salvage: bool = False,
    development: Development | None = None,
) -> Haze:
    """Do one job: read, remove the haze, write every file whole; folders that are missing are made.

    strength: 0..1.5, as in `Dehazer.dehaze`; where no pixel changes, the result is the photograph's very bytes.
    quality: 1..100 for JPEG, WebP and AVIF, None to compress as the photograph was.
    overwrite: replace files that exist.
    salvage: dehaze what a truncated JPEG or raw file still holds.
    development: of camera raw files, None for the camera's own.

    Raises ImageError for a picture that cannot be read or written, UsageError for one that is not there and for targets
    that may not be written, NedrError when writing fails. Everything is made before the first file is written.
    """
    data = images.contents(job.photo)
    files, haze = render(
        job, data, dehazer, strength=strength, quality=quality, salvage=salvage, development=development
    )
    for path, data in files.items():
        write(path, data, overwrite=overwrite)
    return haze


def render(
    job: Job,
    data: bytes,
    dehazer: Dehazer,
    *,
    strength: float = 1.0,
    quality: int | None = None,
    salvage: bool = False,
    development: Development | None = None,
    name: str | None = None,
) -> tuple[dict[Path, bytes], Haze]:
    """Every file of a job and the haze that was found, of a photograph whose bytes are `data`; nothing is written.

    The options and errors are those of `dehaze_file`; name: what errors call the photograph, if not as the job does.
    """
    if moving := animation.read(data, name=name or str(job.photo)):
        found = animated.render(job, moving, dehazer, strength=strength, quality=quality)
        return found.files, _haze(*found.size, found.haze.airlight, found.haze, found.notes)
    picture = images.read(data, name=name or str(job.photo), salvage=salvage, development=development)
    field = dehazer.field(picture)
    result = replace(picture, pixels=field.apply(picture.pixels, strength=strength, threads=dehazer.threads))
    untouched = quality is None and not salvage and _is_same(result, picture, job.format)
    main = images.Encoded(data) if untouched else images.encoded(result, job.format, quality=quality)
    files, notes = {job.result: main.data}, () if untouched else (*picture.notes, *main.notes)
    if job.map:
        coloured = field.preview(*picture.pixels.shape[:2])
        files[job.map] = images.encode(Picture(coloured, None, "PNG", Metadata()))
    if job.compare:
        files[job.compare] = images.encode(side_by_side(picture, result), job.format, quality=quality)
    return files, replace(describe(picture, field), notes=notes)


def write(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write one whole file, and make its folder. Raises what `nedr.pictures.images.write` does."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {path.parent} cannot be created ({error.strerror}); choose another") from error
    images.write(path, data, overwrite=overwrite)


def describe(picture: Picture, field: HazeField) -> Haze:
    """The haze of a picture in a few numbers."""
    height, width = picture.pixels.shape[:2]
    return _haze(width, height, picture.to_srgb(field.airlight), field, picture.notes)


def _haze(width: int, height: int, airlight: Array, field: HazeField, notes: tuple[str, ...]) -> Haze:
    mean = float(field.lattice.mean())  # the lattice's cells all cover the same area of the picture
    rounded = tuple(round(float(value), 4) for value in airlight)
    borders = field.borders(height, width).widths
    return Haze(width, height, rounded, round(field.density, 4), round(mean, 4), notes, borders)


def side_by_side(before: Picture, after: Picture) -> Picture:
    """Before | after with a white line between, as one picture, without the EXIF and XMP that describe a photograph."""

    def joined(left: Array, right: Array) -> Array:
        line = np.full((len(left), max(2, left.shape[1] // 200), *left.shape[2:]), np.iinfo(left.dtype).max, left.dtype)
        return np.concatenate([left, line, right], axis=1)

    alpha = None if before.alpha is None or after.alpha is None else joined(before.alpha, after.alpha)
    return replace(
        before, pixels=joined(before.pixels, after.pixels), alpha=alpha, info=before.info.of_pixels(), bands=None
    )


def _names_folder(output: str) -> bool:
    path = Path(output)
    return path.is_dir() or output.endswith(("/", os.sep)) or not path.suffix


def format_of(output: str) -> str:
    """The format that the name of an output asks for. Raises UsageError for one that cannot be written."""
    kind = images.SUFFIXES.get(Path(output).suffix.lower())
    if kind is None or kind in images.READ_ONLY:
        known = " ".join(suffix for suffix, name in images.SUFFIXES.items() if name not in images.READ_ONLY)
        raise UsageError(f"{output}: expected a suffix of {known}, or a {os.sep} at the end for a folder")
    return kind


def _kind(photo: str, output: str) -> str | None:
    """The format that an output is written as; None for a video. Raises UsageError for one that cannot be written."""
    if not formats.is_video(photo):
        return format_of(output)
    formats.check_output(output)
    return None


def _named(photo: Path, folder: Path | None, *, map: bool, compare: bool) -> Job:
    """The job of a photograph whose results are called after it."""
    if formats.is_video(photo):
        result = (folder or photo.parent) / f"{photo.stem}.dehazed{formats.result_suffix(photo)}"
        return _job(photo, result, None, photo.stem, map=map, compare=compare)
    suffix, kind = images.result_for(photo.suffix)
    result = (folder or photo.parent) / f"{photo.stem}.dehazed{suffix}"
    return _job(photo, result, kind, photo.stem, map=map, compare=compare)


def _job(photo: Path, result: Path, kind: str | None, stem: str, *, map: bool, compare: bool) -> Job:
    map_suffix = result.suffix if formats.is_video(photo) else ".png"
    return Job(
        photo,
        result,
        kind,
        map=result.with_name(f"{stem}.transmission{map_suffix}") if map else None,
        compare=result.with_name(f"{stem}.compare{result.suffix}") if compare else None,
    )


def _check_distinct(jobs: Iterable[Job]) -> None:
    jobs = list(jobs)
    writers: dict[Hashable, Path] = {}
    for job in jobs:
        for target in job.targets:
            key = identity(target)
            if key in writers:
                raise UsageError(f"{writers[key]} and {job.photo} would both write {target}; dehaze them one at a time")
            writers[key] = job.photo
    for job in jobs:
        writer = writers.get(identity(job.photo), job.photo)
        if writer != job.photo:
            raise UsageError(f"the results of {writer} would replace {job.photo}, also to be read; leave one out")


def _is_same(result: Picture, picture: Picture, kind: str | None) -> bool:
    """Whether the photograph's own file is what encoding `result` would be for."""
    own = kind in (None, picture.format) and picture.format not in images.READ_ONLY
    return own and np.array_equal(result.pixels, picture.pixels)
