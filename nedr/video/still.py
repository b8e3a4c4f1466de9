"""How the frames of a video lie in memory: their planes, what the codes mean, and the layout that an encoder takes."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import numpy as np
from av.codec import Codec as Encoder
from av.codec.codec import find_best_pix_fmt_of_list
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from av.video.stream import VideoStream

from nedr.errors import UsageError
from nedr.pictures.arrays import Array
from nedr.video.yuv import Coding

# By the matrix number that a video states: luma weights of red and blue, and the scaler's number.
_MATRICES = {
    1: (0.2126, 0.0722, Colorspace.ITU709),
    4: (0.30, 0.11, Colorspace.FCC),
    5: (0.299, 0.114, Colorspace.ITU601),
    6: (0.299, 0.114, Colorspace.ITU601),
    7: (0.212, 0.087, Colorspace.SMPTE240M),
    9: (0.2627, 0.0593, Colorspace.BT2020),
    10: (0.2627, 0.0593, Colorspace.BT2020),
}
EXACT = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
"""The scaler's flags: without them it rounds down, which dividing by t would make visible."""

_BT709, _BT601 = 1, 6
_HD = 720
# How many pixels share a colour value, across and down, from densest to sparsest.
_LAYOUTS = {"444": (1, 1), "422": (2, 1), "440": (1, 2), "420": (2, 2)}
_DEPTHS = (8, 10, 12, 16)
_FOR_PLAYERS = ("libx264", "libx265", "libvpx-vp9", "libsvtav1")
_ANY_SIZE = ("libvpx-vp9", "ffv1")
"""Encoders that take odd sizes in every layout."""


@dataclass(frozen=True)
class Still:
    """What all frames of a video share.

    width, height: as stored;  layout: of colour, such as "420";  coding: what codes mean;  grey: colour is absent
    matrix, primaries, transfer: FFmpeg's numbers for what the video states, 2 for nothing
    turns: quarter turns counter-clockwise from stored to upright;  display: the same as the file's matrix
    aspect: width of a pixel by its height, None if not stated
    """

    width: int
    height: int
    layout: str
    coding: Coding
    grey: bool = False
    matrix: int = 2
    primaries: int = 2
    transfer: int = 2
    turns: int = 0
    display: tuple[int, ...] | None = None
    aspect: Fraction | None = None

    @property
    def format(self) -> str:
        """FFmpeg's name of the pixel format."""
        return f"yuv{self.layout}p{_suffix(self.coding.bits)}"

    @property
    def range(self) -> ColorRange:
        """FFmpeg's number for the range of codes."""
        return ColorRange.JPEG if self.coding.full else ColorRange.MPEG

    @property
    def scaler(self) -> Colorspace:
        """The scaler's number for the matrix, a guess if none is stated."""
        return _MATRICES[_known(self.matrix, self.height)][2]


def arrays(frame: VideoFrame, still: Still) -> list[Array]:
    """The planes of a frame laid out as `still`, brightness first, (h, w) uint8 or uint16: writable views."""
    planes = []
    for plane in frame.planes[:3]:
        rows = np.frombuffer(cast(Any, plane), np.uint8).reshape(-1, plane.line_size)[: plane.height]
        wide = plane.width * (2 if still.coding.bits > 8 else 1)
        planes.append(rows[:, :wide].view("<u2" if still.coding.bits > 8 else np.uint8))
    return planes


def blank(still: Still, like: VideoFrame) -> VideoFrame:
    """A new frame laid out as `still`, shown at the time of `like`."""
    frame = VideoFrame(still.width, still.height, still.format)
    return shown_with(frame, like)


def shown_with(frame: VideoFrame, like: VideoFrame) -> VideoFrame:
    """`frame`, to be shown at the time of `like`."""
    frame.pts, frame.time_base, frame.duration = like.pts, like.time_base, like.duration
    return frame


def still_of(frame: VideoFrame, stream: VideoStream, encoder: str, chroma: str | None) -> Still:
    """What the frames of a stream share, given its first one, in a layout that an encoder takes."""
    rgb = frame.format.is_rgb
    layout, bits = _layout(frame, encoder, chroma)
    matrix = _BT709 if rgb else frame.colorspace
    display: Any = frame.side_data.get("DISPLAYMATRIX")
    across, down = _LAYOUTS[layout] if encoder not in _ANY_SIZE else (1, 1)
    return Still(
        frame.width - frame.width % across,
        frame.height - frame.height % down,
        layout,
        Coding(bits, not rgb and _is_full(frame), _MATRICES[_known(matrix, frame.height)][:2]),
        grey=len(frame.format.components) == 1 and not rgb,
        matrix=matrix,
        primaries=frame.color_primaries,
        transfer=frame.color_trc,
        turns=round(frame.rotation / 90) % 4,
        display=tuple(np.frombuffer(display, np.int32).tolist()) if display is not None else None,
        aspect=stream.sample_aspect_ratio,
    )


def _layout(frame: VideoFrame, encoder: str, chroma: str | None) -> tuple[str, int]:
    """The colour layout and bit depth, among those an encoder takes, that lose least of a frame.

    RGB and odd sizes become 4:2:0 with encoders meant for players, unless `chroma` asks for another layout.
    """
    formats = [each.name for each in Encoder(encoder, "w").video_formats or ()]
    known = {f"yuv{layout}p{_suffix(bits)}": (layout, bits) for layout in _LAYOUTS for bits in _DEPTHS}
    taken = [name for name in known if name in formats]
    odd = not _divides(_LAYOUTS["420"], frame)
    wanted = chroma or ("420" if encoder in _FOR_PLAYERS and (frame.format.is_rgb or odd) else None)
    fitting = [name for name in taken if known[name][0] == wanted]
    if chroma and not fitting:
        offered = ", ".join(sorted({known[name][0] for name in taken}))
        raise UsageError(f"{encoder} cannot store chroma {chroma}; expected {offered}")
    even = [name for name in taken if _divides(_LAYOUTS[known[name][0]], frame)]
    best, _ = find_best_pix_fmt_of_list(fitting or even or taken, frame.format.name)
    assert best is not None  # the list is not empty
    return known[best.name]


def _divides(shared: tuple[int, int], frame: VideoFrame) -> bool:
    return frame.width % shared[0] == 0 and frame.height % shared[1] == 0


def _suffix(bits: int) -> str:
    return f"{bits}le" if bits > 8 else ""


def _is_full(frame: VideoFrame) -> bool:
    return frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")


def _known(matrix: int, height: int) -> int:
    """The number of a matrix; if none is stated, the usual one for the picture's height."""
    return matrix if matrix in _MATRICES else _BT709 if height >= _HD else _BT601
