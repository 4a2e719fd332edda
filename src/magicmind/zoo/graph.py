"""The graph of a sample as it is built: pictures as NHWC bytes go in, normalisation is its first step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir

from magicmind.graph import Graph
from magicmind.ir.types import TensorType, set_type, type_of
from magicmind.zoo.geometry import Array


def with_normalisation(graph: Graph, mean: Sequence[float], std: Sequence[float]) -> Graph:
    """The same network for inputs x that it reads as (x - mean) / std, per channel of NCHW.

    The step stands behind what brings the only input into the network's layout and dtype; padding of the layers stays
    zero after normalisation, as the network was trained.
    """
    model = graph.model.clone()
    (value,) = model.graph.inputs
    while len(uses := list(value.uses())) == 1 and uses[0].node.op_type in ("Cast", "Transpose"):
        value = uses[0].node.outputs[0]
    kind = type_of(value)
    assert kind is not None, "every value of a Graph has its type"
    readers = [(use.node, use.idx) for use in value.uses()]
    result = value
    for op, numbers in (("Sub", np.array(mean)), ("Mul", 1 / np.array(std))):
        constant = _constant(model, f"normalisation/{op}/constant", numbers)
        node = onnx_ir.Node("", op, [result, constant], name=f"normalisation/{op}")
        result = node.outputs[0]
        result.name = f"normalisation/{op}/result"
        model.graph.insert_before(readers[0][0], node)
    for node, index in readers:
        node.replace_input_with(index, result)
    return Graph(model)


def _constant(model: onnx_ir.Model, name: str, numbers: Array) -> onnx_ir.Value:
    value = onnx_ir.Value(
        name=name, const_value=onnx_ir.tensor(numbers.astype(np.float32).reshape(1, -1, 1, 1), name=name)
    )
    set_type(value, TensorType(onnx_ir.DataType.FLOAT, (1, numbers.size, 1, 1)))
    model.graph.initializers[name] = value
    return value
