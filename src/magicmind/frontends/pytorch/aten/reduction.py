"""Reductions over axes, cumulative ones, and the choice of largest elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.aten.pointwise import floating
from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.dtypes import torch_dtype
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ops.emitter import Value

Axes = Sequence[int] | int | None


def axes_of(dim: Any) -> list[int] | None:
    """Axes as a list; None for all."""
    if dim is None or (isinstance(dim, (list, tuple)) and not dim):
        return None
    return [dim] if isinstance(dim, int) else list(dim)


def reduce(c: Converter, op_type: str, x: Value, dim: Any, keep: bool = False) -> Value:
    """An ONNX reduction; over everything when `dim` is None or empty. A scalar stays as it is."""
    axes = axes_of(dim)
    if c.rank(x) == 0:
        return x
    return c.net.op(op_type, x, None if axes is None else c.net.ints(*axes), keepdims=int(keep))


def _split(args: Sequence[Any]) -> tuple[Any, bool, Any]:
    """(dim, keepdim, dtype) of `sum(x, *, dtype)` and `sum(x, dim, keepdim, *, dtype)`."""
    if len(args) <= 1:
        return None, False, args[0] if args else None
    return args[0], bool(args[1]), args[2] if len(args) > 2 else None


@aten("sum")
def sum_(c: Converter, x: Tensor, *args: Any) -> Value:
    dim, keep, dtype = _split(args)
    kind = torch_dtype(dtype) if dtype is not None else c.dtype(x)
    kind = kind if kind.is_floating_point or dtype is not None else torch.int64
    return reduce(c, "ReduceSum", c.cast(x, kind), dim, keep)


@aten("mean")
def mean(c: Converter, x: Tensor, *args: Any) -> Value:
    dim, keep, dtype = _split(args)
    value = c.value(x) if dtype is None else c.cast(x, torch_dtype(dtype))
    return reduce(c, "ReduceMean", value, dim, keep)


@aten("prod")
def prod(c: Converter, x: Tensor, *args: Any) -> Value:
    dim, keep, dtype = _split(args)
    value = c.value(x) if dtype is None else c.cast(x, torch_dtype(dtype))
    return reduce(c, "ReduceProd", value, dim, keep)


@aten("amax")
def amax(c: Converter, x: Tensor, dim: Axes = None, keep: bool = False) -> Value:
    return reduce(c, "ReduceMax", c.value(x), dim, keep)


@aten("amin")
def amin(c: Converter, x: Tensor, dim: Axes = None, keep: bool = False) -> Value:
    return reduce(c, "ReduceMin", c.value(x), dim, keep)


def _extremum(elementwise: str, reduction: str, arg: str) -> Callable[..., Any]:
    """`max(x)`, `max(x, other)` and `max(x, dim, keepdim)`, which also gives positions."""

    def importer(c: Converter, x: Any, *args: Any) -> Any:
        if not args:
            return reduce(c, reduction, c.value(x), None)
        if isinstance(args[0], Tensor) or len(args) == 1:
            return c.net.op(elementwise, *c.promoted(x, args[0]))
        dim, keep = args
        value = c.value(x)
        if c.rank(x) == 0:
            return value, c.net.const(0, "int64")
        return reduce(c, reduction, value, dim, keep), c.net.op(arg, value, axis=dim, keepdims=int(keep))

    return importer


aten("max")(_extremum("Max", "ReduceMax", "ArgMax"))
aten("min")(_extremum("Min", "ReduceMin", "ArgMin"))


def _arg(op_type: str) -> Callable[..., Value]:
    def importer(c: Converter, x: Tensor, dim: int | None = None, keep: bool = False) -> Value:
        if dim is None:
            return c.net.squeeze(c.net.op(op_type, c.net.reshape(c.value(x), -1), axis=0, keepdims=1), 0)
        return c.net.op(op_type, c.value(x), axis=dim, keepdims=int(keep))

    return importer


aten("argmax")(_arg("ArgMax"))
aten("argmin")(_arg("ArgMin"))


@aten("any")
def any_(c: Converter, x: Tensor, dim: Axes = None, keep: bool = False) -> Value:
    return c.cast(reduce(c, "ReduceMax", c.cast(c.cast(x, torch.bool), torch.int32), dim, keep), torch.bool)


@aten("all")
def all_(c: Converter, x: Tensor, dim: Axes = None, keep: bool = False) -> Value:
    return c.cast(reduce(c, "ReduceMin", c.cast(c.cast(x, torch.bool), torch.int32), dim, keep), torch.bool)


@aten("logsumexp")
def logsumexp(c: Converter, x: Tensor, dim: Axes, keep: bool = False) -> Value:
    return reduce(c, "ReduceLogSumExp", floating(c, x), dim, keep)


def variance(c: Converter, x: Tensor, args: Sequence[Any]) -> tuple[Value, Value]:
    """(variance, mean) for `var(x, unbiased)`, `var(x, dim, unbiased, keepdim)`, `var(x, dim, *, correction, keepdim)`.

    The last two differ in the type of the third argument alone: a flag or a number.
    """
    dim, correction, keep = (None, args[0], False) if len(args) == 1 else (args[0], *args[1:3])
    take_off = 1 if correction is None else float(correction)
    value = floating(c, x)
    centre = reduce(c, "ReduceMean", value, dim, True)
    off = c.net.op("Sub", value, centre)
    squares = c.net.op("Mul", off, off)
    average = reduce(c, "ReduceMean", squares, dim, keep)
    if take_off:
        axes = axes_of(dim) or range(c.rank(x))
        count: Any = 1
        for axis in axes:
            count = count * c.shape(x)[axis]
        number = c.cast(count, c.dtype(value))
        average = c.net.op(
            "Mul", average, c.net.op("Div", number, c.net.op("Sub", number, c.net.scalar(take_off, value)))
        )
    return average, centre if keep else reduce(c, "ReduceMean", value, dim, False)


@aten("var")
def var(c: Converter, x: Tensor, *args: Any) -> Value:
    return variance(c, x, args)[0]


@aten("std")
def std(c: Converter, x: Tensor, *args: Any) -> Value:
    return c.net.op("Sqrt", variance(c, x, args)[0])


@aten("var_mean")
def var_mean(c: Converter, x: Tensor, *args: Any) -> Any:
    return variance(c, x, args)


@aten("std_mean")
def std_mean(c: Converter, x: Tensor, *args: Any) -> Any:
    spread, centre = variance(c, x, args)
    return c.net.op("Sqrt", spread), centre


_NORMS = {1: "ReduceL1", 2: "ReduceL2"}


@aten("norm", "aten::linalg_vector_norm", "aten::frobenius_norm")
def norm(c: Converter, x: Tensor, *args: Any) -> Value:
    """p, dim, keepdim, dtype."""
    p, dim, keep = (*args, *(2, None, False)[len(args) :])[:3]
    value = floating(c, x)
    power = 2 if p is None else p
    if isinstance(power, Tensor):
        raise UnsupportedOperatorError("a norm whose order only the run tells")
    if power in _NORMS:
        return reduce(c, _NORMS[power], value, dim, keep)
    if abs(power) == math.inf:
        return reduce(c, "ReduceMax" if power > 0 else "ReduceMin", c.net.op("Abs", value), dim, keep)
    powers = c.net.op("Pow", c.net.op("Abs", value), c.net.scalar(float(power), value))
    total = reduce(c, "ReduceSum", powers, dim, keep)
    return c.net.op("Pow", total, c.net.scalar(1 / float(power), value))


@aten("cumsum")
def cumsum(c: Converter, x: Tensor, dim: int, dtype: Any = None) -> Value:
    kind = torch_dtype(dtype) if dtype is not None else c.dtype(x)
    kind = kind if kind.is_floating_point else torch.int64
    return c.net.op("CumSum", c.cast(x, kind), c.net.const(dim, "int64"))


@aten("topk")
def topk(c: Converter, x: Tensor, k: Any, dim: int = -1, largest: bool = True, ordered: bool = True) -> Any:
    count = c.vector([k])
    return tuple(c.net.ops("TopK", c.value(x), count, count=2, axis=dim, largest=int(largest), sorted=int(ordered)))


@aten("sort")
def sort(c: Converter, x: Tensor, *args: Any) -> Any:
    """dim, descending; or stable, dim, descending."""
    dim, descending = args[-2:]
    count = c.net.dim(c.value(x), dim)
    return tuple(c.net.ops("TopK", c.value(x), count, count=2, axis=dim, largest=int(descending), sorted=1))


@aten("argsort")
def argsort(c: Converter, x: Tensor, *args: Any) -> Any:
    return sort(c, x, *args)[1]


__all__ = ["axes_of", "reduce"]
