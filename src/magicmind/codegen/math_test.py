"""Accuracy, special values and self-containedness of codegen/math.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from magicmind.codegen import math as vm
from magicmind.codegen.builder import Kernel, Param
from magicmind.codegen.target import TARGETS, Target
from magicmind.codegen.values import Vec
from magicmind.lower.native import compile_kernel
from magicmind.testing.run_kernel import run_kernel, runnable_targets

LANES = 16


@dataclass(frozen=True)
class Map:
    """y[i] = function(x[i]) for whole vectors."""

    function: str
    dtype: str
    operands: int = 1

    @property
    def name(self) -> str:
        return self.function

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, [self.dtype] * (self.operands + 1), 1)
        with k.loop("i", 0, k.size(Param(0)), LANES) as i:
            function: Callable[..., Vec] = getattr(vm, self.function)
            result = function(*(p.load(LANES, i) for p in k.pointers[:-1]))
            k.pointers[-1].store(result, i)
        return k


def apply(function: str, *arrays: np.ndarray, target: str = "native") -> np.ndarray:
    size = arrays[0].size
    padded = [np.concatenate([a, np.ones(-size % LANES, a.dtype)]) for a in arrays]
    out = np.zeros_like(padded[0])
    dtype = {"f": "f32", "d": "f64"}[out.dtype.char]
    run_kernel(Map(function, dtype, len(arrays)), [*padded, out], [out.size], target)
    return out[:size]


def ulp_error(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Distance in units of the last place of `want` (float64 or wider) rounded to got's dtype."""
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype)
        unit = np.abs(np.spacing(np.where(np.isfinite(rounded), rounded, np.finfo(got.dtype).max)))
        error = np.abs(got.astype(want.dtype) - want) / unit
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    return np.asarray(
        np.where(same, np.where(np.isfinite(error), np.minimum(error, 0.5), 0), np.nan_to_num(error, nan=np.inf))
    )


def all_floats(step: int = 4099) -> np.ndarray:
    """Every `step`th float32 pattern of both signs, with the edges."""
    positive = np.arange(0, 0x7F800000, step, dtype=np.uint32).view(np.float32)
    edges = np.array([0, 1e-45, 1.1754942e-38, 1.1754944e-38, 1, 3.4028235e38, np.inf, np.nan, 0.5, 2], np.float32)
    both = np.concatenate([positive, edges])
    return np.concatenate([both, -both])


def _erf(x: np.ndarray) -> np.ndarray:
    return np.array([math.erf(v) for v in x.tolist()], x.dtype)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, e, 1) / (1 + e))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


REFERENCES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float, float]] = {
    # name: (reference, bound in ULP for float32, and for float64)
    "exp": (np.exp, 1.5, 1.5),
    "expm1": (np.expm1, 2, 2),
    "log": (np.log, 1, 1.5),
    "log1p": (np.log1p, 3, 3),
    "tanh": (np.tanh, 3, 3),
    "sigmoid": (_sigmoid, 3, 3),
    "softplus": (_softplus, 3, 3),
    "sinh": (np.sinh, 4, 4),
    "cosh": (np.cosh, 4, 4),
    "asinh": (np.arcsinh, 4, 4),
    "acosh": (np.arccosh, 4, 4),
    "atanh": (np.arctanh, 4, 4),
    "erf": (_erf, 3, 3),
    "atan": (np.arctan, 2.5, 2.5),
    "asin": (np.arcsin, 3, 3),
    "acos": (np.arccos, 3, 3),
    "sqrt": (np.sqrt, 0.5, 0.5),
    "floor": (np.floor, 0.5, 0.5),
    "ceil": (np.ceil, 0.5, 0.5),
    "round_even": (np.rint, 0.5, 0.5),
    "truncate": (np.trunc, 0.5, 0.5),
    "absolute": (np.abs, 0.5, 0.5),
}


@pytest.mark.parametrize("target", runnable_targets())
@pytest.mark.parametrize("name", REFERENCES)
def test_float32_error_bound(name: str, target: str) -> None:
    function, bound, _ = REFERENCES[name]
    x = all_floats()
    got = apply(name, x, target=target)
    with np.errstate(all="ignore"):
        want = function(x.astype(np.float64))
    error = ulp_error(got, want)
    worst = np.argmax(error)
    assert error[worst] <= bound, f"{name}({x[worst]!r}) = {got[worst]!r}, expected {want[worst]!r}: {error[worst]} ULP"
    zeros = got == 0
    assert np.array_equal(np.signbit(got[zeros]), np.signbit(want[zeros])), "sign of zero"


