"""Casts from and to types of 2 to 8 bits: generated code and reference against ml_dtypes, bit for bit."""

from __future__ import annotations

import warnings
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx_ir import DataType

from magicmind.ir.narrow import NARROW, cast_narrow
from magicmind.ir.scalar import ScalarProgram
from magicmind.kernels.elementwise import Elementwise, Operand
from magicmind.kernels.scalar import KERNEL_DTYPES
from magicmind.testing.run_kernel import run_kernel, runnable_targets

TARGETS = [t for t in runnable_targets() if t in ("x86-64-v2", "x86-64-v4", "aarch64")]
FLOATS = sorted((t for t in NARROW if t.is_floating_point() and t != DataType.FLOAT8E8M0), key=lambda t: t.name)
EIGHT_BITS = [t for t in FLOATS if t.bitwidth == 8]
INTEGERS = sorted((t for t in NARROW if not t.is_floating_point()), key=lambda t: t.name)
WIDE: list[DataType] = [DataType.FLOAT, DataType.FLOAT16, DataType.BFLOAT16, DataType.DOUBLE]
RNG = np.random.default_rng(0)


def run(line: str, x: np.ndarray, to: DataType, target: str) -> np.ndarray:
    """`t = line` on the vector x by generated code."""
    source = DataType.from_numpy(x.dtype)
    operand = Operand(KERNEL_DTYPES[source], (True,))
    spec = Elementwise(ScalarProgram.parse([f"t = {line}"]), (operand,), KERNEL_DTYPES[to], (x.size,))
    out = np.zeros(x.size, np.uint8 if to in NARROW else to.numpy())
    run_kernel(spec, [x.view(np.uint8) if source in NARROW else x, out], target=target)
    return out.view(to.numpy())


def largest(of: DataType) -> float:
    """The largest finite number of a type."""
    values = codes(of).astype(np.float64)
    return float(values[np.isfinite(values)].max())


def codes(of: DataType) -> np.ndarray:
    """Every code of a type."""
    return np.arange(1 << of.bitwidth, dtype=np.uint8).view(of.numpy())


def hard_floats(to: DataType) -> np.ndarray:
    """float32 around every value of a type and every middle of two, beyond its limits, special ones, random ones."""
    values = codes(to).astype(np.float64)
    values = np.unique(values[np.isfinite(values)])
    middles = (values[1:] + values[:-1]) / 2
    beyond = values[-1] * np.array([1.01, 1.0625, 1.07, 1.125, 1.2, 2, 1e4, 1e30])
    exact = np.concatenate([values, middles, beyond, -beyond]).astype(np.float32)
    around = [np.nextafter(exact, np.float32(way)) for way in (np.inf, -np.inf)]
    special = np.array([0.0, -0.0, np.inf, -np.inf, 1e-40, -1e-40, 1e-30, 3.4e38], np.float32)
    random = RNG.standard_normal(2000) * np.exp(RNG.uniform(-15, 12, 2000))
    return np.concatenate([exact, *around, special, random.astype(np.float32)])


def same(got: Any, want: Any) -> None:
    """Equal bytes, but any NaN for a NaN."""
    nan = np.isnan(np.asarray(want).astype(np.float32))
    np.testing.assert_array_equal(np.isnan(got.astype(np.float32)), nan)
    np.testing.assert_array_equal(got[~nan].view(np.uint8), want[~nan].view(np.uint8))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("to", WIDE)
@pytest.mark.parametrize("of", [DataType.FLOAT8E8M0, *FLOATS, *INTEGERS])
def test_every_code_decodes(of: DataType, to: DataType, target: str) -> None:
    x = codes(of)
    with warnings.catch_warnings(action="ignore"):  # 2^127 is no float16
        want = x.astype(np.float32).astype(to.numpy())
    same(run(f"Cast(x0, {to.name})", x, to, target), want)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("saturate", [1, 0])
@pytest.mark.parametrize("to", EIGHT_BITS)
def test_floats_of_8_bits(to: DataType, saturate: int, target: str) -> None:
    x = np.append(hard_floats(to), np.float32(np.nan))
    limit = largest(to)
    want = (np.clip(x, -limit, limit) if saturate else x).astype(to.numpy())
    same(run(f"NarrowCast(x0, {saturate}, 'up', {to.name})", x, to, target), want)
    same(cast_narrow(x, to, bool(saturate)), want)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("to", [t for t in FLOATS if t.bitwidth < 8])
def test_smaller_floats(to: DataType, target: str) -> None:
    x = hard_floats(to)
    want = x.astype(to.numpy())
    same(run(f"Cast(x0, {to.name})", x, to, target), want)
    same(cast_narrow(x, to), want)
    nothing = run(f"Cast(x0, {to.name})", np.array([np.nan, -np.nan], np.float32), to, target)
    assert not nothing.astype(np.float32).any()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("of", [np.float64, np.float16, ml_dtypes.bfloat16, np.int32, np.uint8, np.int64])
@pytest.mark.parametrize("to", FLOATS)
def test_other_types_round_once(to: DataType, of: Any, target: str) -> None:
    x = np.concatenate([hard_floats(to).astype(np.float64), RNG.integers(-60000, 60000, 500)])
    if of == np.float64:  # so close to a middle that float32 cannot tell
        x = np.concatenate([x, np.nextafter(x, np.inf), np.nextafter(x, -np.inf)])
    with np.errstate(all="ignore"):
        x = (x if np.dtype(of).kind in "fV" else np.nan_to_num(x).clip(-(2**31), 2**31 - 1)).astype(of)
    for got in (run(f"Cast(x0, {to.name})", x, to, target), cast_narrow(x, to)):
        np.testing.assert_array_equal(got.astype(np.float64), nearest(x.astype(np.float64), to))


