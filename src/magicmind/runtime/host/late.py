"""Operators whose output shape is computed at run time, by numpy. Resize loads onnx's reference evaluator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from magicmind.errors import Error, ShapeError
from magicmind.runtime.host import Array, HostCall, host


def _ints(value: Array | None) -> list[int] | None:
    return None if value is None else [int(v) for v in value.reshape(-1)]


@host("Reshape")
def reshape(call: HostCall) -> Sequence[Any]:
    """The same elements; a 0 keeps a dim, unless `allowzero`."""
    x, target = call.inputs
    keep = not call.attr("allowzero", 0)
    return [x.reshape([x.shape[i] if d == 0 and keep else d for i, d in enumerate(_ints(target) or [])])]


@host("Expand")
def expand(call: HostCall) -> Sequence[Any]:
    """Broadcast against a shape."""
    x, shape = call.inputs
    wanted = tuple(_ints(shape) or ())
    try:
        return [np.broadcast_to(x, np.broadcast_shapes(x.shape, wanted))]
    except ValueError:
        raise ShapeError(f"sizes {list(x.shape)} and {list(wanted)} do not broadcast") from None


@host("Tile")
def tile(call: HostCall) -> Sequence[Any]:
    """Repeated along every axis."""
    return [np.tile(call.inputs[0], _ints(call.inputs[1]) or [])]


@host("Slice")
def slice_(call: HostCall) -> Sequence[Any]:
    """Ranges of some axes; starts and ends beyond an axis are cut off as Python does."""
    x = call.inputs[0]
    starts, ends = _ints(call.inputs[1]) or [], _ints(call.inputs[2]) or []
    axes, steps = _ints(call.input(3)) or list(range(len(starts))), _ints(call.input(4)) or [1] * len(starts)
    cut = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        stop = None if step < 0 and end < -x.shape[axis] else end
        cut[axis] = slice(start, stop, step)
    return [x[tuple(cut)]]


@host("Pad")
def pad(call: HostCall) -> Sequence[Any]:
    """More at both ends of the axes (negative: less), by a constant or by what lies inside."""
    x, pads, value = call.inputs[0], _ints(call.inputs[1]) or [], call.input(2)
    axes = _ints(call.input(3)) or list(range(x.ndim))
    widths = [(0, 0)] * x.ndim
    for i, axis in enumerate(axes):
        before, after = pads[i], pads[i + len(axes)]
        cut = [slice(None)] * x.ndim
        cut[axis] = slice(max(-before, 0), x.shape[axis] - max(-after, 0))
        x = x[tuple(cut)]
        widths[axis] = (max(before, 0), max(after, 0))
    mode = call.attr("mode", "constant")
    if mode == "constant":
        return [np.pad(x, widths, constant_values=0 if value is None else value.reshape(-1)[0])]
    return [np.pad(x, widths, mode=mode)]


@host("Split")
def split(call: HostCall) -> Sequence[Any]:
    """Parts along an axis."""
    return np.split(call.inputs[0], np.cumsum(_ints(call.inputs[1]) or [])[:-1], axis=call.attr("axis", 0))


@host("Range")
def range_(call: HostCall) -> Sequence[Any]:
    """Numbers from `start` on, before `limit`."""
    start, limit, delta = (x.reshape(()) for x in call.inputs)
    count = max(0, int(np.ceil((limit - start) / delta)))
    return [(start + np.arange(count) * delta).astype(start.dtype)]


@host("Squeeze")
def squeeze(call: HostCall) -> Sequence[Any]:
    """Without axes of size 1."""
    return [np.squeeze(call.inputs[0], tuple(_ints(call.inputs[1]) or ()))]


@host("Unsqueeze")
def unsqueeze(call: HostCall) -> Sequence[Any]:
    """With axes of size 1."""
    return [np.expand_dims(call.inputs[0], tuple(_ints(call.inputs[1]) or ()))]


@host("ConstantOfShape")
def constant_of_shape(call: HostCall) -> Sequence[Any]:
    """One value everywhere."""
    value = call.attr("value")
    filled = np.zeros((), call.dtypes[0]) if value is None else value.reshape(-1)[0]
    return [np.full(_ints(call.inputs[0]) or [], filled, call.dtypes[0])]


@host("TopK")
def top_k(call: HostCall) -> Sequence[Any]:
    """The largest (smallest) along an axis in order; of equals the first comes first."""
    x, count, axis = call.inputs[0], int(call.inputs[1].reshape(-1)[0]), call.attr("axis", -1)
    if call.attr("largest", 1):  # a stable sort of the flipped axis puts the last of equals first: flip back
        order = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis=axis, kind="stable")
    order = np.take(order, np.arange(count), axis=axis)
    return [np.take_along_axis(x, order, axis=axis), order.astype(np.int64)]


@host("OneHot")
def one_hot(call: HostCall) -> Sequence[Any]:
    """`values[1]` where the new axis has the index, `values[0]` elsewhere."""
    indices, depth, values = call.inputs
    count, axis = int(depth.reshape(-1)[0]), call.attr("axis", -1)
    axis = axis + indices.ndim + 1 if axis < 0 else axis
    shape = [1] * (indices.ndim + 1)
    shape[axis] = count
    wanted = np.expand_dims(np.where(indices < 0, indices + count, indices), axis)
    return [np.where(wanted == np.arange(count).reshape(shape), values[1], values[0]).astype(values.dtype)]


_Reduction = Callable[..., Any]
_REDUCTIONS: dict[str, _Reduction] = {
    "ReduceSum": np.sum,
    "ReduceMean": np.mean,
    "ReduceMax": lambda x, **how: np.max(x, initial=_bound(x.dtype, largest=False), **how),
    "ReduceMin": lambda x, **how: np.min(x, initial=_bound(x.dtype, largest=True), **how),
    "ReduceProd": np.prod,
    "ReduceL1": lambda x, **how: np.sum(np.abs(x), **how),
    "ReduceL2": lambda x, **how: np.sqrt(np.sum(np.square(x), **how)),
    "ReduceLogSum": lambda x, **how: np.log(np.sum(x, **how)),
    "ReduceLogSumExp": lambda x, **how: _log_sum_exp(x, **how),
    "ReduceSumSquare": lambda x, **how: np.sum(np.square(x), **how),
}


def _bound(dtype: np.dtype[Any], largest: bool) -> Any:
    """The largest or smallest value of a type: what a minimum or maximum over no elements is."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).max if largest else np.iinfo(dtype).min
    return largest if dtype.kind == "b" else np.inf if largest else -np.inf


