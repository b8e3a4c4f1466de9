"""Colour profiles (ICC): between a picture's own space and sRGB, with Pillow's LittleCMS."""

from functools import lru_cache
from io import BytesIO
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_INTENT: dict[str, Any] = {
    "renderingIntent": ImageCms.Intent.RELATIVE_COLORIMETRIC,
    "flags": ImageCms.Flags.BLACKPOINTCOMPENSATION,
}


def is_usable(icc: bytes) -> bool:
    """Whether `icc` is a profile of RGB or grey colours that can be read."""
    return _transform(icc, False) is not None


def convert(values: NDArray[Any], icc: bytes | None, *, grey: bool, inverse: bool = False) -> NDArray[Any]:
    """Colours in the space of `icc` to sRGB, or back with `inverse`; unchanged without a (readable) profile.

    Relative colorimetric with black point compensation, by LittleCMS at 8 bits; between its 256 levels a channel is
    interpolated, so 16-bit and float colours move continuously, within about 1/255 of the exact conversion.

    Args:
        values: (..., 3) RGB, or any shape when `grey`; uint8, uint16, or floats in [0, 1].
        icc: the profile, None for sRGB.
        grey: whether `values` are grey levels, each converted on its own.
        inverse: from sRGB to the profile's space.
    """
    found = _transform(icc, inverse) if icc else None
    if found is None or (found[1] == "L" and not grey):
        return values
    transform, model = found
    if values.dtype == np.uint8 and not grey:
        return _converted(values, transform)
    top = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1
    levels = np.clip(values.astype(np.float32) * np.float32(255 / top), 0, 255)
    result = _grey_levels(levels, transform, model, inverse) if grey else _between_levels(levels, transform)
    result *= top / 255
    return (np.rint(result) if values.dtype.kind == "u" else result).astype(values.dtype)


@lru_cache(maxsize=16)
def _transform(icc: bytes, inverse: bool) -> tuple[ImageCms.ImageCmsTransform, str] | None:
    """The conversion between a profile and sRGB with the profile's Pillow mode, or None if it cannot be used."""
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(icc))
        model = {"RGB ": "RGB", "GRAY": "L"}[own.profile.xcolor_space]
        srgb = ImageCms.createProfile("sRGB")
        ends = (srgb, own, "RGB", model) if inverse else (own, srgb, model, "RGB")
        return ImageCms.buildTransform(*ends, **_INTENT), model
    except (ImageCms.PyCMSError, KeyError, OSError, TypeError, ValueError):
        return None


def _converted(values: NDArray[np.uint8], transform: ImageCms.ImageCmsTransform) -> NDArray[np.uint8]:
    flat = np.ascontiguousarray(values).reshape(-1, 1, 3) if values.ndim != 3 else np.ascontiguousarray(values)
    result = ImageCms.applyTransform(Image.fromarray(flat), transform)
    assert result is not None  # it is only with inPlace
    return np.asarray(result).reshape(values.shape)


def _between_levels(levels: NDArray[np.float32], transform: ImageCms.ImageCmsTransform) -> NDArray[np.float32]:
    """Trilinear interpolation of the conversion between the whole levels around each colour."""
    low = np.floor(np.minimum(levels, 254)).astype(np.uint8)
    share = levels - low
    result = np.zeros_like(levels)
    for corner in product((0, 1), repeat=3):
        step = np.array(corner, np.uint8)
        weight = np.where(step, share, 1 - share).prod(axis=-1, keepdims=True)
        result += weight * _converted(low + step, transform)
    return result


def _grey_levels(
    levels: NDArray[np.float32], transform: ImageCms.ImageCmsTransform, model: str, inverse: bool
) -> NDArray[np.float32]:
    """The conversion of grey levels, read off a ramp: the green channel where a profile gives colours."""
    ramp = np.arange(256, dtype=np.uint8)[None]
    source = ramp if model == "L" and not inverse else np.stack([ramp] * 3, axis=-1)
    result = ImageCms.applyTransform(Image.fromarray(source), transform)
    assert result is not None  # it is only with inPlace
    table = np.asarray(result)[0]
    greys = table if table.ndim == 1 else table[:, 1]
    return np.asarray(np.interp(levels, ramp[0], greys), np.float32)


def cmyk_to_srgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, str]:
    """A CMYK picture as sRGB, through its profile if it has one that can be read, and a note that says which way."""
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(icc or b""))
        result = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB", **_INTENT)
        assert result is not None  # it is only with inPlace
        return result, "CMYK converted to sRGB through its colour profile"
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return image.convert("RGB"), "CMYK without a usable colour profile converted to RGB by its plain formula"
