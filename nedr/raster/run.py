"""One pass over a raster of any size: windows are read, dehazed and written by three threads, one window ahead each."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from nedr.errors import ImageError, NedrError, UsageError, missing_extra
from nedr.inference.dehazer import Dehazer
from nedr.inference.field import HazeField, check_strength
from nedr.pictures.arrays import Array, peak

try:
    import rasterio
    from rasterio.enums import MaskFlags, Resampling
    from rasterio.errors import RasterioError, RasterioIOError
    from rasterio.windows import Window
except ModuleNotFoundError as error:
    raise missing_extra("a GeoTIFF, or a TIFF larger than memory,", "geo") from error

from nedr.raster import layout as layouts
from nedr.raster import seen
from nedr.raster.layout import Dataset, Layout
from nedr.raster.unfinished import Unfinished

WINDOW_PIXELS = 1 << 22
"""About how many pixels are in memory at a time, for each of the three threads."""

CHECKPOINT_PIXELS = 1 << 27
"""How many pixels a run that is killed loses at most."""

_CACHE_MEGABYTES = 64

Watch = Callable[[int, int], object]


@dataclass(frozen=True)
class Report:
    """What was found in a raster.

    width, height: in pixels;  airlight: RGB, or one grey, in [0, 1];  density: scattering coefficient
    transmission: its mean;  resumed: rows that an earlier run had done;  notes: one sentence each
    """

    width: int
    height: int
    airlight: tuple[float, ...]
    density: float
    transmission: float
    resumed: int
    notes: tuple[str, ...]


def dehaze_raster(
    path: str | PathLike[str],
    out: str | PathLike[str],
    *,
    strength: float = 1.0,
    bands: Sequence[int] | None = None,
    white: float | None = None,
    dehazer: Dehazer | None = None,
    overwrite: bool = False,
    watch: Watch | None = None,
    sealed: Callable[[Report, Path], object] | None = None,
) -> Report:
    """Remove the haze of a raster of any size, in flat memory, and write it as a GeoTIFF stored like the source.

    Kept: georeference, control points, tags, masks, nodata, other bands, block size, compression, overviews. Invalid
    pixels stay as they are and no valid one becomes nodata. Killed, it leaves nothing at `out`, and the same call goes
    on where it ended.

    path: whatever GDAL reads, of uint8, uint16, int16, float32 or float64 bands;  out: a name in .tif or .tiff
    strength: 0..1.5, as in `Dehazer.dehaze`
    bands: which are red, green and blue, or the one grey, counted from 1; None for what the file says, else 1, 2, 3
    white: the value that means full reflectance; None for the type's, or for more than 8 bits what the data suggest
    dehazer: what finds the haze and how many threads work; None for `Dehazer()`;  overwrite: replace an existing `out`
    watch: called with the rows done and how many there are, after every window
    sealed: called with the report and the finished file just before it gets its name

    Raises ImageError for anything that is not a raster or is of a kind that cannot be dehazed, UsageError for an
    invalid option or target, MissingExtraError without rasterio, NedrError when writing fails.
    """
    check_strength(strength)
    target, dehazer = Path(out), dehazer or Dehazer()
    layouts.check_output(target)
    _check_target(Path(path), target, overwrite)
    with _explained(path, target), _opened(path) as source:
        layout = layouts.layout(source, bands, white)
        field = seen.field(source, layout, dehazer)
        unfinished = Unfinished(target, _identity(path, field, layout, strength))
        with unfinished.alone():
            work = _Work(source, layout, field, strength, dehazer.threads, unfinished)
            begun = work.run(watch or (lambda done, total: None))
            report = _report(source, layout, field, begun)
            if sealed:
                sealed(report, unfinished.part)
            unfinished.publish(overwrite=overwrite)
    return report


def raster_field(
    path: str | PathLike[str],
    *,
    bands: Sequence[int] | None = None,
    white: float | None = None,
    dehazer: Dehazer | None = None,
) -> HazeField:
    """The haze of a whole raster as `dehaze_raster` finds it: its `apply` with `region` and `full` gives any window.

    The arguments and errors are those of `dehaze_raster`.
    """
    with _explained(path, None), _opened(path) as source:
        return seen.field(source, layouts.layout(source, bands, white), dehazer or Dehazer())


@contextmanager
def _opened(path: str | PathLike[str]) -> Iterator[Dataset]:
    options = {"GDAL_CACHEMAX": _CACHE_MEGABYTES, "GDAL_TIFF_INTERNAL_MASK": True, "GDAL_NUM_THREADS": "ALL_CPUS"}
    with rasterio.Env(**options), _without_warnings(), rasterio.open(os.fspath(path)) as source:
        yield source


@contextmanager
def _without_warnings() -> Iterator[None]:
    """A raster without georeference is a picture too."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield


