"""Quantised operators against onnxruntime, bit for bit where the result is an integer."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import magicmind
from magicmind.testing.check_lowering import check_lowering

RNG = np.random.default_rng(0)
F = np.float32


def f32(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(F)


def u8(*shape: int) -> Any:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def i8(*shape: int) -> Any:
    """Seven bits: sums of two products then fit int16, where onnxruntime saturates on CPUs without VNNI."""
    return RNG.integers(-64, 64, shape).astype(np.int8)


def q(*shape: int) -> list[Any]:
    return [u8(*shape), F(0.05), np.uint8(110)]


OUT = [F(0.07), np.uint8(100)]
ONNX: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("QuantizeLinear", [f32(3, 4, 5) * 100, F(0.7), np.uint8(100)], {}),
    ("QuantizeLinear", [f32(3, 4, 5) * 100, np.abs(f32(5)) + 0.1, i8(5)], {"axis": 2}),
    ("QuantizeLinear", [f32(3, 4, 7) * 100, np.abs(f32(3, 4, 3)) + 0.1, i8(3, 4, 3)], {"axis": 2, "block_size": 3}),
    ("DequantizeLinear", [u8(3, 4, 5), F(0.7), np.uint8(100)], {}),
    ("DequantizeLinear", [i8(3, 4, 5), np.abs(f32(4)), i8(4)], {}),
    ("DequantizeLinear", [i8(3, 4, 6), np.abs(f32(3, 4, 2)), i8(3, 4, 2)], {"axis": -1, "block_size": 3}),
    ("MatMulInteger", [u8(5, 900), i8(900, 7), np.uint8(3)], {}),
    ("MatMulInteger", [u8(3, 5, 9), i8(9, 7), np.uint8(3), np.int8(2)], {}),
    ("QLinearMatMul", [*q(3, 5, 9), i8(9, 7), F(0.05), np.int8(0), *OUT], {}),
    ("QLinearMatMul", [*q(5, 9), i8(9, 7), np.abs(f32(7)), np.zeros(7, np.int8), *OUT], {}),
    ("ConvInteger", [u8(1, 3, 8, 8), u8(4, 3, 3, 3), np.uint8(128)], {}),
    ("ConvInteger", [u8(1, 64, 12, 12), u8(32, 64, 3, 3), np.uint8(128)], {"pads": [1, 1, 1, 1]}),
    ("QLinearConv", [*q(1, 16, 9, 9), i8(16, 1, 3, 3), np.abs(f32(16)), np.zeros(16, np.int8), *OUT], {"group": 16}),
    (
        "QLinearConv",
        [*q(1, 64, 9, 9), i8(8, 64, 3, 3), F(0.01), np.int8(0), *OUT, np.arange(8, dtype=np.int32) * 99],
        {"pads": [1, 1, 1, 1]},
    ),
]


@pytest.mark.parametrize(("op", "inputs", "attributes"), ONNX, ids=[f"{i}-{c[0]}" for i, c in enumerate(ONNX)])
def test_onnx(op: str, inputs: list[Any], attributes: dict[str, Any]) -> None:
    oracle = "onnx" if "block_size" in attributes else "onnxruntime"
    check_lowering(op, inputs, attributes, passes=True, oracle=oracle)


def test_dynamic_quantisation() -> None:
    check_lowering("DynamicQuantizeLinear", [f32(5, 7)], passes=True, outputs=3)


MICROSOFT: list[tuple[str, list[Any], dict[str, Any], tuple[int, ...]]] = [
    ("QLinearAdd", [*q(2, 3, 4), *q(2, 3, 4), *OUT], {}, (0, 3)),
    ("QLinearConcat", [*OUT, *q(2, 3, 4), *q(2, 5, 4)], {"axis": 1}, (2, 5)),
    ("QLinearSigmoid", [*q(2, 3, 4), F(1 / 256), np.uint8(0)], {}, (0,)),
    ("QLinearLeakyRelu", [*q(2, 3, 4), *OUT], {"alpha": 0.2}, (0,)),
    ("QLinearSoftmax", [*q(2, 3, 4), F(1 / 256), np.uint8(0)], {"opset": 13, "axis": -1}, (0,)),
    ("QLinearAveragePool", [*q(1, 4, 8, 8), *OUT], {"kernel_shape": [3, 3]}, (0,)),
    ("QLinearGlobalAveragePool", [*q(1, 4, 8, 8), *OUT], {}, (0,)),
    ("DequantizeLinear", q(3, 4, 5), {}, (0,)),
    ("DynamicQuantizeMatMul", [f32(5, 9), i8(9, 7), np.abs(f32(7)), np.zeros(7, np.int8), f32(7)], {}, (0,)),
    ("MatMulIntegerToFloat", [u8(5, 9), i8(9, 7), F(0.1), np.abs(f32(7)), np.uint8(100)], {}, (0,)),
]


@pytest.mark.parametrize(("op", "inputs", "attributes", "fed"), MICROSOFT, ids=[c[0] for c in MICROSOFT])
def test_microsoft(op: str, inputs: list[Any], attributes: dict[str, Any], fed: tuple[int, ...]) -> None:
    shapes: dict[int, tuple[int | str, ...]] = {i: inputs[i].shape for i in fed}
    rtol = 1e-5 if op in ("DynamicQuantizeMatMul", "MatMulIntegerToFloat") else 0.0
    check_lowering(op, inputs, attributes, shapes=shapes, passes=True, domain="com.microsoft", rtol=rtol)


def test_products_of_integers_and_doubles() -> None:
    a, b = RNG.integers(-5, 5, (9,)), RNG.integers(-5, 5, (3, 9, 20))
    check_lowering("MatMul", [a, b], shapes={0: (9,), 1: (3, 9, 20)}, passes=True)
    c, d = RNG.standard_normal((2, 1, 5, 9)), RNG.standard_normal((1, 3, 9, 4))
    check_lowering("MatMul", [c, d], shapes={0: ("N", 1, 5, 9), 1: (1, "M", 9, 4)}, passes=True, rtol=1e-12)
    check_lowering("Gemm", [c[0, 0], d[0, 0]], {"alpha": 0.5}, passes=True, rtol=1e-12)


def test_qlinear_mul_rounds_halves_to_even() -> None:
    """Scales whose product is exact. (onnxruntime is off by one in some ties.)"""
    a, b = u8(2, 3, 4), u8(4)
    inputs = [a, F(0.25), np.uint8(9), b, F(0.125), np.uint8(4), F(2), np.uint8(7)]
    exact = np.rint((a.astype(float) - 9) * (b.astype(float) - 4) / 64) + 7
    want = [np.clip(exact, 0, 255).astype(np.uint8)]
    shapes = {0: a.shape, 3: b.shape}
    check_lowering("QLinearMul", inputs, shapes=shapes, passes=True, domain="com.microsoft", want=want)


def test_weights_of_four_and_eight_bits() -> None:
    """Constants of narrow types are data of DequantizeLinear like any other."""
    x = f32(3, 4)
    for dtype in (onnx.TensorProto.INT4, onnx.TensorProto.FLOAT8E4M3FN, onnx.TensorProto.FLOAT8E5M2):
        kind = onnx.helper.tensor_dtype_to_np_dtype(dtype)
        weights = RNG.integers(-7, 8, (4,)).astype(kind)
        helper = onnx.helper
        nodes = [helper.make_node("DequantizeLinear", ["w", "s"], ["d"]), helper.make_node("Mul", ["x", "d"], ["y"])]
        info = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [3, 4])
        out = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [3, 4])
        constants = [onnx.numpy_helper.from_array(weights, "w"), onnx.numpy_helper.from_array(np.array(0.5, F), "s")]
        graph = helper.make_graph(nodes, "g", [info], [out], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
        with magicmind.build(magicmind.parse(model)) as built:
            (y,) = built.session(threads=1).run({"x": x}).values()
        np.testing.assert_array_equal(y, x * (weights.astype(F) * F(0.5)))
