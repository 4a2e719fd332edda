"""Reductions against numpy, on every target this CPU runs, with guarded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from magicmind.codegen.builder import Param, Size
from magicmind.kernels.arg_reduce import ArgReduce
from magicmind.kernels.reduce import Reduce, alternate
from magicmind.testing.run_kernel import run_kernel
from magicmind.testing.targets import KERNEL_TARGETS

NAMES = {"f2": "f16", "f4": "f32", "f8": "f64", "i4": "i32", "i8": "i64", "u1": "u8"}


def _log_sum_exp(x: np.ndarray, axis: tuple[int, ...]) -> np.ndarray:
    top = x.max(axis, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(top), top, 0)
    return np.asarray(np.log(np.exp(x - shift).sum(axis)) + shift.reshape(np.sum(x, axis).shape))


REFERENCES: dict[str, Callable[..., np.ndarray]] = {
    "Sum": np.sum,
    "Mean": np.mean,
    "Max": lambda x, axis: np.max(x, axis, initial=-np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min),
    "Min": lambda x, axis: np.min(x, axis, initial=np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).max),
    "Prod": np.prod,
    "L1": lambda x, axis: np.abs(x).sum(axis),
    "L2": lambda x, axis: np.sqrt((x * x).sum(axis)),
    "LogSum": lambda x, axis: np.log(x.sum(axis)),
    "LogSumExp": _log_sum_exp,
    "SumSquare": lambda x, axis: (x * x).sum(axis),
}
SHAPES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((3, 17), (1,)),
    ((3, 17), (0,)),
    ((1,), (0,)),
    ((257,), (0,)),
    ((2, 0), (1,)),
    ((0, 3), (1,)),
    ((2, 67, 33), (1,)),
    ((2, 3, 5, 7), (1, 3)),
    ((2, 3, 5, 7), (0, 2)),
    ((4, 5, 131), (1, 2)),
    ((4, 5), ()),
    ((5, 16), (0, 1)),
]


def sizes(values: Sequence[object], mutable: bool) -> tuple[tuple[Size, ...], list[int]]:
    """The sizes of a spec, constant or run-time, and the arguments that go with them."""
    numbers = [v for v in values if isinstance(v, int)]
    return (tuple(map(Param, range(len(numbers)))), numbers) if mutable else (tuple(numbers), [])


def reduce(
    op: str, x: np.ndarray, axes: tuple[int, ...], target: str, mutable: bool = False, threads: int = 1
) -> np.ndarray:
    extents, reduced = alternate(x.shape, axes)
    spec_sizes, params = sizes(extents, mutable)
    out = np.zeros([d for a, d in enumerate(x.shape) if a not in axes], x.dtype)
    before = x.copy()
    run_kernel(Reduce(op, NAMES[x.dtype.str[1:]], spec_sizes, tuple(reduced)), [x, out], params, target, threads)
    np.testing.assert_array_equal(x, before)
    return out


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize(("shape", "axes"), SHAPES)
def test_sum_over_any_axes(shape: tuple[int, ...], axes: tuple[int, ...], target: str) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype("f4")
    got = reduce("Sum", x, axes, target)
    np.testing.assert_allclose(got, x.astype("f8").sum(axes), rtol=2e-6, atol=1e-5)
    np.testing.assert_array_equal(got, reduce("Sum", x, axes, target, mutable=True))
    np.testing.assert_array_equal(got, reduce("Sum", x, axes, target, threads=3))


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize("op", REFERENCES)
def test_float_reductions(op: str, target: str) -> None:
    rng = np.random.default_rng(0)
    for shape, axes in (((3, 37), (1,)), ((3, 37), (0,)), ((2, 0), (1,))):
        for dtype, rtol in (("f4", 3e-6), ("f8", 1e-13)):
            x = (rng.uniform(0.5, 1.5, shape) * (1 if op == "LogSum" else rng.choice([-1, 1], shape))).astype(dtype)
            with np.errstate(all="ignore"):
                want = REFERENCES[op](x.astype("f8"), axis=axes)
            got = reduce(op, x, axes, target)
            np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min", "Prod", "L1", "SumSquare"])
def test_integer_reductions(op: str) -> None:
    rng = np.random.default_rng(0)
    for dtype in ("i4", "i8", "u1") if op in ("Max", "Min") else ("i4", "i8"):
        x = rng.integers(0 if dtype == "u1" else -9, 9, (5, 21)).astype(dtype)
        for axes in ((1,), (0,), (0, 1)):
            want = np.trunc(x.mean(axes)) if op == "Mean" else REFERENCES[op](x, axis=axes)
            np.testing.assert_array_equal(reduce(op, x, axes, "native"), want.astype(dtype))


@pytest.mark.parametrize("target", KERNEL_TARGETS)
def test_special_values(target: str) -> None:
    x = np.ones((4, 40), "f4")
    x[1, 3], x[2] = np.nan, -np.inf
    for axes in ((1,), (0,)):
        for op in ("Max", "Min", "LogSumExp"):
            with np.errstate(all="ignore"):
                want = REFERENCES[op](x.astype("f8"), axis=axes)
            np.testing.assert_allclose(reduce(op, x, axes, target), want, rtol=1e-6)
    big = np.full((2, 33), 200, "f4")
    np.testing.assert_allclose(reduce("LogSumExp", big, (1,), target), 200 + np.log(33), rtol=1e-6)


def test_float16_is_summed_in_float32() -> None:
    x = np.random.default_rng(0).standard_normal((3, 1000)).astype("f2")
    np.testing.assert_array_equal(reduce("Sum", x, (1,), "native"), x.astype("f8").sum(1).astype("f2"))


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8", "u1"])
@pytest.mark.parametrize("largest", [True, False])
def test_positions(dtype: str, largest: bool, target: str) -> None:
    rng = np.random.default_rng(0)
    for shape in ((3, 67, 1), (3, 5, 21), (1, 1, 1), (2, 16, 1), (1, 40, 17)):
        x = rng.integers(0, 5, shape).astype(dtype)
        if dtype[0] == "f":
            x[0, :] = -np.inf if largest else np.inf
            x[-1, shape[1] // 2 :] = np.nan
        for last in (False, True):
            flipped = x[:, ::-1] if last else x
            want = (np.argmax if largest else np.argmin)(flipped, axis=1)
            want = shape[1] - 1 - want if last else want
            for mutable in (False, True):
                (o, a, i), params = sizes(shape, mutable)
                out = np.zeros((shape[0], shape[2]), "i8")
                i = 1 if shape[2] == 1 else i
                given = params[:2] if shape[2] == 1 else params
                run_kernel(ArgReduce(largest, last, NAMES[dtype], o, a, i), [x, out], given, target, 2)
                np.testing.assert_array_equal(out, want)
