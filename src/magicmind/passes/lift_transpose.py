"""Transpose(Reshape(Transpose(x))) becomes one transpose and one reshape where the reshape only joins or splits axes
that the second transpose keeps together.

Squeeze, Unsqueeze and Flatten between transposes are such reshapes. A channel shuffle is none: its transpose moves the
halves of a split axis apart, and it stays as it is, one copy.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir

from magicmind.ir.dims import Dim, evaluate, product, symbols_of
from magicmind.ir.types import Shape, TensorType, shape_of, type_of
from magicmind.passes.edit import attribute, insert_node, is_op, only_user
from magicmind.passes.infra import Decline, Rewrite
from magicmind.passes.merge_reshapes import RESHAPES, reshape_target, to_reshape

Groups = list[tuple[list[int], list[int]]]
"""Runs of axes before a reshape, and the runs they become."""


@dataclass(frozen=True)
class Lifted:
    """`x` transposed by `perm` has this type; reshaped to `target` it is the result."""

    nodes: tuple[onnx_ir.Node, ...]
    x: onnx_ir.Value
    perm: list[int]
    between: TensorType
    target: list[int]


class LiftTranspose(Rewrite[Lifted]):
    """A transpose moves in front of a reshape, to the transpose there."""

    roots = frozenset({"Transpose"})

    def match(self, node: onnx_ir.Node) -> Lifted | Decline:
        reshape = node.inputs[0].producer() if node.inputs[0] is not None else None
        if reshape is None or not is_op(reshape, *RESHAPES) or reshape.inputs[0] is None:
            return Decline("the input is no reshape")
        first = reshape.inputs[0].producer()
        if first is None or not is_op(first, "Transpose") or first.inputs[0] is None:
            return Decline("no transpose is before the reshape")
        if only_user(reshape.outputs[0]) is None or only_user(first.outputs[0]) is None:
            return Decline("a value on the way is used elsewhere")
        inner, outer = attribute(first, "perm"), attribute(node, "perm")
        before, after = shape_of(reshape.inputs[0]), shape_of(reshape.outputs[0])
        source = type_of(first.inputs[0])
        if inner is None or outer is None or before is None or after is None or source is None or source.shape is None:
            return Decline("an order or a shape is not known")
        groups = regrouped(before, after)
        if groups is None or 0 in before:
            return Decline("the reshape does not join and split whole axes")
        order = _permuted(groups, list(outer), len(before))
        if order is None:
            return Decline("the second transpose takes apart what the reshape made of one axis")
        perm = [inner[axis] for axis in order]
        between = TensorType(source.dtype, tuple(source.shape[axis] for axis in perm))
        target = reshape_target(between.shape, shape_of(node.outputs[0]))
        if target is None:
            return Decline("the target shape needs run-time values")
        return Lifted((first, reshape), first.inputs[0], perm, between, target)

    def rewrite(self, node: onnx_ir.Node, found: Lifted) -> None:
        attributes = {"perm": found.perm}
        moved = insert_node(node, "Transpose", [found.x], attributes, name=node.name, types=[found.between])
        to_reshape(node, moved.outputs[0], found.target, list(found.nodes))


def regrouped(before: Shape, after: Shape) -> Groups | None:
    """The smallest runs of axes with equal products, in order; None where there are none. Axes of one are left out."""
    left = [axis for axis, size in enumerate(before) if size != 1]
    right = [axis for axis, size in enumerate(after) if size != 1]
    groups: Groups = []
    while left and right:
        group = [left.pop(0)], [right.pop(0)]
        while True:
            a, b = (product(shape[i] for i in run) for shape, run in zip((before, after), group, strict=True))
            if a == b:
                break
            shorter = 0 if _sample(a) < _sample(b) else 1
            rest = (left, right)[shorter]
            if not rest:
                return None
            group[shorter].append(rest.pop(0))
        groups.append(group)
    return None if left or right else groups


def _sample(dim: Dim) -> int:
    """The dim for some sizes of its symbols: only to see which of two products lacks an axis."""
    return evaluate(dim, {name: 1009 + len(name) for name in symbols_of(dim)})


def _permuted(groups: Groups, outer: list[int], rank: int) -> list[int] | None:
    """The axes before the reshape in the order that `outer` gives those after it; None where it takes a run apart."""
    wanted = [axis for axis in outer if any(axis in after for _, after in groups)]
    order: list[int] = []
    while wanted:
        before, after = next(g for g in groups if wanted[0] in g[1])
        if wanted[: len(after)] != after:
            return None
        order += before
        del wanted[: len(after)]
    return order + [axis for axis in range(rank) if axis not in order]  # of size one: they may go anywhere
