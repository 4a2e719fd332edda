"""Elements by position: slices and selections (views, which in-place operators write through), gathers, scatters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.aten.pointwise import nonzero_axes
from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.values import Payload, Tensor
from magicmind.ir.dims import Dim
from magicmind.ops.emitter import Value

_END = (1 << 63) - 1


# ------------------------------------------------------------------------------------------------------------- views


@aten("slice", python=True)
def slice_(c: Converter, x: Any, dim: Any = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    if isinstance(x, (list, str, tuple)):
        return x[dim:start:end]  # of a list: start, end, step
    if (start is None or _is(start, 0)) and (end is None or _is(end, _END)) and step == 1:
        return x
    begin = 0 if start is None else start
    stop = _END if end is None else end

    def read(payload: Payload) -> Payload:
        return _sliced(c, payload, dim, begin, stop, step)

    def write(base: Payload, new: Payload) -> Payload:
        return scattered(c, c.value(base), dim, _positions(c, x, dim, begin, stop, step), c.value(new))

    return Tensor(read(x.payload), x, read, write)


def _is(a: Any, number: int) -> bool:
    return isinstance(a, int) and a == number


def _sliced(c: Converter, payload: Payload, dim: int, start: Any, end: Any, step: int) -> Payload:
    if isinstance(payload, torch.Tensor) and isinstance(start, int) and isinstance(end, int):
        return torch.ops.aten.slice(payload, dim, start, end, step)  # type: ignore[no-any-return]
    if isinstance(start, Tensor) or isinstance(end, Tensor):
        return _sliced_late(c, c.value(payload), dim, start, end, step)
    return c.net.op("Slice", c.value(payload), c.vector([start]), c.vector([end]), c.net.ints(dim), c.net.ints(step))


def _sliced_late(c: Converter, x: Value, dim: int, start: Any, end: Any, step: int) -> Value:
    """A slice whose ends, which count from the front, only the run tells: by `i : i + 3` the size is known even so."""
    if step != 1:
        raise UnsupportedOperatorError("a slice with steps whose ends only the run tells")
    known = c.sums.get(id(end.payload)) if isinstance(end, Tensor) and isinstance(start, Tensor) else None
    if known is not None and known[0] is start.payload:
        at = c.net.op("Add", c.value(start), c.net.const(range(known[1]), "int64"))
        return c.net.op("Gather", x, at, axis=dim)
    at = c.net.count_up(c.net.dim(x, dim))
    inside = c.net.op("And", c.net.op("GreaterOrEqual", at, c.value(start)), c.net.op("Less", at, c.value(end)))
    return c.net.op("Compress", x, inside, axis=dim)


def _positions(c: Converter, x: Tensor, dim: int, start: Any, end: Any, step: int) -> Value:
    """The positions on an axis that a slice takes."""
    size = c.net.dim(c.value(x), dim)
    all_ = c.net.count_up(size)
    return c.net.op("Slice", all_, c.vector([start]), c.vector([end]), c.net.ints(0), c.net.ints(step))


@aten("select", python=True)
def select(c: Converter, x: Tensor, dim: int, at: Any) -> Any:
    axis = dim % c.rank(x)

    def read(payload: Payload) -> Payload:
        if isinstance(payload, torch.Tensor) and isinstance(at, int):
            return payload.select(axis, at)
        return c.net.op("Gather", c.value(payload), c.value(at), axis=axis)

    def write(base: Payload, new: Payload) -> Payload:
        part = c.net.unsqueeze(c.value(new), axis)
        return scattered(c, c.value(base), axis, c.vector([at]), part)

    return Tensor(read(x.payload), x, read, write)


def scattered(c: Converter, base: Value, dim: int, positions: Value, part: Value, reduction: str = "none") -> Value:
    """`base` with `part` at these positions of an axis, which may count from the end."""
    rank = c.net.rank(base)
    axis = dim % rank
    order = [axis, *(i for i in range(rank) if i != axis)]
    back = [order.index(i) for i in range(rank)]
    front = c.net.op("Transpose", base, perm=order) if axis else base
    moved = c.net.op("Transpose", part, perm=order) if axis else part
    result = c.net.op("ScatterND", front, c.net.unsqueeze(positions, 1), moved, reduction=reduction)
    return c.net.op("Transpose", result, perm=back) if axis else result


# ----------------------------------------------------------------------------------------------------------- gathers


@aten("embedding")
def embedding(c: Converter, weight: Tensor, at: Tensor, *settings: Any) -> Value:
    if c.dtype(at).is_floating_point:
        raise UnsupportedOperatorError(
            f"an embedding of {c.dtype(at)} positions",
            hint="say the input's dtype, as in input_dtypes={'idx': 'int64'}",
        )
    return c.net.op("Gather", c.value(weight), c.value(at), axis=0)


@aten("index_select")
def index_select(c: Converter, x: Tensor, dim: int, at: Tensor) -> Value:
    positions = c.value(at) if c.rank(at) else c.net.unsqueeze(c.value(at), 0)
    return c.net.op("Gather", c.value(x), positions, axis=dim)


@aten("gather")
def gather(c: Converter, x: Tensor, dim: int, at: Tensor, *settings: Any) -> Value:
    return c.net.op("GatherElements", c.value(x), c.value(at), axis=dim)


@aten("take_along_dim")
def take_along_dim(c: Converter, x: Tensor, at: Tensor, dim: int) -> Value:
    return c.net.op("GatherElements", c.value(x), c.value(at), axis=dim)


@aten("index", "aten::_unsafe_index")
def index(c: Converter, x: Tensor, at: Sequence[Tensor | None]) -> Value:
    """x[at0, None, at2, ...]: the indexed axes together become the broadcast positions' axes."""
    axes, positions = _axes_and_positions(c, x, at)
    value, rank = c.value(x), c.rank(x)
    if len(axes) == 1:
        return c.net.op("Gather", value, positions[0], axis=axes[0])
    rest = [i for i in range(rank) if i not in axes]
    front = c.net.op("Transpose", value, perm=[*axes, *rest]) if axes != list(range(len(axes))) else value
    together = _joined(c, positions)
    found = c.net.op("GatherND", front, together)
    many = c.net.rank(together) - 1
    first = axes[0]
    if axes != list(range(first, first + len(axes))) or first == 0:
        return found  # apart from each other: in front
    order = [*range(many, many + first), *range(many), *range(many + first, many + len(rest))]
    return c.net.op("Transpose", found, perm=order)


