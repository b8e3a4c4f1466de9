"""PNG: chunks as they lie in the file, texts however long, and 16-bit colours at their full depth.

Reading. Pillow decodes every layout (interlacing, filters), but its unpackers keep one byte of each 16-bit sample. They
come in pairs, though: "RGB;16B" keeps the high bytes and "RGB;16L" the low ones. Decoding twice, once with each, gives
all 16 bits at C speed and needs no further dependency: 10 megapixels/s on one core, where pypng, in pure Python, reads
1.3. Texts and profiles, which Pillow takes only up to 1 MB, are taken out before Pillow sees the file.

Writing. A PNG's filters look backwards only at known samples when encoding, so one numpy subtraction and zlib suffice:
files 2 % larger than libpng's.
"""

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

Samples = NDArray[Any]
"""(H, W, C) uint8 or uint16: C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha (not premultiplied)."""
Chunk = tuple[bytes, bytes]
"""A chunk's type and data."""

MOST_TEXT = 1 << 26
"""How much XMP, profile and EXIF is unpacked, in bytes all together."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_COLOURS = {b"cHRM", b"cICP", b"gAMA", b"sRGB", b"mDCV", b"cLLI", b"mDCv", b"cLLi"}
_RESOLUTION = b"pHYs"
# Rewritten, or of no meaning once pixels have changed.
_REPLACED = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf", b"iCCP", b"tIME", b"bKGD", b"hIST", b"sBIT", b"sPLT"}
_REPLACED |= {b"acTL", b"fcTL", b"fdAT", b"iDOT", b"CgBI"}
_XMP_NAME = b"XML:com.adobe.xmp"
_RAW_NAME = b"Raw profile type "  # how ImageMagick writes EXIF and XMP

_LONG_XMP = 1 << 18  # a packet is there to be found and read without unpacking, unless it is very long
_ZLIB_LEVEL = 3  # level 6 takes up to three times as long and saves 1 to 3 % of a photograph
_STRIP_BYTES = 1 << 18


@dataclass
class Carried:
    """What a PNG carries besides pixels.

    icc, xmp, exif: as in `nedr.pictures.metadata.Metadata`, None where absent
    kept: the chunks that stay as they are: texts, resolution, colours, and others that are safe to copy
    texts: what the texts are called;  notes: what is left out, one sentence each
    room: how many bytes more may be unpacked
    """

    icc: bytes | None = None
    xmp: bytes | None = None
    exif: bytes | None = None
    kept: list[Chunk] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    room: int = MOST_TEXT


def chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a PNG, as far as they go, up to its end."""
    at, kind = len(_SIGNATURE), b""
    while at + 8 <= len(data) and kind != b"IEND":
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + 8 + size]
        at += 12 + size


def without_texts(data: bytes) -> bytes:
    """A PNG without the chunks that `carried` reads, all else byte for byte."""
    parts, at = [data[: len(_SIGNATURE)]], len(_SIGNATURE)
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind not in _TEXTS and kind != b"iCCP":
            parts.append(data[at : at + 12 + size])
        at += 12 + size
    return b"".join(parts)


def carried(data: bytes) -> Carried:
    """What a PNG carries besides pixels; what cannot be unpacked becomes a note."""
    found = Carried(room=MOST_TEXT)
    for kind, body in chunks(data):
        if kind == b"iCCP":
            found.icc = _unpacked_or_noted(body.partition(b"\0")[2][1:], "colour profile", found)
        elif kind in _TEXTS:
            _take_text(kind, body, found)
        elif not kind.isalpha() or kind in _REPLACED:
            continue
        elif kind in _COLOURS or kind == _RESOLUTION or kind[3:].islower():
            found.kept.append((kind, body))
        else:
            found.notes.append(f"chunk {kind.decode()} left out, which may not fit the changed picture")
    return found


def _take_text(kind: bytes, body: bytes, found: Carried) -> None:
    name, _, rest = body.partition(b"\0")
    if name == _XMP_NAME and kind == b"iTXt":
        is_packed, packet = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
        found.xmp = _unpacked_or_noted(packet, "XMP", found) if is_packed else packet or None
    elif name in (_RAW_NAME + b"exif", _RAW_NAME + b"APP1"):
        text = _unpacked_or_noted(rest[1:], "EXIF", found) if kind == b"zTXt" else rest
        block = _from_hex(text or b"")
        found.exif = block[6:] if block.startswith(b"Exif\0\0") else found.exif
    elif name != _RAW_NAME + b"xmp":
        found.kept.append((kind, body))
        found.texts.append(name.decode("latin-1"))


