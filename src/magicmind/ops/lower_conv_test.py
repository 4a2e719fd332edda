"""`magicmind.Conv` of bytes and float16 through its lowering, against the operator's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest

from magicmind.ops.fused import reference_conv
from magicmind.ops.separable import reference
from magicmind.testing.check_lowering import check_lowering
from magicmind.testing.run_kernel import runnable_targets

TARGETS = [name for name in ("x86-64-v2", "x86-64-v3") if name in runnable_targets()]
QUANTISE = ["t0 = Cast(acc, FLOAT)", "t1 = Mul(t0, x0)", "t2 = Relu(t1)", "t3 = Quantise(t2, 3, UINT8)"]
Array = npt.NDArray[Any]


def expected(inputs: list[Array | None], attributes: dict[str, Any]) -> Array:
    node = onnx.helper.make_node("Conv", ["x"] * len(inputs), ["y"], domain="magicmind", **attributes)
    return np.asarray(reference_conv(ir.serde.deserialize_node(node), inputs)[0])


def check(inputs: list[Array | None], attributes: dict[str, Any], rtol: float = 0.0) -> list[str]:
    """Fixed sizes, then all but the channels known at run time only. Returns the kernels of the first."""
    want = expected(inputs, attributes)
    x = inputs[0]
    assert x is not None
    kernels = check_lowering(
        "Conv", inputs, attributes, domain="magicmind", want=[want], targets=TARGETS, rtol=rtol, passes=True
    )
    shapes: dict[int, list[int | str]] = {0: ["N", x.shape[1], "H", "W"]}
    check_lowering(
        "Conv", inputs, attributes, domain="magicmind", want=[want], targets=TARGETS, rtol=rtol, passes=True,
        shapes=shapes,
    )  # fmt: skip
    return kernels


def bytes_of(ic: int, oc: int, k: int, groups: int = 1, size: tuple[int, int] = (9, 11)) -> list[Array | None]:
    rng = np.random.default_rng(5)
    return [
        rng.integers(0, 256, (2, ic * groups, *size)).astype(np.uint8),
        rng.integers(-128, 128, (oc * groups, ic, k, k)).astype(np.int8),
        rng.integers(-30000, 30000, oc * groups).astype(np.int32),
        (rng.uniform(0.5, 2, (1, oc * groups, 1, 1)) / (400 * np.sqrt(ic * k * k))).astype(np.float32),
    ]


CASES = [
    ("u8_conv_", bytes_of(20, 33, 3), {"pads": [1, 1, 1, 1]}),
    ("u8_conv_", bytes_of(32, 16, 1), {}),
    ("u8_conv_", bytes_of(32, 16, 1), {"strides": [2, 2]}),
    ("u8_conv_first", bytes_of(3, 24, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ("u8_conv_", bytes_of(4, 4, 3, groups=8), {"group": 8}),
    ("u8_depthwise", bytes_of(1, 1, 3, groups=20), {"pads": [1, 1, 1, 1], "group": 20}),
    ("u8i8_matmul", bytes_of(16, 40, 1, size=(1, 1)), {}),
]


@pytest.mark.parametrize(("kernel", "inputs", "attributes"), CASES)
def test_bytes(kernel: str, inputs: list[Array | None], attributes: dict[str, Any]) -> None:
    kernels = check(inputs, {**attributes, "x_zero": 117, "epilogue": QUANTISE})
    assert any(name.startswith(kernel) for name in kernels), kernels


def test_bytes_without_bias_to_float() -> None:
    inputs = bytes_of(17, 9, 3)
    inputs[2] = None
    check(inputs, {"x_zero": 5, "epilogue": ["t0 = Cast(acc, FLOAT)", "t1 = Mul(t0, x0)"]})
    check(inputs[:2], {"x_zero": 5})


HALVES = [
    ("f16_conv_", (20, 33, 3, 1), {"pads": [1, 1, 1, 1]}),
    ("f16_conv_", (32, 16, 1, 1), {}),
    ("f16_conv_first", (3, 24, 3, 1), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ("f16_depthwise", (1, 1, 3, 20), {"pads": [1, 1, 1, 1], "group": 20}),
]


@pytest.mark.parametrize(("kernel", "sizes", "attributes"), HALVES)
def test_float16(kernel: str, sizes: tuple[int, int, int, int], attributes: dict[str, Any]) -> None:
    ic, oc, k, groups = sizes
    rng = np.random.default_rng(6)
    x = rng.standard_normal((2, ic * groups, 9, 11)).astype(np.float16)
    w = (rng.standard_normal((oc * groups, ic, k, k)) / np.sqrt(ic * k * k)).astype(np.float16)
    bias = rng.standard_normal(oc * groups).astype(np.float16)
    kernels = check([x, w, bias], {**attributes, "epilogue": ["t0 = Relu(acc)"]}, rtol=2e-3)
    assert any(name.startswith(kernel) for name in kernels), kernels


@pytest.mark.parametrize("runtime", [False, True])
def test_separable_float16(runtime: bool) -> None:
    rng = np.random.default_rng(8)
    x = rng.standard_normal((1, 20, 15, 17)).astype(np.float16)
    v = (rng.standard_normal((20, 1, 3, 3)) / 3).astype(np.float16)
    w = (rng.standard_normal((24, 20, 1, 1)) / 4).astype(np.float16)
    c, bias = rng.standard_normal(20).astype(np.float16), rng.standard_normal(24).astype(np.float16)
    residual = rng.standard_normal((1, 24, 15, 17)).astype(np.float16)
    inputs = [x, v, c, w, bias, residual]
    attributes: dict[str, Any] = {"pads": [1, 1, 1, 1], "inner": ["t0 = Relu(acc)"], "epilogue": ["t0 = Add(acc, x0)"]}
    wide = [a.astype(np.float32) for a in inputs]
    node = onnx.helper.make_node("SeparableConv", ["x"] * 6, ["y"], domain="magicmind", **attributes)
    want = np.asarray(reference(ir.serde.deserialize_node(node), wide)[0])
    size: list[int | str] = ["N", 20, "H", "W"] if runtime else [*x.shape]
    shapes = {0: size, 5: [size[0], 24, *size[2:]]}
    kernels = check_lowering(
        "SeparableConv", inputs, attributes, domain="magicmind", want=[want], targets=TARGETS, rtol=2e-3,
        shapes=shapes, passes=True,
    )  # fmt: skip
    assert any(name.startswith("f16_separable") for name in kernels), kernels


def words_of(ic: int, oc: int, k: int, groups: int = 1, size: int = 9) -> list[Array | None]:
    rng = np.random.default_rng(6)
    ends = np.array([-32768, -32767, 0, 3, 32767], np.int16)
    return [
        rng.choice(ends, (2, ic * groups, size, size + 2)),
        rng.choice(ends, (oc * groups, ic, k, k)),
        rng.integers(-30000, 30000, oc * groups).astype(np.int64),
        (rng.uniform(0.5, 2, (1, oc * groups, 1, 1)) / (65536 * np.sqrt(ic * k * k))).astype(np.float32),
    ]


WORDS = ["t0 = Cast(acc, FLOAT)", "t1 = Mul(t0, x0)", "t2 = Quantise(t1, 0, INT16)"]


@pytest.mark.parametrize(
    ("inputs", "attributes"),
    [
        (words_of(20, 33, 3), {"pads": [1, 1, 1, 1]}),
        (words_of(32, 16, 1), {"strides": [2, 2]}),
        (words_of(3, 24, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
        (words_of(1, 1, 3, groups=20), {"pads": [1, 1, 1, 1], "group": 20}),
        (words_of(4, 4, 3, groups=8), {"group": 8, "dilations": [2, 1]}),
        (words_of(16, 40, 1, size=1), {}),
    ],
)
def test_words_are_summed_in_64_bits(inputs: list[Array | None], attributes: dict[str, Any]) -> None:
    attributes = {"strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1], "group": 1, **attributes}
    check(inputs, {**attributes, "epilogue": WORDS})
    check(inputs[:3], {**attributes, "epilogue": WORDS[:1]})
