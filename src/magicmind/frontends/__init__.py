"""Front-ends: one reader per framework, each from a file to the unified graph."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onnx import ModelProto

from magicmind.errors import MissingExtraError, ModelFormatError
from magicmind.frontends.adapt import with_ends
from magicmind.frontends.onnx import read_onnx
from magicmind.graph import Graph


def _onnx(source: str | os.PathLike[str] | bytes | ModelProto, **options: Any) -> Graph:
    return Graph(read_onnx(source, **options))


def _caffe(source: str | os.PathLike[str], **options: Any) -> Graph:
    from magicmind.frontends.caffe import read_caffe  # needs protobuf's text format, which others do without

    return read_caffe(source, **options)


def _pytorch(source: object, **options: Any) -> Graph:
    try:
        from magicmind.frontends.pytorch import read_pytorch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError(
            "reading networks of PyTorch needs the package 'torch', which is not installed",
            hint="pip install torch==2.13.* --index-url https://download.pytorch.org/whl/cpu && "
            "pip install 'magicmind[pytorch]'",
        ) from error
    return read_pytorch(source, **options)


def _tensorflow(source: str | os.PathLike[str], **options: Any) -> Graph:
    from magicmind.frontends.tensorflow import read_tensorflow  # needs protobuf, which others do without

    return read_tensorflow(source, **options)


READERS: dict[str, Callable[..., Graph]] = {
    ".onnx": _onnx,
    ".caffemodel": _caffe,
    ".prototxt": _caffe,
    ".pt": _pytorch,
    ".pth": _pytorch,
    ".jit": _pytorch,
    ".pt2": _pytorch,
    ".pb": _tensorflow,
    ".pbtxt": _tensorflow,
    ".keras": _tensorflow,
    ".h5": _tensorflow,
}
"""Readers by file suffix; each takes the source and the options of `parse` that it knows."""


def parse(source: object, **options: Any) -> Graph:
    """The graph of a trained network.

    `source` is a path (its suffix says which framework; a folder is a SavedModel), the bytes or proto of an ONNX
    model, or a module or exported program of PyTorch.
    `input_shapes` overrides the shapes of inputs: a dict by name or a list in order, as in
    `{"x": ("1..64", 3, 224, 224)}`.
    Caffe: one file is the source, the other the option `prototxt` or `caffemodel`; see `frontends.caffe.read_caffe`.
    PyTorch: see `frontends.pytorch.read_pytorch`.
    TensorFlow: `inputs` and `outputs` name nodes; see `frontends.tensorflow.read_tensorflow`.
    What users see of the network's ends may be changed, by the network's own names or in their order: `input_layouts`
    ("NHWC" for an input read as NCHW; `input_shapes` are then in that layout), `input_dtypes` ("uint8": cast inside),
    `input_names`, `output_names`.
    Raises ModelFormatError, ShapeError, UnsupportedOperatorError, MissingExtraError.
    """
    reader = _reader(source)
    wanted = {name: options.pop(name) for name in _ENDS if options.get(name) is not None}
    if reader is _pytorch and "input_dtypes" in wanted:
        options["input_dtypes"] = wanted.pop("input_dtypes")  # there the file does not say them
    if not wanted:
        return reader(source, **options)
    shapes = options.pop("input_shapes", None)
    return with_ends(reader(source, **options), shapes, **wanted)


_ENDS = ("input_layouts", "input_dtypes", "input_names", "output_names")


def _reader(source: object) -> Callable[..., Graph]:
    if isinstance(source, (bytes, ModelProto)):
        return _onnx
    if any(base.__module__.partition(".")[0] == "torch" for base in type(source).__mro__):
        return _pytorch
    if not isinstance(source, (str, os.PathLike)):
        raise ModelFormatError(
            f"a {type(source).__name__} is no model; give a path, bytes, an onnx.ModelProto or a module of PyTorch"
        )
    if Path(source).is_dir():  # a SavedModel
        return _tensorflow
    suffix = Path(source).suffix.lower()
    if suffix not in READERS:
        raise ModelFormatError(
            f"{os.fspath(source)}: files with the suffix {suffix!r} cannot be read",
            hint=f"known suffixes: {', '.join(READERS)}",
        )
    return READERS[suffix]
