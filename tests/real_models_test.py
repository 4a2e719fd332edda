"""Real detectors and a segmenter against what onnxruntime gave for real pictures (see the READMEs beside them)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import magicmind

pytestmark = pytest.mark.slow  # builds real networks

Array = np.ndarray[Any, np.dtype[Any]]
Offline = Callable[[str], Path]


@dataclass(frozen=True)
class Network:
    """Where the reference results of a network lie and how its outputs are called there."""

    name: str
    folder: str
    references: tuple[str, ...]
    input: str
    outputs: dict[str, str]
    """Name in the reference file by name in the network."""

    def __str__(self) -> str:
        return self.name


FACES = ("1", "9", "13")
NETWORKS = [
    Network("rfb", "detection/rfb320_face", FACES, "input", {"scores": "rfb_onnx_scores", "boxes": "rfb_onnx_boxes"}),
    Network(
        "slim", "detection/rfb320_face", FACES, "input", {"scores": "slim_onnx_scores", "boxes": "slim_onnx_boxes"}
    ),
    Network(
        "fastestdet",
        "detection/fastestdet_coco",
        ("onnx_fd_0", "onnx_fd_3", "onnx_16004479832_a748d55f21_k"),
        "input.1",
        {"758": "out_758"},
    ),
    Network("sinet", "segmentation/sinet_portrait", ("obama", "two"), "data", {"classifier/1": "logits"}),
]


def feed(recorded: Any) -> Array:
    """The network's input [1, 3, H, W] from the picture, mean and scale of a reference file."""
    pixels = recorded["input_u8" if "input_u8" in recorded else "input_u8_bgr"].astype(np.float64) - recorded["mean"]
    pixels = pixels / recorded["std"] * recorded["post_scale"] if "std" in recorded else pixels * recorded["scale"]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


def load_references(data: Path, network: Network) -> list[Any]:
    return [np.load(data / network.folder / "reference" / f"{name}.npz") for name in network.references]


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_outputs_agree_with_the_reference(network: Network, data: Path, offline: Offline) -> None:
    with magicmind.load(offline(network.name)) as model, model.session(threads=2) as session:
        for recorded in load_references(data, network):
            outputs = session.run({network.input: feed(recorded)})
            assert outputs.keys() == network.outputs.keys()
            for name, key in network.outputs.items():
                assert outputs[name].shape == recorded[key].shape
                assert np.abs(outputs[name] - recorded[key]).max() <= 1e-4 * np.abs(recorded[key]).max()


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_thread_counts_agree_bit_for_bit(network: Network, data: Path, offline: Offline) -> None:
    feeds = {network.input: feed(load_references(data, network)[0])}
    with magicmind.load(offline(network.name)) as model:
        results = [model.session(threads=threads).run(feeds) for threads in (1, 2, 3)]
    for result in results[1:]:
        for name, array in results[0].items():
            assert array.tobytes() == result[name].tobytes(), name


def test_a_saved_model_gives_the_results_of_the_one_in_memory(data: Path, offline: Offline, tmp_path: Path) -> None:
    network = NETWORKS[1]
    with magicmind.build(magicmind.parse(data / network.folder / "version-slim-320.onnx")) as built:
        built.save(tmp_path / "again.mm")
        feeds = {network.input: feed(load_references(data, network)[0])}
        direct = built.session(threads=2).run(feeds)
    assert (tmp_path / "again.mm").read_bytes() == offline("slim").read_bytes()
    with magicmind.load(tmp_path / "again.mm", verify="full") as loaded:
        for name, array in loaded.session(threads=2).run(feeds).items():
            assert array.tobytes() == direct[name].tobytes()


def test_a_detector_with_a_range_of_batches(data: Path) -> None:
    network = NETWORKS[0]
    graph = magicmind.parse(data / network.folder / "version-RFB-320.onnx")
    recorded = load_references(data, network)
    batch = np.concatenate([feed(r) for r in recorded])
    with magicmind.build(graph, shapes={"input": ("1..8", 3, 240, 320)}) as model, model.session(threads=2) as session:
        assert session.inputs[0].shape == ((1, 8), 3, 240, 320)
        together = session.run({"input": batch})
        for i, reference in enumerate(recorded):
            alone = session.run({"input": batch[i : i + 1]})
            for name, key in network.outputs.items():
                assert alone[name][0].tobytes() == together[name][i].tobytes()
                assert np.abs(alone[name] - reference[key]).max() <= 1e-4 * np.abs(reference[key]).max()
        with pytest.raises(magicmind.ShapeError, match=r"input 'input': dim 0 .* is 9, the model was built for 1\.\.8"):
            session.run({"input": np.zeros((9, 3, 240, 320), np.float32)})


def test_a_network_whose_shapes_are_fixed_inside_refuses_a_range(data: Path) -> None:
    graph = magicmind.parse(data / NETWORKS[2].folder / "FastestDet.onnx")
    with pytest.raises(magicmind.ShapeError, match=r"Reshape_\d+ \(Reshape\)"):
        magicmind.build(graph, shapes={"input.1": ("1..8", 3, 352, 352)})
