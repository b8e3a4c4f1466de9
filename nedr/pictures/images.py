"""Picture files: read as upright pixels with their metadata, written back without loss, never half written.

JPEG, PNG, TIFF, WebP, AVIF, GIF, BMP, netpbm (PBM, PGM, PPM), and HEIF for reading. Depth (8 or 16 bits), grey, alpha
and further bands are kept, and so are EXIF, XMP, resolution and colour profile. The parts: `metadata`, `icc`, what
Pillow does not do for a format in `jpeg`, `png`, `tiff` and `netpbm`, `encoders` (a function per format), and `atomic`
(writing).
"""

import importlib
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError, features

from nedr.errors import ImageError, NedrError, UsageError, missing_extra
from nedr.pictures import icc as colour
from nedr.pictures import jpeg, netpbm, png, raw, tiff
from nedr.pictures.arrays import eight_bits, upright
from nedr.pictures.atomic import write
from nedr.pictures.encoders import WRITERS, Samples
from nedr.pictures.metadata import Metadata, collect, stated_orientation

__all__ = [
    "MAX_PIXELS",
    "READ_ONLY",
    "SUFFIXES",
    "Encoded",
    "Metadata",
    "Picture",
    "contents",
    "detected",
    "encode",
    "encoded",
    "explained",
    "format_for",
    "read",
    "result_for",
    "write",
]

MAX_PIXELS = 300_000_000
"""The largest picture that `read` decodes by default."""

_SUFFIXES = {
    "JPEG": ".jpg .jpeg .jpe .jfif .mpo",
    "PNG": ".png .apng",
    "TIFF": ".tif .tiff",
    "WEBP": ".webp",
    "AVIF": ".avif",
    "HEIF": ".heic .heif .hif",
    "BMP": ".bmp .dib",
    "PPM": ".ppm .pgm .pbm .pnm",
    "GIF": ".gif",
    "RAW": raw.SUFFIXES,
}
SUFFIXES: dict[str, str] = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
"""File name suffixes (lower case, with the dot) and their formats."""

_KNOWN = "JPEG, PNG, TIFF, WebP, AVIF, HEIF, GIF, BMP, PPM or a camera raw file"
_BARE = {"BMP", "PPM", "GIF"}  # formats without EXIF, XMP and profile
_DEEP = {"PNG", "TIFF", "PPM"}  # formats of 16 bits

# A picture that unfolds to more than this, and to so many times its file size, is blank or a bomb; lossy formats are
# not checked, since their files may well be this small.
_MOST_UNFOLDED, _MOST_TIMES = 1 << 27, 300
_UNFOLDING = {"PNG", "GIF", "WEBP"}

READ_ONLY = {"HEIF": "JPEG", "RAW": "TIFF"}
"""Formats that can be read but not written, and what `encode` writes instead by default."""

_SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "TIFF": rb"II[*+]\0(?!.{4}CR)|MM\0[*+]",
    "GIF": rb"GIF8[79]a",
    "RAW": rb"II\*\0.{4}CR|II\x1a\0{3}HEAPCCDR|IIU\0|IIR[OS]|MMOR|FUJIFILMCCD|....ftypcrx |\0MRM|FOVb",
    "WEBP": rb"RIFF....WEBP",
    "AVIF": rb"....ftyp(avif|avis|.{8,}?avif)",
    "HEIF": rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)",
    "BMP": rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "PPM": rb"P[1-6]\s",
}
_FOREIGN = {
    "a Photoshop document": rb"8BPS",
    "PDF": rb"%PDF",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "OpenEXR": rb"v/1\x01",
    "Radiance HDR": rb"#\?RADIANCE|#\?RGBE",
    "text (HTML, SVG)": rb"\s*<",
    "a video": rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI ",
}
_ANY = re.DOTALL


