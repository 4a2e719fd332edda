"""Sizes, and rearrangements that keep all elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir

from magicmind.errors import ModelFormatError, ShapeError
from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.frontends.tensorflow.layout import along, axis_first, first, last, order_first, order_last, twin
from magicmind.ir.dims import bounds, product
from magicmind.ops.emitter import Value

_FAR = int(np.iinfo(np.int64).max)
_INT32 = onnx_ir.DataType.INT32


@importer("Shape")
def shape(c: Call) -> Value:
    """Shape."""
    return c.as_type(c.net.op("Shape", c.x), "out_type", _INT32)


@importer("ShapeN")
def shape_n(c: Call) -> list[Value]:
    """Shape of each input."""
    return [c.as_type(c.net.op("Shape", x), "out_type", _INT32) for x in c.values]


@importer("Size")
def size(c: Call) -> Value:
    """Size."""
    return c.as_type(c.net.op("Size", c.x), "out_type", _INT32)


@importer("Rank")
def rank(c: Call) -> Value:
    """A constant."""
    return c.net.const(c.rank(), np.int32)


@importer("Reshape")
def reshape(c: Call) -> Value:
    """Reshape; one size of -1 is what is left."""
    target = c.dims(1)
    net = c.net
    if target is not None and target == list(c.shape()):
        return c.x
    if target is not None and c.rank(1) == 1 and all(isinstance(d, int) for d in target):
        return net.op("Reshape", c.x, net.ints(*_settled(c, [d for d in target if isinstance(d, int)])), allowzero=1)
    return net.op("Reshape", c.x, c.vector(c.value(1)), allowzero=1)


def _settled(c: Call, target: list[int]) -> list[int]:
    """The target without -1 where the sizes are known."""
    total = product(c.shape())
    rest = int(np.prod([d for d in target if d != -1], dtype=np.int64))
    if target.count(-1) > 1:
        raise ModelFormatError(f"shape {target} leaves more than one size open")
    if not isinstance(total, int):
        return target
    if (-1 in target and (not rest or total % rest)) or (-1 not in target and total != rest):
        raise ShapeError(f"{list(c.shape())} cannot become {target}")
    return [total // rest if d == -1 else d for d in target]


@importer("ExpandDims")
def expand_dims(c: Call) -> Value:
    """Unsqueeze."""
    rank = c.rank()
    axis = c.axis(1, rank, inclusive=True)
    found = twin(c, c.x)
    if found is not None and 0 < axis < rank:  # a spatial axis more
        return last(c, c.net.unsqueeze(found, axis + 1))
    return c.net.unsqueeze(c.x, axis)


@importer("Squeeze")
def squeeze(c: Call) -> Value:
    """Squeeze; of all axes of size 1 unless some are given."""
    rank = c.rank()
    given = c.attr("squeeze_dims") or c.attr("axis") or []
    axes = sorted({c.axis_of(int(a), rank) for a in given}) or [i for i, d in enumerate(c.shape()) if d == 1]
    if not axes:
        return c.x
    found = twin(c, c.x)
    if found is None or axes[0] == 0:
        return c.net.squeeze(c.x, *axes)
    if axes[-1] == rank - 1 or len(axes) == rank - 2:  # no channels, or nothing else is left: the order is the same
        return c.net.squeeze(found, *(axis_first(a, rank) for a in axes))
    return last(c, c.net.squeeze(found, *(axis_first(a, rank) for a in axes)))


@importer("Transpose")
def transpose(c: Call) -> Value:
    """Transpose; between channels first and last it costs nothing where the other order is there already."""
    rank = c.rank()
    perm = [c.axis_of(a, rank) for a in c.ints(1, "the order of axes")]
    if sorted(perm) != list(range(rank)):
        raise ModelFormatError(f"{perm} is no order of {rank} axes")
    if perm == list(range(rank)):
        return c.x
    found = twin(c, c.x)
    if perm == order_first(rank) and found is not None:
        return found
    if perm == order_last(rank) and rank > 2:
        return last(c, c.x)
    return c.net.op("Transpose", c.x, perm=perm)


@importer("MatrixTranspose")
def matrix_transpose(c: Call) -> Value:
    """Swaps the last two axes."""
    rank = c.rank()
    return c.net.op("Transpose", c.x, perm=[*range(rank - 2), rank - 1, rank - 2])


@importer("ConcatV2", "Concat")
def concat(c: Call) -> Value:
    """Concat; the axis is the last input, of old ones the first."""
    at = 0 if c.node.op == "Concat" else len(c.inputs) - 1
    parts = [v for i, v in enumerate(c.values) if i != at]
    if not parts:
        raise ModelFormatError("joins nothing")
    rank = c.net.rank(parts[0])
    axis = c.axis(at, rank)
    if len(parts) == 1:
        return parts[0]
    if any(twin(c, p) is not None for p in parts):
        return last(c, c.net.op("Concat", *(first(c, p) for p in parts), axis=axis_first(axis, rank)))
    return c.net.op("Concat", *parts, axis=axis)


@importer("Pack")
def pack(c: Call) -> Value:
    """Concat along a new axis."""
    axis = c.axis_of(int(c.attr("axis", 0)), c.rank(), inclusive=True)
    parts = [c.net.unsqueeze(v, axis) for v in c.values]
    return parts[0] if len(parts) == 1 else c.net.op("Concat", *parts, axis=axis)


@importer("Unpack")
def unpack(c: Call) -> list[Value]:
    """Split, without the axis."""
    axis = c.axis_of(int(c.attr("axis", 0)), c.rank())
    count = int(c.attr("num", 0))
    if c.shape()[axis] not in (count,) and isinstance(c.shape()[axis], int):
        raise ShapeError(f"axis {axis} has size {c.shape()[axis]}; {count} parts are asked for")
    if not count:
        return []
    if c.rank() == 1 or count == 1:
        return [c.net.op("Gather", c.x, c.net.const(i, np.int64), axis=axis) for i in range(count)]
    parts = c.net.ops("Split", c.x, count=count, num_outputs=count, axis=axis)
    return [c.net.squeeze(p, axis) for p in parts]


@importer("Split")
def split(c: Call) -> list[Value]:
    """Split into equal parts; input 0 is the axis."""
    x, count = c.value(1), int(c.attr("num_split", 1))
    axis = c.axis(0, c.rank(1))
    size = c.shape(1)[axis]
    if isinstance(size, int) and size % count:
        raise ShapeError(f"axis {axis} of size {size} has no {count} equal parts")
    return _parts(c, x, axis, count, None)


@importer("SplitV")
def split_v(c: Call) -> list[Value]:
    """Split into parts of given sizes, of which one may be -1."""
    sizes = c.ints(1, "the sizes of the parts")
    axis = c.axis(2, c.rank())
    whole = c.shape()[axis]
    if -1 in sizes:
        rest = sum(s for s in sizes if s >= 0)
        sizes = [c.fixed(whole, f"axis {axis}") - rest if s < 0 else s for s in sizes]
    return _parts(c, c.x, axis, len(sizes), sizes)


def _parts(c: Call, x: Value, axis: int, count: int, sizes: list[int] | None) -> list[Value]:
    if count == 1:
        return [x]
    found, rank = twin(c, x), c.net.rank(x)
    source = x if found is None else found
    at = axis if found is None else axis_first(axis, rank)
    given = [] if sizes is None else [c.net.ints(*sizes)]
    parts = c.net.ops("Split", source, *given, count=count, axis=at, num_outputs=count if sizes is None else None)
    return list(parts) if found is None else [last(c, p) for p in parts]


@importer("Tile")
def tile(c: Call) -> Value:
    """Tile."""
    return c.net.op("Tile", c.x, c.vector(c.value(1)))


@importer("BroadcastTo")
def broadcast_to(c: Call) -> Value:
    """Expand."""
    return c.net.op("Expand", c.x, c.vector(c.value(1)))


@importer("Roll")
def roll(c: Call) -> Value:
    """Both parts of each axis in the other order: Concat of slices."""
    shifts, axes = c.ints(1, "the shifts"), [c.axis_of(a, c.rank()) for a in c.ints(2, "the axes")]
    total = {axis: sum(s for s, a in zip(shifts, axes, strict=True) if a == axis) for axis in axes}
    for axis, shift in total.items():
        size = c.shape()[axis]
        if isinstance(size, int):
            total[axis] = shift % size if size else 0
        elif bounds(size, c.net.ranges)[0] < abs(shift):
            raise c.unsupported(f"shifts an axis of mutable size {size} by {shift}")
    moved = {axis: shift for axis, shift in total.items() if shift}

    def build(x: Value, at: list[int]) -> Value:
        for axis, shift in zip(at, moved.values(), strict=True):
            parts = [c.net.slice(x, axis, -shift, _FAR), c.net.slice(x, axis, 0, -shift)]
            x = c.net.op("Concat", *parts, axis=axis)
        return x

    return along(c, c.x, list(moved), build) if moved else c.x


@importer("ReverseV2")
def reverse(c: Call) -> Value:
    """Slice backwards."""
    axes = [c.axis_of(a, c.rank()) for a in c.ints(1, "the axes")]
    if not axes:
        return c.x
    count, lowest = len(axes), int(np.iinfo(np.int64).min)

    def build(x: Value, at: list[int]) -> Value:
        numbers = ([-1] * count, [lowest] * count, at, [-1] * count)
        return c.net.op("Slice", x, *(c.net.ints(*n) for n in numbers))

    return along(c, c.x, axes, build)


@importer("ReverseSequence")
def reverse_sequence(c: Call) -> Value:
    """ReverseSequence."""
    axes: dict[str, Any] = {"batch_axis": int(c.attr("batch_dim", 0)), "time_axis": int(c.attr("seq_dim", 0))}
    net, x, lengths = c.net, c.x, c.int64(c.value(1))
    if sorted(axes.values()) == [0, 1]:
        return net.op("ReverseSequence", x, lengths, **axes)
    order = [axes["batch_axis"], axes["time_axis"]]
    order += [i for i in range(c.rank()) if i not in order]
    turned = net.op("ReverseSequence", net.op("Transpose", x, perm=order), lengths, batch_axis=0, time_axis=1)
    return net.op("Transpose", turned, perm=[int(i) for i in np.argsort(order)])


@importer("Pad", "PadV2", "MirrorPad")
def pad(c: Call) -> Value:
    """Pad with a value, or with what is inside."""
    rank = c.rank()
    mode = {"REFLECT": "reflect", "SYMMETRIC": "symmetric"}.get(str(c.attr("mode", "")), "constant")
    if c.node.op == "MirrorPad" and mode == "constant":
        raise ModelFormatError(f"mode = {c.attr('mode')!r} does not exist")
    if mode == "symmetric":
        return _pad_symmetric(c)
    numbers = c.dims(1)
    value = c.value(2) if c.node.op == "PadV2" else c.net.scalar(0, c.x) if mode == "constant" else None
    if numbers is None:
        flat, some = c.net.reshape(c.int64(c.value(1)), -1), c.elements(1)
        parts = [n if isinstance(n, int) else c.net.slice(flat, 0, i, i + 1) for i, n in enumerate(some)]
        return c.net.op("Pad", c.x, c.net.sizes(*parts[::2], *parts[1::2]), value, mode=mode)
    if len(numbers) != 2 * rank:
        raise ModelFormatError(f"{len(numbers)} amounts of padding for {rank} axes")
    if not all(isinstance(n, int) for n in numbers):
        return c.net.op("Pad", c.x, c.net.shape_vector(*numbers[::2], *numbers[1::2]), value, mode=mode)
    fixed = [int(n) for n in numbers if isinstance(n, int)]

    def build(x: Value, axes: list[int]) -> Value:
        amounts = [0] * (2 * rank)
        for i, axis in enumerate(axes):
            amounts[axis], amounts[axis + rank] = fixed[2 * i], fixed[2 * i + 1]
        return c.net.op("Pad", x, c.net.ints(*amounts), value, mode=mode)

    return along(c, c.x, list(range(rank)), build)


def _pad_symmetric(c: Call) -> Value:
    """What is inside, the edge itself among it: Concat of slices read backwards."""
    net, x, amounts = c.net, c.x, c.ints(1, "the padding")
    for axis, (before, after) in enumerate(zip(amounts[::2], amounts[1::2], strict=True)):
        parts = [x]
        if before:
            low = int(np.iinfo(np.int64).min)
            parts.insert(0, net.op("Slice", x, *(net.ints(n) for n in (before - 1, low, axis, -1))))
        if after:
            parts.append(net.op("Slice", x, *(net.ints(n) for n in (-1, -after - 1, axis, -1))))
        x = parts[0] if len(parts) == 1 else net.op("Concat", *parts, axis=axis)
    return x


@importer("SpaceToDepth")
def space_to_depth(c: Call) -> Value:
    """SpaceToDepth."""
    block = int(c.attr("block_size", 2))
    if c.attr("data_format", "NHWC") == "NCHW":
        return c.net.op("SpaceToDepth", c.x, blocksize=block)
    return last(c, c.net.op("SpaceToDepth", first(c, c.x), blocksize=block))


@importer("DepthToSpace")
def depth_to_space(c: Call) -> Value:
    """DepthToSpace, the block before the channels (DCR)."""
    block = int(c.attr("block_size", 2))
    if c.attr("data_format", "NHWC") == "NCHW":
        return c.net.op("DepthToSpace", c.x, blocksize=block, mode="DCR")
    return last(c, c.net.op("DepthToSpace", first(c, c.x), blocksize=block, mode="DCR"))


@importer("BroadcastArgs")
def broadcast_args(c: Call) -> Value:
    """The shape that two shapes broadcast to."""
    net = c.net
    shapes = [
        net.op("ConstantOfShape", c.vector(c.value(i)), value=onnx_ir.Tensor(np.zeros(1, np.float32))) for i in (0, 1)
    ]
    return c.as_type(net.op("Shape", net.op("Add", *shapes)), "T", _INT32)
