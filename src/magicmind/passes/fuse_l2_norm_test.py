"""FuseL2Norm, as PyTorch's and TensorFlow's exporters write it."""

from __future__ import annotations

import pytest

from magicmind.passes.fuse_l2_norm import FuseL2Norm
from magicmind.testing.check_pass import check_declined, check_pass

HEAD = "(float[2,3,4] x) => (float[2,3,4] y)"
START = (
    HEAD
    + """<int64[1] a = {1}, int64[2] two = {1, 2}, float e = {0.5}, float q = {0.25}, float one = {1.0},
float s = {2.0}> { """
)


@pytest.mark.parametrize(
    ("spelling", "floor"),
    [
        ("n = ReduceL2(x, a) m = Clip(n, e) y = Div(x, m)", 0.5),
        ("n = ReduceL2(x, a) m = Max(e, n) y = Div(x, m)", 0.5),
        ("n = ReduceL2(x, a) y = Div(x, n)", 0.0),
        ("p = Mul(x, x) n = ReduceSum(p, a) m = Max(n, q) r = Sqrt(m) y = Div(x, r)", 0.5),
        ("p = Mul(x, x) n = ReduceSum(p, a) m = Max(n, q) r = Sqrt(m) i = Reciprocal(r) y = Mul(i, x)", 0.5),
        ("p = Pow(x, s) n = ReduceSum(p, a) r = Sqrt(n) m = Clip(r, e) y = Div(x, m)", 0.5),
        ("n = ReduceSumSquare(x, a) m = Max(n, q) r = Sqrt(m) i = Div(one, r) y = Mul(x, i)", 0.5),
    ],
)
def test_spelling_becomes_one_operator(spelling: str, floor: float) -> None:
    check_pass(
        FuseL2Norm(), START + spelling + " }", f"{HEAD} {{ y = magicmind.L2Normalization<axis=1, floor={floor}>(x) }}"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("n = ReduceL2(x, a) m = Add(n, e) y = Div(x, m)", "no part of x / max(norm of x, floor)"),
        ("n = ReduceL2(x, two) y = Div(x, n)", "not along one known axis"),
        ("n = ReduceL2(x, a) m = Clip(n, e, one) y = Div(x, m)", "bounded from above"),
        ("n = ReduceL2(x, a) d = Div(x, n) y = Add(d, n)", "is used elsewhere"),
        ("n = ReduceSumSquare(x, a) m = Max(n, q) r = Sqrt(m) c = Max(r, e) y = Div(x, c)", "two floors"),
    ],
)
def test_near_misses(text: str, reason: str) -> None:
    check_declined(FuseL2Norm(), START + text + " }", reason)
