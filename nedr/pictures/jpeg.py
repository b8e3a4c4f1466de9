"""JPEG beyond its pixels: segments of other programs, what lies behind the picture, missing ends, long metadata."""

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nedr.errors import ImageError

_END = b"\xff\xd9"
_SCAN, _SEGMENT_LIMIT = 0xDA, 65533
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_NOT_ZERO = re.compile(rb"[^\0]")
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")

_EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
# Rewritten from what was read (EXIF, XMP, profile, resolution, colour transform), or untrue of the changed picture:
# the thumbnail of JFIF, the index of further pictures, the parameters of a gain map.
_REPLACED = (
    (0, b"JFIF\0"),
    (0, b"JFXX\0"),
    (1, b"Exif\0"),
    (1, b"http://ns.adobe.com/xap/1.0/\0"),
    (2, b"ICC_PROFILE\0"),
    (2, b"MPF\0"),
    (2, b"urn:iso:std:iso:ts:21496:-1\0"),
    (14, b"Adobe"),
)
_NAMES = ((1, b"FLIR\0", "thermal data"), (1, _EXTENDED, "extended XMP"), (13, b"Photoshop 3.0\0", "IPTC"))


class Behind(NamedTuple):
    """What follows the picture in its file.

    kept: the bytes that are not pictures, such as the video of a Motion Photo
    pictures: how many further JPEGs there are: gain maps, previews, the other eye's view
    """

    kept: bytes
    pictures: int


def end(data: bytes, start: int = 0) -> int | None:
    """Where the JPEG that begins at `start` ends, None if its end marker is missing."""
    is_whole, at = _parsed(data, start)
    return at if is_whole else None


def _parsed(data: bytes, start: int = 0) -> tuple[bool, int]:
    """Whether a JPEG has its end marker, and where it ends, which is ahead of a segment that it breaks off in."""
    at = start + 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _END[1]:
        marker = data[at + 1]
        if marker in (0xFF, *_ALONE):
            at += 1 if marker == 0xFF else 2
            continue
        following = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if following > len(data):
            return False, at
        at = following
        if marker == _SCAN:
            found = _MARKER_IN_SCAN.search(data, at)
            if found is None:
                return False, len(data)
            at = found.end() - 2
    return (True, at + 2) if data[at : at + 2] == _END else (False, at)


def behind(data: bytes) -> Behind:
    """What follows the picture in its file, padding left out."""
    at, pictures = end(data) or len(data), 0
    while padding := _NOT_ZERO.search(data, at):
        start = padding.start()
        following = end(data, start) if data.startswith(b"\xff\xd8\xff", start) else None
        if following is None:
            return Behind(data[at:], pictures)
        at, pictures = following, pictures + 1
    return Behind(b"", pictures)


# Segments


def kept_segments(segments: Iterable[tuple[str, bytes]]) -> list[tuple[int, bytes]]:
    """(marker, body) of the segments that stay as they are, out of Pillow's list of names and bodies."""
    numbered = [(0xFE if name == "COM" else 0xE0 + int(name[3:]), body) for name, body in segments]
    return [
        (marker, body)
        for marker, body in numbered
        if not any(marker == 0xE0 + number and body.startswith(start) for number, start in _REPLACED)
    ]


def packed(segments: Iterable[tuple[int, bytes]]) -> bytes:
    """Segments as they lie in a file."""
    return b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)


def names(segments: Iterable[tuple[int, bytes]]) -> tuple[str, ...]:
    """What segments hold, for notes, each thing once."""
    return tuple(dict.fromkeys(_name(marker, body) for marker, body in segments))


def _name(marker: int, body: bytes) -> str:
    if marker == 0xFE:
        return "comment"
    number = marker - 0xE0
    known = (name for app, start, name in _NAMES if app == number and body.startswith(start))
    return next(known, f"data of the camera in APP{number}")


# Missing ends


def mended(data: bytes, *, salvage: bool) -> tuple[bytes, int | None, str]:
    """A JPEG without its end marker as one that has it, the number of whole rows (None for all) and a note.

    Raises ImageError when more than the marker is missing, unless `salvage` asks for what there is.
    """
    stump = data[: _parsed(data)[1]].rstrip(b"\xff")
    # Whatever pixels are missing are decoded from what comes next: two different fillings show where that begins.
    first, second = (_decoded(stump + filling * 64 + _END) for filling in (b"\0", b"\x55"))
    differ = (first != second).reshape(len(first), -1).any(axis=1)
    rows = int(np.argmax(differ)) if differ.any() else len(first)
    if rows == len(first) and len(stump) + 2 > len(data):
        return stump + _END, None, "its end marker is missing; all pixels are there"
    if not salvage:
        raise ImageError(
            f"truncated JPEG, {rows} of {len(first)} rows found; copy it again, or salvage what there is (--salvage)"
        )
    if _scans(stump) > 1:  # a progressive picture is whole from its first scan on, and then gets finer
        return stump + _END, None, f"salvaged from a truncated JPEG: below row {rows} it is coarser than it was"
    if not rows:
        raise ImageError("truncated JPEG without a single whole row; copy it again")
    return stump + _END, rows, f"salvaged from a truncated JPEG: the upper {rows} of {len(first)} rows"


