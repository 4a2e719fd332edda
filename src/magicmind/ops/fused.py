"""Our own operators (domain `magicmind`): Conv and MatMul with an epilogue, Elementwise, layout conversions.

Their attributes and inputs are described in `docs/design/0001-architecture.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir
from onnx_ir import DataType

from magicmind.errors import ModelFormatError, ShapeError
from magicmind.ir.evaluate import evaluate_op
from magicmind.ir.scalar import ScalarProgram
from magicmind.ir.types import TensorType, dtype_name
from magicmind.ops.conv import conv_output
from magicmind.ops.matmul import product_shape
from magicmind.ops.registry import Array, NodeView, Op
from magicmind.ops.shapes import broadcast, like_first, need_float, need_same_dtype

DOMAIN = "magicmind"

conv = Op("Conv", DOMAIN).half(weights=(1,), own_result=True)
matmul = Op("MatMul", DOMAIN).half(weights=(1,), own_result=True)
elementwise = Op("Elementwise", DOMAIN).half(own_result=True)
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
    return [_after_epilogue(node, TensorType(accumulator_dtype(node), conv_output(node)))]


@matmul.infer
def infer_matmul(node: NodeView) -> list[TensorType]:
    """numpy matmul of A and B (`transA`, `transB` swap their last two axes), then the epilogue."""
    a, b = node.input(0), node.input(1)
    left = (*a.dims[:-2], a.dims[-1], a.dims[-2]) if node.attr("transA", 0) else a.dims
    right = (*b.dims[:-2], b.dims[-1], b.dims[-2]) if node.attr("transB", 0) else b.dims
    return [_after_epilogue(node, TensorType(accumulator_dtype(node), product_shape(left, right)))]


INTEGER_PRODUCTS = {
    (DataType.UINT8, DataType.INT8): DataType.INT32,
    (DataType.UINT8, DataType.UINT8): DataType.INT32,
    (DataType.INT16, DataType.INT16): DataType.INT64,
}
"""What sums of products of quantised numbers are accumulated in."""


def accumulator_dtype(node: NodeView) -> DataType:
    """The dtype that the epilogue of a Conv or MatMul starts from: the operands', or a wider number.

    float16 is accumulated in float32, and so are float32 and float16 together; the bias is float32 then.
    Raises ShapeError for operands (X, W, B) that do not go together.
    """
    x, w = node.input(0), node.input(1)
    if {x.dtype, w.dtype} in ({DataType.FLOAT16}, {DataType.FLOAT16, DataType.FLOAT}):
        return DataType.FLOAT
    wide = INTEGER_PRODUCTS.get((x.dtype, w.dtype))
    if wide is None:
        return need_same_dtype(need_float(x), w, *([node.input(2)] if node.has(2) else []))
    if node.has(2) and node.input(2).dtype != wide:
        raise ShapeError(
            f"the bias of {dtype_name(x.dtype)} products is {dtype_name(node.input(2).dtype)}, not {dtype_name(wide)}"
        )
    return wide


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
    """ONNX Conv, then the epilogue. Whole numbers are multiplied as float64, which is exact here."""
    attributes = {a.name: a.value for a in node.attributes.values() if a.name not in ("epilogue", "exact", "x_zero")}
    x, w, *bias = (None if a is None else _in_registers(a) for a in arrays[:3])
    assert x is not None and w is not None
    if not np.issubdtype(x.dtype, np.integer):
        (acc,) = evaluate_op("Conv", [x, w, *bias], attributes)
        return [_epilogue(node, acc, arrays[3:])]
    wide = [x.astype(np.float64) - zero_of(node, "x_zero"), w.astype(np.float64)]
    (acc,) = evaluate_op("Conv", wide, attributes)
    acc = acc if not bias or bias[0] is None else acc + bias[0].reshape(-1, *([1] * (x.ndim - 2)))
    return [_epilogue(node, acc.astype(_accumulator(x, w)), arrays[3:])]


def _in_registers(array: Array | None) -> Array:
    """float16 is multiplied in float32."""
    found = np.asarray(array)
    return found.astype(np.float32) if found.dtype == np.float16 else found


def zero_of(node: onnx_ir.Node, name: str) -> int:
    """A zero point among the attributes; 0 when there is none."""
    attr = node.attributes.get(name)
    return 0 if attr is None else attr.as_int()


def _accumulator(x: Array, w: Array) -> np.dtype[Any]:
    return np.dtype(INTEGER_PRODUCTS[DataType.from_numpy(x.dtype), DataType.from_numpy(w.dtype)].numpy())


@matmul.reference
def reference_matmul(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """numpy matmul plus bias, then the epilogue. Whole numbers are multiplied as float64, which is exact here."""
    a, b = (_in_registers(x) for x in arrays[:2])
    whole = _accumulator(a, b) if np.issubdtype(a.dtype, np.integer) else None
    if whole is not None:
        a, b = a.astype(np.float64) - zero_of(node, "x_zero"), b.astype(np.float64) - zero_of(node, "b_zero")
    a = np.swapaxes(a, -1, -2) if "transA" in node.attributes and node.attributes["transA"].as_int() else a
    b = np.swapaxes(b, -1, -2) if "transB" in node.attributes and node.attributes["transB"].as_int() else b
    acc = np.asarray(np.matmul(a, b))
    if len(arrays) > 2 and arrays[2] is not None:
        acc = acc + arrays[2]
    return [_epilogue(node, acc if whole is None else acc.astype(whole), arrays[3:])]


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
