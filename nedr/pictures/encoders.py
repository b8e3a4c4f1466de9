"""One function per format that can be written: samples and metadata in, the file's bytes out."""

import struct
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nedr.pictures import jpeg, netpbm, png, tiff
from nedr.pictures.metadata import Metadata, tiff_directory

Samples = NDArray[Any]
"""(H, W, C) uint8 or uint16: C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha; in a TIFF more may follow."""

QUALITY = 92
"""JPEG, WebP and AVIF quality where the source states none: dehazing must not bring out compression."""

_AVIF_SPEED = 8  # Pillow's own, 6, takes seven times as long (22 s for 24 megapixels) and saves 5 %
_PNG_LEVEL = 4  # level 6, Pillow's own, takes twice as long and saves 1 % of a photograph


def _pillow(samples: Samples) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(samples[..., 0] if samples.shape[2] == 1 else samples))


def _saved(samples: Samples, kind: str, info: Metadata, **options: Any) -> bytes:
    """Pillow's file of `samples` with the metadata that its writers share."""
    carried = {"exif": info.exif and b"Exif\0\0" + info.exif, "icc_profile": info.icc, "xmp": info.xmp}
    file = BytesIO()
    _pillow(samples).save(file, kind, **{key: value for key, value in carried.items() if value}, **options)
    return file.getvalue()


def _jpeg(samples: Samples, info: Metadata, quality: int | None) -> bytes:
    options = {"subsampling": 0, **info.saving}
    tables, segments, behind = (options.pop(name, None) for name in ("qtables", "segments", "behind"))
    if tables and quality is None:
        options["qtables"] = tables[: samples.shape[2]]
    else:
        options["quality"] = quality or QUALITY
    if info.dpi:
        options["dpi"] = info.dpi
    described = jpeg.xmp_segments(info.xmp) if info.xmp else []
    options["extra"] = jpeg.packed([*described, *(segments or ())])
    return _saved(samples, "JPEG", replace(info, xmp=None), **options) + (behind or b"")


def _png(samples: Samples, info: Metadata, quality: int | None) -> bytes:
    extra = [*png.described(icc=info.icc, exif=info.exif, xmp=info.xmp), *info.saving.get("chunks", ())]
    if info.dpi and not any(kind == b"pHYs" for kind, _ in extra):
        extra.append(png.resolution(info.dpi))
    deep = samples.dtype == np.uint16 and samples.shape[2] > 1
    plain = png.write(samples) if deep else _saved(samples, "PNG", Metadata(), compress_level=_PNG_LEVEL)
    return png.with_chunks(plain, extra)


def _tiff(samples: Samples, info: Metadata, quality: int | None) -> bytes:
    compression = info.saving.get("compression", "tiff_adobe_deflate")
    meaning = info.saving.get("bands")
    if meaning and samples.shape[2] - len(meaning.extra) - meaning.mask not in (1, 3):
        meaning = None  # of a picture whose bands were taken away
    return tiff.write(samples, compression, tiff_directory(info), meaning)


def _gif(samples: Samples, info: Metadata, quality: int | None) -> bytes:
    file = BytesIO()
    paletted(samples).save(file, "GIF", optimize=False)
    return file.getvalue()


def paletted(samples: Samples) -> Image.Image:
    """Samples of 8 bits with a palette of their own; what is less than half opaque becomes transparent."""
    colours = samples[..., 0] if samples.shape[2] < 3 else samples[..., :3]
    image = Image.fromarray(np.ascontiguousarray(colours))
    if samples.shape[2] in (1, 3):
        return image if image.mode == "L" else image.quantize(256)
    few = image.convert("RGB").quantize(255)
    few.paste(255, mask=Image.fromarray(np.where(samples[..., -1] < 128, 255, 0).astype(np.uint8)))
    few.info["transparency"] = 255
    return few


def _webp(samples: Samples, info: Metadata, quality: int | None) -> bytes:
    lossless = quality is None and bool(info.saving.get("lossless"))
    colours = samples if samples.shape[2] > 2 else samples[..., [0, 0, 0, 1][: samples.shape[2] + 2]]
    # exact: colours under full transparency are pixels too. Quality means effort when lossless.
    effort = 80 if lossless else quality or QUALITY
    return _saved(colours, "WEBP", info, lossless=lossless, quality=effort, exact=True)


def _avif(samples: Samples, info: Metadata, quality: int | None) -> bytes:
    options: dict[str, Any] = {"speed": _AVIF_SPEED}
    if samples.shape[2] > 1:
        options["subsampling"] = "4:4:4"
    if samples.shape[2] in (2, 4):
        options["advanced"] = {"alpha:lossless": "1"}
    return _saved(samples, "AVIF", info, quality=quality or QUALITY, **options)


def _bmp(samples: Samples, info: Metadata, quality: int | None) -> bytes:
    height, width, channels = samples.shape
    if channels in (1, 3):
        return _saved(samples, "BMP", Metadata(), **({"dpi": info.dpi} if info.dpi else {}))
    # Pillow writes alpha into bytes that its reader, like others, takes for padding: only channel masks make it alpha.
    rows = samples[::-1, :, [2, 1, 0, 3] if channels == 4 else [0, 0, 0, 1]].tobytes()
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    density = [round(value / 0.0254) for value in info.dpi or (0, 0)]
    head = struct.pack("<IiiHHIIiiII4I4s48x", 108, width, height, 1, 32, 3, len(rows), *density, 0, 0, *masks, b"BGRs")
    return struct.pack("<2sIII", b"BM", 14 + len(head) + len(rows), 0, 14 + len(head)) + head + rows


def _ppm(samples: Samples, info: Metadata, quality: int | None) -> bytes:
    return netpbm.write(samples)


WRITERS: dict[str, Callable[[Samples, Metadata, int | None], bytes]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "TIFF": _tiff,
    "WEBP": _webp,
    "AVIF": _avif,
    "BMP": _bmp,
    "PPM": _ppm,
    "GIF": _gif,
}
"""The function that makes a file of each format: samples, metadata, and a quality in place of the source's."""
