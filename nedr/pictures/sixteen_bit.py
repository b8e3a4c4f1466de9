"""Samples as arrays at their full depth, where Pillow's modes keep 8 bits: 16-bit colour PNG and TIFF, and netpbm.

Reading. Pillow decodes every layout of these files (interlacing, filters, tiles, predictors, LZW, Deflate), but its
unpackers keep one byte of each 16-bit sample. They come in pairs, though: of big-endian samples "RGB;16B" keeps the
high bytes and "RGB;16L" the low ones. Decoding twice, once with each, gives all 16 bits at C speed and needs no further
dependency. One core, 6 megapixels of 16-bit RGB: PNG 10, TIFF with LZW 16 megapixels/s. pypng, in pure Python, reads
1.3; tifffile reads no LZW without imagecodecs; imagecodecs (24, but 79 MB installed) and OpenCV (17, 153 MB) are too
big for the core installation.

Writing. A PNG's filters look backwards only at known samples when encoding, so one numpy subtraction and zlib suffice:
files 2 % larger than libpng's. A TIFF's strips do not know what they hold: for LZW, Pillow compresses
the rows as a wide grey picture, and the directory written here calls them colour.
"""

import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from nedr.errors import ImageError

Samples = NDArray[Any]
"""(H, W, C) uint8 or uint16: C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha (not premultiplied)."""

_ZLIB_LEVEL = 3  # level 6 takes up to three times as long and saves 1 to 3 % of a photograph
_STRIP_BYTES = 1 << 18
_PREDICTED = {"tiff_lzw", "tiff_adobe_deflate"}


