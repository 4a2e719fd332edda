"""ToElementwise."""

from __future__ import annotations

import pytest

from magicmind.passes.to_elementwise import ToElementwise
from magicmind.testing.check_pass import check_declined, check_pass


def program(*lines: str) -> str:
    return "magicmind.Elementwise<program=[" + ", ".join(f'"{line}"' for line in lines) + "]>"


@pytest.mark.parametrize(
    ("node", "lines", "inputs"),
    [
        ("Relu(x)", ["t0 = Relu(x0)"], "x"),
        ("LeakyRelu<alpha=0.1>(x)", ["t0 = LeakyRelu(x0, 0.1)"], "x"),
        ("HardSigmoid(x)", ["t0 = HardSigmoid(x0, 0.2, 0.5)"], "x"),
        ("Add(x, z)", ["t0 = Add(x0, x1)"], "x, z"),
        ("Mul(x, x)", ["t0 = Mul(x0, x0)"], "x"),
        ("Sub(k, x)", ["t0 = Sub(0.5, x0)"], "x"),
        ("Clip(x, k, six)", ["t0 = Clip(x0, 0.5, 6.0)"], "x"),
        ("Clip(x, , six)", ["t0 = Min(x0, 6.0)"], "x"),
        ("Clip(x, k)", ["t0 = Max(x0, 0.5)"], "x"),
        ("Pow(x, two)", ["t0 = Mul(x0, x0)"], "x"),
        ("Sum(x, z, k)", ["t0 = Add(x0, x1)", "t1 = Add(t0, 0.5)"], "x, z"),
        ("Mean(x, z)", ["t0 = Add(x0, x1)", "t1 = Div(t0, 2.0)"], "x, z"),
        ("Cast<to=1>(i)", ["t0 = Cast(x0, FLOAT)"], "i"),
        ("Greater(x, z)", ["t0 = Greater(x0, x1)"], "x, z"),
        ("Where(c, x, k)", ["t0 = Where(x0, x1, 0.5)"], "c, x"),
    ],
)
def test_one_node(node: str, lines: list[str], inputs: str) -> None:
    head = "(float[N,2] x, float[N,2] z, int64[N,2] i, bool[N,2] c) => (y)"
    constants = "<float k = {0.5}, float six = {6.0}, int64 two = {2}>"
    check_pass(ToElementwise(), f"{head} {constants} {{ y = {node} }}", f"{head} {{ y = {program(*lines)}({inputs}) }}")


def test_a_constant_that_raises_the_rank_stays_an_operand() -> None:
    head = "(float[3] x) => (float[1,3] y) <float[1,1] k = {2.0}>"
    check_pass(ToElementwise(), f"{head} {{ y = Mul(x, k) }}", f"{head} {{ y = {program('t0 = Mul(x0, x1)')}(x, k) }}")


def test_mixed_dtypes_of_a_power_are_cast() -> None:
    head = "(float[3] x, int64[3] i) => (float[3] y)"
    lines = ["t0 = Cast(x1, FLOAT)", "t1 = Pow(x0, t0)"]
    check_pass(ToElementwise(), f"{head} {{ y = Pow(x, i) }}", f"{head} {{ y = {program(*lines)}(x, i) }}")


def test_two_literals_keep_a_dtype_no_neighbour_gives() -> None:
    head = "(bool[3] c) => (double[3] y) <double a = {1.0}, double b = {2.0}>"
    wanted = program("t0 = Where(x0, 1.0, x1)")
    check_pass(ToElementwise(), f"{head} {{ y = Where(c, a, b) }}", f"{head} {{ y = {wanted}(c, b) }}")


def test_strings_are_left_alone() -> None:
    check_declined(ToElementwise(), "(string[3] a, string[3] b) => (bool[3] y) { y = Equal(a, b) }", "a dtype is not")
