"""What a picture file carries besides pixels: EXIF, XMP, resolution, colour profile, and how it was compressed.

EXIF is kept byte for byte (so maker notes, whose offsets count from the block's start, stay valid); only what the
upright picture would belie is changed in place: the orientation, the two dimensions, and the thumbnail, unlinked.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageFile, JpegImagePlugin, TiffImagePlugin
from PIL.PngImagePlugin import PngImageFile

from nedr.pictures.icc import is_usable

_ORIENTATION, _EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 0x0112, 0x8769, 0x8825, 0xA005
_WIDTH, _HEIGHT = 0xA002, 0xA003
_IPTC, _PHOTOSHOP = 33723, 34377
_INTEGERS = {1: "B", 3: "H", 4: "I"}  # EXIF's integer types as struct knows them

# Tags of a TIFF directory that say how its pixels lie (or hold them: 37724, Photoshop's layers); not EXIF.
_LAYOUT_TAGS = frozenset({*range(254, 267), 273, *range(277, 282), *range(284, 286), 290, 291, 292, 293, 297, 301})
_LAYOUT_TAGS |= {*range(317, 326), 330, *range(332, 348), *range(512, 533), 700, _IPTC, _PHOTOSHOP, 34675, 37724}

_TIFF_COMPRESSIONS = {"raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"}


@dataclass(frozen=True)
class Metadata:
    """What travels with a picture's pixels from file to file.

    Attributes:
        exif: a TIFF-structured block without the "Exif" prefix, GPS included; its orientation says upright.
        icc: the colour profile of the pixels; None means sRGB.
        xmp: the XMP packet.
        dpi: horizontal and vertical resolution in dots per inch.
        saving: how the source's own format stored it (JPEG's quantisation and subsampling, TIFF's compression, PNG's
            texts ...); used when the same format is written again.
    """

    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    saving: Mapping[str, Any] = field(default_factory=dict)


def stated_orientation(image: ImageFile.ImageFile) -> int:
    """EXIF's orientation 1..8 of an opened picture (1 also when there is none, or it is damaged)."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        value = image.tag_v2.get(_ORIENTATION)
        return value if isinstance(value, int) and 1 <= value <= 8 else 1
    exif = _exif_block(image)
    return _orientation(exif) if exif else 1


def collect(image: ImageFile.ImageFile, data: bytes, orientation: int) -> tuple[Metadata, tuple[str, ...]]:
    """The metadata of a decoded picture as it will be once turned upright, and notes on what is damaged.

    Args:
        image: the picture, decoded.
        data: the file it came from.
        orientation: what the file said before decoding, 1..8.
    """
    notes = []
    try:
        exif = _exif_block(image)
    except Exception:  # Pillow's EXIF parser raises nearly anything on hostile bytes
        exif = None
        notes.append("damaged EXIF left out")
    xmp = _xmp(image)
    if xmp and exif and orientation != 1:
        xmp = re.sub(rb"(tiff:Orientation\s*(?:=\s*[\"']|>\s*))\d", rb"\g<1>1", xmp)
    icc = image.info.get("icc_profile") or None
    if icc and image.mode != "CMYK" and not is_usable(icc):
        notes.append("unreadable colour profile: colours taken as sRGB, profile kept")
    # HEIF's reader turns the pixels itself, and then says that EXIF is upright, though not in which direction it was.
    turned = max(orientation, image.info.get("original_orientation") or 1) > 4
    exif = exif and upright_exif(exif, turned=turned)
    return Metadata(exif, icc, xmp, _dpi(image), _saving(image, data)), tuple(notes)


def _exif_block(image: ImageFile.ImageFile) -> bytes | None:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        exif = image.getexif()
        for tag in _LAYOUT_TAGS.intersection(exif):
            del exif[tag]
        return exif.tobytes()[6:] if len(exif) else None
    if "exif" not in image.info and "Raw profile type exif" in image.info:  # how ImageMagick wrote it into PNG
        return image.getexif().tobytes()[6:]
    exif_bytes = image.info.get("exif")
    return re.sub(b"^(Exif\0\0)+", b"", exif_bytes) if exif_bytes else None


def _xmp(image: ImageFile.ImageFile) -> bytes | None:
    # Pillow takes the orientation out of its own copy of a TIFF's.
    value = image.tag_v2.get(700) if isinstance(image, TiffImagePlugin.TiffImageFile) else image.info.get("xmp")
    value = value.encode() if isinstance(value, str) else value
    return value if isinstance(value, bytes) and value else None


def _dpi(image: ImageFile.ImageFile) -> tuple[float, float] | None:
    try:
        x, y = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 1 <= x < 65536 and 1 <= y < 65536 else None


def _saving(image: ImageFile.ImageFile, data: bytes) -> dict[str, Any]:
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        return _jpeg_saving(image)
    if isinstance(image, PngImageFile):
        texts = {
            key: text for key, text in image.text.items() if not key.startswith(("XML:com.adobe.xmp", "Raw profile"))
        }
        return {"texts": texts, "chunks": tuple(_colour_chunks(data))}
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        compression = str(image.info.get("compression"))
        tags = {
            tag: (image.tag_v2.tagtype[tag], image.tag_v2[tag]) for tag in (_IPTC, _PHOTOSHOP) if tag in image.tag_v2
        }
        return {"compression": compression if compression in _TIFF_COMPRESSIONS else "tiff_adobe_deflate", "tags": tags}
    if image.format == "WEBP":
        return {"lossless": b"VP8L" in data[12:16] or (data[12:16] == b"VP8X" and b"VP8 " not in _riff_chunks(data))}
    return {}