@dataclass(frozen=True)
class Picture:
    """A picture file's contents, upright.

    Attributes:
        pixels: (H, W, 3) RGB, or (H, W) when the picture is grey; uint8 or uint16, in the picture's own colour space.
        alpha: (H, W) of the same type, or None.
        format: "JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF", "GIF", "BMP", "PPM" or "RAW".
        info: EXIF, profile, XMP, resolution, and how the file was compressed.
        notes: what reading left out or changed, one sentence each ("CMYK converted ...").
        bands: (H, W, N) of the same type, what a TIFF holds besides colours and alpha (near infrared ...), or None.
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None
    format: str
    info: Metadata
    notes: tuple[str, ...] = ()
    bands: NDArray[Any] | None = None

    def to_srgb(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Colours of the picture's own space as sRGB, same type and shape; see `nedr.pictures.icc.convert`.

        For a grey picture `pixels` are grey levels, in any shape; else (..., 3), uint8, uint16 or floats in [0, 1].
        """
        return colour.convert(pixels, self.info.icc, grey=self.pixels.ndim == 2)

    def from_srgb(self, colours: NDArray[Any]) -> NDArray[Any]:
        """sRGB colours (of the kinds that `to_srgb` takes) in the picture's own space."""
        return colour.convert(colours, self.info.icc, grey=self.pixels.ndim == 2, inverse=True)


def result_for(suffix: str) -> tuple[str, str | None]:
    """Suffix and format of the result for a photograph of this suffix; None for the photograph's own format."""
    kind = SUFFIXES.get(suffix.lower(), "")
    if kind not in READ_ONLY:
        return suffix, None
    return {"JPEG": ".jpg", "TIFF": ".tif"}[READ_ONLY[kind]], READ_ONLY[kind]


