"""Families of float kernels on targets that run under emulators."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.codegen import math_test
from magicmind.kernels import elementwise_test, matmul_test, normalize_test, reduce_test, scalar_test, softmax_test
from magicmind.kernels.conv import conv_test
from magicmind.testing.run_kernel import runnable_targets
from magicmind.testing.targets import emulated

pytestmark = pytest.mark.parametrize("target", emulated("aarch64", "x86-64-v4"))


@pytest.mark.parametrize("name", math_test.REFERENCES)
def test_elementary_functions(name: str, target: str) -> None:
    function, bound, _ = math_test.REFERENCES[name]
    x = math_test.all_floats(step=65537)
    with np.errstate(all="ignore"):
        want = function(x.astype(np.float64))
    assert math_test.ulp_error(math_test.apply(name, x, target=target), want).max() <= bound


@pytest.mark.parametrize("size", [0, 17, 65])
def test_flat(size: int, target: str) -> None:
    elementwise_test.test_flat_sizes(size, target)


@pytest.mark.parametrize(("left", "right"), [((2, 3, 17), (3, 1)), ((37, 4), (37, 1)), ((2, 19, 3), (19, 1))])
def test_broadcasting(left: tuple[int, ...], right: tuple[int, ...], target: str) -> None:
    elementwise_test.test_broadcasting(left, right, target)


def test_half_precision(target: str) -> None:
    if target == "x86-64-v4" and target not in runnable_targets():
        pytest.skip("Bochs 2.7 rounds ties of VCVTPS2PH away from zero, which no CPU does")
    scalar_test.test_every_float16_value_survives_and_rounds(target)


def test_reductions(target: str) -> None:
    reduce_test.test_sum_over_any_axes((2, 67, 33), (1,), target)
    reduce_test.test_special_values(target)
    reduce_test.test_positions("f4", True, target)


@pytest.mark.parametrize("shape", [(3, 17, 1), (9, 4, 1), (2, 21, 37)])
def test_softmax(shape: tuple[int, int, int], target: str) -> None:
    softmax_test.test_softmax("softmax", shape, target)


def test_normalisations(target: str) -> None:
    normalize_test.test_normalize(6, 3, 4, 33, target)
    normalize_test.test_lrn(5, 0.75, target)


def test_convolutions(target: str) -> None:
    conv_test.test_direct(conv_test.DIRECT[1], target)
    conv_test.test_first_layer_reads_plain_input(conv_test.Case(1, 3, 20, 9, 11, k=5, s=2, p=2), target)
    conv_test.test_depthwise(conv_test.DEPTHWISE[0], target)
    conv_test.test_separable(conv_test.DEPTHWISE[1], 33, target)
    conv_test.test_winograd(conv_test.Case(1, 16, 24, 5, 7), target, 4)


def test_matrix_products(target: str) -> None:
    matmul_test.test_packed(15, 33, 31, target)
