"""Export of published weights to ONNX, checked against torch before anything is written."""

import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nedr import __version__
from nedr.errors import NedrError, UsageError
from nedr.inference.onnx import runtime
from nedr.model.encoder import FrozenNormConv
from nedr.model.nedr import VIEW_MULTIPLE, NeDR
from nedr.model.rehaze import Rehazing
from nedr.pictures.images import write
from nedr.training import config as configuration
from nedr.training.checkpoint import LARGE, load_published, views_of
from nedr.training.self_ensemble import self_ensemble

if TYPE_CHECKING:
    import onnx

PARITY_SIZES = ((256, 256), (192, 256), (512, 128))  # three sizes and aspect ratios
PARITY_STRIDES = (4.0, 1.7, 7.3)  # of their lattices: not integer ratios to the view and the coarse grid
PARITY_TOLERANCE = 5e-3  # about one 8-bit level: what half-precision weights may cost
SMALLEST_VIEW = 128  # below it, the reflect padding of the coarsest map would need another graph
OPSET = 18


@dataclass(frozen=True)
class Graph:
    """Names of a network's inputs and outputs, and of their axes that vary between pictures, as {axis: name}."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    axes: dict[str, dict[int, str]]


VIEW_AXES, LATTICE_AXES = {2: "height", 3: "width"}, {2: "rows", 3: "columns"}
DEHAZING = Graph(
    ("view", "lattice"),
    ("transmission", "airlight", "density", "terms"),
    {"view": VIEW_AXES, "transmission": LATTICE_AXES},
)
REHAZING = Graph(
    ("view", "density", "airlight"),
    ("depth", "residual"),
    {"view": VIEW_AXES, "depth": LATTICE_AXES, "residual": VIEW_AXES},
)


class Parity(NamedTuple):
    """Largest difference between ONNX and torch over all outputs, for one view size and lattice stride."""

    height: int
    width: int
    stride: float
    largest_difference: float


class Asked(nn.Module):
    """What the network answers to a view and its copies; the lattice is a tensor (2,), rows and columns."""

    def __init__(self, model: NeDR) -> None:
        super().__init__()
        self.model = model

    def forward(self, view: Tensor, lattice: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W), (2,) -> transmission, airlight, density, terms."""
        return tuple(self_ensemble(self.model, view, (lattice[0], lattice[1])))


def export(source: str | Path, target: str | Path, *, view: int = 256, overwrite: bool = False) -> list[Parity]:
    """Write published weights (safetensors) as ONNX, with the configuration and default view size in its metadata.

    The graph takes `view` (1, 3, H, W), float32 RGB in [0, 1], sides multiples of 32 and at least 128, and `lattice`
    (2,), int64, rows h and columns w of any lattice over it; it returns `transmission` (1, 1, h, w), `airlight` (1, 3),
    `density` (1,) and `terms` (1, 3, 5), each the mean over the view and its copies (`training.self_ensemble`). A
    run's rehazing.safetensors becomes a graph that takes `view`, `density` and `airlight`, and returns `depth`
    (1, 1, H / s, W / s), s the lattice stride, and `residual` (1, 3, H, W). Weights are stored in half precision, or in
    single where that costs more than 0.005, as it may in a barely trained network.

    Raises UsageError for any other view size or an existing target, NedrError when onnxruntime and torch differ by more
    than 0.005 at any of three sizes; the target is then unchanged.
    """
    if view % VIEW_MULTIPLE or view < SMALLEST_VIEW:
        raise UsageError(f"expected a view of a multiple of {VIEW_MULTIPLE}, at least {SMALLEST_VIEW}, found {view}")
    for half in (True, False):
        graph, parity = compared(source, view, half=half)
        worst = max(parity, key=lambda row: row.largest_difference)
        if worst.largest_difference <= PARITY_TOLERANCE:
            break
    if not worst.largest_difference <= PARITY_TOLERANCE:
        raise NedrError(f"ONNX and torch differ by {worst.largest_difference:.2g} at {worst.height} x {worst.width}")
    write(target, with_views(graph, views_of(source)), overwrite=overwrite)
    return parity


