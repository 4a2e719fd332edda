"""`magicmind compare --reference source`: networks against the framework they were made with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import magicmind
from magicmind.cli import main
from magicmind.compare import Side, compare
from magicmind.errors import Error

DIGITS = Path(magicmind.__file__).parent / "data"


def digits_agree(file: str, options: dict[str, object], shape: tuple[int, ...]) -> list[str]:
    """Compares the demo's network with its framework; the names of the tensors compared."""
    options = {**options, "input_shapes": [shape]}
    feeds = {"image": np.random.default_rng(0).random(shape, np.float32)}
    path = DIGITS / file
    found = compare(Side.open(path, options=options), Side.open(path, "source", options), feeds, 1e-4)
    assert found.agree and found.first is None
    return [row.tensor for row in found.rows]


def test_caffe_against_opencv() -> None:
    pytest.importorskip("cv2", reason="OpenCV 4 is not installed")
    tensors = digits_agree("digits.caffemodel", {"prototxt": DIGITS / "digits.prototxt"}, (2, 1, 8, 8))
    assert {"digits.0.conv", "digits.6.maxpool2", "digits.7.residual.add", "probabilities"} <= set(tensors)


@pytest.mark.slow
def test_frozen_graphs_against_tensorflow() -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    tensors = digits_agree("digits.pb", {}, (2, 8, 8, 1))
    named = {"digits.3.conv@channels_first", "digits.7.residual.add@channels_first", "probabilities"}
    assert named <= set(tensors)


def test_the_first_layer_that_differs_is_named(tmp_path: Path) -> None:
    """A caffemodel whose second convolution is off by one weight, against the right one."""
    pytest.importorskip("cv2", reason="OpenCV 4 is not installed")
    data = (DIGITS / "digits.caffemodel").read_bytes()
    wrong = tmp_path / "digits.caffemodel"
    at = data.index(b"digits.3.conv") + 400  # inside its weights
    wrong.write_bytes(data[:at] + np.float32(3).tobytes() + data[at + 4 :])
    shutil.copy(DIGITS / "digits.prototxt", tmp_path)
    options = {"prototxt": tmp_path / "digits.prototxt", "input_shapes": [(1, 1, 8, 8)]}
    right = {**options, "caffemodel": DIGITS / "digits.caffemodel"}
    feeds = {"image": np.random.default_rng(0).random((1, 1, 8, 8), np.float32)}
    found = compare(Side.open(wrong, options=options), Side.open(right["prototxt"], "source", right), feeds, 1e-4)
    assert found.first is not None and found.first.tensor == "digits.3.conv"


def test_torchscript_against_torch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Flatten())
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.script(net.eval()), path)
    main(["compare", str(path), "--shape", "input=2,3,6,5", "--reference", "source", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["agree"]
    assert [row["tensor"] for row in found["tensors"]][:2] == ["0", "1"]


def test_exported_programs_against_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 2)).eval()
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(net, (torch.zeros(3, 4),)), path)
    side = Side.open(path)
    assert side.proto is not None
    feeds = {side.proto.graph.input[0].name: np.random.default_rng(0).random((3, 4), np.float32)}
    found = compare(side, Side.open(path, "source"), feeds, 1e-5)
    assert found.agree and len(found.rows) >= 3


def test_a_file_without_a_framework_says_so(tmp_path: Path) -> None:
    with pytest.raises(Error, match="no framework of its own"):
        from magicmind.frameworks import evaluate

        evaluate(tmp_path / "net.onnx", {}, {})
