"""Training pictures in one small file: WebP of one square size, with their depth, for short-lived machines.

    >>> write("data.npz", sources(config, paths), side=256)
    >>> pack = read("data.npz", torch.device("cuda"))

A view is a region of a picture scaled to the view's size, whatever its shape, so nothing is lost by storing every
picture as a square.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nedr.errors import NedrError, UsageError
from nedr.inference.view import averaged
from nedr.pictures import atomic
from nedr.training.config import Paths, TrainConfig
from nedr.training.data import Label, depth_pairs, held_out, list_images, read_depth, read_rgb, sky_and_distance
from nedr.training.synthesis import Array, procedural_depth

VERSION = 1
SIDE = 256
LIMIT = 25_000_000  # bytes
QUALITIES = (85, 75, 65, 55, 45, 35, 25)
DEPTH_QUALITY = 60
SAMPLED = 16  # every n-th picture, from which the size of all is predicted
WHOLE = (0.0, 0.0, 1.0, 1.0)
STREAMS = ("pictures", "depths", "fars", "skies")

Planes = NDArray[np.uint8]


class Source(NamedTuple):
    """A picture to pack, with a file of measured depth, or a label of distance and sky, or neither."""

    picture: Path
    depth: Path | None
    label: Label | None


@dataclass(frozen=True)
class Pack:
    """Decoded pictures on a device, all uint8 and square.

    pictures (N, 3, S, S); depths (N, 1, D, D), measured or drawn once; fars and skies (N, 1, D, D), zeros for pictures
    without labels; measured (N,) bool; trust (N,) in [0, 1], how far a label's distance can be trusted, below 0
    without a label.
    """

    pictures: Tensor
    depths: Tensor
    fars: Tensor
    skies: Tensor
    measured: Tensor
    trust: Tensor


def sources(config: TrainConfig, paths: Paths) -> list[Source]:
    """The pictures that a warm-up run would learn from. Raises UsageError if there are none."""
    labels = sky_and_distance(paths.labels) if paths.labels else {}
    clear = list_images(paths.clear, config.data.exclude) if paths.clear else []
    found = [Source(p, None, labels.get(p.stem)) for p in clear if not held_out(p, config.data.holdout)]
    found += [Source(p, depth, None) for p, depth in (depth_pairs(paths.depth) if paths.depth else [])]
    if not found:
        raise UsageError("expected clear pictures or pictures with measured depth, found neither")
    return found


def write(
    target: Path,
    pictures: Sequence[Source],
    *,
    side: int = SIDE,
    limit: int = LIMIT,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Pack pictures into a file of at most `limit` bytes; return the WebP quality that allows it.

    Raises UsageError when no quality does, or for an existing target.
    """
    for quality in QUALITIES[QUALITIES.index(_quality(pictures, side, limit)) :]:
        data = _packed(pictures, side, quality, progress)
        if len(data) <= limit:
            atomic.write(target, data, overwrite=overwrite)
            return quality
    raise UsageError(f"{len(pictures)} pictures take {len(data):,} bytes: expected at most {limit:,}; pack fewer")


def _packed(pictures: Sequence[Source], side: int, quality: int, progress: Callable[[int, int], None] | None) -> bytes:
    """The file's content."""
    streams: dict[str, list[bytes]] = {name: [] for name in STREAMS}
    for index, source in enumerate(pictures):
        for name, data in zip(STREAMS, _encoded(source, side, quality, index), strict=True):
            streams[name].append(data)
        if progress is not None:
            progress(index + 1, len(pictures))
    arrays: dict[str, Any] = {name: np.frombuffer(b"".join(parts), np.uint8) for name, parts in streams.items()}
    arrays |= {f"{name}_ends": np.cumsum([len(part) for part in parts]) for name, parts in streams.items()}
    arrays["measured"] = np.array([source.depth is not None for source in pictures])
    arrays["trust"] = np.array([source.label.trust if source.label else -1.0 for source in pictures], np.float32)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays | {"version": np.array(VERSION)})
    return buffer.getvalue()


def read(file: Path, device: torch.device) -> Pack:
    """The pictures of a file, decoded onto a device. Raises NedrError for any other file."""
    try:
        with np.load(file, allow_pickle=False) as data:
            if int(data["version"]) != VERSION:
                raise ValueError(f"version {int(data['version'])}")
            planes = {name: _decoded(data, name) for name in STREAMS}
            extra = {name: torch.from_numpy(data[name]) for name in ("measured", "trust")}
    except (OSError, ValueError, KeyError) as error:
        raise NedrError(f"{file}: expected pictures packed by `nedr pack`, found {error}") from error
    return Pack(**{name: value.to(device) for name, value in (planes | extra).items()})


def _quality(pictures: Sequence[Source], side: int, limit: int) -> int:
    """The best quality at which all pictures fit, judging by a sample."""
    sample = list(enumerate(pictures))[::SAMPLED]
    for quality in QUALITIES:
        sizes = [sum(map(len, _encoded(source, side, quality, index))) for index, source in sample]
        if np.mean(sizes) * len(pictures) < 0.97 * limit:
            return quality
    raise UsageError(f"{len(pictures)} pictures do not fit into {limit:,} bytes; pack fewer, or smaller ones")


def _encoded(source: Source, side: int, quality: int, index: int) -> Iterator[bytes]:
    """WebP of the picture, its depth, its distance and its sky; nothing for what it lacks."""
    size, half = (side, side), (side // 2, side // 2)
    image = read_rgb(source.picture, WHOLE, size)
    yield _webp(image, quality)
    if source.depth:
        yield _webp(read_depth(source.depth, WHOLE, half), DEPTH_QUALITY)
    else:
        drawn = procedural_depth(averaged(image, *half), np.random.default_rng([index]))
        yield _webp(drawn, DEPTH_QUALITY)
    for plane in (source.label.far, source.label.sky) if source.label else ():
        yield _webp(read_depth(plane, WHOLE, half), DEPTH_QUALITY)
    yield from () if source.label else (b"", b"")


def _webp(values: Array, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((values * 255.0 + 0.5).clip(0, 255).astype(np.uint8)).convert("RGB").save(
        buffer, "WEBP", quality=quality, method=4
    )
    return buffer.getvalue()


def _decoded(data: "np.lib.npyio.NpzFile", name: str) -> Tensor:
    """(N, 3, S, S) of pictures, (N, 1, D, D) of other planes."""
    stream, ends = data[name].tobytes(), data[f"{name}_ends"]
    parts = [stream[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    images = [np.asarray(Image.open(io.BytesIO(part)).convert("RGB")) if part else None for part in parts]
    shape = next((image.shape for image in images if image is not None), (1, 1, 3))
    stack = np.zeros((len(images), *shape), np.uint8)
    for index, image in enumerate(images):
        if image is not None:
            stack[index] = image
    planes = torch.from_numpy(stack).permute(0, 3, 1, 2)
    return planes.contiguous() if name == "pictures" else planes[:, 1:2].contiguous()
