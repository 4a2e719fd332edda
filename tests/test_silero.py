"""Silero VAD: If decided by shapes, reflecting Pad, LSTM; frame after frame against recorded probabilities."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import magicmind

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "audio" / "silero_vad"
MODEL = FOLDER / "silero_vad_16k_op15.onnx"

needs_model = pytest.mark.skipif(not MODEL.exists(), reason="the shared data is not here")


@needs_model
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


@needs_model
def test_every_length_that_the_network_takes() -> None:
    """Its decoder squeezes an axis that is 1 for 192 to 703 samples; onnxruntime takes no others either."""
    shapes = {"input": ("batch=1..4", "192..703"), "state": (2, "batch=1..4", 128)}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    peer = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(4)
    with magicmind.build(magicmind.parse(MODEL, input_shapes=shapes)) as model, model.session(threads=1) as session:
        assert session.inputs[0].shape == ((1, 4), (192, 703))
        for batch, length in ((1, 576), (2, 192), (4, 703), (3, 511), (1, 257)):
            feeds = {
                "input": rng.standard_normal((batch, length), dtype=np.float32) * np.float32(0.1),
                "state": rng.standard_normal((2, batch, 128), dtype=np.float32) * np.float32(0.1),
                "sr": np.array(16000),
            }
            for got, want in zip(session.run(feeds).values(), peer.run(None, feeds), strict=True):
                np.testing.assert_allclose(got, want, atol=1e-5)


@needs_model
def test_lengths_that_the_network_cannot_take_name_the_node() -> None:
    shapes = {"input": (1, "192..1024"), "state": (2, 1, 128)}
    with pytest.raises(magicmind.ShapeError, match=r"/model/decoder/Squeeze .* they are for sequence = 192\.\.703"):
        magicmind.parse(MODEL, input_shapes=shapes)
