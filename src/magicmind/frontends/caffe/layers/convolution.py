"""Convolution in two and three dimensions, its transposed and depthwise forms, InnerProduct, Embed, Im2col."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir

from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.frontends.caffe.layer import Layer, importer
from magicmind.ir.dims import product
from magicmind.ops.emitter import Value


@dataclass(frozen=True)
class Window:
    """A window over the spatial axes."""

    kernel: list[int]
    strides: list[int]
    pads: list[int]
    dilations: list[int]

    def attributes(self) -> dict[str, Any]:
        """As ONNX attributes."""
        return {
            "kernel_shape": self.kernel,
            "strides": self.strides,
            "pads": self.pads * 2,
            "dilations": self.dilations,
        }


def window(layer: Layer, p: Any) -> Window:
    """The window of a convolution's parameters: one number for all axes, one for each, or by `_h`, `_w` and depth."""
    rank = layer.net.rank(layer.x) - 2
    if layer.axis(layer.x, p.axis) != 1:
        raise UnsupportedOperatorError(f"convolution axis {p.axis}; only 1 is supported")
    if rank < 1:
        raise ModelFormatError("the input has no spatial axes")
    found = Window(
        per_axis(p, "kernel", p.kernel_size, rank, None),
        per_axis(p, "stride", p.stride, rank, 1),
        per_axis(p, "pad", p.pad, rank, 0),
        per_axis(p, "dilation", p.dilation, rank, 1),
    )
    if rank == 3 and p.HasField("kernel_depth"):  # C3D: the first spatial axis is time
        found.kernel[0], found.strides[0], found.pads[0] = p.kernel_depth, p.temporal_stride, p.temporal_pad
    return found


def per_axis(p: Any, name: str, given: Any, rank: int, default: int | None) -> list[int]:
    """A setting for every spatial axis: one number for all, one for each, or in a plane by `_h` and `_w`."""
    fields = p.DESCRIPTOR.fields_by_name
    sizes = list(given) or ([] if default is None else [default])
    sides = [side for side in (f"{name}_h", f"{name}_w") if side in fields]
    if rank == 2 and any(p.HasField(side) for side in sides):
        return [getattr(p, side) if p.HasField(side) or not sizes else sizes[0] for side in sides]
    if len(sizes) not in (1, rank):
        raise ModelFormatError(f"{name} lists {len(sizes)} numbers for {rank} spatial axes")
    return sizes * rank if len(sizes) == 1 else sizes


def _groups(p: Any, channels: int, *, depthwise: bool) -> int:
    groups = channels if depthwise else p.group
    if not groups or channels % groups or p.num_output % groups:
        raise ModelFormatError(f"group={groups} does not divide {channels} input or {p.num_output} output channels")
    return int(groups)


def _convolve(layer: Layer, p: Any, *, depthwise: bool = False) -> Value:
    channels = layer.size(layer.x, 1)
    groups = _groups(p, channels, depthwise=depthwise)
    w = window(layer, p)
    weights = layer.weight(0, (p.num_output, channels // groups, *w.kernel), "weights")
    bias = layer.weight(1, (p.num_output,), "bias") if p.bias_term else None
    return layer.net.op("Conv", layer.x, weights, bias, group=groups, **w.attributes())


@importer("Convolution", "Convolution3D", each=True)
def convolution(layer: Layer) -> Value:
    """Conv; with `convolution3d_param` as some branches call it."""
    named = layer.message.HasField("convolution3d_param")
    return _convolve(layer, layer.message.convolution3d_param if named else layer.message.convolution_param)


@importer("ConvolutionDepthwise", "DepthwiseConvolution", "ConvolutionDepthWise", each=True)
def depthwise(layer: Layer) -> Value:
    """Conv with a group for every channel, whatever `group` says."""
    return _convolve(layer, layer.message.convolution_param, depthwise=True)


@importer("Deconvolution", each=True)
def deconvolution(layer: Layer) -> Value:
    """ConvTranspose: the blob has the input's channels first, as ONNX wants it."""
    p = layer.message.convolution_param
    channels = layer.size(layer.x, 1)
    groups = _groups(p, channels, depthwise=False)
    w = window(layer, p)
    weights = layer.weight(0, (channels, p.num_output // groups, *w.kernel), "weights")
    bias = layer.weight(1, (p.num_output,), "bias") if p.bias_term else None
    return layer.net.op("ConvTranspose", layer.x, weights, bias, group=groups, **w.attributes())


@importer("InnerProduct", each=True)
def inner_product(layer: Layer) -> Value:
    """[lead..., rest...] to [lead..., num_output]: the axes from `axis` on are one vector."""
    p, net, x = layer.message.inner_product_param, layer.net, layer.x
    axis = layer.axis(x, p.axis)
    depth = layer.fixed(product(net.shape(x)[axis:]), "the number of inputs")
    shape = (depth, p.num_output) if p.transpose else (p.num_output, depth)
    weights = layer.blob(0, shape, "weights")
    bias = layer.weight(1, (p.num_output,), "bias") if p.bias_term else None
    if net.rank(x) != axis + 1:
        x = net.reshape(x, *layer.leading(x, axis), depth)
    if axis == 1:
        return net.op("Gemm", x, net.const(weights), bias, transB=int(not p.transpose))
    matrix = weights if p.transpose else np.ascontiguousarray(weights.T)
    y = net.op("MatMul", x, net.const(matrix))
    return y if bias is None else net.op("Add", y, bias)


@importer("Embed")
def embed(layer: Layer) -> Value:
    """Rows of a table, by numbers that Caffe keeps as floats."""
    p, net = layer.message.embed_param, layer.net
    table = layer.weight(0, (p.input_dim, p.num_output), "weights")
    y = net.op("Gather", table, net.cast(layer.x, onnx_ir.DataType.INT64), axis=0)
    return net.op("Add", y, layer.weight(1, (p.num_output,), "bias")) if p.bias_term else y


@importer("Im2col")
def im_to_col(layer: Layer) -> Value:
    """[N, C, H, W] to [N, C * taps, windows...]: a convolution whose kernels each pick one tap of one channel."""
    channels, w = layer.size(layer.x, 1), window(layer, layer.message.convolution_param)
    taps = math.prod(w.kernel)
    layer.limit(channels * taps * taps, "the kernels")
    kernels = np.tile(np.eye(taps, dtype=np.float32), (channels, 1)).reshape(channels * taps, 1, *w.kernel)
    return layer.net.op("Conv", layer.x, layer.net.const(kernels), group=channels, **w.attributes())
