"""Whole numbers and the steps they count: QuantizeLinear and DequantizeLinear with PyTorch's parameters.

x = (q - zero) * scale. PyTorch multiplies by the reciprocal of the scale where ONNX divides, so that a number halfway
between two steps may become the other one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ops.emitter import Value

WHOLE = (torch.int8, torch.uint8, torch.int16)
"""What numbers that only the run tells can be quantised to."""


def quantise(
    c: Converter,
    x: Any,
    scale: Any,
    zero: Any,
    dtype: torch.dtype,
    limits: tuple[int, int] | None = None,
    axis: int | None = None,
) -> Value:
    """x (float) as whole numbers of `dtype` within `limits`; scale and zero are numbers, or one for each of `axis`.

    Raises UnsupportedOperatorError for types without kernels.
    """
    if dtype not in WHOLE:
        raise UnsupportedOperatorError(f"tensors quantised to {dtype}", hint="int8, uint8 and int16 are supported")
    value = c.cast(x, torch.float32)
    factor, shift = parameters(c, scale, zero, dtype, axis)
    info = torch.iinfo(dtype)
    if limits is not None and limits != (info.min, info.max):
        value = _clipped(c, value, scale, zero, limits, axis)
    return c.net.op("QuantizeLinear", value, factor, shift, axis=axis)


def dequantise(c: Converter, q: Any, scale: Any, zero: Any, axis: int | None = None) -> Value:
    """q (whole numbers) as float32; scale and zero are numbers, or one for each of `axis`."""
    value = c.value(q)
    factor, shift = parameters(c, scale, zero, c.dtype(q), axis)
    return c.net.op("DequantizeLinear", value, factor, shift, axis=axis)


def parameters(c: Converter, scale: Any, zero: Any, dtype: torch.dtype, axis: int | None) -> tuple[Value, Value]:
    """scale (float32) and zero (dtype): of rank 0, or one number for each of `axis`."""
    return _flat(c, scale, torch.float32, axis), _flat(c, zero, dtype, axis)


def known(number: Any) -> torch.Tensor | None:
    """A number or tensor that conversion knows, None for one that only the run tells."""
    if isinstance(number, Tensor):
        return number.constant
    return torch.as_tensor(number)


def _flat(c: Converter, numbers: Any, dtype: torch.dtype, axis: int | None) -> Value:
    shape = () if axis is None else (-1,)
    constant = known(numbers)
    if constant is not None:
        return c.value(constant.to(dtype).reshape(shape).clone())
    value = c.cast(numbers, dtype)
    return c.net.op("Reshape", value, c.net.const(list(shape), np.int64))


def _clipped(c: Converter, x: Value, scale: Any, zero: Any, limits: tuple[int, int], axis: int | None) -> Value:
    """x within what the whole numbers `limits` stand for."""
    found = known(scale), known(zero)
    if found[0] is None or found[1] is None:
        raise UnsupportedOperatorError(
            f"whole numbers {limits[0]} to {limits[1]} of a scale that only the run tells",
            hint="quantise to the full range of the type, or with constant scales",
        )
    shape = [1] * c.rank(x) if axis is not None else []
    if axis is not None:
        shape[axis] = -1
    low, high = (((edge - found[1].float()) * found[0].float()).reshape(shape) for edge in limits)
    return c.net.op("Min", c.net.op("Max", x, c.value(low)), c.value(high))


def chosen(c: Converter, x: Any, limits: tuple[int, int], smallest: float) -> tuple[Value, Value]:
    """(scale, zero), float32 of rank 0: the steps in which the whole numbers `limits` hold all of x, and 0 exactly.

    smallest: what the scale is at least.
    """
    net, low, high = c.net, *limits
    value = c.cast(x, torch.float32)
    nothing = net.scalar(0.0, value)
    least = net.op("Min", net.op("ReduceMin", value, keepdims=0), nothing)
    most = net.op("Max", net.op("ReduceMax", value, keepdims=0), nothing)
    scale = net.op("Div", net.op("Sub", most, least), net.scalar(float(high - low), value))
    scale = net.op("Max", scale, net.scalar(smallest, value))
    zero = net.op("Sub", net.scalar(float(low), value), net.op("Round", net.op("Div", least, scale)))
    return scale, net.op("Clip", zero, net.scalar(float(low), value), net.scalar(float(high), value))
