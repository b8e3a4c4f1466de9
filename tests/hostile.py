"""Bodies that mean harm, each one made from a number: the same number, the same body."""

import random
import struct
import zlib
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import drawn_pictures as pictures

LAUGHS = "<!DOCTYPE x [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {chr(98 + k)} '{f'&{chr(97 + k)};' * 10}'>" for k in range(9)
)
XMP = f"<?xpacket?>{LAUGHS}]><x:xmpmeta xmlns:x='adobe:ns:meta/'>&j;</x:xmpmeta>".encode()
FOREIGN = (
    b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    b"<!DOCTYPE html><script>alert(1)</script>",
    b"PK\x03\x04" + bytes(26),
    b"%PDF-1.7\n1 0 obj<</JS(app.alert(1))>>",
    b"GIF89a/*\x01\x00*/=1;",
    b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file",
    b"push graphic-context\nimage over 0,0 0,0 'https://127.0.0.1/x'\n",
    b"#!/bin/sh\nreboot\n",
)


def body(number):
    """One hostile picture file."""
    rng = random.Random(number)
    return rng.choice((mutated, cut, joined, polyglot, bomb, odd_metadata, noise))(rng)


def form(number):
    """A content type and a multipart body around a hostile file, the wrapping hostile too."""
    rng = random.Random(-number)
    name = rng.choice(["x.jpg", "../../etc/passwd", "/dev/zero", "C:\\x", "\0", "%s" * 50, "a" * 5000, "\r\nX: y"])
    field = rng.choice(["image", "image", "image", "file", "", "image\0", "../image"])
    head = f'Content-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
    part = f"--edge\r\n{head}\r\n".encode("utf-8", "replace") + body(number) + b"\r\n"
    whole = part * rng.choice([1, 1, 1, 2, 30]) + b"--edge--\r\n"
    if rng.random() < 0.3:
        whole = whole[: rng.randrange(len(whole))]
    kinds = ["boundary=edge"] * 4 + ["", "boundary=", "boundary=other", "boundary=" + "x" * 300, 'boundary="edge']
    return f"multipart/form-data; {rng.choice(kinds)}", whole


def request(number):
    """The bytes of a request that HTTP does not allow, or that ends before it should."""
    rng = random.Random(number)
    data = body(number)
    line = rng.choice(
        [b"POST /v1/dehaze HTTP/1.1", b"POST /v1/../../etc/passwd HTTP/1.1", b"\xff\xfe / HTTP/9.9", b"GET"]
    )
    heads = [
        b"Content-Length: -1",
        b"Content-Length: 99999999999999999999",
        b"Content-Length: %d" % (len(data) + 7),
        b"Content-Length: 3\r\nContent-Length: 4",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Type: multipart/form-data; boundary=" + bytes(40),
        b"X: " + b"a" * 200_000,
        b": :",
        b"Expect: 100-continue",
    ]
    return line + b"\r\nHost: localhost\r\n" + rng.choice(heads) + b"\r\n\r\n" + data


@lru_cache
def seeds():
    """Small honest files of every kind."""
    return [*pictures.every_kind().values(), *pictures.animations().values()]


def video(number):
    """One hostile video file."""
    rng = random.Random(number)
    return rng.choice((mutated, cut, joined))(rng, films())


@lru_cache
def films():
    """Small honest videos in every container, with sound where it has a codec for it."""
    import footage

    frames = list(footage.panned("temple", (48, 64), 5))
    captions = "1\n00:00:00,000 --> 00:00:00,120\nA\n"
    ways = {
        "a.mp4": {"subtitles": captions},
        "a.mov": {"codec": "mpeg4", "turned": 90},
        "a.mkv": {"subtitles": captions, "attached": b"font"},
        "b.mkv": {"codec": "ffv1", "format": "yuv444p10le", "heard": "flac", "sound": False},
        "a.webm": {"codec": "libvpx-vp9", "heard": "libopus"},
        "a.avi": {"codec": "mpeg4", "sound": False},
        "a.ts": {"telemetry": b"data"},
        "a.wmv": {"codec": "wmv2", "sound": False},
        "a.ogv": {"codec": "libvpx", "sound": False},
    }
    with TemporaryDirectory() as folder:
        return [footage.film(Path(folder) / name, frames, **how).read_bytes() for name, how in ways.items()]


