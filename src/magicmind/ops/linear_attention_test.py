"""LinearAttention and FlexAttention: shapes, groups of heads and captured values that the backend suite leaves out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import parser

import magicmind
from magicmind import backend
from magicmind.errors import ShapeError
from magicmind.testing.check_lowering import check_lowering

RNG = np.random.default_rng(21)


def _draw(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32) / 2


@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
@pytest.mark.parametrize(("steps", "values"), [(1, 3), (9, 17), (5, 40)])
def test_linear_attention(rule: str, steps: int, values: int) -> None:
    heads, keys = 2, 7
    decay = -np.abs(_draw(3, steps, heads * keys)) if "gated" in rule else None
    beta = np.abs(_draw(3, steps, heads)) if "delta" in rule else None
    x = [_draw(3, steps, 3 * heads * keys), _draw(3, steps, heads * keys), _draw(3, steps, heads * values)]
    inputs = [*x, _draw(3, heads, keys, values), decay, beta]
    words = {"q_num_heads": 3 * heads, "kv_num_heads": heads, "update_rule": rule}
    kernels = check_lowering(
        "LinearAttention", inputs, words, outputs=2, opset=27, oracle="onnx", passes=True, rtol=2e-5,
        shapes={0: (3, "T", 3 * heads * keys), **{i: x[i].shape for i in (1, 2)}},
    )  # fmt: skip
    assert any("linear_attention" in name for name in kernels)


def test_scores_changed_by_a_value_from_outside() -> None:
    model = parser.parse_model("""
        <ir_version: 10, opset_import: ["": 22, "ai.onnx.preview": 1]>
        g (float[1,2,3,4] q, float[1,2,3,4] k, float[1,2,3,4] v, float[3,3] bias) => (float[1,2,3,4] y)
        {
            twice = Add(bias, bias)
            y = ai.onnx.preview.FlexAttention <score_mod = mod (float[1,2,3,3] s) => (float[1,2,3,3] t) {
                t = Add(s, twice)
            }> (q, k, v)
        }
    """)
    q, k, v, bias = _draw(1, 2, 3, 4), _draw(1, 2, 3, 4), _draw(1, 2, 3, 4), _draw(3, 3)
    scores = np.exp(q @ k.transpose(0, 1, 3, 2) / 2 + 2 * bias)
    (y,) = backend.prepare(model).run([q, k, v, bias])
    np.testing.assert_allclose(y, scores / scores.sum(-1, keepdims=True) @ v, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("k", "decay", "what"), [("1,4,8", "1,4,2", "columns of the queries"), ("1,4,16", "1,4,3", "columns of the decays"),
                             ("1,3,16", "1,4,2", "tokens of the queries and the keys")],
)  # fmt: skip
def test_sizes_that_disagree(k: str, decay: str, what: str) -> None:
    text = f"""<ir_version: 10, opset_import: ["": 27]>
        g (float[1,4,16] q, float[{k}] k, float[1,4,8] v, float[{decay}] d) => (float[1,4,8] y) {{
            y, s = LinearAttention<update_rule = "gated", q_num_heads = 2, kv_num_heads = 2>(q, k, v, , d)
        }}"""
    with pytest.raises(ShapeError, match=what):
        magicmind.parse(parser.parse_model(text))
