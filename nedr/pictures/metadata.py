"""What a picture file carries besides pixels: EXIF, XMP, resolution, colour profile, and how it was compressed.

EXIF is kept byte for byte (so maker notes, whose offsets count from the block's start, stay valid); only what
is no longer true of the upright picture is changed in place: the orientation, the two dimensions, and the thumbnail,
which is unlinked.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image, ImageFile, JpegImagePlugin, TiffImagePlugin

from nedr.pictures import jpeg, png
from nedr.pictures.icc import is_usable

_ORIENTATION, _EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 0x0112, 0x8769, 0x8825, 0xA005
_SIZES = {0x0100: 0x0101, 0x0101: 0x0100, 0xA002: 0xA003, 0xA003: 0xA002}  # width and height, each with the other
_IPTC, _PHOTOSHOP, _LAYERS = 33723, 34377, 37724
_INTEGERS = {1: "B", 3: "H", 4: "I"}  # EXIF's integer types as struct knows them

# Tags of a TIFF directory that say how its pixels lie, or hold them; not EXIF.
_LAYOUT_TAGS = frozenset({*range(254, 267), 273, *range(277, 282), *range(284, 286), 290, 291, 292, 293, 297, 301})
_LAYOUT_TAGS |= {*range(317, 326), 330, *range(332, 348), *range(512, 533), 700, _IPTC, _PHOTOSHOP, 34675, _LAYERS}

_TIFF_COMPRESSIONS = {"raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"}
_TIFF_NAMES = {_IPTC: "IPTC", _PHOTOSHOP: "Photoshop's data"}
_COMPRESSION = ("progressive", "qtables", "subsampling", "compression", "lossless")


@dataclass(frozen=True)
class Metadata:
    """What travels with a picture's pixels from file to file.

    Attributes:
        exif: a TIFF-structured block without the "Exif" prefix, GPS included; its orientation says upright.
        icc: the colour profile of the pixels; None means sRGB.
        xmp: the XMP packet.
        dpi: horizontal and vertical resolution in dots per inch.
        saving: how the source's own format stored it (JPEG's quantisation and subsampling, TIFF's compression ...) and
            what only this format holds (JPEG's segments, PNG's texts ...); used when the same format is written again.
        named: what in `saving` another format would lose, as notes call it.
    """

    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    saving: Mapping[str, Any] = field(default_factory=dict)
    named: tuple[str, ...] = ()

    def of_pixels(self) -> "Metadata":
        """The profile, the resolution and the compression alone, without what describes a photograph."""
        saving = {key: value for key, value in self.saving.items() if key in _COMPRESSION}
        return Metadata(icc=self.icc, dpi=self.dpi, saving=saving)

    def for_other_format(self) -> "Metadata":
        """The same without what only the source's format holds, and without tags that promise it."""
        return replace(self, xmp=self.xmp and _without_claims(self.xmp, _VIDEO), saving={}, named=())


def stated_orientation(image: ImageFile.ImageFile) -> int:
    """EXIF's orientation 1..8 of an opened picture (1 also when there is none, or it is damaged)."""
    exif = _exif_block(image)
    return _orientation(exif) if exif else 1


def collect(image: ImageFile.ImageFile, data: bytes, orientation: int) -> tuple[Metadata, tuple[str, ...]]:
    """The metadata of a decoded picture as it will be once turned upright, and notes on what is damaged or left out.

    Args:
        image: the picture, decoded; a TIFF without its orientation.
        data: the file it came from.
        orientation: what the file said, 1..8.
    """
    info, notes = _found(image, data)
    # HEIF's reader turns the pixels itself, and then says that EXIF is upright, though not in which direction it was.
    turned = max(orientation, image.info.get("original_orientation") or 1) > 4
    if info.xmp and info.exif and max(orientation, image.info.get("original_orientation") or 1) != 1:
        info = replace(info, xmp=_upright_xmp(info.xmp, turned=turned))
    if info.icc and image.mode != "CMYK" and not is_usable(info.icc):
        notes += ("unreadable colour profile: colours taken as sRGB, profile kept",)
    return replace(info, exif=info.exif and upright_exif(info.exif, turned=turned)), notes


