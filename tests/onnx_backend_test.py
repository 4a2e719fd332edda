"""The official ONNX backend suite. Every fifteenth case is marked `slow`, the rest `suite`.

`python tools/backend_suite.py` runs all of it in worker processes and prints a table.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_backend_exclusions import EXCLUSIONS, reason_to_exclude

from magicmind import backend
from magicmind.errors import ShapeError, TargetError
from magicmind.testing.backend_cases import case_names, cases, prepare_magicmind, run_case

EVERY = 15
CACHE = Path(os.environ["MAGICMIND_CACHE_DIR"])  # the tests' own: conftest.py


def _parameters() -> list[object]:
    return [
        pytest.param(name, marks=pytest.mark.slow if i % EVERY == 0 else pytest.mark.suite)
        for i, name in enumerate(case_names(CACHE))
    ]


@pytest.mark.parametrize("name", _parameters())
def test_case(name: str) -> None:
    if reason := reason_to_exclude(name):
        pytest.skip(reason)
    verdict = run_case(cases()[name], prepare_magicmind)
    if verdict.status == "unsupported":
        pytest.skip(verdict.reason)
    assert verdict.status == "passed", verdict.reason


@pytest.mark.slow
def test_every_exclusion_names_a_case_and_a_reason() -> None:
    import re

    for pattern, reason in EXCLUSIONS.items():
        assert any(re.fullmatch(pattern, name) for name in cases()), pattern
        assert len(reason) > 10, pattern


def _two_outputs() -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])
    nodes = [helper.make_node("Neg", ["x"], ["minus"]), helper.make_node("Abs", ["x"], ["size"])]
    outputs = [onnx.ValueInfoProto(name=name) for name in ("size", "minus")]
    return helper.make_model(helper.make_graph(nodes, "g", [x], outputs), opset_imports=[helper.make_opsetid("", 22)])


def test_outputs_come_in_order_and_by_name() -> None:
    x = np.array([[1.0, -2.0]], np.float32)
    prepared = backend.prepare(_two_outputs(), threads=1)
    outputs = prepared.run([x])
    np.testing.assert_array_equal(outputs[0], np.abs(x))
    np.testing.assert_array_equal(outputs["minus"], -x)  # type: ignore[call-overload]
    np.testing.assert_array_equal(prepared.run({"x": np.tile(x, (3, 1))})[1], np.tile(-x, (3, 1)))


def test_run_node_takes_arrays_in_order_or_by_name() -> None:
    node = helper.make_node("Clip", ["x", "", "high"], ["y"])
    x = np.array([1, 5], np.float32)
    for inputs in ([x, np.float32(3)], {"x": x, "high": np.float32(3)}):
        np.testing.assert_array_equal(backend.run_node(node, inputs)[0], [1, 3])


def test_only_the_cpu_is_a_device() -> None:
    assert backend.supports_device("CPU") and backend.supports_device("CPU:0") and not backend.supports_device("CUDA")
    with pytest.raises(TargetError, match="CUDA:1"):
        backend.prepare(_two_outputs(), "CUDA:1")


def test_the_number_of_inputs_is_checked() -> None:
    with pytest.raises(ShapeError, match="2 inputs are given; the model has 1"):
        backend.prepare(_two_outputs()).run([np.zeros((1, 2), np.float32)] * 2)
