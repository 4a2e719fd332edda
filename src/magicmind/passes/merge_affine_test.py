"""MergeAffine, and what it makes of a batch normalisation spelled out behind a matrix product."""

from __future__ import annotations

import pytest

from magicmind.debug import DebugSettings
from magicmind.passes.fold_scale import FoldScale
from magicmind.passes.infra import Runner, Stage
from magicmind.passes.merge_affine import MergeAffine
from magicmind.passes.remove_dead import RemoveDead
from magicmind.testing.check_pass import check_declined, check_pass, parse_model

HEAD = "(float[N,2] x) => (float[N,2] y)"
START = (
    HEAD
    + "<float[2] a = {2.0, 4.0}, float[2] b = {0.5, 1.0}, float k = {2.0},"
    + ("float[2,2] w = {1.0, 0.0, 0.0, 1.0}>")
)


@pytest.mark.parametrize(
    ("chain", "constant", "op"),
    [
        ("t = Mul(x, a) y = Mul(t, b)", "{1.0, 4.0}", "Mul"),
        ("t = Div(x, a) y = Mul(b, t)", "{0.25, 0.25}", "Mul"),
        ("t = Add(x, a) y = Sub(t, b)", "{1.5, 3.0}", "Add"),
        ("t = Mul(x, k) y = Div(t, a)", "{1.0, 0.5}", "Mul"),
    ],
)
def test_two_of_a_kind_become_one(chain: str, constant: str, op: str) -> None:
    check_pass(MergeAffine(), f"{START} {{ {chain} }}", f"{HEAD} <float[2] c = {constant}> {{ y = {op}(x, c) }}")


def test_offset_and_scale_change_places_behind_a_product() -> None:
    check_pass(
        MergeAffine(),
        START + "{ p = MatMul(x, w) t = Sub(p, b) y = Mul(t, a) }",
        HEAD + "<float[2] a = {2.0, 4.0}, float[2] b = {-1.0, -4.0}, float[2,2] w = {1.0, 0.0, 0.0, 1.0}>"
        "{ p = MatMul(x, w) t = Mul(p, a) y = Add(t, b) }",
    )


def test_batch_normalisation_spelled_out_leaves_a_product_and_a_bias() -> None:
    model = parse_model(START + "{ p = MatMul(x, w) c = Sub(p, b) d = Div(c, a) s = Mul(d, b) y = Add(s, a) }")
    Runner(DebugSettings()).run([Stage("fold", [MergeAffine(), FoldScale(), RemoveDead()], until_stable=True)], model)
    used = [n.op_type for n in model.graph if n.outputs[0].uses() or n.outputs[0].is_graph_output()]
    assert used == ["MatMul", "Add"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (START + "{ t = Sub(x, b) y = Mul(t, a) }", "behind no matrix product"),
        (START + "{ t = Mul(x, a) y = Add(t, b) }", "in order already"),
        (START + "{ t = Mul(x, a) u = Mul(t, b) y = Add(u, t) }", "used elsewhere"),
        ("(float[2,2] x) => (float[2,2] y) <float[2] a = {2.0, 4.0}, float[2,1] b = {0.5, 1.0}>"
         "{ t = Mul(x, a) y = Mul(t, b) }", "along different axes"),
    ],
)  # fmt: skip
def test_near_misses(text: str, reason: str) -> None:
    check_declined(MergeAffine(), text, reason)
