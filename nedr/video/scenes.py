"""What happens between two frames, compared as coarse lattices: nothing, motion, a change of exposure, a cut."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from nedr.inference.view import reduce
from nedr.pictures.arrays import Array, Floats, colours

# A cut: the cells change by more than this share of the contrast within the frames; unrelated scenes exceed 1.
CUT = 0.6
CUT_CONTRAST = 0.01
# A change of brightness between two frames explains at least this share of their difference and has at most this gain,
# which excludes black frames.
EXPLAINED = 0.5
MAX_GAIN = 3.0
# A frame with nothing brighter is shown to the network with its brightest cell raised to this, as in a photograph.
DARK = 0.25
# A frame within BLANK of black or white everywhere is blank. What fades in from it is shown to the network at the USUAL
# contrast of photographs, as long as its contrast with the blank frame grows by GROWTH over LOOKS looks. A brightness
# that stays for LOOKS looks becomes the scene's own.
BLANK = 0.02
USUAL = 0.75
GROWTH = 1.02
LOOKS = 5
# The most cells per side of the lattice for comparing frames where the method has no guide of its own.
CELLS = 64


@dataclass(frozen=True)
class Exposure:
    """How the levels of one frame, in [0, 1], became those of the next, as in a fade or a flash."""

    gain: float = 1.0
    offset: float = 0.0

    @classmethod
    def about(cls, level: float, gain: float) -> "Exposure":
        """More contrast with one level, which does not change."""
        return cls(gain, level * (1 - gain))

    @property
    def inverse(self) -> "Exposure":
        """The change that undoes this one."""
        return Exposure(1 / self.gain, -self.offset / self.gain)

    def then(self, later: "Exposure") -> "Exposure":
        """This change and a later one."""
        return Exposure(self.gain * later.gain, self.offset * later.gain + later.offset)

    def __call__(self, levels: Floats) -> Floats:
        """Levels of the first frame as they become in the next."""
        return np.asarray(levels * np.float32(self.gain) + np.float32(self.offset), np.float32)


class Fade:
    """Adjusts frames for the network: one in a fade to what it was or will be, a dark one to what a
    photograph would be.

    A fade moves I, and so A, towards one colour while t stays the same; the network, which learnt from photographs,
    would take a dark or pale frame for dense haze.
    """

    def __init__(self) -> None:
        self._blank: float | None = None
        self._contrasts: deque[float] = deque(maxlen=LOOKS)
        self._cells: Floats | None = None
        self._since, self._settled = Exposure(), 0

    def exposure(self, cells: Floats) -> Exposure:
        """How to change the levels of the next frame, given its colours on a lattice, RGB in [0, 1]."""
        self._follow(cells)
        for level in (0.0, 1.0):
            if np.abs(cells - level).max() < BLANK:
                self._blank = level
                self._contrasts.clear()
                return Exposure()
        if self._blank is not None:
            contrast = float(np.abs(cells - self._blank).max())
            grows = len(self._contrasts) < LOOKS or contrast > GROWTH * self._contrasts[0]
            self._contrasts.append(contrast)
            self._since = Exposure()
            if grows and contrast < USUAL:
                return Exposure.about(self._blank, USUAL / contrast)
            self._blank = None
        back = self._since.inverse
        return back.then(Exposure.about(0.0, max(1.0, DARK / max(BLANK, float(back(cells).max())))))

    def _follow(self, cells: Floats) -> None:
        """Keep in mind how the brightness has changed since it was the scene's own, which one that stays becomes."""
        if self._cells is not None:
            step = exposure_change(self._cells, cells)
            since = self._since.then(step)
            stays = since.gain > GROWTH or (step == Exposure() and since != Exposure())
            self._settled = self._settled + 1 if stays else 0
            fresh = self._settled >= LOOKS or is_cut(step(self._cells), cells)
            self._since = Exposure() if fresh else since
        self._cells = cells


def cells_of(frame: Array) -> Floats:
    """A frame's colours on a lattice (h, w, 3), RGB in [0, 1], for comparing frames."""
    planes = colours(frame)
    side = -(-max(planes.shape[:2]) // CELLS)
    return np.broadcast_to(cells := reduce(planes, side, side), (*cells.shape[:2], 3))


def is_cut(before: Floats, after: Floats) -> bool:
    """Whether two consecutive frames, each as a lattice of its colours (h, w, 3), show different scenes."""
    return change(before, after) > CUT


def change(before: Floats, after: Floats) -> float:
    """How much two frames, each as a lattice of its colours, differ: 0 for not at all, about 1 for unrelated scenes."""
    if before.shape != after.shape:
        return np.inf
    contrast = [np.abs(cells - cells.mean(axis=(0, 1))).mean() for cells in (before, after)]
    return float(np.abs(after - before).mean() / (sum(contrast) / 2 + CUT_CONTRAST))


def exposure_change(before: Floats, after: Floats) -> Exposure:
    """The change of brightness between two frames, each as a lattice of its colours; none if it explains little."""
    spread, contrast = float(before.std()), float(after.std())
    if before.shape != after.shape or not spread / MAX_GAIN <= contrast <= spread * MAX_GAIN or not spread:
        return Exposure()
    gain = contrast / spread
    exposure = Exposure(gain, float(after.mean() - gain * before.mean()))
    unexplained = np.abs(after - exposure(before)).mean()
    return exposure if unexplained < (1 - EXPLAINED) * np.abs(after - before).mean() else Exposure()
