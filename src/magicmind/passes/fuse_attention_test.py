"""Spellings of attention, and what only looks like one."""

from __future__ import annotations

import pytest

from magicmind.passes.fuse_attention import FuseAttention
from magicmind.testing.check_pass import check_declined, check_pass

HEADS = "(float[2,5,3,4] q, float[2,7,3,4] k, float[2,7,3,4] v{more}) => ({out} y)"
CONSTANTS = "<float c = {{2.0}}, float i = {{0.5}}, float r = {{0.25}}, float low = {{-1e9}}, float z = {{0.0}}>"
TURNED = "qt = Transpose<perm=[0,2,1,3]>(q) kt = Transpose<perm=[0,2,3,1]>(k) vt = Transpose<perm=[0,2,1,3]>(v) "
OWN = 'magicmind.Attention<{attributes}layouts=["bshd","bshd","bshd","{order}"], scale=0.5>'


def text(body: str, more: str = "", out: str = "float[2,3,5,4]") -> str:
    return f"{HEADS.format(more=more, out=out)} {CONSTANTS.format()} {{ {TURNED} {body} }}"


def own(inputs: str, more: str = "", out: str = "float[2,3,5,4]", order: str = "bhsd", attributes: str = "") -> str:
    return f"{HEADS.format(more=more, out=out)} {{ y = {OWN.format(order=order, attributes=attributes)}({inputs}) }}"


@pytest.mark.parametrize(
    "scores",
    [
        "m = MatMul(qt, kt) s = Div(m, c)",
        "m = MatMul(qt, kt) s = Mul(i, m)",
        "a = Mul(qt, i) s = MatMul(a, kt)",
        "a = Mul(qt, r) b = Mul(kt, c) s = MatMul(a, b)",
    ],
)
def test_scale_anywhere(scores: str) -> None:
    check_pass(FuseAttention(), text(f"{scores} p = Softmax<axis=-1>(s) y = MatMul(p, vt)"), own("q, k, v"))


def test_transpose_of_the_result() -> None:
    body = "m = MatMul(qt, kt) s = Div(m, c) p = Softmax<axis=3>(s) o = MatMul(p, vt) y = Transpose<perm=[0,2,1,3]>(o)"
    shape = "float[2,5,3,4]"
    check_pass(FuseAttention(), text(body, out=shape), own("q, k, v", out=shape, order="bshd"))


@pytest.mark.parametrize("mask", ["float[2,1,1,7]", "float[7]", "float[5,7]", "float[2,3,5,7]"])
def test_added_mask(mask: str) -> None:
    body = "m = MatMul(qt, kt) d = Div(m, c) s = Add({}) p = Softmax<axis=-1>(s) y = MatMul(p, vt)"
    more = f", {mask} x"
    for order in ("d, x", "x, d"):
        check_pass(FuseAttention(), text(body.format(order), more), own("q, k, v, x", more))


def test_two_added_masks() -> None:
    body = "m = MatMul(qt, kt) d = Div(m, c) a = Add(d, x) s = Add(a, w) p = Softmax<axis=-1>(s) y = MatMul(p, vt)"
    more = ", float[1,3,5,7] x, float[2,1,1,7] w"
    after = own("q, k, v, b", more).replace("{ y", "{ b = Add(w, x) y")
    check_pass(FuseAttention(), text(body, more), after)


def test_mask_by_choice() -> None:
    body = "m = MatMul(qt, kt) d = Div(m, c) s = Where({}) p = Softmax<axis=-1>(s) y = MatMul(p, vt)"
    more, fill = ", bool[2,1,1,7] x", "fill=-1e9, "
    check_pass(FuseAttention(), text(body.format("x, d, low"), more), own("q, k, v, x", more, attributes=fill))
    after = own("q, k, v, n", more, attributes=fill).replace("{ y", "{ n = Not(x) y")
    check_pass(FuseAttention(), text(body.format("x, low, d"), more), after)


@pytest.mark.parametrize(("choice", "joined"), [("x, a, t", "x, w, t"), ("x, t, a", "x, t, w")])
def test_mask_added_before_one_by_choice(choice: str, joined: str) -> None:
    """A bias by position under a causal mask: both are one mask."""
    more = ", bool[2,1,5,7] x, float[1,3,5,7] w"
    body = (
        f"m = MatMul(qt, kt) d = Div(m, c) a = Add(d, w) s = Where({choice}) p = Softmax<axis=-1>(s) y = MatMul(p, vt)"
    )
    before = text(body, more).replace("float z = {0.0}", "float t = {-3.4e38}")
    after = own("q, k, v, b", more).replace("{ y", f"<float t = {{-3.4e38}}> {{ b = Where({joined}) y")
    check_pass(FuseAttention(), before, after)


def test_zeros_where_nothing_is_seen() -> None:
    body = "m = MatMul(qt, kt) d = Div(m, c) p = Softmax<axis=-1>(d) n = IsNaN(p) w = Where(n, z, p) y = MatMul(w, vt)"
    check_pass(FuseAttention(), text(body), own("q, k, v").replace("scale=0.5", "scale=0.5, zero_masked=1"))


