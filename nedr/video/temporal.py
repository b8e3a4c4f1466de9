"""The haze of a video: a field that follows the scene from frame to frame, and sensor noise averaged over time.

A field estimated from scratch for every frame would flicker, and dividing by t amplifies sensor noise. So what belongs
to the whole scene (airlight, density, noise) is a robust running estimate; the field is a running mean wherever the
scene is still; and a still pixel is averaged over just enough frames for its noise to leave the inversion as large as
it entered. A fade changes the brightness of all estimates as it does that of the frames; a cut resets everything.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from nedr.inference.borders import Borders, Rectangle
from nedr.inference.dehazer import Dehazer
from nedr.inference.field import WHOLE, HazeField, check_strength
from nedr.inference.filters import lattice_mean
from nedr.inference.inversion import spread
from nedr.pictures.arrays import Array, Floats, check, colours, peak
from nedr.video.bars import BarFollower
from nedr.video.scenes import Exposure, Fade, cells_of, exposure_change, is_cut

# The least share of a frame in the running estimates of a still scene: the field's and the global values'.
FIELD_RATE = 0.1
GLOBAL_RATE = 0.05
# Frames whose median enters the global values: two bad ones in a row change nothing.
WINDOW = 5
# Changes of a lattice cell's colour: up to the first the scene there stays, from the second it has surely changed.
CELL_CHANGE = (0.01, 0.03)
# A change of brightness divides the weight of all estimates by its gain to this power: more contrast tells more.
FADE_IN = 6
# The airlight stays within this share of its brightness of what the latest frames show, and so follows a dissolve.
AIRLIGHT_REACH = 0.08
# Side in pixels of the blocks that are judged still or moving, by the mean square of their change relative to noise
# alone: still below the first, moving above the second.
BLOCK = 8
MOTION = (1.5, 3.0)
# No pixel is changed by more than this many standard deviations of its noise.
NOISE_REACH = 3.0
# Rounding to 8 bits alone makes noise of this size.
LEAST_NOISE = 0.3 / 255


class VideoDehazer:
    """Removes haze from the frames of one video, in their order and without flicker; memory does not grow.

    dehazer: finds the haze of each frame; None for one with the bundled weights.
    strength: 0 returns the same frames, 1 removes the haze that was found, up to 1.5.
    denoise: average still pixels over time, as far as removing haze would amplify their noise; without it, noise grows
        as in a photograph.

    >>> for clear in VideoDehazer()(frames): ...

    One object remembers one video: start the next with `reset` or a new object. Raises UsageError for a strength out of
    range.
    """

    def __init__(self, dehazer: Dehazer | None = None, *, strength: float = 1.0, denoise: bool = True) -> None:
        check_strength(strength)
        self.dehazer = Dehazer() if dehazer is None else dehazer
        self.strength, self.denoise = strength, denoise
        self._shape: tuple[int, ...] = ()
        self.reset()

    def reset(self) -> None:
        """Forget every frame so far."""
        self._follower, self._denoiser, self._bars = FieldFollower(), TemporalDenoiser(), BarFollower()
        self._fade = Fade()
        self._field: HazeField | None = None

    @property
    def field(self) -> HazeField | None:
        """The field that the latest frame was dehazed with; None before the first frame."""
        return self._field

    def __call__(self, frames: Iterable[Array]) -> Iterator[Array]:
        """Each of `frames` without its haze, one at a time; see `clear`."""
        return map(self.clear, frames)

    def clear(self, frame: Array) -> Array:
        """The next frame without its haze: same shape and type, alpha untouched.

        frame: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), RGB, uint8, uint16, float32 or float64 in [0, 1]. A change of
        size or type resets everything, as a cut does. Raises ImageError if it is not a picture.
        """
        shape = (*check(frame).shape, ord(frame.dtype.kind), frame.dtype.itemsize)
        if shape != self._shape:
            self._shape = shape
            self.reset()
        cells = cells_of(frame)
        found = field_of(frame, self.dehazer, self._bars.follow(frame, cells), self._fade.exposure(cells))
        self._field, cut, exposure = self._follower.follow(found, frame)
        if cut:
            self._denoiser = TemporalDenoiser()
        self._denoiser.expose(exposure)
        if self.strength == 0 or not self.denoise:
            return self._field.apply(frame, strength=self.strength, threads=self.dehazer.threads)
        t = believed(self._field, blocks(frame), self.strength)
        noise, threads = self._field.noise, self.dehazer.threads
        still = self._denoiser.settle(colours(frame), t, noise, scale=1 / peak(frame), threads=threads)
        clear = self._field.apply(np.clip(still, 0, 1), strength=self.strength, threads=threads)
        return _like(frame, clear, self._field.rectangle(*frame.shape[:2]))


def field_of(frame: Array, dehazer: Dehazer, borders: Borders, exposure: Exposure) -> HazeField:
    """The haze of one frame within its borders, estimated with its levels changed by `exposure`."""
    if exposure == Exposure():
        return dehazer.field(frame, borders=borders)
    field = dehazer.field(
        np.clip(exposure(np.asarray(colours(frame), np.float32) / np.float32(peak(frame))), 0, 1), borders=borders
    )
    back = exposure.inverse
    return replace(
        field,
        guide=None if field.guide is None else back(field.guide),
        airlight=np.clip(back(field.airlight), 0, 1),
        terms=field.terms * np.float32(back.gain),
        noise=field.noise * back.gain,
        white=np.clip(back(np.ones(1, np.float32)), 1e-3, 1).item(),
    )


class Followed(NamedTuple):
    """A field that follows the scene, whether its frame begins a new scene, and how the brightness changed if not."""

    field: HazeField
    cut: bool
    exposure: Exposure


class FieldFollower:
    """Turns the field of each frame on its own into one that follows the scene smoothly, and notices cuts."""

    def __init__(self) -> None:
        self._last: Floats | None = None
        self._inside = WHOLE
        self._begin()

    def _begin(self) -> None:
        self._recent: deque[Floats] = deque(maxlen=WINDOW)
        self._global, self._lattice, self._scene = Running(GLOBAL_RATE), Running(FIELD_RATE), Running(FIELD_RATE)

    def follow(self, field: HazeField, frame: Array) -> Followed:
        """The followed field for `frame`, given its own `field`."""
        guide = field.guide if field.guide is not None else cells_of(frame)
        exposure = Exposure() if self._last is None else exposure_change(self._last, guide)
        cut = self._last is not None and (field.inside != self._inside or is_cut(exposure(self._last), guide))
        if cut:
            exposure = Exposure()
            self._begin()
        elif exposure != Exposure():
            self._expose(exposure)
        self._last, self._inside = guide, field.inside
        change = self._change(guide, field.lattice.shape)
        whole = self._whole(field, float(change.mean()))
        lattice = self._lattice.update(field.lattice, change)
        followed = replace(
            field,
            lattice=np.clip(lattice, field.lattice.dtype.type(1e-3), 1),
            airlight=np.clip(whole[:3], 0, 1),
            density=float(np.exp(whole[3])),
            noise=float(whole[4]),
            terms=whole[5:].reshape(field.terms.shape),
        )
        return Followed(followed, cut, exposure)

    def _whole(self, field: HazeField, change: float) -> Floats:
        """Airlight, logarithm of the density, noise, and the airlight's terms of the scene so far: (20,).

        change: how much of the scene is another than lately: in a dissolve the airlight must not lag behind
        """
        known = [*field.airlight, np.log(field.density), field.noise, *field.terms.ravel()]
        self._recent.append(np.array(known, np.float32))
        middle = np.median(self._recent, axis=0).astype(np.float32)
        whole, reach = self._global.update(middle, change), np.float32(AIRLIGHT_REACH) * middle[:3].max()
        np.clip(whole[:3], middle[:3] - reach, middle[:3] + reach, out=whole[:3])
        return whole

    def _expose(self, exposure: Exposure) -> None:
        """Change the brightness of the estimates; dark frames count for less than bright ones."""
        for running in (self._global, self._lattice):
            running.discount(exposure.gain**FADE_IN)
        for values in (*self._recent, self._global.mean):
            assert values is not None
            values[:3] = exposure(values[:3])
            values[4:] *= exposure.gain  # noise and the airlight's terms
        if self._scene.mean is not None:
            self._scene.mean = exposure(self._scene.mean)

    def _change(self, guide: Floats, shape: tuple[int, ...]) -> Floats:
        """How surely the scene has changed in each cell of a lattice of `shape`, in [0, 1]."""
        if self._scene.mean is None:
            changed = np.zeros(guide.shape[:2], np.float32)
        else:
            changed = _ramp(np.abs(guide - self._scene.mean).max(axis=2), CELL_CHANGE)
        self._scene.update(guide, changed[:, :, None])
        if changed.shape == shape:
            return changed
        # The classical priors' lattices are as large as the picture.
        down, across = (np.arange(shape[k]) * changed.shape[k] // shape[k] for k in (0, 1))
        return np.asarray(changed[down][:, across], np.float32)


class Running:
    """A mean over time of each element: of all values at first, then with a share of at least `rate` for the newest."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.mean: Floats | None = None
        self._count: Floats | float = 1.0

    def update(self, values: Floats, change: Floats | float = 0.0) -> Floats:
        """The mean including `values`; where `change` (0..1) nears 1, it restarts from them."""
        if self.mean is None:
            mean = np.array(values, np.float32)
        else:
            self._count = np.minimum(1 + self._count * (1 - change), 1 / self.rate)
            mean = np.asarray(self.mean + (values - self.mean) / self._count, np.float32)
        self.mean = mean
        return mean

    def discount(self, factor: float) -> None:
        """Divide the weight of the values so far by `factor`; one below 1 raises it."""
        self._count = self._count / factor


