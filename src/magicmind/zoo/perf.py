"""Throughput and latency of a sample, precision by precision and batch by batch, beside the published figures.

Two rates of ours: of the engine alone, and from picture files of 500 x 375 to results, which the pipeline reaches.
"""

from __future__ import annotations

import itertools
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import magicmind
from magicmind.errors import Error
from magicmind.quant.precision import mode_of
from magicmind.runtime import Session, latency
from magicmind.zoo import files, peers
from magicmind.zoo.build import DEFAULT, BuildOptions, build, calibration_data, image_graph
from magicmind.zoo.datasets import Dataset
from magicmind.zoo.export import quiet
from magicmind.zoo.fetch import Report
from magicmind.zoo.geometry import Array
from magicmind.zoo.infer import open_session, pipeline_of
from magicmind.zoo.peers_int8 import quantise
from magicmind.zoo.pictures import made_dataset
from magicmind.zoo.pipeline import Times
from magicmind.zoo.tasks.task import Item, Limits
from magicmind.zoo.workspace import Request

FLOAT = "force_float32"
PRECISIONS = (FLOAT, "force_float16", "qint8_mixed_float16")
"""Those of the published tables."""
PICTURES = 16
"""Made picture files that the pipeline is measured with, over and over."""


@dataclass(frozen=True)
class PerfOptions:
    """iterations or seconds: of each measurement. peers: engines that are measured too.

    They run in float32, and in int8 where one of the precisions is in integers.
    building: of our models. rebuild: those too that are there already.
    """

    precisions: Sequence[str]
    batches: Sequence[int]
    iterations: int | None
    seconds: float
    peers: Sequence[str]
    output: Path
    building: BuildOptions = DEFAULT
    rebuild: bool = False


@dataclass(frozen=True)
class Row:
    """A measurement: pictures per second; latencies of a call in milliseconds. `cards`: published rates by board.

    from_files: pictures per second with decoding, preparing and what is made of the outputs; of ours only.
    preparing: milliseconds of one CPU that decoding and preparing a picture took meanwhile.
    """

    engine: str
    precision: str
    batch: int
    qps: float
    average: float
    p95: float
    p99: float
    cards: Mapping[str, float]
    from_files: float | None = None
    preparing: float | None = None


@dataclass(frozen=True)
class PerfResult:
    """All rows, what they were measured on, and the files they were written to."""

    title: str
    machine: Mapping[str, Any]
    rows: Sequence[Row]
    failures: Sequence[str]
    files: Sequence[Path]

    def as_markdown(self) -> str:
        """A table of all rows."""
        boards = sorted({board for row in self.rows for board in row.cards})
        head = ["engine", "precision", "batch", "qps", "average, ms", "95 %, ms", "99 %, ms"]
        head += ["from files, qps", "decoding, CPU ms"]
        head += [f"MLU370 {board}, qps" for board in boards]
        lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for row in self.rows:
            figures = [f"{row.qps:.1f}", *(f"{v:.2f}" for v in (row.average, row.p95, row.p99))]
            figures += ["" if v is None else f"{v:.1f}" for v in (row.from_files, row.preparing)]
            cards = [f"{row.cards[board]:g}" if board in row.cards else "" for board in boards]
            lines.append("| " + " | ".join([row.engine, row.precision, str(row.batch), *figures, *cards]) + " |")
        about = ", ".join(f"{key} {value}" for key, value in self.machine.items())
        return "\n".join([self.title, "", about, "", *lines, *(f"\nnot measured: {f}" for f in self.failures)])


def measure(
    request: Request,
    options: PerfOptions,
    calibration: Callable[[], Dataset],
    report: Report = quiet,
) -> PerfResult:
    """Builds what is missing and measures; writes perf.md, perf.json and perf.png.

    calibration: pictures for the integer precisions, at least as many as a batch. Raises Error.
    """
    cases = [replace(request, precision=p, batch=b) for p in options.precisions for b in options.batches]
    rows: list[Row] = []
    failures: list[str] = []
    threads = 0
    for number, case in enumerate(cases):
        report(f"{case.precision}, batch {case.batch}", number, len(cases))
        if options.rebuild or not case.model.exists():
            build(case, calibration() if mode_of(case.precision).bits else None, options.building)
        with open_session(case) as session:
            threads = session.engine.threads
            feeds = {session.inputs[0].name: picture_feed(session, case.batch)}
            # Half of the calls before the pipeline and half after it, so that a machine that drifts treats both alike.
            samples = _times(session, feeds, options)
            times = _from_files(session, case, options.seconds)
            samples += _times(session, feeds, options)
            row = _row("magicmind", case, samples)
            preparing = 1e3 * times.preparing / times.pictures
            rows.append(replace(row, from_files=times.rate, preparing=preparing))
    integers = [p for p in options.precisions if mode_of(p).bits][:1]
    for name in options.peers:
        for batch in options.batches:
            for precision in (FLOAT, *integers):
                case = replace(request, precision=precision, batch=batch, mutable=False)
                report(f"{name}, batch {batch}", 0, 0)
                try:
                    rows.append(_peer(name, case, threads, options, calibration))
                except Error as error:
                    failures.append(str(error))
    title = f"{request.sample.name}: {request.sample.title}" + (
        " (random weights)" if request.weights == "random" else ""
    )
    result = PerfResult(title, machine(threads), rows, failures, ())
    return replace(result, files=_write(result, options.output))


