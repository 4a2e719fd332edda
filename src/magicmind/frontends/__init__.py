"""Front-ends: one reader per framework, each from a file to the unified graph."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onnx import ModelProto

from magicmind.errors import ModelFormatError
from magicmind.frontends.onnx import read_onnx
from magicmind.graph import Graph


def _onnx(source: str | os.PathLike[str] | bytes | ModelProto, **options: Any) -> Graph:
    return Graph(read_onnx(source, **options))


def _caffe(source: str | os.PathLike[str], **options: Any) -> Graph:
    from magicmind.frontends.caffe import read_caffe  # needs protobuf's text format, which others do without

    return read_caffe(source, **options)


READERS: dict[str, Callable[..., Graph]] = {".onnx": _onnx, ".caffemodel": _caffe, ".prototxt": _caffe}
"""Readers by file suffix; each takes the source and the options of `parse` that it knows."""


def parse(source: str | os.PathLike[str] | bytes | ModelProto, **options: Any) -> Graph:
    """The graph of a trained network.

    `source` is a path (its suffix says which framework), or the bytes or proto of an ONNX model.
    `input_shapes` overrides the shapes of inputs: a dict by name or a list in order, as in
    `{"x": ("1..64", 3, 224, 224)}`.
    Caffe: one file is the source, the other the option `prototxt` or `caffemodel`; see `frontends.caffe.read_caffe`.
    Raises ModelFormatError, ShapeError, UnsupportedOperatorError.
    """
    return _reader(source)(source, **options)


def _reader(source: object) -> Callable[..., Graph]:
    if isinstance(source, (bytes, ModelProto)):
        return _onnx
    if not isinstance(source, (str, os.PathLike)):
        raise ModelFormatError(f"a {type(source).__name__} is no model; give a path, bytes or an onnx.ModelProto")
    suffix = Path(source).suffix.lower()
    if suffix not in READERS:
        raise ModelFormatError(
            f"{os.fspath(source)}: files with the suffix {suffix!r} cannot be read",
            hint=f"known suffixes: {', '.join(READERS)}",
        )
    return READERS[suffix]
