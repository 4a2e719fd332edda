"""Convolution kernels against a float64 sum over the window; constant and run-time sizes give the same bits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest

from magicmind.codegen.builder import Param
from magicmind.codegen.target import BLOCK, Target, find_target
from magicmind.ir.dims import evaluate
from magicmind.ir.scalar import ScalarProgram
from magicmind.kernels.conv.choose import choose_depthwise, rank_direct, rank_separable, rank_winograd
from magicmind.kernels.conv.depthwise import DepthwiseConv
from magicmind.kernels.conv.direct import DirectConv
from magicmind.kernels.conv.load import Load
from magicmind.kernels.conv.pack import (
    merge_groups,
    pack_bias,
    pack_depthwise,
    pack_direct,
    pack_few_channels,
)
from magicmind.kernels.conv.separable import SeparableConv
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.conv.winograd import INPUT, OUTPUT, WEIGHT, WinogradConv, WinogradSchedule, pack_winograd
from magicmind.kernels.epilogue import Epilogue
from magicmind.testing.run_kernel import run_kernel
from magicmind.testing.targets import KERNEL_TARGETS

F32 = npt.NDArray[np.float32]
RELU_ADD = Epilogue(ScalarProgram.parse(["t0 = Add(acc, x0)", "t1 = Relu(t0)"]), ("same",))


@dataclass(frozen=True)
class Case:
    n: int
    ic: int
    oc: int
    h: int
    w: int
    k: int = 3
    s: int = 1
    p: int = 1
    d: int = 1
    g: int = 1

    @property
    def out(self) -> tuple[int, int]:
        reach = self.d * (self.k - 1) + 1
        return (self.h + 2 * self.p - reach) // self.s + 1, (self.w + 2 * self.p - reach) // self.s + 1

    def shape(self, runtime: bool) -> ConvShape:
        n, ih, iw, oh, ow = (Param(i) if runtime else v for i, v in enumerate(self.sizes))
        k, s, d, p = self.k, self.s, self.d, self.p
        return ConvShape(n, self.g, self.ic, self.oc, ih, iw, oh, ow, k, k, s, s, d, d, p, p, p > 0)

    @property
    def sizes(self) -> list[int]:
        return [self.n, self.h, self.w, *self.out]

    def data(self) -> tuple[F32, F32, F32, F32]:
        rng = np.random.default_rng(7)
        x = rng.standard_normal((self.n, self.ic * self.g, self.h, self.w), np.float32)
        w = rng.standard_normal((self.oc * self.g, self.ic, self.k, self.k), np.float32)
        bias = rng.standard_normal(self.oc * self.g, np.float32)
        residual = rng.standard_normal((self.n, self.oc * self.g, *self.out), np.float32)
        return x, w, bias, residual


def reference(case: Case, x: F32, w: F32, bias: F32) -> npt.NDArray[np.float64]:
    """Sum over the window in float64."""
    (oh, ow), s, d = case.out, case.s, case.d
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (case.p, case.p), (case.p, case.p)))
    grouped = padded.reshape(case.n, case.g, case.ic, *padded.shape[2:])
    weights = w.reshape(case.g, case.oc, case.ic, case.k, case.k)
    y = np.zeros((case.n, case.g, case.oc, oh, ow))
    for i in range(case.k):
        for j in range(case.k):
            taps = grouped[..., i * d : i * d + (oh - 1) * s + 1 : s, j * d : j * d + (ow - 1) * s + 1 : s]
            y += np.einsum("ngchw,goc->ngohw", taps, weights[..., i, j])
    return y.reshape(case.n, -1, oh, ow) + bias[:, None, None]


def blocked(x: F32, groups: int = 1) -> F32:
    """Blocked per group, lanes beyond the channels are NaN: kernels may not use them."""
    n, c, h, w = x.shape
    per_group = x.reshape(n * groups, c // groups, h, w)
    lanes = -per_group.shape[1] % BLOCK
    full = np.pad(per_group, ((0, 0), (0, lanes), (0, 0), (0, 0)), constant_values=np.nan)
    return np.ascontiguousarray(full.reshape(n * groups, -1, BLOCK, h, w).transpose(0, 1, 3, 4, 2))


def unblocked(y: F32, n: int, oc: int, groups: int) -> F32:
    _, blocks, h, w, _ = y.shape
    return y.transpose(0, 1, 4, 2, 3).reshape(n, groups, blocks * BLOCK, h, w)[:, :, :oc].reshape(n, -1, h, w)


def run_direct(case: Case, target: Target, runtime: bool, *, plain: bool = False, threads: int = 2) -> F32:
    x, w, bias, residual = case.data()
    shape = case.shape(runtime)
    schedule = replace(rank_direct(case.shape(False), target)[0][1], rows=2, chunks=1)
    spec = DirectConv(shape, schedule, RELU_ADD, Load("f32") if plain else None)
    packed = pack_few_channels(w, schedule.nr) if plain else pack_direct(w, case.g, schedule.nr)
    source = np.nan_to_num(x) if plain else blocked(x, case.g)
    y = np.full((case.n * case.g, -(-case.oc // BLOCK), *case.out, BLOCK), np.nan, np.float32)
    arrays = [source, packed, pack_bias(bias, case.g, case.oc), np.nan_to_num(blocked(residual, case.g)), y]
    scratch = evaluate(spec.scratch_bytes(target, case.out[1]), {})
    run_kernel(spec, arrays, case.sizes if runtime else (), target.name, threads, scratch)
    return unblocked(y, case.n, case.oc, case.g)


def check(case: Case, got: F32, tolerance: float = 2e-6) -> None:
    x, w, bias, residual = case.data()
    expected = np.maximum(reference(case, x, w, bias) + residual, 0)
    assert np.abs(got - expected).max(initial=0) <= tolerance * max(np.abs(expected).max(initial=0), 1)


DIRECT = [
    Case(1, 16, 16, 5, 5),
    Case(2, 20, 24, 9, 11),
    Case(1, 33, 17, 12, 12, k=1, p=0),
    Case(2, 33, 50, 7, 7, k=1, p=0, s=2),
    Case(1, 20, 24, 9, 13, s=2),
    Case(1, 16, 40, 13, 7, k=5, p=2, d=2),
    Case(1, 1, 1, 1, 1, k=1, p=0),
    Case(1, 17, 3, 2, 31, p=2),
    Case(1, 32, 16, 10, 10, g=3),
    Case(1, 16, 16, 3, 3, k=7, p=3),
]


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize("case", DIRECT, ids=str)
def test_direct(case: Case, target: str) -> None:
    constant = run_direct(case, find_target(target), False)
    check(case, constant)
    np.testing.assert_array_equal(constant, run_direct(case, find_target(target), True, threads=1))


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize(
    "case", [Case(2, 3, 40, 17, 19, k=7, s=2, p=3), Case(1, 1, 16, 8, 8), Case(1, 4, 20, 5, 40)], ids=str
)
def test_first_layer_reads_plain_input(case: Case, target: str) -> None:
    constant = run_direct(case, find_target(target), False, plain=True)
    check(case, constant)
    np.testing.assert_array_equal(constant, run_direct(case, find_target(target), True, plain=True, threads=1))


NORMALISE = ScalarProgram.parse(["t0 = Cast(x0, FLOAT)", "t1 = Mul(t0, x1)", "t2 = Add(t1, x2)"])


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    "case", [Case(2, 3, 40, 17, 19, k=7, s=2, p=3), Case(1, 4, 20, 5, 40), Case(1, 1, 3, 2, 33)], ids=str
)
def test_first_layer_normalises_bytes_as_it_reads_them(case: Case, last: bool, target: str) -> None:
    """Padding is zero after the normalisation, as if the image had been normalised before."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (case.n, case.ic, case.h, case.w)).astype(np.uint8)
    scale, shift = (rng.standard_normal(case.ic).astype(np.float32) for _ in range(2))
    _, w, bias, residual = case.data()
    load = Load("u8", last, NORMALISE, tuple(tuple(float(v) for v in values) for values in (scale, shift)))
    found = run_first(case, find_target(target), load, pixels.transpose(0, 2, 3, 1) if last else pixels)
    per_channel = (-1, 1, 1)
    x = pixels.astype(np.float32) * scale.reshape(per_channel) + shift.reshape(per_channel)
    expected = np.maximum(reference(case, x, w, bias) + residual, 0)
    assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()


