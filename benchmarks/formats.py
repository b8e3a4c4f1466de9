"""What happens to each kind of file: made, dehazed like `nedr FILE`, and compared with the result.

    python benchmarks/formats.py

Sources are made by Pillow and by hand. A dash marks what the source does not hold.
"""

import argparse
import struct
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
from bench import photograph, table
from PIL import Image, ImageCms, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from nedr.album import one
from nedr.inference.dehazer import Dehazer
from nedr.pictures import images

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6" dc:title="hazy"/></x:xmpmeta>'
CAMERA = {0x829A: 0.004, 0x927C: b"\1\2maker's own\xff"}  # exposure time, maker's note
GPS = {1: "N", 2: (47.0, 30.0, 12.5), 3: "E", 4: (8.0, 43.0, 1.0)}
SIZES = (0xA002, 0xA003)  # width and height, which rotation swaps
P3 = {"rXYZ": (0.5151, 0.2412, -0.0011), "gXYZ": (0.2919, 0.6922, 0.0419), "bXYZ": (0.1572, 0.0666, 0.7841)}
HELD = {
    "JPEG": ("RGB", "grey", "CMYK"),
    "PNG": ("RGB", "grey", "alpha", "grey alpha", "RGB 16", "grey 16", "alpha 16", "grey alpha 16", "palette"),
    "TIFF": ("RGB", "grey", "alpha", "RGB 16", "grey 16", "alpha 16"),
    "WebP": ("RGB", "alpha"),
    "AVIF": ("RGB", "grey", "alpha"),
    "BMP": ("RGB", "grey"),
    "PPM": ("RGB", "grey", "RGB 16", "grey 16"),
    "GIF": ("RGB", "grey"),
}
BARE = ("BMP", "PPM", "GIF")  # formats without EXIF, profile and XMP


def profile(grey: bool) -> bytes:
    """Grey of gamma 2.2, or LittleCMS' sRGB profile with the primaries of Display P3."""
    if grey:
        white = struct.pack(">4s4x3i", b"XYZ ", *(round(value * 65536) for value in (0.9642, 1, 0.8249)))
        body = white + struct.pack(">4s4xIHxx", b"curv", 1, round(2.2 * 256))
        entries = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, 16)
        head = struct.pack(">I4xI4s4s4s12x4s28x", 192, 0x02100000, b"mntr", b"GRAY", b"XYZ ", b"acsp") + white[8:]
        return head.ljust(128, b"\0") + entries + body
    icc = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for name, values in P3.items():
        (start,) = struct.unpack_from(">I", icc, icc.index(name.encode()) + 4)
        struct.pack_into(">3i", icc, start + 8, *(round(value * 65536) for value in values))
    return bytes(icc)


def exif(width: int, height: int) -> bytes:
    """A camera's block: orientation 6, maker's note, position."""
    block = Image.Exif()
    block[0x010F], block[0x0112] = "Maker", 6
    block.get_ifd(0x8769).update({**CAMERA, SIZES[0]: width, SIZES[1]: height})
    block.get_ifd(0x8825).update(GPS)
    return block.tobytes()


