"""Tensors made from sizes and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch

from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.dtypes import onnx_dtype, torch_dtype
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ops.emitter import Value

Dtype: TypeAlias = int | torch.dtype | None


def filled(c: Converter, size: Sequence[Any], number: Any, dtype: torch.dtype) -> Value:
    """A tensor of one number; constant where the sizes are known."""
    value = c.cast(number, dtype)
    return value if not size else c.net.op("Expand", value, c.vector(size))


def _dtype_or(dtype: Dtype, default: torch.dtype) -> torch.dtype:
    return default if dtype is None else torch_dtype(dtype)


@aten("zeros", "aten::empty", "aten::new_zeros_size")
def zeros(c: Converter, size: Sequence[Any], dtype: Dtype = None, *settings: Any) -> Value:
    return filled(c, size, 0, _dtype_or(dtype, torch.float32))


@aten("ones")
def ones(c: Converter, size: Sequence[Any], dtype: Dtype = None, *settings: Any) -> Value:
    return filled(c, size, 1, _dtype_or(dtype, torch.float32))


@aten("full")
def full(c: Converter, size: Sequence[Any], number: Any, dtype: Dtype = None, *settings: Any) -> Value:
    return filled(c, size, number, _dtype_or(dtype, c.dtype(number)))


@aten("zeros_like", "aten::empty_like")
def zeros_like(c: Converter, x: Tensor, dtype: Dtype = None, *settings: Any) -> Value:
    return filled(c, c.shape(x), 0, _dtype_or(dtype, c.dtype(x)))


@aten("ones_like")
def ones_like(c: Converter, x: Tensor, dtype: Dtype = None, *settings: Any) -> Value:
    return filled(c, c.shape(x), 1, _dtype_or(dtype, c.dtype(x)))


@aten("full_like")
def full_like(c: Converter, x: Tensor, number: Any, dtype: Dtype = None, *settings: Any) -> Value:
    return filled(c, c.shape(x), number, _dtype_or(dtype, c.dtype(x)))


@aten("new_zeros", "aten::new_empty")
def new_zeros(c: Converter, x: Tensor, size: Sequence[Any], dtype: Dtype = None, *settings: Any) -> Value:
    return filled(c, size, 0, _dtype_or(dtype, c.dtype(x)))


@aten("new_ones")
def new_ones(c: Converter, x: Tensor, size: Sequence[Any], dtype: Dtype = None, *settings: Any) -> Value:
    return filled(c, size, 1, _dtype_or(dtype, c.dtype(x)))


@aten("new_full")
def new_full(c: Converter, x: Tensor, size: Sequence[Any], number: Any, dtype: Dtype = None, *settings: Any) -> Value:
    return filled(c, size, number, _dtype_or(dtype, c.dtype(x)))


@aten("zero_", "aten::zero")
def zero(c: Converter, x: Tensor) -> Any:
    c.put(x, Tensor(filled(c, c.shape(x), 0, c.dtype(x))))
    return x


@aten("fill_", "aten::fill")
def fill(c: Converter, x: Tensor, number: Any) -> Any:
    c.put(x, Tensor(filled(c, c.shape(x), number, c.dtype(x))))
    return x


@aten("copy_")
def copy_(c: Converter, x: Tensor, source: Tensor, *settings: Any) -> Any:
    c.put(x, Tensor(c.cast(source, c.dtype(x))))
    return x


@aten("arange")
def arange(c: Converter, *args: Any) -> Value:
    """end | start, end | start, end, step; then dtype, layout, device, pin_memory."""
    numbers, settings = args[:-4], args[-4:]
    start, end, step = {1: (0, *numbers, 1), 2: (*numbers, 1), 3: numbers}[len(numbers)]
    given = any(isinstance(n, float) for n in numbers)
    dtype = _dtype_or(settings[0], torch.float32 if given else torch.int64)
    return c.net.op("Range", *(c.cast(n, dtype) for n in (start, end, step)))


@aten("linspace")
def linspace(c: Converter, start: Any, end: Any, steps: Any, dtype: Dtype = None, *settings: Any) -> Value:
    wanted = _dtype_or(dtype, torch.float32)
    count = c.value(steps)
    at = c.cast(c.net.op("Range", c.value(0), count, c.value(1)), wanted)
    first, last = c.cast(start, wanted), c.cast(end, wanted)
    gaps = c.net.op("Max", c.net.op("Sub", count, c.value(1)), c.value(1))
    step = c.net.op("Div", c.net.op("Sub", last, first), c.cast(gaps, wanted))
    return c.net.op("Add", first, c.net.op("Mul", at, step))


@aten("eye")
def eye(c: Converter, rows: Any, *settings: Any) -> Value:
    columns = settings[0] if settings and len(settings) > 4 else rows
    square = c.net.op("ConstantOfShape", c.vector([rows, columns]))
    return c.net.op("EyeLike", square, dtype=int(onnx_dtype(_dtype_or(settings[-4], torch.float32))))


@aten("triu")
def triu(c: Converter, x: Tensor, diagonal: Any) -> Value:
    return c.net.op("Trilu", c.value(x), c.value(diagonal), upper=1)


@aten("tril")
def tril(c: Converter, x: Tensor, diagonal: Any) -> Value:
    return c.net.op("Trilu", c.value(x), c.value(diagonal), upper=0)


@aten("meshgrid")
def meshgrid(c: Converter, tensors: Sequence[Tensor], indexing: str = "ij") -> list[Value]:
    values = [c.value(t) for t in tensors]
    swap = indexing == "xy" and len(values) > 1
    if swap:
        values[0], values[1] = values[1], values[0]
    sizes = c.net.sizes(*(c.net.dim(v, 0) for v in values))
    grids = []
    for axis, v in enumerate(values):
        spread = c.net.unsqueeze(v, *(i for i in range(len(values)) if i != axis))
        grids.append(c.net.op("Expand", spread, sizes))
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return grids
