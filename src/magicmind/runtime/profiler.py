"""Where the time of a call goes: one row per step, as data or as a Chrome trace."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from magicmind.errors import Error
from magicmind.runtime.context import Context

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class StepTime:
    """One step of the program. `ns`: median over the runs, as thread 0 saw it (waiting for others included)."""

    node: str
    op: str
    kernel: str
    epoch: int
    start_ns: float
    ns: float
    flops: int
    bytes: int

    @property
    def gflops(self) -> float:
        """Thousand million floating-point operations per second."""
        return self.flops / self.ns if self.ns else 0.0


@dataclass(frozen=True)
class Profile:
    """Times of all steps of a call."""

    steps: tuple[StepTime, ...]
    runs: int

    @property
    def total_ns(self) -> float:
        return sum(step.ns for step in self.steps)

    def rows(self) -> list[dict[str, Any]]:
        """Slowest first: node, op, kernel, microseconds, share of the whole, GFLOP/s, GB/s.

        Calls of one kernel for one node (its pictures one after the other) are one row.
        """
        whole = self.total_ns or 1.0
        return [
            {
                "node": step.node,
                "op": step.op,
                "kernel": step.kernel,
                "us": step.ns / 1e3,
                "share": step.ns / whole,
                "gflops": step.gflops,
                "gbytes": step.bytes / step.ns if step.ns else 0.0,
            }
            for step in sorted(_by_node(self.steps), key=lambda step: -step.ns)
        ]

    def chrome_trace(self) -> dict[str, Any]:
        """The JSON object that chrome://tracing and Perfetto open (times in microseconds)."""
        events = [
            {
                "name": step.node,
                "cat": step.op,
                "ph": "X",
                "ts": step.start_ns / 1e3,
                "dur": step.ns / 1e3,
                "pid": 0,
                "tid": 0,
                "args": {"kernel": step.kernel, "epoch": step.epoch, "flops": step.flops, "bytes": step.bytes},
            }
            for step in self.steps
        ]
        return {"traceEvents": events, "displayTimeUnit": "ms"}


def _by_node(steps: Iterable[StepTime]) -> Iterable[StepTime]:
    """Repeated calls of a kernel for a node as one, at the place of the first."""
    found: dict[tuple[str, str, str], StepTime] = {}
    for step in steps:
        key = (step.node, step.op, step.kernel)
        first = found.setdefault(key, step)
        if first is not step:
            found[key] = replace(
                first, ns=first.ns + step.ns, flops=first.flops + step.flops, bytes=first.bytes + step.bytes
            )
    return found.values()


def profile(context: Context, feeds: Mapping[str, Array], runs: int = 10, warmup: int = 2) -> Profile:
    """Runs the network `warmup + runs` times and takes the median time of each step. Raises Error for runs < 1."""
    if runs < 1:
        raise Error(f"runs={runs}: at least one run is needed")
    for _ in range(warmup):
        context.run(feeds)
    stamps = [context.profile(feeds)[1] for _ in range(runs)]
    layout, steps, start = context.layout, [], 0.0
    for index, step in enumerate(context.steps):
        ns = statistics.median(stamp[index + 1] - stamp[index] for stamp in stamps)
        flops, moved = layout.step_flops[index], layout.step_bytes[index]
        node, op, kernel = _joined(step["node"]), str(step["op"]), str(step["kernel"])
        steps.append(StepTime(node, op, kernel, int(step["epoch"]), start, ns, flops, moved))
        start += ns
    return Profile(tuple(steps), runs)


def _joined(node: Any) -> str:
    return node if isinstance(node, str) else " + ".join(str(name) for name in node)
