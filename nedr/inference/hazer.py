"""The way back: haze on clear pictures, by the depth and rehazing networks of the unpaired stage. No torch.

    I = J t + A (1 - t) + R(J, d, beta), t = exp(-beta d), d = D(J)

As in clearing, the networks see one view of the whole picture; what they say is sampled at any size.
"""

from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nedr.errors import NedrError, UsageError
from nedr.inference import lattice
from nedr.inference.dehazer import cores
from nedr.inference.field import HazeField
from nedr.inference.onnx import PROVIDERS, opened
from nedr.inference.view import averaged, view
from nedr.inference.weights import resolve
from nedr.pictures import any_picture
from nedr.pictures.arrays import Array, Floats, colours, peak

if TYPE_CHECKING:
    import onnxruntime  # type: ignore[import-untyped]

Airlight: TypeAlias = float | tuple[float, float, float] | None

WEIGHTS = "rehazing"
VIEW = 256
BETA = (0.0, 10.0)
_INPUTS, _OUTPUTS = ["view", "density", "airlight"], ["depth", "residual"]


class Hazer:
    """Adds haze to any number of clear pictures; the weights are loaded at first use.

    weights: a name from `nedr.inference.weights.available()` or a path to an .onnx file that `nedr export` made of a
        run's rehazing.safetensors; None for the ones that ship.
    threads: the most that the network uses; None for one per available core.

    Raises UsageError for an option that cannot be, NedrError for weights that are missing or damaged.
    """

    def __init__(self, weights: str | PathLike[str] | None = None, *, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"expected at least 1 thread, found {threads}")
        self.path, self.threads = Path(resolve(weights or WEIGHTS)), threads or cores()

    def add(
        self,
        x: Any,
        *,
        beta: float = 1.2,
        airlight: Airlight = None,
        physical: bool = False,
    ) -> Any:
        """`x` with haze on it, as what it was: every kind of picture that `Dehazer.dehaze` takes.

        beta: scattering coefficient in [0, 10]; depth is relative, so beta says how much haze: 0.5 light, 2 dense.
        airlight: A in [0, 1], grey or RGB, in the picture's own colours; None for the brightest of the picture.
        physical: leave it at the scattering model, without the residual that was learnt from real haze.

        Raises ImageError for anything that is not a picture, UsageError for a beta or an airlight out of range.
        """
        check(beta, airlight)
        source = any_picture.unpack(x)
        return source.repack([self._hazy(picture, beta, airlight, physical) for picture in source.pictures])

    def field(self, picture: Array, beta: float, airlight: Airlight) -> HazeField:
        """The haze that `add` puts on a picture (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), without the residual."""
        return self._seen(picture, beta, airlight)[0]

    def _seen(self, picture: Array, beta: float, airlight: Airlight) -> tuple[HazeField, Floats]:
        """The physical haze of a picture, and the residual (h, w, 3) on the lattice."""
        small = view(picture, VIEW)
        cells = averaged(small, small.shape[0] // 4, small.shape[1] // 4)
        colour = (
            cells.max(axis=(0, 1)) if airlight is None else np.broadcast_to(np.asarray(airlight, np.float32), 3).copy()
        )
        feed = {
            "view": np.ascontiguousarray(small.transpose(2, 0, 1)[None]),
            "density": np.array([beta], np.float32),
            "airlight": colour[None],
        }
        depth, residual = self._session.run(_OUTPUTS, feed)
        if not (np.isfinite(depth).all() and np.isfinite(residual).all()):
            raise NedrError(f"{self.path.name} answered with values that are not finite; the weights are damaged")
        t = np.clip(np.exp(-np.float32(beta) * depth[0, 0]), np.float32(1e-3), 1)
        coarse = averaged(np.ascontiguousarray(residual[0].transpose(1, 2, 0)), *t.shape)
        return HazeField(t, averaged(small, *t.shape), colour, max(beta, 1e-6)), coarse

    def _hazy(self, picture: Array, beta: float, airlight: Airlight, physical: bool) -> Array:
        field, residual = self._seen(picture, beta, airlight)
        out = np.array(picture)
        if beta == 0:
            return out
        height, width = picture.shape[:2]
        t = field.transmission(height, width, picture)
        planes, white = colours(out), np.float32(peak(picture))
        for c in range(planes.shape[2]):
            channels = slice(c, c + 1) if planes.shape[2] == 3 else slice(None)  # grey is the mean of all three
            plane = planes[:, :, c] / white * t + field.airlight[channels].mean() * (1 - t)
            if not physical:
                plane += lattice.sample(residual[:, :, channels].mean(axis=2), height, width)
            plane = np.clip(plane, 0, 1) * white
            planes[:, :, c] = plane + np.float32(0.5) if picture.dtype.kind == "u" else plane
        return out

    @cached_property
    def _session(self) -> "onnxruntime.InferenceSession":
        session = opened(self.path, self.threads, [PROVIDERS["cpu"]])
        found = [node.name for node in (*session.get_inputs(), *session.get_outputs())]
        if found != _INPUTS + _OUTPUTS:
            raise NedrError(f"{self.path} does not make haze: expected {_INPUTS + _OUTPUTS}, found {found}")
        return session


def check(beta: float, airlight: Airlight) -> None:
    """Raises UsageError unless beta lies in [0, 10] and the airlight, if any, in [0, 1]."""
    if not BETA[0] <= beta <= BETA[1]:
        raise UsageError(f"expected a beta in [{BETA[0]:g}, {BETA[1]:g}], found {beta}")
    values = np.atleast_1d(np.asarray(0.5 if airlight is None else airlight, np.float64))
    if values.shape not in ((1,), (3,)) or not (values.min() >= 0 and values.max() <= 1):
        raise UsageError(f"expected an airlight of one or three values in [0, 1], found {airlight}")
