"""Export of published weights to ONNX, checked against torch before anything is written."""

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nedr import __version__
from nedr import config as configuration
from nedr.checkpoint import load_weights
from nedr.errors import NedrError, UsageError
from nedr.images import write
from nedr.model.encoder import FrozenNormConv
from nedr.model.nedr import VIEW_MULTIPLE, NeDR

if TYPE_CHECKING:
    import onnx

PARITY_SIZES = ((256, 256), (192, 256), (512, 128))  # three sizes and aspect ratios
PARITY_TOLERANCE = 5e-3  # about one level of 8 bit: what storing the weights in half precision may cost
SMALLEST_VIEW = 128  # below, the reflect padding of the coarsest map would need another graph
OUTPUTS = ("transmission", "airlight", "density")
OPSET = 18
LARGE = 1024  # values of a weight from which half precision pays


class Parity(NamedTuple):
    """Largest difference between ONNX and torch over all outputs, for one size of view."""

    height: int
    width: int
    largest_difference: float


def export(source: str | Path, target: str | Path, *, view: int = 256, overwrite: bool = False) -> list[Parity]:
    """Write published weights (safetensors) as ONNX, with configuration and default view size in its metadata.

    The graph takes `view` (1, 3, H, W), float32 RGB in [0, 1], sides multiples of 32 and at least 128; it gives
    `transmission` (1, 1, H / s, W / s) with s the lattice stride, `airlight` (1, 3) and `density` (1,). Raises
    UsageError for a view size that is no such multiple or a target that exists, NedrError when onnxruntime and torch
    differ by more than 0.005 at any of three sizes; the target is then left as it was.
    """
    if view % VIEW_MULTIPLE or view < SMALLEST_VIEW:
        raise UsageError(f"expected a view of a multiple of {VIEW_MULTIPLE}, {SMALLEST_VIEW} at least, found {view}")
    graph = to_onnx(load_weights(source), view)
    model = load_weights(source).requires_grad_(False)
    parity = [compare(model, graph, height, width) for height, width in PARITY_SIZES]
    worst = max(parity, key=lambda row: row.largest_difference)
    if not worst.largest_difference <= PARITY_TOLERANCE:
        raise NedrError(f"ONNX and torch differ by {worst.largest_difference:.2g} at {worst.height} x {worst.width}")
    write(target, graph, overwrite=overwrite)
    return parity


def fold_norms(model: nn.Module) -> None:
    """Fold every frozen normalisation into its convolution, in place: the same function with fewer operations."""
    for module in model.modules():
        if isinstance(module, FrozenNormConv):
            module.fold()


def to_onnx(model: NeDR, view: int) -> bytes:
    """The network as an ONNX file for views of any size, weights in half precision; `model` is folded in place."""
    import onnx

    fold_norms(model.requires_grad_(False))
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns wherever a shape is read, and each reading here is meant
        torch.onnx.export(
            model,
            (torch.rand(1, 3, 192, 256),),
            buffer,  # type: ignore[arg-type]  # torch writes to buffers too
            input_names=["view"],
            output_names=list(OUTPUTS),
            dynamic_axes={"view": {2: "height", 3: "width"}, "transmission": {2: "rows", 3: "columns"}},
            opset_version=OPSET,
            dynamo=False,
        )
    graph = onnx.load_from_string(buffer.getvalue())
    metadata = {"nedr.version": __version__, "nedr.config": configuration.to_json(model.config), "nedr.view": str(view)}
    onnx.helper.set_model_props(graph, metadata)
    store_half(graph)
    onnx.checker.check_model(graph)
    return bytes(graph.SerializeToString())


def store_half(model: "onnx.ModelProto") -> None:
    """Keep large weights in half precision, cast back when the graph is loaded: half the file, the same arithmetic."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= LARGE:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def compare(model: NeDR, graph: bytes, height: int, width: int) -> Parity:
    """Run one random view through both and take the largest difference of any output."""
    import onnxruntime  # type: ignore[import-untyped]

    generator = torch.Generator().manual_seed(height * width)
    view: Tensor = torch.rand(1, 3, height, width, generator=generator)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    found = session.run(OUTPUTS, {"view": view.numpy()})
    expected = [output.numpy() for output in model(view)]
    return Parity(height, width, max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True)))
