"""PluginReLU as native code: the kernel is written in the vocabulary of `magicmind.codegen`.

It is compiled into the offline model, which then runs without this file.

magicmind build net.onnx --plugin_path examples/plugin_relu_kernel.py     the network calls fast.PluginReLU
magicmind run net.mm
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir

from magicmind import plugin
from magicmind.codegen.builder import Index, Kernel, Size, Vec
from magicmind.codegen.loops import for_rows, vector_loop
from magicmind.codegen.target import Target
from magicmind.errors import UnsupportedOperatorError
from magicmind.kernels.spec import count_params
from magicmind.lower.lowering import Lowering

GRAIN = 16384
"""Elements that are worth waking another thread for."""


@dataclass(frozen=True)
class Relu:
    """out[i] = max(x[i], 0), of ReLU6 at most 6.  float32; `size` is a number or known at run time."""

    size: Size
    six: bool

    @property
    def name(self) -> str:
        return f"relu{6 if self.six else ''}_{self.size}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, ("f32", "f32"), count_params(self))
        x, out = k.pointers

        def vectors(i: Index, lanes: int, mask: Vec | None) -> None:
            value = x.load(lanes, i, mask)
            value = k.select(value.compare("<", 0.0), k.const(0.0, "f32", lanes), value)  # a NaN stays one
            if self.six:
                value = k.select(value.compare(">", 6.0), k.const(6.0, "f32", lanes), value)
            out.store(value, i, mask)

        for_rows(k, 1, k.size(self.size), GRAIN, lambda _, first, last: vector_loop(k, "i", first, last, vectors))
        return k


def types(input: plugin.TensorSpec, *, Dim: Sequence[int] = (), FuncType: int = 0) -> plugin.TensorSpec:
    return input


def kernel(low: Lowering, node: onnx_ir.Node) -> None:
    """One call over all elements; the result takes the input's memory where nothing else reads it."""
    (x,), (out,) = node.inputs, node.outputs
    assert x is not None
    if low.dtype(x) != "f32" or low.layout(x) != low.layout(out):
        raise UnsupportedOperatorError(f"{node.name}: the kernel of fast.PluginReLU takes float32")
    attribute = node.attributes.get("FuncType")
    p, count = low.params(), math.prod(low.physical_shape(out))
    spec = Relu(p.size(count), six=attribute is not None and attribute.as_int() == 1)
    low.reuse(out, x)
    low.call(node, spec, [low.ref(x), low.ref(out)], p, flops=count, bytes=8 * count)


plugin.register("PluginReLU", domain="fast", types=types, kernel=kernel)
