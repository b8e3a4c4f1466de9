"""What a raster is made of, and the file its result becomes: bands, range, nodata, blocks, tags and georeference."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.windows import Window

from nedr.errors import ImageError, UsageError
from nedr.inference.view import reduce
from nedr.pictures.arrays import Array, Floats, peak
from nedr.raster.header import is_tiff

Dataset: TypeAlias = Any
"""A raster opened by rasterio."""

_RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
_TYPES = ("uint8", "uint16", "int16", "float32", "float64")
_DERIVED = ("IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "COLOR_PROFILE", "EXIF", "xml:ESRI")
_TILE = 512
_SAMPLED = 512  # least side in pixels of what is read at a time, for striped rasters


@dataclass(frozen=True)
class Layout:
    """How a raster is dehazed.

    colours: the bands, counted from 1, that are dehazed: red, green, blue, or the only one of a grey raster
    others: the bands that are copied, alpha among them;  white: the value that means full reflectance
    nodata: the value of the colour bands that means nothing was measured, or None
    alpha: the band that is 0 where a pixel is invalid, or None;  masked: whether there is a mask or nodata
    """

    colours: tuple[int, ...]
    others: tuple[int, ...]
    white: float
    nodata: float | None
    alpha: int | None
    masked: bool

    def valid(self, source: Dataset, window: Any = None) -> Array | None:
        """Which pixels of a window of the raster are valid, bool (h, w); None where all of them are."""
        if self.alpha is not None:
            return np.asarray(source.read(self.alpha, window=window) > 0)
        return np.asarray(source.dataset_mask(window=window) > 0) if self.masked else None


def layout(source: Dataset, bands: Sequence[int] | None, white: float | None) -> Layout:
    """The layout of an open raster. Raises ImageError for a kind that cannot be dehazed, UsageError for wrong bands."""
    types = set(source.dtypes)
    if len(types) > 1 or not types.issubset(_TYPES):
        raise ImageError(f"{source.name}: expected bands of one type of {', '.join(_TYPES)}, found {', '.join(types)}")
    if ColorInterp.palette in source.colorinterp:
        raise ImageError(f"{source.name} has a colour table; expand it first: gdal_translate -expand rgb IN OUT")
    colours = _colours(source, bands)
    if white is not None and not white > 0:
        raise UsageError(f"expected a white above 0, found {white:g}")
    meant = source.colorinterp
    alpha = meant.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in meant else None
    masked = any(MaskFlags.all_valid not in source.mask_flag_enums[band - 1] for band in colours)
    rest = tuple(band for band in source.indexes if band not in colours)
    nodata = source.nodatavals[colours[0] - 1]
    return Layout(colours, rest, white or _white(source, colours), nodata, alpha, masked)


def _colours(source: Dataset, bands: Sequence[int] | None) -> tuple[int, ...]:
    if bands is not None:
        chosen = tuple(bands)
        if len(chosen) not in (1, 3) or len(set(chosen)) < len(chosen) or not set(chosen) <= set(source.indexes):
            raise UsageError(f"expected 1 or 3 different bands of 1 to {source.count}, found {chosen}")
        return chosen
    meant = source.colorinterp
    if all(colour in meant for colour in _RGB):
        return tuple(meant.index(colour) + 1 for colour in _RGB)
    seen = [band for band, what in zip(source.indexes, meant, strict=True) if what != ColorInterp.alpha]
    return tuple(seen[:3]) if len(seen) >= 3 else tuple(seen[:1])


def _white(source: Dataset, colours: tuple[int, ...]) -> float:
    """The top of the range: as the file says, else of 8 bits all, else the least power of two above a sample."""
    bits = source.tags(colours[0], ns="IMAGE_STRUCTURE").get("NBITS")
    if bits and source.dtypes[0] != "float32":
        return float(2 ** int(bits) - 1)
    if source.dtypes[0] == "uint8":
        return 255.0
    sample = overview(source, colours, 1024).compressed()
    sample = sample[np.isfinite(sample)]
    top = float(sample.max()) if sample.size else 1.0
    if source.dtypes[0].startswith("float") and top <= 1:
        return 1.0
    return float(2 ** np.ceil(np.log2(max(top, 1) + 1)) - 1)


def overview(source: Dataset, bands: Sequence[int], long_side: int) -> Any:
    """The bands of the whole raster, averaged to about `long_side`, from overviews where there are any.

    A masked array (C, h, w), whose invalid pixels are those without any valid one below them.
    """
    whole = all(MaskFlags.all_valid in source.mask_flag_enums[band - 1] for band in bands)
    step = 2 ** int(np.log2(max(1, max(source.height, source.width) / long_side)))
    if whole and step > 1 and source.dtypes[0] in ("uint8", "uint16") and not source.overviews(bands[0]):
        return np.ma.masked_array(_means(source, bands, step))
    scale = min(1.0, long_side / max(source.height, source.width))
    size = tuple(max(1, round(side * scale)) for side in (source.height, source.width))
    return source.read(list(bands), out_shape=(len(bands), *size), resampling=Resampling.average, masked=True)


def _means(source: Dataset, bands: Sequence[int], step: int) -> Floats:
    """Means over `step` x `step` pixels, a power of two: twice as fast as GDAL's average, which knows masks."""
    out = np.empty((len(bands), -(-source.height // step), -(-source.width // step)), np.float32)
    rows, columns = (step * -(-max(block, _SAMPLED) // step) for block in source.block_shapes[0])
    for top in range(0, source.height, rows):
        for left in range(0, source.width, columns):
            window = Window(left, top, min(columns, source.width - left), min(rows, source.height - top))
            for plane, pixels in zip(out, source.read(list(bands), window=window), strict=True):
                small = reduce(pixels[:, :, None], step, step)[:, :, 0] * np.float32(peak(pixels))
                plane[top // step :, left // step :][: small.shape[0], : small.shape[1]] = small
    return out


def profile(source: Dataset) -> dict[str, Any]:
    """rasterio's options for a GeoTIFF that is stored as the source is; tiles of 512 where that has its own format."""
    stored = source.tags(ns="IMAGE_STRUCTURE")
    made = {**source.profile, "driver": "GTiff", "BIGTIFF": "IF_SAFER", "SPARSE_OK": True}
    if source.driver != "GTiff":
        made |= {"tiled": True, "blockxsize": _TILE, "blockysize": _TILE, "compress": "deflate", "interleave": "pixel"}
    for key, option in (("PREDICTOR", "predictor"), ("JPEG_QUALITY", "jpeg_quality"), ("NBITS", "nbits")):
        if key in stored:
            made[option] = stored[key]
    made |= {key: text for key, text in source.tags(ns="COLOR_PROFILE").items() if key.startswith("SOURCE_ICC")}
    if all(what == colour for what, colour in zip(source.colorinterp, _RGB, strict=False)) and source.count >= 3:
        ycc = stored.get("COMPRESSION") == "YCbCr JPEG"
        made["photometric"] = "YCBCR" if ycc else "RGB"
        made["compress"] = "jpeg" if ycc else made.get("compress")
    if made.get("compress") is None:
        made.pop("compress", None)
    return made


def copy_tags(source: Dataset, target: Dataset, colours: Sequence[int]) -> None:
    """Everything beside pixels that a raster's file says, of the whole and of each band, except statistics of pixels
    that change.
    """
    target.colorinterp = source.colorinterp
    target.scales, target.offsets, target.units = source.scales, source.offsets, source.units
    target.descriptions = source.descriptions
    points, system = source.gcps
    if points:
        target.gcps = (points, system)
    if source.rpcs:
        target.rpcs = source.rpcs
    for band in (0, *source.indexes):
        for space in (None, *source.tag_namespaces(band)):
            if space in _DERIVED:
                continue
            tags = source.tags(band, ns=space)
            if band in colours:
                tags = {key: text for key, text in tags.items() if not key.startswith("STATISTICS_")}
            target.update_tags(band, ns=space, **tags)


def scaled(pixels: Array, white: float) -> Floats:
    """Values of a raster as float32 in [0, 1], what is above white held there and what is not finite taken as 0."""
    return np.asarray(np.clip(np.nan_to_num(pixels.astype(np.float32) / np.float32(white), nan=0.0), 0, 1), np.float32)


def check_output(path: Path) -> None:
    """Raises UsageError for a result that would not be a TIFF."""
    if not is_tiff(path):
        raise UsageError(f"{path}: a raster becomes a GeoTIFF, expected a name that ends in .tif or .tiff")
