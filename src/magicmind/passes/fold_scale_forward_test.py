"""FoldScaleForward."""

from __future__ import annotations

import pytest

from magicmind.passes.fold_scale_forward import FoldScaleForward
from magicmind.testing.check_pass import check_declined, check_pass

FORWARD = (
    "(float[N,2,4,4] x) => (float[N,1,{size},{size}] y) <float[1,2,1,1] w = {{2.0, 8.0}}, float[2,1,1] k = {{0.5, 3.0}}"
)


def test_forward_scale_ignores_padding() -> None:
    check_pass(
        FoldScaleForward(),
        FORWARD.format(size=6) + "> { t = Mul(x, k)  y = Conv<pads=[1,1,1,1]>(t, w) }",
        "(float[N,2,4,4] x) => (float[N,1,6,6] y) <float[1,2,1,1] w = {1.0, 24.0}> { y = Conv<pads=[1,1,1,1]>(x, w) }",
    )


def test_forward_offset_becomes_bias() -> None:
    check_pass(
        FoldScaleForward(),
        FORWARD.format(size=4) + "> { t = Add(x, k)  y = Conv(t, w) }",
        "(float[N,2,4,4] x) => (float[N,1,4,4] y) <float[1,2,1,1] w = {2.0, 8.0}, float[1] b = {25.0}>"
        "{ y = Conv(x, w, b) }",
    )


def test_forward_offset_does_not_cross_padding() -> None:
    text = FORWARD.format(size=6) + "> { t = Add(x, k)  y = Conv<pads=[1,1,1,1]>(t, w) }"
    check_declined(FoldScaleForward(), text, "the padding would get the offset too")


def test_forward_scale_into_a_transposed_convolution() -> None:
    head = "(float[N,2,4,4] x) => (float[N,1,4,4] y)"
    check_pass(
        FoldScaleForward(),
        f"{head} <float[2,1,1,1] w = {{2.0, 8.0}}, float[2,1,1] k = {{0.5, 3.0}}>"
        "{ t = Mul(x, k) y = ConvTranspose(t, w) }",
        f"{head} <float[2,1,1,1] w = {{1.0, 24.0}}> {{ y = ConvTranspose(x, w) }}",
    )


MATRIX = "(float[N,3,2] x) => (float[N,3,2] y) <float[2,2] w = {1.0, 2.0, 3.0, 4.0}, float[2] k = {0.5, 3.0}> "
GEMM = "(float[N,2] x) => (float[N,2] y) <float[2,2] w = {1.0, 2.0, 3.0, 4.0}, float[2] k = {0.5, 3.0}"


def test_forward_into_a_matrix_product() -> None:
    check_pass(
        FoldScaleForward(),
        MATRIX + "{ t = Mul(x, k) y = MatMul(t, w) }",
        "(float[N,3,2] x) => (float[N,3,2] y) <float[2,2] w = {0.5, 1.0, 9.0, 12.0}> { y = MatMul(x, w) }",
    )
    check_pass(
        FoldScaleForward(),
        MATRIX + "{ t = Sub(x, k) y = MatMul(t, w) }",
        "(float[N,3,2] x) => (float[N,3,2] y) <float[2,2] w = {1.0, 2.0, 3.0, 4.0}, float[2] b = {-9.5, -13.0}>"
        "{ t = MatMul(x, w) y = Add(t, b) }",
    )


def test_forward_into_a_gemm() -> None:
    check_pass(
        FoldScaleForward(),
        GEMM + ", float[2] c = {1.0, 2.0}> { t = Mul(x, k) y = Gemm<transB=1, beta=2.0>(t, w, c) }",
        "(float[N,2] x) => (float[N,2] y) <float[2,2] w = {0.5, 6.0, 1.5, 12.0}, float[2] c = {1.0, 2.0}>"
        "{ y = Gemm<transB=1, beta=2.0>(x, w, c) }",
    )
    check_pass(
        FoldScaleForward(),
        GEMM + ", float[2] c = {1.0, 2.0}> { t = Add(x, k) y = Gemm<alpha=2.0>(t, w, c) }",
        "(float[N,2] x) => (float[N,2] y) <float[2,2] w = {1.0, 2.0, 3.0, 4.0}, float[2] c = {20.0, 28.0}>"
        "{ y = Gemm<alpha=2.0>(x, w, c) }",
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GEMM + "> { t = Mul(x, k) y = Gemm<transA=1>(t, w) }".replace("N", "2"), "transposed"),
        (GEMM + ", float[2] c = {1.0, 2.0}> { t = Add(x, k) y = Gemm<beta=2.0>(t, w, c) }", "the bias has a factor"),
        (MATRIX + "{ t = Mul(x, k) u = MatMul(t, w) y = Add(u, t) }", "used elsewhere"),
    ],
)
def test_forward_near_misses(text: str, reason: str) -> None:
    check_declined(FoldScaleForward(), text.replace("float[N,2]", "float[2,2]"), reason)
