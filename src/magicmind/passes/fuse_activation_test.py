"""Activations in the spellings of PyTorch's, TensorFlow's and Paddle's exporters, and what only looks like one."""

from __future__ import annotations

import pytest

from magicmind.passes.fuse_activation import FuseHardSigmoid, FuseHardSwish, FuseMish, FuseSwish
from magicmind.passes.infra import Rewrite
from magicmind.testing.check_pass import check_declined, check_pass

START = """(float[2,3] x) => (float[2,3] y) <float zero = {0.0}, float one = {1.0}, float three = {3.0},
float[1] six = {6.0}, float sixth = {0.16666667}, float half = {0.5}, float two = {2.0}, float k = {1.702},
float fifth = {0.2}> { """


@pytest.mark.parametrize(
    ("rule", "spelling", "becomes"),
    [
        (FuseSwish(), "s = Sigmoid(x) y = Mul(x, s)", "Swish<alpha=1.0>"),
        (FuseSwish(), "s = Sigmoid(x) y = Mul(s, x)", "Swish<alpha=1.0>"),
        (FuseSwish(), "a = Mul(x, k) s = Sigmoid(a) y = Mul(x, s)", "Swish<alpha=1.702>"),
        (FuseMish(), "s = Softplus(x) t = Tanh(s) y = Mul(x, t)", "Mish"),
        (FuseMish(), "e = Exp(x) a = Add(e, one) s = Log(a) t = Tanh(s) y = Mul(x, t)", "Mish"),
        (FuseHardSwish(), "a = Add(x, three) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, six)", "HardSwish"),
        (FuseHardSwish(), "a = Add(three, x) c = Clip(a, zero, six) m = Mul(c, sixth) y = Mul(x, m)", "HardSwish"),
        (FuseHardSwish(), "a = Add(x, three) c = Clip(a, zero, six) d = Div(c, six) y = Mul(d, x)", "HardSwish"),
        (FuseHardSwish(), "a = Add(x, three) c = Clip(a, zero, six) d = Mul(x, sixth) y = Mul(d, c)", "HardSwish"),
        (FuseHardSwish(), "a = Add(x, three) r = Relu(a) c = Min(r, six) m = Mul(x, c) y = Mul(m, sixth)", "HardSwish"),
        (FuseHardSwish(), "s = HardSigmoid<alpha=0.16666667, beta=0.5>(x) y = Mul(x, s)", "HardSwish"),
        (FuseHardSwish(), "d = Div(x, six) a = Add(d, half) c = Clip(a, zero, one) y = Mul(x, c)", "HardSwish"),
        (FuseHardSigmoid(), "a = Add(x, three) c = Clip(a, zero, six) y = Div(c, six)",
         "HardSigmoid<alpha=0.16666667, beta=0.5>"),
        (FuseHardSigmoid(), "a = Mul(x, fifth) b = Add(a, half) y = Clip(b, zero, one)",
         "HardSigmoid<alpha=0.2, beta=0.5>"),
        (FuseHardSigmoid(), "a = Div(x, two) b = Add(a, half) y = Clip(b, zero, one)",
         "HardSigmoid<alpha=0.5, beta=0.5>"),
    ],
)  # fmt: skip
def test_spelling_becomes_one_operator(rule: Rewrite, spelling: str, becomes: str) -> None:  # type: ignore[type-arg]
    check_pass(rule, START + spelling + " }", f"(float[2,3] x) => (float[2,3] y) {{ y = {becomes}(x) }}")


@pytest.mark.parametrize(
    ("rule", "spelling", "reason"),
    [
        (FuseSwish(), "s = Sigmoid(x) y = Mul(s, s)", "no part of x * sigmoid"),
        (FuseSwish(), "s = Sigmoid(x) m = Mul(x, s) y = Add(m, s)", "is used elsewhere"),
        (FuseMish(), "t = Tanh(x) y = Mul(x, t)", "no part of x * tanh(softplus(x))"),
        (FuseHardSwish(), "a = Add(x, two) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, six)", "no part of"),
        (FuseHardSwish(), "s = HardSigmoid(x) y = Mul(x, s)", "is not clip(x / 6 + 1/2"),
        (FuseHardSigmoid(), "a = Add(x, three) y = Clip(a, zero, six)", "no part of clip(alpha x"),
        (FuseHardSigmoid(), "a = Mul(x, two) b = Add(a, half) y = Clip(b, zero, six)", "no part of clip(alpha x"),
    ],
)
def test_near_misses_are_declined(rule: Rewrite, spelling: str, reason: str) -> None:  # type: ignore[type-arg]
    check_declined(rule, START + spelling + " }", reason)


def test_whole_numbers_have_no_activations() -> None:
    integers = "(int64[3] x) => (int64[3] y) <int64 two = {2}, int64 one = {1}, int64 zero = {0}>"
    body = "a = Mul(x, two) b = Add(a, one) y = Clip(b, zero, one)"
    check_declined(FuseHardSigmoid(), f"{integers} {{ {body} }}", "no float type")
