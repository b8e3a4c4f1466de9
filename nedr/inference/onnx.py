"""The exported network, run by onnxruntime: a view of the picture in, its haze out. No torch."""

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from nedr.errors import MissingExtraError, NedrError, UsageError
from nedr.inference.airlight import no_terms
from nedr.pictures.arrays import Floats

if TYPE_CHECKING:
    import onnxruntime  # type: ignore[import-untyped]

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
_PACKAGES = {
    "cuda": "onnxruntime-gpu",
    "coreml": "onnxruntime on macOS",
    "directml": "onnxruntime-directml",
    "openvino": "onnxruntime-openvino",
}
_OUTPUTS = ["transmission", "airlight", "density"]
_TERMS = "terms"
_VIEW, _STRIDE = 256, 4

Lattice: TypeAlias = tuple[int, int]


class Estimate(NamedTuple):
    """The haze of a view.

    transmission: t in (0, 1] on the lattice, (h, w);  airlight: the mean of A(x), (3,) RGB in [0, 1]
    density: beta > 0;  terms: how A(x) changes over the picture, (3, 5), see `nedr.inference.airlight`
    """

    transmission: Floats
    airlight: Floats
    density: float
    terms: Floats


@runtime_checkable
class Estimator(Protocol):
    """What a Dehazer asks of a network: what it was made for, and the haze of a view."""

    @property
    def view(self) -> int:
        """Long side of the view in pixels."""

    @property
    def stride(self) -> int:
        """Pixels of the view for one cell of the lattice, where no other lattice is asked for."""

    def __call__(self, view: Floats, lattice: Lattice | None = None) -> Estimate:
        """The haze of a view (H, W, 3) RGB in [0, 1], t on a lattice (rows, columns)."""


class Network:
    """Weights in a file, loaded at first use; calls may come from several threads.

    path: an ONNX file with the inputs `view` (1, 3, H, W) and `lattice` (2,) int64, rows and columns, and the outputs
        transmission (1, 1, h, w), airlight (1, 3), density (1,) and terms (1, 3, 5). Files without `lattice` answer
        on a lattice of their own, those without terms know of one airlight alone.
    threads: the most that one call uses.
    device: a key of PROVIDERS.

    Pickled, it travels as these three.
    """

    def __init__(self, path: Path, threads: int, device: str = "cpu") -> None:
        if device not in PROVIDERS:
            raise UsageError(f"expected a device of {', '.join(PROVIDERS)}, found {device!r}")
        self.path, self.threads, self.device = path, threads, device

    def __reduce__(self) -> tuple[type["Network"], tuple[Path, int, str]]:
        return Network, (self.path, self.threads, self.device)

    def __call__(self, view: Floats, lattice: Lattice | None = None) -> Estimate:
        """The haze of a view (H, W, 3) RGB in [0, 1], t on a lattice (rows, columns), by default a cell per `stride`.

        Raises UsageError for a lattice where the file has one of its own, NedrError for a file that is damaged.
        """
        feed = {"view": np.ascontiguousarray(view.transpose(2, 0, 1)[None])}
        if self.takes_lattice:
            rows, columns = lattice or (view.shape[0] // self.stride, view.shape[1] // self.stride)
            feed["lattice"] = np.array([rows, columns], np.int64)
        elif lattice is not None:
            raise UsageError(f"{self.path.name} has a lattice of its own; export its weights again, or ask for none")
        found = dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))
        if not all(np.isfinite(values).all() for values in found.values()):
            raise NedrError(f"{self.path.name} answered with values that are not finite; the weights are damaged")
        tiny = np.float32(1e-3)  # the field's logarithm and the inversion both need t > 0
        return Estimate(
            np.clip(found["transmission"][0, 0], tiny, 1),
            np.clip(found["airlight"][0], 0, 1),
            max(float(found["density"][0]), 1e-6),
            found[_TERMS][0] if _TERMS in found else no_terms(),
        )

    @cached_property
    def view(self) -> int:
        """Long side of the view these weights were made for, from the file's `nedr.view`."""
        return self._property("nedr.view", _VIEW)

    @cached_property
    def stride(self) -> int:
        """Pixels of the view for one cell of the default lattice, from the file's `nedr.stride`."""
        return self._property("nedr.stride", _STRIDE)

    def _property(self, name: str, default: int) -> int:
        return int(self._session.get_modelmeta().custom_metadata_map.get(name, default))

    @cached_property
    def takes_lattice(self) -> bool:
        """Whether the file can be asked for any lattice, or has one of its own."""
        return len(self._session.get_inputs()) == 2

    @cached_property
    def _outputs(self) -> list[str]:
        """The outputs that are asked for: terms where the file has them."""
        known = {node.name for node in self._session.get_outputs()}
        return [name for name in (*_OUTPUTS, _TERMS) if name in known]

    @cached_property
    def _session(self) -> "onnxruntime.InferenceSession":
        session = opened(self.path, self.threads, self._provider(runtime().get_available_providers()))
        self._check(session)
        return session

    def _provider(self, available: list[str]) -> list[str]:
        provider = PROVIDERS[self.device]
        if provider in available:
            return [provider] if self.device == "cpu" else [provider, PROVIDERS["cpu"]]
        raise MissingExtraError(
            f"device {self.device!r} needs {provider}, but this onnxruntime has {', '.join(available)}; "
            f"install {_PACKAGES[self.device]}"
        )

    def _check(self, session: "onnxruntime.InferenceSession") -> None:
        if PROVIDERS[self.device] not in session.get_providers():
            raise NedrError(f"device {self.device!r} did not start (driver missing?); device='cpu' always works")
        inputs = [node.name for node in session.get_inputs()]
        outputs = {node.name for node in session.get_outputs()}
        if inputs not in (["view"], ["view", "lattice"]) or not outputs.issuperset(_OUTPUTS):
            raise NedrError(
                f"{self.path} does not remove haze: expected inputs view, lattice and outputs {', '.join(_OUTPUTS)}, "
                f"found {', '.join(inputs)} and {', '.join(sorted(outputs))}"
            )


def runtime() -> Any:
    """The module onnxruntime, which reports its use to its makers from 1.32 on unless told not to before it loads.

    A user who sets ORT_DISABLE_TELEMETRY is heard.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def opened(path: Path, threads: int, providers: list[str]) -> "onnxruntime.InferenceSession":
    """A session on the network in a file. Raises NedrError when onnxruntime cannot load it."""
    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what goes wrong is raised below, in one line
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's own errors share no public base class
        raise NedrError(f"{path} cannot be loaded as ONNX weights: {error}") from error
