"""Kernels of whole numbers on targets that run under emulators: their bits are those of int64 sums."""

from __future__ import annotations

import pytest

from magicmind.codegen.target import find_target
from magicmind.kernels.conv import bytes_test
from magicmind.kernels.conv.conv_test import Case
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


def test_depthwise_convolution(target: str) -> None:
    case = Case(1, 1, 1, 9, 11, s=2, g=24)
    bytes_test.check(case, bytes_test.run_depthwise(case, find_target(target), False, 2))
