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


def outputs(model: onnx.ModelProto, target: str, feeds: dict[str, Array]) -> dict[str, Array]:
    """What the network built for `target` gives: here where this CPU runs it, else under an emulator."""
    if target in runnable_targets():
        with magicmind.build(magicmind.parse(model), targets=[target]) as built:
            return built.session(threads=1).run(feeds)
    return run_program(compile_parts(magicmind.parse(model), Options(targets=[target])), feeds)


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
