"""onnxruntime's float operators against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magicmind.testing.check_lowering import check_lowering

RNG = np.random.default_rng(5)
TOLERANCE = 2e-5


def _draw(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def _check(op: str, inputs: list[Any], attributes: dict[str, Any] | None = None, **words: Any) -> None:
    words = {"shapes": {0: np.shape(inputs[0])}, **words}
    check_lowering(op, inputs, attributes or {}, domain="com.microsoft", passes=True, rtol=TOLERANCE, **words)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        ("Gelu", [_draw(3, 20)], {}),
        ("BiasGelu", [_draw(3, 20), _draw(20)], {}),
        ("FastGelu", [_draw(3, 20), _draw(20)], {}),
        ("FastGelu", [_draw(3, 20)], {}),
        ("QuickGelu", [_draw(3, 20)], {"alpha": 1.5}),
        ("FusedMatMul", [_draw(2, 5, 7), _draw(2, 5, 9)], {"transA": 1, "alpha": 0.5}),
        ("FusedMatMul", [_draw(5, 7), _draw(9, 7)], {"transB": 1}),
        ("FusedConv", [_draw(1, 5, 6, 6), _draw(8, 5, 3, 3), _draw(8)], {"activation": "Relu", "pads": [1, 1, 1, 1]}),
        ("FusedConv", [_draw(1, 5, 6, 6), _draw(8, 5, 3, 3)], {"activation": "LeakyRelu", "activation_params": [0.2]}),
        ("FusedGemm", [_draw(4, 5), _draw(5, 6), _draw(6)], {"activation": "Tanh"}),
        ("SkipLayerNormalization", [_draw(2, 3, 16), _draw(2, 3, 16), _draw(16), _draw(16), _draw(16)], {}),
        ("SkipSimplifiedLayerNormalization", [_draw(2, 3, 16), _draw(2, 3, 16), _draw(16)], {"epsilon": 1e-3}),
    ],
)
def test_fused_operator(op: str, inputs: list[Any], attributes: dict[str, Any]) -> None:
    _check(op, inputs, attributes)


def test_embeddings_of_bert() -> None:
    tables = [_draw(30, 16), _draw(12, 16), _draw(2, 16), _draw(16), _draw(16)]
    ids = RNG.integers(0, 30, (2, 7)).astype(np.int32)
    segments = RNG.integers(0, 2, (2, 7)).astype(np.int32)
    mask = (np.arange(7) < np.array([[7], [4]])).astype(np.int32)
    _check("EmbedLayerNormalization", [ids, segments, *tables, mask], {"epsilon": 1e-6}, outputs=2)


MASKS = {
    "none": None,
    "lengths": np.array([6, 4], np.int32),
    "keys": (np.arange(6) < np.array([[6], [4]])).astype(np.int32),
    "queries": (RNG.random((2, 6, 6)) > 0.3).astype(np.int32) | np.eye(6, dtype=np.int32),
}


@pytest.mark.parametrize("mask", list(MASKS))
@pytest.mark.parametrize("unidirectional", [0, 1])
def test_attention_with_its_projections(mask: str, unidirectional: int) -> None:
    inputs = [_draw(2, 6, 20), _draw(20, 48), _draw(48), MASKS[mask]]
    inputs = inputs if mask != "none" else inputs[:3]
    _check("Attention", inputs, {"num_heads": 4, "unidirectional": unidirectional})


def test_attention_with_a_past() -> None:
    inputs = [_draw(2, 3, 20), _draw(20, 48), _draw(48), None, _draw(2, 2, 4, 5, 4)]
    _check("Attention", inputs, {"num_heads": 4, "unidirectional": 1}, outputs=2)


def test_multi_head_attention() -> None:
    keep = (np.arange(9) < np.array([[9], [4]])).astype(np.int32)
    inputs = [_draw(2, 6, 24), _draw(2, 9, 24), _draw(2, 9, 24), _draw(72), keep, _draw(2, 4, 6, 9)]
    _check("MultiHeadAttention", inputs, {"num_heads": 4})
