"""The lines that `mm_run` of MagicMind 1.0 and later prints, beside those of 0.13 under the same headings.

What scripts read in both is the line `Throughput (qps):`; it is there once, in the older form, which is a number alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from magicmind import __version__
from magicmind.mmtools.arguments import Flag
from magicmind.mmtools.measure import Result, Times
from magicmind.mmtools.shape_groups import Group
from magicmind.mmtools.summary import KEY, heading, spread, stretches, type_name
from magicmind.mmtools.utilization import Utilization
from magicmind.tensorinfo import TensorInfo

_CLOCKS = {"none": (), "host": ("host",), "dev": ("dev",), "both": ("host", "dev")}
"""Clocks whose lines `--trace_time` asks for; the device is the host, whose clock both are."""


def parameter_lines(flags: Sequence[Flag], values: Mapping[str, Any]) -> list[str]:
    """`--flag<Type>`, padded, `: value`; the versions and the process."""
    rows = {f"--{flag.name}<{_type(values[flag.name])}>": _shown(values[flag.name]) for flag in flags}
    width = max(map(len, rows)) + 1
    return [
        *(f"{key:{width}}: {value}".rstrip() for key, value in rows.items()),
        f"MagicMind: {__version__}",
        "CNRT: none",
        "CNAPI: none",
        f"PID: {os.getpid()}",
    ]


def _type(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"Vec<{_type(value[0])}>" if value else "Vec<Int>"
    return "Bool" if isinstance(value, bool) else "Int" if isinstance(value, int) else "Str"


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        inner = " ".join if value and isinstance(value[0], (list, tuple)) else ",".join
        return inner(_shown(v) for v in value) if value else "_"
    return "" if value is None else str(int(value) if isinstance(value, bool) else value)


def log_line(name: str, seconds: float) -> str:
    """`YYYY-MM-DD hh:mm:ss.ffffff: INFO: mm_run] <name> time is X ms.`"""
    return f"{_now()}: INFO: mm_run] {name} time is {1e3 * seconds:.3f} ms."


def _now() -> str:
    return datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")


def log_lines(
    result: Result, threads: int, devices: Sequence[int], seconds: Mapping[str, float], constants: int
) -> list[str]:
    """How long each step took, per device and thread, and the bytes of constants."""
    lines = [log_line("DeserializeModel", seconds["model"])]
    lines += [log_line(f"CreateEngine {i}", seconds["engine"]) for i in range(len(devices))]
    lines += [f"{_now()}: INFO: mm_run] Const data size: {constants / 1e6:f}(MB)"]
    for number, worker in enumerate(result.workers):
        where = f"dev_{devices[number // threads]}_thread_{number % threads}"
        lines += [
            log_line("CreateContext", worker.context),
            log_line(f"warmup_{where}", worker.warm_up),
            log_line(f"infer_{where}", worker.seconds),
        ]
    return lines


def model_lines(size: int, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> list[str]:
    """The bytes of the file, and its inputs and outputs with -1 where a size may change."""
    lines = [f"Size: {size / 1e6:f}(MB)", f"Input num: {len(inputs)}", "Input info [", *map(_info, inputs), "]"]
    return [*lines, f"Output num: {len(outputs)}", "Output info [", *map(_info, outputs), "]"]


def _info(info: TensorInfo) -> str:
    dims = [d if isinstance(d, int) else -1 for d in info.shape]
    return f"{info.name} : {dims}, {type_name(info.dtype.name)}"


def utilization_lines(found: Utilization, devices: Sequence[int]) -> list[str]:
    """Of the host, and of every device: the same CPU."""
    rows = {"chip_util(%):": found.chip, "mem_util(MB):": found.memory}
    lines = []
    for title in ("Host Occupancy Summary", *(f"Device {device} Utilization Summary" for device in devices)):
        lines.append(heading(title, 19))
        lines += [f"{key:{KEY}}{_spread(values)}" for key, values in rows.items() if values]
    return lines


def performance_lines(found: Mapping[str, Any], clocks: str) -> list[str]:
    """What the performance summary has beside the throughput."""
    lines = [
        f"{'Total iterations:':{KEY}}{found['iterations']}",
        f"{'Host wall time(s):':{KEY}}{found['host_wall_time_s']:.6g}",
    ]
    for clock in _CLOCKS[clocks] or ("host",):
        lines.append(f"Total MLU compute time({clock} clock, s): {found['compute_time_s']:.6g}")
    rate = found["iterations"] / found["host_wall_time_s"]
    lines.append(f"{'Total batch sizes:':{KEY}}{found['batch']} and {rate:.6g} iterations/second")
    return lines


def group_lines(result: Result, groups: Sequence[Group], clocks: str) -> list[str]:
    """The latencies of each group of shapes: copies in, computing, copies out, all of it."""
    lines: list[str] = []
    for i, group in enumerate(groups if _CLOCKS[clocks] else ()):
        named = ", ".join(f"{name}: {list(shape)}" for name, shape in group.items())
        times = _of_group(result, i, len(groups))
        if not times.compute:  # fewer runs than groups
            continue
        total = [sum(parts) for parts in zip(times.copy_in, times.compute, times.copy_out, strict=True)]
        lines.append(f"Input shape group {i}: [{named}]")
        for title, latency, duration in (
            ("H2D Summary", times.copy_in, times.copy_in),
            ("MLU Compute (Launch jobs) Summary", times.compute, times.enqueue),
            ("D2H Summary", times.copy_out, times.copy_out),
            ("Total Latency Summary(H2D + Compute + D2H)", total, None),
        ):
            lines.append(f"{title}:")
            lines += [f"  Latency({clock} clock, ms): {_spread(_ms(latency))}" for clock in _CLOCKS[clocks]]
            lines += [] if duration is None else [f"  Interface Duration(ms): {_spread(_ms(duration))}"]
    return lines


def _of_group(result: Result, index: int, count: int) -> Times:
    """The runs of one group: every thread takes them in turn."""
    found = Times()
    for worker in result.workers:
        found.add(Times(**{name: values[index::count] for name, values in vars(worker.times).items()}))
    return found


def _ms(seconds: Sequence[float]) -> list[float]:
    return [1e3 * s for s in seconds]


def _spread(values: Sequence[float]) -> str:
    found = spread([v / 1e3 for v in values])
    named = [f"{name}: {found[name]:.5g}" for name in ("min", "max", "mean", "median")]
    return " ".join([*named, "percentile:", *(f"({p}%) {found[f'p{p}']:.5g}" for p in (90, 95, 99))])


def trace_lines(compute: Sequence[float], threads: int, least: int, lines: int) -> list[str]:
    """Averages over neighbouring runs, as the older form has them too."""
    parts = stretches(len(compute), least, lines)
    if not parts:
        return []
    size = parts[0].stop - parts[0].start
    title = f"Trace average MLU Compute perf over {size} runs ({-(-size // threads)} per thread):"
    return [title, *(f"  Latency(host clock, ms): {1e3 * float(np.mean(compute[part])):.5g}" for part in parts)]
