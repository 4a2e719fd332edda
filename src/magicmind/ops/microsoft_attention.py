"""onnxruntime's attention operators (domain com.microsoft) as matrix products and a softmax.

Attention (projections within), MultiHeadAttention, and the masks they know: lengths, one per key, one per query and
key, causal.
"""

from __future__ import annotations

import math

import numpy as np
from onnx_ir import DataType

from magicmind.errors import UnsupportedOperatorError
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.quantise import MICROSOFT
from magicmind.ops.registry import Op

_MASKED = -10000.0
"""What onnxruntime adds to a masked score where `mask_filter_value` is not given."""


def split_heads(e: Expansion, x: Value, heads: int) -> Value:
    """[batch, length, heads * size] -> [batch, heads, length, size]."""
    parts = e.op("Reshape", x, e.ints(0, 0, heads, -1))
    return e.op("Transpose", parts, perm=[0, 2, 1, 3])


def join_heads(e: Expansion, x: Value) -> Value:
    """[batch, heads, length, size] -> [batch, length, heads * size]."""
    return e.op("Reshape", e.op("Transpose", x, perm=[0, 2, 1, 3]), e.ints(0, 0, -1))


def _scores(e: Expansion, q: Value, k: Value) -> Value:
    """q k^T times the scale (one over the root of the head size unless given)."""
    size = e.shape(q)[-1]
    scale = float(e.view.attr("scale", 0.0))
    if not scale:
        if not isinstance(size, int):
            raise UnsupportedOperatorError("the size of a head is not known; give the attribute 'scale'")
        scale = 1.0 / math.sqrt(size)
    products = e.op("MatMul", q, e.op("Transpose", k, perm=[0, 1, 3, 2]))
    return e.op("Mul", products, e.scalar(scale, products))


def _filter(e: Expansion, keep: Value, scores: Value) -> Value:
    """0 where `keep`, else the mask's value."""
    value = float(e.view.attr("mask_filter_value", _MASKED))
    return e.op("Where", keep, e.scalar(0.0, scores), e.scalar(value, scores))


def key_mask(e: Expansion, mask: Value, scores: Value) -> Value:
    """The mask as a tensor that is added to [batch, heads, queries, keys].

    [batch]: lengths. [batch, keys], [batch, queries, keys], [batch, 1, queries, keys]: 1 keeps a key.
    """
    rank = e.rank(mask)
    if rank == 1:
        if e.shape(mask) != (e.shape(scores)[0],):
            raise UnsupportedOperatorError("a mask of starts and ends is not supported")
        places = e.op("Cast", e.count_up(e.dim(scores, 3)), to=int(DataType.INT32))
        keep = e.op("Less", e.unsqueeze(places, 0, 1, 2), e.unsqueeze(e.cast(mask, DataType.INT32), 1, 2, 3))
        return _filter(e, keep, scores)
    keep = e.op("Not", e.op("Equal", mask, e.scalar(0, mask)))
    axes = {2: (1, 2), 3: (1,), 4: ()}[rank]
    return _filter(e, e.unsqueeze(keep, *axes), scores)


def _causal(e: Expansion, scores: Value) -> Value:
    """-inf where a key lies after its query; the last query sees all keys."""
    queries, keys = e.dim(scores, 2), e.dim(scores, 3)
    first = e.squeeze(e.op("Sub", keys, queries), 0)
    rows = e.op("Add", e.unsqueeze(e.count_up(queries), 1), first)
    later = e.op("Less", rows, e.unsqueeze(e.count_up(keys), 0))
    return e.op("Where", later, e.scalar(-np.inf, scores), e.scalar(0.0, scores))


def _attend(e: Expansion, q: Value, k: Value, v: Value, mask: Value | None, bias: Value | None) -> Value:
    """softmax(scaled scores + bias + masks) v, heads joined."""
    scores = _scores(e, q, k)
    if bias is not None:
        scores = e.op("Add", scores, bias)
    if mask is not None:
        scores = e.op("Add", scores, key_mask(e, mask, scores))
    if e.view.attr("unidirectional", 0):
        scores = e.op("Add", scores, _causal(e, scores))
    return join_heads(e, e.op("MatMul", e.op("Softmax", scores, axis=-1), v))


@Op("Attention", MICROSOFT).expand
def expand_attention(e: Expansion) -> list[Value]:
    """input, weights [in, 3 * hidden], bias, mask, past [2, batch, heads, length, size], bias of the scores."""
    if e.view.attr("do_rotary", 0) or e.has(6):
        raise UnsupportedOperatorError("rotary embedding and a shared past are not supported")
    heads = e.view.attr("num_heads", 0)
    projected = e.op("MatMul", e.input(0), e.input(1))
    if e.has(2):
        projected = e.op("Add", projected, e.input(2))
    sizes = e.view.ints_attr("qkv_hidden_sizes")
    if not sizes:
        whole = e.shape(projected)[-1]
        if not isinstance(whole, int):
            raise UnsupportedOperatorError("the width of the weights is not known")
        sizes = [whole // 3] * 3
    parts = e.ops("Split", projected, e.ints(*sizes), count=3, axis=-1)
    q, k, v = (split_heads(e, part, heads) for part in parts)
    if e.has(4):
        past = e.ops("Split", e.input(4), e.ints(1, 1), count=2, axis=0)
        k, v = (e.op("Concat", e.squeeze(p, 0), x, axis=2) for p, x in zip(past, (k, v), strict=True))
    mask = e.input(3) if e.has(3) else None
    results = [_attend(e, q, k, v, mask, e.input(5) if e.has(5) else None)]
    if len(e.node.outputs) > 1:
        results.append(e.op("Concat", e.unsqueeze(k, 0), e.unsqueeze(v, 0), axis=0))
    return results


@Op("MultiHeadAttention", MICROSOFT).expand
def expand_multi_head(e: Expansion) -> list[Value]:
    """query, key, value, bias [3 * hidden], key mask, bias of the scores, past key, past value.

    key and value may come split into heads (rank 4) already.
    """
    heads = e.view.attr("num_heads", 0)
    if not e.has(1) or not e.has(2):
        raise UnsupportedOperatorError("packed queries, keys and values are not supported")
    values = [e.input(i) for i in range(3)]
    if e.has(3):
        widths = [e.shape(x)[-1] if e.rank(x) == 3 else e.shape(values[0])[-1] for x in values]
        if not all(isinstance(w, int) for w in widths):
            raise UnsupportedOperatorError("the widths of query, key and value have to be known")
        biases = e.ops("Split", e.input(3), e.ints(*(w for w in widths if isinstance(w, int))), count=3, axis=0)
        values = [e.op("Add", x, b) if e.rank(x) == 3 else x for x, b in zip(values, biases, strict=True)]
    q, k, v = (split_heads(e, x, heads) if e.rank(x) == 3 else x for x in values)
    if e.has(6) and e.has(7):
        k, v = e.op("Concat", e.input(6), k, axis=2), e.op("Concat", e.input(7), v, axis=2)
    mask, bias = (e.input(i) if e.has(i) else None for i in (4, 5))
    return [_attend(e, q, k, v, mask, bias), k, v][: len(e.node.outputs)]
