"""Our own operators (domain `magicmind`): Conv and MatMul with an epilogue, Elementwise, layout conversions.

Their attributes and inputs are described in `docs/design/0001-architecture.md`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir

from magicmind.errors import ModelFormatError, ShapeError
from magicmind.ir.evaluate import evaluate_op
from magicmind.ir.scalar import ScalarProgram
from magicmind.ir.types import TensorType
from magicmind.ops.conv import infer as infer_plain_conv
from magicmind.ops.matmul import product_shape
from magicmind.ops.registry import Array, NodeView, Op
from magicmind.ops.shapes import broadcast, like_first, need_same_dtype

DOMAIN = "magicmind"

conv = Op("Conv", DOMAIN)
matmul = Op("MatMul", DOMAIN)
elementwise = Op("Elementwise", DOMAIN)
to_blocked = Op("ToBlocked", DOMAIN)
to_plain = Op("ToPlain", DOMAIN)


def program_of(node: onnx_ir.Node, attribute: str = "epilogue") -> ScalarProgram | None:
    """The scalar program in an attribute; None when there is none."""
    attr = node.attributes.get(attribute)
    return None if attr is None or not attr.value else ScalarProgram.parse(list(attr.as_strings()))


# ----------------------------------------------------------------------------------------------------------- types


@conv.infer
def infer_conv(node: NodeView) -> list[TensorType]:
    """The type of the convolution, then of its epilogue."""
    (acc,) = infer_plain_conv(node)
    return [_after_epilogue(node, acc)]


@matmul.infer
def infer_matmul(node: NodeView) -> list[TensorType]:
    """numpy matmul of A and B (`transA`, `transB` swap their last two axes), then the epilogue."""
    a, b = node.input(0), node.input(1)
    left = (*a.dims[:-2], a.dims[-1], a.dims[-2]) if node.attr("transA", 0) else a.dims
    right = (*b.dims[:-2], b.dims[-1], b.dims[-2]) if node.attr("transB", 0) else b.dims
    return [_after_epilogue(node, TensorType(need_same_dtype(a, b), product_shape(left, right)))]


def _after_epilogue(node: NodeView, acc: TensorType) -> TensorType:
    extra = [node.input(i) for i in range(3, len(node.node.inputs))]
    for t in extra:
        if broadcast(acc.dims, t.dims) != acc.dims:
            raise ShapeError(f"an epilogue operand {t} does not broadcast to {acc}")
    program = program_of(node.node)
    if program is None:
        return acc
    dtypes = {"acc": acc.dtype, **{f"x{i}": t.dtype for i, t in enumerate(extra)}}
    return TensorType(program.result_dtype(dtypes), acc.shape)


@elementwise.infer
def infer_elementwise(node: NodeView) -> list[TensorType]:
    """The shape all inputs broadcast to, the dtype of the program's result."""
    program = program_of(node.node, "program")
    if program is None:
        raise ModelFormatError("attribute 'program' is missing")
    dtypes = {f"x{i}": t.dtype for i, t in enumerate(node.inputs)}
    return [TensorType(program.result_dtype(dtypes), broadcast(*(t.dims for t in node.inputs)))]


to_blocked.infer(like_first)  # a layout is how a value lies in memory; its logical type stays
to_plain.infer(like_first)


# ------------------------------------------------------------------------------------------------------- reference


@conv.reference
def reference_conv(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """ONNX Conv, then the epilogue."""
    attributes = {a.name: a.value for a in node.attributes.values() if a.name not in ("epilogue", "exact")}
    (acc,) = evaluate_op("Conv", arrays[:3], attributes)
    return [_epilogue(node, acc, arrays[3:])]


@matmul.reference
def reference_matmul(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """numpy matmul plus bias, then the epilogue."""
    a, b = (np.asarray(x) for x in arrays[:2])
    a = np.swapaxes(a, -1, -2) if "transA" in node.attributes and node.attributes["transA"].as_int() else a
    b = np.swapaxes(b, -1, -2) if "transB" in node.attributes and node.attributes["transB"].as_int() else b
    acc = np.asarray(np.matmul(a, b))
    if len(arrays) > 2 and arrays[2] is not None:
        acc = acc + arrays[2]
    return [_epilogue(node, acc, arrays[3:])]


def _epilogue(node: onnx_ir.Node, acc: Array, extra: Sequence[Array | None]) -> Array:
    program = program_of(node)
    if program is None:
        return acc
    operands = {f"x{i}": x for i, x in enumerate(extra) if x is not None}
    return np.broadcast_to(program.evaluate({"acc": acc, **operands}), acc.shape)


@elementwise.reference
def reference_elementwise(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """The program on whole arrays."""
    program = program_of(node, "program")
    assert program is not None
    known = {f"x{i}": x for i, x in enumerate(arrays) if x is not None}
    shape = np.broadcast_shapes(*(x.shape for x in known.values()))
    return [np.broadcast_to(program.evaluate(known), shape)]


@to_blocked.reference
@to_plain.reference
def reference_layout(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """The array itself."""
    return [np.asarray(arrays[0])]
