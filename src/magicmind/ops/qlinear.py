"""onnxruntime's operators on quantised tensors (domain com.microsoft): dequantise, the float operator, quantise."""

from __future__ import annotations

import numpy as np
from onnx_ir import DataType

from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.quantise import MICROSOFT, centred, quantise
from magicmind.ops.registry import Op


def _in(e: Expansion, i: int) -> Value:
    """The tensor of inputs i, i + 1 (its scale), i + 2 (its zero point) as floats."""
    return e.op("DequantizeLinear", e.input(i), e.input(i + 1), e.optional(i + 2), axis=1)


def _out(e: Expansion, y: Value, i: int, like: Value) -> list[Value]:
    """y quantised by inputs i (scale) and i + 1 (zero point)."""
    zero = e.optional(i + 1)
    dtype = None if zero is not None else int(e.type(like).dtype)
    return [e.op("QuantizeLinear", y, e.input(i), zero, axis=1, output_dtype=dtype)]


def expand_add(e: Expansion) -> list[Value]:
    """a, scale, zero, b, scale, zero, scale and zero of the result."""
    return _out(e, e.op("Add", _in(e, 0), _in(e, 3)), 6, e.input(0))


def expand_mul(e: Expansion) -> list[Value]:
    """As `expand_add`; whole numbers are multiplied and scaled once, as onnxruntime rounds."""
    a, b = (_centred_float(e, i) for i in (0, 3))
    factor = e.op("Div", e.op("Mul", e.input(1), e.input(4)), e.input(6))
    y = e.op("Mul", e.op("Mul", a, b), factor)
    zero = e.input(7) if e.has(7) else None
    return [quantise(e, y, e.const(1, np.float32), zero, e.type(e.input(0)).dtype)]


def _centred_float(e: Expansion, i: int) -> Value:
    x = e.input(i)
    return e.cast(centred(e, x, e.input(i + 2) if e.has(i + 2) else None), DataType.FLOAT)


def _unary(op_type: str, *attributes: str) -> None:
    @Op(f"QLinear{op_type}", MICROSOFT).expand
    def expand(e: Expansion) -> list[Value]:
        """x, scale, zero, scale and zero of the result."""
        given = {name: e.view.attr(name) for name in attributes}
        x = _in(e, 0)
        last = bool(e.view.attr("channels_last", 0))
        x = turned(e, x, to_first=True) if last else x
        y = e.op(op_type, x, **given)
        return _out(e, turned(e, y, to_first=False) if last else y, 3, e.input(0))


def turned(e: Expansion, x: Value, *, to_first: bool) -> Value:
    """Channels moved between the second and the last place."""
    rank = e.rank(x)
    inner = list(range(1, rank - 1)) if to_first else list(range(2, rank))
    perm = [0, rank - 1, *inner] if to_first else [0, *inner, 1]
    return e.op("Transpose", x, perm=perm)


Op("QLinearAdd", MICROSOFT).expand(expand_add)
Op("QLinearMul", MICROSOFT).expand(expand_mul)
_unary("LeakyRelu", "alpha")
_unary("Sigmoid")
_unary("GlobalAveragePool")
_unary("AveragePool", "auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides")

qlinear_concat = Op("QLinearConcat", MICROSOFT)
qlinear_softmax = Op("QLinearSoftmax", MICROSOFT)


@qlinear_concat.expand
def expand_concat(e: Expansion) -> list[Value]:
    """Scale and zero of the result, then tensor, scale and zero of every part."""
    parts = [_in(e, i) for i in range(2, len(e.node.inputs), 3)]
    return _out(e, e.op("Concat", *parts, axis=e.view.attr("axis", 0)), 0, e.input(2))


@qlinear_softmax.expand
def expand_softmax(e: Expansion) -> list[Value]:
    """x, scale, zero, scale and zero of the result; before opset 13 all axes from `axis` on are one row."""
    x = _in(e, 0)
    axis = e.view.attr("axis", -1)
    if e.view.attr("opset", 13) >= 13 or axis in (-1, e.rank(x) - 1):
        return _out(e, e.op("Softmax", x, axis=axis), 3, e.input(0))
    rows = e.op("Softmax", e.op("Flatten", x, axis=axis), axis=-1)
    return _out(e, e.op("Reshape", rows, e.op("Shape", x)), 3, e.input(0))
