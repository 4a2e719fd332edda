"""What random graphs brought to light, each as the smallest graph that showed it (`python tools/fuzz.py`)."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import magicmind

GRAPHS = {
    # The second part was written into the result before a host step had told the result's size.
    "a part of a result of unforeseen size": """(float[4,3] x) => (float[n,3] y) <int64 one = {1}> {
        parts = SplitToSequence<axis=0>(x, one)
        joined = ConcatFromSequence<axis=0>(parts)
        first = Neg(joined)
        second = Softsign(x)
        y = Concat<axis=0>(first, second) }""",
    "one-hot of a scalar": """(int64 x) => (float[7] y) <int64 depth = {7}, float[2] values = {-0.5, 1.5}> {
        y = OneHot(x, depth, values) }""",
}


@pytest.mark.parametrize("text", GRAPHS.values(), ids=GRAPHS.keys())
def test_against_the_reference(text: str) -> None:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 22]> random {text}')
    rng = np.random.default_rng(0)
    feeds = {}
    for x in model.graph.input:
        shape = [d.dim_value for d in x.type.tensor_type.shape.dim]
        feeds[x.name] = np.asarray(
            rng.integers(-16, 17, shape) / 8, onnx.helper.tensor_dtype_to_np_dtype(x.type.tensor_type.elem_type)
        )
    wanted = ReferenceEvaluator(model).run(None, feeds)
    with magicmind.build(magicmind.parse(model)) as built, built.session(threads=2) as session:
        got = session.run(feeds)
    for value, want in zip(model.graph.output, wanted, strict=True):
        assert got[value.name].dtype == want.dtype and got[value.name].shape == want.shape
        np.testing.assert_allclose(got[value.name], want, rtol=1e-5, atol=1e-6)
