"""PyTorch's networks, traced and exported, run by our engine against PyTorch itself; real files against references."""

from __future__ import annotations

import subprocess
import sys
import warnings
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'pytorch' is not installed")

from pytorch_networks import FROM_TIMM, SMALL, Architecture, from_timm  # noqa: E402
from pytorch_published import FaceDetector, FastestDet, GptNano, SINet  # noqa: E402

import magicmind  # noqa: E402
from magicmind.frontends.pytorch.script_source import named_leaves  # noqa: E402

Array = np.ndarray[Any, Any]

TOLERANCE = 1e-4  # of the largest element
QUICK = ("BERT", "YOLO head")
LONG = (  # half a minute of compiling each and more, for operators that the others have too
    "resnet50",
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "mobilenetv3_large_100",
    "tf_efficientnetv2_b0",
    "densenet121",
    "regnety_004",
    "vgg11",
    "inception_v3",
    "volo_d1_224",
    "volo_d2_224",
    "dla34",
    "convnext_atto",
    "mixer_s32_224",
    "deit_tiny_distilled_patch16_224",
    "xcit_nano_12_p16_224",
    "hrnet_w18_small",
    "ghostnet_050",
    "efficientnet_b0",
    "mobilevit_xxs",
    "swin_tiny_patch4_window7_224",
    "resnet18",
)


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


def check(architecture: Architecture) -> None:
    """Both ways: kernels that one has compiled serve the other."""
    module = architecture.module()
    for way in ("traced", "exported"):
        graph = graph_of(architecture, way, module)
        session = magicmind.build(graph).session(threads=2)
        for batch in (2, 1, 3) if architecture.mutable else (2,):
            x = architecture.example(batch)
            with torch.no_grad():
                expected = named_leaves(module(x))
            found = session.run({graph.inputs[0].name: x.numpy()})
            assert list(found) == list(expected)
            for name, y in expected.items():
                assert relative(found[name], y.numpy()) <= TOLERANCE, (way, name, batch)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [a for a in SMALL if a.name in QUICK], ids=lambda a: a.name)
def test_small_networks(architecture: Architecture) -> None:
    check(architecture)


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture",
    [
        pytest.param(a, marks=[pytest.mark.suite] if a.name in LONG else [], id=a.name)
        for a in [*SMALL, *FROM_TIMM]
        if a.name not in QUICK
    ],
)
def test_networks(architecture: Architecture) -> None:
    check(architecture)


# --------------------------------------------------------------------------------------------------------- real files


@pytest.mark.slow
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


@pytest.mark.slow
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


# ----------------------------------------------------------------------------------------- weights in modules of ours


def loaded(module: Any, path: Path) -> Any:
    """The module with a file's weights, each of which it has a place for."""
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    return module.eval().requires_grad_(False)


def outputs_of(module: Any, x: Array, way: str) -> list[Array]:
    """What our engine makes of a module, in order."""
    example = torch.from_numpy(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = module if way == "traced" else torch.export.export(module, (example,))
        options = {"input_shapes": [x.shape], "example_inputs": (example,)} if way == "traced" else {}
        graph = magicmind.parse(source, **options)
    session = magicmind.build(graph).session(threads=2)
    return list(session.run({graph.inputs[0].name: x}).values())


def pixels(case: Any, name: str = "input_u8") -> Array:
    """A reference file's picture as [1, 3, H, W]."""
    scaled = (case[name].astype(np.float32) - case["mean"]) * case["scale"]
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["traced", "exported"])
@pytest.mark.parametrize("name", ["RFB", "slim"])
def test_face_detectors(data: Path, name: str, way: str) -> None:
    folder = data / "detection/rfb320_face"
    case = np.load(folder / "reference/1.npz")
    module = loaded(FaceDetector(name == "RFB"), folder / f"version-{name}-320.pth")
    scores, boxes = outputs_of(module, (case["input_u8"].astype(np.float32).transpose(2, 0, 1)[None] - 127) / 128, way)
    prefix = f"{name.lower()}_onnx"
    assert relative(scores, case[f"{prefix}_scores"].reshape(scores.shape)) < TOLERANCE
    assert relative(boxes, case[f"{prefix}_boxes"].reshape(boxes.shape)) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("way", ["traced", "exported"])
def test_fastestdet(data: Path, way: str) -> None:
    folder = data / "detection/fastestdet_coco"
    case = np.load(folder / "reference/onnx_fd_0.npz")
    module = loaded(FastestDet(), folder / "weight_AP05_0.253207_280-epoch.pth")
    (found,) = outputs_of(module, pixels(case), way)
    assert relative(found, case["out_758"].reshape(found.shape)) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("way", ["traced", "exported"])
def test_sinet(data: Path, way: str) -> None:
    folder = data / "segmentation/sinet_portrait"
    case = np.load(folder / "reference/obama.npz")
    mean, std = np.float32([102.890434, 111.25247, 126.91212]), np.float32([62.93292, 62.82138, 66.355705])
    x = np.ascontiguousarray(((case["input_u8_bgr"] - mean) / std / 255).transpose(2, 0, 1)[None], np.float32)
    (found,) = outputs_of(loaded(SINet(), folder / "model_296.pth"), x, way)
    assert relative(found, case["logits"].reshape(found.shape)) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("way", ["traced", "exported"])
def test_gpt_nano_weights(data: Path, way: str) -> None:
    folder = data / "transformer/gpt_nano_sort"
    case = np.load(folder / "reference/published_partials.npz")
    idx = np.atleast_2d(case["idx"]).astype(np.int64)
    (found,) = outputs_of(loaded(GptNano(), folder / "gpt_nano_sort.pth"), idx, way)
    assert relative(found, case["logits"].reshape(found.shape)) < TOLERANCE


# ------------------------------------------------------------------------------------------------------ time and memory

_MEASURE = """
import sys
from pathlib import Path
import torch, torch.export
import magicmind, magicmind.frontends.pytorch

def memory(name):
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(name))

torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), sys.argv[2])
torch.export.load(sys.argv[2])  # what the loader imports counts as importing PyTorch
Path("/proc/self/clear_refs").write_text("5")
before = memory("VmRSS")
shapes = {} if sys.argv[1].endswith("2") else {"input_shapes": [(1, 3, 224, 224)]}
magicmind.parse(sys.argv[1], **shapes)
print(memory("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["pt", pytest.param("pt2", marks=pytest.mark.suite)])
def test_parsing_resnet50_takes_little_memory(tmp_path: Path, suffix: str) -> None:
    """At most 3 times the weights, beyond importing PyTorch."""
    module, x, file = from_timm("resnet50")().eval(), torch.zeros(1, 3, 224, 224), tmp_path / f"net.{suffix}"
    if suffix == "pt":
        torch.jit.save(torch.jit.trace(module, x, check_trace=False), file)
    else:
        torch.export.save(torch.export.export(module, (x,)), file)
    command = [sys.executable, "-W", "ignore", "-c", _MEASURE, str(file), str(tmp_path / "small.pt2")]
    memory = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    weights = sum(p.numel() * 4 for p in module.parameters())
    assert int(memory) <= 3 * weights
