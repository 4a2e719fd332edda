"""Convolutions, from channels last to channels first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.errors import ModelFormatError
from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.frontends.tensorflow.layout import first, last
from magicmind.frontends.tensorflow.window import is_first, pads_of, spatial
from magicmind.ops.emitter import Value


def to_first(c: Call, x: Value) -> Value:
    """An operand in the node's data_format with the channels first."""
    return x if is_first(c) else first(c, x)


def from_first(c: Call, y: Value) -> Value:
    """A result with the channels where the node's data_format has them."""
    return y if is_first(c) else last(c, y)


def weights(c: Call, i: int, perm: Sequence[int]) -> Value:
    """Input `i` transposed: at once where it is a constant."""
    array = c.known(c.value(i))
    if array is None:
        return c.net.op("Transpose", c.value(i), perm=list(perm))
    return c.net.const(np.ascontiguousarray(array.transpose(perm)))


def _convolve(c: Call, filters: Value, group: int, kernel: Sequence[int]) -> Value:
    x = to_first(c, c.x)
    strides, dilations = spatial(c, "strides"), spatial(c, "dilations")
    window: dict[str, Any] = {"kernel_shape": list(kernel), "strides": strides, "dilations": dilations}
    pads = pads_of(c, c.net.shape(x)[2:], kernel, strides, dilations)
    return from_first(c, c.net.op("Conv", x, filters, group=group, **window, **pads))


@importer("Conv2D", "Conv3D")
def convolution(c: Call) -> Value:
    """Conv; filters are [spatial..., in / groups, out]."""
    rank = c.rank(1)
    if c.rank() != rank:
        raise ModelFormatError(f"filters of rank {rank} do not fit an input of rank {c.rank()}")
    shape = c.shape(1)
    kernel = [c.fixed(d, "the size of the filter") for d in shape[:-2]]
    channels = c.fixed(c.shape()[1 if is_first(c) else -1], "the number of channels")
    depth = c.fixed(shape[-2], "the depth of the filter")
    if not depth or channels % depth:
        raise ModelFormatError(f"filters of depth {depth} do not fit {channels} channels")
    return _convolve(c, weights(c, 1, [rank - 1, rank - 2, *range(rank - 2)]), channels // depth, kernel)


@importer("DepthwiseConv2dNative", "DepthwiseConv2dNativeV2")
def depthwise(c: Call) -> Value:
    """Conv with a group for every channel; filters are [height, width, channels, multiplier]."""
    height, width, channels, multiplier = (c.fixed(d, "the size of the filter") for d in c.shape(1))
    turned = weights(c, 1, [2, 3, 0, 1])
    filters = c.net.reshape(turned, channels * multiplier, 1, height, width)
    array = c.known(filters)
    return _convolve(c, filters if array is None else c.net.const(array), channels, [height, width])


@importer("Conv2DBackpropInput", "Conv3DBackpropInputV2", "Conv3DBackpropInput")
def transposed(c: Call) -> Value:
    """ConvTranspose to the size that input 0 says; filters are [spatial..., out, in]."""
    y = to_first(c, c.value(2))
    rank = c.net.rank(y)
    kernel = [c.fixed(d, "the size of the filter") for d in c.shape(1)[:-2]]
    strides, dilations = spatial(c, "strides"), spatial(c, "dilations")
    sizes = _sizes(c, rank)
    filters = weights(c, 1, [rank - 1, rank - 2, *range(rank - 2)])
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "dilations": dilations}
    lengths = c.net.shape(y)[2:]
    if c.attr("padding") == "SAME" and any(s is None for s in sizes):
        attributes |= {"auto_pad": "SAME_UPPER"}
        return from_first(c, c.net.op("ConvTranspose", y, filters, **attributes))
    begins, ends = [], []
    for axis, (length, size) in enumerate(zip(lengths, sizes, strict=True)):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        begin, end = _given_pads(c, axis) or (0, 0)
        if size is not None and isinstance(length, int):
            full = (length - 1) * strides[axis] + reach
            if c.attr("padding") == "SAME":
                begin = max(full - size, 0) // 2
            end = full - size - begin
        begins.append(begin)
        ends.append(end)
    extra = [max(-end, 0) for end in ends]
    attributes |= {"pads": [*begins, *(max(end, 0) for end in ends)], "output_padding": extra}
    return from_first(c, c.net.op("ConvTranspose", y, filters, **attributes))


def _sizes(c: Call, rank: int) -> list[int | None]:
    """The spatial sizes of the result, None where they are not known."""
    found = c.dims(0)
    if found is None:
        return [None] * (rank - 2)
    sizes = found if len(found) == rank - 2 else found[2:] if is_first(c) else found[1:-1]
    return [d if isinstance(d, int) else None for d in sizes]


def _given_pads(c: Call, axis: int) -> tuple[int, int] | None:
    pads = list(c.attr("explicit_paddings", []) or [])
    if c.attr("padding") != "EXPLICIT" or not pads:
        return None
    start = 2 * (axis + (2 if is_first(c) else 1))
    return pads[start], pads[start + 1]


@importer("Dilation2D")
def dilation(c: Call) -> Value:
    """Grey dilation: the largest sum of the input and the filter, as one sum for each place of the filter."""
    net, x = c.net, to_first(c, c.x)
    height, width, channels = (c.fixed(d, "the size of the filter") for d in c.shape(1))
    strides, rates = list(c.attr("strides"))[1:3], list(c.attr("rates"))[1:3]
    lengths = [c.fixed(d, "the size of the image") for d in net.shape(x)[2:]]
    pads = pads_of(c, lengths, [height, width], strides, rates).get("pads", [0] * 4)
    filters = weights(c, 1, [2, 0, 1])
    low = net.scalar(float(np.finfo(np.float32).min), x)
    full = net.op("Pad", x, net.ints(0, 0, pads[0], pads[1], 0, 0, pads[2], pads[3]), low)
    sizes = [
        (n + pads[i] + pads[i + 2] - (k - 1) * r - 1) // s + 1
        for i, (n, k, s, r) in enumerate(zip(lengths, (height, width), strides, rates, strict=True))
    ]
    terms = []
    for i in range(height):
        for j in range(width):
            begin = [i * rates[0], j * rates[1]]
            end = [b + (n - 1) * s + 1 for b, n, s in zip(begin, sizes, strides, strict=True)]
            part = net.op("Slice", full, net.ints(*begin), net.ints(*end), net.ints(2, 3), net.ints(*strides))
            weight = net.op("Slice", filters, net.ints(i, j), net.ints(i + 1, j + 1), net.ints(1, 2))
            terms.append(net.op("Add", part, net.reshape(weight, channels, 1, 1)))
    return from_first(c, net.op("Max", *terms))
