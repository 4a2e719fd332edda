"""Products of quantised tensors with integer sums: MatMulInteger, ConvInteger, QLinearMatMul, QLinearConv, and
onnxruntime's DynamicQuantizeMatMul and MatMulIntegerToFloat.

The sums are exact. What can be is multiplied as bytes (`integer_products.py`). Else a convolution is done in float32 on
parts of the input channels small enough that no sum passes 2^24; the attribute `exact` keeps transforms that round
(Winograd) away from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx_ir import DataType

from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.types import const_of
from magicmind.ops.exact_matmul import multiply
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.integer_products import byte_convolution, byte_product
from magicmind.ops.quantise import MICROSOFT, RANGES, along_axis, centred, quantise
from magicmind.ops.registry import Op

_EXACT = 1 << 24  # whole numbers up to here are float32

matmul_integer = Op("MatMulInteger")
conv_integer = Op("ConvInteger")
qlinear_matmul = Op("QLinearMatMul")
qlinear_conv = Op("QLinearConv")
dynamic_matmul = Op("DynamicQuantizeMatMul", MICROSOFT)
matmul_to_float = Op("MatMulIntegerToFloat", MICROSOFT)


def _by_row(e: Expansion, parameter: Value | None, x: Value) -> Value | None:
    """A parameter of the left operand: one, or one per row."""
    if parameter is None or e.rank(parameter) != 1 or e.shape(parameter) == (1,):
        return None if parameter is None else along_axis(e, parameter, x, -1)
    return e.unsqueeze(parameter, 1)


def _by_column(e: Expansion, parameter: Value | None, x: Value) -> Value | None:
    """A parameter of the right operand: one, or one per column."""
    return None if parameter is None else along_axis(e, parameter, x, -1)


def _alone(e: Expansion, placed: Value | None, parameter: Value | None) -> Value | None:
    """A parameter in its place; a constant scalar where it is one number."""
    array = const_of(parameter)
    return e.const(array.reshape(())) if array is not None and array.size == 1 else placed


def _product(e: Expansion, a: Value, b: Value, a_zero: Value | None, b_zero: Value | None) -> Value:
    """(a - a_zero) @ (b - b_zero) in int32."""
    fast = byte_product(e, a, b, _alone(e, _by_row(e, a_zero, a), a_zero), b_zero)
    if fast is not None:
        return fast
    return multiply(e, centred(e, a, _by_row(e, a_zero, a)), centred(e, b, _by_column(e, b_zero, b)))


@matmul_integer.expand
def expand_matmul_integer(e: Expansion) -> list[Value]:
    """A, B, zero points of both."""
    return [_product(e, e.input(0), e.input(1), e.optional(2), e.optional(3))]


@qlinear_matmul.expand
def expand_qlinear_matmul(e: Expansion) -> list[Value]:
    """a, scale, zero, b, scale, zero, scale and zero of the result."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (e.input(i) for i in range(8))
    if has_kernel(e, 0, 3, w_axis=1, single=(1, 2, 6, 7), known=(4,)) and e.rank(b) == 2 and e.rank(a) > 1:
        return [e.op("QuantizeLinear", e.op("MatMul", dequantised(e, 0), dequantised(e, 3)), y_scale, y_zero)]
    total = _product(e, a, b, a_zero, b_zero)
    left, right = _by_row(e, a_scale, a), _by_column(e, b_scale, b)
    assert left is not None and right is not None
    factor = e.op("Div", e.op("Mul", left, right), along_axis(e, y_scale, total, -1))
    return [requantise(e, total, factor, along_axis(e, y_zero, total, -1))]


