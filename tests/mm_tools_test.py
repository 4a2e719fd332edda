"""The command-line tools end to end: what one builds another runs, on real networks, as their users start them."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from magicmind.mmtools.build_flags import flags_of
from magicmind.mmtools.mm_run import FLAGS

ROOT = Path(__file__).parents[1]
TOOLS = ("mm_build", "caffe_build", "onnx_build", "pytorch_build", "tensorflow_build", "mm_run")
Array = np.ndarray[Any, np.dtype[Any]]


def scripts() -> dict[str, str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: dict[str, str] = tomllib.load(file)["project"]["scripts"]
    return found


def started(tool: str, *words: object) -> str:
    """What a tool prints, started as its entry point does."""
    module, _, name = scripts()[tool].partition(":")
    code = f"import sys; from {module} import {name}; sys.exit({name}())"
    ended = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def outputs(model: Path, folder: Path, inputs: list[Array], dtypes: list[str]) -> list[Array]:
    """What `mm_run` writes for these inputs."""
    files = [folder / f"input{i}.bin" for i in range(len(inputs))]
    for file, array in zip(files, inputs, strict=True):
        np.ascontiguousarray(array).tofile(file)
    dims = [",".join(map(str, array.shape)) for array in inputs]
    printed = started(
        "mm_run", "--magicmind_model", model, "--input_dims", *dims, "--input_files", *files, "--output_path",
        folder / "out", "--warmup", 0, "--duration", 0, "--iterations", 1, "--json",
    )  # fmt: skip
    assert json.loads(printed)["iterations"] == 1
    return [np.fromfile(folder / f"out/output{i}", dtype) for i, dtype in enumerate(dtypes)]


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_is_an_entry_point(tool: str) -> None:
    module, _, name = scripts()[tool].partition(":")
    assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize("page", ["mm-tools.md", "mm-tools.zh-CN.md"])
def test_the_guide_has_every_flag(page: str) -> None:
    _, build, run, *_ = (ROOT / "docs/guide" / page).read_text().split("\n## ")
    for text, flags in ((build, flags_of(None)), (run, FLAGS)):
        assert not [flag.name for flag in flags if f"`--{flag.name}`" not in text]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["force_float32", "qint8_mixed_float16"])
def test_a_caffe_classifier(mode: str, data: Path, tmp_path: Path) -> None:
    folder = data / "classification/squeezenet_v1_0"
    references = [np.load(file) for file in sorted((folder / "reference").glob("*.npz"))]
    words: list[object] = []
    if mode != "force_float32":
        lines = []
        for i, reference in enumerate(references):
            image = ((reference["input_u8"] - reference["mean"]) * reference["scale"]).transpose(2, 0, 1)
            np.ascontiguousarray(image, np.float32).tofile(tmp_path / f"{i}.bin")
            lines.append(f"{i}.bin shape[1,3,227,227]\n")
        (tmp_path / "list").write_text("".join(lines))
        words = ["--calibration", 1, "--calibration_data_path", tmp_path, "--file_list", tmp_path / "list"]
    printed = started(
        "caffe_build", "--prototxt", folder / "deploy.prototxt", "--caffemodel", folder / "squeezenet_v1_0.caffemodel",
        "--batch_size", 5, "--input_layout", "NHWC", "--means", "104,117,123", "--vars", "1,1,1", "--rgb2bgr", "true",
        "--precision", mode, "--dynamic_shape", "false", "--magicmind_model", tmp_path / "model", *words,
    )  # fmt: skip
    assert "model input[0] shape is : [5, 227, 227, 3]\nmodel input[0] dtype is : UINT8\n" in printed
    pixels = np.stack([reference["input_u8"][..., ::-1] for reference in references])  # RGB
    (found,) = outputs(tmp_path / "model", tmp_path, [pixels], ["float32"])
    expected = np.concatenate([reference["pool_final"] for reference in references]).reshape(5, 1000)
    if mode == "force_float32":
        np.testing.assert_allclose(found.reshape(5, 1000), expected, atol=1e-3)
    same = found.reshape(5, 1000).argmax(1) == expected.argmax(1)
    assert same.sum() >= (5 if mode == "force_float32" else 3)


@pytest.mark.slow
def test_a_tensorflow_graph(data: Path, tmp_path: Path) -> None:
    folder = data / "segmentation/deeplab_dm05_tf"
    with np.load(folder / "reference/obama.npz") as reference:
        image, labels = reference["ImageTensor"], reference["SemanticPredictions"]
    (tmp_path / "c.json").write_text('{"opt_config": {"type64to32_conversion": true}}')
    printed = started(
        "tensorflow_build", "--tf_pb", folder / "frozen_inference_graph.pb", "--input_names", "ImageTensor:0",
        "--output_names", "SemanticPredictions:0", "--input_dims", ",".join(map(str, image.shape)), "--dynamic_shape",
        0, "--build_config", tmp_path / "c.json", "--magicmind_model", tmp_path / "model",
    )  # fmt: skip
    assert "model output[0] dtype is : INT32\n" in printed
    (found,) = outputs(tmp_path / "model", tmp_path, [image], ["int32"])
    assert (found.reshape(labels.shape) == labels).mean() > 0.999


@pytest.mark.slow
def test_an_onnx_detector(data: Path, tmp_path: Path) -> None:
    folder = data / "detection/rfb320_face"
    started(
        "onnx_build", "--onnx", folder / "version-RFB-320.onnx", "--input_layout", "NHWC", "--means", "127,127,127",
        "--vars", "16384,16384,16384", "--magicmind_model", tmp_path / "model",
    )  # fmt: skip
    with np.load(sorted((folder / "reference").glob("*.npz"))[0]) as reference:
        pixels, wanted = reference["input_u8"], [reference[f"rfb_onnx_{name}"] for name in ("scores", "boxes")]
    found = outputs(tmp_path / "model", tmp_path, [pixels.reshape(1, 240, 320, 3)], ["float32"] * 2)
    for array, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(array.reshape(expected.shape), expected, atol=1e-4)
