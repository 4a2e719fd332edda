"""Front-ends: one reader per framework, each from a file to the unified graph."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir
from onnx import ModelProto

from magicmind.errors import ModelFormatError
from magicmind.frontends.onnx import read_onnx
from magicmind.graph import Graph

READERS: dict[str, Callable[..., onnx_ir.Model]] = {".onnx": read_onnx}
"""Readers by file suffix; each takes the source and the options of `parse` that it knows."""


def parse(source: str | os.PathLike[str] | bytes | ModelProto, **options: Any) -> Graph:
    """The graph of a trained network.

    `source` is a path (its suffix says which framework), or the bytes or proto of an ONNX model.
    `input_shapes` overrides the shapes of inputs: a dict by name or a list in order, as in
    `{"x": ("1..64", 3, 224, 224)}`.
    Raises ModelFormatError, ShapeError, UnsupportedOperatorError.
    """
    return Graph(_reader(source)(source, **options))


def _reader(source: object) -> Callable[..., onnx_ir.Model]:
    if isinstance(source, (bytes, ModelProto)):
        return read_onnx
    if not isinstance(source, (str, os.PathLike)):
        raise ModelFormatError(f"a {type(source).__name__} is no model; give a path, bytes or an onnx.ModelProto")
    suffix = Path(source).suffix.lower()
    if suffix not in READERS:
        raise ModelFormatError(
            f"{os.fspath(source)}: files with the suffix {suffix!r} cannot be read",
            hint=f"known suffixes: {', '.join(READERS)}",
        )
    return READERS[suffix]
