"""FoldScale."""

from __future__ import annotations

import pytest

from magicmind.passes.fold_scale import FoldScale
from magicmind.testing.check_pass import check_declined, check_pass

CONV = "(float[N,1,4,4] x) => (float[N,2,4,4] y) <float[2,1,1,1] w = {2.0, 8.0}"


@pytest.mark.parametrize(
    ("op", "weights", "bias"),
    [
        ("Mul(t, k)", "{1.0, 2.0}", None),
        ("Mul(k, t)", "{1.0, 2.0}", None),
        ("Div(t, k)", "{4.0, 32.0}", None),
        ("Add(t, k)", "{2.0, 8.0}", "{0.5, 0.25}"),
        ("Sub(t, k)", "{2.0, 8.0}", "{-0.5, -0.25}"),
        ("Sub(k, t)", "{-2.0, -8.0}", "{0.5, 0.25}"),
    ],
)
def test_into_the_convolution_before(op: str, weights: str, bias: str | None) -> None:
    extra, operand = (f", float[2] b = {bias}", ", b") if bias else ("", "")
    check_pass(
        FoldScale(),
        f"{CONV}, float[1,2,1,1] k = {{0.5, 0.25}}> {{ t = Conv(x, w)  y = {op} }}",
        f"(float[N,1,4,4] x) => (float[N,2,4,4] y) <float[2,1,1,1] w = {weights}{extra}> {{ y = Conv(x, w{operand}) }}",
    )


def test_into_a_matrix_product() -> None:
    check_pass(
        FoldScale(),
        "(float[N,1] x) => (float[N,2] y) <float[1,2] w = {2.0, 8.0}, float k = {0.5}>"
        "{ t = MatMul(x, w)  y = Mul(t, k) }",
        "(float[N,1] x) => (float[N,2] y) <float[1,2] w = {1.0, 4.0}> { y = MatMul(x, w) }",
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{CONV}, float[4] k = {{1.0, 2.0, 3.0, 4.0}}> {{ t = Conv(x, w)  y = Mul(t, k) }}", "not one per channel"),
        (f"{CONV}, float k = {{2.0}}> {{ t = Conv(x, w)  u = Mul(t, k)  y = Add(u, t) }}", "used elsewhere"),
        (f"{CONV}, float k = {{2.0}}> {{ t = Conv(x, w)  y = Div(k, t) }}", "no multiplication"),
        ("(float[2] x, float[2] z) => (float[2] y) { y = Mul(x, z) }", "neither operand is constant"),
        ("(float[2] x) => (float[2] y) <float k = {2.0}> { y = Mul(x, k) }", "no convolution"),
    ],
)
def test_near_misses(text: str, reason: str) -> None:
    check_declined(FoldScale(), text, reason)
