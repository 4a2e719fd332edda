"""Files of TensorFlow: frozen graphs without TensorFlow; SavedModel and Keras by TensorFlow, which freezes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from magicmind.errors import MissingExtraError, ModelFormatError
from magicmind.frontends.tensorflow import schema
from magicmind.frontends.tensorflow.graphdef import GraphFile, records
from magicmind.frontends.tensorflow.source import TensorFlowSource
from magicmind.graph import SourceGraph
from magicmind.ir.shape_spec import ShapeSpecs

KERAS = (".keras", ".h5", ".hdf5")
"""Suffixes of Keras files."""

_MALFORMED = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
"""What reading records with senseless contents raises: names that are no text, sizes that are none."""

_SAVED = ("saved_model.pb", "saved_model.pbtxt")


def is_saved_model(path: Path) -> bool:
    """Whether a folder is a SavedModel."""
    return path.is_dir() and any((path / name).is_file() for name in _SAVED)


def read_tensorflow(
    source: str | os.PathLike[str],
    *,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    input_shapes: ShapeSpecs | None = None,
    signature: str = "serving_default",
) -> SourceGraph:
    """The graph of a TensorFlow network.

    `source` is a frozen GraphDef (.pb, .pbtxt), a SavedModel folder, whose `signature` is read, or a Keras file.
    `inputs` and `outputs` name nodes, with or without `:0`; inputs may lie inside the graph, which is cut there. By
    default they are the placeholders that lead to the outputs, and the nodes that no node reads.
    Raises ModelFormatError, ShapeError, UnsupportedOperatorError, and MissingExtraError where TensorFlow is needed.
    """
    path = Path(source)
    if path.name in _SAVED and (path.parent / "variables").is_dir():
        path = path.parent
    if is_saved_model(path) or path.suffix.lower() in KERAS:
        frozen = _frozen(path, signature, input_shapes)
        file, inputs, outputs = frozen[0], inputs or frozen[1], outputs or frozen[2]
    else:
        file = _records(read_graph_def(path), path)
    try:
        found = TensorFlowSource(file, inputs, outputs)
    except _MALFORMED as error:
        raise _damaged(path, error) from error
    return SourceGraph.of(found, input_shapes, may_wait=input_shapes is None)


def _frozen(path: Path, signature: str, shapes: ShapeSpecs | None) -> tuple[GraphFile, list[str], list[str]]:
    try:
        from magicmind.frontends.tensorflow.freeze import freeze
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("tensorflow", "keras"):
            raise
        raise MissingExtraError(
            f"{path}: SavedModel and Keras files are frozen by TensorFlow, which is not installed",
            hint="pip install 'magicmind[tensorflow]'; frozen graphs (.pb) need no TensorFlow",
        ) from error
    data, inputs, outputs = freeze(path, signature, shapes)
    return _records(_decode(data, path), path), inputs, outputs


def _records(message: Any, path: Path) -> GraphFile:
    try:
        return records(message)
    except _MALFORMED as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ModelFormatError:
    return ModelFormatError(f"{path} is damaged: {type(error).__name__}: {error}")


def read_graph_def(path: Path) -> Any:
    """The GraphDef message in a binary or text file.  Raises ModelFormatError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFormatError(f"{path} cannot be read: {error.strerror or error}") from error
    return _parse(data, path) if path.suffix.lower() == ".pbtxt" else _decode(data, path)


def _decode(data: bytes, path: Path) -> Any:
    try:
        message = schema.GraphDef.FromString(data)
    except DecodeError as error:
        raise ModelFormatError(
            f"{path} is no GraphDef, or is truncated: {error}", hint="give a frozen graph; text has the suffix .pbtxt"
        ) from error
    return _checked(message, path)


def _parse(data: bytes, path: Path) -> Any:
    try:
        message = text_format.Parse(data.decode(), schema.GraphDef(), allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ModelFormatError(f"{path} is no GraphDef as text: {error}") from error
    return _checked(message, path)


def _checked(message: Any, path: Path) -> Any:
    if not message.node:
        raise ModelFormatError(f"{path} holds no nodes of a GraphDef", hint="a SavedModel is given as its folder")
    if any(not node.name or not node.op for node in message.node):
        raise ModelFormatError(f"{path} is no GraphDef: a node has no name or no operator")
    return message
