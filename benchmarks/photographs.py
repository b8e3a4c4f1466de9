"""A sheet to judge results by eye: input, result and transmission of real photographs, one PNG.

    python benchmarks/photographs.py SHEET.png PHOTO_OR_FOLDER... [--count 12] [--weights FILE.onnx]

If there are more than --count photographs, evenly spaced ones are used.
"""

import argparse
from pathlib import Path

from PIL import Image

from nedr.evaluation.paired import CELL_WIDTH, rgb8, sheet_row, stack, write_sheet
from nedr.inference.dehazer import Dehazer
from nedr.pictures import images


def main() -> None:
    """Parse the options and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("photographs", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--weights", default=None)
    options = parser.parse_args()
    found = [file for given in options.photographs for file in expand(given)]
    step = max(1, len(found) // options.count)
    dehazer = Dehazer(options.weights)
    rows = [row(dehazer, file) for file in found[::step][: options.count]]
    write_sheet(options.sheet, stack(rows), overwrite=True)


def expand(given: Path) -> list[Path]:
    """A file itself, or the pictures in a folder."""
    if given.is_dir():
        return sorted(file for file in given.iterdir() if file.suffix.lower() in images.SUFFIXES)
    return [given]


def row(dehazer: Dehazer, file: Path) -> Image.Image:
    """One photograph's row of the sheet."""
    hazy = rgb8(images.read(file).pixels)
    height = max(1, round(CELL_WIDTH * hazy.shape[0] / hazy.shape[1]))
    field = dehazer.field(hazy)
    colour = ", ".join(f"{value:.2f}" for value in field.airlight)
    cells = [
        (hazy, file.name),
        (field.apply(hazy), f"A {colour}"),
        (field.preview(height, CELL_WIDTH), f"beta {field.density:.2f}, mean t {field.lattice.mean():.2f}"),
    ]
    return sheet_row(cells, height)


if __name__ == "__main__":
    main()