def _jpeg_saving(image: JpegImagePlugin.JpegImageFile) -> dict[str, Any]:
    """Quantisation and subsampling as they were, IPTC and extended XMP as whole segments."""
    saving: dict[str, Any] = {"progressive": bool(image.info.get("progressive"))}
    if sorted(image.quantization) == list(range(image.layers))[: len(image.quantization)]:
        saving["qtables"] = [image.quantization[key] for key in sorted(image.quantization)]
    if (subsampling := JpegImagePlugin.get_sampling(image)) >= 0:
        saving["subsampling"] = subsampling
    if image.info.get("comment"):
        saving["comment"] = image.info["comment"]
    segments = [(int(name[3:]), body) for name, body in image.applist if name.startswith("APP")]
    kept = [s for s in segments if s[0] == 13 or s[1].startswith(b"http://ns.adobe.com/xmp/extension/")]
    saving["extra"] = b"".join(struct.pack(">BBH", 0xFF, 0xE0 + number, len(body) + 2) + body for number, body in kept)
    return saving


def _colour_chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks ahead of a PNG's pixels that define its colours without an ICC profile."""
    at = 8
    while at + 8 <= len(png) and (kind := png[at + 4 : at + 8]) != b"IDAT":
        (size,) = struct.unpack_from(">I", png, at)
        if kind in (b"cHRM", b"cICP", b"gAMA", b"sRGB"):
            yield kind, png[at + 8 : at + 8 + size]
        at += 12 + size


def _riff_chunks(webp: bytes) -> set[bytes]:
    kinds, at = set(), 12
    while at + 8 <= len(webp):
        kinds.add(webp[at : at + 4])
        at += 8 + (struct.unpack_from("<I", webp, at + 4)[0] + 1) // 2 * 2
    return kinds


def _entries(exif: bytes, start: int) -> Iterator[tuple[int, int, int]]:
    """(tag, type, offset of the value) of the single-valued entries in the directory at `start`, as far as they go."""
    order = _order(exif)
    if start + 2 > len(exif):
        return
    (count,) = struct.unpack_from(order + "H", exif, start)
    for at in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind, length = struct.unpack_from(order + "HHI", exif, at)
        if length == 1:
            yield tag, kind, at + 8


def _order(exif: bytes) -> str:
    return ">" if exif.startswith(b"MM") else "<"


def _first_directory(exif: bytes) -> int:
    return int(struct.unpack_from(_order(exif) + "I", exif, 4)[0]) if len(exif) >= 8 else len(exif)


def _value(exif: bytes, kind: int, at: int) -> int:
    return int(struct.unpack_from(_order(exif) + _INTEGERS[kind], exif, at)[0]) if kind in _INTEGERS else 0


def _orientation(exif: bytes) -> int:
    for tag, kind, at in _entries(exif, _first_directory(exif)):
        if tag == _ORIENTATION and (value := _value(exif, kind, at)) in range(1, 9):
            return value
    return 1


def upright_exif(exif: bytes, *, turned: bool) -> bytes:
    """`exif` for the upright picture: orientation 1, no thumbnail, dimensions swapped if `turned` by 90 degrees."""
    first = _first_directory(exif)
    block = bytearray(exif)
    order = _order(exif)
    for tag, kind, at in _entries(exif, first):
        if tag == _ORIENTATION and kind in _INTEGERS:
            struct.pack_into(order + _INTEGERS[kind], block, at, 1)
        elif tag == _EXIF_IFD and turned:
            _swap_dimensions(block, _value(exif, kind, at))
    if first + 2 <= len(exif):
        (count,) = struct.unpack_from(order + "H", exif, first)
        following = first + 2 + 12 * count
        block[following : following + 4] = bytes(len(block[following : following + 4]))
    return bytes(block)


def _swap_dimensions(block: bytearray, directory: int) -> None:
    """Exchange the tags of width and height, not their values, whose types may differ."""
    exif = bytes(block)
    for tag, _, at in _entries(exif, directory):
        if tag in (_WIDTH, _HEIGHT):
            other = next(((k, a) for t, k, a in _entries(exif, directory) if t == _WIDTH + _HEIGHT - tag), None)
            if other:
                block[at - 6 : at + 4] = exif[other[1] - 6 : other[1] + 4]


def tiff_directory(info: Metadata) -> TiffImagePlugin.ImageFileDirectory_v2:
    """A little-endian TIFF directory of `info`: EXIF's tags and sub-directories, profile, XMP, resolution, IPTC."""
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    if info.exif:
        exif = Image.Exif()
        exif.load(info.exif)
        for tag in exif:
            directory[tag] = _sub_directory(exif, tag) if tag in (_EXIF_IFD, _GPS_IFD) else exif[tag]
    for tag, (kind, value) in info.saving.get("tags", {}).items():
        directory.tagtype[tag] = kind
        directory[tag] = value
    if info.icc:
        directory[34675] = info.icc
    if info.xmp:
        directory.tagtype[700] = 1
        directory[700] = info.xmp
    if info.dpi:
        directory[282], directory[283], directory[296] = *info.dpi, 2
    return directory


def _sub_directory(exif: Image.Exif, tag: int) -> dict[int, Any]:
    tags = dict(exif.get_ifd(tag))
    if _INTEROP_IFD in tags:
        tags[_INTEROP_IFD] = exif.get_ifd(_INTEROP_IFD)
    return tags
