"""Nodes that read by index or give sizes, through their lowering."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir
import pytest

import magicmind.ops.lower_gather
import magicmind.ops.lower_shape  # noqa: F401
from magicmind.ops.reference import run_node
from magicmind.testing.check_lowering import check_lowering


def some(*shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(1).integers(0, 100, shape).astype(dtype)


def indices(low: int, high: int, *shape: int, dtype: Any = np.int64) -> Any:
    return np.random.default_rng(2).integers(low, high, shape).astype(dtype)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_gather(kind: Any) -> None:
    x = some(4, 5, 70)
    for axis, size in enumerate(x.shape):
        i = indices(-size, size, 3, 7, dtype=kind)
        check_lowering("Gather", [x, i], {"axis": axis})
        check_lowering("Gather", [x, i], {"axis": axis}, shapes={0: x.shape, 1: (3, 7)})
        check_lowering("Gather", [x, i], {"axis": axis}, shapes={0: ("A", "B", "C"), 1: ("D", 7)})
    assert not check_lowering("Gather", [some(3, 4), np.int64(-1)], want=[some(3, 4)[-1]])[1:]


def test_no_index_reads_outside() -> None:
    x = some(4, 3)
    wild = np.array([-(1 << 62), -5, 4, 1 << 62], np.int64)
    check_lowering("Gather", [x, wild], shapes={0: (4, 3), 1: (4,)}, want=[x[[0, 0, 3, 3]]])
    empty = some(0, 3)
    check_lowering("Gather", [empty, wild[:0]], shapes={0: (0, 3), 1: (0,)})


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gather_elements(axis: int) -> None:
    x = some(4, 5, 6)
    i = indices(-4, 4, 3, 4, 6)
    check_lowering("GatherElements", [x, i], {"axis": axis}, shapes={0: (4, 5, 6), 1: (3, 4, 6)})
    check_lowering("GatherElements", [x, i], {"axis": axis}, shapes={0: ("A", 5, "B"), 1: ("C", 4, 6)})


def test_constant_elements_of_a_long_row_are_gathered_while_building() -> None:
    node = onnx_ir.node("GatherElements", [onnx_ir.Value(name=n) for n in "xi"], {"axis": 1})
    x, i = some(3, 128), indices(-128, 128, 2, 16)  # more than 32 elements, fewer rows than the data has
    assert np.array_equal(run_node(node, [x, i])[0], np.take_along_axis(x[:2], i, 1))


def test_gather_nd() -> None:
    x = some(4, 5, 6)
    check_lowering("GatherND", [x, indices(-4, 4, 7, 2)], shapes={0: (4, 5, 6), 1: (7, 2)})
    check_lowering("GatherND", [x, indices(-4, 4, 7, 3)], shapes={0: ("A", "B", 6), 1: ("N", 3)})
    check_lowering("GatherND", [x, indices(-4, 4, 4, 3, 1)], {"batch_dims": 1}, shapes={0: (4, 5, 6), 1: (4, 3, 1)})


def test_shapes() -> None:
    x = some(4, 5, 6)
    check_lowering("Shape", [x], shapes={0: ("A", 5, "B")})
    check_lowering("Shape", [x], {"start": 1}, shapes={0: ("A", 5, "B")})
    check_lowering("Size", [x], shapes={0: ("A", 5, "B")})
    check_lowering("Range", [np.float32(1), np.float32(9.5), np.float32(2)], shapes={})
    check_lowering("ConstantOfShape", [np.array([3, 40], np.int64)], shapes={})
    check_lowering("ConstantOfShape", [np.zeros(0, np.int64)], shapes={})
