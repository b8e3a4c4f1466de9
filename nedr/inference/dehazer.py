"""From any picture to the same kind of picture without haze: one view, one network call, one pass over the pixels."""

import os
from dataclasses import replace
from functools import lru_cache, partial
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias, TypeVar, overload

import numpy as np

from nedr.errors import ImageError, UsageError
from nedr.inference.airlight import FITTED_POINTS, at, fitted, grid
from nedr.inference.borders import Borders, find
from nedr.inference.ensemble import SIZES, ensemble
from nedr.inference.field import HazeField, Rendering, check_strength
from nedr.inference.onnx import Estimate, Estimator, Lattice, Network
from nedr.inference.view import MIN_SIDE, averaged, noise_level, view
from nedr.inference.weights import resolve
from nedr.pictures import any_picture
from nedr.pictures import icc as colour
from nedr.pictures.arrays import Array, Floats, colours, peak

if TYPE_CHECKING:
    from PIL.Image import Image

Method: TypeAlias = Literal["nedr", "dcp", "cap"]
Order: TypeAlias = Literal["rgb", "bgr"]
Quality: TypeAlias = Literal["fast", "balanced", "best"]
T = TypeVar("T")

# Cells of the lattice for one of the lattice that the weights were made for.
QUALITIES: dict[Quality, float] = {"fast": 0.5, "balanced": 1.0, "best": 1.0}
LATTICE = (8, 512)


class Dehazer:
    """Removes haze from any number of pictures with one set of weights, which is loaded at first use.

    weights: a name from `nedr.inference.weights.available()` or a path to an .onnx file; None for the ones that ship;
        or a network itself, such as one in training: whatever answers like `nedr.inference.onnx.Network`.
    method: "nedr", the network; or a classical baseline at full size: "dcp", dark channel prior, "cap", colour
        attenuation prior.
    view: long side in pixels of the view that the network sees; None for what the weights were made for.
    quality: how thoroughly the haze is looked for: "balanced" as the weights were made for, one view, t in a cell for
        4 x 4 of its pixels; "fast" with half as many cells along each side; "best" the mean of that view, of a
        smaller and of a larger one, `nedr.inference.ensemble`.
    lattice: cells along the longer side, 8 to 512, in the usual view, instead of a quality.
    threads: the most that are used, by the network and by the pixels; None for one per available core.
    device: where the network runs: "cpu", "cuda", "coreml", "directml" or "openvino" (which need their onnxruntime).
    rendering: how the field becomes pixels; None for the defaults.

    Raises UsageError for an option that cannot be, NedrError for weights that are missing or damaged; a device that is
    absent, or a quality for weights that have a lattice of their own, is reported when the first picture needs it.

    Pickled, as for worker processes, it travels as these options.
    """

    def __init__(
        self,
        weights: str | PathLike[str] | Estimator | None = None,
        *,
        method: Method = "nedr",
        view: int | None = None,
        quality: Quality = "balanced",
        lattice: int | None = None,
        threads: int | None = None,
        device: str = "cpu",
        rendering: Rendering | None = None,
    ) -> None:
        _check_options(method, view, quality, lattice, threads)
        how: dict[str, Any] = {"method": method, "view": view, "quality": quality, "lattice": lattice}
        self._options = how | {"weights": weights, "threads": threads, "device": device, "rendering": rendering}
        self.method, self.threads = method, threads or cores()
        self._view, self._rendering = view, rendering
        self._quality, self._cells = quality, lattice
        self._network: Estimator | None = None
        if method == "nedr":
            if isinstance(weights, Estimator):
                self._network = weights
            else:
                self._network = Network(resolve(weights), self.threads, device)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Dehazer, **self._options), ()

    def field(self, x: Any, *, borders: Borders | None = None) -> HazeField:
        """The haze of one picture, of any kind that `dehaze` takes, as a continuous field.

        Its airlight is in the colours of the picture's own profile (sRGB without one), as its `apply` needs it.
        borders: bars and frames around the picture, which are left out and stay as they are; None to look for them.
            A video's are those of several frames, `nedr.inference.borders.combined`.

        Raises ImageError for anything that is not a picture, or of another size than its borders.
        """
        source = any_picture.unpack(x)
        if len(source.pictures) > 1:
            raise ImageError(f"a field belongs to one picture, found a batch of {len(source.pictures)}")
        picture = source.pictures[0]
        if borders is not None and (borders.height, borders.width) != picture.shape[:2]:
            sizes = f"{borders.height} x {borders.width}, found {picture.shape[:2]}"
            raise ImageError(f"expected a picture of its borders' size {sizes}")
        return self._field(picture, source.icc, borders)

    @overload
    def dehaze(self, x: str | PathLike[str], *, strength: float = 1.0, order: Order = "rgb") -> "Image": ...
    @overload
    def dehaze(self, x: bytes | BinaryIO, *, strength: float = 1.0, order: Order = "rgb") -> bytes: ...
    @overload
    def dehaze(self, x: T, *, strength: float = 1.0, order: Order = "rgb") -> T: ...
    def dehaze(self, x: Any, *, strength: float = 1.0, order: Order = "rgb") -> Any:
        """`x` without its haze, as what it was: same type, size, number type and colour order.

        x: a path (answers with a PIL image), bytes or a binary file (bytes of the same format), a PIL image (same
            mode), an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), RGB, uint8, uint16, float32 or float64 in [0, 1],
            a torch tensor (C, H, W) or (N, C, H, W), or an `images.Picture`.
        strength: 0 gives the very same pixels, 1 removes the haze that was found, up to 1.5; it scales the density.
        order: of an array's or tensor's channels, "rgb", or "bgr" as OpenCV has them (alpha last); other kinds know
            their own.

        Raises ImageError for anything that is not a picture: unreadable, of a wrong shape, type or range; UsageError
        for an invalid strength or order.
        """
        check_strength(strength)
        if order != "rgb":
            return any_picture.in_order(x, order, lambda rgb: self.dehaze(rgb, strength=strength))
        source = any_picture.unpack(x)
        if strength == 0:
            return source.repack([np.array(picture) for picture in source.pictures])
        return source.repack([self._clear(picture, source.icc, strength) for picture in source.pictures])

    __call__ = dehaze

    def _clear(self, picture: Array, icc: bytes | None, strength: float) -> Array:
        return self._field(picture, icc).apply(picture, strength=strength, threads=self.threads)

    def _field(self, picture: Array, icc: bytes | None, known: Borders | None = None) -> HazeField:
        borders = find(picture) if known is None else known
        x0, y0, x1, y1 = borders.inside
        field = self._inside(picture[y0:y1, x0:x1], icc)
        return replace(field, inside=borders.parts) if borders else field

    def _inside(self, picture: Array, icc: bytes | None) -> HazeField:
        """The field of a picture without borders."""
        network = self._network
        if network is None:
            return self._baseline(picture)
        side = self._view or network.view
        small, grey = view(picture, side), colours(picture).shape[2] == 1
        lattice = self._lattice(network, *small.shape[:2])
        if lattice is None or self._quality != "best":
            found = network(_recoloured(small, icc, grey=grey), lattice)
        else:
            seen = (small if size == 1 else view(picture, round(size * side)) for size in SIZES)
            found = ensemble(network, [_recoloured(one, icc, grey=grey) for one in seen], lattice)
        airlight, terms = _airlight(found, icc, grey=grey)
        return HazeField(
            lattice=found.transmission,
            guide=averaged(small, *found.transmission.shape),
            airlight=airlight,
            density=found.density,
            noise=noise_level(picture),
            rendering=self._rendering or Rendering(),
            terms=terms,
        )

    def _lattice(self, network: Estimator, height: int, width: int) -> Lattice | None:
        """Rows and columns to ask for of a view's size; None for what the weights were made for."""
        if self._cells is None and self._quality == "balanced":
            return None
        cells = self._cells or max(height, width) / network.stride * QUALITIES[self._quality]
        rows, columns = (max(1, round(side * cells / max(height, width))) for side in (height, width))
        return rows, columns

    def _baseline(self, picture: Array) -> HazeField:
        """The classical priors look at every pixel of the picture, in its own colours."""
        from nedr.inference import priors

        image = np.asarray(colours(picture), np.float32) / np.float32(peak(picture))
        image = np.broadcast_to(image, (*image.shape[:2], 3))
        prior = {"dcp": priors.dark_channel_prior, "cap": priors.colour_attenuation_prior}[self.method]
        return prior(image)