@pytest.mark.parametrize("spelling", ["m = MatMul(x, k) n = Add(m, t)", "m = MatMul(x, k) n = Where(e, m, w)"])
def test_constant_causal_mask(spelling: str) -> None:
    start = "(float[2,2,4] x, float[2,4,2] k, float[2,2,3] v) => (float[2,2,3] y)"
    constants = "<float[2,2] t = {0.0, -3.4e38, 0.0, 0.0}, bool[1,2,2] e = {1, 0, 1, 1}, float w = {-3.4e38}>"
    before = f"{start} {constants} {{ {spelling} p = Softmax<axis=-1>(n) y = MatMul(p, v) }}"
    attributes = 'causal=1, layouts=["hsd","hds","hsd","hsd"], scale=1.0'
    check_pass(FuseAttention(), before, f"{start} {{ y = magicmind.Attention<{attributes}>(x, k, v) }}")


def test_parts_of_one_projection() -> None:
    """As in GPT (Split, Reshape, Transpose) and ViT (Reshape, Transpose, Gather)."""
    start = "(float[2,5,24] x) => (float[2,2,5,4] y)"
    rest = "s = MatMul(qt, kt) p = Softmax<axis=-1>(s) y = MatMul(p, vt) }"
    gpt = f"""{start} <int64[4] h = {{0,0,2,4}}> {{
        a, b, c = Split<axis=2, num_outputs=3>(x) q = Reshape(a, h) k = Reshape(b, h) v = Reshape(c, h)
        qt = Transpose<perm=[0,2,1,3]>(q) kt = Transpose<perm=[0,2,3,1]>(k) vt = Transpose<perm=[0,2,1,3]>(v) {rest}"""
    layouts = 'layouts=["bs0hd","bs1hd","bs2hd","bhsd"], scale=1.0'
    after = f"""{start} <int64[5] n = {{2,5,3,2,4}}> {{ q = Reshape(x, n) k = Reshape(x, n) v = Reshape(x, n)
        y = magicmind.Attention<{layouts}>(q, k, v) }}"""
    check_pass(FuseAttention(), gpt, after)
    vit = f"""{start} <int64[5] n = {{2,5,3,2,4}}, int64 i = {{0}}, int64 j = {{1}}, int64 l = {{2}}> {{
        r = Reshape(x, n) t = Transpose<perm=[2,0,3,1,4]>(r) qt = Gather<axis=0>(t, i) k = Gather<axis=0>(t, j)
        vt = Gather<axis=0>(t, l) kt = Transpose<perm=[0,1,3,2]>(k) {rest}"""
    after = f"{start} <int64[5] n = {{2,5,3,2,4}}> {{ r = Reshape(x, n) y = magicmind.Attention<{layouts}>(r, r, r) }}"
    check_pass(FuseAttention(), vit, after)


def test_repeated_heads() -> None:
    start = "(float[2,4,5,8] q, float[2,2,7,8] k, float[2,2,7,8] v) => (float[2,4,5,8] y)"
    before = f"""{start} <int64[1] two = {{2}}, int64[5] e = {{2,2,2,7,8}}, int64[4] f = {{2,4,7,8}}> {{
        a = Unsqueeze(k, two) b = Expand(a, e) c = Reshape(b, f) kt = Transpose<perm=[0,1,3,2]>(c)
        g = Unsqueeze(v, two) h = Expand(g, e) vt = Reshape(h, f)
        s = MatMul(q, kt) p = Softmax<axis=-1>(s) y = MatMul(p, vt) }}"""
    layouts = 'layouts=["bhsd","bhsd","bhsd","bhsd"], scale=1.0'
    check_pass(FuseAttention(), before, f"{start} {{ y = magicmind.Attention<{layouts}>(q, k, v) }}")


@pytest.mark.parametrize(
    ("body", "more", "reason"),
    [
        ("s = MatMul(qt, kt) p = Softmax<axis=2>(s) y = MatMul(p, vt)", "", "last axis"),
        ("s = MatMul(qt, kt) t = Tanh(s) p = Softmax<axis=3>(t) y = MatMul(p, vt)", "", "no scale or mask"),
        ("s = MatMul(qt, kt) p = Softmax<axis=3>(s) n = Neg(p) y = MatMul(n, vt)", "", "multiplied with values"),
        ("s = MatMul(qt, kt) p = Softmax<axis=3>(s) o = MatMul(p, vt) t = ReduceMax<keepdims=0>(p) y = Add(o, t)", "",
         "multiplied with values"),
        ("s = MatMul(qt, kt) a = Add(s, x) p = Softmax<axis=3>(a) y = MatMul(p, vt)", ", float[5,1] x", "per key"),
        ("s = MatMul(qt, kt) a = Add(s, x) b = Where(w, a, low) p = Softmax<axis=3>(b) y = MatMul(p, vt)",
         ", float[7] x, bool[5,7] w", "not so low"),
        ("s = MatMul(qt, kt) a = Add(s, x) b = Mul(a, c) p = Softmax<axis=3>(b) y = MatMul(p, vt)", ", float[7] x",
         "before the scale"),
    ],
)  # fmt: skip
def test_near_misses_are_declined(body: str, more: str, reason: str) -> None:
    check_declined(FuseAttention(), text(body, more), reason)