def has_kernel(e: Expansion, x: int, w: int, *, w_axis: int, single: tuple[int, ...], known: tuple[int, ...]) -> bool:
    """Whether passes make a product of bytes (`passes/to_integer.py`) of inputs x and w: then it is written with
    dequantised numbers. Their parameters are constants, one of each in the inputs `single`, and the weights fit int8
    around their zero point, which counts along `w_axis`. Inputs that are left out are fine."""
    numbers = {i: const_of(e.input(i)) for i in (*single, *known) if e.has(i)}
    weights = centred_constant(e.input(w), e.optional(w + 2), w_axis)
    if weights is None or any(n is None for n in numbers.values()):
        return False
    if e.type(e.input(x)).dtype not in (DataType.UINT8, DataType.INT8):
        return False
    one_each = all(n is not None and n.size == 1 for i, n in numbers.items() if i in single)
    return one_each and weights.min(initial=0) >= -128 and weights.max(initial=0) <= 127


def dequantised(e: Expansion, i: int, axis: int = 1) -> Value:
    """The tensor of inputs i, i + 1 (its scale), i + 2 (its zero point) as floats."""
    return e.op("DequantizeLinear", e.input(i), e.input(i + 1), e.optional(i + 2), axis=axis)


def dequantised_bias(e: Expansion, bias: Value, factor: float = 1.0) -> Value:
    """An int32 bias, in steps of the data's scale (input 1) times the weights' (input 4) times the factor."""
    scales = [const_of(e.input(i)) for i in (1, 4)]
    assert scales[0] is not None and scales[1] is not None
    steps = scales[0].reshape(()) * scales[1] * np.float32(factor)
    return e.op("DequantizeLinear", bias, e.const(steps, np.float32), axis=0)


def _window(e: Expansion) -> dict[str, Any]:
    """The attributes of a convolution that are given."""
    names = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    return {name: e.view.attr(name) for name in names if e.view.attr(name) is not None}


def requantise(e: Expansion, total: Value, factor: Value, zero: Value) -> Value:
    """round(total * factor) + zero, in the dtype of zero."""
    scaled = e.op("Mul", e.cast(total, DataType.FLOAT), e.cast(factor, DataType.FLOAT))
    return quantise(e, scaled, e.const(1, np.float32), zero, e.type(zero).dtype)


@dynamic_matmul.expand
def expand_dynamic_matmul(e: Expansion) -> list[Value]:
    """A (float, quantised here), B, scale, zero of B, bias."""
    a, b, b_scale = e.input(0), e.input(1), e.input(2)
    quantised, a_scale, a_zero = e.ops("DynamicQuantizeLinear", a, count=3)
    return [_to_float(e, _product(e, quantised, b, a_zero, e.optional(3)), a_scale, b_scale, e.optional(4))]


@matmul_to_float.expand
def expand_matmul_to_float(e: Expansion) -> list[Value]:
    """A, B, scales of A and B, zero points of A and B, bias."""
    a, b, a_scale, b_scale = (e.input(i) for i in range(4))
    total = _product(e, a, b, e.optional(4), e.optional(5))
    left = _by_row(e, a_scale, a)
    assert left is not None
    return [_to_float(e, total, left, b_scale, e.optional(6))]


def _to_float(e: Expansion, total: Value, a_scale: Value, b_scale: Value, bias: Value | None) -> Value:
    scale = e.op("Mul", a_scale, along_axis(e, b_scale, total, -1))
    result = e.op("Mul", e.cast(total, e.type(scale).dtype), scale)
    return result if bias is None else e.op("Add", result, bias)


@conv_integer.expand
def expand_conv_integer(e: Expansion) -> list[Value]:
    """x, w, zero points of both."""
    return [_convolution(e, e.input(0), e.input(1), e.optional(2), e.optional(3))]


