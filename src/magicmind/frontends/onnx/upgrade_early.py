"""Rules for operator sets 1 to 6, which the first exporters wrote: broadcasting had to be asked for, and much that is
an input today was an attribute. Importing this module adds them to the rules of `upgrade`.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir

from magicmind.errors import ModelFormatError
from magicmind.frontends.onnx.upgrade import attribute_to_input, below, new_constant, rank_of, set_input, take
from magicmind.ir.types import const_of


@below(7, "Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Greater", "Less", "Equal")
def _broadcast(node: onnx_ir.Node) -> None:
    """`axis` said where the dims of the second operand begin; today they end where those of the first end."""
    take(node, "broadcast")
    axis = take(node, "axis")
    if axis is not None:
        _align(node, axis)


@below(7, "PRelu")
def _channel_slope(node: onnx_ir.Node) -> None:
    """One slope per channel was a vector."""
    slope = node.inputs[1]
    if slope is not None and rank_of(slope) == 1 and _size(slope) != 1:
        _align(node, 1)


def _align(node: onnx_ir.Node, axis: int) -> None:
    """Gives input 1 trailing dims of one, so that its dims begin at `axis` of input 0."""
    first, second = (None if value is None else rank_of(value) for value in node.inputs[:2])
    if first is None or second is None:
        raise ModelFormatError(f"{node.name} ({node.op_type}): axis={axis} needs ranks that the file does not tell")
    b = node.inputs[1]
    missing = first - (axis + first if axis < 0 else axis) - second
    if missing <= 0:
        return
    axes = new_constant(node, "axes", np.arange(second, second + missing, dtype=np.int64))
    unsqueeze = onnx_ir.node("Unsqueeze", [b, axes], name=f"{node.name}.align")
    unsqueeze.outputs[0].name = f"{node.name}.align.out"
    graph = node.graph
    assert isinstance(graph, onnx_ir.Graph)
    graph.insert_before(node, unsqueeze)
    node.replace_input_with(1, unsqueeze.outputs[0])


def _size(value: onnx_ir.Value) -> int | None:
    array = const_of(value)
    if array is not None:
        return int(array.size)
    dims = None if value.shape is None else [d for d in value.shape if isinstance(d, int)]
    return None if dims is None or value.shape is None or len(dims) < len(value.shape) else int(np.prod(dims))


@below(7, "Gemm")
def _gemm(node: onnx_ir.Node) -> None:
    take(node, "broadcast")


@below(7, "BatchNormalization", "Dropout")
def _inference(node: onnx_ir.Node) -> None:
    """`is_test` = 0 asked for training; exporters for inference that left it out meant inference all the same."""
    take(node, "is_test")


@below(7, "RNN", "GRU", "LSTM")
def _recurrent(node: onnx_ir.Node) -> None:
    """Whether the sequence is wanted shows in the outputs that are listed."""
    take(node, "output_sequence")


@below(6, "Cast")
def _cast(node: onnx_ir.Node) -> None:
    """The type was a name."""
    name = take(node, "to")
    if isinstance(name, str):
        try:
            name = onnx.TensorProto.DataType.Value(name.upper())
        except ValueError:
            raise ModelFormatError(f"{node.name} (Cast): there is no element type {name!r}") from None
    node.attributes["to"] = onnx_ir.AttrInt64("to", int(name or 0))


@below(5, "Reshape")
def _reshape(node: onnx_ir.Node) -> None:
    attribute_to_input(node, "shape", 1)


@below(4, "Concat")
def _concat(node: onnx_ir.Node) -> None:
    if "axis" not in node.attributes:
        node.attributes["axis"] = onnx_ir.AttrInt64("axis", 1)


@below(2, "Pad")
def _pad(node: onnx_ir.Node) -> None:
    if "paddings" in node.attributes:
        node.attributes["pads"] = onnx_ir.AttrInt64s("pads", take(node, "paddings"))


@below(2, "GlobalLpPool", "LpPool")
def _power(node: onnx_ir.Node) -> None:
    p = take(node, "p")
    node.attributes["p"] = onnx_ir.AttrInt64("p", 2 if p is None else int(p))


@below(7, "Upsample")
def _upsample(node: onnx_ir.Node) -> None:
    """Before version 7 there were two factors, for pictures only."""
    height, width = take(node, "height_scale"), take(node, "width_scale")
    if height is not None and width is not None:
        set_input(node, 1, new_constant(node, "scales", np.array([1, 1, height, width], np.float32)))
