"""Colours of images, and their patches."""

from __future__ import annotations

from typing import Any

import numpy as np

from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.frontends.tensorflow.layout import along, first, last
from magicmind.frontends.tensorflow.window import pads_of
from magicmind.ops.emitter import Value


@importer("AdjustContrastv2")
def adjust_contrast(c: Call) -> Value:
    """(x - mean of the image's channel) * factor + mean."""
    net, factor, rank = c.net, c.value(1), c.rank()

    def build(x: Value, axes: list[int]) -> Value:
        mean = net.op("ReduceMean", x, net.ints(*axes), keepdims=1)
        return net.op("Add", net.op("Mul", net.op("Sub", x, mean), net.cast_like(factor, x)), mean)

    return along(c, c.x, [rank - 3, rank - 2], build)


def _channels(c: Call, x: Value, axis: int) -> tuple[Value, Value, Value]:
    first_, second, third = (c.net.slice(x, axis, i, i + 1) for i in range(3))
    return first_, second, third


def _to_hsv(c: Call, x: Value, axis: int) -> tuple[Value, Value, Value]:
    """Hue, saturation and value, all in 0..1."""
    net = c.net
    red, green, blue = _channels(c, x, axis)
    most, least = net.op("Max", red, green, blue), net.op("Min", red, green, blue)
    range_, zero, one = net.op("Sub", most, least), net.scalar(0, x), net.scalar(1, x)
    grey = net.op("LessOrEqual", range_, zero)
    safe = net.op("Where", grey, one, range_)

    def sixth(a: Value, b: Value, offset: float) -> Value:
        share = net.op("Div", net.op("Sub", a, b), net.op("Mul", safe, net.scalar(6, x)))
        return net.op("Add", share, net.scalar(offset / 6, x)) if offset else share

    hue = net.op("Where", net.op("Equal", green, most), sixth(blue, red, 2), sixth(red, green, 4))
    hue = net.op("Where", net.op("Equal", red, most), sixth(green, blue, 0), hue)
    hue = net.op("Where", net.op("Less", hue, zero), net.op("Add", hue, one), hue)
    dark = net.op("LessOrEqual", most, zero)
    saturation = net.op("Where", dark, zero, net.op("Div", range_, net.op("Where", dark, one, most)))
    return net.op("Where", grey, zero, hue), saturation, most


def _to_rgb(c: Call, hue: Value, saturation: Value, value: Value, axis: int) -> Value:
    """value * (1 - saturation * (1 - how much of each colour the hue has))."""
    net, parts = c.net, []
    one, six = net.scalar(1, hue), net.op("Mul", hue, net.scalar(6, hue))
    for centre, sign, offset in ((3.0, 1.0, -1.0), (2.0, -1.0, 2.0), (4.0, -1.0, 2.0)):
        away = net.op("Abs", net.op("Sub", six, net.scalar(centre, hue)))
        share = net.op("Add", net.op("Mul", away, net.scalar(sign, hue)), net.scalar(offset, hue))
        share = net.op("Clip", share, net.scalar(0, hue), one)
        missing = net.op("Mul", saturation, net.op("Sub", one, share))
        parts.append(net.op("Mul", value, net.op("Sub", one, missing)))
    return net.op("Concat", *parts, axis=axis)


@importer("RGBToHSV")
def rgb_to_hsv(c: Call) -> Value:
    """Hue, saturation and value of red, green and blue."""
    return along(c, c.x, [c.rank() - 1], lambda x, a: c.net.op("Concat", *_to_hsv(c, x, a[0]), axis=a[0]))


@importer("HSVToRGB")
def hsv_to_rgb(c: Call) -> Value:
    """Red, green and blue of hue, saturation and value."""
    return along(c, c.x, [c.rank() - 1], lambda x, a: _to_rgb(c, *_channels(c, x, a[0]), a[0]))


@importer("AdjustHue", "AdjustSaturation")
def adjust_colour(c: Call) -> Value:
    """By way of hue, saturation and value."""
    net, amount = c.net, c.value(1)

    def build(x: Value, axes: list[int]) -> Value:
        hue, saturation, value = _to_hsv(c, x, axes[0])
        change = net.cast_like(amount, x)
        if c.node.op == "AdjustHue":
            hue = net.op("Add", hue, change)
            hue = net.op("Sub", hue, net.op("Floor", hue))
        else:
            limits = net.scalar(0, x), net.scalar(1, x)
            saturation = net.op("Clip", net.op("Mul", saturation, change), *limits)
        return _to_rgb(c, hue, saturation, value, axes[0])

    return along(c, c.x, [c.rank() - 1], build)


@importer("ExtractImagePatches")
def extract_patches(c: Call) -> Value:
    """The pixels of each window as channels: SpaceToDepth where windows do not overlap, else a convolution by ones."""
    net, x = c.net, first(c, c.x)
    kernel, strides, rates = ([int(n) for n in c.attr(name)[1:3]] for name in ("ksizes", "strides", "rates"))
    channels = c.fixed(c.shape()[3], "the number of channels")
    sizes = net.shape(x)[2:]
    whole = all(isinstance(n, int) and n % k == 0 for n, k in zip(sizes, kernel, strict=True))
    if kernel == strides and kernel[0] == kernel[1] and whole and rates == [1, 1]:
        return last(c, net.op("SpaceToDepth", x, blocksize=kernel[0]))
    count = kernel[0] * kernel[1]
    ones = np.tile(np.eye(count, dtype=net.type(x).dtype.numpy()).reshape(count, 1, *kernel), (channels, 1, 1, 1))
    window: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "dilations": rates}
    pads = pads_of(c, sizes, kernel, strides, rates)
    y = net.op("Conv", x, net.const(ones), group=channels, **window, **pads)  # [N, channels * count, H, W]
    batch, _, *rest = (n if isinstance(n, int) else net.size(n) for n in net.shape(y))
    turned = net.op("Transpose", net.reshape(y, batch, channels, count, *rest), perm=[0, 2, 1, 3, 4])
    return last(c, net.reshape(turned, batch, count * channels, *rest))
