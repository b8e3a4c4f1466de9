"""What libvips, a library for large pictures, would do to rasters instead of GDAL.

    pip install pyvips pyvips-binary
    python benchmarks/vips.py [--side 6144]

Prints what a GeoTIFF loses when libvips reads and writes it, and the processor time per megapixel of reading a raster
by windows and writing it with tiles of 512, by each in turn.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyvips
import rasterio
from bench import machine, processor_time
from rasterio.transform import from_origin
from rasterio.windows import Window

ROWS = 512
KEPT = ("crs", "transform", "nodata", "descriptions")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=6144, help="pixels of the raster's side, a multiple of 512 (6144)")
    side = parser.parse_args().side
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source.tif"), Path(folder, "target.tif")
        drawn(source, side)
        print(f"{machine()}, pyvips {pyvips.__version__}, rasterio {rasterio.__version__}")
        pyvips.Image.new_from_file(str(source)).tiffsave(str(target), tile=True, tile_width=ROWS, tile_height=ROWS)
        print("lost by libvips:", ", ".join(lost(source, target)))
        for _ in range(3):
            for name, copy in (("rasterio", by_rasterio), ("libvips", by_vips)):
                spent = processor_time(lambda copy=copy: copy(source, target), 1)
                print(f"{name}: {spent / side**2 * 1e9:.0f} ms of processor time per megapixel")


def drawn(path: Path, side: int) -> None:
    """Write a GeoTIFF of noise."""
    tiles = {"tiled": True, "blockxsize": ROWS, "blockysize": ROWS, "photometric": "RGB"}
    place = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 0.1, 0.1), "nodata": 0}
    size, noise = {"width": side, "height": side, "count": 3, "dtype": "uint8"}, np.random.default_rng(0)
    with rasterio.open(path, "w", driver="GTiff", **size, **tiles, **place) as file:
        file.set_band_description(1, "red")
        for row in range(0, side, ROWS):
            file.write(noise.integers(0, 255, (3, ROWS, side), dtype=np.uint8), window=Window(0, row, side, ROWS))


def lost(source: Path, target: Path) -> list[str]:
    """What the target does not state as the source does."""
    with rasterio.open(source) as before, rasterio.open(target) as after:
        return [name for name in KEPT if getattr(before, name) != getattr(after, name)]


def by_rasterio(source: Path, target: Path) -> None:
    """Copy window by window, each as an array (height, width, 3)."""
    with rasterio.open(source) as before, rasterio.open(target, "w", **before.profile) as after:
        for row in range(0, before.height, ROWS):
            window = Window(0, row, before.width, ROWS)
            pixels = np.ascontiguousarray(before.read(window=window).transpose(1, 2, 0))
            after.write(pixels.transpose(2, 0, 1), window=window)


def by_vips(source: Path, target: Path) -> None:
    """The same, with the windows joined in memory, since libvips takes only whole pictures from Python."""
    image, parts = pyvips.Image.new_from_file(str(source)), []
    for row in range(0, image.height, ROWS):
        pixels = image.crop(0, row, image.width, ROWS).numpy()
        parts.append(pyvips.Image.new_from_array(pixels))
    joined = pyvips.Image.arrayjoin(parts, across=1)
    joined.tiffsave(str(target), tile=True, tile_width=ROWS, tile_height=ROWS)


if __name__ == "__main__":
    main()
