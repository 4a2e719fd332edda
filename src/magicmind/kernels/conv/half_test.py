"""Convolutions of float16: computed in float32, rounded once; where weights are unpacked changes no bit."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from magicmind.codegen.llvm import assembly
from magicmind.codegen.target import BLOCK, Target, find_target
from magicmind.ir.dims import evaluate
from magicmind.ir.scalar import ScalarProgram
from magicmind.kernels.conv.choose import choose_depthwise, rank_direct
from magicmind.kernels.conv.conv_test import DEPTHWISE, DIRECT, Case, reference
from magicmind.kernels.conv.depthwise import DepthwiseConv
from magicmind.kernels.conv.direct import DirectConv, DirectSchedule
from magicmind.kernels.conv.load import Load
from magicmind.kernels.conv.pack import pack_bias, pack_depthwise, pack_direct, pack_few_channels, pad_axis
from magicmind.kernels.conv.types import ConvTypes
from magicmind.kernels.epilogue import Epilogue
from magicmind.testing.run_kernel import run_kernel, runnable_targets

Array = npt.NDArray[Any]
HALF = ConvTypes("f16", "f16", "f16")
RESIDUAL = Epilogue(ScalarProgram.parse(["t0 = Add(acc, x0)", "t1 = Relu(t0)"]), ("same",), ("f16",))
TARGETS = [name for name in ("x86-64-v2", "x86-64-v3") if name in runnable_targets()]


def halves(case: Case) -> tuple[Array, Array, Array, Array]:
    """Input, weights and residual of float16, bias of float32."""
    x, w, bias, residual = case.data()
    return x.astype(np.float16), w.astype(np.float16), bias, residual.astype(np.float16)


def blocked(x: Array, groups: int = 1) -> Array:
    n, c, h, w = x.shape
    padded = pad_axis(x.reshape(n * groups, c // groups, h, w), 1, BLOCK)
    return np.ascontiguousarray(padded.reshape(n * groups, -1, BLOCK, h, w).transpose(0, 1, 3, 4, 2))


def unblocked(y: Array, n: int, oc: int, groups: int) -> Array:
    _, blocks, h, w, _ = y.shape
    return y.transpose(0, 1, 4, 2, 3).reshape(n, groups, blocks * BLOCK, h, w)[:, :, :oc].reshape(n, -1, h, w)


def run_direct(case: Case, target: Target, runtime: bool, unpack: bool, *, plain: bool = False) -> Array:
    x, w, bias, residual = halves(case)
    best = rank_direct(case.shape(False), target, HALF)[0][1]
    schedule = replace(best, rows=2, chunks=1, unpack=unpack)
    spec = DirectConv(case.shape(runtime), schedule, RESIDUAL, Load("f16") if plain else None, HALF)
    packed = pack_few_channels(w, schedule.nr) if plain else pack_direct(w, case.g, schedule.nr)
    y = np.full((case.n * case.g, -(-case.oc // BLOCK), *case.out, BLOCK), np.nan, np.float16)
    source = x if plain else blocked(x, case.g)
    arrays = [source, packed, pack_bias(bias, case.g, case.oc), blocked(residual, case.g), y]
    scratch = evaluate(spec.scratch_bytes(target, case.out[1]), {})
    run_kernel(spec, arrays, case.sizes if runtime else (), target.name, 2, scratch)
    return unblocked(y, case.n, case.oc, case.g)


def check(case: Case, got: Array) -> None:
    x, w, bias, residual = halves(case)
    exact = reference(case, x.astype(np.float32), w.astype(np.float32), bias) + residual
    expected = np.maximum(exact, 0)
    assert np.abs(got - expected).max(initial=0) <= 2**-11 * max(np.abs(expected).max(initial=0), 1) * 1.01


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", [DIRECT[1], DIRECT[2], DIRECT[3], DIRECT[8]], ids=str)
def test_direct(case: Case, target: str) -> None:
    got = run_direct(case, find_target(target), False, False)
    check(case, got)
    np.testing.assert_array_equal(got, run_direct(case, find_target(target), False, True))
    np.testing.assert_array_equal(got, run_direct(case, find_target(target), True, True))


@pytest.mark.parametrize("target", TARGETS)
def test_first_layer_reads_plain_input(target: str) -> None:
    case = Case(2, 3, 40, 17, 19, k=7, s=2, p=3)
    got = run_direct(case, find_target(target), False, True, plain=True)
    check(case, got)
    np.testing.assert_array_equal(got, run_direct(case, find_target(target), True, False, plain=True))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", DEPTHWISE, ids=str)
def test_depthwise(case: Case, target: str) -> None:
    x, w, bias, residual = halves(case)
    schedule = replace(choose_depthwise(case.shape(False), find_target(target)), rows=3)
    for runtime in (False, True):
        spec = DepthwiseConv(case.shape(runtime), schedule, RESIDUAL, replace(HALF, w="f32"))
        y = np.full((case.n, -(-case.g // BLOCK), *case.out, BLOCK), np.nan, np.float16)
        packed = pack_depthwise(w.astype(np.float32))
        arrays = [blocked(x), packed, pack_bias(bias, 1, case.g), blocked(residual), y]
        scratch = evaluate(spec.scratch_bytes(find_target(target), case.out[1]), {})
        run_kernel(spec, arrays, case.sizes if runtime else (), target, 2, scratch)
        check(case, unblocked(y, case.n, case.g, 1))


def test_what_is_spilled_lies_on_cache_lines() -> None:
    """LLVM spills an accumulator of this kernel; on a stack aligned to 16 bytes that cost an eighth of its speed."""
    shape = Case(1, 64, 64, 14, 14, k=1, p=0).shape(False)
    target = find_target("x86-64-v4")
    schedule = DirectSchedule(mr=14, nr=2, rows=14, chunks=2, unpack=True)
    kernel = DirectConv(shape, schedule, RESIDUAL, types=HALF).build(target, "kernel")
    assert re.search(r"andq\s+\$-64, %rsp", assembly(kernel.finish(), target))