@overload
def dehaze(x: str | PathLike[str], *, strength: float = 1.0, order: Order = "rgb") -> "Image": ...
@overload
def dehaze(x: bytes | BinaryIO, *, strength: float = 1.0, order: Order = "rgb") -> bytes: ...
@overload
def dehaze(x: T, *, strength: float = 1.0, order: Order = "rgb") -> T: ...
def dehaze(x: Any, *, strength: float = 1.0, order: Order = "rgb") -> Any:
    """`x` without its haze, by the weights that ship; see `Dehazer.dehaze`. The weights are loaded once."""
    return _default().dehaze(x, strength=strength, order=order)


def cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache(maxsize=1)
def _default() -> Dehazer:
    return Dehazer()


def _check_options(method: str, view: int | None, quality: str, lattice: int | None, threads: int | None) -> None:
    if method not in ("nedr", "dcp", "cap"):
        raise UsageError(f"expected a method of nedr, dcp, cap, found {method!r}")
    if threads is not None and threads < 1:
        raise UsageError(f"expected at least 1 thread, found {threads}")
    if view is not None and view < MIN_SIDE:
        raise UsageError(f"expected a view of at least {MIN_SIDE} pixels, found {view}")
    if quality not in QUALITIES:
        raise UsageError(f"expected a quality of {', '.join(QUALITIES)}, found {quality!r}")
    if lattice is not None and not LATTICE[0] <= lattice <= LATTICE[1]:
        raise UsageError(f"expected a lattice of {LATTICE[0]} to {LATTICE[1]} cells, found {lattice}")
    if lattice is not None and quality != "balanced":
        raise UsageError(f"expected a quality or a lattice, found both, {quality!r} and {lattice}")
    if method != "nedr" and (lattice or quality != "balanced"):
        raise UsageError(f"method {method} looks at every pixel: expected no quality and no lattice with it")


def _airlight(found: Estimate, icc: bytes | None, *, grey: bool) -> tuple[Floats, Floats]:
    """A(x), its mean and terms, in the colours of a profile.

    These are no linear function of sRGB. So A(x) is converted at some points and fitted again: it stays one smooth
    polynomial, and what is done to each pixel is the same for every picture.
    """
    if not icc:
        return found.airlight, found.terms
    if not found.terms.any():
        return _recoloured(found.airlight, icc, grey=grey, inverse=True), found.terms
    values = at(found.airlight, found.terms, *grid(FITTED_POINTS, FITTED_POINTS))
    mean, terms = fitted(_recoloured(values, icc, grey=grey, inverse=True))
    return np.clip(mean, 0, 1), terms


def _recoloured(values: Floats, icc: bytes | None, *, grey: bool, inverse: bool = False) -> Floats:
    """Colours (..., 3) of a profile to sRGB, or back; the three channels of a grey picture are each its grey."""
    return np.asarray(colour.convert(values, icc, grey=grey, inverse=inverse), np.float32) if icc else values