@contextmanager
def _explained(path: str | PathLike[str], target: Path | None) -> Iterator[None]:
    try:
        yield
    except RasterioIOError as error:
        if not Path(path).exists():
            raise UsageError(f"{path} does not exist; expected a raster") from error
        raise ImageError(f"{path} cannot be read as a raster, or {target} written: {error}") from error
    except (RasterioError, OSError) as error:
        raise NedrError(f"{target or path}: {error}") from error


def _check_target(path: Path, target: Path, overwrite: bool) -> None:
    if not target.parent.is_dir():
        raise UsageError(f"{target}: its folder does not exist; make it first")
    if target.exists() and path.exists() and target.samefile(path):
        raise UsageError(f"{target} would be both read and written; choose another name")
    if os.path.lexists(target) and not overwrite:
        raise UsageError(f"{target} exists and is left as it is; choose another name or allow overwriting")


def _identity(path: str | PathLike[str], field: HazeField, layout: Layout, strength: float) -> str:
    """A fingerprint of all that decides the result: the file as it is now, its haze, how it is rendered."""
    found = Path(path).stat()
    told = [str(Path(path).resolve()), found.st_size, found.st_mtime_ns, layout, strength, field.rendering]
    digest = hashlib.blake2b(repr(told).encode(), digest_size=16)
    for part in fields(field):
        value = getattr(field, part.name)
        digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return digest.hexdigest()


def _report(source: Dataset, layout: Layout, field: HazeField, begun: int) -> Report:
    airlight = tuple(round(float(value), 4) for value in field.airlight[: len(layout.colours)])
    notes = [f"bands {', '.join(map(str, layout.colours))} dehazed, white at {layout.white:g}"]
    if begun:
        notes.append(f"went on after {begun} of {source.height} rows")
    mean = round(float(field.lattice.mean()), 4)
    return Report(source.width, source.height, airlight, round(field.density, 4), mean, begun, tuple(notes))


