"""ConvTranspose: the gradient of Conv as an operator of its own.  ONNX operator ConvTranspose-22."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir

from magicmind.ir.dims import Dim, evaluate
from magicmind.ir.types import Shape, TensorType
from magicmind.ops.geometry import per_axis, static_kernel
from magicmind.ops.registry import Array, NodeView, Op
from magicmind.ops.shapes import need_float, need_rank, need_same_dtype, same_dim

conv_transpose = Op("ConvTranspose")


def transposed_pads(node: NodeView) -> tuple[Shape, Shape, Shape]:
    """(padding at the begin, at the end, output size) per spatial axis.

    With `output_shape` or SAME padding the output size is given and the padding follows; else the other way round.
    """
    return _pads(node, node.shape(0), node.shape(1))


def _pads(node: NodeView, x: Shape, w: Shape) -> tuple[Shape, Shape, Shape]:
    rank = len(x) - 2
    kernel = static_kernel(w[2:])
    strides = per_axis(node, "strides", rank, 1, lowest=1)
    dilations = per_axis(node, "dilations", rank, 1, lowest=1)
    pads = per_axis(node, "pads", 2 * rank, 0, lowest=None)
    extra = per_axis(node, "output_padding", rank, 0, lowest=0)
    wanted = node.ints_attr("output_shape")
    auto_pad = node.attr("auto_pad", "NOTSET")
    begin: list[Dim] = []
    end: list[Dim] = []
    output: list[Dim] = []
    for i, size in enumerate(x[2:]):
        full = (size - 1) * strides[i] + extra[i] + (kernel[i] - 1) * dilations[i] + 1
        if wanted or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            result = wanted[-rank:][i] if wanted else size * strides[i]
            total = full - result
            half = total // 2
            low, high = (half, total - half) if auto_pad == "SAME_UPPER" else (total - half, half)
        else:
            low, high = (pads[i], pads[rank + i]) if auto_pad == "NOTSET" else (0, 0)
            result = full - low - high
        begin.append(low)
        end.append(high)
        output.append(result)
    return tuple(begin), tuple(end), tuple(output)


@conv_transpose.infer
def infer(node: NodeView) -> list[TensorType]:
    """X [N, C, D...] and W [C, M/group, K...] give [N, M, ...]."""
    x = need_rank(need_float(node.input(0)), 3, what="X")
    w = need_rank(node.input(1), x.rank, x.rank, what="W")
    dtype = need_same_dtype(x, w, *([node.input(2)] if node.has(2) else []))
    same_dim(x.dims[1], w.dims[0], "input channels against the weight's")
    channels = w.dims[1] * node.attr("group", 1)
    if node.has(2):
        same_dim(need_rank(node.input(2), 1, 1, what="B").dims[0], channels, "bias")
    return [TensorType(dtype, (x.dims[0], channels, *transposed_pads(node)[2]))]


@conv_transpose.reference
def reference(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """Every input element adds its multiple of the kernel into the output, in float64."""
    x, w = np.asarray(arrays[0]), np.asarray(arrays[1])
    view = NodeView(node)
    begin, _, output = _pads(view, x.shape, w.shape)
    rank, group = x.ndim - 2, view.attr("group", 1)
    strides = per_axis(view, "strides", rank, 1, lowest=1)
    dilations = per_axis(view, "dilations", rank, 1, lowest=1)
    parts: Array = x.astype(np.float64).reshape(x.shape[0], group, -1, *x.shape[2:])
    kernels: Array = w.astype(np.float64).reshape(group, -1, *w.shape[1:])
    result: Array = np.zeros((x.shape[0], group * w.shape[1], *output))
    for tap in itertools.product(*map(range, w.shape[2:])):
        source, target = [], []
        for axis, t in enumerate(tap):
            places = np.arange(x.shape[2 + axis]) * strides[axis] + t * dilations[axis] - evaluate(begin[axis], {})
            source.append(np.flatnonzero((places >= 0) & (places < result.shape[2 + axis])))
            target.append(places[source[-1]])
        at_tap: Any = (..., *tap)
        moved = np.einsum("ngc...,gcm->ngm...", parts, kernels[at_tap]).reshape(x.shape[0], -1, *x.shape[2:])
        batch, channels = np.arange(x.shape[0]), np.arange(result.shape[1])
        result[np.ix_(batch, channels, *target)] += moved[np.ix_(batch, channels, *source)]
    if len(arrays) > 2 and arrays[2] is not None:
        result += arrays[2].reshape(-1, *([1] * rank))
    return [result.astype(x.dtype)]
