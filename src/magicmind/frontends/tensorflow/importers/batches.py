"""SpaceToBatch and BatchToSpace: blocks of pixels as images of their own."""

from __future__ import annotations

import numpy as np

from magicmind.errors import ModelFormatError
from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.frontends.tensorflow.spaced import Spaced, dilated
from magicmind.ir.dims import Dim
from magicmind.ops.emitter import Value


def _numbers(c: Call) -> tuple[list[int], list[Dim] | None]:
    """The block, and what is padded or cropped before and after each of its axes."""
    if c.node.op in ("SpaceToBatch", "BatchToSpace"):
        return [int(c.attr("block_size", 2))] * 2, c.dims(1)
    block = c.ints(1, "the block")
    amounts = c.dims(2)
    if amounts is not None and len(amounts) != 2 * len(block):
        raise ModelFormatError(f"{len(amounts)} amounts for a block of {len(block)} axes")
    return block, amounts


@importer("SpaceToBatchND", "SpaceToBatch")
def space_to_batch(c: Call) -> Value:
    """Pad, Reshape, Transpose, Reshape; around a convolution it becomes its dilation."""
    net, (block, amounts) = c.net, _numbers(c)
    count, rank = len(block), c.rank()
    if amounts is not None and not all(isinstance(a, int) for a in amounts):
        rest = [0] * (rank - count - 1)
        vector = net.shape_vector(0, *amounts[::2], *rest, 0, *amounts[1::2], *rest)
        y = net.op("Pad", c.x, vector, net.scalar(0, c.x))
    elif amounts is None:
        y = net.op("Pad", c.x, _pad_vector(c, rank, count), net.scalar(0, c.x))
    elif any(amounts):
        numbers = [int(a) for a in amounts if isinstance(a, int)]
        rest = [0] * (rank - count - 1)
        y = net.op("Pad", c.x, net.ints(0, *numbers[::2], *rest, 0, *numbers[1::2], *rest), net.scalar(0, c.x))
    else:
        y = c.x
    shape = net.shape(y)
    pieces = [_size(c, y, 0)]
    for i, b in enumerate(block):
        size = shape[1 + i]
        pieces += [size // b if isinstance(size, int) else net.op("Div", net.dim(y, 1 + i), net.ints(b)), b]
    rest_sizes = [_size(c, y, i) for i in range(1 + count, rank)]
    y = net.reshape(y, *pieces, *rest_sizes)
    inner = [2 + 2 * i for i in range(count)]
    outer = [1 + 2 * i for i in range(count)]
    y = net.op("Transpose", y, perm=[*inner, 0, *outer, *range(1 + 2 * count, net.rank(y))])
    result = net.reshape(y, -1, *(pieces[i] for i in outer), *rest_sizes)
    if amounts is not None and c.node.op == "SpaceToBatchND":
        c.state.spaced[result] = Spaced(c.x, block, amounts)
    return result


def _size(c: Call, value: Value, axis: int) -> Value | int:
    size = c.net.shape(value)[axis]
    return size if isinstance(size, int) else c.net.dim(value, axis)


def _pad_vector(c: Call, rank: int, count: int) -> Value:
    """Amounts that are computed, as ONNX's Pad wants them."""
    net = c.net
    pairs = c.int64(c.value(2 if c.node.op == "SpaceToBatchND" else 1))
    rest = [0] * (rank - count - 1)
    columns = [net.reshape(net.slice(pairs, 1, i, i + 1), -1) for i in (0, 1)]
    parts = [net.ints(0), columns[0], net.const(rest, np.int64), net.ints(0), columns[1], net.const(rest, np.int64)]
    return net.op("Concat", *parts, axis=0)


@importer("BatchToSpaceND", "BatchToSpace")
def batch_to_space(c: Call) -> Value:
    """Reshape, Transpose, Reshape, Slice."""
    net, (block, crops) = c.net, _numbers(c)
    if crops is not None and c.node.op == "BatchToSpaceND":
        folded = dilated(c, crops)
        if folded is not None:
            return folded
    count, rank = len(block), c.rank()
    sizes = [_size(c, c.x, i) for i in range(1, rank)]
    y = net.reshape(c.x, *block, -1, *sizes)
    order = [count]
    for i in range(count):
        order += [count + 1 + i, i]
    y = net.op("Transpose", y, perm=[*order, *range(2 * count + 1, net.rank(y))])
    joined = [
        s * b if isinstance(s, int) else net.op("Mul", s, net.ints(b)) for s, b in zip(sizes, block, strict=False)
    ]
    y = net.reshape(y, -1, *joined, *sizes[count:])
    if crops is not None and not any(crops):
        return y
    pairs = c.int64(c.value(2 if c.node.op == "BatchToSpaceND" else 1))
    begins, ends = (net.reshape(net.slice(pairs, 1, i, i + 1), -1) for i in (0, 1))
    full = net.sizes(*joined)
    return net.op("Slice", y, begins, net.op("Sub", full, ends), net.ints(*range(1, 1 + count)))
