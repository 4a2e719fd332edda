"""Winograd convolution on float16, and its weights made by a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from magicmind.codegen.target import BLOCK, find_target
from magicmind.ir.scalar import ScalarProgram
from magicmind.kernels.conv.conv_test import Case, blocked, reference, unblocked
from magicmind.kernels.conv.pack import pack_bias, pack_direct
from magicmind.kernels.conv.types import ConvTypes
from magicmind.kernels.conv.winograd import WinogradConv, WinogradSchedule, pack_winograd
from magicmind.kernels.conv.winograd_weights import WinogradWeights
from magicmind.kernels.epilogue import Epilogue
from magicmind.kernels.jit_testing import run
from magicmind.testing.targets import KERNEL_TARGETS

Array = npt.NDArray[Any]
PROGRAM = ScalarProgram.parse(["t0 = Cast(x0, FLOAT)", "t1 = Add(acc, t0)", "t2 = Relu(t1)", "t3 = Cast(t2, FLOAT16)"])
CASES = [(Case(1, 16, 32, 8, 8), 1), (Case(2, 40, 56, 9, 11), 2)]


def weights_of(w: Array, m: int, nr: int, target: str, threads: int = 1) -> Array:
    """The weights as the kernel makes them."""
    spec = WinogradWeights(m, nr, -(-w.shape[1] // BLOCK), -(-w.shape[0] // BLOCK), {2: "f16", 4: "f32"}[w.itemsize])
    packed = pack_direct(w, 1, nr)
    return run(spec, target, [packed], [np.full(spec.bytes // 4, np.nan, np.float32)], threads=threads)[0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("target", KERNEL_TARGETS)
def test_weights_are_those_of_the_packing_in_float64(target: str, m: int, dtype: Any) -> None:
    for oc, ic, nr in ((32, 16, 1), (40, 33, 2), (16, 48, 2)):
        w = np.random.default_rng(0).standard_normal((oc, ic, 3, 3)).astype(dtype)
        got = weights_of(w, m, nr, target)
        np.testing.assert_allclose(got, pack_winograd(w.astype(np.float32), m, nr), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(got, weights_of(w, m, nr, target, threads=3))


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize(("case", "nr"), CASES, ids=str)
def test_float16_in_and_out(case: Case, nr: int, target: str, m: int) -> None:
    x, w, bias, residual = (a.astype(np.float16).astype(np.float32) for a in case.data())
    schedule = WinogradSchedule(m, 14 if find_target(target).lanes == BLOCK else 3, nr, 5, 1)
    spec = WinogradConv(
        case.shape(False), schedule, Epilogue(PROGRAM, ("same",), ("f16",)), ConvTypes("f16", "f32", "f16")
    )
    y = np.zeros((case.n, -(-case.oc // BLOCK), *case.out, BLOCK), np.float16)
    blocks = [np.nan_to_num(blocked(a)).astype(np.float16) for a in (x, residual)]
    inputs = [blocks[0], weights_of(w.astype(np.float16), m, nr, target), pack_bias(bias, 1, case.oc), blocks[1]]
    (got,) = run(spec, target, inputs, [y], threads=2, scratch=spec.scratch_bytes())
    expected = np.maximum(reference(case, x, w, bias) + residual, 0)
    error = np.abs(unblocked(got, case.n, case.oc, 1) - expected)
    assert (error <= 5e-4 * np.abs(expected) + 2e-5 * np.abs(expected).max()).all()
