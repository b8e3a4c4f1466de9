"""Which TIFF files are rasters rather than photographs, recognised by their first directory: no rasterio is needed."""

import struct
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from nedr.pictures.images import MAX_PIXELS

# ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, GDAL_METADATA, GDAL_NODATA, RPCCoefficient.
_GEO_TAGS = frozenset({33550, 33922, 34264, 34735, 42112, 42113, 50844})
_WIDTH, _HEIGHT = 256, 257
_MOST_ENTRIES = 4096


def is_raster(path: str | PathLike[str]) -> bool:
    """Whether a file is a TIFF that says where on Earth it lies, or one too large to be held in memory."""
    return is_tiff(path) and (not _GEO_TAGS.isdisjoint(_tags(path)) or is_huge(path))


def is_tiff(path: str | PathLike[str]) -> bool:
    """Whether a file has a TIFF's suffix."""
    return Path(path).suffix.lower() in (".tif", ".tiff")


def is_huge(path: str | PathLike[str]) -> bool:
    """Whether a file is a TIFF of more pixels than photographs may have."""
    tags = _tags(path)
    return tags.get(_WIDTH, 0) * tags.get(_HEIGHT, 0) > MAX_PIXELS


def _tags(path: str | PathLike[str]) -> dict[int, int]:
    try:
        with Path(path).open("rb") as file:
            return _directory(file)
    except (OSError, struct.error):
        return {}


def _directory(file: BinaryIO) -> dict[int, int]:
    """The tags of a TIFF's first directory, each with its value if that is one integer; empty for another file."""
    start = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    magic = struct.unpack_from(f"{order}H", start, 2)[0] if order else None
    if magic not in (42, 43):
        return {}
    at, count, long, size, value = (8, "Q", "Q", 20, 12) if magic == 43 else (4, "H", "I", 12, 8)
    file.seek(struct.unpack_from(f"{order}{long}", start, at)[0])
    entries = struct.unpack(f"{order}{count}", file.read(struct.calcsize(count)))[0]
    kinds, tags = {3: "H", 4: "I", 16: long}, dict[int, int]()
    for _ in range(min(entries, _MOST_ENTRIES)):
        entry = file.read(size)
        tag, kind = struct.unpack_from(f"{order}HH", entry)
        tags[tag] = struct.unpack_from(f"{order}{kinds.get(kind, 'H')}", entry, value)[0]
    return tags
