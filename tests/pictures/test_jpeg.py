"""JPEG: what other programs and phones put into it and behind it, missing ends, metadata longer than a segment."""

import re
from dataclasses import replace
from io import BytesIO

import drawn_pictures as pictures
import numpy as np
import pytest
from PIL import Image

from nedr.errors import ImageError
from nedr.pictures import images, jpeg
from nedr.pictures.images import Metadata, encode, read

VIDEO = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 4
NAMESPACES = (
    b'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" '
    b'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
    b'xmlns:Item="http://ns.google.com/photos/1.0/container/item/"'
)


def item(semantic, length):
    return (
        b'<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="%s" Item:Mime="image/jpeg" '
        b'Item:Length="%d"/></rdf:li>' % (semantic, length)
    )


def packet(claims, *items):
    directory = b"<Container:Directory><rdf:Seq>" + item(b"Primary", 0) + b"".join(items)
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" ' + NAMESPACES + b' dc:title="hazy" ' + claims + b">" + directory
    ) + b"</rdf:Seq></Container:Directory></rdf:Description></rdf:RDF></x:xmpmeta>"


def photo(xmp=None, segments=(), **options):
    extra = jpeg.packed([*([(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp)] if xmp else []), *segments])
    return pictures.pillow_bytes(pictures.smooth(40, 48), "JPEG", extra=extra, **options)


GAIN_MAP = pictures.pillow_bytes(pictures.noise(8, 8, 1), "JPEG")
MOTION = b'GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1"'
HDR = b'hdrgm:Version="1.0"'


def test_the_video_of_a_motion_photo_stays_where_its_tags_say():
    data = photo(packet(MOTION, item(b"MotionPhoto", len(VIDEO)))) + VIDEO
    found = read(data)
    result = images.encoded(found)
    assert result.data.endswith(VIDEO)
    assert result.notes == found.notes == ()
    assert read(result.data).info.xmp == packet(MOTION, item(b"MotionPhoto", len(VIDEO)))
    assert read(encode(found)).info.saving["behind"] == VIDEO


def test_where_the_video_is_lost_no_tag_promises_it():
    found = read(photo(packet(MOTION, item(b"MotionPhoto", len(VIDEO)))) + VIDEO)
    result = images.encoded(found, "PNG")
    assert result.notes == ("video of a Motion Photo left out: not supported by PNG",)
    xmp = read(result.data).info.xmp
    assert b"hazy" in xmp
    assert not re.search(rb"MotionPhoto|Container:Directory", xmp)


@pytest.mark.parametrize("spelling", [HDR, b'hdrgm:Version="1.0" hdrgm:GainMapMax="2"', b"xmlns:hdrgm='x' hdrgm:V='1'"])
def test_a_gain_map_goes_with_every_tag_that_promises_it(spelling):
    iso = (0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")
    data = photo(packet(spelling, item(b"GainMap", len(GAIN_MAP))), [(0xE2, b"MPF\0stale"), iso]) + GAIN_MAP
    found = read(data)
    assert found.notes == ("gain map left out, which would no longer fit the picture",)
    result = encode(found)
    assert jpeg.end(result) == len(result)
    assert b"hazy" in found.info.xmp
    assert not re.search(rb"hdrgm|GainMap|Container:Directory|MPF\0|21496", result)


def test_a_motion_photo_with_a_gain_map_keeps_the_video_alone():
    items = item(b"GainMap", len(GAIN_MAP)), item(b"MotionPhoto", len(VIDEO))
    found = read(photo(packet(HDR + b" " + MOTION, *items)) + GAIN_MAP + bytes(16) + VIDEO)
    assert encode(found).endswith(VIDEO)
    assert b"MotionPhoto" in found.info.xmp
    assert not re.search(rb"GainMap|hdrgm", found.info.xmp)


def test_segments_of_cameras_are_kept_in_order_and_named_elsewhere():
    thermal = [(0xE1, b"FLIR\0\1\0\0" + bytes(50)), (0xE1, b"FLIR\0\1\1\0" + bytes(90)), (0xE3, bytes(range(200)))]
    segments = [*thermal, (0xE4, b"\xaaU"), (0xFE, b"by hand"), (0xFE, b"by another hand")]
    found = read(photo(segments=segments))
    result = encode(found)
    with Image.open(BytesIO(result)) as image:
        assert jpeg.kept_segments(image.applist) == segments
    names = "thermal data, data of the camera in APP3, data of the camera in APP4, comment"
    assert images.encoded(found, "WEBP").notes == (f"{names} left out: not supported by WebP",)


def test_unfinished_pictures_are_told_by_their_structure():
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}):
        data = photo(segments=[(0xE5, b"\xff\xd9 in a segment")], **options)
        assert jpeg.end(data) == len(data)
        assert jpeg.end(data + VIDEO) == len(data)
        assert jpeg.end(data[:-2]) is None
        assert jpeg.end(data[: len(data) // 2]) is None


# Missing ends


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"quality": 100}])
def test_a_picture_that_lacks_only_its_end_marker_is_read(options):
    data = photo(**options)
    for stump in (data[:-2], data[:-1]):
        found = read(stump)
        assert np.array_equal(found.pixels, read(data).pixels)
        assert found.notes == ("its end marker is missing; all pixels are there",)
        assert read(encode(found)).notes == ()


