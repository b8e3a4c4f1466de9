"""Photographs per second of a folder, compared with one file after another, and the cost of a cluster of such cores.

    python benchmarks/album.py                       2 megapixels, two workers
    python benchmarks/album.py --megapixels 12       what docs/scale.md counts with
    python benchmarks/album.py --ray                 also the Ray pipeline, one actor per core

The photographs are JPEGs made from those in examples/, in the folder for temporary files. `one after another` is
`nedr.album.one.dehaze_file` in a loop, on one thread and on as many as there are workers; `folder` is all of
`nedr FOLDER -o OUT`: search, journal, sync to disk, report. The ways take turns, and the best round of each counts.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from bench import machine, table
from PIL import Image

from nedr.album import one
from nedr.album.session import Session
from nedr.inference.dehazer import Dehazer
from nedr.pictures.job import Job

EXAMPLES = Path(__file__).parents[1] / "examples"
MILLION = 1_000_000


def main() -> None:
    """Parse the options, take the times, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=2)
    parser.add_argument("--photographs", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ray", action="store_true")
    options = parser.parse_args()
    print(machine(), f"\n{options.photographs} photographs, best of {options.rounds} rounds\n", sep="")
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        photos = album(folder / "trip", options.photographs, options.megapixels)
        cores = options.workers
        ways = {"one after another, 1 thread": (1, one_by_one(photos, 1))}
        ways |= {f"one after another, {cores} threads": (cores, one_by_one(photos, cores))}
        ways |= {f"folder, {cores} workers": (cores, whole_folder(folder / "trip", cores))}
        if options.ray:
            ways |= {f"Ray, {cores} actors": (cores, on_ray(folder / "trip", cores))}
        times = {name: list[float]() for name in ways}
        for number in range(options.rounds):
            for name, (_, way) in ways.items():
                times[name].append(way(folder / f"out {number} {name}"))
    table(
        ["way", "photographs/s", "ratio", "core hours per million"],
        report({name: (cores, min(times[name])) for name, (cores, _) in ways.items()}, options.photographs),
    )


def report(found: dict[str, tuple[int, float]], count: int) -> Iterator[list[str]]:
    """A row for each way, from its cores and its seconds for `count` photographs; ratios are to the first."""
    _, first = next(iter(found.values()))
    for name, (cores, seconds) in found.items():
        hours = MILLION * seconds / count * cores / 3600
        yield [name, f"{count / seconds:.2f}", f"{first / seconds:.2f}x", f"{hours:.0f}"]


def album(folder: Path, count: int, megapixels: float) -> list[Path]:
    """JPEGs of quality 90, each a different part of an example photograph."""
    folder.mkdir()
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    examples = [Image.open(photo).convert("RGB") for photo in sorted(EXAMPLES.glob("*.jpg"))]
    made = []
    for number in range(count):
        source = examples[number % len(examples)]
        left = 3 * number % (source.width // 8)
        box = (left, 0, left + source.width * 7 // 8, source.height)
        picture = source.resize((width, width * 3 // 4), Image.Resampling.BICUBIC, box)
        grain = np.random.default_rng(number).normal(0, 2, (width * 3 // 4, width, 1))
        pixels = np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)
        made.append(folder / f"{number:03}.jpg")
        Image.fromarray(pixels).save(made[-1], quality=90)
    return made


def one_by_one(photos: list[Path], threads: int) -> Callable[[Path], float]:
    """A loop over the photographs."""
    dehazer = Dehazer(threads=threads)

    def way(out: Path) -> float:
        started = time.perf_counter()
        for photo in photos:
            one.dehaze_file(Job(photo, out / photo.name), dehazer)
        return time.perf_counter() - started

    return way


def whole_folder(folder: Path, workers: int) -> Callable[[Path], float]:
    """What the command does."""

    def way(out: Path) -> float:
        started = time.perf_counter()
        session = Session(
            [str(folder)],
            tell=lambda outcome, progress: None,
            say=lambda line: None,
            output=str(out),
            workers=workers,
            threads=workers,
        )
        assert all(outcome.state == "done" for outcome in session.once())
        return time.perf_counter() - started

    return way


def on_ray(folder: Path, actors: int) -> Callable[[Path], float]:
    """The Ray pipeline on this machine, including the start of its actors (seconds, whatever the work)."""
    import ray

    import nedr

    ray.init(num_cpus=actors, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False

    def way(out: Path) -> float:
        started, ds = time.perf_counter(), nedr.ray.photographs(str(folder))
        rows = nedr.ray.dehaze_files(ds, str(out), root=str(folder), actors=actors, batch_size=4).take_all()
        assert all(row["outcome"] == "done" for row in rows)
        return time.perf_counter() - started

    return way


if __name__ == "__main__":
    main()
