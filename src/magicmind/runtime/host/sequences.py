"""Lists of tensors, and optional values: lists and None."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.errors import Error
from magicmind.runtime.host import HostCall, host


def _position(value: Any, default: int) -> int:
    return default if value is None else int(np.asarray(value).reshape(-1)[0])


@host("SequenceConstruct")
def construct(call: HostCall) -> Sequence[Any]:
    """The inputs."""
    return [list(call.inputs)]


@host("SequenceEmpty")
def empty(call: HostCall) -> Sequence[Any]:
    """Nothing."""
    return [[]]


@host("SequenceAt")
def at(call: HostCall) -> Sequence[Any]:
    """One tensor; negative positions count from the end."""
    return [call.inputs[0][_position(call.inputs[1], 0)]]


@host("SequenceErase")
def erase(call: HostCall) -> Sequence[Any]:
    """Without one tensor: the last by default."""
    items = list(call.inputs[0])
    del items[_position(call.input(1), -1)]
    return [items]


@host("SequenceInsert")
def insert(call: HostCall) -> Sequence[Any]:
    """With a tensor before a position: at the end by default."""
    items = list(call.inputs[0])
    items.insert(_position(call.input(2), len(items)), call.inputs[1])
    return [items]


@host("SequenceLength")
def length(call: HostCall) -> Sequence[Any]:
    """How many tensors."""
    return [np.array(len(call.inputs[0]), np.int64)]


@host("SequenceMap")
def map_(call: HostCall) -> Sequence[Any]:
    """Lists of what the body makes of the elements at each position; tensors are the same at all."""
    count = len(call.inputs) - int(call.attr("captures", 0))
    given, captured = call.inputs[:count], call.inputs[count:]
    rows = [
        call.attr("body")([*captured, *(x[i] if isinstance(x, list) else x for x in given)])
        for i in range(len(given[0]))
    ]
    return [[row[i] for row in rows] for i in range(call.outputs)]


@host("SplitToSequence")
def split(call: HostCall) -> Sequence[Any]:
    """Parts along an axis: of size 1, of one size (the last may be smaller), or of the sizes given."""
    x, axis, sizes = call.inputs[0], call.attr("axis", 0), call.input(1)
    if sizes is None:
        parts = np.split(x, x.shape[axis], axis) if x.shape[axis] else []
        return [[part if call.attr("keepdims", 1) else np.squeeze(part, axis) for part in parts]]
    if sizes.ndim == 0:
        return [np.split(x, range(int(sizes), x.shape[axis], int(sizes)), axis)]
    return [np.split(x, np.cumsum(sizes)[:-1], axis)]


@host("ConcatFromSequence")
def concat(call: HostCall) -> Sequence[Any]:
    """All tensors, one after the other or stacked."""
    join = np.stack if call.attr("new_axis", 0) else np.concatenate
    return [join(call.inputs[0], axis=call.attr("axis", 0))]


@host("Optional", "Identity")
def same(call: HostCall) -> Sequence[Any]:
    """The input, None when absent."""
    return [call.input(0)]


@host("OptionalHasElement")
def has_element(call: HostCall) -> Sequence[Any]:
    """Whether the input is there and has content."""
    return [np.array(call.input(0) is not None)]


@host("OptionalGetElement")
def get_element(call: HostCall) -> Sequence[Any]:
    """The content. Raises Error when there is none."""
    if call.inputs[0] is None:
        raise Error("the optional value is empty", hint="ask OptionalHasElement first")
    return [call.inputs[0]]
