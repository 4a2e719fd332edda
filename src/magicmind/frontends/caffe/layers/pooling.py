"""Pooling by Caffe's rules: sizes round up, a window never starts in the padding behind, averages count padding.

A window is clipped at the input plus its padding, and an average divides by what is left: ONNX's `ceil_mode` with
`count_include_pad`.
"""

from __future__ import annotations

import math
from typing import Any

import onnx_ir

from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.frontends.caffe.layer import Layer, importer
from magicmind.frontends.caffe.layers.convolution import per_axis
from magicmind.ir.dims import product
from magicmind.ops.emitter import Value

_METHODS = ("Max", "Average")


@importer("Pooling", "Pooling3D", each=True)
def pooling(layer: Layer) -> list[Value]:
    """MaxPool or AveragePool; the second top of a maximum holds where in its plane each was found."""
    named = layer.message.HasField("pooling3d_param")
    p = layer.message.pooling3d_param if named else layer.message.pooling_param
    method = _method(layer, p.pool)
    if p.global_pooling:
        return [layer.net.op(f"Global{method}Pool", layer.x)]
    attributes = _window(layer, p)
    if method == "Average":
        return [layer.net.op("AveragePool", layer.x, count_include_pad=1, **attributes)]
    if layer.tops < 2:
        return [layer.net.op("MaxPool", layer.x, **attributes)]
    largest, places = layer.net.ops("MaxPool", layer.x, count=2, **attributes)
    return [largest, _mask(layer, places)]


def _method(layer: Layer, number: int) -> str:
    if number >= len(_METHODS):
        raise UnsupportedOperatorError("stochastic pooling: it is drawn at random")
    return _METHODS[number]


def _window(layer: Layer, p: Any) -> dict[str, Any]:
    rank = layer.net.rank(layer.x) - 2
    if rank < 1:
        raise ModelFormatError("the input has no spatial axes")
    kernel = per_axis(p, "kernel", p.kernel_size, rank, None)
    strides, pads = per_axis(p, "stride", p.stride, rank, 1), per_axis(p, "pad", p.pad, rank, 0)
    if rank == 3 and p.HasField("kernel_depth"):  # C3D: the first spatial axis is time
        kernel[0], strides[0], pads[0] = p.kernel_depth, p.temporal_stride, p.temporal_pad
    up = p.ceil_mode and p.round_mode == 0
    return {"kernel_shape": kernel, "strides": strides, "pads": pads * 2, "ceil_mode": int(up)}


def _mask(layer: Layer, places: Value) -> Value:
    """ONNX counts places in the whole tensor; Caffe in a plane, as floats."""
    plane = layer.fixed(product(layer.net.shape(layer.x)[2:]), "the size of a plane")
    within = layer.net.op("Mod", places, layer.net.const(plane, "int64"))
    return layer.net.cast(within, onnx_ir.DataType.FLOAT)


@importer("SPP")
def spatial_pyramid(layer: Layer) -> Value:
    """[N, C, H, W] to [N, C * (1 + 4 + 16 + ...)]: pooled to 1, 2 x 2, 4 x 4 ... windows, each flattened."""
    p, net = layer.message.spp_param, layer.net
    method = _method(layer, p.pool)
    sizes = [layer.size(layer.x, 2), layer.size(layer.x, 3)]
    parts = []
    if not 1 <= p.pyramid_height <= 10:
        raise ModelFormatError(f"pyramid_height is {p.pyramid_height}; 1 to 10 levels make sense")
    for level in range(p.pyramid_height):
        bins = 1 << level
        kernel = [math.ceil(size / bins) for size in sizes]
        pads = [(k * bins - size + 1) // 2 for k, size in zip(kernel, sizes, strict=True)]
        counts: dict[str, Any] = {"count_include_pad": 1} if method == "Average" else {}
        pooled = net.op(
            f"{method}Pool", layer.x, kernel_shape=kernel, strides=kernel, pads=pads * 2, ceil_mode=1, **counts
        )
        parts.append(net.op("Flatten", pooled, axis=1))
    return parts[0] if len(parts) == 1 else net.op("Concat", *parts, axis=1)