def _decoded(data: bytes) -> NDArray[Any]:
    return np.asarray(Image.open(BytesIO(data), formats=["JPEG"]))


def _scans(data: bytes) -> int:
    return len(re.findall(rb"\xff\xda\0[\x06-\x0c][\x01-\x04]", data))


# Metadata that is longer than a segment


def short_exif(exif: bytes) -> tuple[bytes, tuple[str, ...]]:
    """`exif` such that it fits a segment, and notes: the maker's note goes first, then the longest of the others."""
    if len(exif) + 6 <= _SEGMENT_LIMIT:
        return exif, ()
    block, lost = Image.Exif(), list[str]()
    block.load(exif)
    for place, tag in _by_size(block):
        del place[tag]
        lost.append("the maker's note" if tag == 0x927C else f"tag 0x{tag:04X}")
        short = block.tobytes()[6:]
        if len(short) + 6 <= _SEGMENT_LIMIT:
            return short, (f"EXIF shortened to the 64 KB that JPEG holds: without {', '.join(lost)}",)
    return b"", ("EXIF left out, as it is longer than the 64 KB that JPEG holds",)


def _by_size(block: Image.Exif) -> Iterator[tuple[Any, int]]:
    """Directory and tag of the values that take most, the maker's note ahead of all; thumbnails' tags are not there."""
    places = (block, *(block.get_ifd(tag) for tag in (0x8769, 0x8825)))
    sizes = [
        (tag != 0x927C, -len(value), number, tag)
        for number, place in enumerate(places)
        for tag, value in place.items()
        if isinstance(value, (bytes, str, tuple)) and len(value) > 4
    ]
    return ((places[number], tag) for _, _, number, tag in sorted(sizes))


def extended_xmp(xmp: bytes) -> tuple[bytes, list[tuple[int, bytes]]]:
    """A packet that fits a segment, and the further segments that hold the rest, as Adobe's specification splits it."""
    if len(xmp) + 29 <= _SEGMENT_LIMIT:
        return xmp, []
    body = _without_wrapper(xmp)
    name = hashlib.md5(body, usedforsecurity=False).hexdigest().upper().encode()
    packet = (
        b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        b'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="' + name + b'"/></rdf:RDF></x:xmpmeta>'
        b'<?xpacket end="w"?>'
    )
    step = 65000
    parts = [
        (0xE1, _EXTENDED + name + struct.pack(">II", len(body), at) + body[at : at + step])
        for at in range(0, len(body), step)
    ]
    return packet, parts


def _without_wrapper(xmp: bytes) -> bytes:
    body = xmp.strip()
    if body.startswith(b"<?xpacket"):
        body = body.partition(b"?>")[2]
    if body.endswith(b"?>") and (at := body.rfind(b"<?xpacket")) > 0:
        body = body[:at]
    return body.strip()


def xmp_segments(xmp: bytes) -> list[tuple[int, bytes]]:
    """The segments that hold an XMP packet of any length."""
    packet, further = extended_xmp(xmp)
    return [(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet), *further]


def joined_xmp(segments: Iterable[tuple[int, bytes]]) -> bytes | None:
    """The extended XMP that segments hold, in one piece; None where there is none or a part is missing."""
    head, parts = len(_EXTENDED), dict[int, bytes]()
    total = -1
    for marker, body in segments:
        if marker == 0xE1 and body.startswith(_EXTENDED) and len(body) >= head + 40:
            total, at = struct.unpack_from(">II", body, head + 32)
            parts[at] = body[head + 40 :]
    whole = b"".join(parts[at] for at in sorted(parts))
    return whole if len(whole) == total else None


def is_extended(packet: bytes) -> bool:
    """Whether an XMP packet says nothing but where the rest is, as `extended_xmp` writes it."""
    alone = rb'<rdf:Description rdf:about=""\s+xmlns:xmpNote="[^"]*"\s+xmpNote:HasExtendedXMP="\w{32}"\s*/>'
    return packet.count(b"<rdf:Description") == 1 and re.search(alone, packet) is not None


def is_part_of_xmp(marker: int, body: bytes) -> bool:
    """Whether a segment holds a part of extended XMP."""
    return marker == 0xE1 and body.startswith(_EXTENDED)
