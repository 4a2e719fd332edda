"""Kernels of whole numbers on targets that run under emulators: their bits are those of int64 sums."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.codegen.target import find_target
from magicmind.kernels import elementwise_test, matmul_types_test, pool_test, scalar_test
from magicmind.kernels.conv import bytes_test
from magicmind.kernels.conv.conv_test import Case
from magicmind.testing.run_kernel import runnable_targets
from magicmind.testing.targets import emulated

pytestmark = pytest.mark.parametrize(
    "target", emulated("aarch64", "alderlake", "x86-64-v4", "cascadelake", "sapphirerapids")
)


@pytest.mark.parametrize(
    "case", [Case(1, 20, 40, 5, 11), Case(1, 33, 50, 7, 7, k=1, p=0, s=2), Case(1, 32, 16, 4, 5, g=3)], ids=str
)
def test_convolution(case: Case, target: str) -> None:
    bytes_test.check(case, bytes_test.run_direct(case, find_target(target), False))


def test_convolution_of_run_time_sizes(target: str) -> None:
    case = Case(1, 17, 30, 5, 11)
    bytes_test.check(case, bytes_test.run_direct(case, find_target(target), True, threads=1))


def test_first_layer(target: str) -> None:
    case = Case(1, 3, 17, 9, 11, k=7, s=2, p=3)
    bytes_test.check(case, bytes_test.run_direct(case, find_target(target), False, plain=True))


@pytest.mark.parametrize(
    "case", [Case(1, 1, 1, 9, 11, s=2, g=24), Case(1, 1, 1, 7, 20, g=16), Case(1, 1, 1, 6, 7, k=5, p=2, g=16)], ids=str
)
def test_depthwise_convolution(case: Case, target: str) -> None:
    bytes_test.check(case, bytes_test.run_depthwise(case, find_target(target), False, 2))


@pytest.mark.parametrize("case", [Case(1, 1, 1, 6, 13, g=20), Case(1, 1, 1, 5, 30, s=2, g=16)], ids=str)
def test_depthwise_convolution_of_run_time_sizes(case: Case, target: str) -> None:
    bytes_test.check(case, bytes_test.run_depthwise(case, find_target(target), True, 1))


def test_matrix_products(target: str) -> None:
    matmul_types_test.test_bytes_are_quantised_again(True, target)
    matmul_types_test.test_words((15, 33, 31), True, target)


def test_pools(target: str) -> None:
    pool_test.test_averages_of_bytes(False, 16, target, np.random.default_rng(1))
    pool_test.test_global_averages_of_bytes(49, target, np.random.default_rng(2))


def test_quantising(target: str) -> None:
    scalar_test.test_quantise_rounds_halves_to_even_and_saturates(3, "UINT8", target)
    scalar_test.test_quantise_rounds_halves_to_even_and_saturates(-5, "INT8", target)


ELEMENTARY = ["Exp", "Log", "Erf", "Sin", "Tan", "Asin", "Atan", "Sinh", "Tanh", "Asinh", "Sigmoid", "Softplus", "Mish"]


def test_quantised_functions_are_rounded_alike(target: str) -> None:
    """Without multiply-adds that round once, as not every target has them."""
    x = np.random.default_rng(1).standard_normal(1 << 14).astype(np.float32) * 4
    for names in (ELEMENTARY[:7], ELEMENTARY[7:]):
        lines = [f"t{i} = {name}(x0)" for i, name in enumerate(names)]
        lines += [f"s{i} = Quantise(t{i}, {3 * i}, UINT8)" for i in range(len(names))]
        lines += [f"f{i} = Cast(s{i}, FLOAT)" for i in range(len(names))]
        lines += ["u0 = Add(f0, f1)", *(f"u{i} = Add(u{i - 1}, f{i + 1})" for i in range(1, len(names) - 1))]
        lines += [f"r = Quantise(u{len(names) - 2}, 0, INT16)"]
        here, there = (elementwise_test.run(lines, x, target=t) for t in (runnable_targets()[0], target))
        np.testing.assert_array_equal(here, there)
