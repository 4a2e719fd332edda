"""Convolutions of bytes against int64 sums, exactly; constant and run-time sizes, all targets give the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from magicmind.codegen.dot import dot_format
from magicmind.codegen.target import BLOCK, Target, find_target
from magicmind.ir.dims import evaluate
from magicmind.ir.scalar import ScalarProgram
from magicmind.kernels.contract import register_tiles, weight_group
from magicmind.kernels.conv.choose import choose_depthwise, rank_direct
from magicmind.kernels.conv.conv_test import DEPTHWISE, DIRECT, Case
from magicmind.kernels.conv.depthwise import DepthwiseConv, depthwise_types, packed_depthwise
from magicmind.kernels.conv.direct import DirectConv
from magicmind.kernels.conv.load import Load
from magicmind.kernels.conv.pack import pack_bias, pack_direct, pack_few_channels
from magicmind.kernels.conv.types import ConvTypes
from magicmind.kernels.conv.winograd import MOST_BYTE_CHANNELS, WinogradConv, WinogradSchedule
from magicmind.kernels.conv.winograd_weights import WinogradWeights
from magicmind.kernels.epilogue import Epilogue
from magicmind.testing.emulate import emulated_targets
from magicmind.testing.run_kernel import run_kernel, runnable_targets

Array = npt.NDArray[Any]
ZERO = 131
U8_TO_U8 = ConvTypes("u8", "i8", "u8", ZERO)
TARGETS = [name for name in runnable_targets() if name not in ("x86-64-v4", "cascadelake")]
REQUANTISE = Epilogue(
    ScalarProgram.parse(
        [
            "t0 = Cast(acc, FLOAT)",
            "t1 = Mul(t0, x0)",
            "t2 = Cast(x1, FLOAT)",
            "t3 = Mul(t2, 0.5)",
            "t4 = Add(t1, t3)",
            "t5 = Relu(t4)",
            "t6 = Quantise(t5, 3, UINT8)",
        ]
    ),
    ("channel", "same"),
    ("f32", "u8"),
)
"""A residual block's end: scale per channel, add bytes, quantise."""


def data(case: Case) -> tuple[Array, Array, Array, Array, Array]:
    """Input, weights, bias, scales and residual."""
    rng = np.random.default_rng(7)
    oc = case.oc * case.g
    x = rng.integers(0, 256, (case.n, case.ic * case.g, case.h, case.w)).astype(np.uint8)
    w = rng.integers(-128, 128, (oc, case.ic, case.k, case.k)).astype(np.int8)
    bias = rng.integers(-(2**20), 2**20, oc).astype(np.int32)
    scales = (rng.uniform(0.5, 2.0, oc) / (300 * np.sqrt(case.ic * case.k * case.k))).astype(np.float32)
    residual = rng.integers(0, 256, (case.n, oc, *case.out)).astype(np.uint8)
    return x, w, bias, scales, residual


def folded_bias(w: Array, bias: Array) -> Array:
    """The bias with the input's zero point in it."""
    return np.asarray(bias - ZERO * w.astype(np.int32).sum((1, 2, 3), dtype=np.int32))


def reference(case: Case, x: Array, w: Array, bias: Array) -> npt.NDArray[np.int64]:
    """sum (x - ZERO) * w + bias over the window; outside of the input x is ZERO."""
    (oh, ow), s, d = case.out, case.s, case.d
    wide = x.astype(np.int64) - ZERO
    padded = np.pad(wide, ((0, 0), (0, 0), (case.p, case.p), (case.p, case.p)))
    grouped = padded.reshape(case.n, case.g, case.ic, *padded.shape[2:])
    weights = w.astype(np.int64).reshape(case.g, case.oc, case.ic, case.k, case.k)
    y = np.zeros((case.n, case.g, case.oc, oh, ow), np.int64)
    for i in range(case.k):
        for j in range(case.k):
            taps = grouped[..., i * d : i * d + (oh - 1) * s + 1 : s, j * d : j * d + (ow - 1) * s + 1 : s]
            y += np.einsum("ngchw,goc->ngohw", taps, weights[..., i, j])
    return np.asarray(y.reshape(case.n, -1, oh, ow) + bias[:, None, None])