def run_first(case: Case, target: Target, load: Load, source: npt.NDArray[np.uint8]) -> F32:
    _, w, bias, residual = case.data()
    schedule = replace(rank_direct(case.shape(False), target)[0][1], rows=2, chunks=1)
    spec = DirectConv(case.shape(False), schedule, RELU_ADD, load)
    y = np.full((case.n, -(-case.oc // BLOCK), *case.out, BLOCK), np.nan, np.float32)
    packed = pack_few_channels(w, schedule.nr)
    residual = np.nan_to_num(blocked(residual, 1))
    arrays = [np.ascontiguousarray(source), packed, pack_bias(bias, 1, case.oc), residual, y]
    scratch = evaluate(spec.scratch_bytes(target, case.out[1]), {})
    run_kernel(spec, arrays, (), target.name, 2, scratch)
    return unblocked(y, case.n, case.oc, 1)


DEPTHWISE = [
    Case(1, 1, 1, 9, 11, g=20),
    Case(2, 1, 1, 9, 11, s=2, g=24),
    Case(1, 1, 1, 17, 13, k=5, p=2, d=2, g=5),
    Case(1, 1, 1, 7, 7, s=2, g=16),
    Case(1, 1, 1, 3, 2, k=5, p=2, g=16),
    Case(1, 1, 1, 30, 31, s=3, p=0, g=33),
    Case(1, 1, 1, 1, 1, g=16),
]


def run_depthwise(case: Case, target: Target, runtime: bool, threads: int) -> F32:
    x, w, bias, residual = case.data()
    spec = DepthwiseConv(case.shape(runtime), replace(choose_depthwise(case.shape(False), target), rows=3), RELU_ADD)
    y = np.full((case.n, -(-case.g // BLOCK), *case.out, BLOCK), np.nan, np.float32)
    arrays = [blocked(x), pack_depthwise(w), pack_bias(bias, 1, case.g), np.nan_to_num(blocked(residual)), y]
    run_kernel(spec, arrays, case.sizes if runtime else (), target.name, threads)
    return unblocked(y, case.n, case.g, 1)


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize("case", DEPTHWISE, ids=str)
def test_depthwise(case: Case, target: str) -> None:
    constant = run_depthwise(case, find_target(target), False, 2)
    check(case, constant)
    np.testing.assert_array_equal(constant, run_depthwise(case, find_target(target), True, 1))


RELU = ScalarProgram.parse(["t0 = Relu(acc)"])


def run_separable(case: Case, oc: int, target: Target, runtime: bool, threads: int) -> tuple[F32, F32]:
    """The fused pair, and the same from the two kernels it replaces by a float64 product."""
    x, v, bias, _ = case.data()
    rng = np.random.default_rng(9)
    w, second = rng.standard_normal((oc, case.g, 1, 1), np.float32), rng.standard_normal(oc, np.float32)
    oh, ow = case.out
    pointwise = Case(case.n, case.g, oc, oh, ow, k=1, p=0)
    mr = choose_depthwise(case.shape(False), target).mr
    schedule = rank_separable(pointwise.shape(False), target)[0][1]
    order = {1: 3, 2: 4, 3: 3, 4: 4}  # the pointwise input is the depthwise output: run-time sizes n, -, -, oh, ow
    after = pointwise.shape(runtime)
    if runtime:
        after = replace(after, ih=Param(order[1]), iw=Param(order[2]), oh=Param(order[3]), ow=Param(order[4]))
    spec = SeparableConv(case.shape(runtime), after, mr, schedule, RELU, Epilogue())
    y = np.full((case.n, -(-oc // BLOCK), oh, ow, BLOCK), np.nan, np.float32)
    arrays = [
        blocked(x),
        pack_depthwise(v),
        pack_bias(bias, 1, case.g),
        pack_direct(w, 1, schedule.nr),
        pack_bias(second, 1, oc),
        y,
    ]
    scratch = evaluate(spec.scratch_bytes(target, ow), {})
    run_kernel(spec, arrays, case.sizes if runtime else (), target.name, threads, scratch)
    between = np.maximum(reference(case, x, v, bias), 0)
    return unblocked(y, case.n, oc, 1), np.einsum("nchw,oc->nohw", between, w[:, :, 0, 0]) + second[:, None, None]


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize(("case", "oc"), [(DEPTHWISE[0], 24), (DEPTHWISE[1], 33), (DEPTHWISE[2], 7)], ids=str)
def test_separable(case: Case, oc: int, target: str) -> None:
    constant, expected = run_separable(case, oc, find_target(target), False, 2)
    assert np.abs(constant - expected).max() <= 2e-6 * np.abs(expected).max()
    np.testing.assert_array_equal(constant, run_separable(case, oc, find_target(target), True, 1)[0])


def run_winograd(case: Case, target: Target, m: int, runtime: bool, threads: int) -> F32:
    x, w, bias, residual = case.data()
    mr, nr = (14, 2) if target.lanes == BLOCK else (3, 1)
    spec = WinogradConv(case.shape(runtime), WinogradSchedule(m, mr, nr, 5, 1), RELU_ADD)
    y = np.full((case.n, -(-case.oc // BLOCK), *case.out, BLOCK), np.nan, np.float32)
    arrays = [
        np.nan_to_num(blocked(x)),
        pack_winograd(w, m, nr),
        pack_bias(bias, 1, case.oc),
        np.nan_to_num(blocked(residual)),
        y,
    ]
    run_kernel(spec, arrays, case.sizes if runtime else (), target.name, threads, spec.scratch_bytes())
    return unblocked(y, case.n, case.oc, 1)


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize("case", [Case(1, 16, 32, 8, 8), Case(2, 32, 40, 9, 11), Case(2, 16, 24, 5, 7, p=0)], ids=str)
def test_winograd(case: Case, target: str, m: int) -> None:
    constant = run_winograd(case, find_target(target), m, False, 2)
    check(case, constant, tolerance=2e-5)
    np.testing.assert_array_equal(constant, run_winograd(case, find_target(target), m, True, 1))


@pytest.mark.parametrize("m", [2, 4])
def test_winograd_matrices_are_a_correlation(m: int) -> None:
    """y[o] = sum of x[o + t] w[t], exactly."""
    a, b, g = (np.array(table[m], np.float64) for table in (OUTPUT, INPUT, WEIGHT))
    table = np.einsum("op,pi,pt->oit", a, b, g)
    for o, i, t in np.ndindex(*table.shape):
        assert table[o, i, t] == pytest.approx(float(i == o + t), abs=1e-12)


def test_winograd_is_chosen_only_where_it_applies() -> None:
    target = find_target("x86-64-v4")
    dense = Case(1, 64, 64, 56, 56).shape(False)
    assert rank_winograd(dense, target)[0][0] < rank_direct(dense, target)[0][0]
    assert rank_winograd(replace(dense, sh=2, sw=2, oh=28, ow=28), target) == []
    assert rank_winograd(replace(dense, dh=2, dw=2), target) == []
    assert rank_winograd(replace(dense, ic=3), target) == []


def test_merged_groups_compute_the_same() -> None:
    """Groups of 4 channels become one block-diagonal group of 16."""
    case = Case(1, 4, 4, 6, 6, g=8)
    x, w, bias, _ = case.data()
    merged = merge_groups(w, 8, 4)
    together = replace(case, ic=16, oc=16, g=2)
    np.testing.assert_allclose(reference(together, x, merged, bias), reference(case, x, w, bias), atol=1e-12)