def compared(source: str | Path, view: int, *, half: bool) -> tuple[bytes, list[Parity]]:
    """Published weights as ONNX, and how much that differs from torch at each size."""
    graph = to_onnx(load_published(source), view, half=half)
    model = load_published(source).requires_grad_(False)
    sizes = zip(PARITY_SIZES, PARITY_STRIDES, strict=True)
    return graph, [compare(model, graph, *size, stride) for size, stride in sizes]


def with_views(graph: bytes, views: dict[str, int]) -> bytes:
    """An ONNX file that states how many views its network has learnt from, as `nedr.views`, if known."""
    import onnx

    model = onnx.load_from_string(graph)
    if views:
        entry = model.metadata_props.add()
        entry.key, entry.value = "nedr.views", json.dumps(views)
    return bytes(model.SerializeToString())


def fold_norms(model: nn.Module) -> None:
    """Fold every frozen normalisation into its convolution, in place: the same function with fewer operations."""
    for module in model.modules():
        if isinstance(module, FrozenNormConv):
            module.fold()


def graph_of(model: NeDR | Rehazing) -> Graph:
    """The inputs and outputs of a network's file."""
    return DEHAZING if isinstance(model, NeDR) else REHAZING


def example(graph: Graph, height: int, width: int, stride: float = 4.0) -> tuple[Tensor, ...]:
    """Random inputs of a graph, always the same for one size; the lattice is that of `stride`."""
    generator = torch.Generator().manual_seed(height * width)
    shapes = {"view": (1, 3, height, width), "density": (1,), "airlight": (1, 3)}
    values = {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}
    values["lattice"] = torch.tensor([round(height / stride), round(width / stride)])
    return tuple(values[name] for name in graph.inputs)


def callable_of(model: NeDR | Rehazing) -> nn.Module:
    """The module with the graph's inputs and outputs."""
    return Asked(model) if isinstance(model, NeDR) else model


def to_onnx(model: NeDR | Rehazing, view: int, *, half: bool = True) -> bytes:
    """The network as an ONNX file for views of any size, in half precision or not; folds `model` in place."""
    import onnx

    fold_norms(model.requires_grad_(False))
    buffer, names = io.BytesIO(), graph_of(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns wherever a shape is read, which is intended here
        torch.onnx.export(
            callable_of(model),
            example(names, 192, 256),
            buffer,  # type: ignore[arg-type]  # torch writes to buffers too
            input_names=list(names.inputs),
            output_names=list(names.outputs),
            dynamic_axes=names.axes,
            opset_version=OPSET,
            dynamo=False,
        )
    graph = onnx.load_from_string(buffer.getvalue())
    onnx.helper.set_model_props(graph, metadata(model, view))
    if half:
        store_half(graph)
    onnx.checker.check_model(graph)
    return bytes(graph.SerializeToString())


def metadata(model: NeDR | Rehazing, view: int) -> dict[str, str]:
    """A file's metadata."""
    said = {"nedr.version": __version__, "nedr.config": configuration.to_json(model.config), "nedr.view": str(view)}
    return said | ({"nedr.stride": str(model.config.lattice_stride)} if isinstance(model, NeDR) else {})


def store_half(model: "onnx.ModelProto") -> None:
    """Store large weights in half precision, cast back on loading: half the file size, the same arithmetic."""
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


def compare(model: NeDR | Rehazing, graph: bytes, height: int, width: int, stride: float) -> Parity:
    """Run one random view through both and return the largest difference of any output."""
    names = graph_of(model)
    inputs = example(names, height, width, stride)
    session = runtime().InferenceSession(graph, providers=["CPUExecutionProvider"])
    found = session.run(names.outputs, {name: x.numpy() for name, x in zip(names.inputs, inputs, strict=True)})
    expected = [output.numpy() for output in callable_of(model)(*inputs)]
    return Parity(height, width, stride, max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True)))
