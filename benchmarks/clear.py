"""How little clear photographs change: mean absolute difference, 8 bit, over those never used in training.

    python benchmarks/clear.py FOLDER [--holdout 24] [--weights FILE.onnx] [--quality best]

FOLDER is the clear folder of `nedr train`; the pictures held out of training are identified by name.
"""

import argparse
from pathlib import Path

import numpy as np
from bench import table

from nedr.evaluation.paired import rgb8
from nedr.inference.dehazer import QUALITIES, Dehazer
from nedr.pictures import images
from nedr.training.data import held_out, list_images


def main() -> None:
    """Parse the options and print one row per group of pictures (the part of a name before the first _)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--holdout", type=int, default=24)
    parser.add_argument("--weights", default=None)
    parser.add_argument("--quality", choices=QUALITIES, default="balanced")
    options = parser.parse_args()
    dehazer = Dehazer(options.weights, quality=options.quality)
    groups: dict[str, list[float]] = {}
    for file in list_images(options.folder):
        if held_out(file, options.holdout):
            groups.setdefault(file.name.split("_")[0], []).append(change(dehazer, file))
    every = [value for values in groups.values() for value in values]
    rows = [(name, str(len(values)), f"{np.mean(values):.2f}") for name, values in [*groups.items(), ("all", every)]]
    table(("group", "pictures", "mean difference of 255"), rows)


def change(dehazer: Dehazer, file: Path) -> float:
    """Mean |result - picture| of one photograph, in levels of 255."""
    picture = rgb8(images.read(file).pixels)
    return float(np.abs(dehazer.dehaze(picture).astype(np.int16) - picture).mean())


if __name__ == "__main__":
    main()
