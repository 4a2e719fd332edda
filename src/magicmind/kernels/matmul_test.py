"""Matrix products against float64; constant and run-time sizes give the same bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from magicmind.codegen.builder import Param
from magicmind.codegen.target import BLOCK, find_target
from magicmind.ir.scalar import ScalarProgram
from magicmind.kernels.conv.pack import pack_axis_zeros, pack_chunks, pad_axis
from magicmind.kernels.epilogue import Epilogue
from magicmind.kernels.matmul import MatMul, choose_matmul
from magicmind.testing.run_kernel import run_kernel
from magicmind.testing.targets import KERNEL_TARGETS

RELU_ADD = Epilogue(ScalarProgram.parse(["t0 = Add(acc, x0)", "t1 = Relu(t0)"]), ("same",))
SIZES = [(1, 1, 1), (3, 17, 5), (14, 32, 16), (15, 33, 31), (60, 100, 64), (2, 0, 3), (0, 4, 3)]


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize(("m", "n", "k"), SIZES)
def test_packed(m: int, n: int, k: int, target: str) -> None:
    rng = np.random.default_rng(m + n + k)
    a, b = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
    bias, residual = rng.standard_normal(n, np.float32), rng.standard_normal((m, n), np.float32)
    schedule = choose_matmul(find_target(target), m)
    packed = pack_chunks(pad_axis(b, 1, BLOCK), schedule.nr) if n else np.zeros(0, np.float32)
    results = []
    for runtime in (False, True):
        size = [Param(i) if runtime else v for i, v in enumerate((m, n, k))]
        spec = MatMul(1, size[0], size[1], size[2], schedule, has_bias=True, epilogue=RELU_ADD)
        c = np.full((m, n), np.nan, np.float32)
        run_kernel(spec, [a, packed, pack_axis_zeros(bias), residual, c], (m, n, k) if runtime else (), target, 2)
        results.append(c)
    expected = np.maximum(a.astype(np.float64) @ b + bias + residual, 0)
    assert np.abs(results[0] - expected).max(initial=0) <= 1e-6 * max(np.abs(expected).max(initial=0), k)
    np.testing.assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize(("m", "n", "k"), [(5, 40, 35), (3, 16, 16), (2, 7, 20), (17, 33, 3)])
def test_packed_at_run_time(m: int, n: int, k: int, trans_b: bool, target: str) -> None:
    rng = np.random.default_rng(m + n + k)
    a, b = rng.standard_normal((2, m, k), np.float32), rng.standard_normal((2, k, n), np.float32)
    stored = np.ascontiguousarray(np.swapaxes(b, 1, 2)) if trans_b else b
    schedule = choose_matmul(find_target(target), m)
    results = []
    for runtime in (False, True):
        size = [Param(i) if runtime else v for i, v in enumerate((m, n, k))]
        spec = MatMul(2, size[0], size[1], size[2], schedule, packed=False, trans_b=trans_b)
        c = np.full((2, m, n), np.nan, np.float32)
        params = (m, n, k) if runtime else ()
        run_kernel(spec, [a, stored, c], params, target, 2, scratch=k * schedule.nr * BLOCK * 4)
        results.append(c)
    np.testing.assert_allclose(results[0], a.astype(np.float64) @ b, atol=1e-5)
    np.testing.assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize(("m", "k"), [(17, 1024), (30, 48)])
def test_where_rows_are_copied_changes_no_bit(m: int, k: int, target: str) -> None:
    rng = np.random.default_rng(m)
    a, b = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, 96), np.float32)
    there = choose_matmul(find_target(target), m, 96)
    results = []
    for schedule in (there, replace(there, rows=16, chunks=2, copy=True)):
        spec = MatMul(1, m, 96, k, schedule)
        c = np.full((m, 96), np.nan, np.float32)
        scratch = spec.scratch_bytes(find_target(target), k)
        assert isinstance(scratch, int) and bool(scratch) == schedule.copy
        run_kernel(spec, [a, pack_chunks(b, schedule.nr), c], (), target, 2, scratch)
        results.append(c)
    np.testing.assert_allclose(results[0], a.astype(np.float64) @ b, atol=1e-4)
    np.testing.assert_array_equal(results[0], results[1])


def test_rows_that_share_a_set_of_the_cache_are_copied_where_a_register_tile_reads_many() -> None:
    wide, narrow = find_target("x86-64-v4"), find_target("x86-64-v3")
    assert choose_matmul(wide, 128, 768, depth=3072).copy and choose_matmul(wide, Param(0), 64, depth=1024).copy
    others = [(wide, 128, 768, 768), (wide, 8, 768, 1024), (wide, 128, 32, 1024), (narrow, 128, 768, 3072)]
    assert not any(choose_matmul(target, m, n, depth=k).copy for target, m, n, k in others)
