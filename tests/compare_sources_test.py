"""`magicmind compare --reference source`: networks against the framework they were made with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from magicmind.cli import main
from magicmind.compare import Side, compare
from magicmind.errors import Error


def test_caffe_against_opencv(data: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV 4 is not installed")
    folder = data / "classification" / "lenet_mnist_caffe"
    (weights,) = folder.glob("*.caffemodel")
    options = {"prototxt": folder / "lenet.prototxt", "input_shapes": [(2, 1, 28, 28)]}
    feeds = {"data": np.random.default_rng(0).random((2, 1, 28, 28), np.float32)}
    found = compare(Side.open(weights, options=options), Side.open(weights, "source", options), feeds, 1e-4)
    assert found.agree
    assert [row.tensor for row in found.rows] == ["conv1", "pool1", "conv2", "pool2", "ip1", "ip2", "prob"]


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
