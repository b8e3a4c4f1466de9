"""TIFF: any number of bands of 8 or 16 bits, in every arrangement, with masks, BigTIFF and all tags.

Pillow decodes every compression, but knows few arrangements of bands and keeps only one byte of 16-bit colours. So the
file gets a new first directory before Pillow sees it, which declares the same strips or tiles a grey picture, C times
as wide: the samples come out as stored in the file. The same directory turns a BigTIFF into a classic one. Writing is
the reverse: Pillow compresses a wide grey picture, and the directory written here says what it holds.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from nedr.errors import ImageError

Samples = NDArray[Any]
"""(H, W, C) uint8 or uint16."""
Directory = TiffImagePlugin.ImageFileDirectory_v2

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, CHANNELS, PLANAR = 256, 257, 258, 259, 262, 277, 284
_SUBFILE, _FILL_ORDER, _STRIPS, _STRIP_SIZES, _ROWS, _PREDICTOR = 254, 266, 273, 279, 278, 317
_TILE_WIDTH, _TILES, _TILE_SIZES, _SUB_IFDS, _EXTRA, _FORMAT, _ORIENTATION = 322, 324, 325, 330, 338, 339, 274
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 34665, 34853, 40965
_REDUCED, _MASK = 1, 4  # bits of the subfile type
_GREY_INVERTED, _GREY, _RGB = 0, 1, 2
_RAW = {32803, 34892}  # photometric: colour filter array, linear raw
_DNG_VERSION = 50706

_ZLIB_LEVEL = 3  # level 6 takes up to three times as long and saves 1 to 3 % of a photograph
_STRIP_BYTES = 1 << 18
_PREDICTED = {"tiff_lzw", "tiff_adobe_deflate"}
_MOST_PAGES, _MOST_BELOW = 10_000, 100
# None, LZW, deflate (two numbers), PackBits, LZMA, Zstandard: independent of how the samples are arranged.
_PLAIN_COMPRESSIONS = {1, 5, 8, 32946, 32773, 34925, 50000}
_CLASSIC_TYPES = {16: 4, 17: 9, 18: 4}  # of BigTIFF's 64-bit numbers


@dataclass(frozen=True)
class Bands:
    """What the bands of a TIFF mean, in order.

    photometric: as the file states it;  extra: the kinds of the bands after the colours (1 and 2 are alpha, 0 others)
    mask: whether alpha is a page of its own instead of a band
    """

    photometric: int
    extra: tuple[int, ...] = ()
    mask: bool = False

    @property
    def alpha(self) -> int | None:
        """The position of alpha among the bands after the colours."""
        return next((place for place, kind in enumerate(self.extra) if kind in (1, 2)), None)


# Reading


def directories(data: bytes) -> list[Directory]:
    """The directories of a TIFF or BigTIFF, in order."""
    file, found, places = BytesIO(data), list[Directory](), set[int]()
    place = _directory(data).next
    while place and place not in places and len(found) < _MOST_PAGES:
        places.add(place)
        found.append(_loaded(data, file, place))
        place = found[-1].next or 0
    return found


def pages(data: bytes) -> list[Directory]:
    """The directories of a TIFF or BigTIFF that is a picture. Raises ImageError if the first has no size."""
    found = directories(data)
    if not found or WIDTH not in found[0] or HEIGHT not in found[0]:
        raise ImageError("its header is damaged, expected a directory that states width and height; copy it again")
    return found


def _directory(data: bytes, group: int | None = None) -> Directory:
    """An empty directory with the byte order and number size of `data`; `next` is where its first one starts."""
    big = 43 in data[2:4]  # Pillow looks for it where little-endian files have it
    head = (b"II+\0" if big else b"II*\0") + data[4 : 16 if big else 8]
    return Directory(head, prefix=data[:2], group=group)


def _loaded(data: bytes, file: BytesIO, place: int) -> Directory:
    directory = _directory(data)
    directory.next = 0
    file.seek(place)
    directory.load(file)
    for tag in (_EXIF_IFD, _GPS_IFD, _INTEROP_IFD):  # kept by value, since their offsets change
        value = directory.get(tag)
        if isinstance(value, int):
            inner = _directory(data, tag)
            file.seek(value)
            inner.load(file)
            directory[tag] = dict(inner)
            directory.tagtype[tag] = 4
    return directory


def is_raw(data: bytes) -> bool:
    """Whether a TIFF is a camera raw file, whose first page is usually a preview, with or without a size."""
    found = directories(data)
    return bool((found and (found[0].get(_SUBFILE, 0) & _REDUCED or _DNG_VERSION in found[0])) or _sensors(data, found))


def cut_short(data: bytes) -> str | None:
    """What is missing at the end of a raw file, which readers leave black; None if it is complete."""
    end = max((end for page in _sensors(data, directories(data)) for end in _ends(page)), default=0)
    return f"truncated, {end} bytes expected and {len(data)} found" if end > len(data) else None


def _sensors(data: bytes, found: list[Directory]) -> list[Directory]:
    """The directories of sensor data, among these and those below the first."""
    file, places = BytesIO(data), _several(found[0].get(_SUB_IFDS, ())) if found else ()
    below = [_loaded(data, file, place) for place in places[:_MOST_BELOW] if isinstance(place, int)]
    return [page for page in (*found, *below) if page.get(PHOTOMETRIC) in _RAW]


def check(found: list[Directory], data: bytes) -> Iterator[str]:
    """Notes on the pages that are left out.

    Raises ImageError for documents and for a file cut short.
    """
    main, *others = found
    whole = [page for page in others if not page.get(_SUBFILE, 0) & (_REDUCED | _MASK)]
    if whole:
        raise ImageError(f"{len(whole) + 1} pages found, expected a single picture; split it first")
    ends = [end for page in found for end in _ends(page)]
    if max(ends, default=0) > len(data):  # libtiff would print a line of its own for each part cut off
        raise ImageError(f"truncated, {max(ends)} bytes expected and {len(data)} found; copy it again")
    smaller = sum(1 for page in others if page.get(_SUBFILE, 0) & _REDUCED) + len(_several(main.get(_SUB_IFDS, ())))
    if smaller:
        yield f"smaller copies of the original picture left out: {smaller} (overviews or thumbnails)"


def _ends(page: Directory) -> Iterator[int]:
    for offsets, sizes in ((_STRIPS, _STRIP_SIZES), (_TILES, _TILE_SIZES)):
        both = zip(_several(page.get(offsets, ())), _several(page.get(sizes, ())), strict=False)
        yield from (int(at) + int(size) for at, size in both)


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def depth(page: Directory) -> int:
    """Bits of the deepest sample."""
    return max(map(int, _several(page.get(BITS, 1))))


def orientation(page: Directory) -> int:
    """The page's orientation, 1..8 as in EXIF."""
    value = page.get(_ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def is_plain(page: Directory) -> bool:
    """Whether a page holds grey or RGB of 8 or 16 bits, with or without further bands, that `samples` can read."""
    bits, formats = set(_several(page.get(BITS, 1))), set(_several(page.get(_FORMAT, 1)))
    return (
        page.get(PHOTOMETRIC) in (_GREY_INVERTED, _GREY, _RGB)
        and bits in ({8}, {16})
        and formats == {1}
        and page.get(COMPRESSION, 1) in _PLAIN_COMPRESSIONS
        and page.get(_FILL_ORDER, 1) == 1
        and page.get(CHANNELS, 1) >= (3 if page.get(PHOTOMETRIC) == _RGB else 1)
    )


def open_page(data: bytes, page: Directory) -> TiffImagePlugin.TiffImageFile:
    """A page as Pillow opens it, neither rotated nor decoded, its tags in a classic directory.

    One that `is_plain` appears as grey, since Pillow opens only the arrangements of bands that it knows.
    """
    return _image(data, _as_grey(page) if is_plain(page) else _copy(page))


def _copy(page: Directory) -> Directory:
    copy = Directory(prefix=page.prefix)
    for tag, value in page.items():
        if tag not in (_ORIENTATION, _SUB_IFDS):
            copy.tagtype[tag] = _CLASSIC_TYPES.get(page.tagtype[tag], page.tagtype[tag])
            copy[tag] = value
    return copy


def _image(data: bytes, directory: Directory) -> TiffImagePlugin.TiffImageFile:
    """`data` after a new directory, whose strips and tiles are counted from the start of `data`."""
    for tag in (_STRIPS, _TILES):
        if tag in directory:
            directory.tagtype[tag] = 4
    if _TILES in directory:  # Pillow moves the offsets of strips itself
        directory[_TILES] = tuple(place + _size(directory) for place in _several(directory[_TILES]))
    directory.save(file := BytesIO())
    file.write(data)
    file.seek(0)
    image = Image.open(file, formats=["TIFF"])
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    return image


def _size(directory: Directory) -> int:
    directory.save(file := BytesIO())
    return file.tell()


def _as_grey(page: Directory) -> Directory:
    """A page of interleaved bands as a grey one, C times as wide."""
    wide, channels = _copy(page), int(page.get(CHANNELS, 1))
    wide[WIDTH], wide[BITS], wide[PHOTOMETRIC], wide[CHANNELS] = page[WIDTH] * channels, (depth(page),), _GREY, 1
    wide[_FORMAT] = wide[_PREDICTOR] = wide[PLANAR] = 1
    if _TILE_WIDTH in page:
        wide[_TILE_WIDTH] = page[_TILE_WIDTH] * channels
    if _EXTRA in wide:
        del wide[_EXTRA]
    return wide


def samples(data: bytes, page: Directory) -> Samples:
    """The samples (H, W, C) of a page that `is_plain`, all bands, as stored in the file."""
    if page.get(PLANAR, 1) == 2 and page.get(CHANNELS, 1) > 1:
        return np.dstack([_wide(data, band) for band in _planes(page)])
    return _wide(data, page)


def _planes(page: Directory) -> Iterator[Directory]:
    """A directory for each band of a page that stores them separately."""
    count = int(page[CHANNELS])
    for number in range(count):
        band = _copy(page)
        band[CHANNELS], band[BITS], band[PLANAR] = 1, (depth(page),), 1
        for tag in {_STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES}.intersection(page):
            each = len(_several(page[tag])) // count
            band[tag] = _several(page[tag])[number * each : (number + 1) * each]
        yield band


def _wide(data: bytes, page: Directory) -> Samples:
    """The samples (H, W, C) of interleaved bands, decoded as a grey picture C times as wide."""
    wide, channels = _as_grey(page), int(page.get(CHANNELS, 1))
    for tag in {_EXIF_IFD, _GPS_IFD, 34675, 700}.intersection(wide):
        del wide[tag]
    rows = np.array(_image(data, wide))
    found = rows.astype(rows.dtype.newbyteorder("="), copy=False).reshape(len(rows), -1, channels)
    if page.get(_PREDICTOR, 1) == 2:
        step = page.get(_TILE_WIDTH, found.shape[1])
        for start in range(0, found.shape[1], step):
            tile = found[:, start : start + step]
            np.add.accumulate(tile, axis=1, dtype=tile.dtype, out=tile)
    return found


def bands(page: Directory) -> Bands:
    """What the bands of a page that `is_plain` mean."""
    photometric, channels = int(page[PHOTOMETRIC]), int(page.get(CHANNELS, 1))
    behind = channels - (3 if photometric == _RGB or channels > 2 else 1)
    stated = tuple(map(int, _several(page.get(_EXTRA, ()))))
    # Several programs write 16-bit RGB as three or more grey bands; the stated kinds then start at the second.
    return Bands(photometric, ((0,) * behind + stated)[len(stated) :] if behind else ())


def arranged(found: Samples, meaning: Bands) -> tuple[Samples, Samples | None, Samples | None]:
    """Colours (H, W, 1 | 3), alpha (H, W) and the other bands (H, W, N) of samples; the last two None where absent."""
    count = found.shape[2] - len(meaning.extra)
    colours, behind, place = found[..., :count], found[..., count:], meaning.alpha
    if meaning.photometric == _GREY_INVERTED:
        colours = ~colours
    alpha = None if place is None else behind[..., place]
    if place is not None and meaning.extra[place] == 1:
        colours = _divided(colours, behind[..., place])
    others = [number for number in range(len(meaning.extra)) if number != place]
    return colours, alpha, behind[..., others] if others else None


def _divided(colours: Samples, alpha: Samples) -> Samples:
    """Straight colours from colours premultiplied by alpha."""
    top = np.iinfo(colours.dtype).max
    straight = colours * (np.float32(top) / np.maximum(alpha, 1)[..., None])
    return np.minimum(np.rint(straight), top).astype(colours.dtype)


def mask(data: bytes, found: list[Directory]) -> Samples | None:
    """The transparency mask (H, W) uint8 stored with a picture, 0 where it is transparent and 255 elsewhere."""
    for page in found[1:]:
        if page.get(_SUBFILE, 0) == _MASK and (page[WIDTH], page[HEIGHT]) == (found[0][WIDTH], found[0][HEIGHT]):
            copy = _copy(page)
            copy[PHOTOMETRIC] = _GREY
            return np.where(np.asarray(_image(data, copy)), 255, 0).astype(np.uint8)
    return None


# Writing


def write(found: Samples, compression: str, directory: Directory, meaning: Bands | None = None) -> bytes:
    """A TIFF of samples (H, W, C), 8 or 16 bit, with the tags of `directory` and those that describe the pixels.

    Args:
        found: the picture; an alpha channel is written as such, not premultiplied.
        compression: "raw", "packbits", "tiff_lzw" or "tiff_adobe_deflate"; the last two with horizontal prediction.
        directory: little-endian tags, such as a profile or EXIF; changed in place.
        meaning: of the bands; None for grey or RGB, with or without alpha. If it has a mask, the last band becomes it.
    """
    channels = found.shape[2]
    meaning = meaning or Bands(_RGB if channels >= 3 else _GREY, (2,) if channels in (2, 4) else ())
    if meaning.mask:
        return _masked(write(found[..., :-1], compression, directory, replace(meaning, mask=False)), found[..., -1])
    directory[PHOTOMETRIC] = meaning.photometric or _GREY
    unstated = channels - len(meaning.extra) - (3 if meaning.photometric == _RGB else 1)
    if extra := (0,) * unstated + tuple(2 if kind == 1 else kind for kind in meaning.extra):
        directory[_EXTRA] = extra
    return _file(found, compression, directory)


def _file(found: Samples, compression: str, directory: Directory) -> bytes:
    height, width, channels = found.shape
    if compression in _PREDICTED:
        found = np.concatenate([found[:, :1], found[:, 1:] - found[:, :-1]], axis=1)
        directory[_PREDICTOR] = 2
    code, strips, rows_per_strip = _strips(found.reshape(height, -1), compression)
    ends = np.cumsum([len(strip) for strip in strips]).tolist()
    described = {WIDTH: width, HEIGHT: height, BITS: (found.itemsize * 8,) * channels, COMPRESSION: code}
    described |= {CHANNELS: channels, PLANAR: 1, _ROWS: rows_per_strip, _FORMAT: (1,) * channels}
    described |= {_STRIPS: (0, *ends[:-1]), _STRIP_SIZES: tuple(len(strip) for strip in strips)}
    for tag, value in described.items():
        directory[tag] = value
    file = BytesIO()
    directory.save(file)  # this moves the strips' offsets past the directory
    return file.getvalue() + b"".join(strips)


def _strips(rows: Samples, compression: str) -> tuple[int, list[bytes], int]:
    """TIFF's number of the compression, the compressed strips of `rows` (H, W * C), and the rows in each."""
    little = rows.astype(rows.dtype.newbyteorder("<"), copy=False)
    if compression == "raw":
        return 1, [little.tobytes()], len(rows)
    if compression == "tiff_adobe_deflate":
        step = max(1, _STRIP_BYTES // rows[0].nbytes)
        starts = range(0, len(rows), step)
        return 8, [zlib.compress(little[at : at + step].tobytes(), _ZLIB_LEVEL) for at in starts], step
    file = BytesIO()
    Image.fromarray(little).save(file, "TIFF", compression=compression, strip_size=max(_STRIP_BYTES, rows[0].nbytes))
    packed = file.getvalue()
    (tags,) = pages(packed)
    places = zip(_several(tags[_STRIPS]), _several(tags[_STRIP_SIZES]), strict=True)
    return tags[COMPRESSION], [packed[start : start + count] for start, count in places], tags[_ROWS]


def _masked(picture: bytes, alpha: Samples) -> bytes:
    """A TIFF with a mask appended as a page of one bit per pixel, as GDAL writes it."""
    file = BytesIO(picture)
    rows = np.packbits(alpha > 0, axis=1)
    strip = zlib.compress(rows.tobytes(), _ZLIB_LEVEL)
    page = Directory()
    described = {_SUBFILE: _MASK, WIDTH: alpha.shape[1], HEIGHT: len(alpha), BITS: 1, COMPRESSION: 8, PHOTOMETRIC: 4}
    described |= {CHANNELS: 1, PLANAR: 1, _ROWS: len(alpha), _STRIPS: 0, _STRIP_SIZES: len(strip)}
    for tag, value in described.items():
        page[tag] = value
    start = len(picture) + len(picture) % 2
    file.seek(_next_field(picture))
    file.write(start.to_bytes(4, "little"))
    file.seek(start)
    page.save(file)
    file.write(strip)
    return file.getvalue()


def _next_field(picture: bytes) -> int:
    """Where the first directory of a little-endian TIFF says where the next one is."""
    first = int.from_bytes(picture[4:8], "little")
    return first + 2 + 12 * int.from_bytes(picture[first : first + 2], "little")