def is_deep_colour(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Whether `image`, opened from `data` and not yet decoded, has several channels of more than 8 bits."""
    if image.format == "PNG":
        return data[24] == 16 and data[25] in (2, 4, 6)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(258, (1,))) > 8 and image.mode in ("RGB", "RGBA")
    return False


def read_deep_colour(image: ImageFile.ImageFile, data: bytes) -> Samples:
    """The 16-bit samples (H, W, 2 | 3 | 4) of a picture that `is_deep_colour`, in native byte order.

    Raises:
        ImageError: the colours lie in separate planes, which Pillow's unpackers cannot split.
    """
    raw = _raw_mode(image)
    if raw == "LA;16B":  # four bytes a pixel, which the unpacker of 8-bit RGBA hands out untouched
        return _unpacked(image, "RGBA").view(">u2").astype(np.uint16)
    if not raw.endswith((";16B", ";16L", ";16N")) or getattr(image, "tag_v2", {}).get(284) == 2:
        raise ImageError("16-bit colours in separate planes found, expected interleaved channels; save it so")
    premultiplied = raw.startswith("RGBa")  # Pillow would divide each byte on its own
    raw = raw.replace("RGBa", "RGBA")
    again = Image.open(BytesIO(data), formats=[str(image.format)])
    samples = _unpacked(image, raw).astype(np.uint16)
    samples <<= 8
    samples |= _unpacked(again, raw[:-1] + _other_end(raw[-1]))
    return _divided(samples) if premultiplied else samples


def _raw_mode(image: ImageFile.ImageFile) -> str:
    args = image.tile[0].args
    return str(args[0] if isinstance(args, tuple) else args)


def _unpacked(image: ImageFile.ImageFile, raw: str) -> Samples:
    """Decode `image` with another unpacker than Pillow chose."""
    image.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw) for tile in image.tile
    ]
    return np.asarray(image)


def _other_end(end: str) -> str:
    if end == "N":  # native
        return "B" if sys.byteorder == "little" else "L"
    return "L" if end == "B" else "B"


def _divided(samples: Samples) -> Samples:
    """Straight colours from colours premultiplied by alpha."""
    alpha = samples[..., 3:].astype(np.float32)
    colours = samples[..., :3] * (65535 / np.maximum(alpha, 1))
    samples[..., :3] = np.minimum(np.rint(colours), 65535)
    return samples


def read_netpbm(image: ImageFile.ImageFile, data: bytes) -> Samples | None:
    """The samples (H, W, 1 | 3) of a binary PGM or PPM at any depth, scaled to 8 or 16 bits; None for other kinds.

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


def write_netpbm(samples: Samples) -> bytes:
    """A binary PGM or PPM file of samples (H, W, 1 | 3)."""
    height, width, channels = samples.shape
    head = f"P{6 if channels == 3 else 5}\n{width} {height}\n{np.iinfo(samples.dtype).max}\n"
    return head.encode() + samples.astype(samples.dtype.newbyteorder(">")).tobytes()


def write_png(samples: Samples, chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A 16-bit PNG of samples (H, W, C) with `chunks` (type, data) ahead of its pixels."""
    height, width, channels = samples.shape
    header = struct.pack(">2I5B", width, height, 16, (0, 4, 2, 6)[channels - 1], 0, 0, 0)
    pixels = b"".join(_compressed_rows(samples))
    body = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in body)


def _compressed_rows(samples: Samples) -> Iterator[bytes]:
    """The zlib stream of a PNG's rows, each minus the one above it (filter 2, "Up"), a strip at a time."""
    packer = zlib.compressobj(_ZLIB_LEVEL)
    height, stride = len(samples), samples[0].nbytes
    above = np.zeros((1, stride), np.uint8)
    step = _rows_per_strip(stride)
    for start in range(0, height, step):
        rows = samples[start : start + step].astype(">u2").view(np.uint8).reshape(-1, stride)
        filtered = np.full((len(rows), stride + 1), 2, np.uint8)
        np.subtract(rows, np.concatenate([above, rows[:-1]]), out=filtered[:, 1:])
        above = rows[-1:]
        yield packer.compress(filtered.data)
    yield packer.flush()


def _rows_per_strip(stride: int) -> int:
    return max(1, _STRIP_BYTES // stride)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def write_tiff(samples: Samples, compression: str, directory: TiffImagePlugin.ImageFileDirectory_v2) -> bytes:
    """A TIFF of samples (H, W, C), 8 or 16 bit, with `directory`'s tags beside those that describe the pixels.

    Args:
        samples: the picture; an alpha channel is written as such, not premultiplied.
        compression: "raw", "packbits", "tiff_lzw" or "tiff_adobe_deflate"; the last two with horizontal prediction.
        directory: tags of little-endian order, for instance a profile's or EXIF's; changed in place.
    """
    height, width, channels = samples.shape
    if compression in _PREDICTED:
        samples = np.concatenate([samples[:, :1], samples[:, 1:] - samples[:, :-1]], axis=1)
        directory[317] = 2
    code, strips, rows_per_strip = _strips(samples.reshape(height, -1), compression)
    ends = np.cumsum([len(strip) for strip in strips]).tolist()
    described = {256: width, 257: height, 258: (samples.itemsize * 8,) * channels, 259: code, 277: channels, 284: 1}
    described |= {262: 2 if channels >= 3 else 1, 278: rows_per_strip, 339: (1,) * channels}
    described |= {273: (0, *ends[:-1]), 279: tuple(len(strip) for strip in strips)}
    if channels in (2, 4):
        described[338] = 2
    for tag, value in described.items():
        directory[tag] = value
    file = BytesIO()
    directory.save(file)  # it moves the strips' offsets behind the directory
    return file.getvalue() + b"".join(strips)


def _strips(rows: Samples, compression: str) -> tuple[int, list[bytes], int]:
    """TIFF's number of the compression, the compressed strips of `rows` (H, W * C), and the rows in each."""
    little = rows.astype(rows.dtype.newbyteorder("<"), copy=False)
    if compression == "raw":
        return 1, [little.tobytes()], len(rows)
    if compression == "tiff_adobe_deflate":
        step = _rows_per_strip(rows[0].nbytes)
        starts = range(0, len(rows), step)
        return 8, [zlib.compress(little[at : at + step].tobytes(), _ZLIB_LEVEL) for at in starts], step
    file = BytesIO()
    Image.fromarray(little).save(file, "TIFF", compression=compression, strip_size=max(_STRIP_BYTES, rows[0].nbytes))
    packed = file.getvalue()
    with Image.open(file, formats=["TIFF"]) as image:
        tags = getattr(image, "tag_v2")  # noqa: B009  (absent from the type that `open` declares)
        places = zip(tags[273], tags[279], strict=True)
        return tags[259], [packed[start : start + count] for start, count in places], tags[278]
