"""Silero VAD: If decided by shapes, reflecting Pad, LSTM; frame after frame against recorded probabilities."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

import magicmind

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "audio" / "silero_vad"
MODEL = FOLDER / "silero_vad_16k_op15.onnx"


@pytest.mark.skipif(not MODEL.exists(), reason="the shared data is not here")
def test_speech_probability_of_300_frames() -> None:
    graph = magicmind.parse(MODEL, input_shapes={"input": (1, 576), "state": (2, 1, 128)})
    session = magicmind.build(graph).session(threads=1)
    reference = np.load(FOLDER / "reference" / "onnx_300frames.npz")
    with wave.open(str(FOLDER / "speech_9p6s.wav")) as file:
        samples = np.frombuffer(file.readframes(300 * 512), np.int16).astype(np.float32) / 32768
    state, before, found = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32), []
    for number, frame in enumerate(samples.reshape(300, 512), 1):
        x = np.concatenate([before, frame])[None]
        out = session.run({"input": x, "state": state, "sr": np.array(16000)})
        state, before = out["stateN"], frame[-64:]
        found.append(out["output"].item())
        if number in (1, 100, 200):
            np.testing.assert_allclose(state, reference[f"state_after_{number}"], atol=2e-5)
    np.testing.assert_allclose(found, reference["prob"].reshape(-1), atol=1e-5)