def saved(samples: Any, kind: str, **options: Any) -> bytes:
    """Pillow's file of an array or image, with all metadata that its format supports."""
    image = samples if isinstance(samples, Image.Image) else Image.fromarray(samples)
    if kind not in BARE:
        options |= {"exif": exif(*image.size), "xmp": XMP, "pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    if kind not in BARE and image.mode != "CMYK":
        options["icc_profile"] = profile(image.mode in ("L", "LA", "I;16"))
    image.save(file := BytesIO(), kind, **options)
    return file.getvalue()


def deep_png(samples: Any) -> bytes:
    """A PNG of (H, W, 2 | 3 | 4) uint16, for which Pillow has no mode."""
    height, width, channels = samples.shape
    rows = np.pad(samples.astype(">u2").reshape(height, -1).view(np.uint8), ((0, 0), (1, 0)))  # after 0, no filter
    chunks = [(b"IHDR", struct.pack(">2I5B", width, height, 16, (4, 2, 6)[channels - 2], 0, 0, 0))]
    chunks += [(b"iCCP", b"own\0\0" + zlib.compress(profile(channels == 2))), (b"eXIf", exif(width, height)[6:])]
    chunks += [
        (b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + XMP),
        (b"IDAT", zlib.compress(rows.tobytes())),
        (b"IEND", b""),
    ]
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def tiff(samples: Any, compression: int = 1) -> bytes:
    """A TIFF of (H, W) or (H, W, 3 | 4) in one strip; compression 1 none, 5 LZW (8 bit), 8 deflate."""
    (height, width), channels = samples.shape[:2], np.atleast_3d(samples).shape[2]
    strip = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    if compression == 8:
        strip = zlib.compress(strip)
    elif compression == 5:
        Image.fromarray(samples).save(packed := BytesIO(), "TIFF", compression="tiff_lzw", strip_size=samples.nbytes)
        lzw: Any = Image.open(packed).tag_v2
        strip = packed.getvalue()[lzw[273][0] :][: lzw[279][0]]
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    entries: dict[int, Any] = {256: width, 257: height, 258: (samples.itemsize * 8,) * channels, 259: compression}
    entries |= {262: 2 if channels > 1 else 1, 273: 0, 277: channels, 278: height, 279: len(strip)}
    entries |= {271: "Maker", 274: 6, 700: XMP, 34675: profile(channels == 1)} | ({338: 2} if channels == 4 else {})
    entries |= {0x8769: {**CAMERA, SIZES[0]: width, SIZES[1]: height}, 0x8825: GPS}
    for tag, value in entries.items():
        tags[tag] = value
    tags.save(file := BytesIO())  # it moves the strip's offset past the directory
    return file.getvalue() + strip


def made(kind: str, samples: Any, **options: Any) -> bytes:
    """A file of an array or Pillow image in a format."""
    deep = isinstance(samples, np.ndarray) and samples.dtype == np.uint16
    if kind == "TIFF":
        return tiff(samples, **options)
    if kind == "PNG" and deep and samples.ndim == 3:
        return deep_png(samples)
    if kind == "PPM" and deep:
        head = f"P{5 if samples.ndim == 2 else 6} {samples.shape[1]} {samples.shape[0]} 65535\n"
        return head.encode() + samples.astype(">u2").tobytes()
    return saved(samples, kind, **options)


def sources(scene: Any) -> dict[str, bytes]:
    """{"format layout": file} of a scene (H, W, 3) uint8."""
    ramp = np.add.outer(np.arange(scene.shape[0]), np.arange(scene.shape[1]))
    deep = scene.astype(np.uint16) * 256 + np.random.default_rng(1).integers(0, 256, scene.shape, np.uint16)
    seen, deep_seen = np.dstack([scene, ramp.astype(np.uint8)]), np.dstack([deep, (ramp * 113).astype(np.uint16)])
    layouts = {"RGB": scene, "grey": scene[..., 1].copy(), "alpha": seen, "grey alpha": seen[..., [1, 3]].copy()}
    layouts |= {"RGB 16": deep, "grey 16": deep[..., 1].copy(), "alpha 16": deep_seen}
    layouts |= {"grey alpha 16": deep_seen[..., [1, 3]], "CMYK": Image.fromarray(scene).convert("CMYK")}
    layouts["palette"] = Image.fromarray(scene).quantize(256)
    files = {f"{kind} {name}": made(kind.upper(), layouts[name]) for kind, names in HELD.items() for name in names}
    files["JPEG progressive"] = saved(scene, "JPEG", quality=95, progressive=True, subsampling=0)
    files["PNG palette alpha"] = saved(layouts["palette"], "PNG", transparency=bytes(range(256)))
    files |= {"TIFF RGB LZW": tiff(scene, 5), "TIFF RGB deflate": tiff(scene, 8), "TIFF RGB 16 deflate": tiff(deep, 8)}
    files["WebP RGB lossless"] = saved(scene, "WEBP", lossless=True)
    files["WebP alpha lossless"] = saved(seen, "WEBP", lossless=True)
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
        files["HEIF RGB"] = saved(scene, "HEIF")
    return dict(sorted(files.items()))


def facts(data: bytes) -> SimpleNamespace:
    """What a file states, by Pillow and by its header; size and orientation as stored."""
    image: Any = Image.open(BytesIO(data))
    block, tags = image.getexif(), getattr(image, "tag_v2", {})
    gps = block.get_ifd(0x8825)
    exif = ({0x010F: block[0x010F]} if 0x010F in block else {}) | block.get_ifd(0x8769) | gps
    mode, bits = image.mode.partition(";")[0].replace("I", "L"), max(tags.get(258, (8,)))
    stored = image.info.get("compression")
    if image.format == "PNG":
        mode, bits = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}[data[25]], data[24]
    elif image.format == "PPM":
        bits = int(data.split(maxsplit=4)[3]).bit_length()
    elif image.format == "JPEG":
        stored = (image.quantization, JpegImagePlugin.get_sampling(image), image.info.get("progressive"))
    elif image.format == "WEBP":
        stored = "lossless" if b"VP8L" in data else "lossy"
    turn = image.info.get("original_orientation", block.get(0x0112))  # pillow-heif rotates on opening
    xmp, icc = tags.get(700) or image.info.get("xmp"), image.info.get("icc_profile")
    if image.format == "GIF":
        mode = "P"
    return SimpleNamespace(
        layout=f"{mode} {bits}", size=image.size, turn=turn, exif=exif, gps=gps, icc=icc, xmp=xmp, stored=stored
    )


