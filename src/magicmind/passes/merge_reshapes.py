"""Merges a chain of operators that only regroup dims into one Reshape."""

from __future__ import annotations

import numpy as np
import onnx_ir

from magicmind.ir.types import Shape, shape_of
from magicmind.passes.edit import add_constant, graph_of, is_op, replace_node
from magicmind.passes.infra import Decline, Rewrite

RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


class MergeReshapes(Rewrite[tuple[onnx_ir.Node, list[int]]]):
    """Reshape(Reshape(x)) becomes Reshape(x), likewise Flatten, Squeeze and Unsqueeze."""

    roots = frozenset(RESHAPES)

    def match(self, node: onnx_ir.Node) -> tuple[onnx_ir.Node, list[int]] | Decline:
        source = node.inputs[0]
        first = source.producer() if source is not None else None
        if first is None or not is_op(first, *RESHAPES) or first.inputs[0] is None:
            return Decline("the input is no reshape")
        target = reshape_target(shape_of(first.inputs[0]), shape_of(node.outputs[0]))
        if target is None:
            return Decline("the target shape needs run-time values")
        return first, target

    def rewrite(self, node: onnx_ir.Node, found: tuple[onnx_ir.Node, list[int]]) -> None:
        first, target = found
        fused = [first] if len(first.outputs[0].uses()) == 1 else []
        to_reshape(node, first.inputs[0], target, fused)


def to_reshape(node: onnx_ir.Node, source: onnx_ir.Value | None, target: list[int], fused: list[onnx_ir.Node]) -> None:
    """Replaces `node` by a Reshape of `source` to the constant `target`."""
    shape = add_constant(graph_of(node), np.array(target, np.int64), f"{node.name}.shape")
    replace_node(node, "Reshape", [source, shape], fused=fused)


def reshape_target(before: Shape | None, after: Shape | None) -> list[int] | None:
    """The constant second input of the Reshape between the shapes, with 0 (copy) and one -1; None if there is none."""
    if before is None or after is None or 0 in after:
        return None
    target = [
        dim if isinstance(dim, int) else 0 if i < len(before) and before[i] == dim else -1
        for i, dim in enumerate(after)
    ]
    return target if target.count(-1) <= 1 else None
