"""Every operator of scalar programs against its numpy meaning, with the values where definitions differ."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.ir.scalar import ScalarProgram
from magicmind.ir.scalar_ops import SCALAR_OPS
from magicmind.kernels.elementwise_test import expect, run
from magicmind.kernels.scalar import _TABLE
from magicmind.testing.run_kernel import runnable_targets

TARGETS = [t for t in runnable_targets() if t in ("x86-64-v2", "x86-64-v4")]  # without and with FMA, float16 and masks
EDGES = np.array(
    [0.0, -0.0, 1, -1, 0.5, -0.5, 2.5, 3.5, -2.5, np.inf, -np.inf, np.nan, 1e-40, 88, -88, 7, 30, -30], "f4"
)
FLOAT_UNARY = {
    **dict.fromkeys("Neg Abs Sign Reciprocal Sqrt Floor Ceil Round Relu HardSwish Softsign Identity".split(), ""),  # noqa: SIM905
    **dict.fromkeys("Exp Log Erf Sin Cos Tan Asin Acos Atan Sinh Cosh Tanh Asinh Acosh Atanh".split(), ""),  # noqa: SIM905
    **dict.fromkeys("Sigmoid Softplus Mish".split(), ""),  # noqa: SIM905
    "LeakyRelu": ", 0.125",
    "ThresholdedRelu": ", 0.75",
    "Elu": ", 1.5",
    "Celu": ", 1.5",
    "Selu": ", 1.6732632, 1.050701",
    "HardSigmoid": ", 0.25, 0.5",
    "Swish": ", 1.5",
    "Gelu": ", 'tanh'",
    "Shrink": ", 0.5, 0.25",
    "IsNaN": "",
    "IsInf": ", 0, 1",
}
SIGNED_ZEROS = ("Neg", "Abs", "Sqrt", "Floor", "Ceil", "Round", "Identity", "Tanh", "Erf", "Atan", "Asinh", "LeakyRelu")
FLOAT_BINARY = {**dict.fromkeys(["Add", "Sub", "Mul", "Div", "Min", "Max", "PRelu", "Pow"], ""), "Mod": ", 1"}
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


def check(lines: list[str], *arrays: np.ndarray, target: str, rtol: float = 2e-6, signs: bool = False) -> None:
    got, want = run(lines, *arrays, target=target), expect(lines, *arrays)
    if got.dtype.kind == "f":
        np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-45 if rtol < 1e-5 else rtol, equal_nan=True)
        if signs:
            np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))
    else:
        np.testing.assert_array_equal(got, want)


def test_every_operator_has_code() -> None:
    assert set(_TABLE) == set(SCALAR_OPS)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("op", FLOAT_UNARY)
def test_float_unary(op: str, target: str) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([EDGES, rng.standard_normal(500).astype("f4") * 3])
    # These cancel somewhere, here or in the reference: they are accurate in absolute terms.
    rtol = 1e-5 if op in ("Gelu", "Sin", "Cos", "Tan", "Sigmoid", "Swish") else 2e-6
    lines = [f"t = {op}(x0{FLOAT_UNARY[op]})"]
    check(lines, x, target=target, rtol=rtol, signs=op in SIGNED_ZEROS)
    check(lines, x.astype("f8"), target=target, rtol=rtol, signs=op in SIGNED_ZEROS)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("op", FLOAT_BINARY)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_float_binary(op: str, target: str, dtype: str) -> None:
    some = np.delete(EDGES, 12) if op == "Mod" else EDGES  # 88 mod 1e-40 is beyond the stated accuracy
    a, b = (x.astype(dtype).ravel() for x in np.meshgrid(some, some))
    check([f"t = {op}(x0, x1{FLOAT_BINARY[op]})"], a, b, target=target)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_arithmetic(dtype: str) -> None:
    info = np.iinfo(dtype)
    some = np.array([0, 1, 2, 3, 5, 7, 100, info.max, info.max - 1, info.min, info.min + 1], dtype)
    if info.min < 0:
        some = np.concatenate([some, np.array([-1, -2, -3, -7], dtype)])
    a, b = (x.ravel() for x in np.meshgrid(some, some))
    for target in TARGETS:
        for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "BitwiseAnd", "BitwiseOr", "BitwiseXor"):
            check([f"t = {op}(x0, x1)"], a, b, target=target)
        for op in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"):
            check([f"t = {op}(x0, x1)"], a, b, target=target)
        nonzero = b != 0
        check(["t = Mod(x0, x1, 0)"], a[nonzero], b[nonzero], target=target)
        check(["t = Mod(x0, x1, 1)"], a[nonzero], b[nonzero], target=target)
        for op in ("Abs", "Sign", "BitwiseNot", "Relu"):
            check([f"t = {op}(x0)"], some, target=target)
        check(["t = Clip(x0, 2.0, 5.0)"], some, target=target)
        small = b % 6
        check(["t = Pow(x0, x1)"], a, small, target=target)
        check(["t = Pow(x0, 3)"], a, target=target)
        check(["t = BitShift(x0, x1, 'LEFT')"], a, abs(small), target=target)


@pytest.mark.parametrize("target", TARGETS)
def test_minimum_of_a_signed_type_divided_by_minus_one_does_not_trap(target: str) -> None:
    x = np.full(5, np.iinfo("i4").min, "i4")
    np.testing.assert_array_equal(run(["t = Div(x0, x1)"], x, np.full(5, -1, "i4"), target=target), x)
    np.testing.assert_array_equal(run(["t = Div(x0, x1)"], x, np.zeros(5, "i4"), target=target), 0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, -1, -2, 0.5, -0.5, 1.5, 7.0])
def test_constant_exponents(exponent: float, target: str) -> None:
    finite = np.delete(EDGES, 10)  # numpy takes the root of -inf where C's pow gives inf
    x = np.concatenate([finite, np.linspace(-3, 3, 40, dtype="f4")])
    check([f"t = Pow(x0, {exponent!r})"], x, target=target)


@pytest.mark.parametrize("target", TARGETS)
def test_logic_selection_and_clip(target: str) -> None:
    a, b = (x.ravel() for x in np.meshgrid(EDGES, EDGES))
    check(["t0 = Less(x0, x1)", "t1 = Where(t0, x0, x1)"], a, b, target=target)
    for op in ("And", "Or", "Xor"):
        check(["t0 = Less(x0, x1)", "t1 = IsNaN(x0)", f"t2 = {op}(t0, t1)", "t3 = Not(t2)"], a, b, target=target)
    check(["t = Clip(x0, 2.0, -2.0)"], a, target=target)  # the upper limit wins
    check(["t = Clip(x0, -inf, 1.0)"], a, target=target)
    check(["t = Clip(x0, x1, 3.0)"], a, b, target=target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("to", ["FLOAT", "DOUBLE", "FLOAT16", "INT64", "INT32", "INT8", "UINT8", "BOOL"])
def test_casts(to: str, target: str) -> None:
    rng = np.random.default_rng(0)
    for dtype in ("f4", "f8", "f2", "i8", "i4", "u1", "i1", "?"):
        x = (rng.standard_normal(67) * 40).clip(0 if to[0] == "U" or dtype[0] == "u" else -100, 100).astype(dtype)
        check([f"t = Cast(x0, {to})"], x, target=target)


@pytest.mark.parametrize("target", TARGETS)
def test_every_float16_value_survives_and_rounds(target: str) -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    wide = run(["t = Cast(x0, FLOAT)"], halves, target=target)
    np.testing.assert_array_equal(wide, halves.astype("f4"))
    finite = np.sort(wide[np.isfinite(wide)])
    between = np.concatenate(
        [finite, (finite[1:] + finite[:-1]) / 2, np.nextafter(finite, np.float32(0)), EDGES, [65519, 65520, -1e9]]
    )
    narrow = run(["t = Cast(x0, FLOAT16)"], between.astype("f4"), target=target)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(narrow, between.astype("f4").astype("f2"))


@pytest.mark.parametrize("dtype", ["i1", "i4", "u4", "i8"])
def test_shifts_beyond_the_width_leave_nothing_but_signs(dtype: str) -> None:
    a = np.array([5, 100, 3, 7, 9] if dtype[0] == "u" else [-8, 4, -1, 7, 100], dtype)
    b = np.array([1, 8 * a.itemsize, 200 % 128, 0, 3] if dtype[0] == "u" else [-1, 64, -16, 0, 3], dtype)
    wanted = {"LEFT": [0] * 3, "RIGHT": [-1, 0, -1]} if dtype[0] == "i" else {"LEFT": [10, 0, 0], "RIGHT": [2, 0, 0]}
    for direction in ("LEFT", "RIGHT"):
        lines = [f"t = BitShift(x0, x1, '{direction}')"]
        check(lines, a, b, target="native")
        assert expect(lines, a, b)[:3].tolist() == wanted[direction]


def test_a_literal_alone_and_shared_operands() -> None:
    x = np.linspace(-2, 2, 33, dtype="f4")
    check(["t0 = Mul(x0, x0)", "t1 = Sub(1.0, t0)", "t2 = Max(t1, 0.0)"], x, target="native")
    assert ScalarProgram.parse(["t0 = Mul(x0, x0)"]).inputs == ("x0",)


@pytest.mark.parametrize("target", runnable_targets())
@pytest.mark.parametrize(("zero", "to"), [(0, "UINT8"), (3, "UINT8"), (-5, "INT8"), (128, "UINT8"), (0, "INT16")])
def test_quantise_rounds_halves_to_even_and_saturates(zero: int, to: str, target: str) -> None:
    halves = (np.arange(-600, 600) / 2).astype("f4")
    beyond = np.array([0.49999997, 254.5, 255.5, 1e30, -1e30, 2.0**31, -(2.0**31), 32766.5, -32768.5], "f4")
    x = np.concatenate([EDGES, halves, beyond, np.array([np.nan, np.inf, -np.inf], "f4")])
    x = np.concatenate([np.roll(x, 5), x[:21]])  # whole registers of bytes, whole vectors, and single elements
    lines = [f"t = Quantise(x0, {zero}, {to})"]
    got, want = run(lines, x, target=target), expect(lines, x)
    assert got.dtype == want.dtype == np.dtype(to.lower())
    np.testing.assert_array_equal(got, want)


def test_quantised_results_are_the_same_bits_on_every_target() -> None:
    x = np.random.default_rng(1).standard_normal(4096).astype("f4") * 8
    lines = ["t0 = Swish(x0, 1.0)", "t1 = Mul(t0, 31.7)", "t2 = Add(t1, x0)", "t = Quantise(t2, 7, UINT8)"]
    first, *others = (run(lines, x, target=target) for target in runnable_targets())
    for other in others:
        np.testing.assert_array_equal(first, other)
