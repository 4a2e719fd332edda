"""BatchNorm and the BN of SegNet and PSPNet, LRN over both regions, MVN, SSD's Normalize."""

from __future__ import annotations

import numpy as np

from magicmind.errors import ModelFormatError
from magicmind.frontends.caffe.layer import Layer, importer
from magicmind.ops.emitter import Value


@importer("BatchNorm")
def batch_norm(layer: Layer) -> Value:
    """(x - mean) / sqrt(variance + eps): blobs hold both as sums, and the number to divide them by.

    With five blobs (NVIDIA's branch) a scale and a shift follow.
    """
    p, net = layer.message.batch_norm_param, layer.net
    channels = layer.size(layer.x, 1)
    if p.HasField("use_global_stats") and not p.use_global_stats:
        axes = [axis for axis in range(net.rank(layer.x)) if axis != 1]
        return _standardise(layer, axes, p.eps, inside=True)
    mean, variance = (layer.blob(i, (channels,), role) for i, role in enumerate(("mean", "variance")))
    total = float(layer.blob(2, (1,), "moving average factor")[0])
    factor = np.float32(1 / total if total else 0)
    affine = p.scale_bias or layer.weights.count(layer.message) >= 5
    scale = layer.blob(3, (channels,), "scale") if affine else np.ones(channels, np.float32)
    shift = layer.blob(4, (channels,), "bias") if affine else np.zeros(channels, np.float32)
    parts = [net.const(part) for part in (scale, shift, mean * factor, variance * factor)]
    return net.op("BatchNormalization", layer.x, *parts, epsilon=p.eps)


@importer("BN")
def bn(layer: Layer) -> Value:
    """x * scale + shift (SegNet, statistics folded in), or normalised by two more blobs before (PSPNet)."""
    p, net = layer.message.bn_param, layer.net
    channels = layer.size(layer.x, 1)
    folded = layer.weights.count(layer.message) == 2
    roles = ("scale", "shift") if folded else ("scale", "shift", "mean", "variance")
    blobs = [layer.blob(i, (channels,), role) for i, role in enumerate(roles)]
    if not folded:
        return net.op("BatchNormalization", layer.x, *map(net.const, blobs), epsilon=p.eps)
    shape = (channels, *[1] * (net.rank(layer.x) - 2))
    scale, shift = (net.const(blob.reshape(shape)) for blob in blobs)
    return net.op("Add", net.op("Mul", layer.x, scale), shift)


@importer("LRN")
def lrn(layer: Layer) -> Value:
    """x / (k + alpha / n * sum of squares)^beta over `local_size` channels, or over windows of a plane (k is 1)."""
    p, net, size = layer.message.lrn_param, layer.net, layer.message.lrn_param.local_size
    if size % 2 == 0:
        raise ModelFormatError(f"local_size is {size}; it must be odd")
    if p.norm_region == 0:
        return net.op("LRN", layer.x, size=size, alpha=p.alpha, beta=p.beta, bias=p.k)
    squares = net.op("Mul", layer.x, layer.x)
    mean = net.op("AveragePool", squares, kernel_shape=[size] * 2, pads=[size // 2] * 4, count_include_pad=1)
    base = net.op("Add", net.op("Mul", mean, net.scalar(p.alpha, mean)), net.scalar(1, mean))
    return net.op("Mul", layer.x, net.op("Pow", base, net.scalar(-p.beta, base)))


@importer("MVN")
def mvn(layer: Layer) -> Value:
    """x - mean, over a plane or a whole image; divided by the deviation plus eps unless only the mean is asked for."""
    p, net = layer.message.mvn_param, layer.net
    axes = range(1 if p.across_channels else 2, net.rank(layer.x))
    if p.normalize_variance:
        return _standardise(layer, list(axes), p.eps, inside=False)
    return net.op("Sub", layer.x, net.op("ReduceMean", layer.x, net.ints(*axes), keepdims=1))


def _standardise(layer: Layer, axes: list[int], eps: float, *, inside: bool) -> Value:
    """(x - mean) / deviation over the axes; eps is added to the variance (`inside`) or to the deviation."""
    net = layer.net
    centred = net.op("Sub", layer.x, net.op("ReduceMean", layer.x, net.ints(*axes), keepdims=1))
    variance = net.op("ReduceMean", net.op("Mul", centred, centred), net.ints(*axes), keepdims=1)
    if inside:
        variance = net.op("Add", variance, net.scalar(eps, variance))
    deviation = net.op("Sqrt", variance)
    if not inside:
        deviation = net.op("Add", deviation, net.scalar(eps, deviation))
    return net.op("Div", centred, deviation)


@importer("Normalize")
def normalize(layer: Layer) -> Value:
    """x / sqrt(sum of squares + eps) * factor, over the channels of a pixel or over the whole image (SSD)."""
    p, net = layer.message.norm_param, layer.net
    axes = range(1, net.rank(layer.x) if p.across_spatial else 2)
    squares = net.op("ReduceSumSquare", layer.x, net.ints(*axes), keepdims=1)
    length = net.op("Sqrt", net.op("Add", squares, net.scalar(p.eps, squares)))
    channels = 1 if p.channel_shared else layer.size(layer.x, 1)
    factor = layer.blob(0, (channels,), "factors").reshape(channels, *[1] * (net.rank(layer.x) - 2))
    return net.op("Mul", net.op("Div", layer.x, length), net.const(factor))