def _unpacked_or_noted(packed: bytes, name: str, found: Carried) -> bytes | None:
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, max(1, found.room))
    except zlib.error:
        found.notes.append(f"damaged {name} left out")
        return None
    found.room -= len(data)
    if unpacker.unconsumed_tail:
        found.notes.append(f"{name} left out, since metadata of over {MOST_TEXT >> 20} MB are not read")
        return None
    return data or None


def _from_hex(text: bytes) -> bytes:
    """The bytes of a raw profile: a name and a length, each on a line, then hexadecimal digits."""
    digits = re.sub(rb"\s", b"", b"".join(text.split(b"\n")[3:]))
    return bytes.fromhex(digits.decode("ascii")) if re.fullmatch(rb"(?:[0-9a-fA-F]{2})*", digits) else b""


def bits(data: bytes) -> int:
    """Bits of a pixel, by the header."""
    return data[24] * {2: 3, 4: 2, 6: 4}.get(data[25], 1)


def has_deep_colour(data: bytes) -> bool:
    """Whether a PNG has several channels of 16 bits."""
    return data[24] == 16 and data[25] in (2, 4, 6)


def read_deep_colour(image: ImageFile.ImageFile, data: bytes) -> Samples:
    """The 16-bit samples (H, W, 2 | 3 | 4) of a PNG that `has_deep_colour`, opened and not yet decoded."""
    args = image.tile[0].args
    raw = str(args[0] if isinstance(args, tuple) else args)
    if raw == "LA;16B":  # four bytes a pixel, which the unpacker of 8-bit RGBA hands out untouched
        return _unpacked(image, "RGBA").view(">u2").astype(np.uint16)
    again = Image.open(BytesIO(data), formats=["PNG"])
    samples = _unpacked(image, raw).astype(np.uint16)
    samples <<= 8
    samples |= _unpacked(again, raw[:-1] + "L")
    return samples


def _unpacked(image: ImageFile.ImageFile, raw: str) -> Samples:
    """Decode `image` with another unpacker than Pillow chose."""
    image.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw) for tile in image.tile
    ]
    return np.asarray(image)


def write(samples: Samples) -> bytes:
    """A 16-bit PNG of samples (H, W, C), without anything else."""
    height, width, channels = samples.shape
    header = struct.pack(">2I5B", width, height, 16, (0, 4, 2, 6)[channels - 1], 0, 0, 0)
    body = [(b"IHDR", header), (b"IDAT", b"".join(_compressed_rows(samples))), (b"IEND", b"")]
    return _SIGNATURE + b"".join(_packed(*chunk) for chunk in body)


def with_chunks(data: bytes, extra: Iterable[Chunk]) -> bytes:
    """A PNG with further chunks behind its header."""
    behind_header = len(_SIGNATURE) + 25
    return data[:behind_header] + b"".join(_packed(*chunk) for chunk in extra) + data[behind_header:]


def described(*, icc: bytes | None, exif: bytes | None, xmp: bytes | None) -> Iterator[Chunk]:
    """The chunks that hold a profile, EXIF and XMP."""
    if icc:
        yield b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc)
    if exif:
        yield b"eXIf", exif
    if xmp:
        is_long = len(xmp) > _LONG_XMP
        yield b"iTXt", _XMP_NAME + (b"\0\1\0\0\0" + zlib.compress(xmp) if is_long else bytes(5) + xmp)


def resolution(dpi: tuple[float, float]) -> Chunk:
    """The chunk that states a resolution, given in dots per inch."""
    across, down = (round(value / 0.0254) for value in dpi)
    return _RESOLUTION, struct.pack(">2IB", across, down, 1)


def _compressed_rows(samples: Samples) -> Iterator[bytes]:
    """The zlib stream of a PNG's rows, each minus the one above it (filter 2, "Up"), a strip at a time."""
    packer = zlib.compressobj(_ZLIB_LEVEL)
    height, stride = len(samples), samples[0].nbytes
    above = np.zeros((1, stride), np.uint8)
    step = max(1, _STRIP_BYTES // stride)
    for start in range(0, height, step):
        rows = samples[start : start + step].astype(">u2").view(np.uint8).reshape(-1, stride)
        filtered = np.full((len(rows), stride + 1), 2, np.uint8)
        np.subtract(rows, np.concatenate([above, rows[:-1]]), out=filtered[:, 1:])
        above = rows[-1:]
        yield packer.compress(filtered.data)
    yield packer.flush()


def _packed(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
