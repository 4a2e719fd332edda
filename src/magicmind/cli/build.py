"""Compiles a network to an offline model: one file with machine code and packed weights that runs with numpy alone.

magicmind build net.onnx -o net.mm
magicmind build net.caffemodel --prototxt net.prototxt
magicmind build net.onnx -o net.mm --shape data=1..64,3,224,224 --target cascadelake --target x86-64-v3
magicmind build net.onnx -o net.mm --tune             schedules measured on this machine
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from magicmind.cli import options, text
from magicmind.cli.info import tuning_lines
from magicmind.cli.progress import progress
from magicmind.cli.source import add_source, source_options

SUMMARY = "compile a network to an offline model (.mm)"
TUNING_SECONDS = 60.0
"""What `--tune` alone means: enough for a network of some fifty different layers."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="offline model to write (default: the network's name with .mm)",
    )
    parser.add_argument(
        "--precision", default="force_float32", metavar="MODE", help="arithmetic and storage (default: %(default)s)"
    )
    parser.add_argument(
        "--shape",
        type=options.shape,
        action="append",
        metavar="NAME=DIM,...",
        help="shape of an input; a dim is 3, 1..64, 1.. or N=1..64 (may be repeated)",
    )
    parser.add_argument(
        "--target",
        action="append",
        metavar="NAME",
        help="CPU to compile for, such as native, cascadelake, x86-64-v3 (may be repeated; default: native)",
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads that schedules are chosen for; results do not depend on it"
    )
    parser.add_argument(
        "--tune",
        type=tuning_seconds,
        nargs="?",
        const=TUNING_SECONDS,
        metavar="SECONDS",
        help="measure schedules on this machine for so long (default: %(const)g s) and keep what is faster;"
        " a later build continues where this one stops",
    )
    options.add_json(parser)


def tuning_seconds(value: str) -> float:
    """As `options.positive_seconds`; the error says where the network's file belongs."""
    try:
        return options.positive_seconds(value)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}; write the network before --tune, or --tune=SECONDS") from None


def execute(arguments: argparse.Namespace) -> None:
    import magicmind
    from magicmind.compiler import Options, compile_parts
    from magicmind.modelfile.writer import write_model
    from magicmind.runtime.model import host_nodes

    output = arguments.output or arguments.model.with_suffix(".mm")
    start = time.perf_counter()
    with progress(arguments.model.name) as report:
        # Not `magicmind.build`, which also opens the model: the targets may all be foreign to this machine.
        shapes = options.as_dict(arguments.shape) or None
        graph = magicmind.parse(arguments.model, input_shapes=shapes, **source_options(arguments))
        how = Options(
            precision=arguments.precision,
            targets=arguments.target or ["native"],
            threads=arguments.threads,
            tune=arguments.tune,
            progress=report,
        )
        parts = compile_parts(graph, how)
        report("writing", 0, 1)
        write_model(output, parts)
    seconds = time.perf_counter() - start
    fallback = host_nodes(parts.targets[0].plan)
    file_bytes = output.stat().st_size
    if arguments.json:
        text.print_json(
            {
                "output": str(output),
                "bytes": file_bytes,
                "seconds": seconds,
                "precision": parts.precision,
                "targets": [target.name for target in parts.targets],
                "fallback": fallback,
                **parts.info,
                "inputs": [text.tensor_json(info) for info in parts.inputs],
                "outputs": [text.tensor_json(info) for info in parts.outputs],
            }
        )
        return
    names = ", ".join(target.name for target in parts.targets)
    print(f"written {output}: {text.size(file_bytes)}, {parts.precision}, for {names}, in {seconds:.1f} s")
    for line in tuning_lines(parts.info):
        print(line)
    if fallback:
        print(f"no native code, run by Python: {', '.join(fallback)}")
