"""Operands whose sizes only the data tells, and of which either may be 1: written as Expand to each other's shape.

Two such sizes that an elementwise operator meets are not the same number for certain: one of them may be 1 and repeat.
Expand decides that at run time; after it the sizes are equal, and the operator itself keeps its kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir

from magicmind.ir.dims import Dim
from magicmind.ops.elementwise import COMPARE, LOGIC, SAME_BINARY, VARIADIC
from magicmind.ops.shapes import either_may_be_one
from magicmind.passes.edit import graph_of

_OPERATORS = frozenset({*SAME_BINARY, *COMPARE, *LOGIC, *VARIADIC, "Where"}) - {"PRelu"}
_DONE = "magicmind.broadcast"
"""Marks a node whose operands are spelled out: what is left to differ is an error."""


def spell_broadcast(node: onnx_ir.Node | None, a: Dim, b: Dim) -> bool:
    """Expands all operands of an elementwise `node` that has to have `a` equal `b`, unless that was done before.

    Only where both sizes depend on data: a size of the user's inputs is never taken for a 1 that repeats.
    """
    if node is None or node.domain or node.op_type not in _OPERATORS or _DONE in node.metadata_props:
        return False
    if not either_may_be_one(a, b) or not isinstance(node.graph, onnx_ir.Graph):
        return False
    node.metadata_props[_DONE] = "1"
    operands = [value for value in node.inputs if value is not None]
    for i, value in enumerate(operands):
        others = [other for other in dict.fromkeys(operands) if other is not value]
        node.replace_input_with(i, _expanded(node, i, value, others))
    return True


def _expanded(node: onnx_ir.Node, operand: int, value: onnx_ir.Value, others: Sequence[onnx_ir.Value]) -> onnx_ir.Value:
    for i, other in enumerate(others):
        stem = f"{node.name}.operand{operand}.{i}"
        shape = onnx_ir.Node("", "Shape", [other], num_outputs=1, name=f"{stem}.shape")
        expand = onnx_ir.Node("", "Expand", [value, shape.outputs[0]], num_outputs=1, name=stem)
        shape.outputs[0].name, expand.outputs[0].name = shape.name, stem
        graph_of(node).insert_before(node, [shape, expand])
        value = expand.outputs[0]
    return value
