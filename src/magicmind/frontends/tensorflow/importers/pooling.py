"""Pools over spatial axes, local response normalisation."""

from __future__ import annotations

from typing import Any

from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.frontends.tensorflow.importers.convolution import from_first, to_first
from magicmind.frontends.tensorflow.layout import first, last
from magicmind.frontends.tensorflow.window import is_first, pads_of
from magicmind.ops.emitter import Value


def _window(c: Call, x: Value) -> dict[str, Any]:
    numbers = {"ksize": c.attr("ksize"), "strides": c.attr("strides")}
    if c.node.op.endswith("V2"):
        numbers = {"ksize": c.ints(1, "ksize"), "strides": c.ints(2, "strides")}
    found = {}
    for name, listed in numbers.items():
        kept, rest = (listed[2:], listed[:2]) if is_first(c) else (listed[1:-1], [listed[0], listed[-1]])
        if any(n != 1 for n in rest):
            raise c.unsupported(f"{name} = {list(listed)}: pools over images or channels")
        found[name] = [int(n) for n in kept]
    kernel, strides = found["ksize"], found["strides"]
    pads = pads_of(c, c.net.shape(x)[2:], kernel, strides, [1] * len(kernel))
    return {"kernel_shape": kernel, "strides": strides, **pads}


@importer("MaxPool", "MaxPoolV2", "MaxPool3D")
def max_pool(c: Call) -> Value:
    """MaxPool."""
    x = to_first(c, c.x)
    return from_first(c, c.net.op("MaxPool", x, **_window(c, x)))


@importer("AvgPool", "AvgPool3D")
def average_pool(c: Call) -> Value:
    """AveragePool; padding does not count."""
    x = to_first(c, c.x)
    return from_first(c, c.net.op("AveragePool", x, **_window(c, x)))


@importer("MaxPoolWithArgmax")
def max_pool_with_argmax(c: Call) -> list[Value]:
    """MaxPool and where the largest were found, counted over [height, width, channels]."""
    net, x = c.net, to_first(c, c.x)
    height, width, channels = (c.fixed(d, "the size of the image") for d in (*net.shape(x)[2:], net.shape(x)[1]))
    values, places = net.ops("MaxPool", x, count=2, **_window(c, x))  # counted over [images, channels, h, w]
    size, plane = net.const(height * width, "int64"), net.const(channels, "int64")
    channel = net.op("Mod", net.op("Div", places, size), plane)
    image = net.op("Div", places, net.const(height * width * channels, "int64"))
    found = net.op("Add", net.op("Mul", net.op("Mod", places, size), plane), channel)
    if c.attr("include_batch_in_index", False):
        found = net.op("Add", found, net.op("Mul", image, net.const(height * width * channels, "int64")))
    dtype = c.node.dtype("Targmax") if c.node.has("Targmax") else net.type(found).dtype
    return [from_first(c, values), from_first(c, net.cast(found, dtype))]


@importer("LRN")
def lrn(c: Call) -> Value:
    """LRN; its alpha is for each element of the window, ONNX's for the whole window."""
    size = 2 * int(c.attr("depth_radius", 5)) + 1
    found: dict[str, Any] = {
        name: float(c.attr(name, default)) for name, default in (("alpha", 1.0), ("beta", 0.5), ("bias", 1.0))
    }
    found["alpha"] *= size
    return last(c, c.net.op("LRN", first(c, c.x), size=size, **found))
