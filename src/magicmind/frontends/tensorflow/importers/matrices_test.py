"""Diagonals and bands against numpy, on graphs made by hand, with mutable sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magicmind.testing.tensorflow import GraphBuilder, f32

Array = np.ndarray[Any, Any]

INT = np.dtype(np.int32)


def image(*shape: int) -> Array:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def mutable(b: GraphBuilder, outputs: list[str], x: Array) -> list[Array]:
    """The outputs for a graph of which the last axis is mutable."""
    from magicmind.compiler import build

    shapes: Any = {"x": (*x.shape[:-1], "2..9")}
    found = build(b.graph(outputs, input_shapes=shapes)).session(threads=1).run({"x": x})
    return [found[name] for name in outputs]


@pytest.mark.parametrize("k", [0, 1, -2])
def test_diagonals(k: int) -> None:
    b, x = GraphBuilder(), image(2, 4)
    b.placeholder("x", [2, -1])
    pads = np.int32(-1), np.int32(-1), np.float32(0)
    b.node("MatrixDiagV3", "matrix", "x", np.int32(k), *pads)
    b.node("MatrixDiagPartV3", "part", "matrix", np.int32(k), np.float32(0))
    matrix, part = mutable(b, ["matrix", "part"], x)
    np.testing.assert_array_equal(matrix, [np.diag(row, k) for row in x])
    np.testing.assert_array_equal(part, x)


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 5, 3), (4, 4)])
def test_the_diagonal_of_any_matrix(shape: tuple[int, ...]) -> None:
    b, x = GraphBuilder(), image(*shape)
    b.placeholder("x", shape)
    b.node("MatrixDiagPart", "y", "x")
    b.node("MatrixSetDiag", "z", "x", np.zeros((*shape[:-2], min(shape[-2:])), np.float32))
    y, z = b.run(["y", "z"], x=x)
    np.testing.assert_array_equal(y, np.diagonal(x, axis1=-2, axis2=-1))
    np.testing.assert_array_equal(z, x * (1 - np.eye(shape[-2], shape[-1])).astype(np.float32))


@pytest.mark.parametrize(("lower", "upper"), [(-1, 0), (0, -1), (1, 2), (-1, -1)])
def test_bands(lower: int, upper: int) -> None:
    """A mask of attention that only looks back is a band, of a text as long as the user's."""
    b, x = GraphBuilder(), image(3, 5)
    b.placeholder("x", [3, -1])
    b.node("MatrixBandPart", "y", "x", np.int64(lower), np.int64(upper))
    away = np.arange(5)[None] - np.arange(3)[:, None]
    kept = ((lower < 0) | (-away <= lower)) & ((upper < 0) | (away <= upper))
    np.testing.assert_array_equal(mutable(b, ["y"], x)[0], x * kept)


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
def test_running_products(exclusive: bool, reverse: bool) -> None:
    b, x = GraphBuilder(), f32([[1, 2, 3, 4, 5]])
    b.placeholder("x", [-1, 5])
    b.node("Cumprod", "y", "x", np.int32(1), exclusive=exclusive, reverse=reverse)
    expected = np.cumprod(x[:, ::-1] if reverse else x, 1)
    expected = np.concatenate([f32([[1]]), expected[:, :-1]], 1) if exclusive else expected
    np.testing.assert_array_equal(b.run(["y"], x=x)[0], expected[:, ::-1] if reverse else expected)


def test_rolling() -> None:
    b, x = GraphBuilder(), image(3, 4, 5)
    b.placeholder("x", [3, -1, 5])
    b.node("Roll", "y", "x", np.array([1, -2, 7], np.int32), np.array([0, 1, 2], np.int32))
    np.testing.assert_array_equal(b.run(["y"], x=x)[0], np.roll(x, (1, -2, 7), (0, 1, 2)))
    graph = b.graph(["y"], input_shapes={"x": (3, "2..9", 5)})
    assert graph.outputs[0].shape == (3, (2, 9), 5)