@pytest.mark.parametrize("missing", [3, 6, 40, 200])
def test_a_picture_that_lacks_more_is_refused_unless_salvaged(missing):
    data = pictures.pillow_bytes(pictures.noise(64, 48), "JPEG", subsampling=0)
    with pytest.raises(ImageError, match=r"truncated JPEG, \d+ of 64 rows found.*--salvage"):
        read(data[: -2 - missing])
    found = read(data[: -2 - missing], salvage=True)
    rows = len(found.pixels)
    assert rows in (48, 56)
    assert np.array_equal(found.pixels, read(data).pixels[:rows])
    assert found.notes == (f"salvaged from a truncated JPEG: the upper {rows} of 64 rows",)


def test_a_progressive_picture_is_salvaged_whole():
    data = photo(progressive=True)
    found = read(data[:-30], salvage=True)
    assert found.pixels.shape == (40, 48, 3)
    assert np.abs(found.pixels.astype(int) - pictures.smooth(40, 48)).mean() < 6
    assert "coarser" in found.notes[0]


def test_nothing_is_salvaged_where_nothing_is():
    data = photo()
    for length in (3, 20, data.index(b"\xff\xda") + 14):
        with pytest.raises(ImageError):
            read(data[:length], salvage=True)


# Metadata longer than a segment


def test_long_exif_is_shortened_by_its_makers_note_first():
    block = Image.Exif()
    block[0x010F] = "Maker"
    block.get_ifd(0x8769).update({0x927C: bytes(70_000), 0x829A: 0.004, 0x9286: b"a comment" * 100})
    found = pictures.picture(info=Metadata(exif=block.tobytes()[6:]))
    result = images.encoded(found, "JPEG")
    assert result.notes == ("EXIF shortened to the 64 KB that JPEG holds: without the maker's note",)
    tags = pictures.parsed_exif(read(result.data).info.exif)
    assert (tags[0x010F], tags[0x829A], tags[0x9286]) == ("Maker", pytest.approx(0.004), b"a comment" * 100)
    block.get_ifd(0x8769)[0x9286] = bytes(80_000)
    result = images.encoded(replace(found, info=Metadata(exif=block.tobytes()[6:])), "JPEG")
    assert result.notes[0].endswith("without the maker's note, tag 0x9286")
    assert pictures.parsed_exif(read(result.data).info.exif)[0x010F] == "Maker"


def test_long_exif_that_cannot_be_parsed_goes_rather_than_the_photograph():
    result = images.encoded(pictures.picture(info=Metadata(exif=b"II*\0" + bytes(70_000))), "JPEG")
    assert result.notes == ("EXIF left out, as it is longer than the 64 KB that JPEG holds",)
    assert read(result.data).info.exif is None


@pytest.mark.parametrize("wrapped", [False, True])
def test_long_xmp_is_extended_as_the_specification_has_it(wrapped):
    body = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + b"0123456789abcdef" * 10_000 + b"</x:xmpmeta>"
    xmp = b'<?xpacket begin="" id="W5M0"?>\n' + body + b'\n<?xpacket end="w"?>' if wrapped else body
    result = images.encoded(pictures.picture(info=Metadata(xmp=xmp)), "JPEG")
    assert result.notes == ()
    with Image.open(BytesIO(result.data)) as image:
        parts = [part for _, part in image.applist if part.startswith(b"http://ns.adobe.com/xmp/extension/\0")]
        name = re.search(rb'HasExtendedXMP="(\w{32})"', image.info["xmp"])[1]
    assert len(parts) == 3
    assert all(part[35:67] == name for part in parts)
    assert b"".join(part[75:] for part in parts) == body
    again = read(result.data)
    assert again.info.xmp == body
    assert read(encode(again)).info.xmp == read(encode(again, "TIFF")).info.xmp == body
