"""Moves transposes below elementwise operators where they meet another transpose, or set free a convolution.

Networks of channels-last frameworks come with a pair of transposes around pieces of arithmetic; once the first has
moved through these, the two merge. Behind a convolution or matrix product the arithmetic then is next to what it folds
into. Elsewhere a transpose stays: attention's, for instance, belongs to the product after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir

from magicmind.ir.scalar_ops import SCALAR_OPS
from magicmind.ir.types import TensorType, const_of, shape_of, type_of
from magicmind.passes.affine import LINEAR
from magicmind.passes.edit import add_constant, attribute, graph_of, insert_node, is_op, only_user, replace_node
from magicmind.passes.infra import Decline, Rewrite

_ELEMENTWISE = frozenset(SCALAR_OPS) | {"Sum", "Max", "Min"}
_FOLDED = ("Add", "Sub", "Mul", "Div")  # what a matrix product takes in


@dataclass(frozen=True)
class Sinking:
    """The order of the transposes over the operands, and those operands that are transposed (not constant)."""

    perm: list[int]
    transposes: tuple[onnx_ir.Node, ...]


class SinkTranspose(Rewrite[Sinking]):
    """Relu(Transpose(x)) becomes Transpose(Relu(x)) where a transpose follows or a convolution is before."""

    roots = _ELEMENTWISE

    def match(self, node: onnx_ir.Node) -> Sinking | Decline:
        if len(node.outputs) != 1:
            return Decline("more than one output")
        transposes, perm = [], None
        for value in node.inputs:
            if value is None or const_of(value) is not None:
                continue
            transpose = value.producer()
            if transpose is None or not is_op(transpose, "Transpose"):
                return Decline("an operand is not transposed")
            if any(use.node is not node for use in value.uses()) or value.is_graph_output():
                return Decline("the transposed operand is used elsewhere")
            order = attribute(transpose, "perm")
            if order is None or (perm is not None and list(order) != perm):
                return Decline("the operands are transposed differently")
            perm = list(order)
            transposes.append(transpose)
        if perm is None:
            return Decline("no operand is transposed")
        shape = shape_of(node.outputs[0])
        if shape is None or any(shape_of(t.outputs[0]) != shape for t in transposes):
            return Decline("an operand broadcasts the transposed one")
        if not _meets_transpose(node) and not all(_frees(node, t) for t in transposes):
            return Decline("no transpose follows, and no convolution or product is before")
        return Sinking(perm, tuple(dict.fromkeys(transposes)))

    def rewrite(self, node: onnx_ir.Node, found: Sinking) -> None:
        inputs = [_before(node, value, found) for value in node.inputs]
        outer = type_of(node.outputs[0])
        source = type_of(found.transposes[0].inputs[0]) if found.transposes[0].inputs[0] is not None else None
        assert outer is not None and source is not None
        attributes = {name: attr.value for name, attr in node.attributes.items()}
        inner = insert_node(
            node, node.op_type, inputs, attributes, name=node.name, types=[TensorType(outer.dtype, source.shape)]
        )
        first = found.transposes[0]
        perm = {"perm": found.perm}
        replace_node(node, "Transpose", [inner.outputs[0]], perm, name=first.name, fused=found.transposes)


def _before(node: onnx_ir.Node, value: onnx_ir.Value | None, found: Sinking) -> onnx_ir.Value | None:
    """The operand as it is before the transposes; constants are transposed back."""
    constant = None if value is None else const_of(value)
    if value is None or constant is None:
        producer = None if value is None else value.producer()
        return None if producer is None else producer.inputs[0]
    if constant.size == 1 and constant.ndim <= 1:
        return value
    full = constant.reshape((1,) * (len(found.perm) - constant.ndim) + constant.shape)
    back = np.transpose(full, np.argsort(found.perm))
    return add_constant(graph_of(node), np.ascontiguousarray(back), f"{value.name}.transposed")


def _meets_transpose(node: onnx_ir.Node) -> bool:
    """Whether elementwise operators on one path lead from `node` to a transpose."""
    after: onnx_ir.Node | None = node
    while after is not None and not after.domain and after.op_type in _ELEMENTWISE:
        if after is not node and sum(v is not None and const_of(v) is None for v in after.inputs) != 1:
            return False
        after = only_user(after.outputs[0])
    return after is not None and is_op(after, "Transpose")


def _frees(node: onnx_ir.Node, transpose: onnx_ir.Node) -> bool:
    """Whether the operator can become a part of what computes the transposed value."""
    source = transpose.inputs[0]
    before = source.producer() if source is not None else None
    if source is None or before is None or only_user(source) is None or not is_op(before, *LINEAR):
        return False
    return is_op(before, "Conv", "ConvTranspose") or (
        node.op_type in _FOLDED and any(v is not None and const_of(v) is not None for v in node.inputs)
    )
