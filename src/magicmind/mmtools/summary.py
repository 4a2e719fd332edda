"""The blocks that `mm_run` prints, as public scripts read them (MagicMind 0.13 and 0.14)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from magicmind.mmtools.measure import Result
from magicmind.tensorinfo import TensorInfo

TYPE_NAMES = {"float32": "FLOAT", "float16": "HALF"}
LAYOUTS = {4: "NHWC", 5: "NDHWC"}
KEY = 30
"""Columns of a key."""


def type_name(dtype: str) -> str:
    """The name of a numpy dtype on MagicMind's command lines: FLOAT for float32."""
    return TYPE_NAMES.get(dtype, dtype.upper())


def heading(title: str, width: int = 20) -> str:
    """`==================== Title`."""
    return f"{'=' * width} {title}"


def model_block(kind: str, infos: Sequence[TensorInfo], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The inputs or outputs with their sizes at the shapes they are run with."""
    lines = [f"Buffer Info: {kind}", f"Num: {len(infos)}"]
    for i, info in enumerate(infos):
        shape = shapes[info.name]
        dtype = np.dtype(info.dtype)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        channels_last = len(shape) in LAYOUTS and shape[-1] < min(shape[1:-1])
        lines += [
            f"[{i}]: ",
            f"  Name: {info.name}",
            f"  Datatype: {type_name(dtype.name)}",
            f"  Layout: {LAYOUTS[len(shape)] if channels_last else 'NONE'}",
            f"  Dim: {list(shape)}",
            f"  Size: {size}",
            "  TensorLoc: kHost",
        ]
    return lines


def performance(result: Result, batch: int) -> dict[str, Any]:
    """The numbers of the performance summary: seconds, items per second, milliseconds."""
    times = result.times
    count = len(times.compute)
    return {
        "iterations": count,
        "host_wall_time_s": result.wall,
        "compute_time_s": float(sum(times.compute)),
        "throughput_qps": count * batch / result.wall,
        "batch": batch,
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


def trace_block(compute: Sequence[float], enqueue: Sequence[float]) -> list[str]:
    """Averages over up to ten runs of neighbouring iterations."""
    size = max(100, len(compute) // 10)
    if len(compute) <= 100:
        return []
    lines = [f"Trace averages of {size} runs:"]
    for first in range(0, min(len(compute) // size, 10) * size, size):
        mean, queue = (1e3 * float(np.mean(x[first : first + size])) for x in (compute, enqueue))
        lines.append(f"  MLU Compute Latency (ms): {mean:<12.5g}Enqueue: {queue:<10.5g}".rstrip())
    return lines
