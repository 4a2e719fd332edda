"""What the READMEs promise: their Python runs, both languages say the same, their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[1]
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")


def blocks(readme: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", readme.read_text(), flags=re.DOTALL)


def code_only(block: str) -> list[str]:
    return [line.partition("#")[0].rstrip() for line in block.splitlines()]


def write_small_model(path: Path) -> None:
    """x float32 [N, 3, 224, 224] -> convolution with stride 16, global average: small, with the README's shapes."""
    weight = numpy_helper.from_array(np.full((4, 3, 16, 16), 0.01, np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[16, 16]),
        helper.make_node("GlobalAveragePool", ["c"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 224, 224])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4, 1, 1])
    graph = helper.make_graph(nodes, "small", [x], [y], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_small_model(tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    (example,) = blocks(READMES[0], "python")
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out == "{'y': (8, 4, 1, 1)}\n"
    assert (tmp_path / "model.mm").exists()


@pytest.mark.parametrize("language", ["python", "sh"])
def test_both_languages_show_the_same_code(language: str) -> None:
    english, chinese = (blocks(readme, language) for readme in READMES)
    if language == "sh":
        assert english == chinese
    assert [code_only(block) for block in english] == [code_only(block) for block in chinese]


@pytest.mark.parametrize("page", [*READMES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    assert targets
    assert not [target for target in targets if "://" not in target and not (ROOT / target).exists()]