def row(name: str, source: bytes, folder: Path, dehazer: Dehazer, scene: Any) -> tuple[str, ...]:
    """One file dehazed as `nedr FILE` does, and its row of the table."""
    photo = folder / f"{name}.{name.split()[0].lower()}"
    photo.write_bytes(source)
    (job,) = one.plan_jobs([str(photo)])
    notes = list(one.dehaze_file(job, dehazer).notes)
    result = job.result.read_bytes()
    before, after, first, last = facts(source), facts(result), images.read(source), images.read(result)
    if np.array_equal(first.pixels, last.pixels):
        notes.append("nothing dehazed")
    if first.format != last.format:
        notes.append(f"{first.format} -> {last.format}")
    if before.stored and first.format == last.format:
        notes.append("compression the same" if before.stored == after.stored else "compressed differently")
    wanted = turned_sizes(before.exif)
    if wrong := [f"0x{tag:04X}" for tag in wanted if after.exif.get(tag) != wanted[tag]]:
        notes.append(f"EXIF tags not as expected: {', '.join(wrong)}")
    turned = scene if before.turn is None else np.rot90(scene, -1)
    return (
        name,
        f"{before.layout} -> {after.layout}",
        answer(True, is_upright(last.pixels, turned) and after.size == turned.shape[1::-1]),
        answer(before.exif, after.exif == wanted),
        answer(before.gps, after.gps == before.gps),
        "-" if before.turn is None else f"{before.turn} -> {after.turn or 'none'}",
        answer(before.icc, after.icc == before.icc),
        answer(before.xmp, after.xmp == (before.xmp or b"").replace(b'Orientation="6"', b'Orientation="1"')),
        answer(first.alpha is not None, last.alpha is not None and np.array_equal(first.alpha, last.alpha)),
        "; ".join(notes),
    )


def answer(present: Any, kept: bool) -> str:
    """A cell of the table."""
    return "-" if not present else "yes" if kept else "NO"


def turned_sizes(exif: dict[int, Any]) -> dict[int, Any]:
    """EXIF as it should be once the picture is upright: width and height swapped."""
    return exif | {tag: exif[other] for tag, other in zip(SIZES, SIZES[::-1], strict=True) if other in exif}


def is_upright(pixels: Any, scene: Any) -> bool:
    """Whether a picture has the scene's size, and resembles it more than the scene mirrored or upside down."""
    seen = pixels if pixels.ndim == 2 else pixels[..., 1]
    if seen.shape != scene.shape[:2]:
        return False
    turns = [scene[::y, ::x, 1].ravel() for y in (1, -1) for x in (1, -1)]
    return int(np.argmax([np.corrcoef(seen.ravel(), turn)[0, 1] for turn in turns])) == 0


def main() -> None:
    """Print one row per kind of file."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    scene, dehazer = photograph(240, 320), Dehazer(threads=1)
    kept = ("size, upright", "EXIF", "GPS", "orientation", "ICC", "XMP", "alpha")
    with TemporaryDirectory() as folder:
        rows = [row(name, file, Path(folder), dehazer, scene) for name, file in sources(scene).items()]
    table(("kind", "mode and bits", *kept, "note"), rows)


if __name__ == "__main__":
    main()
