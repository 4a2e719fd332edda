"""What surrounds the calls: build time, file size, time from open to the first result, memory, the cost of one call.

    python benchmarks/startup.py --models resnet50 mobilenetv2 --threads 2 --json startup.json

Every measurement of loading and memory is made in a fresh process, the median of `--repeat` of them is quoted.
Memory is the peak resident size (VmHWM) beyond what the process held before it opened the network, engine imported;
for us the pages of the mapped model file are left out: they are the file's size, shared between processes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import models
import numpy as np
from run import machine, random_feeds

ENGINES = ("magicmind", "onnxruntime", "openvino")


def status_kib(field: str) -> int:
    """A field of /proc/self/status in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise KeyError(field)


def mapped_kib(path: Path) -> int:
    """Resident KiB of this process's mappings of a file."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            inside = line.endswith(str(path.resolve()))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


def open_engine(name: str, path: Path, feeds: dict[str, np.ndarray], threads: int) -> Any:
    """A function that runs the network once; for us `path` is an offline model."""
    if name != "magicmind":
        from engines import ENGINES as adapters

        engine = adapters[name](path, feeds, threads)
        return lambda: engine.run(feeds)
    from magicmind.runtime import load

    session = load(path).session(threads=threads)
    return lambda: session.run(feeds)


def measure_open(name: str, path: Path, source: Path, batch: int, threads: int) -> dict[str, float]:
    """Run in a process of its own: seconds to open, to the first result, of a later call; KiB of memory."""
    feeds = random_feeds(source, batch)
    if name == "magicmind":
        import magicmind.runtime  # noqa: F401
    else:
        __import__(name)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    before = status_kib("VmRSS")
    start = time.perf_counter()
    call = open_engine(name, path, feeds, threads)
    opened = time.perf_counter()
    call()
    first = time.perf_counter()
    later = []
    for _ in range(10):
        begin = time.perf_counter()
        call()
        later.append(time.perf_counter() - begin)
    peak = status_kib("VmHWM") - before - (mapped_kib(path) if name == "magicmind" else 0)
    usual = statistics.median(later)
    return {"open_ms": 1e3 * (opened - start), "extra_ms": 1e3 * (first - start - usual), "peak_kib": peak}


def in_fresh_process(arguments: list[str]) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def build(source: Path, batch: int, threads: int, to: Path) -> dict[str, float]:
    """Builds our offline model for one fixed batch."""
    import magicmind

    shapes = {name: array.shape for name, array in random_feeds(source, batch).items()}
    start = time.perf_counter()
    graph = magicmind.parse(source)
    parsed = time.perf_counter()
    magicmind.build(graph, shapes=shapes, threads=threads).save(to)
    end = time.perf_counter()
    return {"parse_s": parsed - start, "build_s": end - parsed, "file_bytes": to.stat().st_size}


def call_overhead(folder: Path, calls: int = 20000) -> dict[str, float]:
    """Microseconds of one Python call on the one-node model, one thread; outputs fresh and with `out=`."""
    from magicmind.runtime import load

    source, target = models.ensure("onenode", 1), folder / "onenode.mm"
    build(source, 1, 1, target)
    feeds = random_feeds(source, 1)
    session = load(target).session(threads=1)
    out = session.run(feeds)
    return {
        "fresh_us": best_microseconds(lambda: session.run(feeds), calls),
        "out_us": best_microseconds(lambda: session.run(feeds, out=out), calls),
    }


def best_microseconds(call: Any, calls: int) -> float:
    """Median over ten stretches of the mean time of a call."""
    means = []
    for _ in range(10):
        start = time.perf_counter()
        for _ in range(calls // 10):
            call()
        means.append((time.perf_counter() - start) / (calls // 10))
    return 1e6 * statistics.median(means)


NEW_SHAPES: dict[str, list[dict[str, tuple[int, ...]]]] = {
    "resnet50": [{"data": (batch, 3, 224, 224)} for batch in (4, 3, 2, 1)],
    "segmenter": [{"data": (1, 3, 64 + 9 * i, 64 + 7 * i)} for i in range(12, 0, -1)],
    "bert": [{"data": (1, 3 + 5 * i, 768), "mask": (1, 1, 1, 3 + 5 * i)} for i in range(8, 0, -1)],
}
"""Shapes that a session of the mutable model meets for the first time, the largest first: memory grows but once."""


def seconds(call: Any) -> float:
    """Wall-clock time of one call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def new_shape(name: str, threads: int) -> dict[str, Any]:
    """What a shape not seen before costs: milliseconds to plan it, and of its first call beyond a later one."""
    from engines import MagicMindMutable

    source = models.ensure(name, "N")
    engine = MagicMindMutable(source, random_feeds(source, 1), threads)
    session = engine.session
    program = session.engine.program
    feeds = [{key: np.zeros(shape, np.float32) for key, shape in shapes.items()} for shapes in NEW_SHAPES[name]]
    found: dict[str, list[list[float]]] = {kind: [[] for _ in feeds] for kind in ("plan", "first", "later")}
    for _ in range(6):  # by turns and the least of each, since other programs run too
        program.forget_layouts()
        for i, arrays in enumerate(feeds):
            key = tuple(arrays[info.name].shape for info in session.inputs)
            found["plan"][i].append(seconds(lambda key=key: program.layout(key)))
            program.forget_layouts()
            found["first"][i].append(seconds(lambda arrays=arrays: session.run(arrays)))
            found["later"][i].append(seconds(lambda arrays=arrays: session.run(arrays)))
    least = {kind: [min(times) for times in rows] for kind, rows in found.items()}
    plans = least["plan"]
    calls = [first - later for first, later in zip(least["first"], least["later"], strict=True)]
    return {
        "model": name,
        "steps": len(program.steps),
        "plan_ms": 1e3 * statistics.median(plans),
        "first_call_ms": 1e3 * statistics.median(calls),
    }


