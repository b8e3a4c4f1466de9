"""How much of the haze removal remains when something covers the picture: bars, frames, a dashboard, captions.

    python benchmarks/occluders.py FOLDER [--weights FILE.onnx] [--limit 40]

Each occluder is drawn on every photograph. "Kept" is the mean change of the uncovered pixels, relative to that of the
same pixels with nothing drawn, over all photographs: 1 is right, 0 means that dehazing was switched off. Measured as
users get it, and without the search for borders, which shows what the weights know by themselves.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from bench import table
from PIL import Image, ImageDraw

from nedr.inference.borders import Borders
from nedr.inference.dehazer import Dehazer
from nedr.pictures.arrays import Array

Draw = Callable[[Image.Image, int, int], None]
Changes = tuple[float, float, float]


def main() -> None:
    """Parse the options and print one row per occluder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default=None)
    parser.add_argument("--limit", type=int, default=40, help="photographs, spread over the folder (40)")
    options = parser.parse_args()
    dehazer, changes = Dehazer(options.weights, threads=1), defaultdict[str, list[Changes]](list)
    for photo in photographs(options.folder, options.limit):
        for name, found in changed(dehazer, photo):
            changes[name].append(found)
    totals = {name: np.mean(found, axis=0) for name, found in changes.items()}
    kept = {name: total[1:] / total[0] for name, total in totals.items()}
    kept["mean"] = np.mean(list(kept.values()), axis=0)
    print(f"{len(changes['letterbox'])} photographs\n")
    rows = [(name, *(f"{share:.2f}" for share in shares)) for name, shares in kept.items()]
    table(["occluder", "kept", "without the search for borders"], rows)


def photographs(folder: Path, limit: int) -> Iterator[Array]:
    """At most `limit` photographs of a folder, spread evenly over its names: (H, W, 3) uint8."""
    names = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    for k in np.unique(np.linspace(0, len(names) - 1, min(limit, len(names))).astype(int)):
        with Image.open(names[k]) as image:
            yield np.asarray(image.convert("RGB"))


def changed(dehazer: Dehazer, photo: Array) -> Iterator[tuple[str, Changes]]:
    """The mean change of what each occluder leaves free: with nothing drawn, as users get it, without the search."""
    whole = Borders(*photo.shape[:2])
    plain = change(photo, dehazer.field(photo, borders=whole).apply(photo))
    for name, draw in OCCLUDERS.items():
        image = Image.fromarray(photo)
        draw(image, *image.size)
        covered = np.asarray(image)
        free = (covered == photo).all(axis=2)
        results = [dehazer.field(covered, borders=borders).apply(covered) for borders in (None, whole)]
        kept, alone = (float(change(covered, result)[free].mean()) for result in results)
        yield name, (float(plain[free].mean()), kept, alone)


def change(before: Array, after: Array) -> Array:
    """Mean change of each pixel over its channels, in levels."""
    return np.abs(after.astype(np.float32) - before).mean(axis=2)


def bars(colour: int, down: float, across: float) -> Draw:
    """Bars of one grey level, as wide as these fractions of the height and the width."""

    def draw(image: Image.Image, width: int, height: int) -> None:
        y, x = max(2, round(down * height)) if down else 0, max(2, round(across * width)) if across else 0
        inside = image.crop((x, y, width - x, height - y))
        image.paste((colour,) * 3, (0, 0, width, height))
        image.paste(inside, (x, y))

    return draw


def box(colour: int, x0: float, y0: float, x1: float, y1: float, text: str = "") -> Draw:
    """A filled rectangle, in fractions of the picture, with text on it."""

    def draw(image: Image.Image, width: int, height: int) -> None:
        pen, corner = ImageDraw.Draw(image), (round(x0 * width), round(y0 * height))
        pen.rectangle((*corner, round(x1 * width) - 1, round(y1 * height) - 1), fill=(colour,) * 3)
        size = max(8.0, 0.7 * (y1 - y0) * height)
        pen.text((corner[0] + 6, corner[1] + 2), text, fill=(255 - colour,) * 3, font_size=size)

    return draw


def caption(image: Image.Image, width: int, height: int) -> None:
    """White text over the lower part."""
    ImageDraw.Draw(image).text((0.2 * width, 0.86 * height), "IN THE FOG", fill=(255,) * 3, font_size=0.08 * height)


OCCLUDERS: dict[str, Draw] = {
    "letterbox": bars(0, 0.12, 0),
    "side bars": bars(0, 0, 0.12),
    "dark grey bars": bars(40, 0.12, 0),
    "thin black frame": bars(0, 0.01, 0.01),
    "white frame": bars(255, 0.04, 0.04),
    "dashboard": box(0, 0, 0.82, 1, 1),
    "pillar": box(0, 0.3, 0, 0.38, 1),
    "black line": box(0, 0, 0.6, 1, 0.62),
    "caption box": box(0, 0.05, 0.85, 0.6, 0.93, "12:45 Road to the coast"),
    "white caption": caption,
}


if __name__ == "__main__":
    main()