def _axes_and_positions(c: Converter, x: Any, at: Sequence[Tensor | None]) -> tuple[list[int], list[Value]]:
    """The indexed axes with their positions; a mask stands for the positions of what it holds."""
    axes: list[int] = []
    positions: list[Value] = []
    axis = 0
    for item in at:
        if item is None:
            axis += 1
        elif c.dtype(item) in (torch.bool, torch.uint8):
            found = nonzero_axes(c, item)
            axes += range(axis, axis + len(found))
            positions += found
            axis += len(found)
        else:
            axes.append(axis)
            positions.append(c.cast(item, torch.int64))
            axis += 1
    return axes, positions


def _joined(c: Converter, positions: Sequence[Value]) -> Value:
    """int64 [..., number of axes]: the positions broadcast to one shape."""
    total = positions[0]
    for other in positions[1:]:
        total = c.net.op("Add", total, other)
    shape = c.net.op("Shape", total)
    columns = [c.net.unsqueeze(c.net.op("Expand", p, shape), c.net.rank(total)) for p in positions]
    return c.net.op("Concat", *columns, axis=-1)


@aten("masked_select")
def masked_select(c: Converter, x: Tensor, mask: Tensor) -> Value:
    shape = c.net.op("Shape", c.net.op("Add", c.cast(x, torch.float32), c.cast(mask, torch.float32)))
    flat = [c.net.reshape(c.net.op("Expand", c.value(v), shape), -1) for v in (x, mask)]
    return c.net.op("Compress", *flat, axis=0)


@aten("nonzero")
def nonzero(c: Converter, x: Tensor) -> Value:
    return c.net.op("Transpose", c.net.op("NonZero", c.value(x)), perm=[1, 0])


