"""How much darker results are than their pictures, and, where it is known, than the truth would be.

    python benchmarks/darkening.py FOLDER_OR_PAIRS_CSV [--threshold 0.3] [--limit 12] [--weights FILE.onnx]

The median L* of what has t above --threshold, in the picture less that in the result. Haze is bright, so the truth is
darker, too: where there is one, its own fall stands beside, for the same pixels.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bench import table
from numpy.typing import NDArray
from photographs import expand
from skimage.color import rgb2lab

from nedr.evaluation.paired import Picture8, read_pair, read_pairs, rgb8
from nedr.inference.dehazer import Dehazer
from nedr.pictures import images

Sample = tuple[str, Picture8, Picture8 | None]


def main() -> None:
    """Parse the options and print a row per set, or one for a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--threshold", type=float, default=0.3)
    parser.add_argument("--limit", type=float, default=12.0, help="a fall of more than this is counted")
    parser.add_argument("--weights", default=None)
    options = parser.parse_args()
    dehazer = Dehazer(options.weights)
    sets: dict[str, list[tuple[float, float]]] = {}
    for name, hazy, clear in samples(options.pictures):
        field = dehazer.field(hazy)
        shown = field.transmission(*hazy.shape[:2]) > options.threshold
        if shown.any():
            before = lightness(hazy, shown)
            true = np.nan if clear is None else before - lightness(clear, shown)
            sets.setdefault(name, []).append((before - lightness(field.apply(hazy), shown), true))
    over = f"over {options.limit:g}"
    heading = ("set", "pictures", "fall of the median L*", over, "the truth's", over)
    table(heading, [row(name, np.array(falls), options.limit) for name, falls in sets.items()])


def samples(given: Path) -> Iterator[Sample]:
    """The set, picture and truth of each pair, or a folder's pictures without a truth."""
    if given.is_dir():
        for file in expand(given):
            yield given.name, rgb8(images.read(file).pixels), None
    else:
        for pair in read_pairs(given):
            yield pair.set, *read_pair(pair)


def lightness(picture: Picture8, shown: NDArray[np.bool_]) -> float:
    """The median L* of the pixels in question, 0 to 100."""
    return float(np.median(rgb2lab(picture[shown][None])[..., 0]))


def row(name: str, falls: NDArray[np.float64], limit: float) -> tuple[str, ...]:
    """One set's cells: the median fall and how many exceed the limit, of results and of the truth."""
    cells = [name, str(len(falls))]
    for column in falls.T:
        known = not np.isnan(column).any()
        cells += [f"{np.median(column):.1f}", str(int((column > limit).sum()))] if known else ["", ""]
    return tuple(cells)


if __name__ == "__main__":
    main()
