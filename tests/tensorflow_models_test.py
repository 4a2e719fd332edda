"""Real TensorFlow networks against their recorded results."""

from __future__ import annotations

import gc
import resource
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import magicmind

Array = np.ndarray[Any, Any]

TOLERANCE = 1e-4  # of the largest element


def relative(found: Array, expected: Array) -> float:
    """The largest difference as a share of the largest element."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def kinds(graph: magicmind.Graph) -> Counter[str]:
    return Counter(node.op_type for node in graph.model.graph)


def test_person_detection(data: Path) -> None:
    folder = data / "classification/vww_person_tf"
    graph = magicmind.parse(folder / "vww_mobilenet025_96.pb")
    assert [i.name for i in graph.inputs] == ["input"]
    assert kinds(graph)["Transpose"] <= 2
    case = np.load(folder / "reference/voc12.npz")
    session = magicmind.build(graph).session(threads=1)
    for image, expected in zip(case["images_u8"], case["prob"], strict=True):
        found = session.run({"input": (image[None] / 255).astype(np.float32)})["Identity"]
        assert relative(found[0], expected) < TOLERANCE


def test_person_detection_with_a_mutable_batch(data: Path) -> None:
    folder = data / "classification/vww_person_tf"
    shapes = {"input": ("1..16", 96, 96, 3)}
    graph = magicmind.parse(folder / "vww_mobilenet025_96.pb", input_shapes=shapes, outputs=["Identity:0"])
    case = np.load(folder / "reference/voc12.npz")
    x = (case["images_u8"] / 255).astype(np.float32)
    assert relative(magicmind.build(graph).session(threads=1).run({"input": x})["Identity"], case["prob"]) < TOLERANCE


@pytest.mark.parametrize(("name", "frames"), [("DS_CNN_S", 49), ("CNN_S", 49), ("LSTM_S", 25)])
def test_keywords_from_cepstra(data: Path, name: str, frames: int) -> None:
    folder = data / "audio/kws_tf"
    graph = magicmind.parse(folder / f"{name}_from_mfcc.pb")
    session = magicmind.build(graph, shapes={"Mfcc": (1, frames, 10)}).session(threads=1)
    case = np.load(folder / f"reference/{name}.npz")
    for word in ("yes", "no", "noise", "silence"):
        found = session.run({"Mfcc": case[f"{word}_mfcc"]})["labels_softmax"]
        assert relative(found, case[f"{word}_prob"]) < TOLERANCE


@pytest.mark.parametrize("name", ["DS_CNN_S", "LSTM_S"])
def test_keywords_from_files(data: Path, name: str) -> None:
    """The whole graph, from the bytes of a WAV file."""
    folder = data / "audio/kws_tf"
    session = magicmind.build(magicmind.parse(folder / f"{name}.pb")).session(threads=1)
    case = np.load(folder / f"reference/{name}.npz")
    for word in ("yes", "no", "noise", "silence"):
        contents = np.array((folder / f"wav/{word}.wav").read_bytes(), object)
        found = session.run({"wav_data": contents})["labels_softmax"]
        assert relative(found, case[f"{word}_prob"]) < TOLERANCE


def test_spectrogram_and_cepstrum(data: Path) -> None:
    folder = data / "audio/kws_tf"
    graph = magicmind.parse(folder / "DS_CNN_S.pb", outputs=["decoded_sample_data", "AudioSpectrogram", "Mfcc"])
    session = magicmind.build(graph).session(threads=1)
    case = np.load(folder / "reference/DS_CNN_S.npz")
    found = session.run({"wav_data": np.array((folder / "wav/yes.wav").read_bytes(), object)})
    assert relative(found["decoded_sample_data"], case["yes_audio"]) == 0
    assert relative(found["AudioSpectrogram"], case["yes_spectrogram"]) < 1e-6
    assert relative(found["Mfcc"], case["yes_mfcc"]) < 1e-5


OUTPUTS = ["SemanticPredictions", "SemanticProbabilities"]


@pytest.mark.slow
@pytest.mark.parametrize("side", [513, "1..513"])
def test_deeplab(data: Path, side: Any) -> None:
    """Dilation is folded, and nothing is transposed between the layers; sizes may be mutable up to the network's."""
    folder = data / "segmentation/deeplab_dm05_tf"
    case = np.load(folder / ("reference/two.npz" if side == 513 else "reference/obama.npz"))
    image = case["ImageTensor"]
    graph = magicmind.parse(
        folder / "frozen_inference_graph.pb",
        outputs=OUTPUTS,
        input_shapes={"ImageTensor": image.shape if side == 513 else (1, side, side, 3)},
    )
    count = kinds(graph)
    assert count["Conv"] == 55
    assert count["Transpose"] <= 5
    assert "Loop" not in count
    found = magicmind.build(graph).session(threads=2).run({"ImageTensor": image})
    assert (found["SemanticPredictions"] != case["SemanticPredictions"]).mean() < 1e-5
    probabilities = found["SemanticProbabilities"][:, ::8, ::8]
    assert relative(probabilities, case["SemanticProbabilities_every8"]) < TOLERANCE


def test_deeplab_waits_for_sizes(data: Path) -> None:
    """The file allows any size, its constants only up to 513: nothing is refused before sizes are given."""
    path = data / "segmentation/deeplab_dm05_tf/frozen_inference_graph.pb"
    graph = magicmind.parse(path, inputs=["ImageTensor:0"], outputs=["SemanticPredictions:0"])
    assert graph.inputs[0].shape == (1, (1, None), (1, None), 3)
    with pytest.raises(magicmind.ShapeError, match="sizes of input 'ImageTensor' are open"):
        _ = graph.outputs
    fixed = graph.with_shapes({"ImageTensor": (1, 513, 513, 3)})
    assert fixed.outputs[0].shape == (1, 513, 513)


def test_reading_is_quick_and_small(data: Path) -> None:
    path = data / "segmentation/deeplab_dm05_tf/frozen_inference_graph.pb"
    gc.collect()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    magicmind.parse(path, input_shapes={"ImageTensor": (1, 513, 513, 3)})
    assert time.process_time() - start < 5
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 64 << 20
