"""Bars and frames around a picture: letterboxes, pillars, mats, in any colour, noisy, with captions in them.

A bar is of one colour and ends in a straight edge along its whole side. That is what skies, snow and studio walls
lack, however even they are: they end where things begin, not at one row. Black and dark bars may stand alone; a bar of
any other colour is believed only with its like on the opposite side, for a burnt-out sky over a level horizon ends
straight, too.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Literal, TypeAlias

import numpy as np

from nedr.pictures.arrays import Array, Floats, colours, peak

Side: TypeAlias = Literal["top", "bottom", "left", "right"]
Rectangle: TypeAlias = tuple[int, int, int, int]

SIDES: tuple[Side, ...] = ("top", "bottom", "left", "right")
OPPOSITE: dict[Side, Side] = {"top": "bottom", "bottom": "top", "left": "right", "right": "left"}
# The widest bar, of the side it cuts off, and the least part of the picture that may lie inside.
WIDEST, LEAST_INSIDE = 0.45, 0.1
# Frames in a frame that are looked for.
NESTED = 3
# Lines are judged in this many pieces, each the mean of a few pixels, which averages out noise.
PIECES, PIXELS = 96, 8
# Levels of 255 that a piece of a bar may differ from its colour, and that half of them may: of a bar that stands alone,
# and of one with its like on the opposite side.
TOLERANCE, EVEN_ALONE, EVEN = 12.0, 2.5, 4.5
# Up to this level of its brightest channel a bar is dark.
DARK = 70.0
# Of the pieces that ever leave the bar's colour, how many do so at its edge, and how many not before, as under a
# caption; and how many do at all, of all.
STRAIGHT, FIRST, SEEN = 0.6, 0.3, 0.2
# Pieces of the bar's colour: in its outermost line, in all of it (the rest are captions).
OUTERMOST, WHOLE = 0.6, 0.75


@dataclass(frozen=True)
class Borders:
    """Widths in pixels of what surrounds a picture of `height` x `width` pixels on each side, 0 where nothing does."""

    height: int
    width: int
    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def __bool__(self) -> bool:
        return bool(self.widths)

    @property
    def inside(self) -> Rectangle:
        """x0, y0, x1, y1 of the picture inside, in pixels."""
        return self.left, self.top, self.width - self.right, self.height - self.bottom

    @property
    def parts(self) -> tuple[float, float, float, float]:
        """The same as parts of the whole picture's sides, in [0, 1]."""
        x0, y0, x1, y1 = self.inside
        return x0 / self.width, y0 / self.height, x1 / self.width, y1 / self.height

    @property
    def widths(self) -> dict[Side, int]:
        """The width of each side's bar in pixels, of those sides that have one."""
        return {side: width for side in SIDES if (width := getattr(self, side))}


def find(image: Array) -> Borders:
    """The borders of a checked picture (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); `Borders` of zeros if it has none."""
    planes = colours(image)
    height, width = planes.shape[:2]
    found = Borders(height, width)
    for _ in range(NESTED):
        x0, y0, x1, y1 = found.inside
        bars = _bars(planes[y0:y1, x0:x1], peak(image))
        if not any(bars.values()):
            break
        grown = {side: getattr(found, side) + bars[side] for side in SIDES}
        found = Borders(height, width, **grown)
    x0, y0, x1, y1 = found.inside
    return found if (x1 - x0) * (y1 - y0) >= LEAST_INSIDE * height * width else Borders(height, width)


def combined(frames: Sequence[Borders]) -> Borders:
    """The borders of a video, of those found in several of its frames, all of one size.

    A side has a bar where more than half of the frames have one, about as wide as the lower median of them: a dark
    scene lets a bar seem wider or hides its edge. Raises ValueError without frames.
    """
    if not frames:
        raise ValueError("expected the borders of at least one frame, found none")
    height, width = frames[0].height, frames[0].width
    return Borders(height, width, **{side: median_low([getattr(frame, side) for frame in frames]) for side in SIDES})


