"""Estimates haze in every n-th frame while little changes, and interpolates it for the frames between."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import numpy as np

from nedr.inference.field import HazeField
from nedr.pictures.arrays import Array, Floats
from nedr.video.scenes import cells_of, change

T = TypeVar("T")

# The largest change since the latest look, as `nedr.video.scenes.change` measures it, at which the look still holds.
STILL = 0.25


@dataclass(frozen=True)
class Look:
    """A frame whose haze was estimated: its colours on a lattice, and the haze."""

    cells: Floats
    found: HazeField


@dataclass
class Sampler(Generic[T]):
    """Finds the haze of frames: `look` is called for every `every`-th one and wherever much has changed.

    The frames between two looks, at most `every` - 1, are held in memory.
    """

    look: Callable[[T], HazeField]
    every: int
    _last: Look | None = None
    _waiting: list[tuple[T, bool]] = field(default_factory=list)

    def __call__(self, items: Iterable[tuple[T, Array | None]]) -> Iterator[tuple[T, HazeField | None]]:
        """Each item with its haze, in order.

        items: each with its picture, as `nedr.Dehazer` takes it, or None for anything that is not a frame
        """
        for item, picture in items:
            if picture is None:
                self._waiting.append((item, False))
                if not self._between:
                    yield from self._released()
                continue
            cells = cells_of(picture) if self.every > 1 else np.empty((0, 0, 3), np.float32)
            changed = self.every == 1 or self._last is None or change(self._last.cells, cells) > STILL
            if not changed and self._between + 1 < self.every:
                self._waiting.append((item, True))
                continue
            found = self.look(item)
            yield from self._released(None if changed else found)
            self._last = Look(cells, found)
            yield item, found
        yield from self._released()

    @property
    def _between(self) -> int:
        """How many frames wait for the next look."""
        return sum(is_frame for _, is_frame in self._waiting)

    def _released(self, towards: HazeField | None = None) -> Iterator[tuple[T, HazeField | None]]:
        """All that waits, with haze interpolated between the latest look and `towards`, or that of the latest look."""
        waiting, steps, number = self._waiting, self._between + 1, 0
        self._waiting = []
        for item, is_frame in waiting:
            number += is_frame
            start = self._last.found if self._last else None
            found = start if start is None or towards is None else interpolated(start, towards, number / steps)
            yield item, found if is_frame else None


def interpolated(start: HazeField, end: HazeField, share: float) -> HazeField:
    """The haze `share` of the way from one frame to another, in [0, 1]."""
    if start.lattice.shape != end.lattice.shape or start.inside != end.inside:
        return start

    def mixed(first: Floats, second: Floats) -> Floats:
        return np.asarray(first + np.float32(share) * (second - first), np.float32)

    return replace(
        end,
        lattice=mixed(start.lattice, end.lattice),
        guide=None if start.guide is None or end.guide is None else mixed(start.guide, end.guide),
        airlight=mixed(start.airlight, end.airlight),
        terms=mixed(start.terms, end.terms),
        density=float(start.density ** (1 - share) * end.density**share),
        noise=start.noise + share * (end.noise - start.noise),
    )
