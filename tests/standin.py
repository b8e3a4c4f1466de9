"""A network that fulfils the contract of the exported one in a few nodes: for tests of everything around it."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VIEW = 128


def write(
    path: Path, *, view: int | None = VIEW, outputs: tuple[str, ...] = ("transmission", "airlight", "density")
) -> Path:
    """t falls with the brightness of 4 x 4 blocks, A is the maximum of each channel, the density is 1.5."""
    nodes = [
        helper.make_node("AveragePool", ["view"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("ReduceMean", ["cells", "channel"], ["bright"], keepdims=1),
        helper.make_node("Mul", ["bright", "steep"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["transmission"]),
        helper.make_node("ReduceMax", ["view", "plane"], ["airlight"], keepdims=0),
        helper.make_node("Identity", ["beta"], ["density"]),
    ]
    shapes = {"transmission": [1, 1, "h", "w"], "airlight": [1, 3], "density": [1]}
    values = {"steep": -4.0, "shift": 3.0, "beta": 1.5}
    constants = [numpy_helper.from_array(np.array([value], np.float32), name) for name, value in values.items()]
    constants += [numpy_helper.from_array(np.array(axes), name) for name, axes in (("channel", [1]), ("plane", [2, 3]))]
    graph = helper.make_graph(
        nodes,
        "standin",
        [helper.make_tensor_value_info("view", TensorProto.FLOAT, [1, 3, "H", "W"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if view is not None:
        helper.set_model_props(model, {"nedr.version": "0", "nedr.config": "{}", "nedr.view": str(view)})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
