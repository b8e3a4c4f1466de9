"""Binary netpbm (PGM, PPM) at any depth; Pillow reads the text kinds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

from nedr.errors import ImageError

Samples = NDArray[Any]
"""(H, W, 1 | 3) uint8 or uint16."""


def read(image: ImageFile.ImageFile, data: bytes) -> Samples | None:
    """The samples of an opened binary PGM or PPM, scaled to 8 or 16 bits; None for other kinds.

    Pillow reads depths other than 255 sample by sample in Python, and colours of more than 8 bits as 8.
    """
    if data[:2] not in (b"P5", b"P6"):
        return None
    args = image.tile[0].args
    highest = int(args[1]) if isinstance(args, tuple) else (65535 if args == "I;16B" else 255)
    shape = (image.height, image.width, 3 if data[:2] == b"P6" else 1)
    kind = np.dtype(">u2" if highest > 255 else "u1")
    count = shape[0] * shape[1] * shape[2]
    if len(data) - image.tile[0].offset < count * kind.itemsize:
        raise ImageError("truncated, the file ends before its last row; copy it again")
    samples = np.frombuffer(data, kind, count, image.tile[0].offset).reshape(shape).astype(kind.newbyteorder("="))
    return scaled(samples, highest)


def scaled(samples: Samples, highest: int) -> Samples:
    """Samples in 0..`highest`, rescaled to the whole range of their type."""
    top = int(np.iinfo(samples.dtype).max)
    if highest == top:
        return samples
    table = np.minimum((np.arange(top + 1, dtype=np.uint64) * top + highest // 2) // highest, top)
    return table.astype(samples.dtype)[samples]


def write(samples: Samples) -> bytes:
    """A binary PGM or PPM file."""
    height, width, channels = samples.shape
    head = f"P{6 if channels == 3 else 5}\n{width} {height}\n{np.iinfo(samples.dtype).max}\n"
    return head.encode() + samples.astype(samples.dtype.newbyteorder(">")).tobytes()
