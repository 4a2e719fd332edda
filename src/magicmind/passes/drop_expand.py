"""Drops an Expand whose readers would broadcast its input by themselves.

PyTorch's exporters write one in front of comparisons, quotients and sums (`expand_as`); it would be a pass over memory.
"""

from __future__ import annotations

import onnx_ir

from magicmind.errors import ShapeError
from magicmind.ir.scalar_ops import SCALAR_OPS
from magicmind.ir.types import Shape, shape_of
from magicmind.ops.shapes import MustEqual, broadcast
from magicmind.passes.edit import forward
from magicmind.passes.infra import Decline, Rewrite


class DropExpand(Rewrite[onnx_ir.Value]):
    """x / Expand(norm) becomes x / norm."""

    roots = frozenset({"Expand"})

    def match(self, node: onnx_ir.Node) -> onnx_ir.Value | Decline:
        source, result = node.inputs[0], node.outputs[0]
        small = shape_of(source) if source is not None else None
        if source is None or small is None or result.is_graph_output():
            return Decline("its result is an output, or its shape is not known")
        for use in result.uses():
            reader = use.node
            if reader.domain or reader.op_type not in SCALAR_OPS:
                return Decline(f"{reader.name} ({reader.op_type}) needs all elements")
            others = [v for v in reader.inputs if v is not None and v is not result]
            shapes = [shape_of(v) for v in others]
            whole = shape_of(reader.outputs[0])
            known = [s for s in shapes if s is not None]
            if whole is None or len(known) < len(shapes) or _broadcast([small, *known]) != whole:
                return Decline(f"the other operands of {reader.name} do not have the whole shape")
        return source

    def rewrite(self, node: onnx_ir.Node, found: onnx_ir.Value) -> None:
        forward(node, found)


def _broadcast(shapes: list[Shape]) -> Shape | None:
    """The shape of an elementwise result, None where sizes would have to be equal that are not known to be."""
    try:
        return broadcast(*shapes)
    except (ShapeError, MustEqual):
        return None
