"""ONNX Attention (opset 23 and later) as magicmind.Attention where that can do what is asked, else by its definition.

Left to the definition: other types than float32, soft caps, windows, lengths per batch, the scores as an output, and
masks shorter than the keys.
"""

from __future__ import annotations

import math

from onnx_ir import DataType

from magicmind.ir.dims import Dim
from magicmind.ir.types import type_of
from magicmind.ops.attention import FROM_FIRST, NO_MASK, TO_LAST
from magicmind.ops.expansion import Expansion, Value, inline_body
from magicmind.ops.registry import Op

_NOT_OURS = {"softcap": 0.0, "left_window_size": -1, "right_window_size": -1, "softmax_precision": int(DataType.FLOAT)}
"""Attributes that have to be absent or to have this value."""


@Op("Attention").expand
def expand_attention(e: Expansion) -> list[Value]:
    """Q, K, V, mask, past key, past value, valid keys per batch -> Y, present key, present value, scores."""
    return _own(e) or inline_body(e)


def _own(e: Expansion) -> list[Value] | None:
    values = [e.view.value(i) for i in range(6)]
    types = [None if value is None else type_of(value) for value in values]
    if any(v is not None and (t is None or t.shape is None) for v, t in zip(values, types, strict=True)):
        return None
    if any(t is None or t.dtype != DataType.FLOAT or t.rank not in (3, 4) for t in types[:3]):
        return None
    if any(e.view.attr(name, value) != value for name, value in _NOT_OURS.items()):
        return None
    if len(e.node.outputs) > 3 or e.has(6) or e.has(4) != e.has(5):
        return None
    return _attend(e)


def _attend(e: Expansion) -> list[Value] | None:
    q, k, v = (_with_heads(e, i) for i in range(3))
    layouts = ["bshd" if e.rank(e.input(i)) == 3 else "bhsd" for i in range(3)]
    queries, fresh = (e.shape(x)[layout.index("s")] for x, layout in zip((q, k), layouts, strict=False))
    columns = e.shape(q)[3]
    causal = FROM_FIRST if e.view.attr("is_causal", 0) else NO_MASK
    if len(e.node.outputs) > 1 or e.has(4):
        k, v = (_in_order(e, x, layout) for x, layout in zip((k, v), layouts[1:], strict=True))
        layouts[1:] = ["bhsd", "bhsd"]
    if e.has(4):
        k, v = e.op("Concat", e.input(4), k, axis=2), e.op("Concat", e.input(5), v, axis=2)
        if causal and queries != fresh:
            return None
        causal = TO_LAST if causal else NO_MASK
    sizes = dict(zip(layouts[0], e.shape(q), strict=True))
    scores = (sizes["b"], sizes["h"], sizes["s"], e.shape(k)[layouts[1].index("s")])
    mask = e.input(3) if e.has(3) else None
    if mask is not None and not _fits(e, mask, scores):
        return None
    scale = e.view.attr("scale", 0.0) or (1 / math.sqrt(columns) if isinstance(columns, int) and columns else 0.0)
    if not scale:
        return None
    y = e.op(
        "Attention", q, k, v, mask, domain="magicmind", layouts=[*layouts, layouts[0]], scale=scale,
        causal=causal or None, zero_masked=1,
    )  # fmt: skip
    if layouts[0] == "bshd":
        y = e.op("Reshape", y, e.ints(0, 0, -1))
    return [y, k, v][: len(e.node.outputs)]


def _with_heads(e: Expansion, i: int) -> Value:
    """Operand `i` with an axis of heads of its own; it lies as it did."""
    x = e.input(i)
    if e.rank(x) == 4:
        return x
    heads = e.view.attr("q_num_heads" if i == 0 else "kv_num_heads", 0)
    width = e.shape(x)[2]
    return e.op("Reshape", x, e.ints(0, 0, heads, width // heads if isinstance(width, int) else -1))


def _in_order(e: Expansion, x: Value, layout: str) -> Value:
    """[batch, heads, length, columns], as keys and values are handed on."""
    return x if layout == "bhsd" else e.op("Transpose", x, perm=[0, 2, 1, 3])


def _fits(e: Expansion, mask: Value, scores: tuple[Dim, ...]) -> bool:
    """Whether a mask has a type of ours, one number for every key, and broadcasts as far as is known now."""
    found = e.type(mask)
    if found.dtype not in (DataType.FLOAT, DataType.BOOL) or not 1 <= found.rank <= 4 or found.dims[-1] != scores[-1]:
        return False
    return all(m in (1, n) for m, n in zip(found.dims[::-1], scores[::-1], strict=False))
