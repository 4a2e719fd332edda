"""Compiles a network to an offline model: one file with machine code and packed weights that runs with numpy alone.

magicmind build net.onnx -o net.mm
magicmind build net.caffemodel --prototxt net.prototxt
magicmind build net.onnx -o net.mm --shape data=1..64,3,224,224 --target cascadelake --target x86-64-v3
magicmind build net.onnx -o net.mm --tune             schedules measured on this machine
magicmind build net.onnx --precision qint8_mixed_float32 --calibration images --preprocess 'size=224 std=255'
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from magicmind.cli import options, text
from magicmind.cli.info import precision_lines, tuning_lines
from magicmind.cli.progress import progress
from magicmind.cli.quantisation import add_data, add_quantisation, data_of, quantisation_of
from magicmind.cli.source import add_source, source_options

if TYPE_CHECKING:
    from magicmind.compiler import Options as BuildOptions
    from magicmind.graph import Graph

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
    options.add_shape(parser)
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
    group = parser.add_argument_group("quantisation (modes q*)")
    add_data(group)
    add_quantisation(group)
    group.add_argument("--scales-in", type=Path, metavar="FILE", help="scales from before, instead of --calibration")
    group.add_argument("--scales-out", type=Path, metavar="FILE", help="write the scales that calibration finds")
    group.add_argument(
        "--layer",
        type=layer_mode,
        action="append",
        metavar="PATTERN=MODE",
        help="precision of the layers of this name or pattern (may be repeated)",
    )
    group.add_argument(
        "--computation-preference",
        default="auto",
        metavar="WHAT",
        help="auto, fast (attention too), or high_precision (first and last layers stay float)",
    )
    group.add_argument(
        "--accuracy-target",
        metavar="METRIC=VALUE",
        help="sqnr=25 (dB) or cosine=0.999 of the outputs: layers that hurt stay float until it is reached",
    )
    group.add_argument(
        "--never-slower", action="store_true", help="layers stay float where integers are measured slower here"
    )
    options.add_json(parser)


def layer_mode(value: str) -> tuple[str, str]:
    """`conv*=force_float32`; the mode follows the last `=`, names may contain some."""
    pattern, separator, mode = value.rpartition("=")
    if not separator or not pattern or not mode:
        raise argparse.ArgumentTypeError(f"{value!r} is not PATTERN=MODE")
    return pattern, mode


def tuning_seconds(value: str) -> float:
    """As `options.positive_seconds`; the error says where the network's file belongs."""
    try:
        return options.positive_seconds(value)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}; write the network before --tune, or --tune=SECONDS") from None


def with_scales_saved(graph: Graph, how: BuildOptions, path: Path) -> BuildOptions:
    """Calibrates, writes the scales, and builds with them. Raises PrecisionError where there is no data."""
    import magicmind
    from magicmind.errors import PrecisionError

    if how.calibration is None:
        raise PrecisionError("--scales-out writes what calibration finds", hint="give --calibration")
    scales = magicmind.calibrate(graph, how.calibration, how.quantisation, progress=how.progress)
    scales.save(path)
    return replace(how, scales=scales)


def execute(arguments: argparse.Namespace) -> None:
    import magicmind
    from magicmind.compiler import Options, compile_parts
    from magicmind.modelfile.writer import write_model
    from magicmind.quant.accuracy import parse_target
    from magicmind.runtime.model import host_nodes

    output = arguments.output or arguments.model.with_suffix(".mm")
    data, quantisation = data_of(arguments), quantisation_of(arguments)
    target = None if arguments.accuracy_target is None else parse_target(arguments.accuracy_target)
    start = time.perf_counter()
    with progress(arguments.model.name) as report:
        # Not `magicmind.build`, which also opens the model: the targets may all be foreign to this machine.
        shapes = options.as_dict(arguments.shape) or None
        graph = magicmind.parse(arguments.model, input_shapes=shapes, **source_options(arguments))
        how = Options(
            precision=arguments.precision,
            targets=arguments.target or ["native"],
            threads=arguments.threads,
            calibration=data,
            quantisation=quantisation,
            scales=arguments.scales_in,
            layers=options.as_dict(arguments.layer),
            computation_preference=arguments.computation_preference,
            accuracy_target=target,
            never_slower=arguments.never_slower,
            tune=arguments.tune,
            progress=report,
        )
        if arguments.scales_out is not None:
            how = with_scales_saved(graph, how, arguments.scales_out)
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
    for line in (*tuning_lines(parts.info), *precision_lines(parts.info)):
        print(line)
    if fallback:
        print(f"no native code, run by Python: {', '.join(fallback)}")
