"""Spellings of GELU, and what only looks like one."""

from __future__ import annotations

import pytest

from magicmind.passes.fuse_gelu import FuseGelu
from magicmind.testing.check_pass import check_declined, check_pass

START = """(float[2,3] x) => (float[2,3] y)
<float r = {1.41421354}, float i = {0.70710677}, float one = {1.0}, float half = {0.5}, float two = {2.0}> { """
AFTER = '(float[2,3] x) => (float[2,3] y) { y = Gelu<approximate="none">(x) }'


@pytest.mark.parametrize(
    "spelling",
    [
        "s = Div(x, r) e = Erf(s) a = Add(e, one) m = Mul(x, a) y = Mul(m, half)",
        "s = Mul(i, x) e = Erf(s) a = Add(one, e) h = Mul(half, x) y = Mul(h, a)",
        "s = Mul(x, i) e = Erf(s) a = Add(e, one) h = Div(x, two) y = Mul(a, h)",
        "s = Div(x, r) e = Erf(s) a = Add(e, one) m = Mul(a, half) y = Mul(m, x)",
    ],
)
def test_spelling_becomes_one_operator(spelling: str) -> None:
    check_pass(FuseGelu(), before=START + spelling + " }", after=AFTER)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("s = Div(x, two) e = Erf(s) a = Add(e, one) m = Mul(x, a) y = Mul(m, half)", "root of two"),
        ("s = Div(x, r) e = Erf(s) a = Add(e, two) m = Mul(x, a) y = Mul(m, half)", "one is not added"),
        ("s = Div(x, r) e = Erf(s) a = Add(e, one) m = Mul(x, a) y = Mul(m, two)", "not there"),
        ("s = Div(x, r) e = Erf(s) a = Add(e, one) y = Mul(s, a)", "not there"),
    ],
)
def test_near_misses_are_declined(text: str, reason: str) -> None:
    check_declined(FuseGelu(), START + text + " }", reason)
