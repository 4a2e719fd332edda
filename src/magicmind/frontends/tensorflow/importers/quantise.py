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
