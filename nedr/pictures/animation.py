"""Moving pictures: animated GIF, PNG, WebP and AVIF to frames and back, with their times and repetitions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageSequence

from nedr.errors import ImageError
from nedr.pictures import images, png
from nedr.pictures.encoders import QUALITY, paletted

Frame = NDArray[np.uint8]
"""(H, W, 3) RGB, or (H, W, 4) with alpha."""

FORMATS = ("GIF", "PNG", "WEBP", "AVIF")
"""What can be read and written, as `nedr.pictures.images.Picture` calls the formats."""


@dataclass(frozen=True)
class Animation:
    """A moving picture; its frames are decoded again by every loop over it.

    Attributes:
        format: one of `FORMATS`.
        durations: of each frame in milliseconds.
        loop: how many times it plays, 0 for endlessly, None where the file does not say.
        carried: profile, EXIF, XMP and comment, as Pillow takes them.
        has_alpha: whether frames have an alpha channel.
        data: the file.
    """

    format: str
    durations: tuple[float, ...]
    loop: int | None
    has_alpha: bool
    data: bytes = field(repr=False)
    carried: dict[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Frame]:
        """The frames as they are shown. Raises ImageError where the file is damaged."""
        mode = "RGBA" if self.has_alpha else "RGB"
        with images.explained("the animation", f"damaged or truncated {self.format}, expected a whole file"):
            for image in ImageSequence.Iterator(_open(self.data, self.format)):
                yield np.asarray(image.convert(mode))


def read(data: bytes, *, name: str = "the input", max_pixels: int = images.MAX_PIXELS) -> Animation | None:
    """The animation in a file's bytes; None where it is a single picture, or nothing that moves.

    Raises ImageError for one that is damaged or has more than `max_pixels` pixels in all its frames.
    """
    kind = images.detected(data)
    if kind not in FORMATS:
        return None
    with images.explained(name, f"damaged or truncated {kind}, expected a whole file"):
        image = _open(data, kind)
        count = getattr(image, "n_frames", 1)
        if count < 2:
            return None
        if count * image.width * image.height > max_pixels:
            raise ImageError(
                f"{count} frames of {image.width} x {image.height} found, expected at most {max_pixels / 1e6:g} "
                "megapixels in all; make it shorter or smaller"
            )
        loop, carried = image.info.get("loop"), _carried(image)
        frames = [(frame.info.get("duration", 100), frame.has_transparency_data) for frame in _loaded(image)]
    durations = tuple(float(duration) for duration, _ in frames)
    return Animation(kind, durations, loop, any(alpha for _, alpha in frames), data, carried)


def _open(data: bytes, kind: str) -> ImageFile.ImageFile:
    return Image.open(BytesIO(png.without_texts(data) if kind == "PNG" else data), formats=[kind])


def _loaded(image: ImageFile.ImageFile) -> Iterator[Image.Image]:
    for frame in ImageSequence.Iterator(image):
        frame.load()
        yield frame


def _carried(image: ImageFile.ImageFile) -> dict[str, Any]:
    names = ("icc_profile", "exif", "xmp", "comment")
    return {name: image.info[name] for name in names if image.info.get(name)}


def encode(frames: Sequence[Frame], like: Animation, format: str | None = None, *, quality: int | None = None) -> bytes:
    """Frames as a file with the times, repetitions and metadata of `like`.

    Neighbouring frames that are equal may become one that is shown for longer. GIF gives each frame 256 colours of its
    own. WebP and AVIF are written at `quality`, 1..100, 92 without it; WebP without loss if `like` was so.

    Raises ImageError for a format that holds no animation.
    """
    target = format or like.format
    if target not in FORMATS:
        raise ImageError(f"{target} holds no animation; expected one of {', '.join(FORMATS)}")
    first, *others = [paletted(frame) if target == "GIF" else Image.fromarray(frame) for frame in frames]
    options: dict[str, Any] = {**_held(like, target), **_compression(like, target, quality)}
    options["duration"] = [round(duration) for duration in like.durations]
    if like.loop is not None:
        options["loop"] = like.loop
    with images.explained("the animation", f"cannot be written as {target}"):
        first.save(file := BytesIO(), target, save_all=True, append_images=others, **options)
    return png.with_chunks(file.getvalue(), _chunks(like)) if target == "PNG" else file.getvalue()


def _held(like: Animation, target: str) -> dict[str, Any]:
    names = {"GIF": ("comment",), "PNG": ()}.get(target, ("icc_profile", "exif", "xmp"))
    return {name: like.carried[name] for name in names if name in like.carried}


def _compression(like: Animation, target: str, quality: int | None) -> dict[str, Any]:
    if target == "GIF":
        return {"disposal": 2} if like.has_alpha else {}
    if target == "PNG":
        return {}
    if target == "WEBP" and quality is None and like.format == "WEBP" and b"VP8L" in like.data:
        return {"lossless": True, "exact": True}
    return {"quality": quality or QUALITY}


def _chunks(like: Animation) -> list[png.Chunk]:
    if like.format == "PNG":
        found = png.carried(like.data)
        exif = like.carried.get("exif", b"").removeprefix(b"Exif\0\0") or found.exif
        return [*png.described(icc=found.icc, exif=exif, xmp=found.xmp), *found.kept]
    exif = like.carried.get("exif", b"").removeprefix(b"Exif\0\0")
    return list(png.described(icc=like.carried.get("icc_profile"), exif=exif, xmp=like.carried.get("xmp")))