def format_for(path: str | os.PathLike[str]) -> str:
    """The format that a file name's suffix stands for. Raises UsageError for any other suffix."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{path}: unknown suffix {suffix!r}, expected one of {' '.join(SUFFIXES)}")
    return SUFFIXES[suffix]


@dataclass(frozen=True)
class _Decoded:
    """A picture as stored in its file, not yet rotated: colours (H, W, 1 | 3), alpha (H, W), other bands (H, W, N)."""

    image: ImageFile.ImageFile
    orientation: int
    colours: NDArray[Any]
    alpha: NDArray[Any] | None
    bands: NDArray[Any] | None = None
    meaning: tiff.Bands | None = None
    notes: tuple[str, ...] = ()


def read(
    source: str | os.PathLike[str] | bytes | BinaryIO,
    *,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
    salvage: bool = False,
    development: raw.Development | None = None,
) -> Picture:
    """Read a picture from a path, from a file's bytes, or from an open binary file.

    Args:
        source: what to read. The format is detected from the contents, never from the name.
        max_pixels: the largest width times height accepted, checked before anything is decoded. Pixels of more than 32
            bits count by their bits: 16-bit RGBA twice.
        name: what to call the picture in messages; None for the path.
        salvage: keep what a truncated JPEG or raw file still holds, with a note.
        development: how a camera raw file becomes a picture; None for the camera's white balance.

    Raises:
        UsageError: the path does not exist or is a folder or a device.
        ImageError: empty, truncated, damaged, too large, animated, of several pages, or of an unsupported kind.
        MissingExtraError: HEIF or a camera raw file without its optional reader.
    """
    name, data = _contents(source, name)
    kind = _recognised(name, data)
    with explained(name, f"damaged or truncated {kind}, expected a whole file"), _pillow_unlimited():
        if kind == "RAW" or (kind == "TIFF" and tiff.is_raw(data)):
            return _developed(data, kind, max_pixels, salvage, development or raw.Development())
        found = _tiff(data, max_pixels) if kind == "TIFF" else _decoded(data, kind, max_pixels, salvage)
        info, notes = collect(found.image, data, found.orientation)
        if found.meaning:
            info = replace(info, saving={**info.saving, "bands": found.meaning})
        if found.image.mode == "CMYK":  # now sRGB, in three channels
            saving = {key: value for key, value in info.saving.items() if key not in ("qtables", "subsampling")}
            info = replace(info, icc=None, saving=saving)
    planes = (found.colours, found.alpha, found.bands)
    colours, alpha, bands = (None if part is None else upright(part, found.orientation) for part in planes)
    assert colours is not None
    pixels = np.ascontiguousarray(colours[..., 0] if colours.shape[2] == 1 else colours)
    notes = (*_format_notes(found.image, data, kind), *found.notes, *notes)
    return Picture(pixels, alpha, kind, info, notes, bands)


def _developed(data: bytes, kind: str, max_pixels: int, salvage: bool, how: raw.Development) -> Picture:
    """A picture of a camera raw file."""
    missing = tiff.cut_short(data) if kind == "TIFF" else None
    if missing and not salvage:
        raise ImageError(f"{missing}; copy it again, or salvage what there is (--salvage)")
    found = raw.develop(data, how, max_pixels)
    notes = (*found.notes, f"{missing}; what is missing stays black") if missing else found.notes
    return Picture(found.pixels, None, "RAW", Metadata(exif=found.exif), notes)


def _decoded(data: bytes, kind: str, max_pixels: int, salvage: bool) -> _Decoded:
    """A picture of any format but TIFF."""
    if kind == "PNG":
        data = png.without_texts(data)
    image, rows, notes = _opened(data, kind), None, list[str]()
    _check(image, data, max_pixels)
    try:
        samples, more = _samples(image, data)
    except OSError:
        if kind != "JPEG" or jpeg.end(data) is not None:
            raise
        data, rows, note = jpeg.mended(data, salvage=salvage)
        notes.append(note)
        image = _opened(data, kind)
        samples, more = _samples(image, data)
    colours, alpha = _parted(samples[:rows])
    return _Decoded(image, stated_orientation(image), colours, alpha, notes=(*notes, *more))


def _tiff(data: bytes, max_pixels: int) -> _Decoded:
    pages = tiff.pages(data)
    page, notes = pages[0], list(tiff.check(pages, data))
    bits = tiff.depth(page) * page.get(tiff.CHANNELS, 1)
    _check_size(page[tiff.WIDTH], page[tiff.HEIGHT], bits, max_pixels)
    _check_unfolded(page[tiff.WIDTH] * page[tiff.HEIGHT] * bits // 8, data)
    image, lies, mask = tiff.open_page(data, page), tiff.orientation(page), tiff.mask(data, pages)
    if tiff.is_plain(page):
        meaning = tiff.bands(page)
        colours, alpha, bands = tiff.arranged(tiff.samples(data, page), meaning)
    else:
        samples, more = _samples(image, data)
        (colours, alpha), bands, meaning = _parted(samples), None, None
        notes += more
    if mask is not None and alpha is None:
        meaning = replace(meaning or tiff.Bands(2 if colours.shape[2] == 3 else 1), mask=True)
        alpha = _as_deep(mask, colours)
    elif mask is not None:
        notes.append("transparency mask left out, since there is an alpha channel")
    return _Decoded(image, lies, colours, alpha, bands, meaning, tuple(notes))


def _as_deep(mask: NDArray[np.uint8], colours: NDArray[Any]) -> NDArray[Any]:
    return mask.astype(colours.dtype) * 257 if colours.dtype == np.uint16 else mask


def _parted(samples: Samples) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Colours (H, W, 1 | 3) and alpha (H, W) of samples (H, W, C)."""
    count = 1 if samples.shape[2] < 3 else 3
    return samples[..., :count], samples[..., -1] if samples.shape[2] > count else None


def contents(path: str | os.PathLike[str]) -> bytes:
    """A picture file's bytes. Raises UsageError if there is no such file, ImageError if it cannot be read."""
    path = Path(path)
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder; expected a picture file")
        if path.is_block_device() or path.is_char_device():
            raise UsageError(f"{path} is a device; expected a picture file")
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; expected a picture file") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be read: {_reason(error)}") from error


def _contents(source: str | os.PathLike[str] | bytes | BinaryIO, name: str | None) -> tuple[str, bytes]:
    """A name for messages, and the whole file."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        name, data = name or "the input", bytes(source)
    elif isinstance(source, (str, os.PathLike)):
        name, data = name or str(source), contents(source)
    else:
        name, data = name or str(getattr(source, "name", "the input")), source.read()
        if not isinstance(data, bytes):
            raise ImageError(
                f"{name}: expected a file opened for bytes, found {type(data).__name__}; open it with 'rb'"
            )
    if not data:
        raise ImageError(f"{name} is empty (0 bytes); expected a picture")
    return name, data


def detected(data: bytes) -> str | None:
    """The format that a file's first bytes belong to, None for anything that is not read."""
    return next((kind for kind, start in _SIGNATURES.items() if re.match(start, data[:64], _ANY)), None)


