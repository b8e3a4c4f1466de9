"""What a worker does with one picture's bytes: clear it, or describe its haze for the page."""

import json
import zlib
from base64 import b64encode
from io import BytesIO
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from PIL import Image

from nedr.inference.dehazer import Dehazer
from nedr.inference.field import HazeField
from nedr.pictures import images
from nedr.pictures.arrays import Array, Floats, eight_bits

Map: TypeAlias = Literal["transmission", "depth"]
Answer: TypeAlias = tuple[bytes, str]
"""A file's contents and their type."""
Format: TypeAlias = Literal["jpeg", "png", "tiff", "webp", "avif", "bmp", "ppm"]

TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
    "PPM": "image/x-portable-anymap",
}
NAME = "the picture"
MAP_SCALE = 4
"""Pixels of a preview for one of its maps, which are smooth."""


def clear(
    data: bytes, dehazer: Dehazer, pixels: int, strength: float, format: Format | None, map: Map | None
) -> Answer:
    """The cleared picture's file, or its map's. Raises ImageError, UsageError."""
    picture = images.read(data, max_pixels=pixels, name=NAME)
    if map:
        height, width = picture.pixels.shape[:2]
        return _file(dehazer.field(picture).preview(height, width, kind=map), "PNG"), TYPES["PNG"]
    target = format.upper() if format else "JPEG" if picture.format in images.READ_ONLY else picture.format
    cleared = dehazer.dehaze(picture, strength=strength)
    if cleared is picture and target == picture.format:
        return data, TYPES[target]  # nothing changed: the very file, as the library gives it
    return images.encode(cleared, target), TYPES[target]


def transmission(data: bytes, dehazer: Dehazer, pixels: int) -> Answer:
    """The transmission at the picture's size as PNG, grey of 16 bits. Raises ImageError."""
    picture = images.read(data, max_pixels=pixels, name=NAME)
    return _file(_sixteen_bits(dehazer.field(picture).transmission(*picture.pixels.shape[:2])), "PNG"), TYPES["PNG"]


def describe(data: bytes, dehazer: Dehazer, pixels: int, preview: int | None) -> Answer:
    """Airlight, density and lattice of a picture as JSON, with a preview of at most that long side. Raises ImageError.

    The field is the whole picture's, in sRGB: what a download will be made with.
    """
    picture = images.read(data, max_pixels=pixels, name=NAME)
    colours = picture.to_srgb(picture.pixels)
    field = dehazer.field(colours)
    height, width = colours.shape[:2]
    found = {
        "width": width,
        "height": height,
        "airlight": [round(float(value), 5) for value in field.airlight],
        "density": round(field.density, 5),
        "mean_transmission": round(float(field.lattice.mean()), 5),
        "floor": field.floor,
        "colour_floor": max(field.rendering.colour_floor, field.floor),
        "lattice": np.round(field.lattice.astype(float), 5).tolist(),
    }
    if preview:
        found["preview"] = _preview(field, _small(colours, preview))
    return json.dumps(found).encode(), "application/json"


def _preview(field: HazeField, small: Array) -> dict[str, Any]:
    height, width = small.shape[:2]
    packed = _packed(field.transmission(height, width, small))
    size = -(-height // MAP_SCALE), -(-width // MAP_SCALE)
    return {
        "picture": _url(_file(small, "JPEG", quality=92), "jpeg"),
        "transmission": _url(_file(packed, "PNG", compress_type=zlib.Z_RLE), "png"),  # noise, which packs badly
        "maps": {kind: _url(_file(field.preview(*size, kind), "PNG"), "png") for kind in get_args(Map)},
    }


def _small(colours: Array, size: int) -> Array:
    """A picture, grey or RGB, as (h, w, 3) uint8, its long side at most `size`."""
    image = Image.fromarray(eight_bits(colours)).convert("RGB")
    image.thumbnail((size, size), Image.Resampling.BOX)
    return np.asarray(image)


def _sixteen_bits(t: Floats) -> Array:
    return np.asarray(np.rint(t * np.float32(65535)), np.uint16)


def _packed(t: Floats) -> Array:
    """Transmission (h, w) in 16 bits, which a canvas cannot hold: the high byte in red, the low one in green."""
    held = _sixteen_bits(t)
    return np.stack([held >> 8, held & 255, np.zeros_like(held)], axis=2).astype(np.uint8)


def _file(pixels: Array, format: str, **options: int) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, format, compress_level=1, **options)
    return file.getvalue()


def _url(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{b64encode(data).decode()}"
