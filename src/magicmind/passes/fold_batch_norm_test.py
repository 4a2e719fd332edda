"""FoldBatchNorm."""

from __future__ import annotations

from magicmind.passes.fold_batch_norm import FoldBatchNorm
from magicmind.testing.check_pass import check_declined, check_pass

BN = "<float[2] s = {3.0, 4.0}, float[2] b = {1.0, 2.0}, float[2] m = {1.0, 0.0}, float[2] v = {4.0, 1.0}"
WEIGHTS = "float[2,1,1,1] w = {2.0, 8.0}, float[2] c = {1.0, 1.0}>"


def test_into_a_convolution_that_has_a_bias() -> None:
    model = check_pass(
        FoldBatchNorm(),
        f"(float[N,1,4,4] x) => (float[N,2,4,4] y) {BN}, {WEIGHTS}"
        "{ [conv] t = Conv(x, w, c)  [bn] y = BatchNormalization<epsilon=0.0>(t, s, b, m, v) }",
        "(float[N,1,4,4] x) => (float[N,2,4,4] y) <float[2,1,1,1] w = {3.0, 32.0}, float[2] c = {1.0, 6.0}>"
        "{ y = Conv(x, w, c) }",
    )
    (node,) = (n for n in model.graph if n.outputs[0].is_graph_output())
    assert node.name == "conv"
    assert node.metadata_props["magicmind.sources"] == "conv,bn"


def test_into_a_grouped_transposed_convolution() -> None:
    check_pass(
        FoldBatchNorm(),
        f"(float[1,2,4,4] x) => (float[1,2,4,4] y) {BN}, float[2,1,1,1] w = {{2.0, 8.0}}>"
        "{ t = ConvTranspose<group=2>(x, w)  y = BatchNormalization<epsilon=0.0>(t, s, b, m, v) }",
        "(float[1,2,4,4] x) => (float[1,2,4,4] y) <float[2,1,1,1] w = {3.0, 32.0}, float[2] c = {-0.5, 2.0}>"
        "{ y = ConvTranspose<group=2>(x, w, c) }",
        numbers=False,  # onnx 1.23's evaluator adds the bias of the wrong group
    )


def test_into_a_gemm_with_beta() -> None:
    check_pass(
        FoldBatchNorm(),
        f"(float[3,1] x) => (float[3,2] y) {BN}, float[2,1] w = {{2.0, 8.0}}, float[2] c = {{1.0, 1.0}}>"
        "{ t = Gemm<transB=1, beta=2.0>(x, w, c)  y = BatchNormalization<epsilon=0.0>(t, s, b, m, v) }",
        "(float[3,1] x) => (float[3,2] y) <float[2,1] w = {3.0, 32.0}, float[2] c = {2.5, 10.0}>"
        "{ y = Gemm<transB=1>(x, w, c) }",
    )


def test_one_that_stands_alone_becomes_mul_and_add() -> None:
    check_pass(
        FoldBatchNorm(),
        f"(float[N,2,4,4] x) => (float[N,2,4,4] y) {BN}> {{ y = BatchNormalization<epsilon=0.0>(x, s, b, m, v) }}",
        "(float[N,2,4,4] x) => (float[N,2,4,4] y) <float[2,1,1] k = {1.5, 4.0}, float[2,1,1] d = {-0.5, 2.0}>"
        "{ t = Mul(x, k)  y = Add(t, d) }",
    )


def test_statistics_that_are_inputs_stay() -> None:
    check_declined(
        FoldBatchNorm(),
        "(float[N,2] x, float[2] s, float[2] b, float[2] m, float[2] v) => (float[N,2] y)"
        "{ y = BatchNormalization(x, s, b, m, v) }",
        "the statistics are not constant",
    )