def _bars(planes: Array, white: float) -> dict[Side, int]:
    """The width of the outermost bar on each side of `planes` (H, W, C)."""
    turned: dict[Side, Callable[[Array], Array]] = {
        "top": lambda values: values,
        "bottom": lambda values: values[::-1],
        "left": lambda values: values.transpose(1, 0, 2),
        "right": lambda values: values[:, ::-1].transpose(1, 0, 2),
    }
    found = {side: _bar(turn(planes), white) for side, turn in turned.items()}
    return {side: found[side].width if _believed(found[side], found[OPPOSITE[side]]) else 0 for side in SIDES}


@dataclass(frozen=True)
class _Bar:
    """What looks like a bar: its width (0: none), its colour (C,), and how far half of its pieces differ from that."""

    width: int
    colour: Floats
    spread: float = 0.0


def _believed(bar: _Bar, other: _Bar) -> bool:
    """Whether a bar is dark and even, or has its like on the opposite side."""
    alike = other.width > 0 and np.abs(bar.colour - other.colour).max() <= TOLERANCE
    return bool(alike or (bar.colour.max() <= DARK and bar.spread <= EVEN_ALONE))


def _bar(planes: Array, white: float) -> _Bar:
    """The bar that the first lines of `planes` (n, m, C) belong to, of width 0 if they belong to none."""
    first = _pieces(planes[:1], white)
    colour = np.median(first[0], axis=0).astype(np.float32)
    none, depth = _Bar(0, colour), int(WIDEST * len(planes)) + 2
    if _is_of(first, colour).mean() < OUTERMOST:
        return none
    pieces = _pieces(planes[:depth], white)
    alike = _is_of(pieces, colour)
    for width in _edges(alike):
        within = pieces[:width][alike[:width]]
        spread = float(np.median(np.abs(within - colour).max(axis=1)))
        if alike[:width].mean() >= WHOLE and spread <= EVEN:
            return _Bar(width, colour, spread)
    return none


def _pieces(lines: Array, white: float) -> Floats:
    """Lines (n, m, C) as means of a few pixels each, in levels of 255: (n, at most PIECES, C)."""
    count = lines.shape[1]
    number = min(PIECES, count)
    step = max(1, count // (number * PIXELS))
    chosen = lines[:, ::step]
    starts = np.arange(number) * chosen.shape[1] // number
    sums = np.add.reduceat(chosen, starts, axis=1, dtype=np.float32)
    sizes = np.diff([*starts, chosen.shape[1]]).astype(np.float32)
    return np.asarray(sums * (np.float32(255 / white) / sizes)[:, None], np.float32)


def _is_of(pieces: Floats, colour: Floats) -> Array:
    """Which pieces (n, k, C) have this colour: (n, k)."""
    return np.asarray(np.abs(pieces - colour).max(axis=2) <= TOLERANCE)


def _edges(alike: Array) -> Iterator[int]:
    """Widths at which most pieces of the lines (n, k) leave the bar's colour together, the straightest edge first."""
    seen = int((~alike).any(axis=0).sum())
    if seen < SEEN * alike.shape[1]:
        return
    blur = 3 + 2 * (len(alike) // 1000)
    leaves = np.zeros(alike.shape, np.int32)
    leaves[1:] = alike[:-1] & ~alike[1:]
    total = np.cumsum(np.pad(leaves, ((blur, 0), (0, 0))), axis=0)
    lately = total[blur:] - total[:-blur]  # how often each piece left in the last `blur` lines
    together, first = (lately > 0).sum(axis=1), ((lately > 0) & (total[blur:] == lately)).sum(axis=1)
    together[first < FIRST * seen] = 0
    for line in np.argsort(-together, kind="stable")[:3]:
        if together[line] < STRAIGHT * seen:
            return
        left = leaves[max(0, line - blur + 1) : line + 1].sum(axis=1).cumsum()
        yield int(max(0, line - blur + 1) + np.searchsorted(left, 0.75 * left[-1]))
