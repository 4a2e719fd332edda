"""Compiles a network to an offline model: one file with machine code and packed weights that runs with numpy alone.

magicmind build net.onnx -o net.mm
magicmind build net.onnx -o net.mm --shape data=1..64,3,224,224 --target cascadelake --target x86-64-v3
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from magicmind.cli import options, text
from magicmind.cli.progress import progress

SUMMARY = "compile a network to an offline model (.mm)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser, "the network (.onnx)")
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
    options.add_json(parser)


def execute(arguments: argparse.Namespace) -> None:
    import magicmind
    from magicmind.compiler import compile_parts
    from magicmind.modelfile.writer import write_model
    from magicmind.runtime.model import host_nodes

    output = arguments.output or arguments.model.with_suffix(".mm")
    start = time.perf_counter()
    with progress(arguments.model.name) as report:
        # Not `magicmind.build`, which also opens the model: the targets may all be foreign to this machine.
        parts = compile_parts(
            magicmind.parse(arguments.model),
            precision=arguments.precision,
            shapes=options.as_dict(arguments.shape) or None,
            targets=arguments.target or ["native"],
            threads=arguments.threads,
            progress=report,
        )
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
                "inputs": [text.tensor_json(info) for info in parts.inputs],
                "outputs": [text.tensor_json(info) for info in parts.outputs],
            }
        )
        return
    names = ", ".join(target.name for target in parts.targets)
    print(f"written {output}: {text.size(file_bytes)}, {parts.precision}, for {names}, in {seconds:.1f} s")
    if fallback:
        print(f"no native code, run by Python: {', '.join(fallback)}")
