"""Products of float16 and of whole numbers: integers exact against numpy, floats against float64."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from magicmind.codegen.builder import Param
from magicmind.codegen.target import BLOCK, find_target
from magicmind.ir.scalar import ScalarProgram
from magicmind.kernels.conv.pack import pack_axis_zeros, pack_chunks, pad_axis
from magicmind.kernels.epilogue import Epilogue
from magicmind.kernels.matmul import MatMul, choose_matmul
from magicmind.kernels.matmul_operands import Types, format_of
from magicmind.testing.run_kernel import emulated_targets, run_kernel, runnable_targets

Sizes = tuple[int, int, int]
SIZES = [(1, 1, 1), (3, 17, 5), (14, 32, 16), (15, 33, 31), (60, 100, 64), (130, 40, 7), (2, 0, 3), (0, 4, 3)]
AT_RUN_TIME = SIZES[3]
CASES = [*itertools.product(SIZES, runnable_targets()), *(((17, 33, 31), t) for t in emulated_targets())]
TARGETS = runnable_targets()
REQUANTISE = ["t0 = Cast(acc, FLOAT)", "t1 = Mul(t0, x0)", "t2 = Add(t1, x1)", "t3 = Quantise(t2, 7, UINT8)"]


def run(spec: MatMul, arrays: list[np.ndarray], out: np.ndarray, sizes: Sizes, target: str) -> np.ndarray:
    """The result for constant sizes; those of run-time sizes must be the same bits, where they are tried."""
    results = []
    for runtime in (False, True) if sizes == AT_RUN_TIME and target in TARGETS else (False,):
        m, n, k = (Param(i) if runtime else v for i, v in enumerate(sizes))
        here = replace(spec, m=m, n=n, k=k)
        c = out.copy()
        scratch = here.scratch_bytes(find_target(target), sizes[2])
        run_kernel(here, [*arrays, c], sizes if runtime else (), target, 2, scratch=scratch)  # type: ignore[arg-type]
        results.append(c)
    np.testing.assert_array_equal(results[0], results[-1])
    return results[0]


def pack(b: np.ndarray, spec: MatMul, target: str) -> np.ndarray:
    form = format_of(find_target(target), spec.types, True)
    return pack_chunks(pad_axis(b, 1, BLOCK), spec.schedule.nr, form.kr) if b.shape[1] else np.zeros(0, b.dtype)


@pytest.mark.parametrize("a_dtype", ["f2", "f4"])
@pytest.mark.parametrize(("sizes", "target"), CASES)
def test_float16(sizes: Sizes, a_dtype: str, target: str) -> None:
    m, n, k = sizes
    rng = np.random.default_rng(m + n + k)
    a = rng.standard_normal((m, k)).astype(a_dtype)
    b, residual = rng.standard_normal((k, n)).astype("f2"), rng.standard_normal((m, n)).astype("f2")
    bias = rng.standard_normal(n, np.float32)
    types = Types({"f2": "f16", "f4": "f32"}[a_dtype], "f16", "f16")
    epilogue = Epilogue(ScalarProgram.parse(["t0 = Add(acc, x0)", "t1 = Relu(t0)"]), ("same",), ("f16",))
    schedule = choose_matmul(find_target(target), m, n, types)
    spec = MatMul(1, m, n, k, schedule, has_bias=True, epilogue=epilogue, types=types)
    got = run(
        spec, [a, pack(b, spec, target), pack_axis_zeros(bias), residual], np.full((m, n), np.nan, "f2"), sizes, target
    )
    expected = np.maximum(a.astype(np.float64) @ b.astype(np.float64) + bias + residual, 0)
    np.testing.assert_allclose(got, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("sizes", "target"), CASES)
def test_bytes(sizes: Sizes, target: str) -> None:
    m, n, k = sizes
    rng = np.random.default_rng(m + n + k)
    a, b = rng.integers(0, 256, (m, k)).astype("u1"), rng.integers(-128, 128, (k, n)).astype("i1")
    bias = rng.integers(-(2**20), 2**20, n).astype("i4")
    types = Types("u8", "i8", "i32")
    spec = MatMul(1, m, n, k, choose_matmul(find_target(target), m, n, types), has_bias=True, types=types)
    got = run(spec, [a, pack(b, spec, target), pack_axis_zeros(bias)], np.full((m, n), -7, "i4"), sizes, target)
    np.testing.assert_array_equal(got, a.astype("i4") @ b.astype("i4") + bias)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("trans_a", [False, True])
def test_bytes_are_quantised_again(trans_a: bool, target: str) -> None:
    sizes = m, n, k = 19, 37, 43
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 256, (m, k)).astype("u1"), rng.integers(-128, 128, (k, n)).astype("i1")
    scale, shift = np.float32(0.001) * rng.random(n, np.float32), rng.standard_normal((m, n)).astype("f4")
    program = ScalarProgram.parse(REQUANTISE)
    types = Types("u8", "i8", "u8")
    schedule = choose_matmul(find_target(target), m, n, types)
    spec = MatMul(1, m, n, k, schedule, trans_a=trans_a, epilogue=Epilogue(program, ("channel", "same")), types=types)
    stored = np.ascontiguousarray(a.T) if trans_a else a
    arrays = [stored, pack(b, spec, target), pack_axis_zeros(scale), shift]
    got = run(spec, arrays, np.full((m, n), 99, "u1"), sizes, target)
    acc = a.astype("i4") @ b.astype("i4")
    np.testing.assert_array_equal(got, program.evaluate({"acc": acc, "x0": scale, "x1": shift}))


@pytest.mark.parametrize(
    ("trans_b", "target"), [*itertools.product([False, True], TARGETS), *((True, t) for t in emulated_targets())]
)
@pytest.mark.parametrize(("sizes", "b_dtype"), [(AT_RUN_TIME, "u1"), ((3, 16, 16), "u1"), ((9, 64, 50), "i1")])
def test_bytes_packed_at_run_time(sizes: Sizes, b_dtype: str, trans_b: bool, target: str) -> None:
    m, n, k = sizes
    rng = np.random.default_rng(m + n + k)
    a = rng.integers(0, 256, (2, m, k)).astype("u1")
    b = rng.integers(0, 256, (2, k, n)).astype("u1").view(b_dtype)
    a_zero, b_zero = 131, 77 if b_dtype == "u1" else -100
    types = Types("u8", b_dtype.replace("1", "8"), "i32")
    schedule = choose_matmul(find_target(target), m, n, types)
    spec = MatMul(
        2, m, n, k, schedule, packed=False, trans_b=trans_b, types=types, a_zero=a_zero, b_zero=b_zero
    )  # fmt: skip
    stored = np.ascontiguousarray(np.swapaxes(b, 1, 2)) if trans_b else b
    got = run(spec, [a, stored], np.full((2, m, n), -7, "i4"), sizes, target)
    np.testing.assert_array_equal(got, (a.astype("i4") - a_zero) @ (b.astype("i4") - b_zero))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize("sizes", [AT_RUN_TIME, (2, 7, 20)])
def test_float16_packed_at_run_time(sizes: Sizes, trans_b: bool, target: str) -> None:
    m, n, k = sizes
    rng = np.random.default_rng(m + n + k)
    a, b = rng.standard_normal((2, m, k)).astype("f2"), rng.standard_normal((2, k, n)).astype("f2")
    types = Types("f16", "f16", "f32")
    spec = MatMul(
        2, m, n, k, choose_matmul(find_target(target), m, n, types), packed=False, trans_b=trans_b, types=types
    )
    stored = np.ascontiguousarray(np.swapaxes(b, 1, 2)) if trans_b else b
    got = run(spec, [a, stored], np.full((2, m, n), np.nan, "f4"), sizes, target)
    np.testing.assert_allclose(got, a.astype(np.float64) @ b.astype(np.float64), atol=1e-4)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("sizes", SIZES[1:4])
def test_words(sizes: Sizes, packed: bool, target: str) -> None:
    m, n, k = sizes
    rng = np.random.default_rng(m + n + k)
    a, b = (rng.choice(np.array([-32768, -32767, 5, 32767], "i2"), shape) for shape in ((m, k), (k, n)))
    types = Types("i16", "i16", "i64")
    spec = MatMul(1, m, n, k, choose_matmul(find_target(target), m, n, types), packed=packed, types=types)
    got = run(spec, [a, pack(b, spec, target) if packed else b], np.full((m, n), -7, "i8"), sizes, target)
    np.testing.assert_array_equal(got, a.astype("i8") @ b.astype("i8"))


@pytest.mark.parametrize("target", [*runnable_targets(), *emulated_targets()])
def test_sums_of_64_bits_round_to_float_once(target: str) -> None:
    """Sums around the middle of two float32, and far beyond 32 bits."""
    k, n = 24, 16
    a = np.full((2, k), 32767, "i2")
    b = np.random.default_rng(1).integers(-32768, 32767, (k, n)).astype("i2")
    middle = (1 << 40) + (1 << 16)  # float32 has 24 of its 41 bits
    bias = middle + np.arange(n) % 3 - 1 - a[0].astype("i8") @ b.astype("i8")
    types = Types("i16", "i16", "f32")
    epilogue = Epilogue(ScalarProgram.parse(["t0 = Cast(acc, FLOAT)"]))
    schedule = choose_matmul(find_target(target), 2, n, types)
    spec = MatMul(1, 2, n, k, schedule, has_bias=True, epilogue=epilogue, types=types)
    got = run(spec, [a, pack(b, spec, target), bias], np.zeros((2, n), "f4"), (2, n, k), target)
    np.testing.assert_array_equal(got, (a.astype("i8") @ b.astype("i8") + bias).astype("f4"))
    assert len(set(got[0])) == 2
