"""The demo's second half: one network, saved by four frameworks, gives the same answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicmind.cli import text
from magicmind.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np

# TensorFlow's copy reads channels last; it is told that the demo's images have them first.
SOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "ONNX": ("digits.onnx", {}),
    "Caffe": ("digits.caffemodel", {"prototxt": "digits.prototxt"}),
    "TensorFlow": ("digits.pb", {"input_layouts": {"image": "NCHW"}}),
    "PyTorch": ("digits.pt", {}),
}


@dataclass(frozen=True)
class FormatRow:
    """What the network from one framework answers, against the one from ONNX."""

    framework: str
    file: str
    nodes: int
    same_answers: int
    images: int
    largest_difference: float
    """Of the probabilities, over all images and classes."""


def compare_formats(
    data: Path, images: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]
) -> tuple[list[FormatRow], list[str]]:
    """Rows of what could be read, and why the rest could not. `expected`: probabilities [N, 10] of the ONNX file."""
    import numpy as np

    import magicmind

    rows, missing = [], []
    for framework, (file, options) in SOURCES.items():
        given = {name: data / value if name == "prototxt" else value for name, value in options.items()}
        try:
            graph = magicmind.parse(data / file, input_shapes=[("1..1024", 1, 8, 8)], **given)
        except MissingExtraError as error:
            missing.append(f"{framework}: {error}")
            continue
        with magicmind.build(graph) as model, model.session() as session:
            (found,) = session.run({"image": images}).values()
        same = int((found.argmax(1) == expected.argmax(1)).sum())
        difference = float(np.abs(found - expected).max())
        rows.append(FormatRow(framework, file, len(graph.model.graph), same, len(images), difference))
    return rows, missing


def print_formats(rows: list[FormatRow], missing: list[str]) -> None:
    print("\nthe same network, saved by four frameworks:\n")
    cells = [
        [
            row.framework,
            row.file,
            str(row.nodes),
            f"{row.same_answers} of {row.images}",
            f"{row.largest_difference:.1e}",
        ]
        for row in rows
    ]
    print(text.table(["framework", "file", "nodes", "same answers", "largest difference"], cells))
    for line in missing:
        print(line)
