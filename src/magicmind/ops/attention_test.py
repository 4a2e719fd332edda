"""Attention of ONNX and of onnxruntime through all passes, by one kernel where that can do it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import parser

import magicmind
from magicmind.errors import ShapeError
from magicmind.testing.check_lowering import check_lowering

RNG = np.random.default_rng(9)


def _draw(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def _check(inputs: list[Any], attributes: dict[str, Any] | None = None, **words: Any) -> list[str]:
    shapes = {i: x.shape for i, x in enumerate(inputs) if x is not None} | words.pop("shapes", {})
    return check_lowering(
        "Attention", inputs, attributes or {}, shapes=shapes, opset=24, oracle="onnx", passes=True, rtol=2e-5, **words
    )


def _is_one_call(kernels: list[str]) -> bool:
    return [name.split("_")[0] for name in kernels].count("attention") == 1 and not any("softmax" in x for x in kernels)


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (3, 1)])
def test_rank_four(heads: tuple[int, int], causal: int) -> None:
    q, k, v = _draw(2, heads[0], 5, 6), _draw(2, heads[1], 7, 6), _draw(2, heads[1], 7, 10)
    assert _is_one_call(_check([q, k, v], {"is_causal": causal}))


@pytest.mark.parametrize("mask", [(5, 7), (1, 1, 1, 7), (2, 4, 5, 7)])
@pytest.mark.parametrize("boolean", [False, True])
def test_rank_three_with_masks(mask: tuple[int, ...], boolean: bool) -> None:
    values = RNG.random(mask) < 0.5 if boolean else _draw(*mask)
    inputs = [_draw(2, 5, 24), _draw(2, 7, 24), _draw(2, 7, 40), values]
    kernels = _check(inputs, {"q_num_heads": 4, "kv_num_heads": 4, "scale": 0.2})
    assert _is_one_call(kernels)
    assert len(kernels) == 2, "operands are read where they lie; one copy to the user's memory"


def test_past_and_present() -> None:
    inputs = [_draw(2, 3, 24), _draw(2, 3, 12), _draw(2, 3, 12), None, _draw(2, 2, 5, 6), _draw(2, 2, 5, 6)]
    assert _is_one_call(_check(inputs, {"q_num_heads": 4, "kv_num_heads": 2, "is_causal": 1}, outputs=3))


@pytest.mark.parametrize("length", [0, 1, 3, 40])
def test_length_of_run_time(length: int) -> None:
    inputs = [_draw(2, length, 24) for _ in range(3)]
    shapes = dict.fromkeys(range(3), (2, "S", 24))
    attributes = {"q_num_heads": 4, "kv_num_heads": 4, "is_causal": 1}
    want = [np.zeros((2, 0, 24), np.float32)] if length == 0 else None
    assert _is_one_call(_check(inputs, attributes, shapes=shapes, want=want))


def test_what_is_left_to_the_definition() -> None:
    q, k, v = _draw(1, 2, 5, 6), _draw(1, 2, 7, 6), _draw(1, 2, 7, 6)
    assert not _is_one_call(_check([q, k, v], {"softcap": 2.0}))
    assert not _is_one_call(_check([q, k, v, _draw(5, 4)]))  # the mask has fewer keys
    assert not _is_one_call(_check([q, k, v], outputs=4))


@pytest.mark.parametrize("unidirectional", [0, 1])
def test_onnxruntime_with_projections(unidirectional: int) -> None:
    keep = (np.arange(6) < np.array([[6], [4]])).astype(np.int32)
    inputs = [_draw(2, 6, 20), _draw(20, 48), _draw(48), keep]
    attributes = {"num_heads": 4, "unidirectional": unidirectional}
    kernels = check_lowering(
        "Attention", inputs, attributes, shapes={0: (2, 6, 20), 3: (2, 6)}, domain="com.microsoft", passes=True,
        rtol=2e-5,
    )  # fmt: skip
    assert _is_one_call(kernels)


def test_onnxruntime_multi_head() -> None:
    inputs = [_draw(2, 6, 24), _draw(2, 9, 24), _draw(2, 9, 24), _draw(72), None, _draw(2, 4, 6, 9)]
    shapes = {i: inputs[i].shape for i in (0, 1, 2, 5)}
    kernels = check_lowering(
        "MultiHeadAttention", inputs, {"num_heads": 4}, shapes=shapes, domain="com.microsoft", passes=True, rtol=2e-5
    )
    assert _is_one_call(kernels)
    assert len(kernels) == 5, "three biases, the attention, one copy to the user's memory"


def test_mutable_batches_are_one() -> None:
    text = """<ir_version: 10, opset_import: ["": 24]>
        g (float[A,2,5,8] q, float[B,2,7,8] k, float[C,2,7,8] v) => (float[A,2,5,8] y) { y = Attention(q, k, v) }"""
    with magicmind.build(magicmind.parse(parser.parse_model(text))) as model, model.session() as session:
        feeds = {"q": _draw(3, 2, 5, 8), "k": _draw(3, 2, 7, 8), "v": _draw(3, 2, 7, 8)}
        assert session.run(feeds)["y"].shape == (3, 2, 5, 8)
        with pytest.raises(ShapeError, match="dim 0 of input 'q' made it 3"):
            session.run({**feeds, "k": _draw(2, 2, 7, 8)})
