"""QuantizeLinear and DequantizeLinear, per tensor, per axis or in blocks.

y = saturate(round(x / scale) + zero), halves to even; x = (y - zero) * scale.  ONNX operators of opset 21, and the same
ones of onnxruntime in the domain com.microsoft.

With constant parameters, 8 or 16 bits and no blocks (`is_kept`) they stay nodes: passes make kernels on whole numbers
of what stands between them (docs/design/0013-precision.md). All others become arithmetic on numbers.
"""

from __future__ import annotations

import numpy as np
from onnx_ir import DataType

from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.narrow import NARROW
from magicmind.ir.types import TensorType, const_of, dtype_name
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.registry import NodeView, Op

MICROSOFT = "com.microsoft"
RANGES = {
    DataType.UINT8: (0, 255),
    DataType.INT8: (-128, 127),
    DataType.UINT16: (0, 65535),
    DataType.INT16: (-32768, 32767),
    DataType.UINT4: (0, 15),
    DataType.INT4: (-8, 7),
    DataType.UINT2: (0, 3),
    DataType.INT2: (-2, 1),
}
SMALL_FLOATS = frozenset(t for t in NARROW if t.is_floating_point())


KEPT = frozenset({DataType.UINT8, DataType.INT8, DataType.UINT16, DataType.INT16})


def is_kept(view: NodeView) -> bool:
    """Whether a QuantizeLinear or DequantizeLinear stays a node: float32 on one side, parameters known.

    An int32 without zero point is kept too: the bias of a product.
    """
    quantises = view.op_type == "QuantizeLinear"
    scale, zero = view.const(1), view.const(2) if view.has(2) else np.zeros(1)
    if scale is None or zero is None or scale.dtype != np.float32 or scale.ndim > 1:
        return False
    other_type = view.attr("precision" if quantises else "output_dtype", 0)
    if other_type not in (0, DataType.FLOAT) or view.attr("block_size", 0):
        return False
    if quantises:
        uniform = zero.size > 0 and bool((zero == zero.flat[0]).all())
        return uniform and view.input(0).dtype == DataType.FLOAT and _quantised_dtype(view) in KEPT
    whole = view.input(0).dtype
    return whole in KEPT or (whole == DataType.INT32 and not zero.any())


def _quantised_dtype(view: NodeView) -> DataType:
    """What a QuantizeLinear gives."""
    named = view.attr("output_dtype", 0)
    return DataType(named) if named else view.input(2).dtype if view.has(2) else DataType.UINT8


def infer_quantise(view: NodeView) -> list[TensorType]:
    """The shape of x in the dtype of the zero point, or as `output_dtype` says, or uint8."""
    return [TensorType(_quantised_dtype(view), view.shape(0))]


def infer_dequantise(view: NodeView) -> list[TensorType]:
    """The shape of x in the dtype of the scale, or as `output_dtype` says."""
    named = view.attr("output_dtype", 0)
    return [TensorType(DataType(named) if named else view.input(1).dtype, view.shape(0))]


def quantise(e: Expansion, x: Value, scale: Value, zero: Value | None, to: DataType, saturate: int = 1) -> Value:
    """x as `to`; scale and zero broadcast to x."""
    if to not in RANGES and to not in SMALL_FLOATS:
        raise UnsupportedOperatorError(f"quantised values of type {dtype_name(to)} have no kernels")
    scaled = e.op("Div", e.cast(x, e.type(scale).dtype), scale)
    if to in SMALL_FLOATS:
        if zero is not None and not _is_zero(zero):
            scaled = e.op("Add", scaled, e.cast(zero, e.type(scaled).dtype))
        return e.op("Cast", scaled, to=int(to), saturate=saturate)
    low, high = RANGES[to]
    wide = e.cast(e.op("Round", scaled), DataType.FLOAT)
    if zero is not None and not _is_zero(zero):
        wide = e.op("Add", wide, e.cast(zero, DataType.FLOAT))
    clipped = e.op("Clip", wide, e.const(low, np.float32), e.const(high, np.float32))
    return e.cast(clipped, to)


