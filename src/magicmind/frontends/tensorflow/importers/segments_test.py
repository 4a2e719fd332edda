"""Joined rows and counted numbers against numpy, on graphs made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magicmind.testing.tensorflow import GraphBuilder, f32

Array = np.ndarray[Any, Any]

INT = np.dtype(np.int32)
X = f32([[1, 2], [3, 4], [5, 6], [7, 8]])


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("Sum", [[3, 4], [0, 0], [8, 10]]),
        ("Max", [[3, 4], [np.finfo(np.float32).min] * 2, [7, 8]]),
        ("Min", [[3, 4], [np.finfo(np.float32).max] * 2, [1, 2]]),
        ("Prod", [[3, 4], [1, 1], [7, 16]]),
    ],
)
def test_segments_in_any_order(op: str, expected: Any) -> None:
    """A negative number is of no segment; the count may be what the run tells."""
    b = GraphBuilder()
    b.placeholder("x", [-1, 2])
    b.placeholder("n", [-1], np.int32)
    b.placeholder("count", [], np.int32)
    b.node(f"UnsortedSegment{op}", "y", "x", "n", "count")
    found = b.run(["y"], x=X, n=np.array([2, 0, -1, 2], np.int32), count=np.array(3, np.int32))[0]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("Sum", [[4, 6], [0, 0], [12, 14]]),
        ("Mean", [[2, 3], [0, 0], [6, 7]]),
        ("Max", [[3, 4], [0, 0], [7, 8]]),
        ("Min", [[1, 2], [0, 0], [5, 6]]),
        ("Prod", [[3, 8], [1, 1], [35, 48]]),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_segments_in_order_with_a_gap(op: str, expected: Any, known: bool) -> None:
    b, numbers = GraphBuilder(), np.array([0, 0, 2, 2], np.int32)
    b.placeholder("x", [4, 2])
    b.const("n", numbers) if known else b.placeholder("n", [4], np.int32)
    b.node(f"Segment{op}", "y", "x", "n")
    found = b.run(["y"], x=X, **({} if known else {"n": numbers}))[0]
    np.testing.assert_allclose(found, expected)


def test_rows_of_a_table_joined() -> None:
    b = GraphBuilder()
    b.placeholder("rows", [-1], np.int32)
    b.placeholder("n", [-1], np.int32)
    b.node("SparseSegmentMean", "y", X, "rows", "n")
    found = b.run(["y"], rows=np.array([3, 0, 1], np.int32), n=np.array([0, 0, 1], np.int32))[0]
    np.testing.assert_allclose(found, [[4, 5], [3, 4]])


def test_buckets_and_places() -> None:
    b = GraphBuilder()
    b.placeholder("x", [-1, 3])
    b.node("Bucketize", "bucket", "x", boundaries=[0.5, 1.0, 2.0])
    ordered = f32([[0, 1, 1, 2], [0, 0, 3, 5]])
    b.node("LowerBound", "low", ordered, "x", out_type=INT)
    b.node("UpperBound", "high", ordered, "x", out_type=INT)
    x = f32([[1, -1, 9], [0.5, 3, 0]])
    bucket, low, high = b.run(["bucket", "low", "high"], x=x)
    assert bucket.tolist() == np.digitize(x, [0.5, 1, 2]).tolist()
    for found, side in ((low, "left"), (high, "right")):
        expected = [np.searchsorted(row, wanted, side) for row, wanted in zip(ordered, x, strict=True)]  # type: ignore[call-overload]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("binary", [True, False])
def test_counts(binary: bool) -> None:
    b = GraphBuilder()
    b.placeholder("x", [-1, 4], np.int32)
    b.node("DenseBincount", "count", "x", np.int32(4), np.zeros(0, np.float32), binary_output=binary)
    b.node("DenseBincount", "weight", "x", np.int32(4), f32([[1, 2, 3, 4], [5, 6, 7, 8]]), binary_output=False)
    count, weight = b.run(["count", "weight"], x=np.array([[0, 2, 2, 9], [3, 3, 3, 1]], np.int32))
    assert count.tolist() == ([[1, 0, 1, 0], [0, 1, 0, 1]] if binary else [[1, 0, 2, 0], [0, 1, 0, 3]])
    assert weight.tolist() == [[1, 0, 5, 0], [0, 8, 0, 18]]


def test_parts_of_rows_and_back() -> None:
    b, x = GraphBuilder(), X + 0
    b.placeholder("x", [-1, 2])
    b.placeholder("part", [-1], np.int32)
    b.node("DynamicPartition", "parts", "x", "part", num_partitions=2)
    b.node("DynamicPartition", "places", np.arange(4, dtype=np.int32), "part", num_partitions=2)
    b.node("DynamicStitch", "y", "places", "places:1", "parts", "parts:1", N=2)
    first, second, y = b.run(["parts", "parts:1", "y"], x=x, part=np.array([1, 0, 1, 1], np.int32))
    np.testing.assert_array_equal(first, x[1:2])
    np.testing.assert_array_equal(second, x[[0, 2, 3]])
    np.testing.assert_array_equal(y, x)
