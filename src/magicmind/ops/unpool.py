"""MaxUnpool, Col2Im and LpPool of any p: scatters into zeros, and sums of powers by a convolution with ones."""

from __future__ import annotations

import numpy as np

from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.dims import product
from magicmind.ir.types import TensorType
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.pool import lp_pool
from magicmind.ops.registry import NodeView, Op

max_unpool = Op("MaxUnpool")
col_to_im = Op("Col2Im")


@max_unpool.expand
def expand_unpool(e: Expansion) -> list[Value]:
    """Every element goes to its flat index in the result; the rest is zero.

    Indices count in the pooled tensor of the size that kernel, strides and pads give, whatever `output_shape` says.
    """
    x, indices = e.input(0), e.input(1)
    rank = e.rank(x)
    kernel = e.view.ints_attr("kernel_shape") or []
    strides = e.view.ints_attr("strides") or [1] * len(kernel)
    pads = e.view.ints_attr("pads") or [0] * (2 * len(kernel))
    spatial = []
    for i, (k, s) in enumerate(zip(kernel, strides, strict=True)):
        scaled = e.op("Mul", e.op("Sub", e.dim(x, 2 + i), e.ints(1)), e.ints(s))
        spatial.append(e.op("Add", scaled, e.ints(k - pads[i] - pads[i + len(kernel)])))
    shape = e.sizes(e.dim(x, 0), e.dim(x, 1), *spatial)
    count = e.op("ReduceProd", shape, keepdims=1)
    zeros = e.op("Expand", e.const([0], e.type(x).dtype.numpy()), count)
    flat = e.op("ScatterElements", zeros, e.reshape(indices, -1), e.reshape(x, -1), axis=0)
    result = e.op("Reshape", flat, shape)
    if not e.has(2):
        return [result]
    missing = e.op("Sub", e.input(2), e.op("Shape", result))
    return [e.op("Pad", result, e.sizes(e.ints(*[0] * rank), missing))]


@col_to_im.expand
def expand_col_to_im(e: Expansion) -> list[Value]:
    """[N, C * kernel, windows] to [N, C, image...]: what falls on one pixel is summed."""
    x = e.input(0)
    image, block = e.view.need_ints(1, "image_shape"), e.view.need_ints(2, "block_shape")
    rank, size = len(image), int(np.prod(block))
    strides = e.view.ints_attr("strides") or [1] * rank
    dilations = e.view.ints_attr("dilations") or [1] * rank
    pads = e.view.ints_attr("pads") or [0] * (2 * rank)
    channels = e.shape(x)[1]
    if not isinstance(channels, int):
        raise UnsupportedOperatorError("the number of channels is mutable")
    places = []
    for i in range(rank):
        padded = image[i] + pads[i] + pads[i + rank]
        windows = (padded - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1
        taps, starts = np.arange(block[i]) * dilations[i], np.arange(windows) * strides[i]
        places.append(taps[:, None] + starts - pads[i])
    flat = _flat_places(places, image)
    spread = e.reshape(x, e.dim(x, 0), channels // size, flat.size)
    rows = e.op("Transpose", spread, perm=[2, 0, 1])  # places outermost: one row of updates each
    pixels = int(np.prod(image))
    zeros = e.op("Expand", e.scalar(0, x), e.sizes(pixels + 1, e.dim(x, 0), channels // size))
    summed = e.op("ScatterND", zeros, e.const(flat.reshape(-1, 1), np.int64), rows, reduction="add")
    turned = e.op("Transpose", e.slice(summed, 0, 0, pixels), perm=[1, 2, 0])
    return [e.reshape(turned, e.dim(x, 0), channels // size, *image)]


@col_to_im.late
def late_col_to_im(node: NodeView) -> list[TensorType]:
    """With an image or a block of a size that only the run time knows."""
    x, rank = node.input(0), node.input(1).size
    if not isinstance(rank, int):
        raise UnsupportedOperatorError("not even the rank is known: the image's shape has an unforeseen length")
    return [TensorType(x.dtype, (x.dims[0], *(node.unknown(0, i) for i in range(1, rank + 2))))]


def _flat_places(places: list[np.ndarray], image: list[int]) -> np.ndarray:
    """Flat pixel index by (tap..., window...); everything in the padding goes to one place behind the image."""
    rank = len(image)
    flat = np.zeros([1] * (2 * rank), np.int64)
    inside = np.ones([1] * (2 * rank), bool)
    for i, place in enumerate(places):
        shape = [1] * (2 * rank)
        shape[i], shape[i + rank] = place.shape
        there = place.reshape(shape)
        flat = flat * image[i] + there
        inside = inside & (there >= 0) & (there < image[i])
    return np.where(inside, flat, int(np.prod(image)))


@lp_pool.expand
def expand_lp_pool(e: Expansion) -> list[Value] | None:
    """Other powers than 1 and 2: the p-th root of average times size."""
    p = e.view.attr("p", 2)
    if p in (1, 2):
        return None
    names = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")
    attributes = {name: e.view.attr(name) for name in names if e.view.attr(name) is not None}
    if attributes.get("ceil_mode"):
        raise UnsupportedOperatorError(f"p = {p} with ceil_mode has no kernel")
    x = e.input(0)
    powers = e.op("Pow", e.op("Abs", x), e.scalar(p, x))
    mean = e.op("AveragePool", powers, count_include_pad=1, **attributes)
    total = e.op("Mul", mean, e.scalar(float(str(product(attributes["kernel_shape"]))), x))
    return [e.op("Pow", total, e.scalar(1 / p, x))]
