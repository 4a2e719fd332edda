"""Complete samples: download a network, build it, run it on pictures, score it, measure it.

magicmind zoo list
magicmind zoo run mobilenetv2_caffe                        all of it, on the data set at DATASETS_PATH
magicmind zoo export centernet_pytorch                     the network's files
magicmind zoo build centernet_pytorch --precision qint8_mixed_float16 --shape-mutable true
magicmind zoo infer centernet_pytorch street.jpg           draws what it finds in your own pictures
magicmind zoo eval deeplabv3_tf --precision force_float16 --shape-mutable true
magicmind zoo perf volo_d2_pytorch --weights random        speed, without any download
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from magicmind.cli import text
from magicmind.cli.progress import progress
from magicmind.cli.zoo_options import (
    Intermixed,
    add_compile,
    add_data,
    add_export,
    add_infer,
    add_list,
    add_model,
    add_perf,
    add_pictures,
    add_place,
    dataset_of,
    request_of,
)
from magicmind.errors import Error

if TYPE_CHECKING:
    from magicmind.zoo.datasets import Dataset
    from magicmind.zoo.infer import InferOptions, Outcome
    from magicmind.zoo.workspace import Request

SUMMARY = "complete samples: download, build, infer, score, measure"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="step", metavar="STEP", required=True, parser_class=Intermixed)
    for name, (summary, groups, run) in STEPS.items():
        step = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name != "list":
            step.add_argument("name", metavar="NAME", help="of a sample; `magicmind zoo list` shows them")
        for add in groups:
            add(step)
        step.set_defaults(step_run=run)


def execute(arguments: argparse.Namespace) -> None:
    arguments.step_run(arguments)


# --------------------------------------------------------------------------------------------------------------- steps


def list_samples(arguments: argparse.Namespace) -> None:
    """A table of all samples."""
    from magicmind.zoo.datasets import LAYOUTS
    from magicmind.zoo.samples import SAMPLES

    rows = [
        [s.name, s.title, s.source.framework, f"{s.shape[0]}x{s.shape[1]}", LAYOUTS[s.dataset].title, s.licence]
        for s in SAMPLES.values()
    ]
    heads = ["name", "what", "framework", "pictures", "data set", "licence of the network"]
    if arguments.json:
        text.print_json([dict(zip(heads, row, strict=True)) for row in rows])
        return
    print(text.table(heads, rows))


def export(arguments: argparse.Namespace) -> None:
    """Gets the network's files."""
    from magicmind.zoo.export import export as run

    request = request_of(arguments)
    with progress(request.sample.name) as report:
        files = run(request, report, given=arguments.given, url=arguments.url)
    for file in files:
        print(file)


def build(arguments: argparse.Namespace) -> None:
    """Builds the model, unless it is there."""
    build_model(arguments, request_of(arguments))


def build_model(arguments: argparse.Namespace, request: Request) -> None:
    from magicmind.quant.precision import mode_of
    from magicmind.zoo import build as step

    if request.model.exists() and not arguments.rebuild:
        print(f"{request.model} already exist")
        return
    data = None
    if mode_of(request.precision).bits:
        number = arguments.calibration or request.calibration.count or request.batch
        data = dataset_of(arguments, request, count=max(number, request.batch))
    options = step.BuildOptions(arguments.target, arguments.tune, arguments.calibration)
    with progress(request.sample.name) as report:
        step.build(request, data, options, report)
    print(f"Generate model done, model save to {request.model}")


def infer(arguments: argparse.Namespace) -> None:
    """Runs pictures: the user's own, or the data set's."""
    request = request_of(arguments)
    if not arguments.images:
        print_outcome(request, run_dataset(arguments, request))
        return
    from magicmind.zoo.datasets import read_names
    from magicmind.zoo.infer import look

    names = read_names(arguments.name_file) if arguments.name_file else ()
    found = look(request, arguments.images, names, infer_options(arguments))
    for path, what, drawing in found:
        print(f"{path}: {what}" + (f", drawn in {drawing}" if drawing else ""))
    broken = [path for path, _, drawing in found if drawing is None]
    if broken:
        raise Error(f"{len(broken)} of {len(found)} pictures could not be read: {', '.join(map(str, broken[:10]))}")


def infer_options(arguments: argparse.Namespace) -> InferOptions:
    from magicmind.zoo.infer import InferOptions
    from magicmind.zoo.tasks.task import Limits

    limits = Limits(arguments.confidence, arguments.max_bbox_num)
    return InferOptions(arguments.output, arguments.save_img, arguments.again, limits)


