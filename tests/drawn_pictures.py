"""Picture files for the tests, made here by means independent of `nedr.pictures.images`."""

import struct
import zlib
from contextlib import suppress
from io import BytesIO

import numpy as np
from PIL import Image

from nedr.pictures.images import Metadata, Picture, encode
from nedr.pictures.tiff import Bands

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def noise(height, width, channels=3, dtype=np.uint8, seed=0):
    """Uniform noise over the whole range: (H, W) for one channel, else (H, W, C)."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def smooth(height, width):
    """Slow colour gradients, which lossy formats keep well: (H, W, 3) uint8, up to 60 by 60."""
    y, x = np.mgrid[0:height, 0:width] / 60
    return np.stack([60 + 120 * x, 200 - 90 * y, 90 + 60 * (x + y)], axis=2).astype(np.uint8)


def picture(height=13, width=17, channels=3, dtype=np.uint8, alpha=False, kind="PNG", info=None):
    """A Picture of noise."""
    pixels = noise(height, width, channels, dtype)
    return Picture(pixels, noise(height, width, 1, dtype, 1) if alpha else None, kind, info or Metadata())


def pillow_bytes(samples, kind, **options):
    """Pillow's file of an array or Pillow image."""
    file = BytesIO()
    image = samples if isinstance(samples, Image.Image) else Image.fromarray(samples)
    image.save(file, kind, **options)
    return file.getvalue()


def cmyk(samples):
    """A Pillow image of ink amounts (H, W, 4)."""
    return Image.frombytes("CMYK", samples.shape[1::-1], samples.tobytes())


def png(samples, *, interlaced=False, filters=(0,), key=None):
    """A 16-bit PNG of (H, W, C) uint16, each row with the next of `filters`, every byte computed the slow way."""
    height, width, channels = samples.shape
    header = struct.pack(">2I5B", width, height, 16, (0, 4, 2, 6)[channels - 1], 0, 0, int(interlaced))
    passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [samples]
    body = b"".join(_filtered(part, filters) for part in passes if part.size)
    chunks = [(b"IHDR", header), *([(b"tRNS", key)] if key else []), (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    return png_file(chunks)


def png_file(chunks):
    """A PNG of [(type, body)]."""
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def png_chunks(data):
    """[(type, body)] of a PNG."""
    found, at = [], 8
    while at + 8 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def _filtered(samples, filters):
    rows = samples.astype(">u2").tobytes()
    stride, step = samples.shape[1] * samples.shape[2] * 2, samples.shape[2] * 2
    out, above = b"", bytes(stride)
    for number in range(samples.shape[0]):
        row = rows[number * stride : (number + 1) * stride]
        kind = filters[number % len(filters)]
        out += bytes([kind]) + bytes((row[i] - _predicted(kind, row, above, i, step)) % 256 for i in range(stride))
        above = row
    return out


def _predicted(kind, row, above, i, step):
    left, corner = (row[i - step], above[i - step]) if i >= step else (0, 0)
    up = above[i]
    guess = left + up - corner
    paeth = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]
    return (0, left, up, (left + up) // 2, paeth)[kind]


def tiff(samples, tags, order="<"):
    """An uncompressed TIFF of (H, W, C), one strip, with `tags` {number: (type, values)} beside the necessary ones."""
    height, width, channels = samples.shape
    pixels = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    bits = samples.dtype.itemsize * 8
    entries = {256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * channels), 259: (3, [1]), 277: (3, [channels])}
    entries |= {262: (3, [2 if channels > 2 else 1]), 273: (4, [8]), 278: (4, [height]), 279: (4, [len(pixels)])}
    entries |= tags
    pixels += b"\0" * (len(pixels) % 2)
    directory = 8 + len(pixels)
    behind = directory + 2 + 12 * len(entries) + 4
    table, extra = struct.pack(order + "H", len(entries)), b""
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}{'_BxHI'[kind]}", *values)
        if len(packed) > 4:
            extra += packed + b"\0" * (len(packed) % 2)
            packed = struct.pack(order + "I", behind + len(extra) - len(packed) - len(packed) % 2)
        table += struct.pack(order + "HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", directory) + pixels + table + bytes(4) + extra


def exif(orientation=1, size=(17, 13), thumbnail=False):
    """An EXIF block with a maker's note and a position, as Pillow writes it; big-endian like many cameras'."""
    block = Image.Exif()
    block.endian = ">"
    block[0x010F] = "Maker"
    block[0x0112] = orientation
    block.get_ifd(0x8769).update({0xA002: size[0], 0xA003: size[1], 0x927C: b"\1\2maker's own\xff", 0x829A: 0.004})
    block.get_ifd(0x8825).update({1: "N", 2: (47.0, 30.0, 12.5), 3: "E", 4: (8.0, 43.0, 1.0)})
    data = bytearray(block.tobytes()[6:])
    if thumbnail:  # a second directory with one entry
        first = struct.unpack_from(">I", data, 4)[0]
        following = first + 2 + 12 * struct.unpack_from(">H", data, first)[0]
        struct.pack_into(">I", data, following, len(data))
        data += struct.pack(">HHHIII", 1, 0x0100, 4, 1, 160, 0)
    return bytes(data)


