"""The blocks that `mm_run` prints, as public scripts read them (MagicMind 0.13 and 0.14)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from magicmind.mmtools.measure import Array, Result
from magicmind.mmtools.utilization import Utilization
from magicmind.tensorinfo import TensorInfo

TYPE_NAMES = {"float32": "FLOAT", "float16": "HALF"}
KEY = 30
"""Columns of a key."""


def type_name(dtype: str) -> str:
    """The name of a numpy dtype on MagicMind's command lines: FLOAT for float32."""
    return TYPE_NAMES.get(dtype, dtype.upper())


def heading(title: str, width: int = 20) -> str:
    """`==================== Title`."""
    return f"{'=' * width} {title}"


def log_lines(result: Result, threads: int, devices: Sequence[int], engine: float, constants: int) -> list[str]:
    """How long each step took, and the bytes of constants and of a context.

    threads: of each device; engine: the seconds that making one took.
    """
    arena = result.workers[0].arena
    workspace = "UNAVAILABLE" if arena is None else f"{arena / 1e6:f} (MB)"
    lines = [
        _took("CreateEngine", engine),
        f"[MMINFO]  Constdata Size: {constants / 1e6:f} (MB)",
        f"[MMINFO]  ContextMaxworkspace Size: {workspace}",
    ]
    lines += [_took("CreateContext", worker.context) for worker in result.workers]
    for number, worker in enumerate(result.workers):
        name = f"dev_{devices[number // threads]}_thread_{number % threads}"
        lines += [_took(f"{name}_warm_up", worker.warm_up), _took(f"{name}_e2e", worker.seconds)]
    return lines


def created(seconds: float) -> str:
    """The line about opening the model."""
    return _took("CreateModel", seconds)


def _took(name: str, seconds: float) -> str:
    return f"[MMINFO]  {name} time is {1e3 * seconds:.3f} ms"


def device_block(device: int, target: str, cpus: int) -> list[str]:
    """This CPU, under the keys of a card."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    rows = {"Device ID:": str(device), "Compute Capability:": target, "Cluster Number:": str(cpus)}
    rows["Total Memory Size:"] = f"{memory} (MB)"
    return [f"{key:{KEY}}{value}" for key, value in rows.items()]


def model_block(
    kind: str, infos: Sequence[TensorInfo], arrays: Mapping[str, Array], layouts: Sequence[str]
) -> list[str]:
    """The inputs or outputs at the shapes they are run with; layouts: as the model's manifest has them, if it has."""
    lines = [f"Buffer Info: {kind}", f"Num: {len(infos)}"]
    for i, info in enumerate(infos):
        array = arrays[info.name]
        lines += [
            f"[{i}]: ",
            f"  Name: {info.name}",
            f"  Datatype: {type_name(array.dtype.name)}",
            f"  Layout: {layouts[i] if i < len(layouts) else 'NONE'}",
            f"  Dim: {list(array.shape)}",
            f"  Size: {array.nbytes}",
            f"  Ptr Addr: {array.ctypes.data:#x}",
            "  TensorLoc: kHost",
        ]
    return lines


def utilization_block(found: Utilization, devices: Sequence[int]) -> list[str]:
    """How busy the CPU was and the memory of the process: one CPU, whichever device it is called."""
    lines = [heading("Device Utilization Summary")]
    for device in devices:
        for name, values in (("chip_util(%)", found.chip), ("mem_info(MB)", found.memory)):
            if values:
                ends = {"min": min(values), "max": max(values), "mean": np.mean(values), "median": np.median(values)}
                said = " ".join(f"{key}: {value:<5.4g}" for key, value in ends.items())
                lines.append(f"{f'dev{device}_{name}:':{KEY}}{said}".rstrip())
    return lines


def performance(result: Result, batches: Sequence[int]) -> dict[str, Any]:
    """The numbers of the performance summary: seconds, items per second, milliseconds. batches: items by group."""
    times = result.times
    items = sum(runs * batch for runs, batch in zip(result.runs, batches, strict=True))
    return {
        "iterations": len(times.compute),
        "host_wall_time_s": result.wall,
        "compute_time_s": float(sum(times.compute)),
        "throughput_qps": items / result.wall,
        "batch": max(batches),
        "enqueue_ms": spread(times.enqueue),
        "h2d_ms": spread(times.copy_in),
        "compute_ms": spread(times.compute),
        "d2h_ms": spread(times.copy_out),
    }


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds: min, max, mean, median, percentiles 90, 95 and 99."""
    ms = 1e3 * np.asarray(seconds, np.float64)
    values = [ms.min(), ms.max(), ms.mean(), np.median(ms), *np.percentile(ms, (90, 95, 99))]
    return dict(zip(("min", "max", "mean", "median", "p90", "p95", "p99"), map(float, values), strict=True))


def performance_block(found: Mapping[str, Any]) -> list[str]:
    """The summary that scripts parse: `Throughput (qps):` and a plain number."""
    lines = [
        heading("Performance Summary"),
        f"{'Iterations:':{KEY}}{found['iterations']}",
        f"{'Host Wall Time (s):':{KEY}}{found['host_wall_time_s']:.6g}",
        f"{'MLU Compute Time (s):':{KEY}}{found['compute_time_s']:.6g}",
        f"{'Throughput (qps):':{KEY}}{found['throughput_qps']:.6g}",
    ]
    for title, key in (
        ("Enqueue Time (ms):", "enqueue_ms"),
        ("H2D Latency (ms):", "h2d_ms"),
        ("MLU Compute Latency (ms):", "compute_ms"),
        ("D2H Latency (ms):", "d2h_ms"),
    ):
        lines += [title, _spread_line(found[key])]
    return lines


def _spread_line(values: Mapping[str, float]) -> str:
    named = [f"{name}: {values[name]:<10.5g}" for name in ("min", "max", "mean", "median")]
    percentiles = [f"({name}%) {values[f'p{name}']:<10.5g}" for name in (90, 95, 99)]
    return " ".join([*named, "percentile:", *percentiles]).rstrip()


def stretches(count: int, least: int, lines: int) -> list[slice]:
    """Runs whose averages are a line each: `least` of them, or as many more as make it `lines` lines; none of few."""
    size = max(least, count // lines)
    if count <= least:
        return []
    return [slice(first, first + size) for first in range(0, min(count // size, lines) * size, size)]


def trace_block(compute: Sequence[float], enqueue: Sequence[float], least: int = 100, lines: int = 10) -> list[str]:
    """Averages over neighbouring runs, as `stretches` says."""
    parts = stretches(len(compute), least, lines)
    found = [f"Trace averages of {part.stop - part.start} runs:" for part in parts[:1]]
    for part in parts:
        mean, queue = (1e3 * float(np.mean(x[part])) for x in (compute, enqueue))
        found.append(f"  MLU Compute Latency (ms): {mean:<12.5g}Enqueue: {queue:<10.5g}".rstrip())
    return found
