"""Nodes of products and normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.facade.nodes.row import Call, Emitter, Row, Value
from magicmind.facade.status import Refused


def _batch_norm(e: Emitter, c: Call) -> Value:
    x, axis = c["input"], c.setting("axis", int) % e.rank(c["input"])
    order = [0, axis, *(i for i in range(1, e.rank(x)) if i != axis)]
    moved = x if axis == 1 else e.op("Transpose", x, perm=order)
    operands = (c["scale"], c["offset"], c["mean"], c["variance"])
    found = e.op("BatchNormalization", moved, *operands, epsilon=c.setting("epsilon", float))
    return found if axis == 1 else e.op("Transpose", found, perm=[order.index(i) for i in range(len(order))])


def _layer_norm(e: Emitter, c: Call) -> Value:
    axis = -len(c.numbers("normalized_dims"))
    weight = c["weight"]
    if weight is None:
        weight = e.op("Expand", e.scalar(1.0, c["input"]), c.i64("normalized_dims"))
    return e.op("LayerNormalization", c["input"], weight, c["bias"], axis=axis, epsilon=float(c["eps"]))


def _group_norm(e: Emitter, c: Call) -> Value:
    """Weights are one for each channel, or 1; the channels are the second axis, or the one that is said."""
    axis, rank = c.number("axis", "axis"), e.rank(c["input"])
    order = [0, axis % rank, *(i for i in range(1, rank) if i != axis % rank)]
    x = c["input"] if axis % rank == 1 else e.op("Transpose", c["input"], perm=order)
    ones = e.op("Expand", e.scalar(1.0, x), e.dim(x, 1))
    scale = ones if c["weight"] is None else c["weight"]
    bias = e.op("Sub", ones, ones) if c["bias"] is None else c["bias"]
    eps = c["eps"] if c.settings["eps"] is None else c.settings["eps"]
    attributes: dict[str, Any] = {"num_groups": c.number("groups", "num_groups"), "epsilon": float(eps)}
    found = e.op("GroupNormalization", x, scale, bias, **attributes)
    return found if x is c["input"] else e.op("Transpose", found, perm=[order.index(i) for i in range(rank)])


def _scale(e: Emitter, c: Call) -> Value:
    """x * alpha + beta, both along the axes that begin at `axis`."""
    x, axis = c["input"], c.setting("axis", int) % e.rank(c["input"])

    def along(value: Value) -> Value:
        after = e.rank(x) - axis - e.rank(value)
        return e.unsqueeze(value, *range(e.rank(value), e.rank(value) + after)) if after > 0 else value

    found = e.op("Mul", x, along(c["alpha"]))
    return found if c["beta"] is None else e.op("Add", found, along(c["beta"]))


def _normalize(e: Emitter, c: Call) -> Value:
    """x by its length along the axes, or with `set_across_spatial` all but the batch; times a scale for each
    channel, or one for all. The length is the p-th root of the sum of the magnitudes' p-th powers (`set_p`, 2)."""
    x, p, least = c["input"], c.setting("p", float), e.scalar(c.setting("epsilon", float), c["input"])
    if not 0.0 < p < np.inf:
        raise Refused(f"set_p({p}): lengths are of a power above zero")
    axes = e.ints(*range(1, e.rank(x))) if c.setting("across_spatial", bool) else c.i64("axis")
    if p in (1.0, 2.0):
        total = e.op("ReduceL1" if p == 1.0 else "ReduceSumSquare", x, axes, keepdims=1)
    else:
        total = e.op("ReduceSum", e.op("Pow", e.op("Abs", x), e.scalar(p, x)), axes, keepdims=1)
    length = e.op("Max", total, least)
    if p != 1.0:
        length = e.op("Sqrt", length) if p == 2.0 else e.op("Pow", length, e.scalar(1.0 / p, x))
    found = e.op("Div", x, length)
    if c["scale"] is None:
        return found
    after = e.rank(c["input"]) - 1 - e.rank(c["scale"])
    return e.op("Mul", found, e.unsqueeze(c["scale"], *range(1, 1 + after)) if e.rank(c["scale"]) else c["scale"])


