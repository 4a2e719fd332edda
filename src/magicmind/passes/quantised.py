"""What passes share about QuantizeLinear and DequantizeLinear with constant parameters (`ops/quantise.is_kept`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir
from onnx_ir import DataType

from magicmind.ir.types import TensorType, const_of, dtype_of, type_of
from magicmind.ops.quantise import is_kept
from magicmind.ops.registry import NodeView
from magicmind.passes.edit import add_constant, attribute, graph_of, insert_node, is_op

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Parameters:
    """x = (q - zero) * scale: flat arrays, of one element or one per index of `axis`; `dtype` is that of q."""

    scale: FloatArray
    zero: npt.NDArray[np.int32]
    axis: int
    dtype: DataType

    @property
    def per_tensor(self) -> bool:
        return self.scale.size == 1 and self.zero.size == 1

    def same_as(self, other: Parameters) -> bool:
        """Whether both read the same number from the same q."""
        return (
            self.dtype == other.dtype
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero, other.zero)
            and (self.per_tensor or self.axis == other.axis)
        )


def parameters_of(node: onnx_ir.Node | None) -> Parameters | None:
    """Those of a kept QuantizeLinear or DequantizeLinear; None for any other node."""
    if node is None or not is_op(node, "QuantizeLinear", "DequantizeLinear") or not is_kept(NodeView(node)):
        return None
    q = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
    scale, zero = const_of(node.inputs[1]), const_of(node.inputs[2]) if len(node.inputs) > 2 else None
    dtype = None if q is None else dtype_of(q)
    assert scale is not None and dtype is not None
    whole = np.zeros(1, np.int32) if zero is None else zero.astype(np.int32).ravel()
    return Parameters(scale.ravel(), whole, int(attribute(node, "axis", 1)), dtype)


@dataclass(frozen=True)
class Dequantised:
    """A float value that is a DequantizeLinear of `q`."""

    node: onnx_ir.Node
    q: onnx_ir.Value
    parameters: Parameters


def dequantised(value: onnx_ir.Value | None) -> Dequantised | None:
    """How `value` is made, where a kept DequantizeLinear makes it."""
    node = None if value is None else value.producer()
    if node is None or not is_op(node, "DequantizeLinear"):
        return None
    parameters, q = parameters_of(node), node.inputs[0]
    return None if parameters is None or q is None else Dequantised(node, q, parameters)


def dequantised_constant(value: onnx_ir.Value | None) -> tuple[npt.NDArray[Any], Parameters] | None:
    """The whole numbers of a constant behind a DequantizeLinear."""
    found = dequantised(value)
    array = None if found is None else const_of(found.q)
    return None if found is None or array is None else (array, found.parameters)


def insert_dequantise(before: onnx_ir.Node, q: onnx_ir.Value, like: onnx_ir.Node, name: str) -> onnx_ir.Value:
    """q by the parameters of the node `like`, as a new node in front of `before`."""
    found = type_of(q)
    assert found is not None
    attributes = {"axis": attribute(like, "axis")}
    types = [TensorType(DataType.FLOAT, found.shape)]
    node = insert_node(before, "DequantizeLinear", [q, *like.inputs[1:]], attributes, name=name, types=types)
    node.outputs[0].name = f"{name}.out"
    return node.outputs[0]


def parameter_constants(
    node: onnx_ir.Node, scale: FloatArray, zero: int, dtype: DataType
) -> tuple[onnx_ir.Value, onnx_ir.Value]:
    """Scale and zero point of one value as initializers of the graph of `node`."""
    graph = graph_of(node)
    number = np.asarray(scale, np.float32).reshape(())
    zero_point = np.asarray(zero, dtype.numpy())
    return add_constant(graph, number, f"{node.name}.scale"), add_constant(graph, zero_point, f"{node.name}.zero")
