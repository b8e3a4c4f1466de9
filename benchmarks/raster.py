"""Time and memory of a generated raster, compared with the same pass from array to array.

python benchmarks/raster.py --megapixels 200 [--folder DIR] [--overviews] [--compress deflate]
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio

import nedr
from nedr.raster.run import raster_field

SIDE = 512


def draw(path: Path, megapixels: int, compress: str | None, overviews: bool) -> tuple[int, int]:
    """A hazy landscape of tiles of 512: gradients across the whole, texture in each tile."""
    side = SIDE * round((megapixels * 1e6) ** 0.5 / SIDE)
    how = {"driver": "GTiff", "count": 3, "height": side, "width": side, "dtype": "uint8", "photometric": "RGB"}
    how |= {"tiled": True, "blockxsize": SIDE, "blockysize": SIDE, "BIGTIFF": "IF_SAFER", "compress": compress}
    texture = np.random.default_rng(0).integers(0, 24, (3, SIDE, side), dtype=np.uint8)
    across = (120 + 60 * np.sin(np.linspace(0, 9, side))).astype(np.uint8)
    with rasterio.open(
        path, "w", crs="EPSG:32633", transform=rasterio.Affine(0.1, 0, 5e5, 0, -0.1, 4.6e6), **how
    ) as file:
        for top in range(0, side, SIDE):
            file.write(texture + (across + np.uint8(40 * top / side)), window=((top, top + SIDE), (0, side)))
        if overviews:
            file.build_overviews([2, 4, 8, 16])
    return side, side


def memory_to_memory(source: Path, dehazer: nedr.Dehazer) -> tuple[float, float]:
    """Megapixels per second, and per second of one core, of the same pass on rows of the same picture in memory."""
    field = raster_field(source, dehazer=dehazer)
    with rasterio.open(source) as file:
        rows = min(file.height, max(1, (1 << 24) // file.width))
        pixels = np.moveaxis(file.read(window=((0, rows), (0, file.width))), 0, -1).copy()
        where = {"region": (0, 0, file.width, rows), "full": file.shape}
    field.apply(pixels, threads=dehazer.threads, **where)
    begun, cpu = time.perf_counter(), time.process_time()
    field.apply(pixels, threads=dehazer.threads, **where)
    megapixels = rows * pixels.shape[1] / 1e6
    return megapixels / (time.perf_counter() - begun), megapixels / (time.process_time() - cpu)


def main() -> None:
    """Draw, measure in a fresh process, print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=int, default=200)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--overviews", action="store_true")
    parser.add_argument("--compress")
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        source = Path(folder) / "ortho.tif"
        draw(source, arguments.megapixels, arguments.compress, arguments.overviews)
        subprocess.run([sys.executable, *sys.argv, "--measure", source, Path(folder) / "out.tif"], check=True)


def measure(source: Path, target: Path) -> None:
    """One pass, and its cost."""
    dehazer = nedr.Dehazer()
    begun, cpu = time.perf_counter(), time.process_time()
    report = nedr.dehaze_raster(source, target, dehazer=dehazer)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    megapixels = report.width * report.height / 1e6
    plain, plain_cpu = memory_to_memory(source, dehazer)
    print(
        f"{megapixels:.0f} megapixels: {seconds:.1f} s, {megapixels / seconds:.0f} megapixels/s "
        f"({megapixels / cpu:.0f} per second of one core), array to array {plain:.0f} ({plain_cpu:.0f}), "
        f"peak memory {peak:.0f} MB"
    )


if __name__ == "__main__":
    main()
