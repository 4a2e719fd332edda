"""`magicmind compare`: a wrong weight is found where it is, and cut out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from netbuilder import Net

import magicmind
from magicmind.cli import main
from magicmind.compare import Side, compare, diverging_subgraph
from magicmind.errors import Error


def network(path: Path) -> onnx.ModelProto:
    """Three blocks and a classifier; the second convolution is named `middle`."""
    n = Net()
    x = n.block(n.input("x", (1, 3, 12, 12)), 3, 8)
    x = n.op("Relu", n.op("Conv", x, n.floats(8, 8, 3, 3, low=-0.2, high=0.2), name="middle", pads=[1, 1, 1, 1]))
    x = n.op("Softmax", n.op("Gemm", n.op("Flatten", n.op("GlobalAveragePool", x)), n.floats(8, 4)))
    model = n.model(x)
    onnx.save(model, path)
    return model


def spoil(model: onnx.ModelProto, path: Path) -> None:
    """Saves the model with one weight of `middle` wrong."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    (middle,) = (node for node in copy.graph.node if node.name == "middle")
    (weight,) = (t for t in copy.graph.initializer if t.name == middle.input[1])
    array = onnx.numpy_helper.to_array(weight).copy()
    array[3, 2, 1, 1] += 2
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    onnx.save(copy, path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    spoil(network(tmp_path / "right.onnx"), tmp_path / "wrong.onnx")
    return tmp_path


def feeds() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal((1, 3, 12, 12)).astype(np.float32)}


@pytest.mark.parametrize("engine", ["onnxruntime", "onnx"])
def test_a_model_agrees_with_its_source(folder: Path, engine: str) -> None:
    path = folder / "right.onnx"
    found = compare(Side.open(path), Side.open(path, engine), feeds())
    assert found.agree and found.first is None
    assert [row.op for row in found.rows] == [
        "Conv", "BatchNormalization", "Relu", "Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm", "Softmax",
    ]  # fmt: skip
    assert all(row.relative_l2 < 1e-5 and row.cosine > 0.999999 for row in (*found.rows, *found.outputs))


def test_a_wrong_weight_is_found_and_cut_out(folder: Path) -> None:
    a, b = Side.open(folder / "wrong.onnx"), Side.open(folder / "right.onnx")
    found = compare(a, b, feeds())
    assert not found.agree and found.first is not None
    assert found.first.node == "middle" and found.first.relative_l2 > 0.01
    assert found.worst is not None and found.worst.relative_l2 >= found.first.relative_l2
    wrong, right, inputs = diverging_subgraph(a, b, feeds(), found.first)
    assert [node.name for node in wrong.graph.node] == [node.name for node in right.graph.node] == ["middle"]
    onnx.checker.check_model(wrong)
    results = [magicmind.build(magicmind.parse(m)).session().run(inputs)[found.first.tensor] for m in (wrong, right)]
    assert np.abs(results[0] - results[1]).max() > 0.1


def test_offline_models_show_their_outputs(folder: Path) -> None:
    magicmind.build(magicmind.parse(folder / "wrong.onnx")).save(folder / "wrong.mm")
    a = Side.open(folder / "wrong.mm")
    found = compare(a, Side.open(folder / "right.onnx", "onnxruntime"), feeds())
    assert len(found.rows) == 1 and found.first == found.rows[0]
    with pytest.raises(Error, match="no graph to cut"):
        diverging_subgraph(a, Side.open(folder / "right.onnx"), feeds(), found.rows[0])


@pytest.mark.slow
def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right, wrong, cut = (str(folder / name) for name in ("right.onnx", "wrong.onnx", "cut.onnx"))
    assert main(["compare", right]) == 0
    assert "no tensor differs" in capsys.readouterr().out
    assert main(["compare", wrong, right, "--save-subgraph", cut, "--plot", str(folder / "errors.png")]) == 1
    out, err = capsys.readouterr()
    assert "first to differ: conv_" in out and "by middle (Conv)" in out and "differs <- first" in out
    assert "look at middle (Conv)" in err
    assert [node.name for node in onnx.load(cut).graph.node] == ["middle"]
    assert set(np.load(folder / "cut.npz")) == {onnx.load(cut).graph.input[0].name}
    assert (folder / "cut.b.onnx").exists() and (folder / "errors.png").stat().st_size > 1000
    assert main(["compare", wrong, right, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["first"]["node"] == "middle" and not found["agree"] and len(found["tensors"]) == 9


def test_what_cannot_be_compared(folder: Path) -> None:
    with pytest.raises(Error, match="cannot run it"):
        Side.open(folder / "net.mm", "onnx")
    with pytest.raises(Error, match="there is no engine 'fast'"):
        Side.open(folder / "right.onnx", "fast")


def test_the_guide_lists_every_setting() -> None:
    from magicmind.knobs import KNOBS

    guide = (Path(__file__).parents[1] / "docs" / "guide" / "debugging.md").read_text()
    for knob in KNOBS:
        assert f"| `{knob.name}` | {knob.default or '(not set)'} | {knob.meaning} |" in guide


def test_what_a_precision_costs_layer_by_layer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """int8 against float32: SQNR of every tensor that quantisation sees, and what its integers do not reach."""
    samples = np.random.default_rng(1).standard_normal((16, 3, 12, 12)).astype(np.float32)
    np.savez(folder / "samples.npz", x=samples)
    command = ["compare", str(folder / "right.onnx"), "--precision", "qint8_mixed_float32", "--json"]
    assert main([*command, "--calibration", str(folder / "samples.npz")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agree"] and found["first"] is None
    rows = {row["op"]: row for row in found["tensors"]}
    assert "BatchNormalization" not in rows, "it is folded before anything is quantised"
    assert rows["Softmax"]["sqnr"] > 20 and rows["Relu"]["saturated"] is not None
    assert all(0 <= row["saturated"] < 0.05 for row in found["tensors"] if row["saturated"] is not None)


@pytest.mark.slow
def test_scales_that_are_too_small_are_seen_as_saturation(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scales = magicmind.calibrate(magicmind.parse(folder / "right.onnx"), [feeds()])
    scales.save(folder / "scales.json")
    document = json.loads((folder / "scales.json").read_text())
    name, entry = next((n, e) for n, e in document["tensors"].items() if n != "x")
    entry["scale"] /= 20
    (folder / "scales.json").write_text(json.dumps(document))
    command = ["compare", str(folder / "right.onnx"), "--precision", "qint8_mixed_float32", "--json"]
    assert main([*command, "--scales", str(folder / "scales.json")]) == 1
    rows = json.loads(capsys.readouterr().out)["tensors"]
    assert max(rows, key=lambda row: row["saturated"] or 0)["tensor"] == name


@pytest.mark.parametrize("name", ["p.xyz", "none/p.png"])
def test_a_plot_that_cannot_be_written(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(folder / "right.onnx")
    assert main(["compare", file, "--precision", "force_float16", "--plot", str(folder / name)]) == 1
    assert "cannot be written" in capsys.readouterr().err
