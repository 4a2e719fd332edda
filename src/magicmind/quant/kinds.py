"""What quantisation knows of operators: which multiply, which only move values, which keep them bytes.

The graph is the simplified one, in the ONNX domain. Only the main graph is quantised; nested ones stay floats.
"""

from __future__ import annotations

import onnx_ir
from onnx_ir import DataType

from magicmind.ir.attributes import attribute
from magicmind.ir.scalar_ops import SCALAR_OPS
from magicmind.ir.types import const_of, shape_of, type_of
from magicmind.passes.edit import is_op

PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
"""What runs on integers: the reason for all the rest."""
KINDS = ("conv", "depthwise", "deconv", "matmul")
"""Kinds of products, for options that are about one of them."""
MOVERS = frozenset({
    "MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather", "Split", "Identity",
    "DepthToSpace", "SpaceToDepth", "Expand", "Tile", "GlobalMaxPool",
})  # fmt: skip
"""Their results are elements of their first input, so they have its scale."""
AVERAGES = frozenset({"AveragePool", "GlobalAveragePool", "ReduceMean"})
"""Their results lie between elements of their first input: bytes in, bytes out."""
ELEMENTWISE = frozenset(SCALAR_OPS) | {"Sum", "Mean", "Max", "Min"}
QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})


def is_mover(node: onnx_ir.Node) -> bool:
    """Whether the node's results are elements of its first input: with integers it moves them."""
    if node.domain:
        return False
    if node.op_type == "Resize":
        return bool(attribute(node, "mode", "nearest") == "nearest")
    if node.op_type == "MaxPool":
        return len(node.outputs) == 1 or not node.outputs[1].uses()
    return node.op_type in MOVERS


def is_average(node: onnx_ir.Node) -> bool:
    """Whether the node's results are weighted means of its first input."""
    return not node.domain and (node.op_type in AVERAGES or (node.op_type == "Resize" and not is_mover(node)))


def is_product(node: onnx_ir.Node | None) -> bool:
    """Whether the node multiplies and sums: what a q* mode is about."""
    return is_op(node, *PRODUCTS)


def kind_of(node: onnx_ir.Node) -> str:
    """Which of `KINDS` a product with constant weights is."""
    if node.op_type == "Conv":
        groups, weight = attribute(node, "group", 1), weight_of(node)
        shape = None if weight is None else shape_of(weight)
        return "depthwise" if groups > 1 and shape is not None and shape[1] == 1 else "conv"
    return "deconv" if node.op_type == "ConvTranspose" else "matmul"


def factors(node: onnx_ir.Node) -> list[onnx_ir.Value]:
    """The two operands of a product."""
    return [value for value in node.inputs[:2] if value is not None]


def weight_of(node: onnx_ir.Node) -> onnx_ir.Value | None:
    """The constant factor of a product; None where both are computed. Never the first of a convolution."""
    second = node.inputs[1]
    return second if second is not None and const_of(second) is not None else None


def activations(node: onnx_ir.Node) -> list[onnx_ir.Value]:
    """The computed operands of a product that can run on integers; empty where it cannot.

    That is where a convolution's weights are computed, or the left factor of a matrix product is constant.
    """
    values = factors(node)
    computed = [value for value in values if const_of(value) is None]
    if any(value.dtype != DataType.FLOAT for value in values) or len(computed) == 0:
        return []
    if weight_of(node) is None and (len(computed) < 2 or node.op_type in ("Conv", "ConvTranspose")):
        return []
    return computed


def is_float(value: onnx_ir.Value | None) -> bool:
    """Whether the value is a computed tensor of float32: what can be quantised."""
    if value is None or const_of(value) is not None:
        return False
    type_ = type_of(value)
    return type_ is not None and type_.dtype == DataType.FLOAT


def has_quantisers(model: onnx_ir.Model) -> bool:
    """Whether the network came quantised."""
    return any(
        node.op_type in QUANTISERS or node.op_type.startswith("QLinear") or node.op_type.endswith("Integer")
        for node in model.graph
    )
