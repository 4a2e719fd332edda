"""Compares engines on the same model and inputs: one process per engine, alternating rounds, medians over rounds.

Each engine lives in one process for the whole sitting, so that caches, pools and code stay as in a long-running
service. Between its turns a process is stopped with SIGSTOP: default thread pools spin while idle, and would slow the
one being measured; a fresh process per round would measure cold memory instead.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import models
import numpy as np
import report
from engines import ENGINES, REFERENCE


class WorkerProcess:
    """The parent's end of one worker; stopped except while it answers."""

    def __init__(self, engine: str) -> None:
        script = Path(__file__).with_name("worker.py")
        self.engine = engine
        self.process = subprocess.Popen(
            [sys.executable, str(script), engine], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Sends one command, waits for its answer. Raises EngineFailure when the engine raised or died."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        line = self.process.stdout.readline()
        self.process.send_signal(signal.SIGSTOP)
        if not line:
            raise EngineFailure(f"{self.engine}: the process ended while asked to {do}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise EngineFailure(f"{self.engine}: {answer['error']}")
        return answer

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class EngineFailure(Exception):
    """An engine could not open or run a network; the sitting goes on without it."""


@dataclass(frozen=True)
class Case:
    """One row of the table: a network at one batch and thread count. `path` is a file of the user's or None.

    built: files of engines that open one of their own instead.
    """

    model: str
    batch: int
    threads: int
    path: Path | None = None
    built: Mapping[str, Path] = field(default_factory=dict)

    def onnx_path(self, folder: Path | None) -> Path:
        return self.path or models.ensure(self.model, "N", folder)


def random_feeds(path: Path, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Seeded arrays for the inputs of a model: pixels for uint8, else normal float32.

    A symbolic first dim is the batch, others have the extents of `models.EXTENTS`, or 1.
    """
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    stored = {t.name for t in graph.initializer}
    rng = np.random.default_rng(seed)
    feeds = {}
    for value in graph.input:
        if value.name in stored:
            continue
        dims = [d.dim_value or models.EXTENTS.get(d.dim_param, 1) for d in value.type.tensor_type.shape.dim]
        if not value.type.tensor_type.shape.dim[0].dim_value:
            dims[0] = batch
        pixels = value.type.tensor_type.elem_type == onnx.TensorProto.UINT8
        feeds[value.name] = rng.integers(0, 256, dims, np.uint8) if pixels else rng.standard_normal(dims, np.float32)
    return feeds


def run_case(case: Case, engines: list[str], rounds: int, seconds: float, folder: Path | None) -> dict[str, Any]:
    """Measures all engines on one case. Returns the record that the table, the plot and the JSON are made of."""
    path = case.onnx_path(folder)
    failures: dict[str, str] = {}
    workers = {name: WorkerProcess(name) for name in engines}
    samples: dict[str, list[list[float]]] = {name: [] for name in engines}
    outputs: dict[str, list[np.ndarray]] = {}
    try:
        with tempfile.TemporaryDirectory() as scratch:
            feeds_file = str(Path(scratch) / "feeds.npz")
            np.savez(feeds_file, **random_feeds(path, case.batch))  # type: ignore[arg-type]
            for name, worker in workers.items():
                try:
                    worker.ask("open", path=str(case.built.get(name, path)), feeds=feeds_file, threads=case.threads)
                    outputs[name] = _outputs(worker, Path(scratch) / f"{name}.npz")
                except EngineFailure as failure:
                    failures[name] = str(failure)
                    print(f"  left out: {failure}", file=sys.stderr)
            for _ in range(rounds):
                for name in outputs:
                    answer = workers[name].ask("measure", warmup=seconds / 4, seconds=seconds, at_least=5)
                    samples[name].append(answer["samples"])
    finally:
        for worker in workers.values():
            worker.close()
    return {
        "model": case.model,
        "batch": case.batch,
        "threads": case.threads,
        "engines": {name: _summary(samples[name], outputs[name], outputs.get(REFERENCE)) for name in outputs},
        "failures": failures,
    }


def _outputs(worker: WorkerProcess, file: Path) -> list[np.ndarray]:
    worker.ask("outputs", to=str(file))
    with np.load(file) as stored:
        return [stored[name] for name in stored.files]


def _summary(
    rounds: list[list[float]], outputs: list[np.ndarray], reference: list[np.ndarray] | None
) -> dict[str, Any]:
    milliseconds = [[1e3 * s for s in samples] for samples in rounds]
    return {
        "round_min_ms": [min(r) for r in milliseconds],
        "round_median_ms": [statistics.median(r) for r in milliseconds],
        "calls": sum(len(r) for r in milliseconds),
        "error": None if reference is None else relative_l2(outputs, reference),
    }


def relative_l2(outputs: list[np.ndarray], reference: list[np.ndarray]) -> float:
    """Largest over the outputs of |a - b| / |b|, in float64."""
    pairs = zip(outputs, reference, strict=True)
    return max(float(np.linalg.norm(a.astype(np.float64) - b) / max(np.linalg.norm(b), 1e-30)) for a, b in pairs)


def machine() -> dict[str, Any]:
    """CPU model, usable CPUs, versions and today's date, for the head of every table."""
    from importlib.metadata import PackageNotFoundError, version

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    field = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = field.get("flags", "").split()
    versions = {}
    for package in ("magicmind", "onnxruntime", "openvino", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "cpu": field.get("model name", "unknown"),
        "family_model": f"{field.get('cpu family', '?')}/{field.get('model', '?')}",
        "vector": [flag for flag in ("avx2", "avx512f", "avx512_vnni", "amx_tile") if flag in flags],
        "cpus": len(os.sched_getaffinity(0)),
        "versions": versions,
        "date": date.today().isoformat(),
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=sorted(models.MODELS), default=["resnet50", "mobilenetv2"])
    parser.add_argument("--files", nargs="*", type=Path, default=[], help="further ONNX files")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", nargs="+", type=int, default=[2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="measured time per engine and round")
    parser.add_argument(
        "--engines", nargs="+", choices=sorted(ENGINES), default=["magicmind", "onnxruntime", "openvino"]
    )
    parser.add_argument("--folder", type=Path, default=None, help="where generated models are kept")
    parser.add_argument("--json", type=Path, default=None, help="write all figures here")
    parser.add_argument("--plot", type=Path, default=None, help="write a bar chart here (png or svg)")
    return parser.parse_args()


def cases(arguments: argparse.Namespace) -> list[Case]:
    grid = [(b, t) for b in arguments.batches for t in arguments.threads]
    built = [Case(name, b, t) for name in arguments.models for b, t in grid]
    return built + [Case(path.stem, b, t, path) for path in arguments.files for b, t in grid]


def main() -> None:
    arguments = parse_arguments()
    record: dict[str, Any] = {"machine": machine(), "rounds": arguments.rounds, "cases": []}
    for case in cases(arguments):
        print(f"{case.model}, batch {case.batch}, {case.threads} threads", file=sys.stderr)
        record["cases"].append(run_case(case, arguments.engines, arguments.rounds, arguments.seconds, arguments.folder))
    print(report.table(record))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")
    if arguments.plot:
        report.plot(record, arguments.plot)


if __name__ == "__main__":
    main()
