"""Data-movement nodes through their lowering, against onnxruntime, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import magicmind
import magicmind.ops.lower_move
import magicmind.ops.lower_reorder
from magicmind.testing.check_lowering import check_lowering
from magicmind.testing.run_kernel import runnable_targets


def some(*shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(1).integers(0, 100, shape).astype(dtype)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64, np.float16])
def test_transpose(dtype: Any) -> None:
    for shape, perm in [
        ((2, 3, 17), [2, 0, 1]),
        ((1, 16, 9, 10), [0, 2, 3, 1]),
        ((5, 6), [1, 0]),
        ((2, 4, 3, 5), [0, 2, 1, 3]),
    ]:
        check_lowering("Transpose", [some(*shape, dtype=dtype)], {"perm": perm}, targets=runnable_targets())
    check_lowering("Transpose", [some(3, 4, 5)], {"perm": [2, 0, 1]}, shapes={0: ("A", "B", "C")})


def test_reshapes() -> None:
    x = some(2, 3, 4)
    check_lowering("Reshape", [x, ints(0, -1)])
    check_lowering("Reshape", [x, ints(-1, 12)], shapes={0: ("N", 3, 4)})
    check_lowering("Flatten", [x], {"axis": 2})
    check_lowering("Unsqueeze", [x, ints(1)])
    check_lowering("Squeeze", [some(2, 1, 3), ints(1)])


def test_slice() -> None:
    x = some(5, 20, 13)
    cases: list[tuple[list[int], list[int], list[int], list[int]]] = [
        ([1], [4], [0], [1]),
        ([2, -3], [100, 100], [1, 2], [2, 1]),
        ([-1, 5], [-100, 2], [2, 0], [-1, -2]),
        ([3], [3], [1], [1]),
    ]
    for starts, ends, axes, steps in cases:
        check_lowering("Slice", [x, ints(*starts), ints(*ends), ints(*axes), ints(*steps)])
        if min(steps) > 0:
            args = [x, ints(*starts), ints(*ends), ints(*axes), ints(*steps)]
            check_lowering("Slice", args, shapes={0: ("A", "B", 13)})


@pytest.mark.parametrize("rows", ["table", "x"])
def test_a_place_that_is_mutable(rows: str) -> None:
    """In the weights, whose addresses are fixed, and in a tensor; from the end where it is below 0."""
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[L, 2] x, float[9, 2] table) => (float[M, 2] y, float[K, 2] z)
        <int64[1] four = {{4}}, int64[1] all = {{9}}, int64[1] zero = {{0}}> {{
        length = Shape <end = 1> (x)
        start = Sub (four, length)
        y = Slice ({rows}, start, all, zero)
        z = Slice ({rows}, zero, start, zero)
    }}"""
    model = onnx.parser.parse_model(text)
    table = some(9, 2)
    if rows == "table":
        model.graph.initializer.append(onnx.numpy_helper.from_array(table, "table"))
    session = magicmind.build(magicmind.parse(model)).session(threads=1)
    for length in (1, 3, 4, 5, 7, 9, 12, 20):
        feeds = {"x": some(length, 2)} | ({} if rows == "table" else {"table": table})
        source, start = (table if rows == "table" else feeds["x"]), 4 - length
        found = session.run(feeds)
        np.testing.assert_array_equal(found["y"], source[start:9])
        np.testing.assert_array_equal(found["z"], source[:start])


def test_split_and_concat() -> None:
    x = some(4, 32, 5, 6)
    check_lowering("Split", [x, ints(1, 3)], {"axis": 0}, outputs=2)
    check_lowering("Split", [x], {"axis": 1, "num_outputs": 2}, outputs=2)
    check_lowering("Split", [x, ints(16, 16)], {"axis": 1}, outputs=2, blocked=True)
    check_lowering("Split", [x], {"axis": -1, "num_outputs": 3}, outputs=3)
    for axis in (0, 1, 2, -1):
        parts = [some(2, 3, 4), some(2, 3, 4) + 1]
        check_lowering("Concat", parts, {"axis": axis}, shapes={0: (2, 3, 4), 1: (2, 3, 4)})
        check_lowering("Concat", parts, {"axis": axis}, shapes={0: ("N", 3, "B"), 1: ("N", 3, "B")})


def test_repeats() -> None:
    check_lowering("Expand", [some(3, 1, 5), ints(2, 3, 4, 5)])
    check_lowering("Expand", [some(3, 1), ints(3, 40)], shapes={0: ("N", 1)}, want=[np.repeat(some(3, 1), 40, 1)])
    check_lowering("Tile", [some(2, 3), ints(2, 3)])
    check_lowering("Tile", [some(2, 3), ints(2, 1)], shapes={0: ("A", "B")})


@pytest.mark.parametrize("blocked", [False, True])
def test_pad(blocked: bool) -> None:
    x = some(2, 20, 5, 6)
    value = np.float32(3)
    spatial = ints(0, 0, 1, 2, 0, 0, 3, 0)
    for mode in ("constant", "edge", "reflect", "wrap"):
        args = [x, spatial, value if mode == "constant" else None]
        check_lowering("Pad", args, {"mode": mode}, blocked=blocked)
        check_lowering("Pad", args, {"mode": mode}, shapes={0: ("N", 20, "H", "W")}, blocked=blocked)
    if not blocked:
        check_lowering("Pad", [x, ints(1, 0, -1, 2, 0, 3, 3, -2)])
        check_lowering("Pad", [x, ints(2, 1), None, ints(1)])


def test_depth() -> None:
    x = some(2, 12, 5, 7)
    for mode in ("DCR", "CRD"):
        check_lowering("DepthToSpace", [x], {"blocksize": 2, "mode": mode})
        check_lowering("DepthToSpace", [x], {"blocksize": 2, "mode": mode}, shapes={0: ("N", 12, "H", "W")})
    check_lowering("SpaceToDepth", [some(2, 3, 6, 8)], {"blocksize": 2})
    check_lowering("SpaceToDepth", [some(2, 3, 6, 8)], {"blocksize": 2, "mode": "CRD"}, opset=28, oracle="onnx")


def test_dropout() -> None:
    x = some(2, 12)
    check_lowering("Dropout", [x], outputs=2)
