"""What a worker process does with one picture: each function takes the process's Dehazer first."""

import json
import pickle
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

import numpy as np
from PIL import Image

from nedr.errors import UsageError
from nedr.inference.dehazer import Dehazer
from nedr.inference.field import HazeField
from nedr.inference.view import reduce
from nedr.pictures import images
from nedr.pictures.arrays import Array, peak
from nedr.pictures.images import Picture

Map: TypeAlias = Literal["transmission", "depth"]
Answer: TypeAlias = tuple[bytes, str]
"""A file's contents and type."""
Format: TypeAlias = Literal["jpeg", "png", "tiff", "webp", "avif", "bmp", "ppm"]
Region: TypeAlias = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the whole picture."""

TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
    "PPM": "image/x-portable-anymap",
    "GIF": "image/gif",
}
NAME = "this file"
LEVEL = 384
"""The long side in pixels below which a held picture is not halved further."""
LOSSY = ("JPEG", "WEBP", "AVIF")


@dataclass(frozen=True)
class Options:
    """The options for a picture.

    strength: 0 to 1.5;  format: None for the picture's own;  quality: 1 to 100 for JPEG, WebP and AVIF
    map: a drawing of its haze, as PNG, instead of the picture
    region: only that part, with exactly the pixels of the whole result;  scale: of the size in both directions
    """

    strength: float = 1.0
    format: Format | None = None
    quality: int | None = None
    map: Map | None = None
    region: Region | None = None
    scale: float = 1.0

    @property
    def is_whole(self) -> bool:
        """Whether all pixels of the picture are wanted."""
        return self.region is None and self.scale == 1


def dehazed(dehazer: Dehazer, data: bytes, pixels: int, options: Options) -> Answer:
    """The picture's file without its haze, or the map's. Raises ImageError, UsageError."""
    picture = images.read(data, max_pixels=pixels, name=NAME)
    if options.map:
        return _mapped(dehazer.field(picture), picture.pixels.shape[:2], options)
    target = _target(picture, options)
    if not options.is_whole:
        return _encoded(_part(picture, dehazer.field(picture), options), target, options.quality)
    cleared = dehazer.dehaze(picture, strength=options.strength)
    if cleared is picture and target == picture.format and options.quality is None:
        return data, TYPES[target]  # nothing changed: the same file, as in the library
    return _encoded(cleared, target, options.quality)


def transmission(dehazer: Dehazer, data: bytes, pixels: int) -> Answer:
    """The transmission at the picture's size as a 16-bit grey PNG. Raises ImageError."""
    picture = images.read(data, max_pixels=pixels, name=NAME)
    t = dehazer.field(picture).transmission(*picture.pixels.shape[:2])
    return _png(np.asarray(np.rint(t * np.float32(65535)), np.uint16)), TYPES["PNG"]


def described(dehazer: Dehazer, data: bytes, pixels: int) -> Answer:
    """Airlight, density and lattice of a picture as JSON. Raises ImageError."""
    picture = images.read(data, max_pixels=pixels, name=NAME)
    field = dehazer.field(picture)
    found = _haze(picture, field) | {"floor": field.floor, "lattice": np.round(field.lattice.astype(float), 5).tolist()}
    return json.dumps(found).encode(), "application/json"


def _haze(picture: Picture, field: HazeField) -> dict[str, Any]:
    height, width = picture.pixels.shape[:2]
    return {
        "width": width,
        "height": height,
        "airlight": [round(float(value), 5) for value in picture.to_srgb(field.airlight)],
        "density": round(field.density, 5),
        "mean_transmission": round(float(field.lattice.mean()), 5),
        "borders": field.borders(height, width).widths,
    }


# Held pictures: the original file, the haze found in it, and its pixels at full size and repeatedly halved, so that any
# part at any size is read in milliseconds.


@dataclass(frozen=True)
class Held:
    """What is known about a held picture; its `picture` keeps only one pixel."""

    picture: Picture
    field: HazeField
    sizes: list[tuple[int, int]]


def hold(dehazer: Dehazer, folder: Path, pixels: int) -> dict[str, Any]:
    """Prepare the picture in `folder/original` and describe it. Raises ImageError."""
    return _prepared(dehazer, folder, pixels)[1]


def held_part(dehazer: Dehazer, folder: Path, pixels: int, options: Options) -> Answer:
    """What `dehazed` returns, for a held picture. Raises UsageError."""
    if options.is_whole and not options.map:
        return dehazed(dehazer, (folder / "original").read_bytes(), pixels, options)
    if not (folder / "about").exists():
        _prepared(dehazer, folder, pixels)
    held: Held = pickle.loads((folder / "about").read_bytes())
    if options.map:
        return _mapped(held.field, held.sizes[0], options)
    level = _level(held.sizes, options)
    if not (folder / f"pixels{level}.npy").exists():  # deleted to make room
        _prepared(dehazer, folder, pixels)
    colours, alpha = _opened_level(folder, level)
    picture = replace(held.picture, pixels=colours, alpha=alpha, bands=None)
    part = _part(picture, held.field, _at_level(options, held.sizes[0], held.sizes[level]))
    return _encoded(part, _target(picture, options), options.quality)


