"""PyTorch's networks, traced and exported, run by our engine against PyTorch itself; real files against references."""

from __future__ import annotations

import warnings
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'pytorch' is not installed")

from pytorch_networks import FROM_TIMM, SMALL, Architecture  # noqa: E402

import magicmind  # noqa: E402
from magicmind.frontends.pytorch.script_source import named_leaves  # noqa: E402

Array = np.ndarray[Any, Any]

TOLERANCE = 1e-4  # of the largest element
QUICK = ("U-Net", "LSTM", "BERT", "YOLO head", "Wav2Letter")


def relative(found: Array, expected: Array) -> float:
    """The largest difference as a share of the largest element."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def graph_of(architecture: Architecture, way: str, module: Any) -> magicmind.Graph:
    """Traced or exported, for batches of 1 to 4 where the architecture says so."""
    x = architecture.example()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if way == "traced":
            shape = ("1..4", *x.shape[1:]) if architecture.mutable else x.shape
            return magicmind.parse(module, input_shapes=[shape], input_dtypes=[architecture.dtype], example_inputs=(x,))
        batch = {0: torch.export.Dim("n", min=1, max=4)} if architecture.mutable else None
        return magicmind.parse(torch.export.export(module, (x,), dynamic_shapes=(batch,)))


def check(architecture: Architecture, way: str) -> None:
    module = architecture.module()
    graph = graph_of(architecture, way, module)
    session = magicmind.build(graph).session(threads=2)
    for batch in (2, 1, 3) if architecture.mutable else (2,):
        x = architecture.example(batch)
        with torch.no_grad():
            expected = named_leaves(module(x))
        found = session.run({graph.inputs[0].name: x.numpy()})
        assert list(found) == list(expected)
        for name, y in expected.items():
            assert relative(found[name], y.numpy()) <= TOLERANCE, (name, batch)


@pytest.mark.parametrize("way", ["traced", "exported"])
@pytest.mark.parametrize("architecture", [a for a in SMALL if a.name in QUICK], ids=lambda a: a.name)
def test_small_networks(architecture: Architecture, way: str) -> None:
    check(architecture, way)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["traced", "exported"])
@pytest.mark.parametrize("architecture", [*(a for a in SMALL if a.name not in QUICK), *FROM_TIMM], ids=lambda a: a.name)
def test_networks(architecture: Architecture, way: str) -> None:
    check(architecture, way)


# --------------------------------------------------------------------------------------------------------- real files


def test_silero_finds_speech(data: Path) -> None:
    """300 frames by the published TorchScript file, whose attributes are state of the graph."""
    folder = data / "audio/silero_vad"
    graph = magicmind.parse(folder / "silero_vad.jit", constants={"sr": 16000}, input_shapes={"x": (1, 512)})
    session = magicmind.build(graph).session(threads=1)
    with wave.open(str(folder / "speech_9p6s.wav")) as file:
        samples = np.frombuffer(file.readframes(300 * 512), np.int16).astype(np.float32) / 32768
    state = {i.name: np.zeros(i.shape, i.dtype) for i in graph.inputs if i.name.startswith("state.")}
    assert state, "the file keeps state"
    found = []
    for frame in samples.reshape(300, 1, 512):
        outputs = session.run({"x": frame, **state})
        found.append(outputs["output"].item())
        state = {name: outputs[f"{name}.next"] for name in state}
    expected = np.load(folder / "reference/torchscript_300frames.npz")["prob"].reshape(-1)
    assert np.abs(np.array(found) - expected).max() < TOLERANCE
    assert sum(p > 0.5 for p in found) == 189


def _sorts(graph: magicmind.Graph, idx: Array, logits: Array) -> None:
    """GPT-nano gives the published logits, and sorts."""
    session = magicmind.build(graph).session(threads=1)
    name = graph.inputs[0].name
    (found,) = session.run({name: idx}).values()
    assert relative(found, logits) < TOLERANCE
    tokens = np.random.default_rng(3).integers(0, 3, (20, 6))
    full = np.concatenate([tokens, np.zeros((20, 5), np.int64)], 1)
    for at in range(5, 11):
        (found,) = session.run({name: full}).values()
        if at < 10:
            full[:, at + 1] = found[:, at].argmax(-1)
    written = np.concatenate([full[:, 6:], found[:, 10].argmax(-1)[:, None]], 1)
    assert (written == np.sort(tokens, 1)).all()


def test_gpt_nano_as_a_torchscript_file(data: Path) -> None:
    folder = data / "transformer/gpt_nano_sort"
    case = np.load(folder / "reference/published_partials.npz")
    idx = np.atleast_2d(case["idx"]).astype(np.int64)
    logits = case["logits"].reshape(*idx.shape, -1)
    graph = magicmind.parse(folder / "gpt_nano_sort.torchscript.pt", input_shapes=[("1..32", 11)])
    _sorts(graph, idx, logits)
    graph = magicmind.parse(folder / "gpt_nano_sort.torchscript.pt", input_shapes=[("1..32", "1..11")])
    _sorts(graph, idx, logits)
    session = magicmind.build(graph).session(threads=1)
    (short,) = session.run({graph.inputs[0].name: idx[:, :4]}).values()
    assert relative(short, logits[:, :4]) < TOLERANCE  # attention looks back only


def test_gpt_nano_exported_again(data: Path, tmp_path: Path) -> None:
    """The third way: the loaded file as an object, traced for a fixed shape and saved."""
    folder = data / "transformer/gpt_nano_sort"
    case = np.load(folder / "reference/published_partials.npz")
    idx = np.atleast_2d(case["idx"]).astype(np.int64)
    program = torch.jit.load(str(folder / "gpt_nano_sort.torchscript.pt"))
    graph = magicmind.parse(program, input_shapes=[tuple(idx.shape)])
    session = magicmind.build(graph).session(threads=1)
    (found,) = session.run({graph.inputs[0].name: idx}).values()
    assert relative(found, case["logits"].reshape(found.shape)) < TOLERANCE