class TemporalDenoiser:
    """Averages the pixels of a still scene over time, by just as much as removing its haze will amplify their noise.

    A recursive mean with the share a of the newest frame keeps a / (2 - a) of the noise's variance, and the
    inversion multiplies it by 1 / t^2: with a = 2 t^2 / (1 + t^2) the noise leaves as it entered. Blocks that change by
    more than their noise restart.
    """

    def __init__(self) -> None:
        self._mean = np.empty((0, 0), np.float32)  # (H, W * C)
        self._count = np.empty((0, 0), np.float32)  # frames in each block's mean

    def expose(self, exposure: Exposure) -> None:
        """Change the brightness of the mean as that of the next frame has changed."""
        if exposure != Exposure():
            self._mean *= np.float32(exposure.gain)
            self._mean += np.float32(exposure.offset)

    def settle(self, planes: Array, t: Floats, noise: float, *, scale: float, threads: int = 1) -> Floats:
        """`planes` times `scale`, with less noise: float32 (H, W, C), each within 3 deviations of the frame's.

        planes: (H, W, C);  t: the transmission that will be divided by, one value for each of `blocks(planes)`
        noise: standard deviation of the planes' noise, times `scale`

        A new shape restarts the mean. The next call overwrites what is returned.
        """
        height, width, channels = planes.shape
        values, factor = planes.reshape(height, width * channels), np.float32(scale)
        if self._mean.shape == values.shape:
            sigma = float(np.hypot(noise, LEAST_NOISE))
            still = 1 - self._changed(values, factor, channels, sigma, threads)
            self._count = np.minimum(1 + self._count * still, (1 + t * t) / (2 * t * t))
            self._average(values, factor, channels, sigma, threads)
        else:
            self._mean = np.asarray(values * factor, np.float32)
            self._count = np.ones(blocks(planes), np.float32)
        return self._mean.reshape(planes.shape)

    def _changed(self, values: Array, factor: np.float32, channels: int, sigma: float, threads: int) -> Floats:
        """How surely each block or a neighbour moves, in [0, 1], from its change relative to noise alone."""
        energy = np.empty_like(self._count)
        starts = np.arange(0, values.shape[1], BLOCK * channels)
        sizes = np.minimum(starts + BLOCK * channels, values.shape[1]) - starts

        def measure(row: int, part: slice) -> None:
            change = values[part] * factor - self._mean[part]
            total = np.einsum("ij,ij->j", change, change)
            energy[row] = np.add.reduceat(total, starts) / (sizes * len(change))

        _by_rows(measure, len(energy), threads)
        usual = np.asarray(sigma**2 * (1 + 1 / self._count), np.float32)
        moved = _ramp(energy / usual, MOTION)
        return _ramp(lattice_mean(moved, 1), (0, 1 / 9))  # a moving block takes its neighbours along

    def _average(self, values: Array, factor: np.float32, channels: int, sigma: float, threads: int) -> None:
        reach = np.float32(NOISE_REACH * sigma)
        kept = np.asarray(1 - 1 / self._count, np.float32)

        def blend(row: int, part: slice) -> None:
            new = values[part] * factor
            change = new - self._mean[part]
            np.clip(change, -reach, reach, out=change)
            change *= np.repeat(kept[row], BLOCK * channels)[: values.shape[1]]
            np.subtract(new, change, out=self._mean[part])

        _by_rows(blend, len(kept), threads)


