"""SinkTranspose, alone and with the passes that its work is for."""

from __future__ import annotations

import pytest

from magicmind.debug import DebugSettings
from magicmind.passes.fold_scale import FoldScale
from magicmind.passes.infra import Pass, Runner, Stage
from magicmind.passes.merge_transposes import MergeTransposes
from magicmind.passes.remove_dead import RemoveDead
from magicmind.passes.remove_identity import RemoveIdentity
from magicmind.passes.sink_transpose import SinkTranspose
from magicmind.testing.check_pass import check_declined, check_pass, parse_model

HEAD = "(float[N,2,3] x) => (float[N,2,3] y)"


def test_through_arithmetic_to_the_next_transpose() -> None:
    check_pass(
        SinkTranspose(),
        f"{HEAD} <float[2] c = {{1.0, 2.0}}> {{ t = Transpose<perm=[0,2,1]>(x) u = Mul(t, c) v = Relu(u)"
        "y = Transpose<perm=[0,2,1]>(v) }",
        f"{HEAD} <float[1,2,1] c = {{1.0, 2.0}}> {{ u = Mul(x, c) v = Relu(u) t = Transpose<perm=[0,2,1]>(v)"
        "y = Transpose<perm=[0,2,1]>(t) }",
    )


def test_two_operands_in_the_same_order() -> None:
    text = "(float[2,3] a, float[2,3] b) => (float[2,3] y)"
    check_pass(
        SinkTranspose(),
        f"{text} {{ s = Transpose<perm=[1,0]>(a) t = Transpose<perm=[1,0]>(b) u = Add(s, t)"
        "y = Transpose<perm=[1,0]>(u) }",
        f"{text} {{ u = Add(a, b) t = Transpose<perm=[1,0]>(u) y = Transpose<perm=[1,0]>(t) }}",
    )


CONV = """(float[N,1,4,4] x) => (float[N,4,4,2] y) <float[2,1,1,1] w = {2.0, 8.0}, float[2] m = {1.0, 2.0},
float[2] g = {0.5, 0.25}, float[2] b = {3.0, 4.0}> { p = Conv(x, w) t = Transpose<perm=[0,2,3,1]>(p) """


def test_channels_last_batch_normalisation_reaches_the_convolution() -> None:
    model = parse_model(CONV + "s = Sub(t, m) u = Mul(s, g) y = Add(u, b) }")
    passes: list[Pass] = [SinkTranspose(), MergeTransposes(), RemoveIdentity(), FoldScale(), RemoveDead()]
    Runner(DebugSettings()).run([Stage("fold", passes, until_stable=True)], model)
    assert [n.op_type for n in model.graph] == ["Conv", "Transpose"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{HEAD} {{ t = Transpose<perm=[0,1,2]>(x) y = Relu(t) }}", "no transpose follows"),
        (f"{HEAD} {{ y = Relu(x) }}", "an operand is not transposed"),
        (
            "(float[2,3] x) => (float[3,2] y, float[2,3] z) { t = Transpose(x) y = Relu(t) z = Transpose(t) }",
            "elsewhere",
        ),
        (
            "(float[3,3] x) => (float[3,3] y, float[3,3] z) { t = Transpose<perm=[1,0]>(x) y = Relu(t) z = Neg(t) }",
            "used elsewhere",
        ),
        (
            "(float[1,3] x) => (float[3,2] y) <float[3,2] c = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}>"
            "{ t = Transpose<perm=[1,0]>(x) y = Mul(t, c) }",
            "broadcasts the transposed one",
        ),
        (
            "(float[3,3] a, float[3,3] b) => (float[3,3] y) { s = Transpose<perm=[1,0]>(a)"
            "t = Transpose<perm=[0,1]>(b) y = Add(s, t) }",
            "transposed differently",
        ),
    ],
)
def test_near_misses(text: str, reason: str) -> None:
    check_declined(SinkTranspose(), text, reason)
