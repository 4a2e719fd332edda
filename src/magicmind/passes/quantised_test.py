"""From QuantizeLinear and DequantizeLinear to products of whole numbers: one pass after the other, then all of them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_ir import DataType

from magicmind.ops.reference import run_graph
from magicmind.passes.average_to_integer import AverageToInteger
from magicmind.passes.fold_requantise import FoldRequantise
from magicmind.passes.fuse_byte_table import FuseByteTable
from magicmind.passes.move_dequantise import DropRequantise, HoistQuantise, MoveDequantise, TransposeWeights
from magicmind.passes.pipeline import simplify
from magicmind.passes.quantise_to_elementwise import FoldDequantise, QuantiseToElementwise
from magicmind.passes.shift_to_unsigned import ShiftToUnsigned
from magicmind.passes.to_integer import ConvToInteger, MatmulOfDataToInteger, MatmulToInteger
from magicmind.testing.check_pass import check_declined, check_pass, parse_model

S = "float s = {0.5}, uint8 z = {3}"
IMAGE = "(uint8[N,2,4,4] q) => (float[N,2,2,2] y)"


def test_dequantise_moves_past_what_only_selects() -> None:
    check_pass(
        MoveDequantise(),
        f"{IMAGE} <{S}> {{ t = DequantizeLinear(q, s, z) y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(t) }}",
        f"{IMAGE} <{S}> {{ t = MaxPool<kernel_shape=[2,2], strides=[2,2]>(q) y = DequantizeLinear(t, s, z) }}",
    )


def test_dequantise_moves_past_a_concatenation_of_one_scale() -> None:
    head = "(uint8[N,2,4,4] a, uint8[N,3,4,4] b) => (float[N,5,4,4] y)"
    check_pass(
        MoveDequantise(),
        f"{head} <{S}> {{ u = DequantizeLinear(a, s, z) v = DequantizeLinear(b, s, z) y = Concat<axis=1>(u, v) }}",
        f"{head} <{S}> {{ t = Concat<axis=1>(a, b) y = DequantizeLinear(t, s, z) }}",
    )
    check_declined(
        MoveDequantise(),
        f"{head} <{S}, float s2 = {{0.25}}> {{ u = DequantizeLinear(a, s, z) v = DequantizeLinear(b, s2, z) "
        "y = Concat<axis=1>(u, v) }",
        "several scales",
    )


def test_padding_with_zero_is_padding_with_the_zero_point() -> None:
    head = "(uint8[N,2] q) => (float[N,4] y)"
    check_pass(
        MoveDequantise(),
        f"{head} <{S}, int64[4] p = {{0,1,0,1}}> {{ t = DequantizeLinear(q, s, z) y = Pad(t, p) }}",
        f"{head} <{S}, int64[4] p = {{0,1,0,1}}> {{ t = Pad(q, p, z) y = DequantizeLinear(t, s, z) }}",
    )
    check_declined(
        MoveDequantise(),
        f"{head} <{S}, int64[4] p = {{0,1,0,1}}, float one = {{1.0}}> "
        "{ t = DequantizeLinear(q, s, z) y = Pad(t, p, one) }",
        "another number than zero",
    )


def test_weights_are_turned_before_they_are_dequantised() -> None:
    head = "(float[N,3] x) => (float[N,2] y) <float[2] s = {0.5, 2.0}, int8[2] z = {0, 0}, "
    check_pass(
        TransposeWeights(),
        head + "int8[2,3] w = {1, 2, 3, 4, 5, 6}> "
        "{ d = DequantizeLinear<axis=0>(w, s, z) t = Transpose<perm=[1,0]>(d) y = MatMul(x, t) }",
        head + "int8[3,2] w = {1, 4, 2, 5, 3, 6}> { d = DequantizeLinear<axis=1>(w, s, z) y = MatMul(x, d) }",
    )
    check_declined(TransposeWeights(), "(float[N,3] x) => (float[3,N] y) { y = Transpose<perm=[1,0]>(x) }", "constant")


def test_quantise_moves_in_front_of_a_reshape() -> None:
    head = "(float[N,2,4] x) => (uint8[N,8] y)"
    check_pass(
        HoistQuantise(),
        f"{head} <{S}> {{ t = Flatten(x) y = QuantizeLinear(t, s, z) }}",
        f"{head} <{S}> {{ t = QuantizeLinear(x, s, z) y = Flatten(t) }}",
    )
    check_declined(
        HoistQuantise(),
        f"(float[N,2,4] x) => (uint8[N,8] y, float[N,8] t) <{S}> {{ t = Flatten(x) y = QuantizeLinear(t, s, z) }}",
        "used elsewhere",
    )


def test_quantising_again_by_the_same_parameters_is_nothing() -> None:
    head = "(uint8[N] q) => (uint8[N] y)"
    check_pass(
        DropRequantise(),
        f"{head} <{S}> {{ t = DequantizeLinear(q, s, z) y = QuantizeLinear(t, s, z) }}",
        f"{head} {{ y = Identity(q) }}",
    )
    check_declined(
        DropRequantise(),
        f"{head} <{S}, float s2 = {{0.25}}> {{ t = DequantizeLinear(q, s, z) y = QuantizeLinear(t, s2, z) }}",
        "the parameters differ",
    )


def test_signed_bytes_inside_become_unsigned() -> None:
    head = "(float[N,2,4,4] x) => (float[N,2,2,2] y)"
    body = (
        "{ q = QuantizeLinear(x, s, z) m = MaxPool<kernel_shape=[2,2],strides=[2,2]>(q) y = DequantizeLinear(m, s, z) }"
    )
    check_pass(
        ShiftToUnsigned(),
        f"{head} <float s = {{0.5}}, int8 z = {{-3}}>" + body,
        f"{head} <float s = {{0.5}}, uint8 z = {{125}}>" + body,
    )
    check_declined(
        ShiftToUnsigned(),
        "(float[N] x) => (int8[N] y) <float s = {0.5}, int8 z = {-3}> { y = QuantizeLinear(x, s, z) }",
    )


CONV = "(uint8[N,1,3,3] q) => (float[N,2,3,3] y)"
WEIGHTS = "int8[2,1,1,1] w = {7, -9}, float[2] ws = {0.5, 0.25}, int8[2] wz = {0, 0}, float[2] b = {1.0, -2.0}"


def test_weights_that_arrive_as_floats_before_their_quantiser_are_whole_numbers_too() -> None:
    """As quantisation-aware training and several quantisers export them."""
    weights = ", ".join(f"{number:.2f}" for number in np.linspace(-2, 2, 33 * 40))
    model = parse_model(
        "(uint8[N,40,4,4] q) => (float[N,33,4,4] y) <float s = {0.5}, uint8 z = {3}, float ws = {0.02}, int8 wz = {0},"
        f" float[33,40,1,1] w = {{{weights}}}> {{ x = DequantizeLinear(q, s, z) u = QuantizeLinear(w, ws, wz)"
        " v = DequantizeLinear(u, ws, wz) y = Conv(x, v) }"
    )
    simplify(model)
    (product,) = [node for node in model.graph if node.op_type == "Conv"]
    assert product.inputs[1] is not None and product.inputs[1].dtype == DataType.INT8


def test_a_convolution_of_dequantised_numbers() -> None:
    check_pass(
        ConvToInteger(),
        f"{CONV} <{S}, {WEIGHTS}> "
        "{ x = DequantizeLinear(q, s, z) k = DequantizeLinear<axis=0>(w, ws, wz) y = Conv(x, k, b) }",
        f"{CONV} <int8[2,1,1,1] w = {{7, -9}}, int32[2] b = {{4, -16}}, float[1,2,1,1] f = {{0.25, 0.125}}> {{"
        "t = magicmind.Conv<kernel_shape=[1,1],strides=[1,1],pads=[0,0,0,0],dilations=[1,1],group=1,x_zero=3>(q, w, b)"
        'y = magicmind.Elementwise<program=["t0 = Cast(x0, FLOAT)", "t1 = Mul(t0, x1)"]>(t, f) }',
    )


def test_weights_that_do_not_fit_once_centred_stay_floats() -> None:
    text = (
        f"{CONV} <{S}, uint8[2,1,1,1] w = {{0, 255}}, float ws = {{0.5}}, uint8 wz = {{100}}> "
        "{ x = DequantizeLinear(q, s, z) k = DequantizeLinear(w, ws, wz) y = Conv(x, k) }"
    )
    check_declined(ConvToInteger(), text, "do not fit once they are centred")
    check_pass(
        FoldDequantise(),
        text,
        f"{CONV} <{S}, float[2,1,1,1] w = {{-50.0, 77.5}}> {{ x = DequantizeLinear(q, s, z) y = Conv(x, w) }}",
    )


def test_a_matrix_product_of_signed_data_reads_it_shifted() -> None:
    head = "(int8[N,2] q) => (float[N,1] y) <float s = {0.5}, int8 z = {3}, int8[1,2] w = {7, -9}, float ws = {0.5}"
    check_pass(
        MatmulToInteger(),
        f"{head}> {{ x = DequantizeLinear(q, s, z) k = DequantizeLinear(w, ws) y = Gemm<transB=1>(x, k) }}",
        f"{head}, int8[2,1] t = {{7, -9}}> {{"
        'u = magicmind.Elementwise<program=["t0 = Cast(x0, INT32)", "t1 = Add(t0, 128)", "t2 = Cast(t1, UINT8)"]>(q)'
        "v = magicmind.MatMul<x_zero=131>(u, t)"
        'y = magicmind.Elementwise<program=["t0 = Cast(x0, FLOAT)", "t1 = Mul(t0, 0.25)"]>(v) }',
    )


def test_a_product_of_two_computed_tensors() -> None:
    head = "(uint8[N,4,2] p, uint8[N,2,4] q) => (float[N,4,4] y)"
    check_pass(
        MatmulOfDataToInteger(),
        f"{head} <{S}, float t = {{0.25}}, uint8 u = {{9}}> "
        "{ a = DequantizeLinear(p, s, z) b = DequantizeLinear(q, t, u) y = MatMul(a, b) }",
        f"{head} {{ v = magicmind.MatMul<x_zero=3, b_zero=9>(p, q)"
        'y = magicmind.Elementwise<program=["t0 = Cast(x0, FLOAT)", "t1 = Mul(t0, 0.125)"]>(v) }',
    )


def test_an_average_of_bytes() -> None:
    head, constants = "(uint8[N,2,4,4] q) => (uint8[N,2,1,1] y", f"<{S}, float t = {{0.25}}, uint8 u = {{9}}>"
    body = "{ d = DequantizeLinear(q, s, z) m = GlobalAveragePool(d) y = QuantizeLinear(m, t, u) }"
    check_pass(
        AverageToInteger(),
        f"{head}) {constants} {body}",
        f"{head}) {{ y = GlobalAveragePool<scale=2.0, x_zero=3, y_zero=9>(q) }}",
    )
    check_declined(AverageToInteger(), f"{head}, float[N,2,1,1] m) {constants} {body}", "as a float, too")
    channels = head.replace("[N,2,1,1]", "[N,1,4,4]"), constants.replace("<", "<int64[1] a = {1}, ")
    mean = body.replace("GlobalAveragePool(d)", "ReduceMean(d, a)")
    check_declined(AverageToInteger(), f"{channels[0]}) {channels[1]} {mean}", "other axes")


def test_a_costly_function_of_bytes_is_a_table() -> None:
    head = "(uint8[N] q) => (uint8[N] y)"
    lines = ["t0 = Cast(x0, FLOAT)", "t1 = Mul(t0, 0.1)", "t2 = Exp(t1)", "t3 = Quantise(t2, 0, UINT8)"]
    table = np.clip(np.rint(np.exp(np.arange(256) * np.float32(0.1))), 0, 255).astype(int)
    check_pass(
        FuseByteTable(),
        f"{head} {{ y = magicmind.Elementwise<program=[{', '.join(repr(x) for x in lines)}]>(q) }}".replace("'", '"'),
        f"{head} <uint8[256] t = {{{', '.join(map(str, table))}}}> {{ y = magicmind.ByteTable(q, t) }}",
    )
    cheap = ["t0 = Cast(x0, FLOAT)", "t1 = Mul(t0, 0.1)", "t2 = Quantise(t1, 0, UINT8)"]
    check_declined(
        FuseByteTable(),
        f"{head} {{ y = magicmind.Elementwise<program=[{', '.join(repr(x) for x in cheap)}]>(q) }}".replace("'", '"'),
        "as fast as a table",
    )


def test_a_dequantised_value_is_computed_by_each_reader() -> None:
    head = "(uint8[N] q) => (float[N] a, float[N] b)"
    part = 'magicmind.Elementwise<program=["t0 = Cast(x0, FLOAT)", "t1 = Sub(t0, 3.0)", "t2 = Mul(t1, 0.5)"]>(q)'
    check_pass(
        QuantiseToElementwise(),
        f"{head} <{S}> {{ x = DequantizeLinear(q, s, z) a = Relu(x) b = Neg(x) }}",
        f"{head} {{ y = {part} x = {part} a = Relu(x) b = Neg(y) }}",
    )


PROGRAM = (
    "(int32[N,2] q) => (uint8[N,2] y) <float[2] f = {{0.5, 3.0}}> {{ y = magicmind.Elementwise<program=[{}]>(q, {}) }}"
)


def _program(*lines: str, f: str = "f") -> str:
    return PROGRAM.format(", ".join(f'"{line}"' for line in lines), f).replace(
        "0.5, 3.0", "0.5, 3.0" if f == "f" else f
    )


def test_one_multiply_from_sum_to_byte() -> None:
    before = [
        "t0 = Cast(x0, FLOAT)",
        "t1 = Mul(t0, x1)",
        "t2 = Relu(t1)",
        "t3 = Div(t2, 0.25)",
        "t4 = Quantise(t3, 0, UINT8)",
    ]
    after = ["t0 = Cast(x0, FLOAT)", "t1 = Mul(t0, x1)", "t2 = Quantise(t1, 0, UINT8)"]
    check_pass(FoldRequantise(), _program(*before), _program(*after).replace("0.5, 3.0", "2.0, 12.0"))


def test_bounds_inside_the_range_of_bytes_stay() -> None:
    before = ["t0 = Cast(x0, FLOAT)", "t1 = Mul(t0, x1)", "t2 = Clip(t1, 0.0, 6.0)", "t3 = Div(t2, 0.25)"]
    after = ["t0 = Cast(x0, FLOAT)", "t1 = Mul(t0, x1)", "t2 = Clip(t1, 0.0, 24.0)", "t3 = Quantise(t2, 9, UINT8)"]
    check_pass(
        FoldRequantise(),
        _program(*before, "t4 = Quantise(t3, 9, UINT8)"),
        _program(*after).replace("0.5, 3.0", "2.0, 12.0"),
    )


def test_what_is_not_homogeneous_keeps_its_division() -> None:
    lines = [
        "t0 = Cast(x0, FLOAT)",
        "t1 = Mul(t0, x1)",
        "t2 = Exp(t1)",
        "t3 = Div(t2, 0.25)",
        "t4 = Quantise(t3, 0, UINT8)",
    ]
    check_declined(FoldRequantise(), _program(*lines), "nothing to fold")


@pytest.mark.parametrize("signed", [False, True])
def test_a_residual_block_is_whole_numbers_from_end_to_end(signed: bool) -> None:
    kind, low = ("int8", -128) if signed else ("uint8", 0)
    text = (
        "(float[N,16,6,6] x) => (float[N,16,3,3] y) <"
        f"float sx = {{0.03}}, {kind} zx = {{{120 + low}}}, float sy = {{0.05}}, {kind} zy = {{{low}}}, "
        f"int8[16,16,3,3] w = {{{','.join(str(i * 37 % 255 - 127) for i in range(2304))}}}, float ws = {{0.002}}, "
        f"float[16] b = {{{','.join(str(i / 8) for i in range(16))}}}> {{"
        "q = QuantizeLinear(x, sx, zx) d = DequantizeLinear(q, sx, zx) k = DequantizeLinear(w, ws) "
        "c = Conv<pads=[1,1,1,1]>(d, k, b) s = Add(c, d) r = Relu(s) q2 = QuantizeLinear(r, sy, zy) "
        "d2 = DequantizeLinear(q2, sy, zy) p = MaxPool<kernel_shape=[2,2],strides=[2,2]>(d2) "
        "q3 = QuantizeLinear(p, sy, zy) y = DequantizeLinear(q3, sy, zy) }"
    )
    model = parse_model(text)
    simplify(model)
    nodes = [n.op_type for n in model.graph]
    assert nodes == ["Elementwise", "Conv", "MaxPool", "Elementwise"], nodes
    floats = [o.name for n in model.graph for o in n.outputs if o.dtype == DataType.FLOAT]
    assert floats == ["y"]
    x = np.random.default_rng(0).standard_normal((2, 16, 6, 6)).astype(np.float32) * 2
    want = run_graph(parse_model(text), {"x": x})["y"]
    got = run_graph(model, {"x": x})["y"]
    steps = np.abs(got - want) / 0.05
    assert steps.max() <= 1.001 and (steps > 0.5).mean() < 0.01
