"""The exported network, run by onnxruntime: a view of the picture in, its haze out. No torch."""

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from nedr.errors import MissingExtraError, NedrError, UsageError
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
_DEFAULT_VIEW = 256


@runtime_checkable
class Estimator(Protocol):
    """What a Dehazer asks of a network: the long side of the views it was made for, and the haze of a view."""

    @property
    def view(self) -> int:
        """Long side of the view in pixels."""

    def __call__(self, view: Floats) -> tuple[Floats, Floats, float]:
        """A view (H, W, 3) RGB in [0, 1] -> transmission (h, w), airlight (3,), density."""


class Network:
    """Weights in a file, loaded at first use; calls may come from several threads.

    path: an ONNX file with the input `view` (1, 3, H, W) and the outputs transmission (1, 1, H/4, W/4), airlight
        (1, 3) and density (1,).
    threads: the most that one call uses.
    device: a key of PROVIDERS.
    """

    def __init__(self, path: Path, threads: int, device: str = "cpu") -> None:
        if device not in PROVIDERS:
            raise UsageError(f"expected a device of {', '.join(PROVIDERS)}, found {device!r}")
        self.path, self.threads, self.device = path, threads, device

    def __call__(self, view: Floats) -> tuple[Floats, Floats, float]:
        """A view (H, W, 3) RGB in [0, 1] -> transmission (H/4, W/4), airlight (3,), density."""
        batch = np.ascontiguousarray(view.transpose(2, 0, 1)[None])
        lattice, airlight, density = self._session.run(_OUTPUTS, {"view": batch})
        found = (np.isfinite(lattice).all(), np.isfinite(airlight).all(), np.isfinite(density).all())
        if not all(found):
            raise NedrError(f"{self.path.name} answered with values that are not finite; the weights are damaged")
        tiny = np.float32(1e-3)  # the field's logarithm and the inversion both need t > 0
        return np.clip(lattice[0, 0], tiny, 1), np.clip(airlight[0], 0, 1), max(float(density[0]), 1e-6)

    @cached_property
    def view(self) -> int:
        """Long side of the view these weights were made for, from the file's `nedr.view`."""
        properties = self._session.get_modelmeta().custom_metadata_map
        return int(properties.get("nedr.view", _DEFAULT_VIEW))

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
        if inputs != ["view"] or not outputs.issuperset(_OUTPUTS):
            raise NedrError(
                f"{self.path} does not remove haze: expected input view and outputs {', '.join(_OUTPUTS)}, "
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
