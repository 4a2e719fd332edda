"""Rarer ways to choose elements and to write them: windows, diagonals, sorted search, writes along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.aten.indexing import scattered, scattered_elements
from magicmind.frontends.pytorch.aten.pointwise import floating
from magicmind.frontends.pytorch.aten.shape import axis_of
from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ops.emitter import Value

_I32, _I64 = onnx_ir.DataType.INT32, onnx_ir.DataType.INT64


def _number(size: Any, what: str) -> int:
    if not isinstance(size, int):
        raise UnsupportedOperatorError(f"{what} of a mutable size {size}", hint="fix this dimension")
    return size


@aten("unfold")
def unfold(c: Converter, x: Tensor, dim: int, size: int, step: int) -> Value:
    """Windows of an axis, which move to a new last axis."""
    axis, rank = axis_of(c, x, dim), c.rank(x)
    count = (c.shape(x)[axis] - size) // step + 1
    starts = c.net.op("Range", c.value(0), c.value(count * step), c.value(step))
    at = c.net.op("Add", c.net.unsqueeze(starts, 1), c.net.const(np.arange(size), np.int64))
    windows = c.net.op("Gather", c.value(x), at, axis=axis)  # the window's axis follows the axis it was cut from
    order = [i for i in range(rank + 1) if i != axis + 1]
    return c.net.op("Transpose", windows, perm=[*order, axis + 1])


@aten("diagonal", "aten::linalg_diagonal")
def diagonal(c: Converter, x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Value:
    """The elements [i, i + offset] of two axes, which a new last axis replaces."""
    rank = c.rank(x)
    first, second = dim1 % rank, dim2 % rank
    rows, columns = (_number(c.shape(x)[a], "the diagonal") for a in (first, second))
    count = max(min(rows - max(-offset, 0), columns - max(offset, 0)), 0)
    at = np.arange(count)[:, None] + np.array([[max(-offset, 0), max(offset, 0)]])
    rest = [i for i in range(rank) if i not in (first, second)]
    front = c.net.op("Transpose", c.value(x), perm=[first, second, *rest])
    found = c.net.op("GatherND", front, c.net.const(at, np.int64))
    return c.net.op("Transpose", found, perm=[*range(1, len(rest) + 1), 0])


@aten("as_strided")
def as_strided(c: Converter, x: Tensor, size: Sequence[Any], stride: Sequence[Any], offset: Any = None) -> Value:
    """Elements by their distance in memory, of a tensor whose elements lie in order."""
    sizes = [_number(s, "as_strided") for s in (*size, *stride, *([] if offset is None else [offset]))]
    grid = np.indices(sizes[: len(size)]).reshape(len(size), -1)
    at = (np.array(stride) @ grid + (offset or 0)).reshape(sizes[: len(size)])
    return c.net.op("Gather", c.net.reshape(c.value(x), -1), c.net.const(at, np.int64), axis=0)


@aten("take")
def take(c: Converter, x: Tensor, at: Tensor) -> Value:
    return c.net.op("Gather", c.net.reshape(c.value(x), -1), c.value(at), axis=0)


# ------------------------------------------------------------------------------------------------------ sorted search


@aten("searchsorted")
def searchsorted(
    c: Converter, edges: Any, x: Any, int32: bool = False, right: bool = False, side: str | None = None, *rest: Any
) -> Value:
    """How many edges lie below each element (`right`: below or at it). edges [..., n]."""
    a, b = c.promoted(edges, x)
    if c.rank(edges) > 1:
        a = c.net.unsqueeze(a, c.rank(edges) - 1)
    upper = right or side == "right"
    below = c.net.op("LessOrEqual" if upper else "Less", a, c.net.unsqueeze(b, c.rank(x)))
    count = c.net.op("ReduceSum", c.net.cast(below, _I32 if int32 else _I64), c.net.ints(-1), keepdims=0)
    return count


@aten("bucketize")
def bucketize(c: Converter, x: Any, edges: Tensor, int32: bool = False, right: bool = False) -> Value:
    return searchsorted(c, edges, x, int32, right)


@aten("histc")
def histc(c: Converter, x: Tensor, bins: int = 100, low: float = 0.0, high: float = 0.0) -> Value:
    if low == high:
        raise UnsupportedOperatorError("histc without limits")
    flat = c.net.reshape(floating(c, x), -1)
    step = (high - low) / bins
    place = c.net.op("Floor", c.net.op("Div", c.net.op("Sub", flat, c.net.scalar(low, flat)), c.net.scalar(step, flat)))
    last = c.net.op("Equal", flat, c.net.scalar(high, flat))  # the last bin includes its end
    place = c.net.op("Where", last, c.net.scalar(bins - 1, flat), place)
    numbers = c.net.const(np.arange(bins)[:, None], c.net.type(flat).dtype.numpy())
    hits = c.net.cast_like(c.net.op("Equal", numbers, c.net.unsqueeze(place, 0)), flat)
    return c.net.op("ReduceSum", hits, c.net.ints(1), keepdims=0)


@aten("kthvalue")
def kthvalue(c: Converter, x: Tensor, k: Any, dim: int = -1, keep: bool = False) -> Any:
    """The k-th smallest element and its position."""
    count = c.vector([k])
    found = c.net.ops("TopK", c.value(x), count, count=2, axis=dim, largest=0, sorted=1)
    last = [c.net.op("Slice", v, c.vector([k - 1]), count, c.net.ints(dim)) for v in found]
    return tuple(last if keep else [c.net.squeeze(v, dim) for v in last])


@aten("median")
def median(c: Converter, x: Tensor, dim: int | None = None, keep: bool = False) -> Any:
    """The lower one of two in the middle."""
    if dim is None:
        flat = Tensor(c.net.reshape(c.value(x), -1))
        return median(c, flat, 0)[0]
    return kthvalue(c, x, (c.shape(x)[dim] + 1) // 2, dim, keep)


@aten("_unique2")
def unique(c: Converter, x: Tensor, ordered: bool = True, inverse: bool = False, counts: bool = False) -> Any:
    found, _, places, numbers = c.net.ops("Unique", c.value(x), count=4, sorted=1)
    return found, c.net.op("Reshape", places, c.vector(list(c.shape(x)))), numbers


# ------------------------------------------------------------------------------------------------ writes along an axis


@aten("index_copy")
def index_copy(c: Converter, x: Tensor, dim: int, at: Tensor, source: Tensor) -> Value:
    return scattered(c, c.value(x), dim, c.value(at), c.value(source))


@aten("index_fill")
def index_fill(c: Converter, x: Tensor, dim: int, at: Tensor, number: Any) -> Value:
    axis, value = axis_of(c, x, dim), c.value(x)
    sizes = list(c.shape(x))
    sizes[axis] = c.shape(at)[0]
    return scattered(c, value, axis, c.value(at), c.net.op("Expand", c.cast(number, c.dtype(x)), c.vector(sizes)))


@aten("index_add")
def index_add(c: Converter, x: Tensor, dim: int, at: Tensor, source: Tensor, alpha: Any = 1) -> Value:
    part = c.cast(source, c.dtype(x))
    if alpha != 1:
        part = c.net.op("Mul", part, c.net.scalar(alpha, part))
    return scattered(c, c.value(x), dim, c.value(at), part, "add")


_REDUCTIONS = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min"}


@aten("scatter_reduce")
def scatter_reduce(
    c: Converter, x: Tensor, dim: int, at: Tensor, source: Tensor, reduce: str, include: bool = True
) -> Value:
    if reduce not in _REDUCTIONS or not include:
        raise UnsupportedOperatorError(f"scatter_reduce {reduce!r} with include_self={include}")
    return scattered_elements(c, x, dim, at, source, _REDUCTIONS[reduce])


@aten("masked_scatter")
def masked_scatter(c: Converter, x: Tensor, mask: Tensor, source: Tensor) -> Value:
    """The elements under the mask replaced by those of `source` in order."""
    sizes = c.vector(list(c.shape(x)))
    flags = c.net.op("Expand", c.value(mask), sizes)
    place = c.net.op("CumSum", c.net.cast(c.net.reshape(flags, -1), _I64), c.net.const(0, np.int64))
    order = c.net.op("Max", c.net.op("Sub", place, c.net.const(1, np.int64)), c.net.const(0, np.int64))
    chosen = c.net.op("Gather", c.net.reshape(c.value(source), -1), order, axis=0)
    return c.net.op("Where", flags, c.net.op("Reshape", chosen, sizes), c.value(x))


# --------------------------------------------------------------------------------------------------------- cumulative


def _cumulative(reduction: str, arg: str, worst: float) -> Any:
    """(running extrema, their positions): each element against all before it, so for short axes."""

    def importer(c: Converter, x: Tensor, dim: int) -> Any:
        axis, rank, value = axis_of(c, x, dim), c.rank(x), c.value(x)
        size = c.vector([c.shape(x)[axis]] * 2)
        order = [*(i for i in range(rank) if i != axis), axis]
        rows = c.net.unsqueeze(c.net.op("Transpose", value, perm=order), rank - 1)  # [..., 1, n]
        so_far = c.net.op("Trilu", c.net.op("Expand", c.net.const(True), size), upper=0)
        seen = c.net.op("Where", so_far, rows, c.net.scalar(worst, value))
        extremum = c.net.op(reduction, seen, c.net.ints(-1), keepdims=0)
        at = c.net.op(arg, seen, axis=-1, keepdims=0, select_last_index=1)
        back = [order.index(i) for i in range(rank)]
        return tuple(c.net.op("Transpose", v, perm=back) for v in (extremum, at))

    return importer


aten("cummax")(_cumulative("ReduceMax", "ArgMax", -np.inf))
aten("cummin")(_cumulative("ReduceMin", "ArgMin", np.inf))


@aten("cumprod")
def cumprod(c: Converter, x: Tensor, dim: int, dtype: Any = None) -> Value:
    """Products of all elements so far, for short axes."""
    axis, rank, value = axis_of(c, x, dim), c.rank(x), c.value(x)
    order = [*(i for i in range(rank) if i != axis), axis]
    rows = c.net.unsqueeze(c.net.op("Transpose", value, perm=order), rank - 1)
    size = c.vector([c.shape(x)[axis]] * 2)
    so_far = c.net.op("Trilu", c.net.op("Expand", c.net.const(True), size), upper=0)
    product_ = c.net.op(
        "ReduceProd", c.net.op("Where", so_far, rows, c.net.scalar(1, value)), c.net.ints(-1), keepdims=0
    )
    return c.net.op("Transpose", product_, perm=[order.index(i) for i in range(rank)])


@aten("logcumsumexp")
def logcumsumexp(c: Converter, x: Tensor, dim: int) -> Value:
    value = c.value(x)
    top = c.net.op("ReduceMax", value, c.net.ints(dim), keepdims=1)
    powers = c.net.op("Exp", c.net.op("Sub", value, top))
    total = c.net.op("CumSum", powers, c.net.const(dim, np.int64))
    return c.net.op("Add", c.net.op("Log", total), top)


@aten("cdist", "aten::_cdist_forward")
def cdist(c: Converter, a: Tensor, b: Tensor, p: float = 2.0, mode: Any = None) -> Value:
    """Distances between all rows of a [..., P, M] and of b [..., R, M]."""
    x, y = c.net.unsqueeze(c.value(a), c.rank(a) - 1), c.net.unsqueeze(c.value(b), c.rank(b) - 2)
    off = c.net.op("Sub", x, y)
    axis = c.net.ints(-1)
    if p in (1.0, 2.0):
        return c.net.op("ReduceL1" if p == 1 else "ReduceL2", off, axis, keepdims=0)
    size = c.net.op("Abs", off)
    if p == float("inf"):
        return c.net.op("ReduceMax", size, axis, keepdims=0)
    total = c.net.op("ReduceSum", c.net.op("Pow", size, c.net.scalar(p, size)), axis, keepdims=0)
    return c.net.op("Pow", total, c.net.scalar(1 / p, size))