@qlinear_conv.expand
def expand_qlinear_conv(e: Expansion) -> list[Value]:
    """x, scale, zero, w, scale, zero, scale and zero of the result, int32 bias."""
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = (e.input(i) for i in range(8))
    if has_kernel(e, 0, 3, w_axis=0, single=(1, 2, 6, 7), known=(4,)):
        data, weights = dequantised(e, 0), dequantised(e, 3, axis=0)
        bias = dequantised_bias(e, e.input(8)) if e.has(8) else None
        return [e.op("QuantizeLinear", e.op("Conv", data, weights, bias, **_window(e)), y_scale, y_zero)]
    total = _convolution(e, x, w, x_zero, w_zero)
    rank = e.rank(total)
    if e.has(8):
        total = e.op("Add", total, e.unsqueeze(e.input(8), *range(1, rank - 1)))
    one = along_axis(e, x_scale, x, 1)
    factor = e.op("Div", e.op("Mul", one, along_axis(e, w_scale, total, 1)), along_axis(e, y_scale, total, 1))
    return [requantise(e, total, factor, along_axis(e, y_zero, total, 1))]


def _convolution(e: Expansion, x: Value, w: Value, x_zero: Value | None, w_zero: Value | None) -> Value:
    """The convolution of x - x_zero and w - w_zero in int32; the padding is zero."""
    attributes = _window(e)
    zero = None if x_zero is None else _alone(e, along_axis(e, x_zero, x, 1), x_zero)
    fast = byte_convolution(e, x, w, zero, w_zero, attributes)
    if fast is not None:
        return fast
    left = e.cast(centred(e, x, None if x_zero is None else along_axis(e, x_zero, x, 1)), DataType.FLOAT)
    right = e.cast(centred(e, w, None if w_zero is None else along_axis(e, w_zero, w, 0)), DataType.FLOAT)
    cuts = _channel_cuts(e, x, w, w_zero)
    total: Value | None = None
    for first, last in cuts:
        part_x = left if len(cuts) == 1 else e.slice(left, 1, first, last)
        part_w = right if len(cuts) == 1 else e.slice(right, 1, first, last)
        part = e.cast(e.op("Conv", part_x, part_w, exact=1, **attributes), DataType.INT32)
        total = part if total is None else e.op("Add", total, part)
    assert total is not None
    return total


def _channel_cuts(e: Expansion, x: Value, w: Value, w_zero: Value | None) -> list[tuple[int, int]]:
    """Ranges of input channels whose sums of products stay below 2^24."""
    largest = 255 if e.type(x).dtype in RANGES else None
    weights = centred_constant(w, w_zero)
    shape = e.shape(w)
    channels = shape[1]
    if largest is None or not isinstance(channels, int) or not all(isinstance(d, int) for d in shape[2:]):
        raise UnsupportedOperatorError("exact sums need weights whose shape is known")
    if weights is None:
        per_channel = np.full((1, channels), 255.0 * np.prod([int(str(d)) for d in shape[2:]]))
    else:
        per_channel = np.abs(weights).reshape(*weights.shape[:2], -1).sum(2)
    cuts, first = [], 0
    total = np.zeros(per_channel.shape[0])
    for channel in range(channels):
        if ((total + per_channel[:, channel]) * largest).max(initial=0) >= _EXACT and channel > first:
            cuts.append((first, channel))
            first, total = channel, np.zeros(per_channel.shape[0])
        total = total + per_channel[:, channel]
    cuts.append((first, channels))
    if len(cuts) > 1 and e.view.attr("group", 1) != 1:
        raise UnsupportedOperatorError("a grouped convolution with so many weights has no exact kernel")
    return cuts


def centred_constant(w: Value, w_zero: Value | None, axis: int = 0) -> np.ndarray[Any, Any] | None:
    """w - w_zero where both are constants; zero points are one number or one per index of `axis`."""
    weights, zero = const_of(w), const_of(w_zero)
    if weights is None or (w_zero is not None and zero is None):
        return None
    offset = np.zeros(1) if zero is None else zero.astype(np.float64)
    if offset.size == 1:
        return weights.astype(np.float64) - offset.reshape(())
    return weights.astype(np.float64) - offset.reshape([-1 if i == axis else 1 for i in range(weights.ndim)])
