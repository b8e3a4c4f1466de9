"""One function per format that can be written: samples and metadata in, the file's bytes out."""

import struct
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo, getchunks, iTXt

from nedr.pictures import sixteen_bit
from nedr.pictures.metadata import Metadata, tiff_directory

QUALITY = 92
"""JPEG, WebP and AVIF quality where the source states none: lossy artefacts are not to show in pictures made clear."""

_AVIF_SPEED = 8  # Pillow's own, 6, takes seven times as long (22 s for 24 megapixels) and saves 5 %
_PNG_LEVEL = 4  # level 6, Pillow's own, takes twice as long and saves 1 % of a photograph


def _pillow(samples: sixteen_bit.Samples) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(samples[..., 0] if samples.shape[2] == 1 else samples))


def _saved(samples: sixteen_bit.Samples, kind: str, info: Metadata, **options: Any) -> bytes:
    """Pillow's file of `samples` with the metadata that its writers share."""
    carried = {"exif": info.exif and b"Exif\0\0" + info.exif, "icc_profile": info.icc, "xmp": info.xmp}
    file = BytesIO()
    _pillow(samples).save(file, kind, **{key: value for key, value in carried.items() if value}, **options)
    return file.getvalue()


def _jpeg(samples: sixteen_bit.Samples, info: Metadata, quality: int | None) -> bytes:
    options = {"subsampling": 0, **info.saving}
    tables = options.pop("qtables", None)
    if tables and quality is None:
        options["qtables"] = tables[: samples.shape[2]]
    else:
        options["quality"] = quality or QUALITY
    if info.dpi:
        options["dpi"] = info.dpi
    return _saved(samples, "JPEG", info, **options)


def _png(samples: sixteen_bit.Samples, info: Metadata, quality: int | None) -> bytes:
    extra = PngInfo()
    for kind, data in info.saving.get("chunks", ()):
        extra.add(kind, data)
    for key, text in info.saving.get("texts", {}).items():
        if isinstance(text, iTXt):
            extra.add_itxt(key, text, text.lang or "", text.tkey or "")
        else:
            extra.add_text(key, text)
    if info.xmp:
        extra.add_itxt("XML:com.adobe.xmp", info.xmp.decode("utf-8", "replace"))
    options: dict[str, Any] = {"pnginfo": extra}
    if info.dpi:
        options["dpi"] = info.dpi
    without_xmp = replace(info, xmp=None)
    if samples.dtype == np.uint8 or samples.shape[2] == 1:
        return _saved(samples, "PNG", without_xmp, compress_level=_PNG_LEVEL, **options)
    options |= {"exif": info.exif or b"", "icc_profile": info.icc}
    around = getchunks(Image.new("L", (1, 1)), **options)
    return sixteen_bit.write_png(
        samples, [(kind, data) for kind, data, _ in around if kind not in (b"IHDR", b"IDAT", b"IEND")]
    )


def _tiff(samples: sixteen_bit.Samples, info: Metadata, quality: int | None) -> bytes:
    return sixteen_bit.write_tiff(samples, info.saving.get("compression", "tiff_adobe_deflate"), tiff_directory(info))


def _webp(samples: sixteen_bit.Samples, info: Metadata, quality: int | None) -> bytes:
    lossless = quality is None and bool(info.saving.get("lossless"))
    colours = samples if samples.shape[2] > 2 else samples[..., [0, 0, 0, 1][: samples.shape[2] + 2]]
    # exact: colours under full transparency are pixels too. Quality means effort when lossless.
    effort = 80 if lossless else quality or QUALITY
    return _saved(colours, "WEBP", info, lossless=lossless, quality=effort, exact=True)


def _avif(samples: sixteen_bit.Samples, info: Metadata, quality: int | None) -> bytes:
    options: dict[str, Any] = {"speed": _AVIF_SPEED}
    if samples.shape[2] > 1:
        options["subsampling"] = "4:4:4"
    if samples.shape[2] in (2, 4):
        options["advanced"] = {"alpha:lossless": "1"}
    return _saved(samples, "AVIF", info, quality=quality or QUALITY, **options)


def _bmp(samples: sixteen_bit.Samples, info: Metadata, quality: int | None) -> bytes:
    height, width, channels = samples.shape
    if channels in (1, 3):
        return _saved(samples, "BMP", Metadata(), **({"dpi": info.dpi} if info.dpi else {}))
    # Pillow writes alpha into bytes that its reader, like others, takes for padding: only channel masks make it alpha.
    rows = samples[::-1, :, [2, 1, 0, 3] if channels == 4 else [0, 0, 0, 1]].tobytes()
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    density = [round(value / 0.0254) for value in info.dpi or (0, 0)]
    head = struct.pack("<IiiHHIIiiII4I4s48x", 108, width, height, 1, 32, 3, len(rows), *density, 0, 0, *masks, b"BGRs")
    return struct.pack("<2sIII", b"BM", 14 + len(head) + len(rows), 0, 14 + len(head)) + head + rows


def _ppm(samples: sixteen_bit.Samples, info: Metadata, quality: int | None) -> bytes:
    return sixteen_bit.write_netpbm(samples)


WRITERS: dict[str, Callable[[sixteen_bit.Samples, Metadata, int | None], bytes]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "TIFF": _tiff,
    "WEBP": _webp,
    "AVIF": _avif,
    "BMP": _bmp,
    "PPM": _ppm,
}
"""The function that makes a file of each format: samples, metadata, and a quality in place of the source's."""