def requantised(acc: Array, scales: Array, residual: Array) -> Array:
    """`REQUANTISE` with numpy's float32."""
    scaled = acc.astype(np.float32) * scales[:, None, None] + residual.astype(np.float32) * np.float32(0.5)
    return np.asarray(np.clip(np.rint(np.maximum(scaled, 0)) + 3, 0, 255).astype(np.uint8))


def blocked(x: Array, groups: int = 1) -> Array:
    """Blocked per group; lanes beyond the channels hold a byte that would be noticed."""
    n, c, h, w = x.shape
    per_group = x.reshape(n * groups, c // groups, h, w)
    lanes = -per_group.shape[1] % BLOCK
    full = np.pad(per_group, ((0, 0), (0, lanes), (0, 0), (0, 0)), constant_values=77)
    return np.ascontiguousarray(full.reshape(n * groups, -1, BLOCK, h, w).transpose(0, 1, 3, 4, 2))


def unblocked(y: Array, n: int, oc: int, groups: int) -> Array:
    _, blocks, h, w, _ = y.shape
    return y.transpose(0, 1, 4, 2, 3).reshape(n, groups, blocks * BLOCK, h, w)[:, :, :oc].reshape(n, -1, h, w)


def run_direct(case: Case, target: Target, runtime: bool, *, plain: bool = False, threads: int = 2) -> Array:
    x, w, bias, scales, residual = data(case)
    schedule = replace(rank_direct(case.shape(False), target)[0][1], rows=2, chunks=1)
    epilogue = replace(REQUANTISE, fits=not runtime)  # whether a limit is kept makes no difference
    spec = DirectConv(case.shape(runtime), schedule, epilogue, Load("u8") if plain else None, U8_TO_U8)
    kr = weight_group(target, "i8")
    packed = pack_few_channels(w, schedule.nr, kr, spec.copy.run) if plain else pack_direct(w, case.g, schedule.nr, kr)
    arrays = [
        x if plain else blocked(x, case.g),
        packed,
        pack_bias(folded_bias(w, bias), case.g, case.oc),
        pack_bias(scales, case.g, case.oc),
        blocked(residual, case.g),
        np.full((case.n * case.g, -(-case.oc // BLOCK), *case.out, BLOCK), 99, np.uint8),
    ]
    scratch = evaluate(spec.scratch_bytes(target, case.out[1]), {})
    run_kernel(spec, arrays, case.sizes if runtime else (), target.name, threads, scratch)
    return unblocked(arrays[-1], case.n, case.oc, case.g)


def check(case: Case, got: Array) -> None:
    x, w, bias, scales, residual = data(case)
    acc = reference(case, x, w, bias).astype(np.int32)
    np.testing.assert_array_equal(got, requantised(acc, scales, residual))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", DIRECT, ids=str)
def test_direct(case: Case, target: str) -> None:
    check(case, run_direct(case, find_target(target), False))
    check(case, run_direct(case, find_target(target), True, threads=1))


FIRST = [
    Case(2, 3, 40, 17, 19, k=7, s=2, p=3),
    Case(1, 1, 16, 8, 8),
    Case(1, 4, 20, 5, 40),
    Case(1, 3, 17, 20, 35, d=2, p=2),
    Case(1, 2, 16, 9, 70, k=1, p=0, s=2),
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", FIRST, ids=str)
def test_first_layer_reads_plain_input(case: Case, target: str) -> None:
    check(case, run_direct(case, find_target(target), False, plain=True))
    check(case, run_direct(case, find_target(target), True, plain=True, threads=1))


def run_depthwise(case: Case, target: Target, runtime: bool, threads: int) -> Array:
    x, w, bias, scales, residual = data(case)
    types = depthwise_types(case.shape(runtime), U8_TO_U8, target)
    schedule = replace(choose_depthwise(case.shape(False), target, types), rows=3)
    spec = DepthwiseConv(case.shape(runtime), schedule, replace(REQUANTISE, fits=not runtime), types)
    arrays = [
        blocked(x),
        packed_depthwise(case.shape(runtime), types, target, w),
        pack_bias(folded_bias(w, bias), 1, case.g),
        pack_bias(scales, 1, case.g),
        blocked(residual),
        np.full((case.n, -(-case.g // BLOCK), *case.out, BLOCK), 99, np.uint8),
    ]
    scratch = evaluate(spec.scratch_bytes(target, case.out[1]), {})
    run_kernel(spec, arrays, case.sizes if runtime else (), target.name, threads, scratch)
    return unblocked(arrays[-1], case.n, case.g, 1)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", DEPTHWISE, ids=str)
def test_depthwise(case: Case, target: str) -> None:
    check(case, run_depthwise(case, find_target(target), False, 2))
    check(case, run_depthwise(case, find_target(target), True, 1))


WINOGRAD = [Case(1, 16, 32, 8, 8), Case(2, 40, 56, 9, 11), Case(1, 33, 17, 7, 5)]


def run_winograd(case: Case, target: Target, runtime: bool, threads: int, given: Sequence[Array] = ()) -> Array:
    x, w, bias, scales, residual = given or data(case)
    (mr, nr), *_ = register_tiles(target, "i32")
    spec = WinogradConv(case.shape(runtime), WinogradSchedule(2, mr, nr, 5, 1), REQUANTISE, U8_TO_U8)
    made = WinogradWeights(2, nr, -(-case.ic // BLOCK), -(-case.oc // BLOCK), "i8")
    transformed = np.full(made.bytes // 2, 12345, np.int16)
    packed = pack_direct(w, 1, nr, dot_format(target, words=True).kr)
    run_kernel(made, [packed, transformed], (), target.name, threads, 0)
    arrays = [
        blocked(x),
        transformed,
        pack_bias(folded_bias(w, bias), 1, case.oc),
        pack_bias(scales, 1, case.oc),
        blocked(residual),
        np.full((case.n, -(-case.oc // BLOCK), *case.out, BLOCK), 99, np.uint8),
    ]
    run_kernel(spec, arrays, case.sizes if runtime else (), target.name, threads, spec.scratch_bytes())
    return unblocked(arrays[-1], case.n, case.oc, 1)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", WINOGRAD, ids=str)
def test_winograd(case: Case, target: str) -> None:
    check(case, run_winograd(case, find_target(target), False, 2))
    check(case, run_winograd(case, find_target(target), True, 1))


@pytest.mark.parametrize("target", TARGETS)
def test_winograd_of_the_largest_numbers(target: str) -> None:
    """The most channels that are allowed, with nothing but 255 and -128: sums fill 31 bits."""
    case = Case(1, MOST_BYTE_CHANNELS, 16, 3, 3)
    x = np.full((1, case.ic, 3, 3), 255, np.uint8)
    w = np.full((16, case.ic, 3, 3), -128, np.int8)
    bias = np.zeros(16, np.int32)
    scales = np.full(16, -5e-7, np.float32)
    residual = np.zeros((1, 16, 3, 3), np.uint8)
    got = run_winograd(case, find_target(target), False, 1, (x, w, bias, scales, residual))
    acc = reference(case, x, w, bias)
    assert requantised(acc.astype(np.int32), scales, residual)[0, 0, 1, 1] == 133  # not saturated
    np.testing.assert_array_equal(got, requantised(acc.astype(np.int32), scales, residual))


EMULATED = [pytest.param(name, marks=pytest.mark.slow) for name in emulated_targets()]


@pytest.mark.parametrize("target", EMULATED)
def test_every_dot_product_gives_the_same_bits(target: str) -> None:
    """The cases in which steps, blocks and window rows end within a group of `kr`."""
    check(DIRECT[1], run_direct(DIRECT[1], find_target(target), False))
    check(DIRECT[2], run_direct(DIRECT[2], find_target(target), True))
    check(FIRST[0], run_direct(FIRST[0], find_target(target), True, plain=True))
    check(DEPTHWISE[1], run_depthwise(DEPTHWISE[1], find_target(target), False, 2))
    check(WINOGRAD[1], run_winograd(WINOGRAD[1], find_target(target), False, 2))
