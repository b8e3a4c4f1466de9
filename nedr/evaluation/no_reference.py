"""Scores without a truth: the visible edges that dehazing adds or strengthens, and the pixels it saturates.

    >>> scores = describe(photographs("hazy/"), methods=load_methods(["dcp", "nedr"]))
    >>> print(markdown_table(scores))

The measures of Hautière, Tarel, Aubert and Dumont, Blind Contrast Enhancement Assessment by Gradient Ratioing at
Visible Edges, Image Analysis & Stereology 27 (2008). They say how much a method does, not how right it is: noise,
halos and over-correction raise e and r too.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from os import PathLike
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from nedr.errors import ImageError, UsageError
from nedr.evaluation.paired import Method, Picture8, rgb8
from nedr.evaluation.tables import as_csv, as_markdown
from nedr.pictures import images
from nedr.pictures.arrays import Floats, luma

Mask = NDArray[np.bool_]

VISIBLE = 0.05  # least contrast of a visible edge: the CIE's threshold, as in the paper
STEP = np.float32(1 / 255)  # gradients below one step of 8 bits count as one
MEASURES = ("e", "r", "sigma")

PROTOCOL = (
    "No truth: visible edges (Hautière et al. 2008) of the result against the picture, 8 bit, full size. "
    "e = (n_r - n_o) / n_o, n the pixels on visible edges before (o) and after (r). "
    "r = exp(mean of ln(gradient after / gradient before)) over the visible edges after. "
    "sigma = pixels that became black or white, in percent. All on luma averaged over 3x3; an edge is visible "
    "where its contrast (max - min) / max within 3x3 is at least 5 %, which replaces the paper's segmentation after "
    "Köhler: the numbers compare methods here, not with published tables. e and r say how strong a "
    "change is, not how right. A cell is the mean over the pictures."
)


@dataclass(frozen=True)
class Visibility:
    """What a method did to a picture: rate of new visible edges, gain of their gradient, percent newly saturated."""

    e: float
    r: float
    sigma: float


@dataclass(frozen=True)
class BlindScore:
    """One method on one picture."""

    picture: Path
    method: str
    visibility: Visibility


def visibility(before: Picture8, after: Picture8) -> Visibility:
    """The three measures of a result against its picture, both uint8 (H, W, 3) RGB of one size (ImageError otherwise).

    Without a visible edge before, e is 0 or infinite; without one after, r is 1.
    """
    if before.shape != after.shape:
        raise ImageError(f"expected a result of shape {before.shape}, found {after.shape}")
    smooth = [_over_3x3(luma(picture), np.add) / np.float32(9) for picture in (before, after)]
    edges = [_visible(values) for values in smooth]
    old, new = (int(mask.sum()) for mask in edges)
    gain = np.log(_gradient(smooth[1])[edges[1]] / _gradient(smooth[0])[edges[1]])
    saturated = _saturated(after) & ~_saturated(before)
    return Visibility(
        e=(new - old) / old if old else (math.inf if new else 0.0),
        r=math.exp(float(gain.mean(dtype=np.float64))) if new else 1.0,
        sigma=100 * float(saturated.mean(dtype=np.float64)),
    )


def photographs(folder: str | PathLike[str]) -> list[Path]:
    """The pictures in a folder, sorted by name. Raises UsageError when there is none."""
    files = sorted(file for file in Path(folder).iterdir() if file.suffix.lower() in images.SUFFIXES)
    if not files:
        raise UsageError(f"{folder} holds no pictures")
    return files


def describe(
    files: Sequence[Path],
    *,
    methods: Mapping[str, Method],
    progress: Callable[[int, int], None] | None = None,
) -> list[BlindScore]:
    """Every method on every picture, one picture in memory at a time; `progress(done, total)` after each.

    Raises ImageError for a picture that cannot be read.
    """
    scores: list[BlindScore] = []
    for file in files:
        picture = rgb8(images.read(file).pixels)
        for name, method in methods.items():
            scores.append(BlindScore(file, name, visibility(picture, method.dehaze(picture))))
            if progress is not None:
                progress(len(scores), len(files) * len(methods))
    return scores


def csv_table(scores: Sequence[BlindScore]) -> str:
    """One line per picture and method: picture, method, e, r, sigma."""
    rows = []
    for score in scores:
        numbers = [f"{getattr(score.visibility, measure):.6f}" for measure in MEASURES]
        rows.append([score.picture, score.method, *numbers])
    return as_csv(["picture", "method", *MEASURES], rows)


def markdown_table(scores: Sequence[BlindScore]) -> str:
    """One row per method, the protocol below."""
    rows = []
    for method in dict.fromkeys(score.method for score in scores):
        own = [score.visibility for score in scores if score.method == method]
        cells = [f"{fmean(getattr(row, measure) for row in own):.3f}" for measure in MEASURES]
        rows.append([method, str(len(own)), *cells])
    return as_markdown(["method", "pictures", *MEASURES], rows, [PROTOCOL])


def _visible(values: Floats) -> Mask:
    """Pixels (H, W) of a luma on edges of at least VISIBLE contrast."""
    high, low = _over_3x3(values, np.maximum), _over_3x3(values, np.minimum)
    return np.asarray(high - low >= VISIBLE * np.maximum(high, STEP))


def _gradient(values: Floats) -> Floats:
    """Central differences of a luma (H, W), at least STEP; an axis of one pixel has no gradient."""
    across = [np.gradient(values, axis=axis) for axis in (0, 1) if values.shape[axis] > 1]
    return np.maximum(reduce(np.hypot, across, np.zeros_like(values)), STEP)


def _saturated(picture: Picture8) -> Mask:
    """Pixels (H, W) that are wholly black or wholly white."""
    return np.asarray((picture.max(axis=2) == 0) | (picture.min(axis=2) == 255))


def _over_3x3(values: Floats, combine: np.ufunc) -> Floats:
    """A ufunc over each pixel's 3x3 neighbourhood, edges repeated: (H, W) -> (H, W)."""
    height, width = values.shape
    padded = np.pad(values, 1, mode="edge")
    shifted = (padded[y : y + height, x : x + width] for y in range(3) for x in range(3))
    return reduce(combine, shifted)
