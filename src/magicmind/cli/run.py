"""Runs an offline model and measures it.

magicmind run net.mm                                  random inputs, 100 calls
magicmind run net.mm --batch 8 --duration 5 --threads 2
magicmind run net.mm --input data=image.npy --output results/ --iterations 1 --warmup 0
magicmind run net.mm --dump layers/                   what every layer makes, as .npy files
magicmind run net.mm --profile --trace trace.json     time per layer; the trace opens in a browser (Perfetto)
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicmind.cli import feeds, options, text
from magicmind.runtime import latency

if TYPE_CHECKING:
    from magicmind.runtime.profiler import Profile
    from magicmind.runtime.session import Session

SUMMARY = "run an offline model, measure latency and throughput"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser, "offline model (.mm)")
    options.add_plugins(parser)
    parser.add_argument("--threads", type=options.positive, help="threads for one call (default: all CPUs it may use)")
    data = parser.add_argument_group("inputs (random ones unless given)")
    data.add_argument("--batch", type=options.positive, help="first dim of every input that may change")
    data.add_argument(
        "--shape", type=options.fixed_shape, action="append", metavar="NAME=DIM,...", help="shape of an input"
    )
    data.add_argument(
        "--input", type=options.named_file, action="append", metavar="NAME=FILE", help=".npy file for an input"
    )
    data.add_argument("--seed", type=int, default=0, help="seed of random inputs (default: %(default)s)")
    data.add_argument("--output", type=Path, metavar="FOLDER", help="write the outputs as .npy files here")
    length = parser.add_argument_group("measurement").add_mutually_exclusive_group()
    length.add_argument("--iterations", type=options.positive, help="measured calls (default: 100)")
    length.add_argument("--duration", type=options.positive_seconds, help="measured seconds, instead of a count")
    parser.add_argument("--warmup", type=int, default=10, help="calls before measuring (default: %(default)s)")
    parser.add_argument("--profile", action="store_true", help="print time, GFLOP/s and share of peak per layer")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write a Chrome trace of one call")
    parser.add_argument(
        "--dump", type=Path, metavar="FOLDER", help="write what every layer makes: <layer>.npy, tensors.json"
    )
    options.add_json(parser)


def execute(arguments: argparse.Namespace) -> None:
    from magicmind.runtime import load

    with load(arguments.model) as model, model.session(threads=arguments.threads) as session:
        inputs = feeds.make(
            session.inputs,
            files=options.as_dict(arguments.input),
            shapes=options.as_dict(arguments.shape),
            batch=arguments.batch,
            seed=arguments.seed,
        )
        outputs = session.run(inputs)
        if arguments.output:
            save(outputs, arguments.output)
        for _ in range(arguments.warmup):
            session.run(inputs)
        iterations = arguments.iterations or (None if arguments.duration else 100)
        samples = latency.repeat(lambda: session.run(inputs), iterations=iterations, duration=arguments.duration)
        batch = feeds.batch_of(inputs)
        result: dict[str, Any] = {
            "model": str(arguments.model),
            "threads": session.engine.threads,
            "batch": batch,
            "iterations": len(samples),
            "latency_ms": latency.summary(samples, batch),
        }
        result["throughput"] = result["latency_ms"].pop("throughput")
        profile = profiled(session, inputs) if arguments.profile or arguments.trace else None
        if arguments.dump:
            dumped(session, inputs, arguments.dump)
    report(result, profile, arguments)


def profiled(session: Session, inputs: Mapping[str, feeds.Array]) -> Profile:
    """Times of every step, of calls made after the measurement: taking time stamps costs a little."""
    from magicmind.runtime.profiler import profile

    with session.engine.context() as context:
        return profile(context, inputs)


def dumped(session: Session, inputs: Mapping[str, feeds.Array], folder: Path) -> None:
    """Files of what lies inside the network, of a call of its own."""
    from magicmind.runtime.dump import dump

    with session.engine.context() as context:
        dump(context, inputs, folder)


def report(result: dict[str, Any], profile: Profile | None, arguments: argparse.Namespace) -> None:
    """Prints what was asked for; the peak is measured last, when nothing else runs."""
    from magicmind.cli import layers

    if profile is not None and arguments.trace:
        layers.write_trace(profile, arguments.trace)
    peak = layers.peak_gflops(result["threads"]) if arguments.profile else None
    if profile is not None and arguments.profile:
        result["profile"] = layers.as_json(profile, peak)
    if arguments.json:
        text.print_json(result)
        return
    print_result(result)
    if profile is not None and arguments.profile:
        print()
        print(layers.table(profile, peak))


def save(outputs: Mapping[str, feeds.Array], folder: Path) -> None:
    """Writes `name.npy` per output; characters that would leave the folder become `_`.

    Of types that numpy does not know, such as bfloat16 and int4, the file holds the codes.
    """
    import numpy as np

    from magicmind.dtypes import codes_of

    folder.mkdir(parents=True, exist_ok=True)
    for name, array in outputs.items():
        np.save(folder / (name.replace("/", "_").replace("\0", "_").lstrip(".") + ".npy"), codes_of(array))


def print_result(result: Mapping[str, Any]) -> None:
    print(f"{result['model']}: batch {result['batch']}, {result['threads']} threads, {result['iterations']} calls")
    quantities = result["latency_ms"]
    print(text.table([f"{name}, ms" for name in quantities], [[f"{value:.3f}" for value in quantities.values()]]))
    print(f"throughput {result['throughput']:.1f} per second")
