"""GemmToMatmul, MatmulToOwn, FuseMatmulBias and ConvToOwn."""

from __future__ import annotations

from magicmind.passes.conv_to_own import ConvToOwn
from magicmind.passes.to_matmul import FuseMatmulBias, GemmToMatmul, MatmulToOwn
from magicmind.testing.check_pass import check_declined, check_pass

HEAD = "(float[N,2] x) => (float[N,2] y)"


def test_gemm_transposes_and_scales_constants() -> None:
    check_pass(
        GemmToMatmul(),
        f"{HEAD} <float[2,2] w = {{1.0, 2.0, 3.0, 4.0}}, float[1,2] c = {{1.0, 2.0}}>"
        "{ y = Gemm<transB=1, alpha=0.5, beta=2.0>(x, w, c) }",
        f"{HEAD} <float[2,2] w = {{0.5, 1.5, 1.0, 2.0}}, float[2] b = {{2.0, 4.0}}>{{ y = magicmind.MatMul(x, w, b) }}",
    )


def test_gemm_of_run_time_operands_uses_the_epilogue() -> None:
    head = "(float[3,2] x, float[2,3] w, float[2,2] c) => (float[2,2] y)"
    check_pass(
        GemmToMatmul(),
        f"{head} {{ y = Gemm<transA=1, transB=1, alpha=0.5>(x, w, c) }}",
        head + '{ y = magicmind.MatMul<transA=1, transB=1, epilogue=["t0 = Mul(acc, 0.5)", "t1 = Add(t0, x0)"]>'
        "(x, w, , c) }",
    )


def test_matmul_changes_domain() -> None:
    head = "(float[N,2] x, float[2,2] w) => (float[N,2] y)"
    check_pass(MatmulToOwn(), f"{head} {{ y = MatMul(x, w) }}", f"{head} {{ y = magicmind.MatMul(x, w) }}")


def test_a_row_added_to_a_product_is_its_bias() -> None:
    head = "(float[N,2] x, float[2,2] w) => (float[N,2] y) <float[1,2] c = {1.0, 2.0}>"
    check_pass(
        FuseMatmulBias(),
        f"{head} {{ t = magicmind.MatMul(x, w)  y = Add(c, t) }}",
        "(float[N,2] x, float[2,2] w) => (float[N,2] y) <float[2] c = {1.0, 2.0}> { y = magicmind.MatMul(x, w, c) }",
    )


def test_a_column_added_to_a_product_is_no_bias() -> None:
    head = "(float[3,2] x, float[2,2] w) => (float[3,2] y) <float[3,1] c = {1.0, 2.0, 3.0}>"
    text = f"{head} {{ t = magicmind.MatMul(x, w)  y = Add(c, t) }}"
    check_declined(FuseMatmulBias(), text, "not one number per column")


def test_conv_writes_out_every_attribute() -> None:
    head = "(float[N,2,4,4] x, float[2,1,3,3] w) => (y)"
    check_pass(
        ConvToOwn(),
        f"{head} {{ y = Conv<group=2>(x, w) }}",
        f"{head} {{ y = magicmind.Conv<kernel_shape=[3,3], strides=[1,1], pads=[0,0,0,0], dilations=[1,1], group=2>"
        "(x, w) }",
    )