def _found(image: ImageFile.ImageFile, data: bytes) -> tuple[Metadata, tuple[str, ...]]:
    """The metadata as they lie in the file."""
    notes: tuple[str, ...] = ()
    try:
        exif = _exif_block(image)
    except Exception:  # Pillow's EXIF parser raises nearly anything on hostile bytes
        exif, notes = None, ("damaged EXIF left out",)
    info = Metadata(exif, image.info.get("icc_profile") or None, _xmp(image), _dpi(image))
    if image.format == "PNG":
        found = png.carried(data)
        texts = tuple(f"text {name!r}" for name in found.texts)
        info = replace(info, icc=found.icc, xmp=found.xmp, exif=exif or found.exif, named=texts)
        return replace(info, saving={"chunks": tuple(found.kept)}), (*notes, *found.notes)
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        return _with_jpeg(info, image, data, notes)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        layers = ("Photoshop's layers left out, which show the picture as it was",) if _LAYERS in image.tag_v2 else ()
        return _with_tiff(info, image), (*notes, *layers)
    if image.format == "WEBP":
        lossless = b"VP8L" in data[12:16] or (data[12:16] == b"VP8X" and b"VP8 " not in _riff_chunks(data))
        info = replace(info, saving={"lossless": lossless})
    if image.format == "HEIF" and info.xmp:  # its reader hands out neither a video nor a gain map
        return replace(info, xmp=_without_claims(_without_claims(info.xmp, _VIDEO), _GAIN_MAP)), notes
    return info, notes


def _exif_block(image: ImageFile.ImageFile) -> bytes | None:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        exif = image.getexif()
        for tag in _LAYOUT_TAGS.intersection(exif):
            del exif[tag]
        return exif.tobytes()[6:] if len(exif) else None
    exif_bytes = image.info.get("exif")
    return re.sub(b"^(Exif\0\0)+", b"", exif_bytes) if exif_bytes else None


def _xmp(image: ImageFile.ImageFile) -> bytes | None:
    # Pillow takes the orientation out of its own copy of a TIFF's.
    value = image.tag_v2.get(700) if isinstance(image, TiffImagePlugin.TiffImageFile) else image.info.get("xmp")
    value = value.encode() if isinstance(value, str) else value
    return value if isinstance(value, bytes) and value else None