def _recognised(name: str, data: bytes) -> str:
    if kind := detected(data):
        return kind
    for foreign, signature in _FOREIGN.items():
        if re.match(signature, data[:64], _ANY):
            raise ImageError(f"{name} is {foreign}; expected {_KNOWN}: convert it first")
    raise ImageError(f"{name} is not a picture; expected {_KNOWN}")


def _reason(error: BaseException) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(text.split())[:200]


@contextmanager
def explained(name: str, failure: str) -> Iterator[None]:
    """Name the picture in every ImageError, and turn what Pillow raises (on hostile files, nearly anything) into one.

    failure: what the error then says before the reason
    """
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except NedrError:
        raise
    except MemoryError as error:
        raise ImageError(f"{name} needs more memory than there is; make it smaller") from error
    except Exception as error:
        unidentified = isinstance(error, UnidentifiedImageError)
        found = "its header is damaged or states an unsupported layout" if unidentified else _reason(error)
        raise ImageError(f"{name}: {failure}: {found}") from error


_unlimited_users = 0
_unlimited_before: int | None = None
_unlimited_lock = threading.Lock()


@contextmanager
def _pillow_unlimited() -> Iterator[None]:
    """Lift Pillow's process-wide limit of 179 megapixels while pictures checked by `max_pixels` are decoded."""
    global _unlimited_users, _unlimited_before
    with _unlimited_lock:
        if _unlimited_users == 0:
            _unlimited_before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _unlimited_users += 1
    try:
        yield
    finally:
        with _unlimited_lock:
            _unlimited_users -= 1
            if _unlimited_users == 0:
                Image.MAX_IMAGE_PIXELS = _unlimited_before


def _opened(data: bytes, kind: str) -> ImageFile.ImageFile:
    """The picture with its header parsed, its pixels not yet decoded."""
    if kind == "HEIF":
        try:
            heif = importlib.import_module("pillow_heif")
        except ImportError:
            raise missing_extra("reading HEIF", "heif") from None
        image: ImageFile.ImageFile = heif.HeifImageFile(BytesIO(data))
        return image
    if kind in ("WEBP", "AVIF") and not features.check(kind.lower()):
        raise ImageError(f"the installed Pillow cannot read {kind}; install Pillow's own wheel")
    return Image.open(BytesIO(data), formats=[kind])


