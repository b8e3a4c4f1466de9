"""The haze of a whole raster, found in an overview of it; how noisy it is, in patches at full size."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from rasterio.fill import fillnodata
from rasterio.windows import Window

from nedr.errors import ImageError
from nedr.inference.borders import Borders
from nedr.inference.dehazer import Dehazer
from nedr.inference.field import HazeField
from nedr.inference.view import noise_level
from nedr.pictures.arrays import Array, Floats
from nedr.raster.layout import Dataset, Layout, overview, scaled

OVERVIEW = 1024
"""Long side of what the network's view is averaged from: a few samples for each of its pixels."""

_PATCH, _PATCHES = 16, 24


def field(source: Dataset, layout: Layout, dehazer: Dehazer) -> HazeField:
    """The haze of an open raster as one field over all of it; where nothing was measured, neighbours are held.

    Raises ImageError when no pixel is valid.
    """
    whole = _filled(source, layout)
    seen = dehazer.field(whole, borders=Borders(*whole.shape[:2]))  # a raster's edge is nodata, or ground
    return replace(seen, noise=_noise(source, layout))


def _filled(source: Dataset, layout: Layout) -> Floats:
    """The overview as a picture (h, w, C) in [0, 1] without holes, which the network would take for dark things."""
    small = overview(source, layout.colours, OVERVIEW)
    valid = ~np.ma.getmaskarray(small).any(axis=0) & np.isfinite(small.data).all(axis=0)
    if layout.alpha is not None:
        valid &= overview(source, [layout.alpha], OVERVIEW).data[0] > 0
    if not valid.any():
        raise ImageError(f"{source.name} has no valid pixel: all of them are nodata or masked")
    planes = scaled(small.data, layout.white)
    if not valid.all():
        reach = float(np.hypot(*valid.shape))
        planes = np.stack([fillnodata(plane, valid.astype(np.uint8), max_search_distance=reach) for plane in planes])
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1))


def _noise(source: Dataset, layout: Layout) -> float:
    """The noise of patches spread over the raster, laid side by side as one picture; those with holes are left out."""
    picture = np.zeros((_PATCH * _PATCHES, _PATCH * _PATCHES, len(layout.colours)), np.float32)
    for row, column, patch in _patches(source, layout):
        picture[row * _PATCH :, column * _PATCH :][:_PATCH, :_PATCH] = np.moveaxis(patch, 0, -1)
    return noise_level(picture)


def _patches(source: Dataset, layout: Layout) -> Iterator[tuple[int, int, Array]]:
    """Valid patches (C, 16, 16) in [0, 1] and their places in a grid of 24 x 24, corners on multiples of 8."""
    tops, lefts = (
        np.linspace(0, max(0, side // 8 - _PATCH // 8), _PATCHES).astype(int) * 8
        for side in (source.height, source.width)
    )
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            window = Window(left, top, _PATCH, _PATCH)
            patch = source.read(list(layout.colours), window=window)
            valid = layout.valid(source, window)
            if patch.shape[1:] == (_PATCH, _PATCH) and (valid is None or valid.all()):
                yield row, column, scaled(patch, layout.white)