def _dpi(image: ImageFile.ImageFile) -> tuple[float, float] | None:
    """Dots per inch, where the file states it; a TIFF also may without a unit, which says nothing."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and (282 not in image.tag_v2 or image.tag_v2.get(296) == 1):
        return None
    try:
        x, y = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 1 <= x < 65536 and 1 <= y < 65536 else None


def _with_tiff(info: Metadata, image: TiffImagePlugin.TiffImageFile) -> Metadata:
    compression = str(image.info.get("compression"))
    tags = {tag: (image.tag_v2.tagtype[tag], image.tag_v2[tag]) for tag in _TIFF_NAMES if tag in image.tag_v2}
    saving = {"compression": compression if compression in _TIFF_COMPRESSIONS else "tiff_adobe_deflate", "tags": tags}
    return replace(info, saving=saving, named=tuple(_TIFF_NAMES[tag] for tag in tags))


def _with_jpeg(
    info: Metadata, image: JpegImagePlugin.JpegImageFile, data: bytes, notes: tuple[str, ...]
) -> tuple[Metadata, tuple[str, ...]]:
    """With quantisation and subsampling as they were, the segments of other programs, and what lies behind."""
    segments, behind = jpeg.kept_segments(image.applist), jpeg.behind(data)
    if info.xmp and jpeg.is_extended(info.xmp) and (whole := jpeg.joined_xmp(segments)):
        info, segments = replace(info, xmp=whole), [s for s in segments if not jpeg.is_part_of_xmp(*s)]
    xmp = info.xmp and _without_claims(info.xmp, _GAIN_MAP)
    if behind.pictures and xmp != info.xmp:
        notes += ("gain map left out, which would no longer fit the picture",)
    elif behind.pictures:
        notes += (f"the main one of {behind.pictures + 1} pictures in the file; the others are left out",)
    saving: dict[str, Any] = {"progressive": bool(image.info.get("progressive")), "segments": tuple(segments)}
    if sorted(image.quantization) == list(range(image.layers))[: len(image.quantization)]:
        saving["qtables"] = [image.quantization[key] for key in sorted(image.quantization)]
    if (subsampling := JpegImagePlugin.get_sampling(image)) >= 0:
        saving["subsampling"] = subsampling
    named = jpeg.names(segments)
    if behind.kept:
        saving["behind"] = behind.kept
        named += ("video of a Motion Photo" if b"ftyp" in behind.kept else "data behind the picture",)
    return replace(info, xmp=xmp, saving=saving, named=named), notes


# XMP

_GAIN_MAP = rb"hdrgm|HDRGainMap"
_VIDEO = rb"(?:GCamera|Camera):(?:MotionPhoto|MicroVideo)"
_ITEMS = {_GAIN_MAP: rb"(?!Primary|MotionPhoto)\w+", _VIDEO: rb"MotionPhoto"}


def _without_claims(xmp: bytes, prefix: bytes) -> bytes:
    """XMP without the properties that begin with `prefix`, and without the items of the file that they speak of.

    All patterns are bounded, so that a packet made for it cannot take long.
    """
    names = rb"(?:%s)[\w:]*" % prefix
    attribute = rb"\s%s\s*=\s*(?:\"[^\"]*\"|'[^']*')"
    item = (
        rb"<rdf:li\b(?:(?!</rdf:li>).){0,999}?Item:Semantic(?:\s*=\s*[\"']|>)%s[\"'<](?:(?!</rdf:li>).){0,999}</rdf:li>"
    )
    rest = re.sub(attribute % names, b"", xmp)
    rest = re.sub(rb"<(%s)\b[^<>]{0,999}(?:/>|>.{0,9999}?</\1>)" % names, b"", rest, flags=re.DOTALL)
    rest = re.sub(item % _ITEMS[prefix], b"", rest, flags=re.DOTALL)
    if rest == xmp:
        return xmp
    if len(re.findall(rb"Item:Semantic(?:\s*=|>)", rest)) == 1:  # the picture alone
        rest = re.sub(rb"<(Container:Directory)\b.{0,9999}?</\1>", b"", rest, flags=re.DOTALL)
    return re.sub(attribute % (rb"xmlns:(?:%s)" % prefix), b"", rest)


def _upright_xmp(xmp: bytes, *, turned: bool) -> bytes:
    """XMP of the upright picture: orientation 1, width and height exchanged if `turned` by 90 degrees."""
    xmp = re.sub(rb"(tiff:Orientation\s*(?:=\s*[\"']|>\s*))\d", rb"\g<1>1", xmp)
    if not turned:
        return xmp
    pairs = ((b"tiff:ImageWidth", b"tiff:ImageLength"), (b"exif:PixelXDimension", b"exif:PixelYDimension"))
    others = {name: pair[1 - place] for pair in pairs for place, name in enumerate(pair)}
    return re.sub(b"|".join(others), lambda found: others[found[0]], xmp)


# EXIF


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
    if turned:
        _swap_dimensions(block, first)
    if first + 2 <= len(exif):
        (count,) = struct.unpack_from(order + "H", exif, first)
        following = first + 2 + 12 * count
        block[following : following + 4] = bytes(len(block[following : following + 4]))
    return bytes(block)


def _swap_dimensions(block: bytearray, directory: int) -> None:
    """Exchange the tags of width and height, not their values, whose types may differ."""
    exif = bytes(block)
    places = {tag: at for tag, _, at in _entries(exif, directory) if tag in _SIZES}
    for tag, at in places.items():
        if other := places.get(_SIZES[tag]):
            block[at - 6 : at + 4] = exif[other - 6 : other + 4]


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
    if info.dpi and (282 not in directory or not info.saving):
        directory[282], directory[283], directory[296] = *info.dpi, 2
    return directory


def _sub_directory(exif: Image.Exif, tag: int) -> dict[int, Any]:
    tags = dict(exif.get_ifd(tag))
    if _INTEROP_IFD in tags:
        tags[_INTEROP_IFD] = exif.get_ifd(_INTEROP_IFD)
    return tags
