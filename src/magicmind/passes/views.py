"""Follows a value back through operators that only reorder or select, to memory that can be read by strides."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir

from magicmind.ir.dims import Dim
from magicmind.ir.types import Shape, TensorType, const_of, dtype_of, shape_of
from magicmind.passes.edit import add_constant, attribute, graph_of, insert_node, is_op
from magicmind.passes.merge_reshapes import reshape_target


@dataclass(frozen=True)
class Source:
    """A value and one letter per axis, a digit for the one index taken of an axis.

    `scale`: a factor left out on the way. `parts`: the value is to be reshaped so that its last axis becomes (parts,
    heads, columns), which costs nothing.
    """

    value: onnx_ir.Value
    layout: str
    scale: float = 1.0
    parts: tuple[int, Dim, Dim] | None = None

    @property
    def shape(self) -> Shape | None:
        shape = shape_of(self.value)
        return shape if shape is None or self.parts is None else (*shape[:-1], *self.parts)

    def size(self, axis: str) -> Dim:
        """The size of the axis of that letter, 1 where there is none."""
        shape = self.shape
        assert shape is not None
        return shape[self.layout.index(axis)] if axis in self.layout else 1

    def emit(self, before: onnx_ir.Node) -> onnx_ir.Value:
        """The value, reshaped in front of `before` where that is needed."""
        if self.parts is None:
            return self.value
        target = reshape_target(shape_of(self.value), self.shape)
        assert target is not None
        name = f"{self.value.name}.parts"
        sizes = add_constant(graph_of(before), np.array(target, np.int64), f"{name}.shape")
        dtype = dtype_of(self.value)
        assert dtype is not None
        kind = TensorType(dtype, self.shape)
        return insert_node(before, "Reshape", [self.value, sizes], name=name, types=[kind]).outputs[0]


def only_number(node: onnx_ir.Node) -> tuple[onnx_ir.Value, float] | None:
    """(x, c) where the node is x * c or x / c with a constant of one element that does not raise the rank."""
    if not is_op(node, "Mul", "Div"):
        return None
    pairs = [(node.inputs[0], node.inputs[1])]
    if is_op(node, "Mul"):
        pairs.append((node.inputs[1], node.inputs[0]))
    for x, number in pairs:
        constant = None if number is None else const_of(number)
        if x is None or constant is None or constant.size != 1 or shape_of(x) != shape_of(node.outputs[0]):
            continue
        c = float(constant.reshape(()))
        if is_op(node, "Mul") or c != 0:
            return x, c if is_op(node, "Mul") else 1 / c
    return None


def trace(value: onnx_ir.Value, layout: str, *, heads: Shape, contiguous: bool = False, scales: bool = False) -> Source:
    """Where the elements of `value` lie. `contiguous`: the columns (d) must be next to each other.

    `heads`: batch and heads of the scores. `scales`: factors may be left out.
    """
    here = best = Source(value, layout)
    while True:
        step = _step(here, heads, scales)
        if step is None:
            return best
        here = step
        if here.layout[-1] == "d" or not contiguous:
            best = here


def _step(source: Source, heads: Shape, scales: bool) -> Source | None:
    node = source.value.producer()
    if node is None or source.parts is not None or node.inputs[0] is None:
        return None
    if is_op(node, "Transpose"):
        perm = attribute(node, "perm")
        inner = dict(zip(perm or range(len(source.layout))[::-1], source.layout, strict=True))
        return replace(source, value=node.inputs[0], layout="".join(inner[i] for i in range(len(inner))))
    if scales and is_op(node, "Mul", "Div"):
        found = only_number(node)
        return None if found is None else replace(source, value=found[0], scale=source.scale * found[1])
    if is_op(node, "Gather"):
        return _gathered(source, node)
    if is_op(node, "Reshape", "Squeeze"):
        return _split(source, node) or _repeated(source, node, heads)
    return None


def _gathered(source: Source, node: onnx_ir.Node) -> Source | None:
    """One index of an axis."""
    data = node.inputs[0]
    assert data is not None
    index = const_of(node.inputs[1]) if node.inputs[1] is not None else None
    shape = shape_of(data)
    if index is None or index.ndim or shape is None:
        return None
    axis = attribute(node, "axis", 0) % len(shape)
    return _at(replace(source, value=data), axis, int(index), shape[axis])


def _at(source: Source, axis: int, index: int, size: Dim) -> Source | None:
    if not isinstance(size, int) or not -size <= index < size or index % size > 9:
        return None
    layout = source.layout
    return replace(source, layout=f"{layout[:axis]}{index % size}{layout[axis:]}")


def _split(source: Source, node: onnx_ir.Node) -> Source | None:
    """A reshaped part of a Split: an axis of one left out, or heads and columns of one equal part of the last axis."""
    part = node.inputs[0]
    assert part is not None
    split, shape, out = part.producer(), shape_of(part), shape_of(source.value)
    if split is None or not is_op(split, "Split") or shape is None or out is None or split.inputs[0] is None:
        return None
    data = split.inputs[0]
    whole = shape_of(data)
    if whole is None:
        return None
    axis, number = attribute(split, "axis", 0) % len(shape), part.index()
    if number is None:
        return None
    if shape[axis] == 1 and shape[:axis] + shape[axis + 1 :] == out:
        return _at(replace(source, value=data), axis, number, whole[axis])
    count = len(split.outputs)
    same = all(shape_of(x) == shape for x in split.outputs)
    last = len(shape) - 1
    if not same or axis != last or count > 9 or len(out) != last + 2 or out[:last] != shape[:last]:
        return None
    if out[last] * out[last + 1] != shape[last] or reshape_target(whole, (*whole[:-1], count, *out[last:])) is None:
        return None
    found = _at(replace(source, value=data), last, number, count)
    return None if found is None else replace(found, parts=(count, out[last], out[last + 1]))


def _repeated(source: Source, node: onnx_ir.Node, heads: Shape) -> Source | None:
    """Heads that were repeated for the queries that share them: Unsqueeze, Expand, Reshape."""
    expand = node.inputs[0].producer() if node.inputs[0] is not None else None
    if expand is None or not is_op(expand, "Expand") or not source.layout.startswith("bh"):
        return None
    unsqueeze = expand.inputs[0].producer() if expand.inputs[0] is not None else None
    if unsqueeze is None or not is_op(unsqueeze, "Unsqueeze", "Reshape") or unsqueeze.inputs[0] is None:
        return None
    few, one, many, out = (
        shape_of(x) for x in (unsqueeze.inputs[0], unsqueeze.outputs[0], expand.outputs[0], node.outputs[0])
    )
    if few is None or one is None or many is None or out is None or len(few) != 4 or len(many) != 5:
        return None
    b, h, s, d = few
    group = many[2]
    if one != (b, h, 1, s, d) or many != (b, h, group, s, d) or out != (b, h * group, s, d) or out[1] != heads[1]:
        return None
    return replace(source, value=unsqueeze.inputs[0])