@pytest.mark.parametrize("target", runnable_targets())
def test_exp_of_negative(target: str) -> None:
    x = all_floats()
    x = x[~(x > 0)]
    got = apply("exp_of_negative", x, target=target)
    with np.errstate(all="ignore"):
        want = np.exp(x.astype(np.float64))
    lowest = np.finfo(np.float32).tiny
    want[want < lowest * (1 - 1e-5)] = 0
    close = np.abs(want - lowest) < 1e-5 * lowest  # where it starts to be zero is a matter of rounding
    assert ulp_error(got, want)[~close].max() <= 1.5


@pytest.mark.parametrize("name", REFERENCES)
def test_float64_error_bound(name: str) -> None:
    function, _, bound = REFERENCES[name]
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal(2000), 10 ** rng.uniform(-12, 2.5, 2000) * rng.choice([-1, 1], 2000)])
    with np.errstate(all="ignore"):
        want = function(x.astype(np.longdouble))
    for target in {"x86-64-v2", "x86-64-v4"} & set(runnable_targets()):
        error = ulp_error(apply(name, x, target=target), want)
        worst = np.argmax(error)
        assert error[worst] <= bound, f"{name}({x[worst]!r}): {error[worst]} ULP on {target}"


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_gelu(dtype: str) -> None:
    some = np.logspace(-20, 2, 2000)
    x = np.concatenate([np.linspace(-7, 7, 100001), some, -some]).astype(dtype)
    want = np.array([v * math.erfc(-v / math.sqrt(2)) / 2 for v in x.tolist()])
    unit = np.spacing(np.maximum(np.abs(x) / 2, np.abs(want).astype(dtype)))
    ends = np.array([0.0, np.inf, np.nan, 1e38, -1e38], dtype)
    for target in {"x86-64-v2", "x86-64-v3", "x86-64-v4"} & set(runnable_targets()):
        error = np.abs(apply("gelu", x, target=target) - want) / unit
        assert error.max() <= (3.5 if target == "x86-64-v2" else 2.5), f"gelu({x[np.argmax(error)]!r}) on {target}"
        np.testing.assert_array_equal(apply("gelu", ends, target=target), [0, np.inf, np.nan, ends[3], 0])


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_trigonometry(name: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-8, 8, 20000), rng.uniform(-1e6, 1e6, 20000), 10 ** rng.uniform(-30, 0, 2000)])
    x = np.concatenate([x, [0.0, -0.0, np.inf, np.nan]]).astype(dtype)
    with np.errstate(all="ignore"):
        want = getattr(np, name)(x.astype(np.longdouble))
    for target in {"x86-64-v2", "x86-64-v4"} & set(runnable_targets()):
        got = apply(name, x, target=target)
        near = np.abs(x) < (1e6 if dtype == "f4" else 8)  # float64 has no bits left to reduce larger ones with
        assert ulp_error(got, want)[near].max() <= (2 if dtype == "f4" and name != "tan" else 4)
        assert np.isnan(got[-2:]).all() and np.signbit(got[-3]) == np.signbit(want[-3])


def test_power_special_cases() -> None:
    some = np.array([0, -0.0, 1, -1, 2, -2, 3, 0.5, -0.5, 1.5, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-30], np.float64)
    x, y = (v.ravel() for v in np.meshgrid(some, some))
    with np.errstate(all="ignore"):
        for dtype in (np.float32, np.float64):
            want = np.array([_c_power(a, b) for a, b in zip(x, y, strict=True)])
            got = apply("power", x.astype(dtype), y.astype(dtype))
            np.testing.assert_allclose(got, want.astype(dtype), rtol=1e-6 if dtype is np.float32 else 1e-13)
            zero = got == 0
            np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]))


def _c_power(a: float, b: float) -> float:
    return float(np.float_power(np.float64(a), np.float64(b)))


FUNCTIONS = [*REFERENCES, "sin", "cos", "tan", "gelu", "gelu_tanh", "mish"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_no_function_needs_an_external_symbol(target: str, dtype: str) -> None:
    """Linking fails on an undefined symbol."""
    for name in FUNCTIONS:
        compile_kernel(Map(name, dtype), TARGETS[target])
    compile_kernel(Map("power", dtype, 2), TARGETS[target])
