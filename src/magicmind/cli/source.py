"""Arguments that say which network to read, and how: shared by `parse`, `build` and `compare`."""

from __future__ import annotations

import argparse
import ast
from pathlib import Path
from typing import Any

from magicmind.cli import options


def add_source(parser: argparse.ArgumentParser) -> None:
    """A network to read, what its framework needs besides, and what users want of its ends."""
    options.add_model(parser, "the network (.onnx, .caffemodel, .prototxt, .pb, .pt, .pt2, ...)")
    options.add_plugins(parser)
    group = parser.add_argument_group("the network's file and its ends")
    group.add_argument("--prototxt", type=Path, metavar="FILE", help="Caffe: the network of a caffemodel")
    group.add_argument("--caffemodel", type=Path, metavar="FILE", help="Caffe: the weights of a prototxt")
    group.add_argument("--inputs", metavar="NAME,...", help="TensorFlow: where the graph begins")
    group.add_argument("--outputs", metavar="NAME,...", help="Caffe, TensorFlow: where the graph ends")
    group.add_argument(
        "--constant", type=_constant, action="append", metavar="NAME=VALUE", help="PyTorch: fixes an argument"
    )
    for option, what in (
        ("--layout", "layout an input is fed in, such as NHWC"),
        ("--dtype", "dtype an input is fed in, such as uint8"),
        ("--input-name", "new name of an input"),
        ("--output-name", "new name of an output"),
    ):
        group.add_argument(option, type=_pair, action="append", metavar="NAME=VALUE", help=f"{what} (may be repeated)")


def source_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `add_source` adds, as options of `magicmind.parse`."""
    given: dict[str, Any] = {
        "prototxt": arguments.prototxt,
        "caffemodel": arguments.caffemodel,
        "inputs": _names(arguments.inputs),
        "outputs": _names(arguments.outputs),
        "constants": options.as_dict(arguments.constant) or None,
        "input_layouts": options.as_dict(arguments.layout) or None,
        "input_dtypes": options.as_dict(arguments.dtype) or None,
        "input_names": options.as_dict(arguments.input_name) or None,
        "output_names": options.as_dict(arguments.output_name) or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _pair(text: str) -> tuple[str, str]:
    """`x=NHWC` -> ("x", "NHWC")."""
    name, separator, value = text.partition("=")
    if not separator or not name or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _constant(text: str) -> tuple[str, Any]:
    """`sr=16000` -> ("sr", 16000); a number, True, False or None, anything else is a text."""
    name, value = _pair(text)
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