def blocks(planes: Array) -> tuple[int, int]:
    """How many blocks a picture (H, W) or (H, W, C) has, down and across."""
    return -(-planes.shape[0] // BLOCK), -(-planes.shape[1] // BLOCK)


def believed(field: HazeField, size: tuple[int, int], strength: float) -> Floats:
    """The transmission that removing haze at `strength` divides by, unguided, at (height, width)."""
    t = field.transmission(*size) ** np.float32(strength)
    return np.asarray(np.clip(t, field.floor, 1), np.float32)


def _by_rows(work: Callable[[int, slice], None], count: int, threads: int) -> None:
    """Call `work` for each of `count` rows of blocks, with its rows of pixels, on at most `threads` threads."""
    spread(lambda row: work(row, slice(row * BLOCK, (row + 1) * BLOCK)), range(count), threads)


def _ramp(values: Floats, ends: tuple[float, float]) -> Floats:
    """0 up to the first of `ends`, 1 from the second, linear between."""
    low, high = ends
    ramp = np.clip((values - np.float32(low)) / np.float32(high - low), np.float32(0), np.float32(1))
    return np.asarray(ramp, np.float32)


def _like(frame: Array, clear: Floats, inside: Rectangle) -> Array:
    """`clear` (H, W, C) in the shape and type of `frame`, with its alpha, and its pixels outside x0, y0, x1, y1."""
    if frame.dtype.kind == "u":
        clear *= np.float32(peak(frame))
        clear += np.float32(0.5)
    out, (x0, y0, x1, y1) = np.array(frame), inside
    np.copyto(colours(out)[y0:y1, x0:x1], clear[y0:y1, x0:x1], casting="unsafe")
    return out
