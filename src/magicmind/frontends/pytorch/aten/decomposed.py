"""Exported programs that PyTorch has quantised: whole numbers are tensors of their own type, their steps arguments."""

from __future__ import annotations

from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # defines the operators, for files that have them too

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.dtypes import torch_dtype
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.steps import chosen, dequantise, known, quantise
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ops.emitter import Value

_SPACE = "quantized_decomposed"


def _limits(low: Any, high: Any) -> tuple[int, int]:
    """Of the whole numbers, which some overloads give as tensors."""
    found = known(low), known(high)
    if found[0] is None or found[1] is None:
        raise UnsupportedOperatorError("quant_min and quant_max that only the run tells")
    return int(found[0]), int(found[1])


def _as(c: Converter, x: Value, dtype: Any) -> Value:
    return x if dtype is None else c.cast(x, torch_dtype(dtype))


@aten(f"{_SPACE}::quantize_per_tensor")
def quantize_per_tensor(c: Converter, x: Tensor, scale: Any, zero: Any, low: Any, high: Any, dtype: Any) -> Value:
    """QuantizeLinear; what is known is quantised at conversion."""
    return quantise(c, x, scale, zero, torch_dtype(dtype), _limits(low, high))


@aten(f"{_SPACE}::dequantize_per_tensor")
def dequantize_per_tensor(
    c: Converter, q: Tensor, scale: Any, zero: Any, low: Any, high: Any, dtype: Any, out_dtype: Any = None
) -> Value:
    """DequantizeLinear."""
    return _as(c, dequantise(c, q, scale, zero), out_dtype)


@aten(f"{_SPACE}::quantize_per_channel")
def quantize_per_channel(
    c: Converter, x: Tensor, scales: Tensor, zeros: Tensor, axis: int, low: int, high: int, dtype: Any
) -> Value:
    """QuantizeLinear; what is known is quantised at conversion."""
    return quantise(c, x, scales, zeros, torch_dtype(dtype), (low, high), axis % c.rank(x))


@aten(f"{_SPACE}::dequantize_per_channel")
def dequantize_per_channel(
    c: Converter,
    q: Tensor,
    scales: Tensor,
    zeros: Tensor | None,
    axis: int,
    low: int,
    high: int,
    dtype: Any,
    out_dtype: Any = None,
) -> Value:
    """DequantizeLinear."""
    if zeros is None:
        zeros = Tensor(torch.zeros([int(n) for n in c.shape(scales)], dtype=c.dtype(q)))  # type: ignore[arg-type]
    elif c.dtype(zeros).is_floating_point:
        raise UnsupportedOperatorError("zero points that are no whole numbers")
    return _as(c, dequantise(c, q, scales, zeros, axis % c.rank(q)), out_dtype)


@aten(f"{_SPACE}::choose_qparams")
def choose_qparams(c: Converter, x: Tensor, low: int, high: int, eps: float, dtype: Any) -> tuple[Value, Value]:
    """Scale (float64 [1]) and zero point (int64 [1]) of all elements."""
    scale, zero = chosen(c, x, (low, high), float(eps))
    return c.net.unsqueeze(c.cast(scale, torch.float64), 0), c.net.unsqueeze(c.cast(zero, torch.int64), 0)