def dequantise(e: Expansion, x: Value, scale: Value, zero: Value | None) -> Value:
    """(x - zero) * scale in the dtype of scale; scale and zero broadcast to x."""
    return e.op("Mul", e.cast(centred(e, x, zero), e.type(scale).dtype), scale)


def centred(e: Expansion, x: Value, zero: Value | None) -> Value:
    """x - zero as int32, or float32 where x is of floats."""
    to = DataType.FLOAT if e.type(x).dtype in SMALL_FLOATS else DataType.INT32
    wide = e.cast(x, to)
    return wide if zero is None or _is_zero(zero) else e.op("Sub", wide, e.cast(zero, to))


def _is_zero(value: Value) -> bool:
    array = const_of(value)
    return array is not None and not array.astype(np.float32).any()


def along_axis(e: Expansion, parameter: Value, x: Value, axis: int, block: int = 0) -> Value:
    """A scale or zero point so that it broadcasts to x: one number, one per index of `axis`, or one per block."""
    rank, own = e.rank(x), e.rank(parameter)
    if own == 0:
        return parameter
    axis %= max(rank, 1)
    if block:
        return _repeated(e, parameter, x, axis, block)
    if own > 1:
        return parameter
    if e.shape(parameter) == (1,):
        return e.squeeze(parameter, 0)
    return e.unsqueeze(parameter, *range(1, rank - axis))


def _repeated(e: Expansion, parameter: Value, x: Value, axis: int, block: int) -> Value:
    before = [e.dim(parameter, i) for i in range(axis)]
    after = [e.dim(parameter, i) for i in range(axis + 1, e.rank(parameter))]
    spread = e.op("Expand", e.unsqueeze(parameter, axis + 1), e.sizes(*before, e.dim(parameter, axis), block, *after))
    joined = e.reshape(spread, *before, e.op("Mul", e.dim(parameter, axis), e.ints(block)), *after)
    size, covered = e.shape(x)[axis], e.shape(joined)[axis]
    last_is_cut = isinstance(size, int) and size != covered
    return e.slice(joined, axis, 0, int(str(size))) if last_is_cut else joined


def expand_quantise(e: Expansion) -> list[Value] | None:
    """QuantizeLinear(x, scale, zero?)."""
    if is_kept(e.view):
        return None if not e.node.domain else [_same_node(e)]
    x, scale = e.input(0), e.input(1)
    zero = e.input(2) if e.has(2) else None
    axis, block = e.view.attr("axis", 1), e.view.attr("block_size", 0)
    placed = None if zero is None else along_axis(e, zero, x, axis, block)
    placed_scale = along_axis(e, scale, x, axis, block)
    if (precision := e.view.attr("precision", 0)) != 0:  # of the division
        placed_scale = e.cast(placed_scale, DataType(precision))
    return [quantise(e, x, placed_scale, placed, _quantised_dtype(e.view), e.view.attr("saturate", 1))]


def expand_dequantise(e: Expansion) -> list[Value] | None:
    """DequantizeLinear(x, scale, zero?)."""
    if is_kept(e.view):
        return None if not e.node.domain else [_same_node(e)]
    x, scale = e.input(0), e.input(1)
    zero = e.input(2) if e.has(2) else None
    axis, block = e.view.attr("axis", 1), e.view.attr("block_size", 0)
    placed = None if zero is None else along_axis(e, zero, x, axis, block)
    result = dequantise(e, x, along_axis(e, scale, x, axis, block), placed)
    named = e.view.attr("output_dtype", 0)
    return [e.cast(result, DataType(named)) if named else result]


def _same_node(e: Expansion) -> Value:
    """The node in the ONNX domain."""
    return e.op(e.node.op_type, *e.node.inputs, axis=e.view.attr("axis", 1))


for _domain in ("", MICROSOFT):
    for _name, _infer, _expand in (
        ("QuantizeLinear", infer_quantise, expand_quantise),
        ("DequantizeLinear", infer_dequantise, expand_dequantise),
    ):
        _op = Op(_name, _domain)
        _op.infer(_infer)
        _op.expand(_expand)
