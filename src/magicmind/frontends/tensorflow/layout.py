"""Channels last (TensorFlow) and first (ONNX): translations, and arithmetic that works in either order.

`last` remembers the form with the channels first (the *twin*) of what it makes. The transposes between are nodes whose
results nobody reads in the end; the conversion removes those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from magicmind.frontends.tensorflow.call import Call
from magicmind.ops.emitter import Value

CHANNELS_FIRST = "@channels_first"
"""Follows the name of a tensor whose twin is meant."""


def order_first(rank: int) -> list[int]:
    """The axes of a channels-last tensor with the channels first."""
    return [0, rank - 1, *range(1, rank - 1)]


def order_last(rank: int) -> list[int]:
    """The axes of a channels-first tensor with the channels last."""
    return [0, *range(2, rank), 1]


def twin(c: Call, value: Value) -> Value | None:
    """The value with the channels first, if it was made that way."""
    return c.state.twins.get(value)


def first(c: Call, value: Value) -> Value:
    """A channels-last value with the channels first."""
    found = twin(c, value)
    return c.net.op("Transpose", value, perm=order_first(c.net.rank(value))) if found is None else found


def last(c: Call, value: Value) -> Value:
    """A channels-first value with the channels last."""
    rank = c.net.rank(value)
    if rank < 3:
        return value
    result = c.net.op("Transpose", value, perm=order_last(rank))
    c.state.twins[result] = value
    return result


def axis_first(axis: int, rank: int) -> int:
    """Where an axis of a channels-last tensor is once the channels are first."""
    return order_first(rank).index(axis)


def pointwise(c: Call, build: Callable[..., Value], *operands: Value) -> Value:
    """`build(*operands)` for arithmetic that broadcasts: with the channels first where any operand is known so."""
    rank = max(c.net.rank(v) for v in operands)
    leading = [v for v in operands if c.net.rank(v) == rank and twin(c, v) is not None]
    if not leading:
        return build(*operands)
    return last(c, build(*(_turned(c, v, rank) for v in operands)))


def _turned(c: Call, value: Value, rank: int) -> Value:
    """An operand that broadcasts against `rank` axes, with the channels first."""
    own = c.net.rank(value)
    array = c.known(value)
    if own == 0 or (array is not None and array.size == 1 and own < 2):
        return value
    if array is not None:
        full = array.reshape((1,) * (rank - own) + array.shape)
        return c.net.const(np.ascontiguousarray(full.transpose(order_first(rank))))
    if own == 1:
        return c.net.unsqueeze(value, *range(1, rank - 1))
    if own < rank:
        value = c.net.unsqueeze(value, *range(rank - own))
    return first(c, value)


def along(c: Call, value: Value, axes: Sequence[int], build: Callable[..., Value], *more: Any) -> Value:
    """`build(value, axes, *more)` for an operator that keeps the rank and works on given axes, in either order."""
    found, rank = twin(c, value), c.net.rank(value)
    if found is None:
        return build(value, list(axes), *more)
    return last(c, build(found, [axis_first(a, rank) for a in axes], *more))
