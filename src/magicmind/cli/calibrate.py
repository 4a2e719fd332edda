"""Runs a network in float32 on sample data and writes the scales that quantise it, as JSON to read and to edit.

magicmind calibrate net.onnx --calibration images --preprocess 'size=224 mean=123.7,116.3,103.5 std=58.4,57.1,57.4'
magicmind calibrate net.onnx --calibration samples.npz -o net.scales.json
magicmind build net.onnx --precision qint8_mixed_float32 --scales-in net.scales.json
magicmind calibrate net.onnx --calibration images --export net.qdq.onnx      for other engines
"""

from __future__ import annotations

import argparse
from pathlib import Path

from magicmind.cli import options, text
from magicmind.cli.progress import progress
from magicmind.cli.quantisation import add_data, add_quantisation, data_of, quantisation_of
from magicmind.cli.source import add_source, source_options

SUMMARY = "find the scales of a quantised network from sample data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="scales to write (default: the network's name, .scales.json)"
    )
    options.add_shape(parser)
    parser.add_argument(
        "--export", type=Path, metavar="FILE", help="also write the quantised network as ONNX with Q/DQ pairs"
    )
    add_data(parser, required=True)
    add_quantisation(parser)
    options.add_json(parser)


def execute(arguments: argparse.Namespace) -> None:
    import magicmind

    output = arguments.output or arguments.model.with_suffix(".scales.json")
    data, how = data_of(arguments), quantisation_of(arguments)
    assert data is not None
    with progress(arguments.model.name) as report:
        shapes = options.as_dict(arguments.shape) or None
        graph = magicmind.parse(arguments.model, input_shapes=shapes, **source_options(arguments))
        scales = magicmind.calibrate(graph, data, how, progress=report)
        scales.save(output)
        if arguments.export is not None:
            magicmind.export_qdq(graph, arguments.export, scales=scales, quantisation=how)
    if arguments.json:
        text.print_json({"output": str(output), "tensors": len(scales.tensors), **scales.provenance})
        return
    print(f"written {output}: scales of {len(scales.tensors)} tensors from {scales.samples} samples")
    if arguments.export is not None:
        print(f"written {arguments.export}")
    if scales.remark:
        print(scales.remark)
