"""`magicmind calibrate` and `magicmind build` with precision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from netbuilder import Net
from PIL import Image

import magicmind
from magicmind.cli import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    net = Net()
    y = net.block(net.input("x", [1, 3, 8, 8]), 3, 8)
    onnx.save(net.model(net.op("Conv", y, net.floats(4, 8, 1, 1), name="last")), tmp_path / "net.onnx")
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / f"images/{i}.png")
    return tmp_path


def test_calibrate_edit_build(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, scales = str(folder / "net.onnx"), folder / "net.scales.json"
    data = ["--calibration", str(folder / "images"), "--preprocess", "mean=127 std=64 order=bgr", "--samples", "2"]
    assert main(["calibrate", network, *data, "--algorithm", "linear", "--export", str(folder / "qdq.onnx")]) == 0
    assert "from 2 samples" in capsys.readouterr().out
    assert {n.op_type for n in onnx.load(folder / "qdq.onnx").graph.node} >= {"QuantizeLinear", "DequantizeLinear"}
    document = json.loads(scales.read_text())
    document["tensors"]["x"] = [-3, 3]
    scales.write_text(json.dumps(document))
    arguments = ["--precision", "qint8_mixed_float32", "--scales-in", str(scales), "--layer", "last=force_float32"]
    assert main(["build", network, "-o", str(folder / "net.mm"), *arguments]) == 0
    assert "qint8_mixed_float32" in (printed := capsys.readouterr().out) and "scales from 2 samples" in printed
    assert main(["info", str(folder / "net.mm"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["calibration"]["samples"] == 2
    with magicmind.load(folder / "net.mm") as model:
        assert np.isfinite(model.session().run({"x": np.ones((1, 3, 8, 8), np.float32)})[model.outputs[0].name]).all()


def test_build_calibrates_and_says_what_random_data_is_worth(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--precision", "qint8_mixed_float32", "--calibration", "random:2"]
    out = ["-o", str(folder / "net.mm"), "--scales-out", str(folder / "scales.json")]
    assert main(["build", str(folder / "net.onnx"), *arguments, *out]) == 0
    assert "not accurate" in capsys.readouterr().out
    assert json.loads((folder / "scales.json").read_text())["provenance"]["random"] is True


def test_build_reports_what_an_accuracy_target_costs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--precision", "qint8_mixed_float32", "--calibration", "random:2", "--accuracy-target", "sqnr=500"]
    assert main(["build", str(folder / "net.onnx"), "-o", str(folder / "net.mm"), *arguments]) == 0
    assert "sqnr exact, 500 asked: 2 layers in float, 100.0% of the arithmetic" in capsys.readouterr().out


WRONG = [
    (["--accuracy-target", "top1=3"], "'top1'"),
    (["--precision", "qint8_mixed_float32"], "needs to know the range of every tensor"),
    (["--precision", "int8"], "'int8' is not supported"),
    (
        ["--precision", "qint8_mixed_float32", "--calibration", "random:1", "--layer", "lst=force_float32"],
        "close: last",
    ),
    (["--calibration", "random:1", "--samples", "3"], "are for a folder of images"),
    (["--scales-out", "s.json"], "give --calibration"),
    (["--precision", "qint8_mixed_float32", "--calibration", "random:1", "--algorithm", "best"], "'best'"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[message for _, message in WRONG])
def test_errors(arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(folder / "net.onnx"), "-o", str(folder / "net.mm"), *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (folder / "net.mm").exists()
