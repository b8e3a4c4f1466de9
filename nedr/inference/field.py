"""The haze of one picture as a continuous field: transmission and airlight anywhere, and the way back.

Everything global (airlight and its terms, density, the lattice, the guide's coefficients) belongs to the whole picture
and is computed once. So a preview, a crop and a full-size export agree, and a picture of any size is one linear pass.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from nedr.errors import ImageError, UsageError
from nedr.inference import airlight as light
from nedr.inference import colourmap, lattice
from nedr.inference.borders import Borders
from nedr.inference.filters import lattice_mean, regression
from nedr.inference.inversion import Medium, Window, invert
from nedr.pictures import arrays
from nedr.pictures.arrays import Array, Floats

Guidance: TypeAlias = Literal["none", "detail", "filter"]
MapKind: TypeAlias = Literal["transmission", "depth"]

Inside: TypeAlias = tuple[float, float, float, float]

MAX_STRENGTH = 1.5
WHOLE: Inside = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Rendering:
    """How a field becomes pixels: guidance of t by the picture, and how far an uncertain t may be trusted.

    guidance: "none" samples the lattice alone. "detail" keeps the lattice and adds what the picture's own luma says
        inside a cell, through the local regression of t on luma over `radius` cells. "filter" is the guided filter
        (He et al., TPAMI 2013), which also smooths the lattice itself.
    epsilon: luma variance below which the picture does not guide (0.01: contrasts under a tenth of the range).
    floor, floor_limit, noise_limit: t is held so high that the picture's noise, amplified by 1 / t, stays under
        `noise_limit` (of a range of 1), within [floor, floor_limit]; a noiseless picture gets `floor`.
    colour_veil: share of the veil that stays in a pixel's colour alone, whose transmission is t + colour_veil (1 - t):
        an error of the airlight's hue, amplified by 1 / t, would tint skies and dense fog.
    brighten: how far the result is brightened where the airlight is dim: a camera had exposed for the haze, not for
        what is left without it. See `HazeField.curve`; 0 leaves the physical inversion as it is.
    """

    guidance: Guidance = "detail"
    radius: int = 2
    epsilon: float = 0.01
    floor: float = 0.1
    floor_limit: float = 0.25
    noise_limit: float = 0.04
    colour_veil: float = 0.12
    brighten: float = 1.0

    def __post_init__(self) -> None:
        if self.guidance not in ("none", "detail", "filter"):
            raise UsageError(f"guidance must be 'none', 'detail' or 'filter', found {self.guidance!r}")
        if self.radius < 1 or self.epsilon <= 0 or self.noise_limit <= 0:
            raise UsageError("radius must be at least 1, epsilon and noise_limit above 0")
        if not (0 < self.floor <= self.floor_limit <= 1 and 0 <= self.colour_veil <= 1):
            raise UsageError("expected 0 < floor <= floor_limit <= 1 and 0 <= colour_veil <= 1")
        if not 0 <= self.brighten <= 1:
            raise UsageError(f"brighten must lie in [0, 1], found {self.brighten}")


@dataclass(frozen=True, eq=False)
class HazeField:
    """The haze of one picture (I = J t + A (1 - t), t = exp(-density * depth)), independent of any resolution.

    lattice: transmission in (0, 1] at cell centres of a regular lattice over the whole picture, float32 (h, w)
    guide: the picture averaged onto that lattice, float32 (h, w, 3) RGB in [0, 1], or None: then nothing guides t
    airlight: the mean of A(x), float32 (3,) RGB in [0, 1], in the colours of the pictures that `apply` is given
    density: scattering coefficient beta > 0, of the depth's unit
    noise: standard deviation of the picture's noise, of a range of 1
    terms: how A(x) changes over the picture, float32 (3, 5) (see `nedr.inference.airlight`); zeros: not at all
    inside: x0, y0, x1, y1 of what lies inside bars and frames, as parts of the whole in [0, 1]; all of the above
        belongs to that alone, and what lies outside stays as it is (t = 1)
    white: the level that white has, in (0, 1]; less while a film fades to black

    A field is linear in `lattice`, `airlight` and `terms`: means of these are fields in between.
    """

    lattice: Floats
    guide: Floats | None
    airlight: Floats
    density: float
    noise: float = 0.0
    rendering: Rendering = Rendering()
    terms: Floats = dataclasses.field(default_factory=light.no_terms)
    inside: Inside = WHOLE
    white: float = 1.0

    def __post_init__(self) -> None:
        if self.lattice.ndim != 2 or not self.lattice.size:
            raise ImageError(f"expected a lattice of shape (h, w), found {self.lattice.shape}")
        if not (self.lattice.min() > 0 and self.lattice.max() <= 1):  # false for NaN too
            raise ImageError("expected transmission in (0, 1] on the lattice")
        if self.guide is not None and self.guide.shape != (*self.lattice.shape, 3):
            raise ImageError(f"expected a guide of shape {(*self.lattice.shape, 3)}, found {self.guide.shape}")
        if self.airlight.shape != (3,) or self.terms.shape != (3, light.TERMS):
            shapes = f"{self.airlight.shape} and {self.terms.shape}"
            raise ImageError(f"expected an airlight (3,) and its terms (3, {light.TERMS}), found {shapes}")
        if not (self.density > 0 and np.isfinite(self.terms).all()):
            raise ImageError(f"expected a density above 0 and finite terms, found {self.density} and {self.terms}")
        if not 0 < self.white <= 1:
            raise ImageError(f"expected a level of white in (0, 1], found {self.white}")
        x0, y0, x1, y1 = self.inside
        if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
            raise ImageError(f"expected inside = (x0, y0, x1, y1) within [0, 1], found {self.inside}")

    def transmission(self, height: int, width: int, image: Array | None = None) -> Floats:
        """Transmission at the pixel centres of a (height, width) raster of the whole picture, float32 in (0, 1].

        With `image`, the picture at that size, its details guide t as `rendering` says. Raises ImageError when the
        image's size differs or it is not a picture.
        """
        _check_size(height, width)
        if image is not None and arrays.check(image).shape[:2] != (height, width):
            raise ImageError(f"expected a picture of {height} x {width} (height x width), found {image.shape[:2]}")
        if self.inside == WHOLE:
            return self._transmission(height, width, image)
        t = np.ones((height, width), np.float32)
        x0, y0, x1, y1 = self.rectangle(height, width)
        t[y0:y1, x0:x1] = self._transmission(y1 - y0, x1 - x0, None if image is None else image[y0:y1, x0:x1])
        return t

    def _transmission(self, height: int, width: int, image: Array | None) -> Floats:
        """`transmission` of what lies inside."""
        if image is None:
            return self._bounded(lattice.sample(self.lattice, height, width))
        slope, offset = self.guided()
        if slope is None:
            return self._bounded(lattice.sample(offset, height, width))
        luma = arrays.luma(image)
        return self._bounded(lattice.sample(slope, height, width) * luma + lattice.sample(offset, height, width))

    def rectangle(self, height: int, width: int) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 in pixels of what lies inside bars and frames, of a (height, width) raster of the whole."""
        left, right = (round(self.inside[k] * width) for k in (0, 2))
        top, bottom = (round(self.inside[k] * height) for k in (1, 3))
        x0, y0 = min(left, width - 1), min(top, height - 1)
        return x0, y0, max(right, x0 + 1), max(bottom, y0 + 1)

    def borders(self, height: int, width: int) -> Borders:
        """The bars and frames around what lies inside, of a (height, width) raster of the whole."""
        x0, y0, x1, y1 = self.rectangle(height, width)
        return Borders(height, width, top=y0, bottom=height - y1, left=x0, right=width - x1)

    def depth(self, height: int, width: int) -> Floats:
        """Depth -ln(t) / density at the pixel centres of a (height, width) raster, float32, in units of 1 / density."""
        return np.asarray(-np.log(self.transmission(height, width)) / self.density, np.float32)

    @overload
    def at(self, x: float, y: float) -> float: ...
    @overload
    def at(self, x: npt.ArrayLike, y: npt.ArrayLike) -> Floats | float: ...
    def at(self, x: npt.ArrayLike, y: npt.ArrayLike) -> Floats | float:
        """Transmission at continuous positions: x rightward, y downward, both in [0, 1] over the whole picture.

        The network's implicit function was evaluated once, at the centres of `lattice`; here a cubic passes through
        those values, whatever the resolution. For values of the function itself at more points ask for a finer lattice,
        as `Dehazer(lattice=256)` does.

        Scalars give a float, arrays (broadcast together) a float32 array. Raises UsageError outside [0, 1].
        """
        across, down, within = self._relative(x, y)
        values = self._bounded(lattice.at(self.lattice, np.clip(across, 0, 1), np.clip(down, 0, 1)))
        values = np.where(within, values, np.float32(1))
        return values if values.ndim else float(values)

    def airlight_at(self, x: npt.ArrayLike, y: npt.ArrayLike) -> Floats:
        """A(x) at continuous positions as in `at`, evaluated there exactly: float32 (..., 3) RGB in [0, 1].

        Raises UsageError outside [0, 1].
        """
        across, down, _ = self._relative(x, y)
        return light.at(self.airlight, self.terms, 2 * across - 1, 2 * down - 1)

    def _relative(
        self, x: npt.ArrayLike, y: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Positions as parts of what lies inside, and whether they do. Raises UsageError outside the whole."""
        across, down = _positions(x, y)
        x0, y0, x1, y1 = self.inside
        within = (across >= x0) & (across <= x1) & (down >= y0) & (down <= y1)
        return (across - x0) / (x1 - x0), (down - y0) / (y1 - y0), within

    def turned(self, turns: int) -> "HazeField":
        """The field of the picture after `turns` quarter turns counterclockwise, as numpy.rot90 turns arrays."""
        inside = self.inside
        for _ in range(turns % 4):
            x0, y0, x1, y1 = inside
            inside = y0, 1 - x1, y1, 1 - x0
        return replace(
            self,
            inside=inside,
            lattice=np.rot90(self.lattice, turns),
            guide=None if self.guide is None else np.rot90(self.guide, turns),
            terms=light.turned(self.terms, turns),
        )

    def apply(
        self,
        image: Array,
        *,
        strength: float = 1.0,
        region: Sequence[int] | None = None,
        full: Sequence[int] | None = None,
        threads: int = 1,
    ) -> Array:
        """`image` without its haze: J = (I - A) / max(t^strength, floor) + A, brightened where the airlight is dim.

        image: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8, uint16, float32 or float64 in [0, 1], any resolution;
            the result has its shape and type, alpha untouched.
        strength: 0 gives the very same pixels, 1 removes the haze that was found, up to 1.5; it scales the density.
        region, full: (x0, y0, x1, y1) and (height, width) say that `image` is that crop of the whole picture; the
            result is bit for bit that crop of the whole result.
        Raises ImageError for anything that is not a picture or does not fit its region, UsageError for an invalid
        strength or region.
        """
        window = _window(arrays.check(image), region, full)
        check_strength(strength)
        if strength == 0:
            return np.array(image, order="C")
        medium = self._medium(strength, arrays.colours(image).shape[2])
        if self.inside == WHOLE:
            return invert(image, medium, window, threads)
        out = np.array(image, order="C")
        if part := window.part(self.rectangle(window.height, window.width)):
            rows, columns, seen = part
            out[rows, columns] = invert(image[rows, columns], medium, seen, threads)
        return out

    def preview(self, height: int, width: int, kind: MapKind = "transmission") -> npt.NDArray[np.uint8]:
        """The field as a coloured map, uint8 (height, width, 3): bright is clear, or far when `kind` is "depth".

        Transmission is drawn over [0, 1], depth from 0 to the largest in the picture.
        """
        if kind == "transmission":
            return colourmap.colour(self.transmission(height, width))
        if kind == "depth":
            depth = self.depth(height, width)
            return colourmap.colour(depth / max(float(depth.max()), 1e-6))
        raise UsageError(f"expected kind 'transmission' or 'depth', found {kind!r}")

    @cached_property
    def floor(self) -> float:
        """The least transmission the inversion believes in, given the picture's noise."""
        render = self.rendering
        return float(np.clip(self.noise / render.noise_limit, render.floor, render.floor_limit))

    def curve(self, strength: float = 1.0) -> tuple[float, float]:
        """a and b of J (a - b J), which brightens the result: J + k J (1 - J / white).

        The curve is that of Guo et al., "Zero-reference deep curve estimation" (CVPR 2020, eq. 1); k in [0, 1] is what
        the veil lacks of white, (1 - A / white)(1 - t^strength), with the luma of A and the mean over the lattice.
        So neither a clear picture is changed nor one in white haze.
        """
        lacking = 1.0 - min(1.0, float(self.airlight @ arrays.LUMA) / self.white)
        k = self.rendering.brighten * lacking * (1.0 - float((self.lattice**strength).mean()))
        return 1.0 + k, k / self.white

    def _bounded(self, values: Floats) -> Floats:
        # A cubic overshoots its samples a little: nothing may leave the range that was measured.
        return np.clip(values, self.lattice.min(), self.lattice.max())

    def _medium(self, strength: float, channels: int) -> Medium:
        slope, offset = self.guided(strength)
        if slope is not None:  # the pass has luma(I - A) at hand, not luma(I)
            cells = light.at(self.airlight, self.terms, *light.grid(*offset.shape))
            offset = offset + slope * arrays.luma(cells)
        airlight, terms = self.airlight, self.terms
        if channels == 1:
            weights = np.asarray(arrays.LUMA, np.float32)
            airlight, terms = (weights @ airlight)[None], (weights @ terms)[None]
        uneven = terms if terms.any() else None
        return Medium(slope, offset, airlight, uneven, self.floor, self.rendering.colour_veil, self.curve(strength))

    def guided(self, strength: float = 1.0) -> tuple[Floats | None, Floats]:
        """t^strength as slope * luma + offset, each (h, w) like the lattice; no slope where nothing guides."""
        values, render = np.asarray(self.lattice**strength, np.float32), self.rendering
        if self.guide is None or render.guidance == "none":
            return None, values
        guide = arrays.luma(self.guide)

        def mean(cells: Floats) -> Floats:
            return lattice_mean(cells, render.radius)

        slope, offset = regression(guide, values, mean, render.epsilon)
        if render.guidance == "filter":
            return mean(slope), mean(offset)
        slope = lattice_mean(slope, 1)  # neighbouring regressions agree: details do not flip sign from cell to cell
        return slope, values - slope * guide


def check_strength(strength: float) -> None:
    """Raises UsageError unless `strength` lies in [0, 1.5]."""
    if not 0 <= strength <= MAX_STRENGTH:
        raise UsageError(f"expected a strength in [0, {MAX_STRENGTH}], found {strength}")


def _positions(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """x and y as arrays of one shape. Raises UsageError outside [0, 1]."""
    across, down = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
    for name, values in (("x", across), ("y", down)):
        if values.size and not (values.min() >= 0 and values.max() <= 1):
            raise UsageError(f"expected {name} in [0, 1], found {values.min():g} to {values.max():g}")
    return across, down


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise UsageError(f"expected a size of at least 1 x 1, found {height} x {width}")


def _window(image: Array, region: Sequence[int] | None, full: Sequence[int] | None) -> Window:
    """Where `image` lies in the whole picture; the whole of it when nothing is said."""
    rows, columns = image.shape[:2]
    if region is None and full is None:
        return Window(rows, columns, 0, 0, columns, rows)
    if region is None or full is None:
        raise UsageError("region=(x0, y0, x1, y1) and full=(height, width) belong together")
    (x0, y0, x1, y1), (height, width) = region, full
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise UsageError(f"region {tuple(region)} does not lie within full={tuple(full)} (height, width)")
    if (y1 - y0, x1 - x0) != (rows, columns):
        raise ImageError(f"region {tuple(region)} has {y1 - y0} x {x1 - x0} pixels, the picture {rows} x {columns}")
    return Window(height, width, x0, y0, x1, y1)
