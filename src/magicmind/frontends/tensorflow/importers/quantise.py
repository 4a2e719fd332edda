"""FakeQuant nodes, which mark ranges that were learnt for integers, and conversions between integers and ranges."""

from __future__ import annotations

import numpy as np
import onnx_ir

from magicmind.errors import ModelFormatError
from magicmind.frontends.tensorflow.call import Array, Call, importer
from magicmind.frontends.tensorflow.layout import along
from magicmind.ops.emitter import Value


@importer("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel")
def fake_quant(c: Call) -> Value:
    """QuantizeLinear and DequantizeLinear, with the range moved so that zero is met exactly."""
    if c.node.op == "FakeQuantWithMinMaxArgs":
        low, high = np.asarray(c.attr("min", -6.0)), np.asarray(c.attr("max", 6.0))
    else:
        low, high = c.const(1, "min"), c.const(2, "max")
    bits, first = int(c.attr("num_bits", 8)), int(bool(c.attr("narrow_range", False)))
    if not 2 <= bits <= 16:
        raise ModelFormatError(f"num_bits is {bits}; 2 to 16 are allowed")
    levels = (1 << bits) - 1
    scale, zero = nudged(low.astype(np.float32), high.astype(np.float32), first, levels)
    kind = np.uint8 if bits <= 8 else np.uint16
    clip = first > 0 or levels != np.iinfo(kind).max

    def build(x: Value, axes: list[int]) -> Value:
        net = c.net
        if clip:
            shape = [-1 if i == axes[0] else 1 for i in range(net.rank(x))] if scale.ndim else []
            bounds = [((edge - zero) * scale).astype(np.float32).reshape(shape) for edge in (first, levels)]
            x = net.op("Min", net.op("Max", x, net.const(bounds[0])), net.const(bounds[1]))
        steps = net.const(scale), net.const(zero.astype(kind))
        axis = axes[0] if scale.ndim else None
        quantised = net.op("QuantizeLinear", x, *steps, axis=axis)
        return net.op("DequantizeLinear", quantised, *steps, axis=axis)

    return along(c, c.x, [c.rank() - 1], build)


def nudged(low: Array, high: Array, first: int, last: int) -> tuple[Array, Array]:
    """(scale, number that stands for zero) of a range, which is moved so that zero is a number in first..last."""
    scale = (high - low) / np.float32(last - first)
    safe = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    exact = first - low / safe
    zero = np.where(exact < first, first, np.where(exact > last, last, np.floor(exact + 0.5)))
    return safe, zero


@importer("Dequantize")
def dequantize(c: Call) -> Value:
    """Integers that spread evenly over a known range, as float."""
    low, high = (float(c.const(i, "the range").reshape(-1)[0]) for i in (1, 2))
    mode, dtype = c.attr("mode", "MIN_COMBINED"), c.net.type(c.x).dtype
    info = np.iinfo(dtype.numpy())
    if mode == "SCALED":
        scale = max(abs(low) / -info.min if info.min else 0.0, abs(high) / info.max)
        offset = 0.0
    else:
        scale = (high - low) / (info.max - info.min)
        offset = low - info.min * scale if mode == "MIN_COMBINED" else round(low / scale) * scale - info.min * scale
    x = c.net.cast(c.x, onnx_ir.DataType.FLOAT)
    return c.net.op("Add", c.net.op("Mul", x, c.net.scalar(scale, x)), c.net.scalar(offset, x))


@importer("QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3", "QuantizeAndDequantizeV4")
def quantise_and_back(c: Call) -> Value:
    """Rounding to integers that are symmetric around 0: QuantizeLinear and DequantizeLinear where they are 8 bits."""
    net, x, axis = c.net, c.x, int(c.attr("axis", -1))
    bits = c.number(3, "num_bits") if c.node.op == "QuantizeAndDequantizeV3" else int(c.attr("num_bits", 8))
    signed, narrow = bool(c.attr("signed_input", True)), bool(c.attr("narrow_range", False))
    if not 2 <= bits <= 16:
        raise ModelFormatError(f"num_bits is {bits}; 2 to 16 are allowed")
    if not c.attr("range_given", c.node.op == "QuantizeAndDequantizeV3"):
        raise c.unsupported("a range that each input has for itself (range_given = false)")
    last = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1
    low, high = c.const(1, "input_min"), c.const(2, "input_max")
    scale = np.asarray(_symmetric(low, high, -last - (not narrow) if signed else 0, last), np.float32)
    least = -last - (not narrow) if signed else 0
    half_up = c.attr("round_mode", "HALF_TO_EVEN") == "HALF_UP"
    shape = [-1 if i == axis else 1 for i in range(c.rank())] if scale.ndim else []
    if bits == 8 and not narrow and not half_up:
        zero = net.const(np.zeros(scale.shape, np.int8 if signed else np.uint8))
        quantised = net.op("QuantizeLinear", x, net.const(scale), zero, axis=axis if scale.ndim else None)
        return net.op("DequantizeLinear", quantised, net.const(scale), zero, axis=axis if scale.ndim else None)
    steps = net.const(scale.reshape(shape))
    scaled = net.op("Div", x, steps)
    scaled = net.op("Floor", net.op("Add", scaled, net.scalar(0.5, x))) if half_up else net.op("Round", scaled)
    limited = net.op("Clip", scaled, net.scalar(least, x), net.scalar(last, x))
    return net.op("Mul", limited, steps)


def _symmetric(low: Array, high: Array, least: int, last: int) -> Array:
    """The step between numbers such that `least`..`last` reach over a range, without moving zero."""
    by_low = np.where(least * low > 0, low / (least or 1), 0.0)
    by_high = np.where(last * high > 0, high / last, 0.0)
    return np.maximum(by_low, by_high)
