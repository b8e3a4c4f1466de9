"""SMPTE timecodes: hours:minutes:seconds:frames of the first frame, which cameras write as a tag and as a track."""

import re
from collections.abc import Mapping
from fractions import Fraction

from av.stream import Stream

TAG = "timecode"
_FORM = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)")


def is_track(stream: Stream) -> bool:
    """Whether a stream is a timecode track; muxers that know such tracks create them from the tag."""
    return stream.type == "data" and any(name.lower() == TAG for name in stream.metadata)


def later(tags: Mapping[str, str], start: float | None, rate: Fraction) -> dict[str, str]:
    """The tags of a part that starts `start` seconds later: its timecode is that of its own first frame."""
    return {
        name: advanced(value, round((start or 0) * rate), rate) if name.lower() == TAG else value
        for name, value in tags.items()
    }


def advanced(timecode: str, frames: int, rate: Fraction) -> str:
    """The timecode `frames` later; one in an unknown form stays unchanged.

    Drop-frame timecodes (with a semicolon) skip the first numbers of each minute except every tenth.
    """
    found = _FORM.fullmatch(timecode)
    if not found or not frames:
        return timecode
    hours, minutes, seconds, mark, number = found.groups()
    whole, total = round(rate), 60 * int(hours) + int(minutes)
    left_out = whole // 15 if mark in ";." else 0  # numbers in a minute: 2 of 30, 4 of 60
    count = (60 * total + int(seconds)) * whole + int(number) - left_out * (total - total // 10) + frames
    if left_out:
        tens, rest = divmod(count, 600 * whole - 9 * left_out)
        minute = max(0, rest - left_out) // (60 * whole - left_out)
        count += left_out * (9 * tens + minute)
    second, number_now = divmod(count, whole)
    return f"{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}{mark}{number_now:02}"
