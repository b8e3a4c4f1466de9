"""How best to turn the field into pixels: PSNR by guidance, floors and view, over pairs of hazy and clear pictures.

    python benchmarks/rendering.py PAIRS.csv [--sets sots-indoor,hsts] [--weights FILE.onnx] [--views 256,320,384]

PAIRS.csv has the columns set, hazy, clear (relative to itself). Mean PSNR per set: RGB, 8 bit, full size.
Each row changes one of the defaults, which are the first row.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from bench import table
from PIL import Image

from nedr.evaluation.metrics import psnr
from nedr.inference.dehazer import Dehazer
from nedr.inference.field import HazeField, Rendering
from nedr.pictures.arrays import Array

Pair = tuple[str, Array, Array]

VARIANTS: dict[str, dict[str, object]] = {
    "defaults": {},
    "no guidance": {"guidance": "none"},
    **{f"detail, radius {r}": {"guidance": "detail", "radius": r} for r in (1, 2, 3, 4)},
    **{f"filter, radius {r}": {"guidance": "filter", "radius": r} for r in (1, 2, 4, 8)},
    **{f"epsilon {e}": {"epsilon": e} for e in (0.001, 0.003, 0.03)},
    **{f"floor {f}": {"floor": f} for f in (0.05, 0.15, 0.2)},
    "floor not raised by noise": {"floor_limit": 0.1},
    **{f"colour veil {v}": {"colour_veil": v} for v in (0.0, 0.05, 0.1, 0.15, 0.2)},
    **{f"brighten {b}": {"brighten": b} for b in (0.0, 0.5)},
}


def main() -> None:
    """Parse the options and print one table per view."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--weights", help="an .onnx file instead of the bundled weights")
    parser.add_argument("--sets", help="only these, separated by commas")
    parser.add_argument("--views", default="", help="long sides, separated by commas; default: the weights' own")
    options = parser.parse_args()
    pairs = list(read(options.pairs, options.sets.split(",") if options.sets else None))
    sets = list(dict.fromkeys(name for name, _, _ in pairs))
    for view in [int(side) for side in options.views.split(",") if side] or [None]:
        dehazer = Dehazer(options.weights, view=view)
        fields = [dehazer.field(hazy) for _, hazy, _ in pairs]
        print(f"\nview {view or 'of the weights'}\n")
        table(["variant", *sets], rows(pairs, fields, sets))


def read(file: Path, wanted: list[str] | None) -> Iterator[Pair]:
    """The pairs as arrays: set, hazy, clear."""
    with file.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if wanted is None or row["set"] in wanted:
                hazy, clear = (
                    np.asarray(Image.open(file.parent / row[side]).convert("RGB")) for side in ("hazy", "clear")
                )
                yield row["set"], hazy, clear


def rows(pairs: list[Pair], fields: list[HazeField], sets: list[str]) -> Iterator[list[str]]:
    """One row per variant: mean PSNR of each set."""
    for name, changes in VARIANTS.items():
        scores = defaultdict(list)
        for (group, hazy, clear), field in zip(pairs, fields, strict=True):
            changed = replace(field, rendering=Rendering(**changes))
            scores[group].append(psnr(changed.apply(hazy), clear))
        yield [name, *(f"{np.mean(scores[group]):.2f}" for group in sets)]


if __name__ == "__main__":
    main()