@aten("nonzero_numpy")
def nonzero_numpy(c: Converter, x: Tensor) -> list[Value]:
    return nonzero_axes(c, x)


@aten("one_hot")
def one_hot(c: Converter, x: Tensor, classes: Any = -1) -> Value:
    if _is(classes, -1):
        raise UnsupportedOperatorError("one_hot without a number of classes")
    return c.net.op("OneHot", c.value(x), c.value(classes), c.net.ints(0, 1), axis=-1)


# ---------------------------------------------------------------------------------------------------------- scatters


@aten("index_put", "aten::_unsafe_index_put", "aten::_index_put_impl")
def index_put(
    c: Converter, x: Tensor, at: Sequence[Tensor | None], values: Tensor, accumulate: bool = False, *settings: Any
) -> Value:
    value, rank = c.value(x), c.rank(x)
    if len(at) == 1 and at[0] is not None and c.dtype(at[0]) == torch.bool and _numel(c, values) == 1:
        mask = c.net.unsqueeze(c.value(at[0]), *range(c.rank(at[0]), rank))
        number = c.net.reshape(c.cast(values, c.dtype(x)), c.net.const([], "int64"))
        return c.net.op("Where", mask, number, value)
    axes, positions = _axes_and_positions(c, x, at)
    rest = [i for i in range(rank) if i not in axes]
    order = [*axes, *rest]
    front = c.net.op("Transpose", value, perm=order)
    together = _joined(c, positions)
    shape = c.net.sizes(
        c.net.op("Shape", together, end=c.net.rank(together) - 1), c.net.op("Shape", front, start=len(axes))
    )
    spread = c.net.op("Expand", c.cast(values, c.dtype(x)), shape)
    result = c.net.op("ScatterND", front, together, spread, reduction="add" if accumulate else "none")
    return c.net.op("Transpose", result, perm=[order.index(i) for i in range(rank)])


def _numel(c: Converter, x: Any) -> Any:
    total: Any = 1
    for d in c.shape(x):
        total = total * d
    return total


@aten("scatter")
def scatter(c: Converter, x: Tensor, dim: int, at: Tensor, source: Any, *reduce: Any) -> Value:
    kind = {None: "none", "add": "add", "multiply": "mul"}[reduce[0] if reduce else None]
    return scattered_elements(c, x, dim, at, source, kind)


def scattered_elements(c: Converter, x: Tensor, dim: int, at: Tensor, source: Any, reduction: str) -> Value:
    """`x` with elements of `source`, a number or a tensor at least as large as `at`, written at the positions `at`."""
    updates = c.cast(source, c.dtype(x))
    if not isinstance(source, Tensor):
        updates = c.net.op("Expand", updates, c.net.op("Shape", c.value(at)))
    elif c.shape(source) != c.shape(at):
        updates = _first(c, updates, c.shape(at))
    places = c.value(at)
    if c.shape(updates) != c.shape(places):  # sizes that only data tells; the source's are no smaller
        places = _first(c, places, c.shape(updates))
    return c.net.op("ScatterElements", c.value(x), places, updates, axis=dim, reduction=reduction)


def _first(c: Converter, x: Value, sizes: Sequence[Dim]) -> Value:
    """The first so many elements of every axis."""
    return c.net.op("Slice", x, c.net.ints(*[0] * len(sizes)), c.vector(list(sizes)))


@aten("scatter_add")
def scatter_add(c: Converter, x: Tensor, dim: int, at: Tensor, source: Tensor) -> Value:
    return scatter(c, x, dim, at, source, "add")


@aten("select_scatter")
def select_scatter(c: Converter, x: Tensor, source: Tensor, dim: int, at: Any) -> Value:
    axis = dim % c.rank(x)
    return scattered(c, c.value(x), axis, c.vector([at]), c.net.unsqueeze(c.value(source), axis))


@aten("slice_scatter")
def slice_scatter(
    c: Converter, x: Tensor, source: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Value:
    positions = _positions(c, x, dim, 0 if start is None else start, _END if end is None else end, step)
    return scattered(c, c.value(x), dim, positions, c.value(source))
