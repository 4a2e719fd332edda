"""Parts of tensors, by ranges."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from magicmind.errors import ModelFormatError, ShapeError
from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.frontends.tensorflow.layout import along
from magicmind.ops.emitter import Value

_END = int(np.iinfo(np.int64).max)
_BEGIN = int(np.iinfo(np.int64).min)


@importer("Slice")
def slice_(c: Call) -> Value:
    """Slice by starts and sizes; a size of -1 goes to the end."""
    net, rank = c.net, c.rank()
    starts, sizes = c.dims(1), c.dims(2)
    if starts is not None and sizes is not None and all(isinstance(n, int) for n in (*starts, *sizes)):
        begins = [int(n) for n in starts if isinstance(n, int)]
        ends = [_END if s == -1 else b + int(s) for b, s in zip(begins, sizes, strict=True) if isinstance(s, int)]
        axes = [i for i in range(rank) if begins[i] != 0 or ends[i] != c.shape()[i]]
        axes = [i for i in axes if begins[i] or ends[i] != _END]
        if not axes:
            return c.x
        low, high = net.ints(*(begins[i] for i in axes)), net.ints(*(ends[i] for i in axes))
        return along(c, c.x, axes, lambda x, at: net.op("Slice", x, low, high, net.ints(*at)))
    return _window(c)


def _window(c: Call) -> Value:
    """A part that is not known whole, axis by axis.

    Where only the start is left to the run, the part is taken by positions: the size of a Slice would be whatever the
    axis has left.
    """
    net, y = c.net, c.x
    starts, sizes = _elements(c, 1), _elements(c, 2)
    wanted = c.elements(2)
    for axis, (start, size, dim) in enumerate(zip(starts, sizes, wanted, strict=True)):
        if start == 0 and (size == -1 or dim == c.shape()[axis]):
            continue
        low = net.sizes(start)
        if isinstance(start, int) or dim is None or dim == -1:
            high = net.ints(_END) if size == -1 else net.op("Add", low, net.sizes(size))
            if dim is None:  # it may be -1
                high = net.op("Where", net.op("Equal", net.sizes(size), net.ints(-1)), net.ints(_END), high)
            y = net.op("Slice", y, low, high, net.ints(axis))
        else:
            y = net.op("Gather", y, net.op("Add", low, net.count_up(net.sizes(size))), axis=axis)
    return y


@dataclass
class _Plan:
    """A strided slice as ONNX operators: slices of some axes, then axes to drop and axes to add."""

    axes: list[int] = field(default_factory=list)
    begins: list[Value | int] = field(default_factory=list)
    ends: list[Value | int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    picked: list[tuple[int, Value]] = field(default_factory=list)  # axes to drop at a position that is computed
    added: list[int] = field(default_factory=list)  # in the result


@importer("StridedSlice")
def strided_slice(c: Call) -> Value:
    """Slice with all five masks, then Squeeze and Unsqueeze."""
    plan = _plan(c)
    net, y = c.net, c.x
    if plan.axes:
        numbers = [*plan.begins, *plan.ends]
        if all(isinstance(n, int) for n in numbers):
            begins, ends = net.ints(*_numbers(plan.begins)), net.ints(*_numbers(plan.ends))
            steps = net.ints(*plan.steps)
            y = along(c, y, plan.axes, lambda x, at: net.op("Slice", x, begins, ends, net.ints(*at), steps))
        else:
            low, high = net.sizes(*plan.begins), net.sizes(*plan.ends)
            y = net.op("Slice", y, low, high, net.ints(*plan.axes), net.ints(*plan.steps))
    for axis, position in reversed(plan.picked):
        y = net.op("Gather", y, net.squeeze(position, 0), axis=axis)
    if plan.dropped:
        y = net.squeeze(y, *(d - sum(axis < d for axis, _ in plan.picked) for d in plan.dropped))
    return net.unsqueeze(y, *plan.added)


def _numbers(parts: list[Value | int]) -> list[int]:
    return [p for p in parts if isinstance(p, int)]


def _plan(c: Call) -> _Plan:
    masks = {n: int(c.attr(f"{n}_mask", 0)) for n in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    count = c.shape(1)[0]
    if not isinstance(count, int):
        raise ShapeError("the number of ranges is not known")
    begin, end = _elements(c, 1), _elements(c, 2)
    steps = c.ints(3, "the steps")
    plan, axis, result = _Plan(), 0, 0
    ellipsis = next((i for i in range(count) if masks["ellipsis"] >> i & 1), count)
    after = sum(1 for i in range(ellipsis + 1, count) if not masks["new_axis"] >> i & 1)
    for i in range(count):
        if i == ellipsis:
            skipped = c.rank() - axis - after
            axis, result = axis + skipped, result + skipped
        elif masks["new_axis"] >> i & 1:
            plan.added.append(result)
            result += 1
        else:
            if axis >= c.rank():
                raise ShapeError(f"{count} ranges are too many for a tensor of rank {c.rank()}")
            _range(c, plan, axis, begin[i], end[i], steps[i], masks, i)
            result += not masks["shrink_axis"] >> i & 1
            axis += 1
    return plan


def _elements(c: Call, i: int) -> list[Value | int]:
    """The numbers of input `i`, those not known as int64 [1]."""
    known = c.elements(i)
    if all(isinstance(d, int) for d in known):
        return [d for d in known if isinstance(d, int)]
    vector = c.vector(c.value(i))
    return [d if isinstance(d, int) else c.net.slice(vector, 0, n, n + 1) for n, d in enumerate(known)]


def _range(
    c: Call, plan: _Plan, axis: int, begin: Value | int, end: Value | int, step: int, masks: dict[str, int], i: int
) -> None:
    if not step:
        raise ModelFormatError(f"step {i} is 0")
    if masks["shrink_axis"] >> i & 1:
        if not isinstance(begin, int):
            plan.picked.append((axis, begin))
            return
        plan.dropped.append(axis)
        if c.shape()[axis] == 1 and begin in (0, -1):
            return
        step, end = 1, begin + 1 or _END
    else:
        if masks["begin"] >> i & 1:
            begin = 0 if step > 0 else _END
        if masks["end"] >> i & 1:
            end = _END if step > 0 else _BEGIN
        size = c.shape()[axis]
        if step == 1 and begin == 0 and isinstance(end, int) and (end == _END or (end == size and end > 0)):
            return
    plan.axes.append(axis)
    plan.begins.append(begin)
    plan.ends.append(end)
    plan.steps.append(step)
