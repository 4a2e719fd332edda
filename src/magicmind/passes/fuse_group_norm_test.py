"""FuseGroupNorm, as PyTorch's exporters write it."""

from __future__ import annotations

import pytest

from magicmind.passes.fuse_group_norm import FuseGroupNorm
from magicmind.testing.check_pass import check_declined, check_pass

HEAD = "(float[N,4,2,3] x) => (float[N,4,2,3] y)"
START = (
    HEAD
    + """<int64[3] s = {0, 2, -1}, int64[4] t = {0, 4, 2, 3}, float[2] one = {1.0, 1.0},
float[2] zero = {0.0, 0.0}, float[4,1,1] g = {1.0, 2.0, 3.0, 4.0}, float[4,1,1] b = {0.5, 1.5, 2.5, 3.5},
float[3] pixels = {1.0, 2.0, 3.0}, float[12] equal = {2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0}> { """
)
NORMAL = "r = Reshape(x, s) i = InstanceNormalization<epsilon=0.001>(r, one, zero) o = Reshape(i, t) "


def after(scale: str, offset: str, rest: str = "") -> str:
    result = "o" if rest else "y"
    return f"""{HEAD} <float[4] g = {{{scale}}}, float[4] b = {{{offset}}}, float[3] pixels = {{1.0, 2.0, 3.0}}>
    {{ {result} = GroupNormalization<num_groups=2, epsilon=0.001>(x, g, b) {rest} }}"""


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        (NORMAL + "u = Mul(o, g) y = Add(u, b)", after("1.0, 2.0, 3.0, 4.0", "0.5, 1.5, 2.5, 3.5")),
        (NORMAL + "y = Add(b, o)", after("1.0, 1.0, 1.0, 1.0", "0.5, 1.5, 2.5, 3.5")),
        (NORMAL + "y = Mul(o, pixels)", after("1.0, 1.0, 1.0, 1.0", "0.0, 0.0, 0.0, 0.0", "y = Mul(o, pixels)")),
        (
            "r = Reshape(x, s) i = LayerNormalization<axis=2, epsilon=0.001>(r, equal) o = Reshape(i, t) y = Add(o, b)",
            after("2.0, 2.0, 2.0, 2.0", "0.5, 1.5, 2.5, 3.5"),
        ),
    ],
)
def test_becomes_one_operator(spelling: str, expected: str) -> None:
    check_pass(FuseGroupNorm(), START + spelling + " }", expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "r = Reshape(x, s) q = Relu(r) i = InstanceNormalization(q, one, zero) y = Reshape(i, t)",
            "before",
        ),
        (
            "r = Reshape(x, s) i = InstanceNormalization(r, one, zero) q = Relu(i) y = Reshape(q, t)",
            "no reshape",
        ),
        ("r = Reshape(x, s) i = LayerNormalization<axis=1>(r, equal) y = Reshape(i, t)", "not over all of a group"),
        ("r = Reshape(x, s) i = InstanceNormalization(r, one, zero) k = Add(i, r) y = Reshape(k, t)", "no reshape to"),
    ],
)
def test_near_misses(text: str, reason: str) -> None:
    check_declined(FuseGroupNorm(), START + text + " }", reason)
