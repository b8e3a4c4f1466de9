"""Removes haze from a video frame's own planes, brightness and two colour differences, as they are stored.

I = J t + A (1 - t) is linear, so it holds for Y'CbCr as it does for RGB: no plane is converted or resampled, 8 bits
stay 8 and 10 stay 10, and the range and the matrix of the video do not change.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nedr.inference import lattice
from nedr.inference.field import WHOLE, HazeField
from nedr.inference.view import noise_level
from nedr.pictures.arrays import Array, Floats
from nedr.video.scenes import Exposure
from nedr.video.temporal import GLOBAL_RATE, FieldFollower, Running, TemporalDenoiser, believed, blocks

# Cells per side of the lattice from which an A(x) that changes over the picture is scaled to a plane's size.
AIRLIGHT_CELLS = 32


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
            return noise_level(values) * 255 / self.span(plane)
        shift = 16 - self.bits
        return noise_level(values << shift) * 65535 / (self.span(plane) * (1 << shift))


class PlaneDehazer:
    """Removes haze from the frames of one video, in order, as `nedr.VideoDehazer` does for frames in RGB.

    strength: 0..1.5, as there; 0 leaves every code as it is.
    """

    def __init__(self, coding: Coding, strength: float) -> None:
        self.coding, self.strength = coding, strength
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
        levels = [self._settled(plane, values, field, noises[plane]) for plane, values in enumerate(planes)]
        guide = np.clip(levels[0], 0, 1)
        t = field.transmission(guide.shape[0], guide.shape[1], guide) ** np.float32(self.strength)
        gain = 1 / np.maximum(t, np.float32(field.floor))
        limit = np.float32(1 / max(field.rendering.colour_floor, field.floor))
        airlight = self._airlight(field)
        for plane, values in enumerate(planes):
            own = np.minimum(_thinned(gain, steps[plane], (y0, x0)), limit) if plane else gain
            self._invert(plane, levels[plane], own, airlight[plane], values)
        return followed

    def _exposed(self, plane: int, exposure: Exposure) -> Exposure:
        """What a change of brightness does to a plane's codes, as shares of their range."""
        zero = self.coding.zero(plane) / self.coding.span(plane)
        return Exposure(exposure.gain, zero * (1 - exposure.gain) + (0 if plane else exposure.offset))

    def _airlight(self, field: HazeField) -> Sequence[Floats]:
        """A(x) of each plane on a coarse lattice; a single cell where A is the same everywhere."""
        if not field.terms.any():
            return self.coding.colour(field.airlight[None, None])
        x, y = ((np.arange(AIRLIGHT_CELLS) + 0.5) / AIRLIGHT_CELLS for _ in range(2))
        return self.coding.colour(field.airlight_at(*np.meshgrid(x, y)))

    def _settled(self, plane: int, values: Array, field: HazeField, noise: float) -> Floats:
        """A plane as levels, 0 for black or no colour, with its noise reduced by what dividing by t will add."""
        known = float(self._noises[plane].update(np.array([noise], np.float32))[0])
        t = believed(field, blocks(values), self.strength)
        if plane:
            t = np.maximum(t, np.float32(field.rendering.colour_floor))
        span = self.coding.span(plane)
        still = self._denoisers[plane].settle(values[:, :, None], t, known, scale=1 / span)
        return still[:, :, 0] - np.float32(self.coding.zero(plane) / span)

    def _invert(self, plane: int, levels: Floats, gain: Floats, airlight: Floats, target: Array) -> None:
        """J = (I - A) gain + A as codes into `target`, A on a lattice; `levels` is overwritten."""
        span, zero = self.coding.span(plane), self.coding.zero(plane)
        low, high = self.coding.limits(plane)
        light = airlight[0, 0] if airlight.size == 1 else lattice.sample(airlight, levels.shape[0], levels.shape[1])
        levels -= light
        levels *= gain
        levels += light
        levels *= np.float32(span)
        levels += np.float32(zero + 0.5)
        np.clip(levels, np.float32(low), np.float32(high + 0.25), out=levels)
        np.copyto(target, levels, casting="unsafe")


def _steps(luma: Array, values: Array) -> tuple[int, int]:
    """How many rows and columns of brightness share a value of a plane."""
    return -(-luma.shape[0] // values.shape[0]), -(-luma.shape[1] // values.shape[1])


def _thinned(values: Floats, steps: tuple[int, int], start: tuple[int, int]) -> Floats:
    """Every value at a multiple of `steps` in a part that starts at `start`, (rows, columns); edges are repeated."""
    before = [(at % step, 0) for at, step in zip(start, steps, strict=True)]
    padded = np.pad(values, before, mode="edge") if any(n for n, _ in before) else values
    return padded[:: steps[0], :: steps[1]]
