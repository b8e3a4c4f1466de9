"""Picture files: read to upright pixels with all that belongs to them, written back without loss, never half written.

JPEG, PNG, TIFF, WebP, AVIF, BMP, netpbm (PBM, PGM, PPM), and HEIF for reading. Depth (8 or 16 bits), grey and alpha
stay as they are; EXIF, XMP, resolution and colour profile travel along. The parts: `metadata` and `colour` (profiles),
`deep` (16 bits), `encoders` (a function per format), `atomic` (writing).
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
from nedr.pictures import sixteen_bit
from nedr.pictures.arrays import eight_bits
from nedr.pictures.atomic import write
from nedr.pictures.encoders import WRITERS
from nedr.pictures.metadata import Metadata, collect, stated_orientation

__all__ = [
    "MAX_PIXELS",
    "READ_ONLY",
    "SUFFIXES",
    "Encoded",
    "Metadata",
    "Picture",
    "contents",
    "encode",
    "encoded",
    "format_for",
    "read",
    "write",
]

MAX_PIXELS = 300_000_000
"""The largest picture that `read` decodes unless told otherwise."""

_SUFFIXES = {
    "JPEG": ".jpg .jpeg .jpe .jfif .mpo",
    "PNG": ".png",
    "TIFF": ".tif .tiff",
    "WEBP": ".webp",
    "AVIF": ".avif",
    "HEIF": ".heic .heif .hif",
    "BMP": ".bmp .dib",
    "PPM": ".ppm .pgm .pbm .pnm",
}
SUFFIXES: dict[str, str] = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
"""File name suffixes (lower case, with the dot) and their formats."""

_NAMES = {"WEBP": "WebP"}

READ_ONLY = frozenset({"HEIF"})
"""Formats that can be read but not written; `encode` writes JPEG instead unless told otherwise."""

_SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "TIFF": rb"II[*+]\0(?!.{4}CR)|MM\0[*+]",
    "WEBP": rb"RIFF....WEBP",
    "AVIF": rb"....ftyp(avif|avis|.{8,}?avif)",
    "HEIF": rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)",
    "BMP": rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "PPM": rb"P[1-6]\s",
}
_FOREIGN = {
    "GIF": rb"GIF8",
    "a Photoshop document": rb"8BPS",
    "PDF": rb"%PDF",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "a camera raw file": rb"II\*\0.{4}CR|IIU\0|IIR[OS]|FUJIFILMCCD|....ftypcrx ",
    "OpenEXR": rb"v/1\x01",
    "Radiance HDR": rb"#\?RADIANCE|#\?RGBE",
    "text (HTML, SVG)": rb"\s*<",
    "a video": rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI ",
}
_ANY = re.DOTALL

# Orientation: exchange rows and columns, then mirror top to bottom, then left to right.
_TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


@dataclass(frozen=True)
class Picture:
    """A picture file's contents, upright.

    Attributes:
        pixels: (H, W, 3) RGB, or (H, W) when the picture is grey; uint8 or uint16, in the picture's own colour space.
        alpha: (H, W) of the same type, or None.
        format: "JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF", "BMP" or "PPM".
        info: EXIF, profile, XMP, resolution, and how the file was compressed.
        notes: what a reader should know, one sentence each ("CMYK converted ...").
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None
    format: str
    info: Metadata
    notes: tuple[str, ...] = ()

    def to_srgb(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Colours of the picture's own space as sRGB, same type and shape; see `nedr.pictures.icc.convert`.

        For a grey picture `pixels` are grey levels, in any shape; else (..., 3), uint8, uint16 or floats in [0, 1].
        """
        return colour.convert(pixels, self.info.icc, grey=self.pixels.ndim == 2)

    def from_srgb(self, colours: NDArray[Any]) -> NDArray[Any]:
        """sRGB colours (of the kinds that `to_srgb` takes) in the picture's own space."""
        return colour.convert(colours, self.info.icc, grey=self.pixels.ndim == 2, inverse=True)


def format_for(path: str | os.PathLike[str]) -> str:
    """The format that a file name's suffix stands for. Raises UsageError for any other suffix."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{path}: unknown suffix {suffix!r}, expected one of {' '.join(SUFFIXES)}")
    return SUFFIXES[suffix]


def read(
    source: str | os.PathLike[str] | bytes | BinaryIO, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Picture:
    """Read a picture from a path, from a file's bytes, or from an open binary file.

    Args:
        source: what to read. The format is told by the contents, never by the name.
        max_pixels: the largest width times height accepted, checked before anything is decoded.
        name: what to call the picture in messages; None for the path.

    Raises:
        UsageError: the path does not exist or is a folder or a device.
        ImageError: empty, truncated, damaged, too large, animated, of several pages, or of an unsupported kind.
        MissingExtraError: HEIF without its optional reader.
    """
    name, data = _contents(source, name)
    kind = _recognised(name, data)
    with _explained(name, f"damaged or truncated {kind}, expected a whole file"), _pillow_unlimited():
        image = _opened(data, kind)
        _check(image, data, max_pixels)
        turned = stated_orientation(image) if kind == "TIFF" else None
        samples, notes = _samples(image, data)
        orientation = turned or stated_orientation(image)
        info, more = collect(image, data, orientation)
        if image.mode == "CMYK":
            saving = {key: value for key, value in info.saving.items() if key not in ("qtables", "subsampling")}
            info = replace(info, icc=None, saving=saving)  # now sRGB, in three channels
    upright = samples if turned else _upright(samples, orientation)  # Pillow turns TIFF itself
    channels = upright.shape[2]
    pixels = upright[..., 0] if channels < 3 else upright[..., :3]
    alpha = None if channels in (1, 3) else np.ascontiguousarray(upright[..., -1])
    notes = (*_format_notes(image, data, kind), *notes, *more)
    return Picture(np.ascontiguousarray(pixels), alpha, kind, info, notes)


def contents(path: str | os.PathLike[str]) -> bytes:
    """A picture file's bytes. Raises UsageError where there is no file, ImageError for one that cannot be read."""
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


def _recognised(name: str, data: bytes) -> str:
    head = data[:64]
    for kind, signature in _SIGNATURES.items():
        if re.match(signature, head, _ANY):
            return kind
    known = "JPEG, PNG, TIFF, WebP, AVIF, HEIF, BMP or PPM"
    for kind, signature in _FOREIGN.items():
        if re.match(signature, head, _ANY):
            raise ImageError(f"{name} is {kind}; expected {known}: convert it first")
    raise ImageError(f"{name} is not a picture; expected {known}")


def _reason(error: BaseException) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(text.split())[:200]


@contextmanager
def _explained(name: str, failure: str) -> Iterator[None]:
    """Name the picture in every ImageError, and make one of what Pillow raises: on hostile files, nearly anything."""
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
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{width} x {height} found, expected at least one pixel")
    if width * height > max_pixels:
        raise ImageError(
            f"{width} x {height} = {width * height / 1e6:.0f} megapixels found, expected at most {max_pixels / 1e6:g}; "
            "make it smaller, or raise the limit (max_pixels; --max-megapixels of nedr serve)"
        )
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tiff(image, data)
    elif (frames := getattr(image, "n_frames", 1)) > 1 and image.format not in ("MPO", "HEIF"):
        raise ImageError(f"animated ({frames} frames), expected a single picture; extract its frames first")


def _check_tiff(image: TiffImagePlugin.TiffImageFile, data: bytes) -> None:
    """Refuse raw files, whose first directory is a preview, and documents; thumbnails behind the picture may stay."""
    if image.tag_v2.get(254, 0) & 1 or 50706 in image.tag_v2 or image.tag_v2.get(262) in (32803, 34892):
        raise ImageError("camera raw file, expected a developed picture; convert it to TIFF or JPEG first")
    for page in range(1, image.n_frames):
        image.seek(page)
        if not image.tag_v2.get(254, 0) & 1:
            raise ImageError(f"{image.n_frames} pages found, expected a single picture; split it first")
    image.seek(0)
    for offsets, sizes in ((273, 279), (324, 325)):  # libtiff would print a line of its own for each that is cut off
        ends = [at + size for at, size in zip(image.tag_v2.get(offsets, ()), image.tag_v2.get(sizes, ()), strict=False)]
        if max(ends, default=0) > len(data):
            raise ImageError(f"truncated, {max(ends)} bytes expected and {len(data)} found; copy it again")


def _format_notes(image: ImageFile.ImageFile, data: bytes, kind: str) -> Iterator[str]:
    if (frames := getattr(image, "n_frames", 1)) > 1:
        yield f"the main one of {frames} pictures in the file; the others are left out"
    if kind == "AVIF" and (at := data.find(b"av1C")) >= 0 and data[at + 6 : at + 7] and data[at + 6] & 64:
        yield "more than 8 bits per sample read as 8"
    if kind == "HEIF" and image.info.get("bit_depth", 8) > 8:
        yield "more than 8 bits per sample read as 8"


# Pixels


def _samples(image: ImageFile.ImageFile, data: bytes) -> tuple[sixteen_bit.Samples, tuple[str, ...]]:
    """The decoded pixels (H, W, C) as they lie in the file, and notes."""
    if sixteen_bit.is_deep_colour(image, data):
        return _keyed(sixteen_bit.read_deep_colour(image, data), image, data), ()
    if image.format == "PPM" and (netpbm := sixteen_bit.read_netpbm(image, data)) is not None:
        return netpbm, ()
    depth = max(image.tag_v2.get(258, (8,))) if isinstance(image, TiffImagePlugin.TiffImageFile) else 8
    image.load()
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _keyed(_deep_grey(image, depth), image, data), ()
    if image.mode == "CMYK":
        converted, note = colour.cmyk_to_srgb(image, image.info.get("icc_profile"))
        notes = (note, "16 bits per sample read as 8") if depth > 8 else (note,)
        return np.asarray(converted), notes
    if image.mode in ("P", "PA"):
        return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB")), ("palette written as RGB",)
    modes = {"1": "L", "L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "RGBX": "RGB", "YCbCr": "RGB"}
    if image.mode not in modes:
        raise ImageError(
            f"samples of Pillow's mode {image.mode} found, expected RGB or grey of 8 or 16 bits; convert it first"
        )
    samples = np.asarray(image.convert(modes[image.mode]) if modes[image.mode] != image.mode else image)
    return _keyed(np.atleast_3d(samples), image, data), ()


def _deep_grey(image: ImageFile.ImageFile, depth: int) -> sixteen_bit.Samples:
    """16-bit grey (H, W, 1); TIFF's 12 bits are stretched, and its inverted greys, forgotten by Pillow, inverted."""
    samples = np.asarray(image)
    if depth not in (8, 16):
        samples = sixteen_bit.scaled(samples.astype(np.uint16), (1 << depth) - 1)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(262) == 0:
        samples = 65535 - samples
    return samples.astype(np.uint16)[..., None]


def _keyed(samples: sixteen_bit.Samples, image: ImageFile.ImageFile, data: bytes) -> sixteen_bit.Samples:
    """Add the alpha channel that a PNG's transparent colour stands for."""
    key = image.info.get("transparency")
    if image.format != "PNG" or key is None or samples.shape[2] not in (1, 3):
        return samples
    top = np.iinfo(samples.dtype).max
    value = np.asarray(key) * (top // ((1 << data[24]) - 1))  # data[24]: bits of a sample in the file
    alpha = np.where((samples == value).all(axis=2, keepdims=True), 0, top)
    return np.concatenate([samples, alpha.astype(samples.dtype)], axis=2)


def _upright(samples: sixteen_bit.Samples, orientation: int) -> sixteen_bit.Samples:
    transpose, flip, mirror = _TURNS.get(orientation, (False, False, False))
    samples = samples.swapaxes(0, 1) if transpose else samples
    return samples[:: -1 if flip else 1, :: -1 if mirror else 1]


# Encoding


@dataclass(frozen=True)
class Encoded:
    """A picture as a file.

    Attributes:
        data: the file's bytes.
        notes: what the picture had that the file does not hold, one sentence each.
    """

    data: bytes
    notes: tuple[str, ...] = ()


def encode(picture: Picture, format: str | None = None, *, quality: int | None = None) -> bytes:
    """The bytes of `encoded`, for callers who have no use for its notes; same arguments, same errors."""
    return encoded(picture, format, quality=quality).data


def encoded(picture: Picture, format: str | None = None, *, quality: int | None = None) -> Encoded:
    """A picture as a file, with its metadata as far as the format holds any, and notes on what it does not hold.

    The picture's own format is compressed as the source was (JPEG's quantisation and subsampling, TIFF's compression,
    WebP's losslessness); other formats at quality 92. Formats of 8 bits round 16-bit pixels; those without profiles
    (BMP, PPM, WebP when grey) get sRGB colours.

    Args:
        picture: what to write.
        format: one of the formats of `Picture`; None for the picture's own, or JPEG for a HEIF.
        quality: 1..100 for JPEG, WebP and AVIF, in place of the source's; other formats lose nothing and ignore it.

    Raises:
        UsageError: an unknown or read-only format, a wrong quality, or transparency that the format cannot hold.
        ImageError: too large for the format, or metadata that do not fit it.
    """
    target = format or ("JPEG" if picture.format in READ_ONLY else picture.format)
    if target not in WRITERS:
        raise UsageError(f"{target} cannot be written; expected one of {', '.join(WRITERS)}")
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality {quality} found; expected 1 to 100")
    fitted, notes = _fitted(picture, target)
    planes = [np.atleast_3d(fitted.pixels)] + ([] if fitted.alpha is None else [fitted.alpha[..., None]])
    samples = np.concatenate(planes, axis=2) if len(planes) > 1 else planes[0]
    saving = fitted.info.saving if target == fitted.format else {}
    with _explained("the picture", f"cannot be written as {target}"):
        return Encoded(WRITERS[target](samples, replace(fitted.info, saving=saving), quality), notes)


def _fitted(picture: Picture, target: str) -> tuple[Picture, tuple[str, ...]]:
    """The picture with what `target` cannot hold converted or left out, and notes that say what."""
    pixels, alpha, info, notes = picture.pixels, picture.alpha, picture.info, list[str]()
    if alpha is not None and target in ("JPEG", "PPM"):
        if alpha.min() < np.iinfo(alpha.dtype).max:
            raise UsageError(f"{target} cannot hold transparency; write PNG, TIFF or WebP")
        alpha = None
    if info.icc and (target in ("BMP", "PPM") or (target == "WEBP" and pixels.ndim == 2)):
        pixels, info = picture.to_srgb(pixels), replace(info, icc=None)
        notes.append(f"colours converted to sRGB, since {_NAMES.get(target, target)} cannot hold their profile")
    if target in ("BMP", "PPM") and (lost := [name for name in ("EXIF", "XMP") if getattr(info, name.lower())]):
        notes.append(f"{' and '.join(lost)} left out, which {_NAMES.get(target, target)} cannot hold")
        info = replace(info, exif=None, xmp=None)
    if target not in ("PNG", "TIFF", "PPM") and pixels.dtype == np.uint16:
        pixels, alpha = eight_bits(pixels), None if alpha is None else eight_bits(alpha)
        notes.append(f"16 bits per sample rounded to 8, since {_NAMES.get(target, target)} holds no more")
    return replace(picture, pixels=pixels, alpha=alpha, info=info), tuple(notes)
