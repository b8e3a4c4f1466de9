"""Removes haze from a video frame's own planes, brightness and two colour differences, as they are stored.

I = J t + A (1 - t) is linear, so it holds for Y'CbCr as it does for RGB: no plane is converted or resampled, 8 bits
stay 8 and 10 stay 10, and the range and the matrix of the video do not change.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from nedr.inference import airlight as light
from nedr.inference import lattice
from nedr.inference.field import WHOLE, HazeField
from nedr.inference.inversion import spread
from nedr.inference.view import noise_level
from nedr.pictures.arrays import Array, Floats
from nedr.video.scenes import Exposure
from nedr.video.temporal import GLOBAL_RATE, FieldFollower, Running, TemporalDenoiser, believed, blocks

Places: TypeAlias = tuple[Array, Array]

# Patches per side for estimating a plane's noise: a quarter as many as for a photograph, as frames are averaged.
PATCHES = 12


@dataclass(frozen=True)
class Coding:
    """What the codes of a frame's planes mean.

    bits: of each code, 8 in uint8 or more in the low bits of uint16;  full: whether all codes are used, not only the
    inner range;  weights: luma of red and of blue
    """

    bits: int = 8
    full: bool = False
    weights: tuple[float, float] = (0.2126, 0.0722)

    def span(self, plane: int) -> float:
        """How many codes make up the range of brightness, plane 0, or of a colour difference."""
        return float((1 << self.bits) - 1 if self.full else (224 if plane else 219) << (self.bits - 8))

    def zero(self, plane: int) -> float:
        """The code of black, or of no colour."""
        return float(128 << (self.bits - 8) if plane else 0 if self.full else 16 << (self.bits - 8))

    def limits(self, plane: int) -> tuple[float, float]:
        """The least and the largest code."""
        zero, span = self.zero(plane), self.span(plane)
        if plane == 0:
            return zero, zero + span
        return max(0.0, zero - span / 2), min(float((1 << self.bits) - 1), zero + span / 2)

    def colour(self, rgb: Floats) -> tuple[Floats, Floats, Floats]:
        """Colours (..., 3) RGB in [0, 1] as brightness in [0, 1] and two differences in [-1/2, 1/2], each (...)."""
        red, green, blue = np.moveaxis(np.asarray(rgb, np.float32), -1, 0)
        kr, kb = map(np.float32, self.weights)
        luma = kr * red + (1 - kr - kb) * green + kb * blue
        return luma, (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)

    def noise(self, values: Array, plane: int) -> float:
        """Standard deviation of the noise in a plane, of its range."""
        if self.bits == 8:
            return noise_level(values, PATCHES) * 255 / self.span(plane)
        shift = 16 - self.bits
        return noise_level(values << shift, PATCHES) * 65535 / (self.span(plane) * (1 << shift))


class PlaneDehazer:
    """Removes haze from the frames of one video, in order, as `nedr.VideoDehazer` does for frames in RGB.

    strength: 0..1.5, as there; 0 leaves every code as it is;  threads: the most that run at once
    """

    def __init__(self, coding: Coding, strength: float, threads: int = 1) -> None:
        self.coding, self.strength, self._threads = coding, strength, threads
        self._follower = FieldFollower()
        self._denoisers = [TemporalDenoiser() for _ in range(3)]
        self._noises = [Running(GLOBAL_RATE) for _ in range(3)]

    def dehaze(self, planes: Sequence[Array], field: HazeField, small: Array) -> HazeField:
        """Remove the haze from the next frame, in place, and return the field that was used.

        planes: brightness (H, W), and unless the video is grey two colour differences, each of that size or smaller
        field: the haze of this frame on its own, whose bars are left unchanged
        small: the frame, at any size, (h, w, 3) RGB
        """
        steps = [_steps(planes[0], values) for values in planes]
        x0, y0, x1, y1 = field.rectangle(*planes[0].shape)
        planes = [
            values[y0 // k : -(-y1 // k), x0 // j : -(-x1 // j)] for values, (k, j) in zip(planes, steps, strict=True)
        ]
        noises = [self.coding.noise(values, plane) for plane, values in enumerate(planes)]
        followed, cut, exposure = self._follower.follow(replace(field, noise=noises[0]), small)
        if cut:
            self._denoisers = [TemporalDenoiser() for _ in range(3)]
            self._noises = [Running(GLOBAL_RATE) for _ in range(3)]
        for plane, denoiser in enumerate(self._denoisers):
            denoiser.expose(self._exposed(plane, exposure))
        if self.strength == 0:
            return followed
        field = replace(followed, inside=WHOLE)
        t = {size: believed(field, size, self.strength) for size in {blocks(values) for values in planes}}
        levels = [
            self._settled(plane, values, t[blocks(values)], field, noises[plane]) for plane, values in enumerate(planes)
        ]
        places = [_places(values, step, (y0, x0)) for values, step in zip(planes, steps, strict=True)]
        self._invert(levels, field, places, planes)
        return followed

    def _exposed(self, plane: int, exposure: Exposure) -> Exposure:
        """What a change of brightness does to a plane's codes, as shares of their range."""
        return Exposure(exposure.gain, self._zero(plane) * (1 - exposure.gain) + (0 if plane else exposure.offset))

    def _zero(self, plane: int) -> float:
        """Black, or no colour, as a share of a plane's range."""
        return self.coding.zero(plane) / self.coding.span(plane)

    def _settled(self, plane: int, values: Array, t: Floats, field: HazeField, noise: float) -> Floats:
        """A plane as shares of its range, with its noise reduced by what dividing by t, one per block, will add."""
        known = float(self._noises[plane].update(np.array([noise], np.float32))[0])
        if plane:
            t = t + np.float32(field.rendering.colour_veil) * (1 - t)
        scale = 1 / self.coding.span(plane)
        return self._denoisers[plane].settle(values[:, :, None], t, known, scale=scale, threads=self._threads)[:, :, 0]

    def _invert(
        self, levels: Sequence[Floats], field: HazeField, places: Sequence[Places], out: Sequence[Array]
    ) -> None:
        """J = (I - A) / t + A, brightened, as codes into `out`, of levels I, in bands of rows that stay in the cache.

        The curve J (a - b J) is taken of brightness; colour differences are scaled by its slope there.
        places: of each plane, the rows and columns of brightness that its values are at
        """
        height, width = levels[0].shape
        slope, offset = field.guided(self.strength)
        slope = np.zeros_like(offset) if slope is None else slope
        cells = self.coding.colour(light.at(field.airlight, field.terms, *light.grid(*offset.shape)))
        zeros = [np.float32(self._zero(plane)) for plane in range(3)]
        stack = [offset - slope * zeros[0], slope, *map(np.add, cells, zeros)]
        rows = lattice.along_rows(np.stack(stack), width, 0, width)
        bands, fraction = lattice.bands(height, len(offset), 0, height)
        taps = np.ascontiguousarray(lattice.weights(fraction).T)
        veil, curve = np.float32(field.rendering.colour_veil), field.curve(self.strength)

        def invert(band: lattice.Band) -> None:
            offset, slope, *lights = rows[:, band.cell + 1 : band.cell + 5]
            part = slice(band.start, band.stop)
            t = taps[part] @ slope
            t *= levels[0][part]
            t += taps[part] @ offset
            np.clip(t, np.float32(field.floor), np.float32(1), out=t)
            gain, own = 1 / t, 1 / (t + veil * (1 - t))
            for plane, (down, across) in enumerate(places):
                part = slice(*np.searchsorted(down, (band.start, band.stop)))
                airlight, under = taps[down[part]] @ lights[plane][:, across], down[part] - band.start
                scene = levels[plane][part] - airlight
                scene *= own[under][:, across] if plane else gain
                scene += airlight
                scene -= zeros[plane]
                if plane == 0:
                    slope = _brighten(scene, curve)
                else:
                    scene *= slope[under][:, across]
                scene += zeros[plane]
                self._encode(plane, scene, out[plane][part])

        spread(invert, bands, self._threads)

    def _encode(self, plane: int, scene: Floats, out: Array) -> None:
        """Shares of a plane's range as codes into `out`; `scene` is overwritten."""
        low, high = self.coding.limits(plane)
        scene *= np.float32(self.coding.span(plane))
        scene += np.float32(0.5)
        np.clip(scene, np.float32(low), np.float32(high + 0.25), out=scene)
        np.copyto(out, scene, casting="unsafe")


def _brighten(luma: Floats, curve: tuple[float, float]) -> Floats:
    """Holds brightness to the range and takes the curve J (a - b J) of it, in place; returns its slope there."""
    a, b = map(np.float32, curve)
    np.clip(luma, np.float32(0), np.float32(1), out=luma)
    slope = a - 2 * b * luma
    luma *= a - b * luma
    return slope


def _steps(luma: Array, values: Array) -> tuple[int, int]:
    """How many rows and columns of brightness share a value of a plane."""
    return -(-luma.shape[0] // values.shape[0]), -(-luma.shape[1] // values.shape[1])


def _places(values: Array, steps: tuple[int, int], start: tuple[int, int]) -> Places:
    """The rows and columns of luma that values lie at, in a part that starts at `start`; edges are repeated."""
    down, across = (
        np.maximum(np.arange(n) * k - at % k, 0) for n, k, at in zip(values.shape, steps, start, strict=True)
    )
    return down, across
