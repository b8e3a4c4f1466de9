"""The scattering model turned round, pixel by pixel: J = (I - A) / t + A in one pass over cache-sized bands of rows.

J is then brightened by a curve, J (a - b J).

Every step is elementwise and every coefficient belongs to an absolute row or column of the whole picture, so a crop
gives bit for bit the pixels of the whole picture, whatever the number of threads.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar

import numpy as np

from nedr.inference import lattice
from nedr.inference.airlight import Light
from nedr.pictures.arrays import LUMA, Array, Floats, colours, peak

# Bands of 2^16 pixels: their six float planes stay in the cache, and threads seldom wait for each other between steps.
BAND_PIXELS = 1 << 16

T = TypeVar("T")
Task: TypeAlias = Callable[[], None]


@dataclass(frozen=True)
class Window:
    """Columns `left` to `right` and rows `top` to `bottom` of a picture of `height` x `width` pixels."""

    height: int
    width: int
    left: int
    top: int
    right: int
    bottom: int

    def part(self, rectangle: tuple[int, int, int, int]) -> "tuple[slice, slice, Window] | None":
        """What the window shows of a rectangle (x0, y0, x1, y1) of the picture: its rows and columns in the window, and
        the window that they are on the rectangle alone; None if it shows nothing of it."""
        x0, y0, x1, y1 = rectangle
        left, top = max(self.left, x0), max(self.top, y0)
        right, bottom = min(self.right, x1), min(self.bottom, y1)
        if left >= right or top >= bottom:
            return None
        shown = slice(top - self.top, bottom - self.top), slice(left - self.left, right - self.left)
        return *shown, Window(y1 - y0, x1 - x0, left - x0, top - y0, right - x0, bottom - y0)


@dataclass(frozen=True)
class Medium:
    """What lies between scene and camera, as coefficients on the lattice: t = slope * luma(I - A) + offset.

    `slope` (h, w) or None when the picture does not guide t; `offset` (h, w); `airlight` (1,) or (3,) in [0, 1], with
    `terms` (1, TERMS) or (3, TERMS) where it changes over the picture, else None.
    t is held at `floor` or above; in the colour of a pixel (its difference from its own luma) a share `colour_veil` of
    the veil stays: its transmission is t + colour_veil (1 - t).
    `curve` is a and b of what brightens J.
    """

    slope: Floats | None
    offset: Floats
    airlight: Floats
    terms: Floats | None
    floor: float
    colour_veil: float
    curve: tuple[float, float] = (1.0, 0.0)

    @property
    def stack(self) -> Floats:
        """The lattices that are interpolated, (k, h, w): offset first, then slope where there is one."""
        return np.stack([self.offset] if self.slope is None else [self.offset, self.slope])


def invert(image: Array, medium: Medium, window: Window, threads: int) -> Array:
    """The clear scene for `image`, a checked picture that shows `window`; same shape and type, alpha untouched."""
    out = np.empty_like(image, order="C")
    if image.ndim == 3 and image.shape[2] == 4:
        out[:, :, 3] = image[:, :, 3]
    stack, size = medium.stack, medium.offset.shape[0]
    tasks: list[Task] = []
    for left, right in lattice.spans(window.right - window.left):
        rows = lattice.along_rows(stack, window.width, window.left + left, window.left + right)
        cut, fraction = lattice.bands(window.height, size, window.top, window.bottom)
        planes = (colours(picture)[:, left:right] for picture in (image, out))
        strip = Strip(medium, rows, fraction, lights(medium, window, left, right, peak(image)), *planes)
        step = max(1, -(-len(cut) // (4 * threads)))
        tasks += [strip.task(cut[k : k + step]) for k in range(0, len(cut), step)]
    run(tasks, threads)
    return out


def run(tasks: Sequence[Task], threads: int) -> None:
    """All `tasks` on at most `threads` threads; the first error is raised."""
    if threads == 1 or len(tasks) == 1:
        for task in tasks:
            task()
        return
    with ThreadPoolExecutor(min(threads, len(tasks))) as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result()


def spread(work: Callable[[T], None], items: Sequence[T], threads: int) -> None:
    """`work` on each of `items`, on at most `threads` threads; the first error is raised."""

    def each(part: Sequence[T]) -> None:
        for item in part:
            work(item)

    step = -(-len(items) // threads)
    run([partial(each, items[first : first + step]) for first in range(0, len(items), step)], threads)


def lights(medium: Medium, window: Window, left: int, right: int, white: float) -> list[Light]:
    """A(x) of each channel over columns `left` to `right` of a window, 1 becoming `white`; none where A is constant."""
    if medium.terms is None:
        return []
    x = (np.arange(window.left + left, window.left + right) + 0.5) * (2 / window.width) - 1
    y = (np.arange(window.top, window.bottom) + 0.5) * (2 / window.height) - 1
    return [Light.along(float(a), terms, x, y, white) for a, terms in zip(medium.airlight, medium.terms, strict=True)]


@dataclass(frozen=True)
class Strip:
    """Some columns of the picture with the lattices interpolated along them; `task` binds bands of its rows."""

    medium: Medium
    rows: Floats
    fraction: Floats
    lights: list[Light]
    source: Array
    target: Array

    def task(self, bands: Sequence[lattice.Band]) -> Task:
        """The work on `bands`, to be called once, on any thread."""
        return lambda: self._clear(bands)

    def _clear(self, bands: Sequence[lattice.Band]) -> None:
        width, count = self.source.shape[1:]
        limit = max(1, BAND_PIXELS // width)
        work = np.float64 if self.source.dtype.name == "float64" else np.float32
        scratch = np.empty((count + 3 + len(self.lights), limit, width), work)
        for band in bands:
            cubic = lattice.polynomial(self.rows, band.cell)
            if self.medium.slope is not None:
                cubic[1] /= np.float32(peak(self.source))
            for row in range(band.start, band.stop, limit):
                part = slice(row, min(row + limit, band.stop))
                planes = scratch[:, : part.stop - row]
                airlight = self._airlight(part, planes[count + 3 :])
                self._transmission(part, planes, cubic, airlight)
                self._scene(part, planes, airlight)

    def _airlight(self, part: slice, planes: Array) -> Sequence[Array | np.float32]:
        """A of each channel in the source's range: one number, or a plane where it changes over the picture."""
        if self.lights:
            return [light.fill(part, plane) for light, plane in zip(self.lights, planes, strict=True)]
        return [np.float32(value * peak(self.source)) for value in self.medium.airlight]

    def _transmission(self, part: slice, planes: Array, cubic: Floats, airlight: Sequence[Array | np.float32]) -> None:
        """Leaves I - A in the colour planes; after them its luma, and t, held at its floor."""
        count = self.source.shape[2]
        luma, t, spare = planes[count : count + 3]
        for c in range(count):
            np.subtract(self.source[part, :, c], airlight[c], out=planes[c])
        weigh(planes[:count], luma, spare)
        lattice.evaluate(cubic[0], self.fraction[part], t)
        if self.medium.slope is not None:
            t += np.multiply(lattice.evaluate(cubic[1], self.fraction[part], spare), luma, out=spare)
        np.clip(t, np.float32(self.medium.floor), np.float32(1), out=t)

    def _scene(self, part: slice, planes: Array, airlight: Sequence[Array | np.float32]) -> None:
        """J = A + gain * luma + colour gain * colour, rounded and held to the range, into the target."""
        count, white = self.source.shape[2], peak(self.source)
        luma, t, spare = planes[count : count + 3]
        one, shift = np.float32(1), None
        if count == 3:
            np.multiply(np.subtract(one, t, out=spare), np.float32(self.medium.colour_veil), out=spare)
            spare += t
            own, gain = np.divide(one, spare, out=spare), np.divide(one, t, out=t)
            shift, spare = np.multiply(luma, np.subtract(gain, own, out=gain), out=luma), gain
        else:
            own = np.divide(one, t, out=t)
        half = np.float32(0.5 if self.source.dtype.kind == "u" else 0)  # a cast to an integer type drops the fraction
        for c in range(count):
            plane = planes[c]
            plane *= own
            if shift is not None:
                plane += shift
            plane += airlight[c]
            self._expose(plane, spare, np.float32(white))
            plane += half
            np.copyto(self.target[part, :, c], plane, casting="unsafe")

    def _expose(self, plane: Array, spare: Array, white: np.float32) -> None:
        """J held to the range and brightened, in place; `spare` is overwritten."""
        np.clip(plane, np.float32(0), white, out=plane)
        a, b = map(np.float32, self.medium.curve)
        if b:
            np.multiply(plane, -b / white, out=spare)
            spare += a
            plane *= spare


def weigh(planes: Array, out: Array, spare: Array) -> Array:
    """The luma of colour `planes` (1, ...) or (3, ...) into `out`; `spare` is overwritten."""
    if len(planes) == 1:
        np.copyto(out, planes[0])
        return out
    np.multiply(planes[0], np.float32(LUMA[0]), out=out)
    for c in (1, 2):
        out += np.multiply(planes[c], np.float32(LUMA[c]), out=spare)
    return out
