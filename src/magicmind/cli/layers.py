"""The per-layer profile of `magicmind run`: as a table, as JSON, as a Chrome trace file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magicmind.cli import text
from magicmind.runtime.profiler import Profile

_LONGEST_NAME = 60


def peak_gflops(threads: int) -> float | None:
    """The measured peak of that many threads; None where the packages that generate code are missing."""
    try:
        from magicmind.cli.peak import measured_gflops
    except ModuleNotFoundError:
        return None
    return measured_gflops(threads)


def as_json(profile: Profile, peak: float | None) -> dict[str, Any]:
    return {"runs": profile.runs, "total_us": profile.total_ns / 1e3, "peak_gflops": peak, "layers": profile.rows()}


def table(profile: Profile, peak: float | None) -> str:
    """Slowest layers first; below, the sum and what the percentages refer to."""
    head = ["us", "share", "GFLOP/s", "of peak", "GB/s", "op", "kernel", "nodes of the source"]
    lines = [text.table(head, [_row(row, peak) for row in profile.rows()])]
    flops = sum(step.flops for step in profile.steps)
    rate = flops / profile.total_ns if profile.total_ns else 0.0
    lines.append(f"\nmedian of {profile.runs} runs: {profile.total_ns / 1e3:.0f} us in {len(profile.steps)} steps,")
    lines[-1] += f" {flops / 1e9:.3f} GFLOP, {rate:.1f} GFLOP/s"
    if peak is None:
        lines.append("no share of peak: measuring it needs pip install 'magicmind[build]'")
    else:
        lines.append(f"peak, measured now on the same number of threads: {peak:.0f} GFLOP/s float32")
        lines[-1] += "; Winograd counts the multiplications of the plain convolution, and may exceed it"
    return "\n".join(lines)


def _row(row: dict[str, Any], peak: float | None) -> Sequence[str]:
    return (
        f"{row['us']:.1f}",
        f"{row['share']:.1%}",
        f"{row['gflops']:.1f}",
        "-" if peak is None else f"{row['gflops'] / peak:.0%}",
        f"{row['gbytes']:.1f}",
        row["op"],
        row["kernel"],
        row["node"] if len(row["node"]) <= _LONGEST_NAME else row["node"][: _LONGEST_NAME - 3] + "...",
    )


def write_trace(profile: Profile, path: Path) -> None:
    """The Chrome trace of one call; chrome://tracing and Perfetto open it."""
    path.write_text(json.dumps(profile.chrome_trace()) + "\n")
