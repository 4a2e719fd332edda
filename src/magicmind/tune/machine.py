"""What measured times depend on besides the layer: the CPU, the number of threads, the code generator."""

from __future__ import annotations

import functools
import hashlib
import platform
from pathlib import Path

import llvmlite

from magicmind import knobs
from magicmind.codegen.target import Target
from magicmind.errors import TargetError
from magicmind.runtime.cpu import cache_sizes, capped, cpu_features
from magicmind.runtime.limits import thread_limit

_GENERATOR = ("codegen", "kernels", "lower")
"""Folders whose sources decide what code a schedule becomes."""


def check_runnable(target: Target) -> None:
    """Raises TargetError when this machine cannot measure code for `target` with the threads it is built for."""
    missing = set(target.requires) - cpu_features()
    if not target.triple.startswith(platform.machine()) or missing:
        raise TargetError(
            f"{target.name} cannot be tuned here: this machine does not run its code",
            hint="build on a machine of that kind, or leave tune out",
        )
    if capped(frozenset(target.requires), knobs.TARGET.text()):
        raise TargetError(
            f"{target.name} cannot be tuned here: MAGICMIND_TARGET={knobs.TARGET.text()} forbids its code",
            hint="unset MAGICMIND_TARGET, or leave tune out",
        )
    if target.threads > thread_limit():
        raise TargetError(
            f"schedules for {target.threads} threads cannot be measured with {thread_limit()} CPUs",
            hint="leave threads out, or tune on a machine with enough CPUs",
        )


def identity(target: Target) -> dict[str, str | int]:
    """Times measured under one identity may be compared and kept."""
    features = hashlib.sha256(" ".join(sorted(cpu_features())).encode()).hexdigest()[:12]
    return {
        "cpu": cpu_name(),
        "features": features,
        "l2": cache_sizes()[1],
        "target": target.name,
        "threads": target.threads,
        "generator": generator_version(),
    }


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Name, family, model and stepping of the first processor, as far as the system tells."""
    wanted = ("model name", "cpu family", "model", "stepping", "CPU implementer", "CPU part")
    fields: dict[str, str] = {}
    for line in cpuinfo.read_text(errors="replace").partition("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        if key.strip() in wanted:
            fields[key.strip()] = value.strip()
    return " ".join(fields[key] for key in wanted if key in fields) or platform.machine()


@functools.cache
def generator_version() -> str:
    """Changes with the sources of the code generator and with llvmlite."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256(llvmlite.__version__.encode())
    for folder in _GENERATOR:
        for file in sorted((package / folder).rglob("*.py")):
            if not file.name.endswith("_test.py"):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
