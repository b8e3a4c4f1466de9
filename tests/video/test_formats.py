"""What counts as a video, and what it can be asked to become."""

from fractions import Fraction
from pathlib import Path

import pytest

from nedr.errors import UsageError
from nedr.video import formats
from nedr.video.formats import Encoding


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.mp4", b"", True),
        ("a.MOV", b"", True),
        ("a.mpg", b"", True),
        ("a.jpg", b"\0\0\0\x20ftypisom", False),  # the name decides where it is known
        ("a", b"\0\0\0\x20ftypisom", True),
        ("a", b"\0\0\0\x20ftypavif", False),
        ("a", b"\0\0\0\x20ftypheic", False),
        ("a.bin", b"\x1aE\xdf\xa3" + bytes(40), True),
        ("a", b"RIFF\0\0\0\0AVI LIST", True),
        ("a", b"RIFF\0\0\0\0WEBPVP8 ", False),
        ("a", (b"G" + bytes(187)) * 3, True),
        ("a", b"G" + bytes(300), False),
        ("a", b"", False),
    ],
)
def test_a_video_is_told_by_its_name_else_by_its_first_bytes(tmp_path, name, data, expected):
    (tmp_path / name).write_bytes(data)
    assert formats.is_video(tmp_path / name) == expected


def test_what_is_not_there_is_no_video(tmp_path):
    assert not formats.is_video(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("1:30", 90), ("0:01:30.5", 90.5), ("1:00:00", 3600), (".5", None), ("-3", None)]
)
def test_times(text, expected):
    if expected is None:
        with pytest.raises(UsageError, match="such as 90, 1:30"):
            formats.seconds(text)
    else:
        assert formats.seconds(text) == expected


def test_a_part_is_exact():
    assert Encoding(start=0.2, end=1 / 3).span == (Fraction(1, 5), Fraction(1, 3))
    assert Encoding().span == (0, None)


@pytest.mark.parametrize("wrong", [{"start": 3.0, "end": 3.0}, {"start": -1.0}, {"end": -1.0}, {"codec": "divx"}])
def test_what_cannot_be_encoded_is_said_at_once(wrong):
    with pytest.raises(UsageError):
        Encoding(**wrong)


@pytest.mark.parametrize(
    ("suffix", "bits", "wish", "encoder"),
    [
        (".mp4", 8, None, "libx264"),
        (".mp4", 10, None, "libx265"),
        (".avi", 10, None, "libx264"),
        (".webm", 8, None, "libvpx-vp9"),
        (".webm", 10, "av1", "libsvtav1"),
        (".mov", 10, "prores", "prores_ks"),
    ],
)
def test_the_codec_suits_the_container_and_the_depth(suffix, bits, wish, encoder):
    assert Encoding(codec=wish).chosen(suffix, bits).encoder == encoder


def test_a_video_keeps_its_suffix_or_becomes_what_holds_its_sound():
    for name, suffix in {"a.MOV": ".MOV", "a.mts": ".mts", "a.wmv": ".mkv", "a.3gp": ".mov", "a.mpg": ".mp4"}.items():
        assert formats.result_suffix(Path(name)) == suffix
    assert set(formats.READ_ONLY.values()) <= set(formats.CONTAINERS)
    assert not set(formats.READ_ONLY) & set(formats.CONTAINERS)
