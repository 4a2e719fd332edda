"""Merges transposes in a row, and turns those that move no data into reshapes."""

from __future__ import annotations

import onnx_ir

from magicmind.ir.types import Shape, shape_of
from magicmind.passes.edit import attribute, is_op, replace_node
from magicmind.passes.infra import Decline, Rewrite
from magicmind.passes.merge_reshapes import reshape_target, to_reshape


class MergeTransposes(Rewrite[tuple[onnx_ir.Node, list[int]]]):
    """Transpose(Transpose(x)) becomes one Transpose with the composed order."""

    roots = frozenset({"Transpose"})

    def match(self, node: onnx_ir.Node) -> tuple[onnx_ir.Node, list[int]] | Decline:
        first = node.inputs[0].producer() if node.inputs[0] is not None else None
        if first is None or not is_op(first, "Transpose"):
            return Decline("the input is no transpose")
        inner, outer = _perm(first), _perm(node)
        if inner is None or outer is None:
            return Decline("the rank is not known")
        return first, [inner[axis] for axis in outer]

    def rewrite(self, node: onnx_ir.Node, found: tuple[onnx_ir.Node, list[int]]) -> None:
        first, perm = found
        fused = [first] if len(first.outputs[0].uses()) == 1 else []
        replace_node(node, "Transpose", [first.inputs[0]], {"perm": perm}, fused=fused)


class TransposeToReshape(Rewrite[list[int]]):
    """A Transpose that only moves dims of size one becomes a Reshape, which costs nothing."""

    roots = frozenset({"Transpose"})

    def match(self, node: onnx_ir.Node) -> list[int] | Decline:
        source, perm = node.inputs[0], _perm(node)
        shape = shape_of(source) if source is not None else None
        if shape is None or perm is None:
            return Decline("the shape is not known")
        if perm == sorted(perm):
            return Decline("the order does not change")
        if not _keeps_order(shape, perm):
            return Decline("the transpose moves data")
        target = reshape_target(shape, shape_of(node.outputs[0]))
        return Decline("the target shape needs run-time values") if target is None else target

    def rewrite(self, node: onnx_ir.Node, found: list[int]) -> None:
        to_reshape(node, node.inputs[0], found, [])


def _keeps_order(shape: Shape, perm: list[int]) -> bool:
    large = [axis for axis in perm if shape[axis] != 1]
    return large == sorted(large)


def _perm(node: onnx_ir.Node) -> list[int] | None:
    perm = attribute(node, "perm")
    if perm is not None:
        return list(perm)
    shape = shape_of(node.outputs[0])
    return None if shape is None else list(range(len(shape)))[::-1]
