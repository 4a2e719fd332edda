"""Real transformers and audio networks against their references (see the READMEs beside them)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import magicmind

pytestmark = pytest.mark.slow

Array = np.ndarray[Any, np.dtype[Any]]


def build(path: Path) -> magicmind.Model:
    return magicmind.build(magicmind.parse(path))


def picture(recorded: Any) -> Array:
    pixels = (recorded["input_u8"].astype(np.float32) - recorded["mean"]) * recorded["scale"]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


@pytest.mark.parametrize(
    ("name", "reference", "tolerance"),
    [
        ("gpt_nano_sort_opset13", "published_partials", 1e-5),
        ("gpt_nano_sort_opset17", "published_partials", 1e-5),
        ("gpt_nano_sort_dynamic_int8", "dynamic_int8", 1e-5),
    ],
)
def test_gpt_nano(data: Path, name: str, reference: str, tolerance: float) -> None:
    folder = data / "transformer/gpt_nano_sort"
    recorded = np.load(folder / "reference" / f"{reference}.npz")
    with build(folder / f"{name}.onnx") as model, model.session() as session:
        logits = session.run({"idx": recorded["idx"]})["logits"]
    assert np.abs(logits - recorded["logits"]).max() <= tolerance * np.abs(recorded["logits"]).max()


@pytest.mark.parametrize("name", ["gtcrn", "gtcrn_simple"])
def test_speech_enhancement_frame_by_frame(data: Path, name: str) -> None:
    """40 frames; the caches of one are the inputs of the next."""
    folder = data / "audio/gtcrn"
    recorded = np.load(folder / "reference/stream40.npz")
    caches = {key: np.zeros_like(recorded[f"{key}_after40"]) for key in ("conv_cache", "tra_cache", "inter_cache")}
    with build(folder / f"{name}.onnx") as model, model.session() as session:
        for frame in range(40):
            mix = np.ascontiguousarray(recorded["mix"][:, :, frame : frame + 1])
            outputs = session.run({"mix": mix, **caches})
            caches = {key: np.array(outputs[f"{key}_out"]) for key in caches}
            assert np.abs(outputs["enh"][:, :, 0] - recorded["enh"][:, :, frame]).max() <= 1e-4
    for key, cache in caches.items():
        assert np.abs(cache - recorded[f"{key}_after40"]).max() <= 1e-3