def run_dataset(arguments: argparse.Namespace, request: Request) -> Outcome:
    """Runs what the output folder has no results of yet; an interruption says how to go on."""
    from magicmind.zoo.infer import infer as step

    data = dataset_of(arguments, request)
    done = [0]
    with progress(request.variant) as report:

        def noted(what: str, n: int, total: int) -> None:
            done[0] = n
            report(what, n, total)

        try:
            return step(request, data, infer_options(arguments), noted)
        except KeyboardInterrupt:
            print(
                f"{done[0]} of {len(data.items)} pictures are done and kept; the same command goes on", file=sys.stderr
            )
            raise


def print_outcome(request: Request, outcome: Outcome) -> None:
    """How many, how fast, what was not read, and where results are."""
    times, total = outcome.times, len(outcome.records)
    print(f"{total} pictures, results in {outcome.folder}")
    if times.pictures < total:
        print(f"{total - times.pictures - len(outcome.broken)} of them were done before")
    if times.pictures:
        print(f"{times.total:.2f} s, {times.rate:.1f} pictures/s from file to result")
        parts = {"in the engine": times.engine, "waiting for pictures": times.waiting}
        print(", ".join(f"{100 * part / times.total:.0f} % {name}" for name, part in parts.items()), end="; ")
        print(f"reading and preparing takes {1e3 * times.preparing / times.pictures:.1f} ms of a CPU per picture")
    for item, reason in outcome.broken[:10]:
        print(f"not read: {item.name}: {reason}", file=sys.stderr)
    if outcome.broken:
        print(f"{len(outcome.broken)} of {total} pictures could not be read; they count as wrong", file=sys.stderr)


def evaluate(arguments: argparse.Namespace) -> None:
    """Scores the data set, beside the published figures."""
    score_dataset(arguments, request_of(arguments))


def score_dataset(arguments: argparse.Namespace, request: Request) -> None:
    from magicmind.zoo.score import score

    outcome = run_dataset(arguments, request)
    print_outcome(request, outcome)
    report = score(request, dataset_of(arguments, request), outcome)
    if arguments.json:
        text.print_json(report.as_json())
    else:
        print(report.as_text())


def perf(arguments: argparse.Namespace) -> None:
    """Measures throughput and latency of precisions and batches."""
    from magicmind.zoo.build import BuildOptions
    from magicmind.zoo.perf import PRECISIONS, PerfOptions, measure

    request = request_of(arguments)
    chosen = PerfOptions(
        tuple(arguments.precisions or PRECISIONS), tuple(arguments.batches or request.batches), arguments.iterations,
        arguments.duration, tuple(arguments.peers or ()), arguments.output or request.data / "perf",
        BuildOptions(arguments.target, arguments.tune, arguments.calibration), arguments.rebuild,
    )  # fmt: skip

    @cache
    def pictures() -> Dataset:
        return dataset_of(
            arguments, request, count=max(arguments.calibration or request.calibration.count, *chosen.batches)
        )

    with progress(request.sample.name) as report:
        result = measure(request, chosen, pictures, report)
    print(result.as_markdown())
    print(f"written {', '.join(str(path) for path in result.files)}")


def run(arguments: argparse.Namespace) -> None:
    """Export, build, infer, score."""
    from magicmind.zoo.export import export as get

    request = request_of(arguments)
    with progress(request.sample.name) as report:
        get(request, report, given=arguments.given, url=arguments.url)
    build_model(arguments, request)
    score_dataset(arguments, request)


Add = Callable[[argparse.ArgumentParser], None]
STEPS: dict[str, tuple[str, Sequence[Add], Callable[[argparse.Namespace], None]]] = {
    "list": ("show all samples", (add_list,), list_samples),
    "export": ("get the network's files", (add_export, add_place), export),
    "build": ("build the model", (add_place, add_model, add_compile, add_data), build),
    "infer": ("run pictures through the model", (add_pictures, add_place, add_model, add_data, add_infer), infer),
    "eval": ("score the model on the data set", (add_list, add_place, add_model, add_data, add_infer), evaluate),
    "perf": ("measure throughput and latency", (add_perf, add_place, add_model, add_compile, add_data), perf),
    "run": (
        "all of it: export, build, infer, score",
        (add_list, add_export, add_place, add_model, add_compile, add_data, add_infer),
        run,
    ),
}