def _prelu(e: Emitter, c: Call) -> Value:
    slope, after = c["slope"], e.rank(c["input"]) - 2
    wide = e.rank(slope) == 1 and after > 0 and e.shape(slope)[0] != 1
    return e.op("PRelu", c["input"], e.unsqueeze(slope, *range(1, 1 + after)) if wide else slope)


def _lrn(e: Emitter, c: Call) -> Value:
    return e.op(
        "LRN", c["input"], size=c.setting("local_size", int), alpha=c.setting("alpha", float),
        beta=c.setting("beta", float), bias=c.setting("k", float),
    )  # fmt: skip


def _cosine(e: Emitter, c: Call) -> Value:
    """Along an axis, the second unless another is said."""
    axis = e.ints(1) if c["axis"] is None else c.i64("axis")
    dot = e.op("ReduceSum", e.op("Mul", c["a"], c["b"]), axis, keepdims=0)
    lengths = [e.op("ReduceL2", c[n], axis, keepdims=0) for n in ("a", "b")]
    return e.op("Div", dot, e.op("Max", e.op("Mul", *lengths), e.scalar(c.setting("epsilon", float), dot)))


def _matmul(e: Emitter, c: Call) -> Value:
    """scalar_ab * a b + scalar_c * bias"""
    found = e.op("MatMul", *(_turned(e, c[n], c.setting(f"trans_{n}", bool)) for n in ("a", "b")))
    found = _times(e, found, c.setting("scalar_ab", float))
    return found if c["bias"] is None else e.op("Add", found, _times(e, c["bias"], c.setting("scalar_c", float)))


def _times(e: Emitter, value: Value, factor: float) -> Value:
    return value if factor == 1.0 else e.op("Mul", value, e.scalar(factor, value))


def _turned(e: Emitter, value: Value, turn: bool) -> Value:
    rank = e.rank(value)
    return e.op("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2]) if turn else value


def _inner_product(e: Emitter, c: Call) -> Value:
    """a [..., K...], whose axes from `set_axis` on are one, times b [K, M]; with `set_trans_b` b is [M, K]."""
    a = e.op("Flatten", c["a"], axis=c.setting("axis", int)) if e.rank(c["a"]) > 2 else c["a"]
    found = e.op("MatMul", a, _turned(e, c["b"], c.setting("trans_b", bool)))
    return found if c["bias"] is None else e.op("Add", found, c["bias"])


ROWS: Sequence[Row] = (
    Row("mat_mul", "a b bias?", _matmul, {"trans_a": False, "trans_b": False, "scalar_ab": 1.0, "scalar_c": 1.0}),
    Row("inner_product", "a b bias?", _inner_product, {"axis": 1, "trans_b": False}),
    Row("lrn", "input", _lrn, {"local_size": 5, "alpha": 1e-4, "beta": 0.75, "k": 1.0}),
    Row("fused_batch_norm", "input mean variance scale offset", _batch_norm, {"epsilon": 1e-5, "axis": 1}),
    Row("layer_norm", "input weight? bias? .normalized_dims .eps", _layer_norm),
    Row("group_norm", "input weight? bias? .groups .eps .axis", _group_norm, {
        "num_groups": None, "eps": None, "axis": None,
    }),
    Row("scale", "input alpha beta?", _scale, {"axis": 1}),
    Row("normalize", "input .axis scale?", _normalize, {
        "epsilon": 1e-10, "p": 2.0, "across_spatial": False, "channel_shared": False,
    }),
    Row("prelu", "input slope", _prelu),
    Row("cosine_similarity", "a b .axis?", _cosine, {"epsilon": 1e-8}),
)  # fmt: skip