def picture_feed(session: Session, batch: int) -> Array:
    """Random pixels of the model's input shape; mutable heights and widths at their largest."""
    info = session.inputs[0]
    sides = [dim if isinstance(dim, int) else dim[1] or dim[0] for dim in info.shape[1:]]
    pixels = np.random.default_rng(0).integers(0, 256, (batch, *sides))
    if info.dtype == np.uint8:
        return pixels.astype(np.uint8)
    return ((pixels - 127.5) / 64).astype(info.dtype)


def _times(session: Session, feeds: Mapping[str, Array], options: PerfOptions) -> list[float]:
    """Half of the calls asked for, warmed up."""
    latency.repeat(lambda: session.run(feeds), iterations=None, duration=options.seconds / 8)
    iterations = options.iterations and (options.iterations + 1) // 2
    return latency.repeat(
        lambda: session.run(feeds), iterations=iterations, duration=None if iterations else options.seconds / 2
    )


def _from_files(session: Session, request: Request, seconds: float) -> Times:
    """Where time goes from files of 500 x 375 to results, for so many seconds."""
    made = made_dataset(request.data / "pictures", PICTURES)
    pipeline = pipeline_of(request, session)
    begin = time.perf_counter()

    def items() -> Iterator[Item]:
        for i in itertools.count():
            # Whole batches, and some of them: the first is waited for, and the last is not overlapped.
            if i % request.batch == 0 and i >= 8 * request.batch and time.perf_counter() - begin > seconds:
                return
            yield replace(made.items[i % PICTURES], index=i)

    for _ in pipeline.run(items(), lambda loaded, outputs: request.task.result(outputs, loaded.prepared, Limits())):
        pass
    return pipeline.times


def _peer(name: str, request: Request, threads: int, options: PerfOptions, calibration: Callable[[], Dataset]) -> Row:
    """The same graph, from the same uint8 pictures on, as an ONNX file; quantised where the precision has integers."""
    network = request.data / "perf" / f"peers_{request.batch}.onnx"
    network.parent.mkdir(parents=True, exist_ok=True)
    graph = image_graph(request)
    if not network.exists():
        graph.save(network)
    precision = request.precision
    if mode_of(precision).bits:
        batches = calibration_data(request, graph, calibration(), options.building.count)
        network = quantise(network, network.with_stem(f"{network.stem}_int8"), batches)
        precision = "int8"
    (info,) = graph.inputs
    shape = [dim if isinstance(dim, int) else dim[1] or dim[0] for dim in info.shape]
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(info.dtype)
    samples = peers.measure(name, network, {info.name: pixels}, threads, options.seconds)
    return replace(_row(name, request, samples), precision=precision)


def _row(engine: str, request: Request, samples: Sequence[float]) -> Row:
    found = latency.summary(samples, request.batch)
    cards = {
        published.board: published.figures["qps"]
        for published in request.sample.throughput
        if engine == "magicmind" and (published.precision, published.batch) == (request.precision, request.batch)
    }
    figures = (found["throughput"], found["mean"], found["p95"], found["p99"])
    return Row(engine, request.precision, request.batch, *figures, cards)


def machine(threads: int) -> dict[str, Any]:
    """What figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {"cpu": name, "threads": threads, "magicmind": magicmind.__version__}


def _write(result: PerfResult, folder: Path) -> list[Path]:
    with files.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    table, figures = folder / "perf.md", folder / "perf.json"
    files.write(table, result.as_markdown() + "\n")
    rows = [asdict(row) for row in result.rows]
    text = json.dumps({"title": result.title, "machine": result.machine, "rows": rows}, indent=1)
    files.write(figures, text + "\n")
    plot = folder / "perf.png"
    return [table, figures, *([plot] if _plot(result, plot) else [])]


def _plot(result: PerfResult, path: Path) -> bool:
    """Pictures per second as bars; False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return False
    batches = sorted({row.batch for row in result.rows})
    kinds = list(dict.fromkeys((row.engine, row.precision) for row in result.rows))
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(kinds)
    for i, (engine, precision) in enumerate(kinds):
        found = {row.batch: row.qps for row in result.rows if (row.engine, row.precision) == (engine, precision)}
        at = [batches.index(batch) + (i - (len(kinds) - 1) / 2) * width for batch in found]
        label = precision if engine == "magicmind" else f"{engine} {precision}"
        axes.bar(at, list(found.values()), width, label=label, hatch=None if engine == "magicmind" else "//")
    axes.set_xticks(range(len(batches)), [f"batch {batch}" for batch in batches])
    axes.set_ylabel("pictures per second")
    axes.set_title(result.title, fontsize=10)
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=100)
    return True