def _prepared(dehazer: Dehazer, folder: Path, pixels: int) -> tuple[Held, dict[str, Any]]:
    picture = images.read((folder / "original").read_bytes(), max_pixels=pixels, name=NAME)
    field = dehazer.field(picture)
    planes = [plane for plane in (picture.pixels, picture.alpha) if plane is not None]
    sizes = [_saved(folder, 0, planes)]
    while max(sizes[-1]) > 2 * LEVEL:
        planes = [_halved(plane) for plane in planes]
        sizes.append(_saved(folder, len(sizes), planes))
    small = replace(picture, pixels=picture.pixels[:1, :1], alpha=None, bands=None)
    held = Held(small, field, sizes)
    with whole(folder / "about") as file:
        pickle.dump(held, file)
    told = {"format": picture.format.lower(), "transparent": picture.alpha is not None, "notes": list(picture.notes)}
    return held, _haze(picture, field) | told


def _saved(folder: Path, level: int, planes: list[Array]) -> tuple[int, int]:
    for name, plane in zip(("pixels", "alpha"), planes, strict=False):
        with whole(folder / f"{name}{level}.npy") as file:
            np.save(file, plane)
    return planes[0].shape[0], planes[0].shape[1]


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file that appears complete, even if several processes write it at the same time."""
    part = path.with_suffix(f".{secrets.token_hex(4)}.part")
    with part.open("wb") as file:
        yield file
    part.replace(path)


def _opened_level(folder: Path, level: int) -> tuple[Array, Array | None]:
    alpha = folder / f"alpha{level}.npy"
    pixels = np.load(folder / f"pixels{level}.npy", mmap_mode="r")
    return pixels, np.load(alpha, mmap_mode="r") if alpha.exists() else None


def _level(sizes: list[tuple[int, int]], options: Options) -> int:
    """The smallest level that has enough pixels for what is wanted."""
    return max(level for level, size in enumerate(sizes) if max(size) >= 0.99 * options.scale * max(sizes[0]))


def _at_level(options: Options, full: tuple[int, int], size: tuple[int, int]) -> Options:
    """The same part of the picture in the pixels of a smaller copy of it."""
    if full == size:
        return options
    down, across = size[0] / full[0], size[1] / full[1]
    region = options.region or (0, 0, full[1], full[0])
    _check(region, full)
    x0, y0 = int(region[0] * across), int(region[1] * down)
    x1, y1 = min(size[1], max(x0 + 1, round(region[2] * across))), min(size[0], max(y0 + 1, round(region[3] * down)))
    scale = min(1.0, options.scale * full[1] / size[1])
    return replace(options, region=(x0, y0, x1, y1), scale=scale)


# Parts and sizes


def _part(picture: Picture, field: HazeField, options: Options) -> Picture:
    """A part of the dehazed picture, with exactly the pixels of the whole result, then scaled down."""
    full = picture.pixels.shape[0], picture.pixels.shape[1]
    region = options.region or (0, 0, full[1], full[0])
    _check(region, full)
    x0, y0, x1, y1 = region
    cut = np.ascontiguousarray(picture.pixels[y0:y1, x0:x1])
    cleared = field.apply(cut, strength=options.strength, region=region, full=full)
    size = max(1, round((y1 - y0) * options.scale)), max(1, round((x1 - x0) * options.scale))
    alpha = None if picture.alpha is None else _sized(picture.alpha[y0:y1, x0:x1], size)
    info = picture.info.of_pixels()  # the rest describes the whole photograph
    return replace(picture, pixels=_sized(cleared, size), alpha=alpha, info=info, bands=None)


def _check(region: Region, full: tuple[int, int]) -> None:
    x0, y0, x1, y1 = region
    if not (0 <= x0 < x1 <= full[1] and 0 <= y0 < y1 <= full[0]):
        raise UsageError(
            f"region {x0},{y0},{x1},{y1} is not within the picture of {full[1]} x {full[0]} pixels; "
            "expected x0,y0,x1,y1"
        )


def _sized(plane: Array, size: tuple[int, int]) -> Array:
    """A picture or a plane at (height, width), averaged."""
    if plane.shape[:2] == size:
        return np.ascontiguousarray(plane)
    if plane.dtype == np.uint8:
        return np.asarray(Image.fromarray(plane).resize(size[::-1], Image.Resampling.BOX))
    channels = plane[..., None] if plane.ndim == 2 else plane
    bands = [
        np.asarray(Image.fromarray(channels[..., c].astype(np.float32)).resize(size[::-1], Image.Resampling.BOX))
        for c in range(channels.shape[2])
    ]
    averaged: Array = np.rint(np.stack(bands, axis=2)).astype(plane.dtype)
    return averaged.reshape(*size, *plane.shape[2:])


def _halved(plane: Array) -> Array:
    if plane.dtype == np.uint8:
        height, width = plane.shape[:2]
        return _sized(plane, (max(1, height // 2), max(1, width // 2)))
    small = reduce(plane if plane.ndim == 3 else plane[..., None], 2, 2)
    return np.asarray(np.rint(small * peak(plane)), plane.dtype).reshape(*small.shape[:2], *plane.shape[2:])


def _mapped(field: HazeField, full: tuple[int, ...], options: Options) -> Answer:
    if options.map is None:
        raise UsageError("no map was requested")
    size = [max(1, round(side * options.scale)) for side in full[:2]]
    return _png(field.preview(size[0], size[1], kind=options.map)), TYPES["PNG"]


# Files


def _target(picture: Picture, options: Options) -> str:
    own = images.READ_ONLY.get(picture.format, picture.format)
    target = options.format.upper() if options.format else own
    if options.quality is not None and target not in LOSSY:
        raise UsageError(f"{target} is lossless and has no quality; leave it out, or use format=jpeg")
    return target


def _encoded(picture: Picture, target: str, quality: int | None) -> Answer:
    return images.encode(picture, target, quality=quality), TYPES[target]


def _png(pixels: Array) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
