"""Kernel families on AArch64, cross-compiled and run under qemu-user."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.codegen import math_test
from magicmind.kernels import elementwise_test, matmul_test, normalize_test, reduce_test, scalar_test, softmax_test
from magicmind.kernels.conv import conv_test
from magicmind.testing.emulate import emulated_targets

pytestmark = pytest.mark.skipif(
    "aarch64" not in emulated_targets(), reason="needs qemu-aarch64 (Debian package qemu-user)"
)
ARM = "aarch64"


@pytest.mark.parametrize("name", math_test.REFERENCES)
def test_elementary_functions(name: str) -> None:
    function, bound, _ = math_test.REFERENCES[name]
    x = math_test.all_floats(step=65537)
    with np.errstate(all="ignore"):
        want = function(x.astype(np.float64))
    assert math_test.ulp_error(math_test.apply(name, x, target=ARM), want).max() <= bound


@pytest.mark.parametrize("size", [0, 17, 65])
def test_flat(size: int) -> None:
    elementwise_test.test_flat_sizes(size, ARM)


@pytest.mark.parametrize(("left", "right"), [((2, 3, 17), (3, 1)), ((37, 4), (37, 1)), ((2, 19, 3), (19, 1))])
def test_broadcasting(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    elementwise_test.test_broadcasting(left, right, ARM)


def test_half_precision() -> None:
    scalar_test.test_every_float16_value_survives_and_rounds(ARM)


def test_reductions() -> None:
    reduce_test.test_sum_over_any_axes((2, 67, 33), (1,), ARM)
    reduce_test.test_special_values(ARM)
    reduce_test.test_positions("f4", True, ARM)


@pytest.mark.parametrize("shape", [(3, 17, 1), (9, 4, 1), (2, 21, 37)])
def test_softmax(shape: tuple[int, int, int]) -> None:
    softmax_test.test_softmax("softmax", shape, ARM)


def test_normalisations() -> None:
    normalize_test.test_normalize(6, 3, 4, 33, ARM)
    normalize_test.test_lrn(5, 0.75, ARM)


def test_convolutions() -> None:
    conv_test.test_direct(conv_test.DIRECT[1], ARM)
    conv_test.test_first_layer_reads_plain_input(conv_test.Case(1, 3, 20, 9, 11, k=5, s=2, p=2), ARM)
    conv_test.test_depthwise(conv_test.DEPTHWISE[0], ARM)
    conv_test.test_separable(conv_test.DEPTHWISE[1], 33, ARM)
    conv_test.test_winograd(conv_test.Case(1, 16, 24, 5, 7), ARM, 4)


def test_matrix_products() -> None:
    matmul_test.test_packed(15, 33, 31, ARM)