@dataclass(frozen=True)
class _Work:
    """The way of one raster's windows through three threads."""

    source: Dataset
    layout: Layout
    field: HazeField
    strength: float
    threads: int
    unfinished: Unfinished

    def run(self, watch: Watch) -> int:
        """Every window that is not yet done, and then the overviews, into the unfinished file; answers with the rows
        that were done before.
        """
        done = self._begun()
        slabs = self._slabs(done)
        per_checkpoint = max(1, CHECKPOINT_PIXELS // max(WINDOW_PIXELS, self.source.width * self._block[0]))
        for first in range(0, len(slabs), per_checkpoint):
            some = slabs[first : first + per_checkpoint]
            with self._target() as target:
                self._pass(some, target, watch)
            self.unfinished.reached(some[-1][1])
        if levels := self.source.overviews(self.layout.colours[0]):
            with rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE=self._block[1]), self._target() as target:
                target.build_overviews(levels, Resampling.average)
        return done

    def _begun(self) -> int:
        """The rows that an earlier run has done; 0 after making a new file where there is none, or it is damaged."""
        if rows := self.unfinished.rows:
            with suppress(RasterioError), rasterio.open(self.unfinished.part):
                return rows
        self._create()
        return 0

    @cached_property
    def _block(self) -> tuple[int, int]:
        """Height and width of the blocks that are written."""
        with rasterio.open(self.unfinished.part) as target:
            height, width = target.block_shapes[0]
        return int(height), int(width)

    def _slabs(self, done: int) -> list[tuple[int, int]]:
        """Rows that are done together, whole rows of blocks, after those that are done."""
        height = self._block[0]
        step = height * max(1, WINDOW_PIXELS // (height * self.source.width))
        return [(top, min(top + step, self.source.height)) for top in range(done, self.source.height, step)]

    def _windows(self, slabs: Sequence[tuple[int, int]]) -> Iterator[Window]:
        """The slabs cut into windows of whole blocks, where full rows would be too many pixels."""
        width = self._block[1]
        for top, bottom in slabs:
            step = width * -(-WINDOW_PIXELS // ((bottom - top) * width))
            for left in range(0, self.source.width, step):
                yield Window(left, top, min(step, self.source.width - left), bottom - top)

    def _create(self) -> None:
        """An empty file in which every block will be written explicitly, so that none is filled in between."""
        self.unfinished.part.unlink(missing_ok=True)
        with rasterio.open(self.unfinished.part, "w", **layouts.profile(self.source)) as target:
            layouts.copy_tags(self.source, target, self.layout.colours)

    @contextmanager
    def _target(self) -> Iterator[Dataset]:
        with rasterio.open(self.unfinished.part, "r+") as target:
            yield target

    def _pass(self, slabs: Sequence[tuple[int, int]], target: Dataset, watch: Watch) -> None:
        """Read one window ahead, write one behind; each file is used by one thread at a time."""
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            windows = list(self._windows(slabs))
            ahead = reader.submit(self._read, windows[0])
            behind: Future[None] | None = None
            for index, window in enumerate(windows):
                read = ahead.result()
                if index + 1 < len(windows):
                    ahead = reader.submit(self._read, windows[index + 1])
                dehazed = self._dehazed(read, window)
                if behind:
                    behind.result()
                behind = writer.submit(self._write, target, window, dehazed, read)
                watch(window.row_off + window.height, self.source.height)
            if behind:
                behind.result()

    def _read(self, window: Window) -> "_Read":
        rest = self.layout.others
        return _Read(
            self.source.read(list(self.layout.colours), window=window),
            self.source.read(list(rest), window=window) if rest else None,
            self.layout.valid(self.source, window),
        )

    def _write(self, target: Dataset, window: Window, dehazed: Array, read: "_Read") -> None:
        target.write(dehazed, list(self.layout.colours), window=window)
        if read.others is not None:
            target.write(read.others, list(self.layout.others), window=window)
        if read.valid is not None and self.source.mask_flag_enums[self.layout.colours[0] - 1] == [
            MaskFlags.per_dataset
        ]:
            target.write_mask(read.valid, window=window)

    def _dehazed(self, read: "_Read", window: Window) -> Array:
        """A window's colours (C, h, w) without haze; invalid pixels, and values beyond the range, as they were."""
        values, white = read.colours, self.layout.white
        whole = values.dtype.kind == "u" and white == peak(values[0])
        picture = np.moveaxis(values if whole else layouts.scaled(values, white), 0, -1)
        left, top = window.col_off, window.row_off
        region, full = (left, top, left + window.width, top + window.height), self.source.shape
        clear = self.field.apply(picture, strength=self.strength, region=region, full=full, threads=self.threads)
        result = np.moveaxis(clear, -1, 0)
        if not whole:
            result = _unscaled(result, values, white)
        return self._valid(result, read)

    def _valid(self, result: Array, read: "_Read") -> Array:
        if self.layout.nodata is not None:
            result = _without_nodata(result, read.colours, self.layout.nodata, self.layout.white)
        if read.valid is not None and not read.valid.all():
            result = np.where(read.valid, result, read.colours)
        return result


@dataclass(frozen=True)
class _Read:
    """A window as it was read: colour bands (C, h, w), other bands (D, h, w), and which pixels are valid (h, w)."""

    colours: Array
    others: Array | None
    valid: Array | None


def _unscaled(clear: Array, values: Array, white: float) -> Array:
    """Results in [0, 1] as values of the raster's own type; what was beyond the range, or no number, stays."""
    back = clear * np.float32(white)
    if values.dtype.kind in "iu":
        back = np.rint(back, out=back)
    return np.where((values >= 0) & (values <= white), back.astype(values.dtype), values)


def _without_nodata(result: Array, values: Array, nodata: float, white: float) -> Array:
    """Nodata stays nodata, and no measured value becomes it: that would be a hole."""
    if np.isnan(nodata):
        return result
    step: Any = 1 if result.dtype.kind in "iu" else np.finfo(result.dtype).eps * white
    beside = nodata + step if nodata < white / 2 else nodata - step
    return np.where(values == nodata, values, np.where(result == nodata, np.asarray(beside, result.dtype), result))
