"""Attention as exporters spell it, softmax(q k^T * scale + mask) v, becomes one operator.

The scale may stand before or after the product, on q, on k or on both; masks are added or chosen by Where; transposes
and slices around the products become the order in which the operator reads and writes memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
import onnx_ir

from magicmind.ir.types import Shape, TensorType, const_of, dtype_of, shape_of
from magicmind.passes.edit import (
    DOMAIN,
    AttributeValue,
    add_constant,
    attribute,
    graph_of,
    insert_node,
    is_op,
    only_user,
    replace_node,
)
from magicmind.passes.infra import Decline, Rewrite
from magicmind.passes.views import Source, only_number, trace

_NEVER = -1e30
"""An added number so low that it hides a key, as long as another one is seen."""


@dataclass
class _Attention:
    """What was found; `covered` are the nodes the operator replaces, the last one is `last`."""

    last: onnx_ir.Node
    q: Source
    k: Source
    v: Source
    layout: str
    scale: float
    scores: Shape
    added: list[onnx_ir.Value] = field(default_factory=list)
    keep: onnx_ir.Value | None = None
    hides: bool = False  # `keep` is true where a key is hidden
    fill: float = -inf
    zero_masked: bool = False
    covered: list[onnx_ir.Node] = field(default_factory=list)


class FuseAttention(Rewrite[_Attention]):
    """softmax(q k^T * scale + mask) v becomes magicmind.Attention."""

    roots = frozenset({"Softmax"})

    def match(self, node: onnx_ir.Node) -> _Attention | Decline:
        scores, result = node.inputs[0], node.outputs[0]
        shape = shape_of(scores) if scores is not None else None
        if scores is None or shape is None or len(shape) not in (3, 4):
            return Decline("the scores are no tensor of rank 3 or 4")
        if dtype_of(scores) != onnx_ir.DataType.FLOAT:
            return Decline("the scores are not float32")
        if attribute(node, "axis", -1) not in (-1, len(shape) - 1):
            return Decline("the softmax is not along the last axis")
        before = _scores_before(scores, shape)
        if isinstance(before, Decline):
            return before
        before.covered.append(node)
        return self._with_values(before, result)

    def _with_values(self, found: _Attention, weights: onnx_ir.Value) -> _Attention | Decline:
        """Adds what follows the softmax: zeros for NaN, the product with v, a transpose."""
        guarded = _guard(weights)
        if guarded is not None:
            found.zero_masked = True
            found.covered += guarded
            weights = guarded[-1].outputs[0]
        product = only_user(weights)
        if product is None or not is_op(product, "MatMul") or product.inputs[0] is not weights:
            return Decline("the weights are not multiplied with values alone")
        v, rank = product.inputs[1], len(found.scores)
        letters = "bhsd"[4 - rank :]
        if v is None or v is weights or len(shape_of(v) or ()) != rank:
            return Decline("the values have another rank than the scores")
        found.v = trace(v, letters, heads=_heads(found.scores))
        found.last, found.layout = product, letters
        turned = only_user(product.outputs[0])
        perm = attribute(turned, "perm") if is_op(turned, "Transpose") and turned is not None else None
        if turned is not None and perm is not None and perm[-1] == rank - 1:
            found.covered.append(product)
            found.last, found.layout = turned, "".join(letters[axis] for axis in perm)
        return _reason_against(found) or found

    def rewrite(self, node: onnx_ir.Node, found: _Attention) -> None:
        mask, causal = _mask(found)
        sources = [found.q, found.k, found.v]
        values = [source.emit(found.last) for source in sources]
        attributes: dict[str, AttributeValue | None] = {
            "layouts": [*(source.layout for source in sources), found.layout],
            "scale": found.scale,
            "causal": causal or None,
            "fill": found.fill if mask is not None and dtype_of(mask) == onnx_ir.DataType.BOOL else None,
            "zero_masked": 1 if found.zero_masked else None,
        }
        name = found.covered[0].name
        replace_node(
            found.last, "Attention", [*values, mask], attributes, domain=DOMAIN, name=name, fused=found.covered
        )


def _heads(scores: Shape) -> Shape:
    """Batch and heads."""
    return (1, *scores)[-4:-2]


def _scores_before(scores: onnx_ir.Value, shape: Shape) -> _Attention | Decline:
    """Walks from the softmax up to the product of queries and keys."""
    placeholder = Source(scores, "")
    found = _Attention(None, placeholder, placeholder, placeholder, "", 1.0, shape)  # type: ignore[arg-type]
    value, scaled = scores, False
    for _ in range(8):  # a few masks and scales; no network has more
        node = value.producer()
        if node is None or only_user(value) is None:
            return Decline("the scores are used elsewhere, or are no product")
        found.covered.insert(0, node)
        if is_op(node, "MatMul"):
            return _with_product(found, node)
        factor = only_number(node)
        if factor is not None:
            value, number = factor
            found.scale, scaled = found.scale * number, True
            continue
        if scaled:
            return Decline("a mask stands before the scale")
        step = _masked(node, found)
        if isinstance(step, Decline):
            return step
        value = step
    return Decline("too many steps between product and softmax")


def _masked(node: onnx_ir.Node, found: _Attention) -> onnx_ir.Value | Decline:
    """Notes the mask of an Add or a Where; the scores it is applied to."""
    if is_op(node, "Add"):
        if found.keep is not None and found.fill > _NEVER:
            return Decline("the number chosen for hidden keys is not so low that it could be added to the mask before")
        for x, mask in (node.inputs, node.inputs[::-1]):
            if x is not None and mask is not None and _leads_to_product(x, found.scores):
                if not _fits(mask, found.scores):
                    return Decline("the mask is not one number per key")
                found.added.append(mask)
                return x
    if is_op(node, "Where") and found.keep is None and not found.added:
        keep, a, b = node.inputs
        for x, other, hides in ((a, b, False), (b, a, True)):
            number = None if other is None else const_of(other)
            if x is None or keep is None or number is None or number.size != 1:
                continue
            if _leads_to_product(x, found.scores) and _fits(keep, found.scores):
                found.keep, found.hides, found.fill = keep, hides, float(number.reshape(()))
                return x
    return Decline(f"{node.op_type} between product and softmax is no scale or mask")


def _leads_to_product(value: onnx_ir.Value, scores: Shape) -> bool:
    """Whether a value of the scores' shape comes from a product through scales and masks."""
    for _ in range(8):
        node = value.producer()
        if node is None or shape_of(value) != scores:
            return False
        if is_op(node, "MatMul"):
            return True
        same = [x for x in node.inputs if x is not None and shape_of(x) == scores]
        if not is_op(node, "Add", "Mul", "Div", "Where") or not same:
            return False
        value = same[0]
    return False


