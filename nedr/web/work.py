"""What a worker does with one picture's bytes: clear it, or describe its haze for the page."""

from base64 import b64encode
from io import BytesIO
from typing import Any, Literal, TypeAlias

import numpy as np
from PIL import Image

from nedr import images
from nedr.dehazer import Dehazer
from nedr.errors import ImageError
from nedr.field import HazeField
from nedr.pixels import Array

Map: TypeAlias = Literal["transmission", "depth"]
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


def clear(
    data: bytes, dehazer: Dehazer, pixels: int, strength: float, format: Format | None, map: Map | None
) -> tuple[bytes, str]:
    """The cleared picture's file, or its map's, and the content type. Raises ImageError, UsageError."""
    picture = images.read(data, max_pixels=pixels, name="the picture")
    if map:
        height, width = picture.pixels.shape[:2]
        return _file(dehazer.field(picture).preview(height, width, kind=map), "PNG"), TYPES["PNG"]
    target = format.upper() if format else "JPEG" if picture.format in images.READ_ONLY else picture.format
    return images.encode(dehazer.dehaze(picture, strength=strength), target), TYPES[target]


def describe(data: bytes, dehazer: Dehazer, pixels: int, size: int) -> dict[str, Any]:
    """Airlight, density and maps of a picture whose long side is brought to `size` or below. Raises ImageError."""
    picture = images.read(data, max_pixels=pixels, name="the picture")
    small = _small(picture, size)
    height, width = small.shape[:2]
    field = dehazer.field(small)
    return {
        "width": picture.pixels.shape[1],
        "height": picture.pixels.shape[0],
        "airlight": [round(float(value), 5) for value in field.airlight],
        "density": round(field.density, 5),
        "mean_transmission": round(float(field.transmission(height, width).mean()), 5),
        "floor": float(field.floor),
        "colour_floor": max(field.rendering.colour_floor, float(field.floor)),
        "preview": _url(_file(small, "JPEG"), "jpeg"),
        "transmission": _url(_file(_packed(field, small), "PNG"), "png"),
        "maps": {kind: _url(_file(field.preview(height, width, kind), "PNG"), "png") for kind in _KINDS},
    }


_KINDS: tuple[Map, ...] = ("transmission", "depth")


def _small(picture: images.Picture, size: int) -> Array:
    """The picture in sRGB, (h, w, 3) uint8, its long side at most `size`."""
    pixels = picture.to_srgb(picture.pixels)
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    image = Image.fromarray(pixels).convert("RGB")
    image.thumbnail((size, size), Image.Resampling.BOX)
    if not image.width or not image.height:
        raise ImageError("the picture is too narrow to be shown")
    return np.asarray(image)


def _packed(field: HazeField, small: Array) -> Array:
    """Transmission guided by the picture in 16 bits: the high byte in red, the low one in green."""
    height, width = small.shape[:2]
    t = np.round(field.transmission(height, width, small) * 65535).astype(np.uint16)
    return np.stack([t >> 8, t & 255, np.zeros_like(t)], axis=2).astype(np.uint8)


def _file(pixels: Array, format: str) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, format, **({"quality": 92} if format == "JPEG" else {"compress_level": 1}))
    return file.getvalue()


def _url(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{b64encode(data).decode()}"
