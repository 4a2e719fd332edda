"""Reads a trained network and writes it as one ONNX file: the unified graph that `magicmind build` starts from."""

from __future__ import annotations

import argparse
from pathlib import Path

from magicmind.cli import options, text
from magicmind.cli.source import add_source, source_options

SUMMARY = "read a trained network, write the unified graph as ONNX"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    options.add_shape(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="ONNX file to write")
    options.add_json(parser)


def execute(arguments: argparse.Namespace) -> None:
    import magicmind

    shapes = options.as_dict(arguments.shape) or None
    graph = magicmind.parse(arguments.model, input_shapes=shapes, **source_options(arguments))
    graph.save(arguments.output)
    if arguments.json:
        text.print_json(
            {
                "output": str(arguments.output),
                "inputs": [text.tensor_json(info) for info in graph.inputs],
                "outputs": [text.tensor_json(info) for info in graph.outputs],
            }
        )
        return
    for role, infos in (("input", graph.inputs), ("output", graph.outputs)):
        for info in infos:
            print(f"{role:7} {text.tensor(info)}")
    print(f"written {arguments.output}")
