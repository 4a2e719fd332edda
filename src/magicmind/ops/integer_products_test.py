"""Products of bytes are products of uint8 and int8 whatever their types and zero points, and exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from magicmind.testing.check_lowering import check_lowering

RNG = np.random.default_rng(4)
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "MatMulInteger": [(3, 5, 39), (39, 21)],
    "ConvInteger": [(2, 20, 9, 7), (18, 20, 3, 3)],
}


def integers(dtype: Any, *shape: int) -> Any:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max + 1, shape).astype(dtype)


def expected(op: str, a: Any, b: Any, a_zero: Any, b_zero: Any, attributes: dict[str, Any]) -> Any:
    a, b = (v.astype(np.int64) - zero.astype(np.int64) for v, zero in ((a, a_zero), (b, b_zero)))
    if op == "MatMulInteger":
        return (a @ b).astype(np.int32)
    node = onnx.helper.make_node("Conv", ["a", "b"], ["y"], **attributes)
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, None) for name in "aby"]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:2], ends[2:]))
    (y,) = ReferenceEvaluator(model).run(None, {"a": a.astype(np.float64), "b": b.astype(np.float64)})
    return np.asarray(y).astype(np.int32)


@pytest.mark.parametrize("a_dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("b_dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("op", list(SHAPES))
def test_bytes_of_either_kind(op: str, b_dtype: Any, a_dtype: Any) -> None:
    a, b = (integers(t, *s) for t, s in zip((a_dtype, b_dtype), SHAPES[op], strict=True))
    a_zero, b_zero = a_dtype(100), b_dtype(128 if b_dtype == np.uint8 else 0)
    attributes = {"pads": [1, 0, 1, 2], "strides": [2, 1]} if op == "ConvInteger" else {}
    want = [expected(op, a, b, a_zero, b_zero, attributes)]
    for zeros in ([np.asarray(a_zero), np.asarray(b_zero)], [a_zero.reshape(1), b_zero.reshape(1)]):
        kernels = check_lowering(op, [a, b, *zeros], attributes, passes=True, want=want)
        assert any(name.startswith(("u8i8_matmul", "u8_conv")) for name in kernels), kernels


@pytest.mark.parametrize("zero", [3, 255, "by column"])
def test_weights_that_are_no_int8_around_their_zero_point(zero: Any) -> None:
    a, b = (integers(np.uint8, *s) for s in SHAPES["MatMulInteger"])
    b_zero = integers(np.uint8, 21) if zero == "by column" else np.uint8(zero)
    want = [expected("MatMulInteger", a, b, np.uint8(7), b_zero, {})]
    kernels = check_lowering("MatMulInteger", [a, b, np.uint8(7), b_zero], passes=True, want=want)
    assert any(name.startswith("u8i8_matmul") for name in kernels), kernels


@pytest.mark.parametrize("op", list(SHAPES))
def test_zero_points_at_run_time(op: str) -> None:
    a, b = (integers(t, *s) for t, s in zip((np.uint8, np.int8), SHAPES[op], strict=True))
    a_zero = np.asarray(np.uint8(77))
    want = [expected(op, a, b, a_zero, np.int8(0), {})]
    kernels = check_lowering(op, [a, b, a_zero], passes=True, want=want, shapes={0: a.shape, 2: ()})
    assert any(name.startswith(("u8i8_matmul", "u8_conv")) for name in kernels), kernels


def test_a_zero_point_for_every_row() -> None:
    a, b = (integers(t, *s) for t, s in zip((np.uint8, np.int8), SHAPES["MatMulInteger"], strict=True))
    a, a_zero = a[0], integers(np.uint8, 5)
    want = [expected("MatMulInteger", a, b, a_zero[:, None], np.int8(0), {})]
    check_lowering("MatMulInteger", [a, b, a_zero], passes=True, want=want)


@pytest.mark.parametrize("b_dtype", [np.uint8, np.int8])
def test_both_factors_at_run_time(b_dtype: Any) -> None:
    a, b = integers(np.int8, 2, 1, 5, 39), integers(b_dtype, 1, 3, 39, 21)
    zeros = np.int8(-9), b_dtype(100)
    want = [expected("MatMulInteger", a, b, *zeros, {})]
    kernels = check_lowering(
        "MatMulInteger", [a, b, *zeros], passes=True, want=want, shapes={0: ("N", 1, "M", 39), 1: (1, 3, 39, 21)}
    )
    assert any("matmul_packing" in name for name in kernels), kernels


def test_what_the_bytes_do_not_cover() -> None:
    """Zero points at run time of weights at run time, and as padding."""
    a, b = (integers(np.uint8, *s) for s in SHAPES["MatMulInteger"])
    zeros = np.asarray(np.uint8(9)), np.asarray(np.uint8(200))
    want = [expected("MatMulInteger", a, b, *zeros, {})]
    shapes: dict[int, Any] = {0: a.shape, 1: b.shape, 2: (), 3: ()}
    check_lowering("MatMulInteger", [a, b, *zeros], passes=True, want=want, shapes=shapes)
    x, w = (integers(np.uint8, *s) for s in SHAPES["ConvInteger"])
    x_zero, attributes = np.asarray(np.uint8(9)), {"pads": [1, 1, 1, 1]}
    want = [expected("ConvInteger", x, w, x_zero, np.uint8(0), attributes)]
    check_lowering("ConvInteger", [x, w, x_zero], attributes, passes=True, want=want, shapes={0: x.shape, 2: ()})
