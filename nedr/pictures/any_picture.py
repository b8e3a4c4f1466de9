"""Anything that holds a picture, unpacked to plain arrays and packed again as what it was: type in, type out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from nedr.errors import ImageError, UsageError
from nedr.pictures import arrays as pixels
from nedr.pictures.arrays import Array

if TYPE_CHECKING:
    from nedr.pictures.images import Picture


_ORIENTATION = 0x0112  # EXIF's tag


@dataclass(frozen=True)
class Unpacked:
    """pictures: checked arrays (one, or several for a batch);  icc: the profile of their colours, None for sRGB;
    repack: arrays of the same shapes and types -> what the caller handed in.
    """

    pictures: list[Array]
    repack: Callable[[Sequence[Array]], Any]
    icc: bytes | None = None


def unpack(x: Any) -> Unpacked:
    """`x` as arrays: a path, bytes, a binary file, a PIL image, an array, a torch tensor or an images.Picture.

    Raises ImageError that says what is wrong with it, or what was expected.
    """
    if isinstance(x, np.ndarray):
        return Unpacked([pixels.check(np.asarray(x))], lambda cleared: cleared[0])
    if isinstance(x, Image.Image):
        return _from_pil(x)
    if isinstance(x, str | PathLike | bytes | bytearray | memoryview) or hasattr(x, "read"):
        return _from_file(x)
    if type(x).__module__.partition(".")[0] == "torch":
        return _from_tensor(x)
    from nedr.pictures.images import Picture

    if isinstance(x, Picture):
        return _from_picture(x, lambda picture: picture)
    raise ImageError(
        "expected a picture as a path, bytes, a binary file, a PIL image, a numpy array or a torch tensor, "
        f"found {type(x).__name__}"
    )


def in_order(x: Any, order: str, work: Callable[[Any], Any]) -> Any:
    """What `work` makes of the RGB array or tensor that `x` is in another order of its channels, in that order again.

    Raises UsageError for an order that is not "bgr", and for anything but an array or tensor: a file states its own.
    """
    is_tensor = type(x).__module__.partition(".")[0] == "torch"
    if order != "bgr" or not (is_tensor or isinstance(x, np.ndarray)):
        raise UsageError(f"expected the order 'rgb', or 'bgr' for an array or tensor, found {order!r} for {type(x)}")
    axis = -3 if is_tensor else 2
    if x.ndim <= 2 or x.shape[axis] not in (3, 4):
        raise UsageError(f"expected 3 or 4 channels in the order 'bgr', found shape {tuple(x.shape)}")
    turned = [2, 1, 0, 3][: x.shape[axis]]

    def swapped(channels: Any) -> Any:
        return channels[..., turned, :, :] if is_tensor else np.ascontiguousarray(channels[..., turned])

    return swapped(work(swapped(x)))


def _from_file(x: Any) -> Unpacked:
    """A path comes back as a PIL image, bytes and files as bytes of the same format."""
    from nedr.pictures import images

    if isinstance(x, str | PathLike):
        return _from_picture(images.read(x), _as_pil)
    data = bytes(x) if isinstance(x, bytes | bytearray | memoryview) else x.read()
    if not isinstance(data, bytes):
        raise ImageError(f"expected a file opened in binary mode, found one that reads {type(data).__name__}")
    picture = images.read(data)
    return _from_picture(picture, lambda result: data if result is picture else images.encode(result))


def _from_picture(picture: "Picture", repack: Callable[["Picture"], Any]) -> Unpacked:
    def cleared(arrays: Sequence[Array]) -> Any:
        # What did not change is handed back as it was: a file keeps its very bytes.
        same = np.array_equal(arrays[0], picture.pixels)
        return repack(picture if same else replace(picture, pixels=arrays[0]))

    return Unpacked([pixels.check(picture.pixels)], cleared, picture.info.icc)


def _as_pil(picture: "Picture") -> Image.Image:
    """A picture as PIL holds it; of 16-bit colour, for which PIL has no mode, rounded to 8 bits."""
    planes, alpha = picture.pixels, picture.alpha
    if planes.dtype == np.uint16 and (planes.ndim == 3 or alpha is not None):
        planes, alpha = pixels.eight_bits(planes), None if alpha is None else pixels.eight_bits(alpha)
    if alpha is not None:
        planes = np.dstack([planes, alpha])
    image = Image.fromarray(planes)
    kept = {"icc_profile": picture.info.icc, "exif": picture.info.exif, "dpi": picture.info.dpi}
    image.info.update({name: value for name, value in kept.items() if value is not None})
    return image


def _from_pil(image: Image.Image) -> Unpacked:
    """A PIL image, turned upright as its EXIF says, and turned back at the end."""
    image.load()  # which turns a TIFF upright
    lies = image.getexif().get(_ORIENTATION, 1)
    planes, rebuild = _planes(image)

    def repack(cleared: Sequence[Array]) -> Image.Image:
        result = pixels.lying(cleared[0], lies)
        if np.array_equal(result, planes):
            return image.copy()
        rebuilt = rebuild(result)
        kept = {key: value for key, value in image.info.items() if (key, image.mode) != ("transparency", "P")}
        rebuilt.info.update(kept)
        return rebuilt

    icc = image.info.get("icc_profile")
    seen = pixels.check(pixels.upright(planes, lies))
    return Unpacked([seen], repack, icc if isinstance(icc, bytes) else None)


def _planes(image: Image.Image) -> tuple[Array, Callable[[Array], Image.Image]]:
    """A PIL image's pixels in a shape that `check` accepts, and the way back to its mode."""
    mode = image.mode
    if mode in ("L", "RGB") and image.info.get("transparency") is not None:
        return _with_key(np.asarray(image), image.info["transparency"])
    if mode in ("L", "RGB", "RGBA", "F"):
        return np.asarray(image), Image.fromarray
    if mode == "LA":
        both = np.asarray(image)
        return both[:, :, 0], lambda grey: Image.fromarray(np.dstack([grey, both[:, :, 1]]))
    if mode.startswith("I;16"):
        own = np.asarray(image)
        return own.astype(np.uint16), lambda grey: Image.fromarray(grey.astype(own.dtype))
    if mode == "I":
        return _from_int32(np.asarray(image))
    work = "L" if mode == "1" else "RGBA" if image.has_transparency_data else "RGB"
    return np.asarray(image.convert(work)), lambda planes: _to_mode(Image.fromarray(planes), mode)


