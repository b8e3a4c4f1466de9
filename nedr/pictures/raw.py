"""Camera raw files (DNG, NEF, CR2, CR3, ARW, RAF, ORF, RW2, PEF ...), developed by LibRaw through rawpy."""

import importlib
import math
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nedr.errors import ImageError, UsageError, missing_extra
from nedr.pictures import tiff
from nedr.pictures.metadata import upright_exif

SUFFIXES = (
    ".dng .nef .nrw .cr2 .cr3 .crw .arw .srf .sr2 .raf .orf .rw2 .rwl .pef .srw .3fr .fff .iiq .mef .mos .mrw .x3f "
    ".erf .dcr .kdc"
)
"""File name suffixes of camera raw files, separated by spaces."""

WHITE_BALANCES = ("camera", "auto", "daylight")

# What a photograph's EXIF says in its first directory; the rest of a raw file's describes its sensor.
_DESCRIPTION = (270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 33432, 34665, 34853)
_EXIF_IFD, _SIZES = 34665, (0xA002, 0xA003)
_BRIGHT_SHARE = 0.001  # of the pixels may become white when LibRaw chooses the brightness
_HEADS = {b"IIRO": b"II*\0", b"IIRS": b"II*\0", b"MMOR": b"MM\0*", b"IIU\0": b"II*\0"}  # of Olympus and Panasonic


@dataclass(frozen=True)
class Development:
    """How a raw file becomes a picture.

    white_balance: "camera", as the camera chose it, "auto" from the picture, "daylight", or what red, green and blue
        are multiplied by
    exposure: in stops, -2..3, on top of LibRaw's own choice of brightness

    Raises UsageError for values that cannot be used.
    """

    white_balance: str | tuple[float, ...] = "camera"
    exposure: float = 0.0

    def __post_init__(self) -> None:
        chosen = self.white_balance
        if isinstance(chosen, str):
            is_known = chosen in WHITE_BALANCES
        else:
            is_known = len(chosen) == 3 and all(0 < factor < math.inf for factor in chosen)
        if not is_known:
            expected = f"{', '.join(WHITE_BALANCES)} or three factors above 0 such as 2,1,1.5"
            raise UsageError(f"expected a white balance of {expected}, found {self.balance}")
        if not -2 <= self.exposure <= 3:
            raise UsageError(f"expected an exposure of -2 to 3 stops, found {self.exposure:g}")

    @property
    def options(self) -> dict[str, Any]:
        """As rawpy takes them: 16-bit sRGB at full size, highlights blended rather than tinted."""
        options: dict[str, Any] = {"output_bps": 16, "gamma": (2.4, 12.92), "auto_bright_thr": _BRIGHT_SHARE}
        if isinstance(self.white_balance, str):
            options |= {"camera": {"use_camera_wb": True}, "auto": {"use_auto_wb": True}}.get(self.white_balance, {})
        else:
            red, green, blue = self.white_balance
            options["user_wb"] = [red, green, blue, green]
        options |= {"exp_shift": 2.0**self.exposure, "exp_preserve_highlights": 0.5} if self.exposure else {}
        return options

    @property
    def balance(self) -> str:
        """The white balance as the command line takes it."""
        chosen = self.white_balance
        return chosen if isinstance(chosen, str) else ",".join(f"{factor:g}" for factor in chosen)


@dataclass(frozen=True)
class Developed:
    """pixels: (H, W, 3) uint16, sRGB, upright;  exif: without a prefix, or None;  notes: how it was developed."""

    pixels: NDArray[np.uint16]
    exif: bytes | None
    notes: tuple[str, ...]


def develop(data: bytes, how: Development, max_pixels: int) -> Developed:
    """The picture in a raw file.

    Raises:
        ImageError: LibRaw cannot read it, or it has more than `max_pixels`.
        MissingExtraError: without rawpy.
    """
    try:
        rawpy = importlib.import_module("rawpy")
    except ImportError:
        raise missing_extra("a camera raw file", "raw") from None
    try:
        with rawpy.imread(BytesIO(data)) as file:
            sizes = file.sizes
            if sizes.width * sizes.height > max_pixels:
                raise ImageError(
                    f"{sizes.width} x {sizes.height} pixels found, expected at most {max_pixels / 1e6:g} megapixels"
                )
            blend = {"highlight_mode": rawpy.HighlightMode.Blend}
            pixels = np.ascontiguousarray(file.postprocess(**how.options, **blend))
            exif = _exif(data) or _preview_exif(file, rawpy)
    except (rawpy.LibRawError, ValueError) as error:
        raise ImageError(f"camera raw file that LibRaw cannot read: {_text(error)}") from error
    version = ".".join(map(str, rawpy.libraw_version))
    exposure = f", exposure {how.exposure:+g}" if how.exposure else ""
    told = f"developed by LibRaw {version}: white balance {how.balance}{exposure}, sRGB, 16 bits"
    return Developed(pixels, exif, (told,))


def _text(error: BaseException) -> str:
    found = error.args[0] if error.args else error
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)


def _exif(data: bytes) -> bytes | None:
    """EXIF of a raw file that is built like a TIFF, without its sensor's tags and sizes; None for others."""
    head = _HEADS.get(data[:4], data[:4])
    if head not in (b"II*\0", b"MM\0*"):
        return None
    try:
        page = tiff.directories(head + data[4:])[0]
    except (ImageError, ValueError, OSError, IndexError):
        return None
    block = tiff.Directory()
    for tag in _DESCRIPTION:
        if tag in page:
            value = page[tag]
            if tag == _EXIF_IFD:
                value = {key: held for key, held in dict(value).items() if key not in _SIZES}
            block[tag] = value
    if not len(block):
        return None
    block.save(file := BytesIO())
    return file.getvalue()


def _preview_exif(file: Any, rawpy: Any) -> bytes | None:
    """EXIF of the preview inside other raw files, for the picture that LibRaw has turned upright."""
    try:
        preview = file.extract_thumb()
        if preview.format != rawpy.ThumbFormat.JPEG:
            return None
        found = Image.open(BytesIO(preview.data), formats=["JPEG"]).info.get("exif")
    except (rawpy.LibRawError, OSError, ValueError):
        return None
    turned = file.sizes.flip in (5, 6)  # LibRaw's numbers for a quarter turn
    return upright_exif(found.removeprefix(b"Exif\0\0"), turned=turned) if found else None