def _fits(mask: onnx_ir.Value, scores: Shape) -> bool:
    """Whether a mask has a number per key and does not widen the scores."""
    shape = shape_of(mask)
    if shape is None or not 1 <= len(shape) <= len(scores) or shape[-1] != scores[-1]:
        return False
    return all(m in (1, n) for m, n in zip(shape[::-1], scores[::-1], strict=False))


def _with_product(found: _Attention, product: onnx_ir.Node) -> _Attention | Decline:
    q, k = product.inputs
    rank = len(found.scores)
    if q is None or k is None or len(shape_of(q) or ()) != rank or len(shape_of(k) or ()) != rank:
        return Decline("queries or keys have another rank than the scores")
    found.q = trace(q, "bhsd"[4 - rank :], heads=_heads(found.scores), contiguous=True, scales=True)
    found.k = trace(k, "bhds"[4 - rank :], heads=_heads(found.scores), scales=True)
    found.scale *= found.q.scale * found.k.scale
    return found


def _reason_against(found: _Attention) -> Decline | None:
    q_shape, scores = found.q.shape, found.scores
    if q_shape is None or found.k.shape is None or found.v.shape is None:
        return Decline("a shape is not known")
    if found.q.layout[-1] != "d":
        return Decline("the columns of the queries are not contiguous")
    if any(source.size("b") not in (1, scores[0]) for source in (found.k, found.v) if len(scores) == 4):
        return Decline("keys or values are broadcast in another way")
    if (1, *scores)[-4:-2] != (found.q.size("b"), found.q.size("h")):
        return Decline("queries are broadcast")
    if q_shape[-1] != found.k.size("d") or found.k.size("s") != found.v.size("s"):
        return Decline("columns of queries and keys, or positions of keys and values, are not known to be equal")
    if found.k.size("h") != found.v.size("h"):
        return Decline("keys and values have different heads")
    return None


