"""docs/reference/operators.md: what it counts, and whether what it calls generated needs no host step."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from magicmind import backend
from magicmind.errors import Error
from magicmind.testing.backend_cases import cases, model_of, operator_of

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import operators

LEAST_SHARE = 0.7

WITHOUT_CASES = {"GlobalLpPool"}
"""Operators that the backend suite has no case of."""


def test_most_numeric_operators_are_generated() -> None:
    numeric = operators.numeric_operators()
    generated = [name for name in numeric if operators.how_of("", name) == operators.GENERATED]
    assert len(numeric) > 150 and len(generated) >= LEAST_SHARE * len(numeric)
    assert {"Conv", "MatMul", "Softmax", "LSTM", "Relu", "Attention"} <= set(generated)


def test_what_is_left_out_of_the_count_exists() -> None:
    for names in operators.NOT_NUMERIC.values():
        assert names <= set(operators.schemas(""))


def test_types_are_shortened() -> None:
    assert operators.shortened(["tensor(float)", "tensor(int4)", "seq(tensor(float))"]) == "float, narrow, seq"
    every_float = [f"tensor({name})" for name in ("float16", "bfloat16", "float", "double")]
    assert operators.shortened([*every_float, "tensor(bool)", "tensor(int8)"]) == "float, int8, bool"


@pytest.mark.suite
def test_generated_operators_need_no_host_step() -> None:
    """Some case of the backend suite builds without one, shapes and axes being constants."""
    wrong = []
    for name in operators.numeric_operators():
        claimed = operators.how_of("", name) == operators.GENERATED and name not in WITHOUT_CASES
        if claimed and not any(_fallback(model) == [] for model in _models(name)):
            wrong.append(name)
    assert not wrong


def _models(name: str) -> Iterator[onnx.ModelProto]:
    """The operator's cases, with vectors and scalars beside the largest input as constants."""
    for key, case in cases().items():
        if not key.startswith("node/") or "_expanded" in key or case.data_sets is None or operator_of(case) != name:
            continue
        model = onnx.ModelProto()
        model.CopyFrom(model_of(case))
        inputs = [np.asarray(x) if isinstance(x, (np.ndarray, np.generic)) else None for x in case.data_sets[0][0]]
        largest = max((0 if x is None else x.size for x in inputs), default=0)
        kept = [_kept(model, value, x, largest) for value, x in zip(list(model.graph.input), inputs, strict=True)]
        del model.graph.input[:]
        model.graph.input.extend(value for value in kept if value is not None)
        yield model


def _kept(model: onnx.ModelProto, value: Any, x: Any, largest: int) -> Any:
    """The input, or None when it became a constant."""
    if x is None or x.ndim > 1 or (x.size == largest and x.size > 4):
        return value
    model.graph.initializer.append(onnx.numpy_helper.from_array(x, value.name))
    return None


def _fallback(model: onnx.ModelProto) -> Any:
    try:
        found: list[str] = backend.prepare(model, threads=1).model.info()["fallback"]
        return found
    except Error as error:
        return str(error)