def _from_int32(values: Array) -> tuple[Array, Callable[[Array], Image.Image]]:
    """Mode I holds 16-bit pictures in 32-bit integers."""
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise ImageError(f"expected mode I within 0 to 65535, found {values.min()} to {values.max()}")
    return values.astype(np.uint16), lambda grey: Image.fromarray(grey.astype(np.int32))


def _with_key(planes: Array, key: Any) -> tuple[Array, Callable[[Array], Image.Image]]:
    """Pixels with one colour that means transparent: it stays in place, and no other pixel takes it on."""

    def is_key(values: Array) -> Array:
        return np.asarray((np.atleast_3d(values) == np.asarray(key)).all(axis=2))

    transparent = is_key(planes)

    def rebuilt(values: Array) -> Image.Image:
        values = values.copy()
        values[is_key(values)] ^= 1
        values[transparent] = key
        return Image.fromarray(values)

    return planes, rebuilt


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode != "P":
        return image.convert(mode)
    samples = np.asarray(image)
    if image.mode == "RGBA" and not np.isin(samples[..., 3], (0, 255)).all():
        return image.quantize(256, Image.Quantize.FASTOCTREE)
    from nedr.pictures.encoders import paletted

    return paletted(samples)


def _from_tensor(x: Any) -> Unpacked:
    """A torch tensor (C, H, W) or (N, C, H, W), with 1, 3 or 4 channels; torch itself is never imported."""
    if x.ndim not in (3, 4) or x.shape[-3] not in (1, 3, 4):
        raise ImageError(f"expected a tensor of shape (C, H, W) or (N, C, H, W), C 1, 3 or 4, found {tuple(x.shape)}")
    held = x.detach().cpu()
    if str(held.dtype) in ("torch.float16", "torch.bfloat16"):
        held = held.float()
    batch = np.moveaxis(held.numpy(), -3, -1)
    parts = [batch] if x.ndim == 3 else list(batch)

    def repack(cleared: Sequence[Array]) -> Any:
        planes = [np.moveaxis(part, -1, 0) for part in cleared]
        return x.new_tensor(planes[0] if x.ndim == 3 else np.stack(planes))

    if not parts:
        raise ImageError("expected at least one picture in the batch, found none")
    return Unpacked([pixels.check(part) for part in parts], repack)