def parsed_exif(block):
    """{tag: value} of the first, the EXIF and the GPS directory."""
    read = Image.Exif()
    read.load(b"Exif\0\0" + block)
    return {**dict(read), **read.get_ifd(0x8769), **{("gps", tag): v for tag, v in read.get_ifd(0x8825).items()}}


P3 = ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841))
SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7142))


def profile(primaries=P3, gamma=2.2, grey=False):
    """An ICC matrix profile (XYZ of red, green and blue under D50), or a grey one, with a power law curve."""

    def fixed(*values):
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv" + bytes(4) + struct.pack(">IHxx", 1, round(gamma * 256))
    tags = {b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249), b"cprt": b"text" + bytes(4) + b"none\0\0\0\0"}
    tags[b"desc"] = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78 + 1)
    if grey:
        tags[b"kTRC"] = curve
    else:
        names = (b"rXYZ", b"gXYZ", b"bXYZ")
        tags |= {name: b"XYZ " + bytes(4) + fixed(*p) for name, p in zip(names, primaries, strict=True)}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    head = struct.pack(">I4xI", at + len(body), 0x02100000) + b"mntr" + (b"GRAY" if grey else b"RGB ") + b"XYZ "
    head = (head + bytes(12) + b"acsp").ljust(68, b"\0") + fixed(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def animations():
    """{format: small file of three frames} that move, with times of their own."""
    frames = [Image.fromarray(np.roll(smooth(20, 24), 3 * k, axis=1)) for k in range(3)]
    times = {"save_all": True, "append_images": frames[1:], "duration": [40, 80, 120], "loop": 3}
    return {kind: pillow_bytes(frames[0], kind, **times) for kind in ("GIF", "PNG", "WEBP", "AVIF")}


def every_kind():
    """{name: small valid file} of every format and layout that can be made here, with metadata."""
    info = Metadata(exif=exif(6), icc=profile(), xmp=b'<x tiff:Orientation="6"/>', dpi=(300, 300))
    layouts = [("PNG", 3, np.uint8, True, {}), ("PNG", 3, np.uint16, True, {}), ("PNG", 1, np.uint16, True, {})]
    layouts += [("TIFF", 3, np.uint16, True, {"compression": "tiff_lzw"}), ("TIFF", 3, np.uint8, False, {})]
    layouts += [("TIFF", 1, np.uint16, False, {"compression": "raw"}), ("PPM", 3, np.uint16, False, {})]
    layouts += [("BMP", 3, np.uint8, True, {}), ("BMP", 1, np.uint8, False, {}), ("WEBP", 3, np.uint8, True, {})]
    layouts += [("WEBP", 3, np.uint8, False, {"lossless": True}), ("AVIF", 3, np.uint8, True, {})]
    layouts += [("JPEG", 3, np.uint8, False, {}), ("JPEG", 1, np.uint8, False, {"progressive": True})]
    files = {}
    for kind, channels, dtype, alpha, saving in layouts:
        carried = Metadata(info.exif, info.icc if channels == 3 else None, info.xmp, info.dpi, saving)
        name = f"{kind} {channels} {np.dtype(dtype).name} {saving or ''}".strip()
        files[name] = encode(picture(13, 17, channels, dtype, alpha, kind, carried))
    files["JPEG CMYK"] = pillow_bytes(cmyk(noise(13, 17, 4)), "JPEG")
    files["PNG palette"] = pillow_bytes(Image.fromarray(noise(13, 17)).quantize(16), "PNG")
    files["PNG texts"] = pillow_bytes(noise(13, 17), "PNG", exif=b"Exif\0\0" + info.exif, icc_profile=info.icc)
    files["GIF"] = pillow_bytes(Image.fromarray(smooth(13, 17)), "GIF")
    files["TIFF bands"] = tiff(noise(13, 17, 5, np.uint16), {338: (3, [2, 0])}, ">")
    mask = Metadata(saving={"bands": Bands(2, mask=True), "compression": "raw"})
    files["TIFF mask"] = encode(picture(alpha=True, kind="TIFF", info=mask))
    files["PPM text"] = b"P3\n# made by hand\n3 2\n255\n" + b" ".join(b"%d" % i for i in range(18))
    with suppress(ImportError):
        import pillow_heif

        file = BytesIO()
        pillow_heif.from_pillow(Image.fromarray(noise(16, 16))).save(file)
        files["HEIF"] = file.getvalue()
    return files
