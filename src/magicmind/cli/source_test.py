"""The command line's way of naming a network and its ends."""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx
import pytest

from magicmind.cli import main
from magicmind.cli.source import add_source, source_options


def options_of(*words: str) -> dict[str, object]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_source(parser)
    return source_options(parser.parse_args(list(words)))


def test_nothing_given_is_nothing_passed_on() -> None:
    assert options_of("net.onnx") == {}


def test_everything_given() -> None:
    assert options_of(
        "net.pt", "--constant", "sr=16000", "--constant", "mode=fast", "--layout", "x=NHWC", "--dtype", "x=uint8",
        "--input-name", "x=image", "--output-name", "y=score", "--outputs", "a, b:0",
    ) == {
        "constants": {"sr": 16000, "mode": "fast"},
        "input_layouts": {"x": "NHWC"},
        "input_dtypes": {"x": "uint8"},
        "input_names": {"x": "image"},
        "output_names": {"y": "score"},
        "outputs": ["a", "b:0"],
    }  # fmt: skip


@pytest.mark.parametrize("word", ["sr", "=3", "sr="])
def test_malformed_pairs(word: str) -> None:
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        options_of("net.pt", "--constant", word)


def test_parse_writes_the_graph_with_the_wanted_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> net (float[1, 3, 4, 5] x) => (float[1, 3, 4, 5] y) { y = Relu(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "net.onnx")
    written = tmp_path / "out.onnx"
    main(["parse", str(tmp_path / "net.onnx"), "-o", str(written), "--layout", "x=NHWC", "--shape", "x=1..8,4,5,3"])
    assert "x" in capsys.readouterr().out
    (value,) = onnx.load(written).graph.input
    dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
    assert dims[1:] == [4, 5, 3]
