from __future__ import annotations

from typing import Any

import pytest

from magicmind.errors import OfflineModelError, ShapeError
from magicmind.runtime.shapes import PlanShapes, compile_texts


def test_texts_are_evaluated_in_one_call() -> None:
    texts: list[int | str] = [7, "N", "4*N + 1", "(H + 1)//2", "max(H, N, 3) % 5", "-min(N, H) + 10"]
    assert compile_texts(texts, ["N", "H"])(2, 9) == (7, 2, 9, 5, 4, 8)
    assert compile_texts([], [])() == ()


def test_a_symbol_may_be_named_like_a_function_or_argument() -> None:
    assert compile_texts(["min + s0"], ["s0", "min"])(1, 20) == (21,)


@pytest.mark.parametrize(
    "text",
    ["__import__('os')", "N.real", "N**9", "1.5", "True", "M", "(lambda: 1)()", "[N]", "min(N, key=N)", "N if N else 1",
     "N = 1", "", "(" * 500 + "N" + ")" * 500, "min(*N)", "'a'"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(OfflineModelError):
        compile_texts([text], ["N"])


def plan(**changes: Any) -> dict[str, Any]:
    return {
        "symbols": {"N": [1, 8], "H": [4, None]},
        "inputs": [
            {"name": "a", "dtype": "float32", "shape": ["N", 3, "H"]},
            {"name": "b", "dtype": "float32", "shape": ["N", "2*H"]},
        ],
        "outputs": [{"name": "y", "dtype": "float32", "shape": ["N", "H//2"]}],
        "dims": ["N", "N*H"],
        "buffers": [{"bytes": "4*N*H", "first": 0, "last": 0}],
        "slots": [{"kind": "arena", "buffer": 0, "offset": "4*N"}],
        "scratch": "H",
        "steps": [{"flops": "2*N*H", "bytes": 5}],
        **changes,
    }


def test_numbers_of_a_plan() -> None:
    shapes = PlanShapes(plan())
    symbols = shapes.bind([(2, 3, 5), (2, 10)])
    numbers = shapes.evaluate(symbols)
    assert numbers.dims == (2, 10)
    assert numbers.output_shapes == ((2, 2),)
    assert (numbers.buffer_bytes, numbers.slot_offsets, numbers.scratch) == ((40,), (8,), 5)
    assert (numbers.step_flops, numbers.step_bytes) == ((20,), (5,))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ([(9, 3, 5), (9, 10)], ["'a'", "dim 0", "N", "is 9", "1..8"]),
        ([(2, 3, 3), (2, 6)], ["'a'", "dim 2", "is 3", "4.."]),
        ([(2, 4, 5), (2, 10)], ["'a'", "dim 1", "is 4", "built for 3"]),
        ([(2, 3, 5), (3, 10)], ["'b'", "dim 0", "is 3", "'a'", "made it 2"]),
        ([(2, 3, 5), (2, 11)], ["'b'", "dim 1", "is 11", "2*H = 10"]),
        ([(2, 3), (2, 10)], ["'a'", "2 dims", "expected 3", "[N, 3, H]"]),
    ],
)
def test_what_does_not_fit_is_named(shapes: list[tuple[int, ...]], words: list[str]) -> None:
    with pytest.raises(ShapeError) as error:
        PlanShapes(plan()).bind(shapes)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_negative_sizes_and_division_by_zero_are_shape_errors() -> None:
    with pytest.raises(ShapeError, match="negative"):
        PlanShapes(plan(scratch="H - 100")).evaluate((5, 2))
    with pytest.raises(ShapeError, match="divides by zero"):
        PlanShapes(plan(scratch="H // (N - 2)")).evaluate((2, 5))
