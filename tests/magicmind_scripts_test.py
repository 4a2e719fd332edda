"""Programs in the style of MagicMind's users (`magicmind_scripts/`), run end to end on real networks, unmodified."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import run_model

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parent / "magicmind_scripts"
Array = np.ndarray[Any, np.dtype[Any]]


def script(name: str, **flags: Any) -> str:
    """Runs a program; what it prints."""
    words = [
        w
        for flag, value in flags.items()
        for w in (f"--{flag}", *map(str, value if isinstance(value, list) else [value]))
    ]
    command = [sys.executable, "-m", "magicmind.legacy", str(SCRIPTS / f"{name}.py"), *words]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def load(path: Path) -> mm.Model:
    model = mm.Model()
    assert model.deserialize_from_file(path).ok()
    return model


@pytest.mark.parametrize("mode", ["force_float32", "qint8_mixed_float16"])
def test_a_caffe_classifier(mode: str, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    folder, images = data / "classification/squeezenet_v1_0", data / "classification/imagenet_samples"
    files = sorted((images / "images").iterdir())[:16]
    (tmp_path / "files").write_text("".join(f"{f} 0\n" for f in files))
    printed = script(
        "caffe_classifier", caffe_model=folder / "squeezenet_v1_0.caffemodel", prototxt=folder / "deploy.prototxt",
        output_model=tmp_path / "model", file_list=tmp_path / "files", quant_mode=mode, batch_size=2,
    )  # fmt: skip
    assert "UINT8" in printed
    model = load(tmp_path / "model")
    assert model.get_input_names() == ["data"] and model.get_output_names() == ["pool_final"]
    assert model.get_input_dimensions()[0].GetDims() == [-1, 227, 227, 3]
    references = [np.load(f) for f in sorted((folder / "reference").glob("*.npz"))]
    logits = run_model(model, np.stack([r["input_u8"] for r in references]).astype(np.float64))[0]
    expected = np.concatenate([r["pool_final"] for r in references])
    assert logits.shape == expected.shape == (5, 1000, 1, 1)
    if mode == "force_float32":
        np.testing.assert_allclose(logits, expected, atol=1e-3)
    same = logits.reshape(5, -1).argmax(1) == expected.reshape(5, -1).argmax(1)
    assert same.sum() >= (5 if mode == "force_float32" else 3)


@pytest.mark.parametrize("mode", ["force_float32", "qint8_mixed_float32"])
def test_an_onnx_detector_in_common_style(mode: str, data: Path, tmp_path: Path) -> None:
    folder = data / "detection/rfb320_face"
    printed = script(
        "onnx_common", onnx=folder / "version-RFB-320.onnx", batch_size=1, precision=mode, means=[127.0] * 3,
        vars=[16384.0] * 3, input_layout="NHWC", dim_range_min=[1, 3, 240, 320], dim_range_max=[8, 3, 240, 320],
        weight_quant_granularity="per_axis", magicmind_model=tmp_path / "m", samples=folder / "reference",
        results=tmp_path / "r.npz",
    )  # fmt: skip
    assert "model input[0]: input [-1, 240, 320, 3] UINT8" in printed
    found = np.load(tmp_path / "r.npz")
    for number, file in enumerate(sorted((folder / "reference").glob("*.npz"))):
        for i, name in enumerate(("scores", "boxes")):
            close = 1e-4 if mode == "force_float32" else 0.3
            np.testing.assert_allclose(found[f"{number}.{i}"], np.load(file)[f"rfb_onnx_{name}"], atol=close)


@pytest.mark.parametrize("mode", ["force_float32", "qint8_mixed_float16"])
def test_a_tensorflow_graph(mode: str, data: Path, tmp_path: Path) -> None:
    folder = data / "segmentation/deeplab_dm05_tf"
    sample = folder / "reference/obama.npz"
    script(
        "tensorflow_segmentation", tf_model=folder / "frozen_inference_graph.pb", sample=sample,
        output_model_path=tmp_path / "model", quant_mode=mode,
    )  # fmt: skip
    model, reference = load(tmp_path / "model"), np.load(sample)
    assert model.get_input_names() == ["ImageTensor:0"] and model.get_output_names() == ["SemanticPredictions:0"]
    assert model.get_input_data_types() == [mm.DataType.UINT8] and model.get_output_data_types() == [mm.DataType.INT32]
    labels = run_model(model, reference["ImageTensor"])[0]
    agreement = (labels == reference["SemanticPredictions"]).mean()
    assert agreement > (0.999 if mode == "force_float32" else 0.97)


@pytest.mark.parametrize("mode", ["force_float32", "qint8_mixed_float16"])
def test_a_torchscript_network_with_raised_layers(mode: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    ).eval()  # fmt: skip
    torch.jit.trace(net, torch.zeros(2, 3, 64, 64)).save(str(tmp_path / "net.pt"))
    printed = script(
        "pytorch_builder", pt_model=tmp_path / "net.pt", mm_model=tmp_path / "model", precision=mode, batch_size=2
    )
    assert "UINT8" in printed and ("raised: 3" in printed) == (mode != "force_float32")
    model = load(tmp_path / "model")
    assert model.get_input_names() == ["main/arg-0"] and model.get_output_names() == ["main/mm.matmul:0"]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3))
    mean, variance = np.array([103.53, 116.28, 123.675]), np.array([3291.89, 3262.69, 3409.98])
    x = ((pixels - mean) / np.sqrt(variance)).transpose(0, 3, 1, 2).astype(np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(x)).numpy()
    close = 1e-4 if mode == "force_float32" else 2e-3  # float16, no integers: all that counts was raised
    np.testing.assert_allclose(run_model(model, pixels.astype(np.float64))[0], expected, atol=close)


def test_a_detector_that_ends_in_the_api(data: Path, tmp_path: Path) -> None:
    folder = data / "detection/yolov3_nano_voc_caffe"
    stem = folder / "MobileNetV2-YOLOv3-Nano-voc"
    script(
        "yolo_detector", caffe_model=f"{stem}.caffemodel", prototxt=f"{stem}.prototxt", output_model=tmp_path / "model"
    )
    model = load(tmp_path / "model")
    assert model.get_output_names() == ["main/mm.detection_output:0", "main/mm.detection_output:1"]
    assert model.get_output_data_types() == [mm.DataType.FLOAT32, mm.DataType.INT32]
    for file in sorted((folder / "reference").glob("*.npz")):
        reference = np.load(file)
        table, counts = run_model(model, reference["input_u8"][None])
        assert table.shape == (1, 256, 7) and counts.shape == (1,)
        rows = table[0, : counts[0]]
        wanted = reference["detections"]
        wanted = wanted[wanted[:, 4] > 0.3]
        assert len(rows) == len(wanted)
        scale = _scale(rows, wanted)
        for box in wanted:
            near = np.abs(rows[:, 3:] * scale - box[:4]).max(1) + 1000 * (rows[:, 1] != box[5])
            assert near.min() < 1.0 and abs(rows[near.argmin(), 2] - box[4]) < 1e-3


def _scale(rows: Array, wanted: Array) -> Array:
    """Width and height of the photograph, in whose pixels the reference is: rows are from 0 to 1."""
    best_row, best_box = rows[rows[:, 2].argmax()], wanted[wanted[:, 4].argmax()]
    ratio = best_box[2:4] / best_row[5:7]
    return np.concatenate([ratio, ratio])


def test_several_inputs(data: Path, tmp_path: Path) -> None:
    folder = data / "audio/silero_vad"
    script(
        "several_inputs", onnx=folder / "silero_vad_16k_op15.onnx", mm_model=tmp_path / "m",
        audio=folder / "speech_9p6s.wav", results=tmp_path / "r.npy",
    )  # fmt: skip
    expected = np.load(folder / "reference/onnx_300frames.npz")["prob"].reshape(-1)[:40]
    np.testing.assert_allclose(np.load(tmp_path / "r.npy"), expected, atol=1e-4)
