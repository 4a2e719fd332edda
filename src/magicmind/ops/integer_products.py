"""Sums of products of bytes with constant weights, written as magicmind.MatMul and magicmind.Conv of uint8 and int8.

With w = b - b_zero - rest in int8,
(a - a_zero) @ (b - b_zero) = a @ w + rest * (sums of a's rows) - a_zero * (sums of the columns of b - b_zero);
`rest` is 0 where b - b_zero fits int8 itself. An int8 `a` and its zero point are shifted by 128. All sums are int32 and
exact, or wrap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx_ir import DataType

from magicmind.ir.types import const_of
from magicmind.ops.exact_matmul import same_batch
from magicmind.ops.expansion import Expansion, Value

Whole = npt.NDArray[np.int32]
_BYTES = (DataType.UINT8, DataType.INT8)
_OWN = "magicmind"


def byte_product(e: Expansion, a: Value, b: Value, a_zero: Value | None, b_zero: Value | None) -> Value | None:
    """(a - a_zero) @ (b - b_zero); None for vectors, and where `b` and its zero point (one, or one per column) are not
    constant, unless both zero points are constant numbers.

    `a_zero` broadcasts to `a`.
    """
    if min(e.rank(a), e.rank(b)) < 2 or e.type(a).dtype not in _BYTES or e.type(b).dtype not in _BYTES:
        return None
    centred = _centred(b, b_zero, axis=1)
    a, zero, known = _unsigned(e, a, a_zero)
    if centred is None or centred.ndim != 2:
        return _product_at_run_time(e, a, b, known, b_zero)
    if _fits(centred):
        weights, rest = centred, None
    else:
        raw = np.asarray(const_of(b))
        weights = raw.astype(np.int32) - (128 if raw.dtype == np.uint8 else 0)
        rest = (centred - weights)[:1]
        known = None
    total = e.op("MatMul", a, e.const(weights, np.int8), domain=_OWN, x_zero=known or None)
    if rest is not None:
        sums = e.op("ReduceSum", e.cast(a, DataType.INT32), e.ints(-1), keepdims=1)
        total = e.op("Add", total, e.op("Mul", sums, e.const(rest, np.int32)))
    if zero is None or known is not None:
        return total
    return e.op("Sub", total, e.op("Mul", zero, _sums(e, centred, 0)))


def _product_at_run_time(e: Expansion, a: Value, b: Value, a_zero: int | None, b_zero: Value | None) -> Value | None:
    array = const_of(b_zero)
    if a_zero is None or (b_zero is not None and (array is None or array.size != 1)):
        return None
    a, b = same_batch(e, a, b)
    number = 0 if array is None else int(array.reshape(()))
    return e.op("MatMul", a, b, domain=_OWN, x_zero=a_zero or None, b_zero=number or None)


def byte_convolution(
    e: Expansion, x: Value, w: Value, x_zero: Value | None, w_zero: Value | None, window: dict[str, Any]
) -> Value | None:
    """The convolution of x - x_zero and w - w_zero, whose padding is zero; `window`: the attributes that are given.

    None where weights or their zero points (one, or one per output channel) are not constant or do not fit int8, and
    where padding would have to be a number known at run time only.
    """
    centred = _centred(w, w_zero, axis=0)
    if centred is None or centred.ndim not in (3, 4) or not _fits(centred) or e.type(x).dtype not in _BYTES:
        return None
    x, zero, known = _unsigned(e, x, x_zero)
    spatial = centred.ndim - 2
    pads = window.get("pads", [0] * (2 * spatial))
    if window.get("auto_pad", "NOTSET") != "NOTSET" or (known is None and any(pads)):
        return None
    if known is None and zero is not None and e.rank(zero) > 0:
        return None
    defaults = {"strides": [1] * spatial, "dilations": [1] * spatial, "group": 1}
    attributes = {name: window.get(name, default) for name, default in defaults.items()} | {"pads": pads}
    weights = e.const(centred, np.int8)
    total = e.op("Conv", x, weights, domain=_OWN, x_zero=known or None, **attributes)
    if zero is None or known is not None:
        return total
    sums = _sums(e, centred.reshape(len(centred), -1), 1)
    return e.op("Sub", total, e.op("Mul", zero, e.unsqueeze(sums, *range(1, spatial + 1))))


def _centred(b: Value, b_zero: Value | None, axis: int) -> Whole | None:
    """b - b_zero where both are constant bytes, a zero point per index of `axis` or one for all."""
    weights, zero = const_of(b), const_of(b_zero)
    if weights is None or weights.dtype not in (np.uint8, np.int8) or (b_zero is not None and zero is None):
        return None
    wide = weights.astype(np.int32)
    if zero is None or weights.ndim < 2:
        return wide if zero is None else None
    if zero.size == 1:
        return wide - zero.astype(np.int32).reshape(())
    return wide - zero.astype(np.int32).reshape([-1 if i == axis else 1 for i in range(weights.ndim)])


def _fits(centred: Whole) -> bool:
    return bool(centred.min(initial=0) >= -128 and centred.max(initial=0) <= 127)


def _sums(e: Expansion, centred: Whole, axis: int) -> Value:
    return e.const(centred.sum(axis, dtype=np.int64).astype(np.int32))


def _unsigned(e: Expansion, x: Value, zero: Value | None) -> tuple[Value, Value | None, int | None]:
    """x as uint8, its zero point as int32 (None: it is zero), and that as a number where it is one."""
    array = const_of(zero)
    known = 0 if zero is None else int(array.reshape(())) if array is not None and array.size == 1 else None
    wide = None if zero is None else e.cast(zero, DataType.INT32)
    if e.type(x).dtype == DataType.UINT8:
        return x, wide, known
    moved = e.op("Add", e.cast(x, DataType.UINT8), e.const(128, np.uint8))
    shift = e.const(128, np.int32)
    return moved, shift if wide is None else e.op("Add", wide, shift), None if known is None else known + 128
