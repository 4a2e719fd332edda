"""Elementwise kernels against `ScalarProgram.evaluate`, on every target this CPU runs, with guarded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from onnx_ir import DataType

from magicmind.codegen.builder import Param, Size
from magicmind.ir.scalar import ScalarProgram
from magicmind.kernels.elementwise import Elementwise, Operand, collapse
from magicmind.kernels.scalar import KERNEL_DTYPES
from magicmind.testing.run_kernel import run_kernel
from magicmind.testing.targets import KERNEL_TARGETS


def names(array: np.ndarray) -> str:
    return KERNEL_DTYPES[DataType.from_numpy(array.dtype)]


def run(
    lines: Sequence[str],
    *arrays: np.ndarray,
    target: str,
    threads: int = 1,
    mutable: bool = False,
    in_place: bool = False,
) -> np.ndarray:
    """The kernel's result; `mutable` makes every size a run-time value."""
    program = ScalarProgram.parse(lines)
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    dtype = program.result_dtype({f"x{i}": DataType.from_numpy(a.dtype) for i, a in enumerate(arrays)})
    present = [[n == m for n, m in zip((1,) * (len(shape) - a.ndim) + a.shape, shape, strict=True)] for a in arrays]
    sizes, kept = collapse(shape, present)
    operands = tuple(Operand(names(a), p) for a, p in zip(arrays, kept, strict=True))
    fixed = [s for s in sizes if isinstance(s, int)]
    params = fixed if mutable else []
    spec_sizes: tuple[Size, ...] = tuple(map(Param, range(len(fixed)))) if mutable else tuple(fixed)
    copies = [a.copy() for a in arrays]
    out = copies[0] if in_place else np.zeros(shape, dtype.numpy())
    run_kernel(
        Elementwise(program, operands, KERNEL_DTYPES[dtype], spec_sizes), [*copies, out], params, target, threads
    )
    for before, after in zip(arrays[in_place:], copies[in_place:], strict=True):
        np.testing.assert_array_equal(before, after)
    return out


def expect(lines: Sequence[str], *arrays: np.ndarray) -> np.ndarray:
    return ScalarProgram.parse(lines).evaluate({f"x{i}": a for i, a in enumerate(arrays)})


def random(*shape: int, dtype: str = "f4", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 31, 65, 257])
def test_flat_sizes(size: int, target: str) -> None:
    lines = ["t0 = Mul(x0, x1)", "t1 = Add(t0, 0.5)", "t2 = Relu(t1)"]
    a, b = random(size), random(size, seed=1)
    got = run(lines, a, b, target=target)
    np.testing.assert_array_equal(got, expect(lines, a, b))
    for variant in ({"mutable": True}, {"threads": 3}, {"in_place": True}):
        np.testing.assert_array_equal(got, run(lines, a, b, target=target, **variant))


BROADCASTS = [
    ((2, 3, 17), (3, 1)),
    ((2, 3, 17), (17,)),
    ((2, 3, 17), (2, 1, 1)),
    ((2, 3, 17), (2, 1, 17)),
    ((2, 3, 1, 5), (1, 3, 7, 1)),
    ((4, 5, 6), ()),
    ((37, 4), (4,)),
    ((37, 4), (37, 1)),
    ((37, 2), (1, 2)),
    ((2, 19, 8), (2, 1, 8)),
    ((2, 19, 3), (19, 1)),
    ((3, 1), (1, 4)),
    ((2, 2, 9, 16), (2, 1, 16)),
    ((1, 1), (1, 1)),
    ((2, 0, 3), (3,)),
]


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize(("left", "right"), BROADCASTS)
def test_broadcasting(left: tuple[int, ...], right: tuple[int, ...], target: str) -> None:
    lines = ["t0 = Sub(x0, x1)", "t1 = LeakyRelu(t0, 0.125)"]
    a, b = random(*left), random(*right, seed=1)
    for x, y in ((a, b), (b, a)):
        got = run(lines, x, y, target=target)
        np.testing.assert_array_equal(got, expect(lines, x, y))
        np.testing.assert_array_equal(got, run(lines, x, y, target=target, mutable=True, threads=2))


@pytest.mark.parametrize("target", KERNEL_TARGETS)
def test_large_tensors_do_not_depend_on_threads(target: str) -> None:
    lines = ["t0 = Sigmoid(x0)", "t1 = Mul(t0, x1)"]
    a, b = random(3, 20011), random(3, 1, seed=1)
    got = run(lines, a, b, target=target)
    np.testing.assert_allclose(got, expect(lines, a, b), rtol=1e-6)
    np.testing.assert_array_equal(got, run(lines, a, b, target=target, threads=5))
    tall = random(5003, 7)
    np.testing.assert_array_equal(run(["t = Abs(x0)"], tall, target=target, threads=4), np.abs(tall))


def test_collapse() -> None:
    assert collapse((2, 3, 4), [(True, True, True)]) == ([24], [(True,)])
    assert collapse((2, 3, 4), [(True,) * 3, (False, True, False)]) == ([2, 3, 4], [(True,) * 3, (False, True, False)])
    assert collapse((2, 1, 4), [(True,) * 3, (False, True, True)]) == ([2, 4], [(True, True), (False, True)])
    assert collapse((), [()]) == ([], [()])