def measure_model(name: str, batch: int, threads: int, repeat: int, folder: Path) -> dict[str, Any]:
    source, built = models.ensure(name, "N"), folder / f"{name}-{batch}.mm"
    record: dict[str, Any] = {"model": name, "batch": batch, **build(source, batch, threads, built), "engines": {}}
    record["onnx_bytes"] = source.stat().st_size
    for engine in ENGINES:
        path = built if engine == "magicmind" else source
        runs = [in_fresh_process([engine, str(path), str(source), str(batch), str(threads)]) for _ in range(repeat)]
        record["engines"][engine] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return record


def table(record: dict[str, Any]) -> str:
    lines = [
        "| network | batch | parse, s | build, s | .onnx, MB | .mm, MB | engine | open, ms "
        "| first result beyond a call, ms | peak, MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in record["cases"]:
        head = f"| {case['model']} | {case['batch']} | {case['parse_s']:.1f} | {case['build_s']:.1f} "
        head += f"| {case['onnx_bytes'] / 1e6:.1f} | {case['file_bytes'] / 1e6:.1f} "
        for engine, found in case["engines"].items():
            peak = found["peak_kib"] / 1024
            lines.append(f"{head}| {engine} | {found['open_ms']:.1f} | {found['extra_ms']:.1f} | {peak:.1f} |")
    overhead = record["call_overhead"]
    lines += ["", f"One call of a one-node model from Python: {overhead['fresh_us']:.1f} us"]
    lines[-1] += f" ({overhead['out_us']:.1f} us with `out=`)."
    lines += [
        "",
        "| network with open dims | kernel calls | plan of a new shape, ms | first call beyond a later one, ms |",
    ]
    lines.append("|---|---|---|---|")
    for row in record["new_shapes"]:
        lines.append(f"| {row['model']} | {row['steps']} | {row['plan_ms']:.2f} | {row['first_call_ms']:.2f} |")
    return "\n".join(lines)


def child(arguments: list[str]) -> None:
    name, path, source, batch, threads = arguments
    print(json.dumps(measure_open(name, Path(path), Path(source), int(batch), int(threads))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=sorted(models.MODELS), default=["resnet50", "mobilenetv2"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--new-shapes", nargs="*", choices=sorted(NEW_SHAPES), default=sorted(NEW_SHAPES))
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        settings = (arguments.batch, arguments.threads, arguments.repeat, folder)
        rows = [measure_model(name, *settings) for name in arguments.models]
        record = {"machine": machine(), "cases": rows, "call_overhead": call_overhead(folder)}
        record["new_shapes"] = [new_shape(name, arguments.threads) for name in arguments.new_shapes]
    print(table(record))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
    else:
        main()
