"""The display that a video was graded on and its brightest light, passed on to the encoder.

ITU-R BT.2020 pictures in PQ look as intended only with these: SMPTE ST 2086 (mastering display) and CTA-861.3 (the
content's light level).
"""

import struct
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

ENCODERS = ("libx264", "libx265", "libsvtav1")
"""Encoders that can pass them on."""

_DISPLAY, _LIGHT = "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"
_COLOUR_UNIT, _LIGHT_UNIT = 50_000, 10_000


def options(side_data: Mapping[Any, Any], encoder: str) -> dict[str, str]:
    """A frame's side data as an encoder's options; nothing for what the frame does not state.

    Raises KeyError for an encoder that is not in ENCODERS.
    """
    name, display, light = {
        "libx264": ("x264-params", "mastering-display", "cll"),
        "libx265": ("x265-params", "master-display", "max-cll"),
        "libsvtav1": ("svtav1-params", "mastering-display", "content-light"),
    }[encoder]
    told = []
    if (found := side_data.get(_DISPLAY)) is not None and (graded := _display(bytes(found), encoder)):
        told.append(f"{display}={graded}")
    if (found := side_data.get(_LIGHT)) is not None:
        told.append("{}={},{}".format(light, *struct.unpack_from("=2I", bytes(found))))
    return {name: ":".join(told)} if told else {}


def is_stated(side_data: Mapping[Any, Any]) -> bool:
    """Whether a frame states either."""
    return side_data.get(_DISPLAY) is not None or side_data.get(_LIGHT) is not None


def _display(data: bytes, encoder: str) -> str:
    """FFmpeg's AVMasteringDisplayMetadata as G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min); empty if incomplete."""
    numbers = struct.unpack_from("=20i2i", data)
    if not all(numbers[20:]) or not all(numbers[1:20:2]):
        return ""
    red, green, blue, white, light = (
        [Fraction(*numbers[at + k : at + k + 2]) for k in (0, 2)] for at in (0, 4, 8, 12, 16)
    )
    light.reverse()

    def pair(values: list[Fraction], unit: int) -> str:
        if encoder == "libsvtav1":
            return ",".join(f"{float(value):.5f}" for value in values)
        return ",".join(str(round(value * unit)) for value in values)

    colours = ((name, pair(values, _COLOUR_UNIT)) for name, values in zip("GBR", (green, blue, red), strict=True))
    parts = [*colours, ("WP", pair(white, _COLOUR_UNIT)), ("L", pair(light, _LIGHT_UNIT))]
    return "".join(f"{name}({values})" for name, values in parts)
