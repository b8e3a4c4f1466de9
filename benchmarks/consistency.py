"""Does a preview show what the export will be? Mean difference in levels (of 255), by size, for photographs.

    python benchmarks/consistency.py [PHOTO ...]

For long sides of 1024, 512 and twice the photograph's own: the photograph resized and then dehazed is compared with
dehazed and then resized; and a crop with the whole picture's field with the crop of the whole result, which must equal.
Without a PHOTO: the pictures in examples/, or a synthetic one of 12 megapixels.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bench import photograph, table
from PIL import Image

from nedr.inference.dehazer import Dehazer
from nedr.pictures.arrays import Array

EXAMPLES = Path(__file__).parents[1] / "examples"


def main() -> None:
    """Parse the options and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path)
    parser.add_argument("--weights", help="an .onnx file instead of the bundled weights")
    options = parser.parse_args()
    dehazer = Dehazer(options.weights)
    found = options.photos or [file for file in sorted(EXAMPLES.rglob("*")) if file.suffix in (".jpg", ".png")]
    pictures = [(file.name, np.asarray(Image.open(file).convert("RGB"))) for file in found]
    header = ["photograph", "size", "1024", "512", "double size", "crop (most)"]
    table(header, rows(dehazer, pictures or [("made", photograph(3000, 4000))]))


def rows(dehazer: Dehazer, pictures: list[tuple[str, Array]]) -> Iterator[list[str]]:
    """One row per photograph."""
    for name, picture in pictures:
        height, width = picture.shape[:2]
        field = dehazer.field(picture)
        whole = field.apply(picture)
        box = (width // 5, height // 7, width - width // 3, height - height // 4)
        crop = field.apply(cut(picture, box), region=box, full=(height, width))
        differences = [
            f"{difference(dehazer, picture, whole, side):.2f}" for side in (1024, 512, 2 * max(height, width))
        ]
        worst = int(np.abs(crop.astype(int) - cut(whole, box)).max())
        yield [name, f"{width} x {height}", *differences, str(worst)]


def difference(dehazer: Dehazer, picture: Array, whole: Array, long_side: int) -> float:
    """Mean absolute difference between resize-then-dehaze and dehaze-then-resize."""
    scale = long_side / max(picture.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in picture.shape[1::-1])

    def resized(array: Array) -> Array:
        return np.asarray(Image.fromarray(array).resize(size, Image.Resampling.LANCZOS))

    return float(np.abs(dehazer.dehaze(resized(picture)).astype(int) - resized(whole)).mean())


def cut(picture: Array, box: tuple[int, int, int, int]) -> Array:
    """The region (x0, y0, x1, y1) of a picture."""
    x0, y0, x1, y1 = box
    return picture[y0:y1, x0:x1]


if __name__ == "__main__":
    main()
