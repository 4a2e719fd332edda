"""Merges arithmetic by constants in a row: the pieces of a batch normalisation spelled out.

Two factors become one, two summands become one. An offset before a scale, (x - mean) * factor, changes places with it
only behind a matrix product, whose weights take the scale and whose bias the offset: elsewhere it would cost accuracy
where the mean is large, and gain nothing. Constants are computed in float64 and rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir

from magicmind.ir.types import shape_of, type_of
from magicmind.passes.affine import Array, linear_of
from magicmind.passes.edit import add_constant, graph_of, insert_node, only_user, replace_node
from magicmind.passes.fold_scale import ARITHMETIC, affine_of, constant_operand
from magicmind.passes.infra import Decline, Rewrite


@dataclass(frozen=True)
class Chain:
    """`x * scale + offset` in the place of the node and `first`; a part that is None is not there."""

    first: onnx_ir.Node
    x: onnx_ir.Value
    scale: Array | None
    offset: Array | None


class MergeAffine(Rewrite[Chain]):
    """(x * a) * b becomes x * ab, (x + a) + b one sum, and MatMul - mean * factor a product and a sum."""

    roots = ARITHMETIC

    def match(self, node: onnx_ir.Node) -> Chain | Decline:
        outer = constant_operand(node)
        if isinstance(outer, Decline):
            return outer
        middle, b, b_first = outer
        first = middle.producer()
        if first is None or first.domain or first.op_type not in ARITHMETIC:
            return Decline("the operand is no arithmetic")
        if only_user(middle) is None:
            return Decline("the value between is used elsewhere")
        inner = constant_operand(first)
        if isinstance(inner, Decline):
            return inner
        x, a, a_first = inner
        if not shape_of(x) == shape_of(middle) == shape_of(node.outputs[0]):
            return Decline("a constant broadcasts the value")
        if first.op_type in ("Mul", "Div") and (node.op_type == "Add" or (node.op_type == "Sub" and not b_first)):
            return Decline("a scale and an offset: in order already")
        negated = (node.op_type == "Sub" and b_first) or (first.op_type == "Sub" and a_first)
        mixed = negated or (node.op_type in ("Mul", "Div")) != (first.op_type in ("Mul", "Div"))
        if mixed and isinstance(linear_of(x, offset=False), Decline):
            return Decline("an offset and a scale behind no matrix product or convolution")
        inner_affine = affine_of(first.op_type, a.astype(np.float64), a_first)
        outer_affine = affine_of(node.op_type, b.astype(np.float64), b_first)
        return _composed(first, x, inner_affine, outer_affine)

    def rewrite(self, node: onnx_ir.Node, found: Chain) -> None:
        graph, type_ = graph_of(node), type_of(node.outputs[0])
        assert type_ is not None
        kind = type_.dtype.numpy()
        x = found.x
        if found.scale is not None:
            scale = add_constant(graph, found.scale.astype(kind), f"{node.name}.scale")
            if found.offset is None:
                replace_node(node, "Mul", [x, scale], fused=[found.first])
                return
            x = insert_node(node, "Mul", [x, scale], name=found.first.name, types=[type_]).outputs[0]
        assert found.offset is not None
        offset = add_constant(graph, found.offset.astype(kind), f"{node.name}.offset")
        replace_node(node, "Add", [x, offset], fused=[found.first])


def _composed(
    first: onnx_ir.Node, x: onnx_ir.Value, inner: tuple[Array, Array | None], outer: tuple[Array, Array | None]
) -> Chain | Decline:
    """outer(inner(x)), where its constants stay as small as those before."""
    (s1, o1), (s2, o2) = inner, outer
    scale = s1 * s2
    terms = [t for t in (None if o1 is None else o1 * s2, o2) if t is not None]
    offset = sum(terms[1:], start=terms[0]) if terms else None
    largest = max(a.size for a in (s1, s2))
    if any(a is not None and a.size > largest for a in (scale, offset)):
        return Decline("the constants vary along different axes")
    unit = bool((scale == 1).all())
    return Chain(first, x, None if unit and offset is not None else scale, offset)
