"""Whole networks on CPUs that are not here, under emulators (testing/emulate.py), against this CPU and onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from netbuilder import Net, random_feeds, reference, relative_l2

import magicmind
from magicmind.compiler import Options, compile_parts
from magicmind.testing.emulate_program import run_program
from magicmind.testing.run_kernel import runnable_targets
from magicmind.testing.targets import emulated

Array = np.ndarray[Any, np.dtype[Any]]


def outputs(
    model: onnx.ModelProto, target: str, feeds: dict[str, Array], precision: str = "force_float32"
) -> dict[str, Array]:
    """What the network built for `target` gives: here where this CPU runs it, else under an emulator."""
    if target in runnable_targets():
        with magicmind.build(magicmind.parse(model), precision, targets=[target]) as built:
            return built.session(threads=1).run(feeds)
    return run_program(compile_parts(magicmind.parse(model), Options(precision, targets=[target])), feeds)


def float_network() -> onnx.ModelProto:
    """3x3, depthwise, pointwise and grouped convolutions, a residual sum, pools, a matrix product."""
    n = Net()
    x = n.block(n.input("x", (1, 3, 21, 19)), 3, 24, strides=[2, 2])
    x = n.op("Relu", n.op("Add", n.conv(x, 24, 24), x))
    x = n.block(n.block(x, 24, 24, 3, group=24), 24, 40, 1)
    x = n.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = n.op("HardSwish", n.block(x, 40, 20, 3, group=4))
    flat = n.op("Flatten", n.op("GlobalAveragePool", x))
    return n.model(n.op("Softmax", n.op("Gemm", flat, n.floats(20, 13), n.floats(13))))


@pytest.mark.parametrize("target", emulated("aarch64", "x86-64-v4", "cascadelake", "sapphirerapids"))
def test_float_network(target: str) -> None:
    model = float_network()
    feeds = random_feeds(model)
    (want,) = reference(model, feeds).values()
    (got,) = outputs(model, target, feeds).values()
    assert relative_l2(got, want) < 2e-6


@pytest.mark.parametrize("target", emulated("aarch64", "x86-64-v4", "alderlake"))
def test_float16_network(target: str) -> None:
    model = float_network()
    feeds = random_feeds(model)
    (want,) = reference(model, feeds).values()
    (got,) = outputs(model, target, feeds, "force_float16").values()
    assert relative_l2(got, want) < 3e-3


@pytest.mark.parametrize("target", emulated("x86-64-v4"))
def test_weights_made_before_the_first_call(target: str) -> None:
    n = Net()
    model = n.model(n.conv(n.conv(n.input("x", (1, 3, 30, 26)), 3, 48), 48, 64))
    parts = compile_parts(magicmind.parse(model), Options("force_float16", targets=[target]))
    assert parts.targets[0].plan["prepare"]["steps"]
    feeds = random_feeds(model)
    (want,) = reference(model, feeds).values()
    (got,) = outputs(model, target, feeds, "force_float16").values()
    assert relative_l2(got, want) < 3e-3


class _Quantised(Net):
    """A network of QuantizeLinear and DequantizeLinear around operators, as tools for quantising write them."""

    def dequantised(self, x: str, scale: float, zero: int) -> str:
        return self.op("DequantizeLinear", x, *self._scale(scale, zero))

    def quantised(self, x: str, scale: float, zero: int) -> str:
        return self.op("QuantizeLinear", x, *self._scale(scale, zero))

    def again(self, x: str, scale: float, zero: int) -> str:
        return self.dequantised(self.quantised(x, scale, zero), scale, zero)

    def _scale(self, scale: float, zero: int) -> tuple[str, str]:
        return self.const(np.float32(scale)), self.const(np.uint8(zero))

    def byte_weights(self, *shape: int) -> str:
        """Weights int8 with a scale per first axis, small enough that onnxruntime never saturates sums."""
        scales = self.rng.uniform(0.5, 1.5, shape[0]).astype(np.float32) / np.float32(30 * np.prod(shape[1:]) ** 0.5)
        values = self.const(self.rng.integers(-63, 64, shape).astype(np.int8))
        return self.op("DequantizeLinear", values, self.const(scales), self.const(np.zeros(shape[0], np.int8)), axis=0)

    def byte_conv(self, x: str, channels: int, out: int, kernel: int, group: int = 1, **attributes: Any) -> str:
        weights = self.byte_weights(out, channels // group, kernel, kernel)
        bias = self.floats(out, low=-0.5, high=0.5)
        return self.op("Conv", x, weights, bias, group=group, pads=[kernel // 2] * 4, **attributes)


def integer_network() -> onnx.ModelProto:
    """Bytes from end to end: 3x3, depthwise and pointwise convolutions, a residual sum, pools, a matrix product."""
    n = _Quantised()
    x = n.dequantised(n.input("x", (1, 3, 21, 19), np.uint8), 0.02, 128)
    x = n.again(n.op("Relu", n.byte_conv(x, 3, 24, 3, strides=[2, 2])), 0.015, 0)
    x = n.again(n.op("Relu", n.op("Add", n.byte_conv(x, 24, 24, 3), x)), 0.03, 3)
    x = n.again(n.byte_conv(x, 24, 24, 3, group=24), 0.03, 131)
    x = n.again(n.op("Clip", n.byte_conv(x, 24, 40, 1), n.const(np.float32(0)), n.const(np.float32(6))), 0.024, 0)
    x = n.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = n.again(n.op("GlobalAveragePool", x), 0.02, 7)
    x = n.op("Gemm", n.op("Flatten", x), n.byte_weights(13, 40), n.floats(13), transB=1)
    return n.model(n.quantised(x, 0.02, 120))


INTEGER_TARGETS = ("x86-64-v3", "alderlake", "x86-64-v4", "cascadelake", "sapphirerapids", "aarch64")


@pytest.mark.parametrize("target", emulated(*INTEGER_TARGETS))
def test_integer_network_gives_the_same_bits(target: str) -> None:
    model = integer_network()
    feeds = {"x": np.random.default_rng(5).integers(0, 256, (1, 3, 21, 19)).astype(np.uint8)}
    (want,) = outputs(model, runnable_targets()[0], feeds).values()
    (got,) = outputs(model, target, feeds).values()
    np.testing.assert_array_equal(got, want)
    (near,) = reference(model, feeds).values()
    assert np.abs(got.astype(int) - near).max() <= 2
    assert len(np.unique(got)) > 5