def _log_sum_exp(x: Array, axis: tuple[int, ...] | None, keepdims: bool) -> Any:
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):  # over no elements it is -inf
        total = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return total if keepdims else np.squeeze(total, axis)


def _reduce(name: str) -> Callable[[HostCall], Sequence[Any]]:
    def run(call: HostCall) -> Sequence[Any]:
        x, axes = call.inputs[0], _ints(call.input(1))
        if not axes and call.attr("noop_with_empty_axes", 0):
            return [x]
        axis = tuple(axes) if axes else None
        found = _REDUCTIONS[name](x, axis=axis, keepdims=bool(call.attr("keepdims", 1)))
        return [np.asarray(found).astype(x.dtype)]

    return run


for _name in _REDUCTIONS:
    host(_name)(_reduce(_name))


@host("Resize")
def resize(call: HostCall) -> Sequence[Any]:
    """By onnx's reference evaluator: with sizes that are known when building there are kernels."""
    try:
        import onnx
        from onnx.reference import ReferenceEvaluator
    except ImportError as error:
        raise Error("Resize to sizes computed at run time needs onnx", hint="pip install 'magicmind[build]'") from error
    names = ["" if x is None else f"x{i}" for i, x in enumerate(call.inputs)]
    attributes = {k: v for k, v in call.attributes.items() if v is not None}
    node = onnx.helper.make_node("Resize", names, ["y"], **attributes)
    feeds = {name: x for name, x in zip(names, call.inputs, strict=True) if name}
    found: Sequence[Any] = ReferenceEvaluator(node, opsets={"": 19}).run(None, feeds)  # type: ignore[assignment]
    return found