def _check(image: ImageFile.ImageFile, data: bytes, max_pixels: int) -> None:
    bits = png.bits(data) if image.format == "PNG" else 8 * len(image.getbands())
    _check_size(*image.size, bits, max_pixels)
    if image.format in _UNFOLDING:
        _check_unfolded(image.width * image.height * bits // 8, data)
    if (frames := getattr(image, "n_frames", 1)) > 1 and image.format not in ("MPO", "HEIF"):
        raise ImageError(f"animated ({frames} frames), expected a single picture; extract its frames first")


def _check_size(width: int, height: int, bits: int, max_pixels: int) -> None:
    """Refuse a picture by its header; `bits` are those of a pixel."""
    if width < 1 or height < 1:
        raise ImageError(f"{width} x {height} found, expected at least one pixel")
    pixels, limit = width * height, max_pixels * 32 // max(32, bits)
    if pixels > limit:
        raise ImageError(
            f"{width} x {height} = {pixels / 1e6:.0f} megapixels found, expected at most {limit / 1e6:g}"
            f"{f' of {bits} bits each' if limit < max_pixels else ''}; "
            "make it smaller, or raise the limit (max_pixels; --max-megapixels of nedr serve)"
        )


def _check_unfolded(size: int, data: bytes) -> None:
    """Refuse a file that unfolds to `size` bytes of pixels if only a bomb would."""
    if size > max(_MOST_UNFOLDED, _MOST_TIMES * len(data)):
        raise ImageError(
            f"{size / 1e6:.0f} MB of pixels in a file of {len(data) / 1e6:.1f} MB found, as only in blank pictures; "
            f"expected at most {_MOST_TIMES} times the file's size"
        )


def _format_notes(image: ImageFile.ImageFile, data: bytes, kind: str) -> Iterator[str]:
    if (frames := getattr(image, "n_frames", 1)) > 1:
        yield f"the main one of {frames} pictures in the file; the others are left out"
    if kind == "AVIF" and (at := data.find(b"av1C")) >= 0 and data[at + 6 : at + 7] and data[at + 6] & 64:
        yield "more than 8 bits per sample read as 8"
    if kind == "HEIF" and (image.info.get("aux") or image.info.get("depth_images")):
        yield "auxiliary images of the file (gain map, depth, mattes) left out"
    if kind == "HEIF" and image.info.get("bit_depth", 8) > 8:
        yield "more than 8 bits per sample read as 8"


# Pixels


def _samples(image: ImageFile.ImageFile, data: bytes) -> tuple[Samples, tuple[str, ...]]:
    """The decoded pixels (H, W, C), colours and alpha, as stored in the file, and notes."""
    if image.format == "PNG" and png.has_deep_colour(data):
        return _keyed(png.read_deep_colour(image, data), image, data), ()
    if image.format == "PPM" and (found := netpbm.read(image, data)) is not None:
        return found, ()
    depth = tiff.depth(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else 8
    image.load()
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _keyed(_deep_grey(image, depth), image, data), ()
    if image.mode == "CMYK":
        converted, note = colour.cmyk_to_srgb(image, image.info.get("icc_profile"))
        return np.asarray(converted), (note, "16 bits per sample read as 8") if depth > 8 else (note,)
    if image.mode in ("P", "PA"):
        colours = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
        return (_as_grey(colours), ()) if image.format == "GIF" else (colours, ("palette written as RGB",))
    modes = {"1": "L", "L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "RGBX": "RGB", "YCbCr": "RGB"}
    if image.mode not in modes:
        raise ImageError(
            f"samples of Pillow's mode {image.mode} found, expected RGB or grey of 8 or 16 bits; convert it first"
        )
    samples = np.asarray(image.convert(modes[image.mode]) if modes[image.mode] != image.mode else image)
    return _keyed(np.atleast_3d(samples), image, data), ("a fourth band left out",) if image.mode == "RGBX" else ()


def _as_grey(colours: Samples) -> Samples:
    """Samples whose colours are all grey as grey, with any alpha; others unchanged."""
    is_grey = (colours[..., :1] == colours[..., 1:3]).all()
    return colours[..., [0, *range(3, colours.shape[2])]] if is_grey else colours


def _deep_grey(image: ImageFile.ImageFile, depth: int) -> Samples:
    """16-bit grey (H, W, 1); TIFF's 12 bits are stretched, and its inverted greys, which Pillow ignores, inverted."""
    samples = np.asarray(image)
    if depth not in (8, 16):
        samples = netpbm.scaled(samples.astype(np.uint16), (1 << depth) - 1)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(tiff.PHOTOMETRIC) == 0:
        samples = 65535 - samples
    return samples.astype(np.uint16)[..., None]


def _keyed(samples: Samples, image: ImageFile.ImageFile, data: bytes) -> Samples:
    """Add the alpha channel that a PNG's transparent colour implies."""
    key = image.info.get("transparency")
    if image.format != "PNG" or key is None or samples.shape[2] not in (1, 3):
        return samples
    top = np.iinfo(samples.dtype).max
    value = np.asarray(key) * (top // ((1 << data[24]) - 1))  # data[24]: bits of a sample in the file
    alpha = np.where((samples == value).all(axis=2, keepdims=True), 0, top)
    return np.concatenate([samples, alpha.astype(samples.dtype)], axis=2)


# Encoding


@dataclass(frozen=True)
class Encoded:
    """A picture as a file.

    Attributes:
        data: the file's bytes.
        notes: what of the picture the file does not hold, one sentence each.
    """

    data: bytes
    notes: tuple[str, ...] = ()


def encode(picture: Picture, format: str | None = None, *, quality: int | None = None) -> bytes:
    """The bytes of `encoded`, without its notes; same arguments, same errors."""
    return encoded(picture, format, quality=quality).data


def encoded(picture: Picture, format: str | None = None, *, quality: int | None = None) -> Encoded:
    """A picture as a file, with the metadata that the format can hold, and notes on what it cannot.

    The picture's own format is compressed as the source was (JPEG's quantisation and subsampling, TIFF's compression,
    WebP lossless or not); other formats at quality 92. Formats of 8 bits round 16-bit pixels; those without profiles
    (BMP, PPM, WebP when grey) get sRGB colours.

    Args:
        picture: what to write.
        format: one of the formats of `Picture`; None for the picture's own; JPEG for a HEIF, TIFF for a RAW.
        quality: 1..100 for JPEG, WebP and AVIF, instead of the source's; other formats are lossless and ignore it.

    Raises:
        UsageError: an unknown or read-only format, a quality out of range, or transparency that the format cannot hold.
        ImageError: too large for the format, or metadata that does not fit.
    """
    target = format or READ_ONLY.get(picture.format, picture.format)
    if target not in WRITERS:
        raise UsageError(f"{target} cannot be written; expected one of {', '.join(WRITERS)}")
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality {quality} found; expected 1 to 100")
    fitted, notes = _fitted(picture, target)
    with explained("the picture", f"cannot be written as {target}"):
        return Encoded(WRITERS[target](_stacked(fitted), fitted.info, quality), notes)


def _stacked(picture: Picture) -> Samples:
    """Colours, alpha and further bands as the samples (H, W, C) of a file, in its order of bands."""
    planes = [np.atleast_3d(picture.pixels)]
    behind = [] if picture.bands is None else list(np.moveaxis(picture.bands, -1, 0))
    if picture.alpha is not None:
        meaning = picture.info.saving.get("bands")
        place = 0 if meaning is None else meaning.alpha
        behind.insert(len(behind) if place is None else place, picture.alpha)
    planes += [plane[..., None] for plane in behind]
    return np.concatenate(planes, axis=2) if behind else planes[0]


def _fitted(picture: Picture, target: str) -> tuple[Picture, tuple[str, ...]]:
    """The picture with what `target` cannot hold converted or left out, and notes that say so."""
    name, notes = "WebP" if target == "WEBP" else target, list[str]()
    picture = _without_opaque_alpha(picture, target)
    pixels, alpha, bands, info = picture.pixels, picture.alpha, picture.bands, picture.info
    if target != picture.format:
        lost = [
            *info.named,
            *([f"{bands.shape[2]} further band{'s' * (bands.shape[2] > 1)}"] if bands is not None else []),
        ]
        notes += [f"{', '.join(lost)} left out: not supported by {name}"] if lost else []
        info, bands = info.for_other_format(), None
    if info.icc and (target in _BARE or (target == "WEBP" and pixels.ndim == 2)):
        pixels, info = picture.to_srgb(pixels), replace(info, icc=None)
        notes.append(f"colours converted to sRGB, since {name} cannot hold their profile")
    if target in _BARE and (told := [part for part in ("EXIF", "XMP") if getattr(info, part.lower())]):
        notes.append(f"{' and '.join(told)} left out: not supported by {name}")
        info = replace(info, exif=None, xmp=None)
    if target not in _DEEP and pixels.dtype == np.uint16:
        pixels, alpha = eight_bits(pixels), None if alpha is None else eight_bits(alpha)
        notes.append(f"16 bits per sample rounded to 8, since {name} holds no more")
    if target == "JPEG" and info.exif:
        exif, more = jpeg.short_exif(info.exif)
        info, notes = replace(info, exif=exif or None), [*notes, *more]
    return replace(picture, pixels=pixels, alpha=alpha, bands=bands, info=info), tuple(notes)


def _without_opaque_alpha(picture: Picture, target: str) -> Picture:
    """The picture without alpha if `target` has none. Raises UsageError if anything is transparent."""
    if picture.alpha is None or target not in ("JPEG", "PPM"):
        return picture
    if picture.alpha.min() < np.iinfo(picture.alpha.dtype).max:
        raise UsageError(f"{target} cannot hold transparency; write PNG, TIFF or WebP")
    return replace(picture, alpha=None)
