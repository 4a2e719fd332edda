"""Lists whose elements are known: nothing is left of them, and the result is onnxruntime's."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest

import magicmind
from magicmind.ops.reference import run_graph

HEAD = '<ir_version: 8, opset_import: ["": 17]> '
LOOP = """
    n = Constant<value_int = 3>()
    go = Constant<value = bool {1}>()
    points = Constant<value_ints = [0, 1, 3, 4]>()
    two = Constant<value_ints = [1]>()
    none = SequenceEmpty<dtype = 1>()
"""
BODY = """
    body = body (int64 i, bool again, seq(float[a, b]) list) => (bool still, seq(float[a, b]) longer) {
        still = Identity(again)
        start = Gather(points, i)
        axes = Constant<value_ints = [0]>()
        one = Constant<value_int = 1>()
        next = Add(i, one)
        end = Gather(points, next)
        from = Unsqueeze(start, axes)
        to = Unsqueeze(end, axes)
        part = Slice(x, from, to, two)
        longer = SequenceInsert(list, part)
    }
"""
CASES = {
    "a list filled by a loop": f"""(float[2,4] x) => (float[2,2] y, float[2,1] z) {{
        {LOOP}
        parts = Loop<{BODY}>(n, go, none)
        first = Constant<value_int = 1>()
        last = Constant<value_int = -1>()
        y = SequenceAt(parts, first)
        z = SequenceAt(parts, last)
    }}""",
    "cut, erased, inserted and joined": """(float[2,4] x) => (float[2,5] y, int64 count) {
        sizes = Constant<value_ints = [1, 2, 1]>()
        list = SplitToSequence<axis = 1>(x, sizes)
        zero = Constant<value_int = 0>()
        shorter = SequenceErase(list, zero)
        other = Mul(x, x)
        pair = Constant<value_ints = [2, 2]>()
        left, right = Split<axis = 1>(other, pair)
        longer = SequenceInsert(shorter, right, zero)
        y = ConcatFromSequence<axis = 1>(longer)
        count = SequenceLength(longer)
    }""",
    "stacked, and an input as the result": """(float[2,4] x) => (float[2,2,4] y, float[2,4] z) {
        double = Add(x, x)
        list = SequenceConstruct(x, double)
        y = ConcatFromSequence<axis = 1, new_axis = 1>(list)
        zero = Constant<value_int = 0>()
        z = SequenceAt(list, zero)
    }""",
}


@pytest.mark.parametrize("case", CASES)
def test_lists_of_known_elements_are_found_directly(case: str) -> None:
    model = onnx.parser.parse_model(HEAD + "g" + CASES[case])
    graph = magicmind.parse(model)
    operators = {node.op_type for node in graph.model.graph}
    assert not any("Sequence" in op or op == "Loop" for op in operators), operators
    assert all(isinstance(d, int) for info in graph.outputs for d in info.shape or ())
    x = np.random.default_rng(0).standard_normal((2, 4), np.float32)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for found, expected in zip(run_graph(graph.model, {"x": x}).values(), session.run(None, {"x": x}), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("n = Constant<value_int = 3>()", "rows = Shape(x)  n = ReduceMax<keepdims = 0>(rows)"),
        ("n = Constant<value_int = 3>()", "n = Constant<value_int = 100000>()"),
        ("still = Identity(again)", "limit = Constant<value_int = 2>()  still = Less(i, limit)"),
    ],
)
def test_a_loop_of_unknown_or_many_rounds_stays(old: str, new: str) -> None:
    text = CASES["a list filled by a loop"]
    assert old in text
    graph = magicmind.parse(onnx.parser.parse_model(HEAD + "g" + text.replace(old, new)))
    assert any(node.op_type == "Loop" for node in graph.model.graph)


def test_a_place_outside_of_the_list_is_left_to_the_run() -> None:
    text = CASES["stacked, and an input as the result"].replace(
        "zero = Constant<value_int = 0>", "zero = Constant<value_int = 2>"
    )
    graph = magicmind.parse(onnx.parser.parse_model(HEAD + "g" + text))
    assert [node.op_type for node in graph.model.graph if "Sequence" in node.op_type] == [
        "SequenceConstruct",
        "SequenceAt",
    ]
