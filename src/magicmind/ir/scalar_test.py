"""Scalar programs: text, composition, types and the reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx_ir import DataType

from magicmind.errors import ModelFormatError
from magicmind.ir.scalar import ScalarProgram, Var, single
from magicmind.ir.scalar_ops import SCALAR_OPS

RELU6 = ["t0 = Add(acc, x0)", "t1 = Clip(t0, 0.0, 6.0)"]


def test_text_round_trip() -> None:
    lines = ["t0 = Cast(x0, FLOAT)", "t1 = Max(t0, -inf)", 't2 = Gelu(t1, "tanh")', "t3 = Where(x1, t2, nan)"]
    program = ScalarProgram.parse(lines)
    assert ScalarProgram.parse(program.to_strings()) == program
    assert program.inputs == ("x0", "x1")
    assert program.statements[0].literals == (DataType.FLOAT,)
    assert hash(program) == hash(ScalarProgram.parse(lines))


def test_inputs_are_ordered_by_number_after_acc() -> None:
    program = ScalarProgram.parse(["a = Add(x10, x2)", "b = Add(a, acc)"])
    assert program.inputs == ("acc", "x2", "x10")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "at least one"),
        (["t0 = Frobnicate(x0)"], "unknown operator"),
        (["t0 = Add(x0)"], "takes 2 arguments"),
        (["t0 = Add(t1, x0)", "t1 = Neg(x0)"], "used before"),
        (["t0 + 1"], "expected"),
        (["t0 = Add(x0,"], "scalar statement"),
        (["t0 = Add(x0, [1])"], "neither a name nor a literal"),
    ],
)
def test_malformed_text_is_refused(lines: list[str], reason: str) -> None:
    with pytest.raises(ModelFormatError, match=reason):
        ScalarProgram.parse(lines)


def test_compose_inlines_and_renumbers() -> None:
    inner = single("LeakyRelu", Var("x1"), 0.1)
    composed = ScalarProgram.parse(RELU6).compose(inner, "x0")
    assert composed.to_strings() == ["t0 = LeakyRelu(x1, 0.1)", "t1 = Add(acc, t0)", "t2 = Clip(t1, 0.0, 6.0)"]


def test_compose_shares_inputs_of_one_name() -> None:
    silu = single("Mul", Var("x0"), Var("x1")).compose(single("Sigmoid", Var("x0")), "x1")
    assert silu.to_strings() == ["t0 = Sigmoid(x0)", "t1 = Mul(x0, t0)"]


def test_simplified_removes_repeated_dead_and_neutral_statements() -> None:
    program = ScalarProgram.parse(
        ["a = Sigmoid(x0)", "b = Sigmoid(x0)", "dead = Exp(x1)", "c = Mul(b, 1.0)", "d = Identity(c)", "e = Sub(a, d)"]
    )
    assert program.simplified().to_strings() == ["t0 = Sigmoid(x0)", "t1 = Sub(t0, t0)"]
    assert program.simplified().inputs == ("x0",)


def test_a_program_that_hands_on_its_input() -> None:
    assert single("Add", Var("x0"), 0.0).simplified().to_strings() == ["t0 = Identity(x0)"]


def test_rename_can_merge_operands_and_swap_names() -> None:
    program = single("Sub", Var("x0"), Var("x1"))
    assert program.rename({"x1": "x0"}).to_strings() == ["t0 = Sub(x0, x0)"]
    assert program.rename({"x0": "x1", "x1": "x0"}).to_strings() == ["t0 = Sub(x1, x0)"]


def test_bind_makes_a_literal() -> None:
    assert ScalarProgram.parse(RELU6).bind("x0", -0.5).to_strings()[0] == "t0 = Add(acc, -0.5)"


def test_dtypes() -> None:
    program = ScalarProgram.parse(["c = Less(x0, 0.0)", "t = Where(c, x1, 2)", "r = Cast(t, FLOAT16)"])
    known = program.dtypes({"x0": DataType.FLOAT, "x1": DataType.INT64})
    assert [known[n] for n in ("c", "t", "r")] == [DataType.BOOL, DataType.INT64, DataType.FLOAT16]


def test_evaluate_rounds_every_statement_to_its_dtype() -> None:
    x = np.array([1.0], np.float32)
    program = ScalarProgram.parse(["a = Add(x0, 1e-9)", "b = Sub(a, x0)"])
    assert program.evaluate({"x0": x})[0] == 0.0
    assert program.evaluate({"x0": x}).dtype == np.float32


def test_evaluate_broadcasts() -> None:
    got = ScalarProgram.parse(RELU6).evaluate(
        {"acc": np.zeros((2, 3), np.float32), "x0": np.array([-1, 1, 9], np.float32)}
    )
    np.testing.assert_array_equal(got, [[0, 1, 6], [0, 1, 6]])


def test_integer_division_truncates_as_in_c() -> None:
    got = single("Div", Var("x0"), Var("x1")).evaluate({"x0": np.array([7, -7, 7, 1]), "x1": np.array([2, 2, -2, 0])})
    np.testing.assert_array_equal(got, [3, -3, -3, 0])


def test_clip_with_crossed_bounds_gives_the_upper_one() -> None:
    assert single("Clip", Var("x0"), 5.0, 1.0).evaluate({"x0": np.float32(3)}) == 1.0


_POSITIVE_ONLY = {"Acosh"}


@pytest.mark.parametrize("name", [n for n, row in SCALAR_OPS.items() if row.result != "cast"])
def test_every_row_evaluates(name: str) -> None:
    """Each reference gives the dtype that inference promises, on small inputs of a dtype that suits it."""
    row = SCALAR_OPS[name]
    logic, bits = name in {"And", "Or", "Xor", "Not"}, name.startswith("Bit")
    dtype = np.bool_ if logic else np.uint8 if bits else np.float32
    base = np.array([0, 1, 1], np.float32) if logic or bits else np.array([0.25, 0.5, 0.75], np.float32)
    arrays = {f"x{i}": (base + (name in _POSITIVE_ONLY)).astype(dtype) for i in range(row.arity)}
    if name == "Where":
        arrays["x0"] = np.array([True, False, True])
    literals = ["LEFT" if a.required else a.default for a in row.literals]
    program = single(name, *(Var(n) for n in arrays), *literals)
    result = program.evaluate(arrays)
    assert DataType.from_numpy(result.dtype) == program.result_dtype(
        {n: DataType.from_numpy(a.dtype) for n, a in arrays.items()}
    )
    assert np.isfinite(result.astype(np.float64)).all()


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("Softplus", lambda v: math.log1p(math.exp(v))),
        ("Sigmoid", lambda v: 1 / (1 + math.exp(-v))),
        ("Mish", lambda v: v * math.tanh(math.log1p(math.exp(v)))),
        ("HardSwish", lambda v: v * min(max(v / 6 + 0.5, 0), 1)),
        ("Erf", math.erf),
    ],
)
def test_formulas(name: str, formula: object) -> None:
    xs = np.linspace(-4, 4, 17).astype(np.float32)
    want = [formula(float(v)) for v in xs]  # type: ignore[operator]
    np.testing.assert_allclose(single(name, Var("x0")).evaluate({"x0": xs}), want, rtol=1e-6, atol=1e-7)