def nearest(x: np.ndarray, to: DataType) -> np.ndarray:
    """The nearest value of a type in float64, of two the one with the even code."""
    values = codes(to).astype(np.float64)
    upward = np.flatnonzero(np.isfinite(values) & ~np.signbit(values))  # the order of codes is that of values
    places = np.searchsorted((values[upward][1:] + values[upward][:-1]) / 2, np.abs(x))
    middles = (values[upward][1:] + values[upward][:-1]) / 2
    tie = (places < len(middles)) & (np.abs(x) == middles[np.minimum(places, len(middles) - 1)])
    places = places + (tie & (upward[places] % 2 == 1))
    return np.asarray(np.copysign(values[upward][places], x))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("saturate", [1, 0])
@pytest.mark.parametrize("mode", ["up", "down", "nearest"])
@pytest.mark.parametrize("of", [np.float32, np.float64])
def test_powers_of_two(of: Any, mode: str, saturate: int, target: str) -> None:
    to = DataType.FLOAT8E8M0
    x = np.concatenate([np.abs(hard_floats(to)).astype(of), np.array([np.nan, -1, -np.inf, 2.0**-128, 2.0**-149], of)])
    if of == np.float64:
        x = np.concatenate([x, np.nextafter(x, np.inf), np.abs(np.nextafter(x, -np.inf)), [1e300, 1e-300, 1e-310]])
    want = cast_narrow(x, to, bool(saturate), mode)
    same(run(f"NarrowCast(x0, {saturate}, '{mode}', {to.name})", x, to, target), want)


@pytest.mark.parametrize(
    ("mode", "saturate", "expected"),
    [
        ("up", 1, [0, 254, 254, 255, 127, 128, 128, 128, 0, 1]),
        ("nearest", 0, [255, 255, 255, 255, 127, 127, 128, 128, 0, 1]),
        ("down", 1, [0, 254, 254, 255, 127, 127, 127, 127, 0, 0]),
    ],
)
def test_powers_of_two_by_the_table(mode: str, saturate: int, expected: list[int]) -> None:
    """Zero, infinity, 1.75 * 2^127, NaN, 1, 1.25, 1.5, 1.75, 2^-127, 1.75 * 2^-127."""
    x = np.array([0, np.inf, 1.75 * 2.0**127, np.nan, 1, 1.25, 1.5, 1.75, 2.0**-127, 1.75 * 2.0**-127], np.float32)
    got = cast_narrow(x, DataType.FLOAT8E8M0, bool(saturate), mode)
    np.testing.assert_array_equal(got.view(np.uint8), np.array(expected, np.uint8))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("of", [np.float32, np.float64, np.int8, np.uint8, np.int64, np.bool_])
@pytest.mark.parametrize("to", INTEGERS)
def test_small_integers_wrap(to: DataType, of: Any, target: str) -> None:
    x = np.arange(-300, 300) / 4
    x = (x if np.dtype(of).kind == "f" else np.rint(x) != 0 if of == np.bool_ else np.rint(x).astype(np.int64)).astype(
        of
    )
    mask, signed = (1 << to.bitwidth) - 1, to.name.startswith("INT")
    want = np.trunc(x.astype(np.float64)).astype(np.int64) & mask
    want = np.where(signed & (want > mask // 2), want - mask - 1, want)
    for got in (run(f"Cast(x0, {to.name})", x, to, target), cast_narrow(x, to)):
        np.testing.assert_array_equal(got.astype(np.int64), want)
        assert (got.view(np.uint8) <= mask).all()


@pytest.mark.parametrize("of", INTEGERS)
def test_unused_bits_are_not_looked_at(of: DataType) -> None:
    x = codes(of)
    dirty = (x.view(np.uint8) | (0xFF << of.bitwidth & 0xFF)).view(of.numpy())
    same(run("Cast(x0, FLOAT)", dirty, DataType.FLOAT, "native"), x.astype(np.float32))


@pytest.mark.parametrize("to", [DataType.FLOAT8E5M2, DataType.FLOAT8E8M0, DataType.FLOAT4E2M1])
def test_programs_go_on_with_the_rounded_value(to: DataType) -> None:
    x = np.abs(RNG.standard_normal(100).astype(np.float32))
    spec = Elementwise(
        ScalarProgram.parse([f"a = Cast(x0, {to.name})", "b = Cast(a, FLOAT)", "c = Sub(x0, b)"]),
        (Operand("f32", (True,)),), "f32", (100,),
    )  # fmt: skip
    out = np.zeros(100, np.float32)
    run_kernel(spec, [x, out])
    np.testing.assert_array_equal(out, x - cast_narrow(x, to).astype(np.float32))


@pytest.mark.parametrize("target", TARGETS)
def test_floats_to_int32_saturate(target: str) -> None:
    edges = np.array([0.5, -0.99, 2.0**31, -(2.0**31), 2.0**31 - 128, 3e9, -3e9, np.inf, -np.inf, np.nan], np.float32)
    x = np.concatenate([edges, RNG.standard_normal(50).astype(np.float32) * 1e9])
    want = np.nan_to_num(np.trunc(x.astype(np.float64))).clip(-(2.0**31), 2**31 - 1).astype(np.int32)
    np.testing.assert_array_equal(run("Cast(x0, INT32)", x, DataType.INT32, target), want)
