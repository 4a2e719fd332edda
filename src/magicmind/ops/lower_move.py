"""Lowering of the operators that only move elements: views where the bytes already lie right, else strided copies."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from magicmind.codegen.target import BLOCK
from magicmind.codegen.values import ITEMSIZE
from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.attributes import attribute
from magicmind.ir.dims import Dim, product
from magicmind.kernels.move import BY_SIZE
from magicmind.kernels.pad import Pad
from magicmind.lower.lowering import Lowering
from magicmind.lower.plan import Ref
from magicmind.ops import concat, depth, expand, reshape, slice, transpose
from magicmind.ops import pad as pad_op
from magicmind.ops.copying import Axis, call_copy, is_view, row_major
from magicmind.ops.registry import NodeView, lookup, normalise_axis


def _input(node: ir.Node, i: int = 0) -> ir.Value:
    value = node.inputs[i]
    assert value is not None
    return value


def place(low: Lowering, node: ir.Node, axes: list[Axis], source: Ref, out: ir.Value) -> None:
    """`out` becomes a view of `source`, or a copy where it cannot."""
    if is_view(axes) and low.alias(out, source):
        return
    call_copy(low, node, axes, source, low.ref(out), low.dtype(out))


def lower_same(low: Lowering, node: ir.Node) -> None:
    """The same bytes under another shape."""
    x, out = _input(node), node.outputs[0]
    count = product(low.physical_shape(x))
    place(low, node, [Axis(count, 1, 1)], low.ref(x), out)


for _op in (reshape.reshape, reshape.flatten, reshape.squeeze, reshape.unsqueeze):
    _op.lower(lower_same)
for _name in ("Identity", "StopGradient"):
    if (_found := lookup("", _name)) is not None and _found.lower_rule is None:
        _found.lower(lower_same)


@reshape.dropout.lower
def lower_dropout(low: Lowering, node: ir.Node) -> None:
    """The input itself; the mask is true everywhere. Training is for the host function."""
    mode = node.inputs[2] if len(node.inputs) > 2 else None
    trains = None if mode is None else low.const(mode)
    if mode is not None and (trains is None or trains.any()):
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: training mode has no kernel")
    lower_same(low, node)
    if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        mask = node.outputs[1]
        ones = low.weight(np.ones(1, np.bool_))
        call_copy(low, node, [Axis(product(low.shape(mask)), 0, 1)], ones, low.ref(mask), "bool")


@transpose.transpose.lower
def lower_transpose(low: Lowering, node: ir.Node) -> None:
    x, out = _input(node), node.outputs[0]
    strides = row_major(low.shape(x))
    shape = low.shape(out)
    order = transpose.permutation(NodeView(node))
    axes = [Axis(e, strides[p], t) for e, p, t in zip(shape, order, row_major(shape), strict=True)]
    place(low, node, axes, low.ref(x), out)


@slice.slice_.lower
def lower_slice(low: Lowering, node: ir.Node) -> None:
    x, out = _input(node), node.outputs[0]
    cuts = slice.cuts_of(NodeView(node))
    _cut(low, node, x, out, [c.start for c in cuts], [c.step for c in cuts])


@concat.split.lower
def lower_split(low: Lowering, node: ir.Node) -> None:
    view = NodeView(node)
    x = _input(node)
    rank = len(low.shape(x))
    axis = normalise_axis(int(attribute(node, "axis", 0)), rank)
    start: Dim = 0
    for out, size in zip(node.outputs, concat.split_sizes(view), strict=True):
        if out.uses() or out.is_graph_output():
            starts: list[Dim] = [0] * rank
            starts[axis] = start
            _cut(low, node, x, out, starts, [1] * rank)
        start = start + size


def _cut(low: Lowering, node: ir.Node, x: ir.Value, out: ir.Value, starts: list[Dim], steps: list[int]) -> None:
    """out[i] = x[starts + i * steps], axes counted in the logical shape."""
    shape, source = low.physical_shape(out), row_major(low.physical_shape(x))
    if low.layout(x) == "blocked":
        starts, steps = [starts[0], starts[1] // BLOCK, *starts[2:], 0], [*steps, 1]
    axes = [Axis(e, s * step, t) for e, s, step, t in zip(shape, source, steps, row_major(shape), strict=True)]
    first: Dim = 0
    for start, stride in zip(starts, source, strict=True):
        first = first + start * stride
    dtype, memory = low.dtype(x), low.ref(x)
    if isinstance(first, int) or memory.storage.kind not in ("weight", "prepared"):
        place(low, node, axes, memory.offset_bytes(first * ITEMSIZE[dtype]), out)
        return
    # Addresses in the weights are fixed when a file is loaded: what starts at a mutable place is cut from a copy.
    count = product(low.physical_shape(x))
    copy = low.temp(count * ITEMSIZE[dtype])
    call_copy(low, node, [Axis(count, 1, 1)], memory, copy, dtype)
    call_copy(low, node, axes, copy.offset_bytes(first * ITEMSIZE[dtype]), low.ref(out), dtype)


@concat.concat.lower
def lower_concat(low: Lowering, node: ir.Node) -> None:
    out = node.outputs[0]
    strides = row_major(low.physical_shape(out))
    axis = normalise_axis(int(attribute(node, "axis", 0)), len(low.shape(out)))
    size = ITEMSIZE[low.dtype(out)]
    start: Dim = 0
    for value in node.inputs:
        assert value is not None
        shape = low.physical_shape(value)
        if shape[axis] == 0:
            continue
        axes = [Axis(e, s, t) for e, s, t in zip(shape, row_major(shape), strides, strict=True)]
        target = low.ref(out).offset_bytes(start * strides[axis] * size)
        if low.ref(value) != target:  # else its producer wrote it in place
            call_copy(low, node, axes, low.ref(value), target, low.dtype(out))
        start = start + shape[axis]


@expand.expand.lower
def lower_expand(low: Lowering, node: ir.Node) -> None:
    x, out = _input(node), node.outputs[0]
    shape = low.shape(out)
    inner = (*([1] * (len(shape) - len(low.shape(x)))), *low.shape(x))
    strides = [0 if e == 1 else s for e, s in zip(inner, row_major(inner), strict=True)]
    axes = [Axis(e, s, t) for e, s, t in zip(shape, strides, row_major(shape), strict=True)]
    place(low, node, axes, low.ref(x), out)


@expand.tile.lower
def lower_tile(low: Lowering, node: ir.Node) -> None:
    """Every axis is walked as (repeat, element)."""
    x, out = _input(node), node.outputs[0]
    repeats = NodeView(node).dims(1)
    assert repeats is not None
    shape = low.shape(x)
    targets = row_major(low.shape(out))
    axes = []
    for extent, repeat, source, target in zip(shape, repeats, row_major(shape), targets, strict=True):
        axes += [Axis(repeat, 0, target * extent), Axis(extent, source, target)]
    place(low, node, axes, low.ref(x), out)


@depth.depth_to_space.lower
@depth.space_to_depth.lower
def lower_depth(low: Lowering, node: ir.Node) -> None:
    """Axes (n, c, h, w, by, bx) with channel c of a block, pixel h, w and place by, bx inside the block."""
    x, out = _input(node), node.outputs[0]
    b = depth.block_size(NodeView(node))
    to_space = node.op_type == "DepthToSpace"
    deep, wide = (x, out) if to_space else (out, x)
    n, c, height, width = low.shape(wide)
    h, w = low.shape(deep)[2:]
    plane, row = height * width, width
    wide_strides = [c * plane, plane, row * b, b, row, 1]
    deep_plane = h * w
    by, bx, channel = b * c, c, 1
    if attribute(node, "mode", "DCR") == "CRD":
        by, bx, channel = b, 1, b * b
    deep_strides = [c * (b * b) * deep_plane, channel * deep_plane, w, 1, by * deep_plane, bx * deep_plane]
    source, target = (deep_strides, wide_strides) if to_space else (wide_strides, deep_strides)
    extents: list[Dim] = [n, c, h, w, b, b]
    axes = [Axis(e, s, t) for e, s, t in zip(extents, source, target, strict=True)]
    order = [0, 1, 2, 4, 3, 5] if to_space else [0, 4, 5, 1, 2, 3]
    call_copy(low, node, [axes[i] for i in order], low.ref(x), low.ref(out), low.dtype(x))


@pad_op.pad.lower
def lower_pad(low: Lowering, node: ir.Node) -> None:
    x, out = _input(node), node.outputs[0]
    dtype = low.dtype(x)
    mode = str(attribute(node, "mode", "constant"))
    before, _ = pad_op.pads_of(NodeView(node))
    unit = BLOCK if low.layout(x) == "blocked" else 1
    sizes, outs, begin = list(low.shape(x)), list(low.shape(out)), list(before)
    if unit == BLOCK:
        sizes[1], outs[1] = low.physical_shape(x)[1], low.physical_shape(out)[1]
    axes, inner = _pad_axes(sizes, outs, begin, unit, mode)
    p = low.params()
    columns = [tuple(p.size(d) for d in column) for column in zip(*axes, strict=True)]
    spec = Pad(mode, columns[0], columns[1], columns[2], p.size(inner), BY_SIZE[ITEMSIZE[dtype]])
    value = node.inputs[2] if len(node.inputs) > 2 else None
    fill = low.ref(value) if value is not None else low.weight(np.zeros(ITEMSIZE[dtype], np.uint8))
    low.call(node, spec, [low.ref(x), fill, low.ref(out)], p, bytes=low.nbytes(x) + low.nbytes(out))


def _pad_axes(
    sizes: list[Dim], outs: list[Dim], begin: list[Dim], unit: Dim, mode: str
) -> tuple[list[tuple[Dim, Dim, Dim]], Dim]:
    """(size, before, out) of the axes to walk, unpadded neighbours merged, and the elements that travel together."""
    axes: list[tuple[Dim, Dim, Dim]] = []
    for size, before, out in zip(sizes, begin, outs, strict=True):
        untouched = before == 0 and size == out
        if untouched and axes and axes[-1][0] == axes[-1][2] and axes[-1][1] == 0:
            axes[-1] = (axes[-1][0] * size, 0, axes[-1][2] * size)
        else:
            axes.append((size, before, out))
    if len(axes) > 1 and axes[-1][0] == axes[-1][2] and axes[-1][1] == 0:
        unit = unit * axes.pop()[0]
    if mode == "constant" or (len(axes) == 1 and axes[0][0] == axes[0][2]):
        size, before, out = axes[-1]
        axes[-1] = (size * unit, before * unit, out * unit)
        unit = 1
    return axes, unit
