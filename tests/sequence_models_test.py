"""Real transformers and recurrent networks against onnxruntime and the results published with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import magicmind

DATA = Path(__file__).parents[2] / "shared" / "data"
GPT, GTCRN = DATA / "transformer/gpt_nano_sort", DATA / "audio/gtcrn"
needs_gpt = pytest.mark.skipif(not GPT.exists(), reason=f"{GPT} is not here")
needs_gtcrn = pytest.mark.skipif(not GTCRN.exists(), reason=f"{GTCRN} is not here")

GPT_FILES = ["gpt_nano_sort_opset13.onnx", "gpt_nano_sort_opset17.onnx"]


@needs_gpt
@pytest.mark.parametrize("file", GPT_FILES)
def test_gpt_gives_the_published_logits(file: str) -> None:
    stored = np.load(GPT / "reference/published_partials.npz")
    session = magicmind.build(magicmind.parse(GPT / file)).session(threads=2)
    logits = session.run({"idx": stored["idx"].astype(np.int64)})["logits"]
    np.testing.assert_allclose(logits, stored["logits"], atol=1e-5)


@pytest.mark.slow
@needs_gpt
def test_gpt_in_int8_picks_the_same_tokens() -> None:
    stored = np.load(GPT / "reference/published_partials.npz")
    session = magicmind.build(magicmind.parse(GPT / "gpt_nano_sort_dynamic_int8.onnx")).session(threads=2)
    logits = session.run({"idx": stored["idx"].astype(np.int64)})["logits"]
    np.testing.assert_array_equal(logits.argmax(-1)[:, 5:], stored["logits"].argmax(-1)[:, 5:])
    assert np.abs(logits - stored["logits"]).max() < 0.2


@pytest.mark.slow
@needs_gpt
def test_gpt_of_mutable_length() -> None:
    """Attention is causal: a shorter sequence gives the first rows of the longer one."""
    graph = magicmind.parse(GPT / GPT_FILES[1])
    session = magicmind.build(graph, shapes={"idx": ["B=1..4", "L=1..11"]}).session(threads=2)
    reference = onnxruntime.InferenceSession(GPT / GPT_FILES[1])
    idx = np.random.default_rng(1).integers(0, 3, (2, 11))
    (whole,) = reference.run(None, {"idx": idx})
    for length in range(1, 12):
        logits = session.run({"idx": idx[:, :length].copy()})["logits"]
        np.testing.assert_allclose(logits, whole[:, :length], atol=1e-5, err_msg=f"length {length}")


@pytest.mark.slow
@needs_gtcrn
@pytest.mark.parametrize("file", ["gtcrn_simple.onnx", "gtcrn.onnx"])
def test_gtcrn_over_forty_frames(file: str) -> None:
    stored = np.load(GTCRN / "reference/stream40.npz")
    session = magicmind.build(magicmind.parse(GTCRN / file)).session(threads=2)
    names = ["conv_cache", "tra_cache", "inter_cache"]
    state: dict[str, Any] = {name: np.zeros(stored[f"{name}_after40"].shape, np.float32) for name in names}
    for frame in range(40):
        enhanced, *caches = session.run({"mix": stored["mix"][:, :, frame : frame + 1], **state}).values()
        np.testing.assert_allclose(
            enhanced, stored["enh"][:, :, frame : frame + 1], atol=2e-4, err_msg=f"frame {frame}"
        )
        state = dict(zip(names, caches, strict=True))
    for name in names:
        np.testing.assert_allclose(state[name], stored[f"{name}_after40"], atol=1e-3)
