"""Spellings of GELU, and what only looks like one."""

from __future__ import annotations

import pytest

from magicmind.passes.fuse_gelu import FuseGelu
from magicmind.testing.check_pass import check_declined, check_pass

START = """(float[2,3] x) => (float[2,3] y)
<float r = {1.41421354}, float i = {0.70710677}, float one = {1.0}, float half = {0.5}, float two = {2.0},
float three = {3.0}, float c = {0.044715}, float p = {0.7978846}> { """
AFTER = '(float[2,3] x) => (float[2,3] y) { y = Gelu<approximate="none">(x) }'


@pytest.mark.parametrize(
    "spelling",
    [
        "s = Div(x, r) e = Erf(s) a = Add(e, one) m = Mul(x, a) y = Mul(m, half)",
        "s = Mul(i, x) e = Erf(s) a = Add(one, e) h = Mul(half, x) y = Mul(h, a)",
        "s = Mul(x, i) e = Erf(s) a = Add(e, one) h = Div(x, two) y = Mul(a, h)",
        "s = Div(x, r) e = Erf(s) a = Add(e, one) m = Mul(a, half) y = Mul(m, x)",
        "s = Div(x, r) e = Erf(s) a = Add(e, one) m = Mul(x, a) y = Div(m, two)",
    ],
)
def test_spelling_becomes_one_operator(spelling: str) -> None:
    check_pass(FuseGelu(), before=START + spelling + " }", after=AFTER)


TAIL = " t = Tanh(u) a = Add(t, one) h = Mul(x, half) y = Mul(h, a)"


@pytest.mark.parametrize(
    "spelling",
    [
        "q = Pow(x, three) k = Mul(q, c) s = Add(x, k) u = Mul(s, p)" + TAIL,
        "q = Mul(x, x) w = Mul(q, x) k = Mul(c, w) s = Add(k, x) u = Mul(p, s)" + TAIL,
        "q = Mul(x, c) w = Mul(q, x) v = Mul(w, x) s = Add(x, v) u = Mul(p, s)" + TAIL,
        "q = Mul(x, x) k = Mul(q, c) s = Add(k, one) w = Mul(x, p) u = Mul(w, s)" + TAIL,
        "q = Pow(x, two) k = Mul(q, c) s = Add(one, k) w = Mul(x, s) u = Mul(w, p)" + TAIL,
        "q = Pow(x, three) k = Mul(q, c) s = Add(x, k) u = Mul(s, p) t = Tanh(u) a = Add(t, one) m = Mul(a, x)"
        "y = Mul(m, half)",
    ],
)
def test_approximation_becomes_one_operator(spelling: str) -> None:
    check_pass(FuseGelu(), START + spelling + " }", AFTER.replace("none", "tanh"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("s = Div(x, two) e = Erf(s) a = Add(e, one) m = Mul(x, a) y = Mul(m, half)", "no part of x / 2"),
        ("s = Div(x, r) e = Erf(s) a = Add(e, two) m = Mul(x, a) y = Mul(m, half)", "no part of x / 2"),
        ("s = Div(x, r) e = Erf(s) a = Add(e, one) m = Mul(x, a) y = Mul(m, two)", "no part of x / 2"),
        ("s = Div(x, r) e = Erf(s) a = Add(e, one) y = Mul(s, a)", "no part of x / 2"),
        ("q = Mul(x, x) k = Mul(q, c) s = Add(x, k) u = Mul(s, p)" + TAIL, "no part of x / 2"),
        ("s = Div(x, r) e = Erf(s) a = Add(e, one) m = Mul(x, a) h = Mul(m, half) y = Add(h, a)", "used elsewhere"),
    ],
)
def test_near_misses_are_declined(text: str, reason: str) -> None:
    check_declined(FuseGelu(), START + text + " }", reason)
