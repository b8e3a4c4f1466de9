"""What counts as a picture in memory: shapes, number types, ranges; shared by everything that takes an array."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nedr.errors import ImageError

Array: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float32]

# ITU-R BT.601 luma, as Pillow and JPEG use it: grey pictures and guides agree with the files they come from.
LUMA = (0.299, 0.587, 0.114)

_PEAKS = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0, "float64": 1.0}


def peak(image: Array) -> float:
    """The value that means white in `image`: 255, 65535 or 1.0. Raises ImageError for any other number type."""
    try:
        return _PEAKS[image.dtype.name]
    except KeyError:
        raise ImageError(
            f"expected pixels of type {', '.join(_PEAKS)}, found {image.dtype.name}; convert the array first"
        ) from None


def check(image: Array) -> Array:
    """`image` itself when it is a picture: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), floats within [0, 1].

    Raises ImageError that names the shape, the number type, or the offending value.
    """
    colour = image.ndim == 3 and image.shape[2] in (1, 3, 4)
    if image.ndim != 2 and not colour:
        raise ImageError(f"expected shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), found {image.shape}")
    if image.size == 0:
        raise ImageError(f"expected at least one pixel, found shape {image.shape}")
    peak(image)
    if image.dtype.kind == "f":
        _check_range(image)
    return image


def _check_range(image: Array) -> None:
    low, high = float(image.min()), float(image.max())  # both are NaN as soon as one pixel is
    if np.isnan(low):
        raise ImageError(f"expected values in [0, 1], found NaN in {int(np.isnan(image).sum())} of {image.size}")
    if low < 0 or high > 1:
        raise ImageError(
            f"expected {image.dtype.name} values in [0, 1], found {low:g} to {high:g}; scale or clip the array first"
        )


def eight_bits(values: Array) -> npt.NDArray[np.uint8]:
    """uint8 or uint16 values rounded to uint8, any shape: 65535 is 255, and halves of a step go up."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8) if values.dtype == np.uint16 else values


def colours(image: Array) -> Array:
    """The colour planes of a checked picture as (H, W, 1) or (H, W, 3), alpha left out; a view, nothing is copied."""
    return image[:, :, None] if image.ndim == 2 else image[:, :, :3]


def luma(image: Array) -> Floats:
    """Luma of a checked picture in [0, 1], float32 (H, W); a grey picture is its own luma."""
    planes = colours(image)
    if planes.shape[2] == 1:
        return np.asarray(planes[:, :, 0], np.float32) / np.float32(peak(image))
    weights = [np.float32(weight / peak(image)) for weight in LUMA]
    total = planes[:, :, 0] * weights[0]
    for c in (1, 2):
        total += planes[:, :, c] * weights[c]
    return np.asarray(total, np.float32)


# EXIF's orientation: exchange rows and columns, then mirror top to bottom, then left to right.
_TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def upright(planes: Array, orientation: int) -> Array:
    """Planes (H, W) or (H, W, C) that lie as EXIF's `orientation` 1..8 says, turned upright; contiguous."""
    transpose, flip, mirror = _TURNS.get(orientation, (False, False, False))
    planes = planes.swapaxes(0, 1) if transpose else planes
    return np.ascontiguousarray(planes[:: -1 if flip else 1, :: -1 if mirror else 1])


def lying(planes: Array, orientation: int) -> Array:
    """The way back from `upright`."""
    transpose, flip, mirror = _TURNS.get(orientation, (False, False, False))
    planes = planes[:: -1 if flip else 1, :: -1 if mirror else 1]
    return np.ascontiguousarray(planes.swapaxes(0, 1) if transpose else planes)
