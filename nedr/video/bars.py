"""The bars around a video, compared over several frames: a dark scene makes none, a later bar counts from its start."""

from collections import deque

from nedr.inference.borders import Borders, Side, combined, find
from nedr.pictures.arrays import Array, Floats
from nedr.video.scenes import DARK, is_cut

# Frames whose bars are compared.
RECENT = 5


class BarFollower:
    """The bars that the latest frames agree on. A cut restarts the search; dark frames hide bars and are skipped."""

    def __init__(self) -> None:
        self._recent: deque[Borders] = deque(maxlen=RECENT)
        self._cells: Floats | None = None
        self._known: Borders | None = None

    @property
    def widths(self) -> dict[Side, int]:
        """Bar widths in pixels at the latest frame, by side."""
        return {} if self._known is None else self._known.widths

    def follow(self, picture: Array, cells: Floats) -> Borders:
        """The bars of the video at a frame.

        picture: as `nedr.inference.borders.find` takes it;  cells: its colours on a lattice, RGB in [0, 1]
        """
        size = picture.shape[:2]
        if self._known is not None and (self._known.height, self._known.width) != size:
            self._recent.clear()
            self._known = None
        if cells.max() < DARK:
            return Borders(*size) if self._known is None else self._known
        if self._cells is not None and is_cut(self._cells, cells):
            self._recent.clear()
        self._cells = cells
        self._recent.append(find(picture))
        self._known = combined(self._recent)
        return self._known


def scaled(borders: Borders, height: int, width: int) -> Borders:
    """The same bars around a picture of another size."""
    down, across = height / borders.height, width / borders.width
    rows, columns = (borders.top, borders.bottom), (borders.left, borders.right)
    return Borders(height, width, *(round(n * down) for n in rows), *(round(n * across) for n in columns))
