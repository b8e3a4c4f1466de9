"""A network that fulfils the contract of the exported one in a few nodes: for tests of everything around it."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VIEW = 128


def write(
    path: Path,
    *,
    view: int | None = VIEW,
    outputs: tuple[str, ...] = ("transmission", "airlight", "density", "terms"),
    lattice: bool = True,
    terms: np.ndarray | None = None,
) -> Path:
    """t falls with the brightness of each cell, A is the maximum of each channel, the density is 1.5.

    lattice: whether it is asked for one, or answers for 4 x 4 pixels each as first weights did
    terms: of A(x), (3, 5); zeros unless said
    """
    pooling = helper.make_node("AveragePool", ["view"], ["cells"], kernel_shape=[4, 4], strides=[4, 4])
    resizing = [
        helper.make_node("Concat", ["leading", "lattice"], ["shape"], axis=0),
        helper.make_node("Resize", ["view", "", "", "shape"], ["cells"], mode="linear", antialias=1),
    ]
    nodes = [
        *(resizing if lattice else [pooling]),
        helper.make_node("ReduceMean", ["cells", "channel"], ["bright"], keepdims=1),
        helper.make_node("Mul", ["bright", "steep"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["transmission"]),
        helper.make_node("ReduceMax", ["view", "plane"], ["airlight"], keepdims=0),
        helper.make_node("Identity", ["beta"], ["density"]),
        helper.make_node("Identity", ["uneven"], ["terms"]),
    ]
    shapes = {"transmission": [1, 1, "h", "w"], "airlight": [1, 3], "density": [1], "terms": [1, 3, 5]}
    values = {"steep": -4.0, "shift": 3.0, "beta": 1.5}
    constants = [numpy_helper.from_array(np.array([value], np.float32), name) for name, value in values.items()]
    uneven = np.zeros((3, 5)) if terms is None else terms
    constants.append(numpy_helper.from_array(np.asarray(uneven, np.float32)[None], "uneven"))
    constants.append(numpy_helper.from_array(np.array([1, 3]), "leading"))
    constants += [numpy_helper.from_array(np.array(axes), name) for name, axes in (("channel", [1]), ("plane", [2, 3]))]
    graph = helper.make_graph(
        nodes,
        "standin",
        [
            helper.make_tensor_value_info("view", TensorProto.FLOAT, [1, 3, "H", "W"]),
            *([helper.make_tensor_value_info("lattice", TensorProto.INT64, [2])] if lattice else []),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if view is not None:
        helper.set_model_props(model, {"nedr.version": "0", "nedr.config": "{}", "nedr.view": str(view)})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
