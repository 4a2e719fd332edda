"""Sizes that stand in for mutable dims."""

from __future__ import annotations

import onnx

import magicmind
from magicmind.cli.example_shapes import example_shapes


def graph(inputs: str) -> magicmind.Graph:
    text = f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => (y) {{ y = Relu(x) }}'
    return magicmind.parse(onnx.parser.parse_model(text))


def test_pictures_are_larger_than_a_pixel() -> None:
    assert example_shapes(graph("float[n, 3, h, w] x"), {}) == {"x": (1, 3, 32, 32)}


def test_a_symbol_has_one_size() -> None:
    states = graph("float[t, n, 8] x, float[1, n, 8] h, int64[n] length")
    assert example_shapes(states, {}) == {"x": (1, 32, 8), "h": (1, 32, 8), "length": (32,)}
    given = {"x": (7, 2, 8)}
    assert example_shapes(states, given) == {"x": (7, 2, 8), "h": (1, 2, 8), "length": (2,)}


def test_ranges_are_kept_to() -> None:
    narrow = graph("float[a, b, c, d] x").with_shapes({"x": ("0..4", "2..8", "40..", "0..")})
    assert example_shapes(narrow, {}) == {"x": (1, 8, 40, 32)}