def mutated(rng, honest=None):
    """Some bytes changed, most of them near the head, where they mean most."""
    data = bytearray(rng.choice(honest or seeds()))
    for _ in range(rng.choice((1, 2, 4, 16))):
        at = rng.randrange(min(len(data), 128) if rng.random() < 0.7 else len(data))
        data[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return bytes(data)


def cut(rng, honest=None):
    """Ends early, or misses its middle."""
    data = rng.choice(honest or seeds())
    first, second = sorted(rng.randrange(len(data)) for _ in range(2))
    return data[:first] + (data[second:] if rng.random() < 0.5 else b"")


def joined(rng, honest=None):
    """The head of one file on the body of another."""
    one, other = (rng.choice(honest or seeds()) for _ in range(2))
    return one[: rng.randrange(1, len(one))] + other[rng.randrange(len(other)) :]


def polyglot(rng):
    """A picture that is something else as well, or something else alone."""
    foreign = rng.choice(FOREIGN) * rng.choice((1, 1, 200))
    return rng.choice((foreign, rng.choice(seeds()) + foreign, foreign + rng.choice(seeds())))


def bomb(rng):
    """A few bytes that state or unfold to very much."""
    side = rng.choice((20_000, 65_535, 0x7FFFFFFF))
    header = struct.pack(">2I5B", side, side, rng.choice((1, 8, 16)), rng.choice((0, 2, 3, 6)), 0, 0, 0)
    packed = zlib.compress(bytes(3_000_000))
    small = pictures.png_chunks(pictures.pillow_bytes(pictures.noise(4, 4), "PNG"))
    extra = rng.choice(
        [
            (b"zTXt", b"Comment\0\0" + packed),
            (b"iCCP", b"profile\0\0" + packed),
            (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed),
        ]
    )
    return rng.choice(
        [
            pictures.png_file([(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")]),
            pictures.png_file([small[0], *[extra] * rng.choice((1, 40)), *small[1:]]),
            b"P6\n%d %d\n255\n" % (side, side) + bytes(100),
            b"P5\n%d 1\n65535\n" % (side * side),
            b"BM" + struct.pack("<IIIIiiHHIIiiII", 999, 0, 54, 40, side, -side, 1, 24, 0, 0, 1, 1, 0, 0),
            tiff_of(side, rng),
        ]
    )


def tiff_of(side, rng):
    """A TIFF that states a size, with a directory that leads back to itself."""
    entries = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 9)]
    entries.append((rng.choice((270, 330, 34665, 34675, 700)), rng.choice((1, 2, 4, 5, 13)), rng.choice((1, 2**31)), 8))
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + struct.pack("<I", rng.choice((0, 8)))


def odd_metadata(rng):
    """A good picture whose EXIF, XMP or profile is not."""
    exif = bytearray(pictures.exif(rng.randrange(300), thumbnail=rng.random() < 0.5))
    for _ in range(rng.choice((0, 3, 30))):
        exif[rng.randrange(len(exif))] = rng.randrange(256)
    profile = bytearray(pictures.profile())
    profile[rng.randrange(len(profile))] ^= 255
    profile = bytes(profile[: rng.choice((0, 60, 200, len(profile)))])
    options = {"exif": b"Exif\0\0" + bytes(exif), "icc_profile": profile}
    kind = rng.choice(("JPEG", "PNG", "WEBP"))
    if kind != "PNG":
        options["xmp"] = XMP
    return pictures.pillow_bytes(pictures.noise(12, 10), kind, **options)


def noise(rng):
    """No file at all, or only the first bytes of one."""
    return rng.choice((b"", rng.choice(seeds())[:12])) + rng.randbytes(rng.choice((0, 1, 40, 3000)))