def _guard(weights: onnx_ir.Value) -> list[onnx_ir.Node] | None:
    """Where(IsNaN(w), 0, w): rows without a visible key become zeros."""
    users = {use.node.op_type: use.node for use in weights.uses()}
    if set(users) != {"IsNaN", "Where"} or len(weights.uses()) != 2 or weights.is_graph_output():
        return None
    test, choice = users["IsNaN"], users["Where"]
    zero = const_of(choice.inputs[1]) if choice.inputs[1] is not None else None
    fits = choice.inputs[0] is test.outputs[0] and choice.inputs[2] is weights and only_user(test.outputs[0]) is choice
    return [test, choice] if fits and zero is not None and zero.size == 1 and float(zero.reshape(())) == 0 else None


def _mask(found: _Attention) -> tuple[onnx_ir.Value | None, int]:
    """The mask as one input, and whether it is causal (then there is no input)."""
    graph, last = graph_of(found.last), found.last
    if found.keep is not None and not found.added:
        constant = const_of(found.keep)
        if constant is not None:
            kept = ~constant if found.hides else constant
            causal = _causal(kept) if found.fill <= _NEVER else 0
            if causal:
                return None, causal
            return (add_constant(graph, kept, f"{found.keep.name}.keep") if found.hides else found.keep), 0
        if not found.hides:
            return found.keep, 0
        kind = TensorType(onnx_ir.DataType.BOOL, shape_of(found.keep))
        return insert_node(last, "Not", [found.keep], name=f"{last.name}.keep", types=[kind]).outputs[0], 0
    if len(found.added) == 1 and found.keep is None:
        constant = const_of(found.added[0])
        if constant is not None and ((constant == 0) | (constant <= _NEVER)).all():
            causal = _causal(constant == 0)
            if causal:
                return None, causal
    total: onnx_ir.Value | None = None
    for mask in found.added:
        total = mask if total is None else _joined(last, "Add", [total, mask])
    if total is not None and found.keep is not None:
        fill = add_constant(graph, np.array(found.fill, np.float32), f"{found.keep.name}.fill")
        total = _joined(last, "Where", [found.keep, fill, total] if found.hides else [found.keep, total, fill])
    return total, 0


def _joined(before: onnx_ir.Node, op_type: str, masks: Sequence[onnx_ir.Value]) -> onnx_ir.Value:
    """One mask of several, each of which fits the scores."""
    shapes = [shape_of(mask) or () for mask in masks]
    rank = max(map(len, shapes))
    sizes = zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True)
    kind = TensorType(onnx_ir.DataType.FLOAT, tuple(next((d for d in axis if d != 1), 1) for axis in sizes))
    return insert_node(before, op_type, masks, name=f"{before.name}.mask", types=[kind]).outputs[0]


def _causal(keep: np.ndarray) -> int:
    """1 or 2, as the operator's attribute, where a constant mask hides exactly the keys after each query; else 0."""
    if keep.ndim < 2 or keep.size != keep.shape[-1] * keep.shape[-2]:
        return 0
    queries, keys = keep.shape[-2:]
    square = keep.reshape(queries, keys).astype(bool)
    if queries < 2 or keys < queries:
        return 0
    for causal, shift in ((1, 0), (2, keys - queries)):
        if (square == np.tri(queries, keys, shift, dtype=bool)).all():
            return causal
    return 0
