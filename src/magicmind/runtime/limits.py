"""How many threads this process may use at all."""

from __future__ import annotations

import os
from pathlib import Path

from magicmind import knobs
from magicmind.errors import Error


def available_cpus() -> int:
    """CPUs that this process may keep busy: the lesser of CPU affinity and cgroup quota."""
    allowed, quota = len(os.sched_getaffinity(0)), cgroup_quota()
    return allowed if quota is None else min(allowed, quota)


def thread_limit() -> int:
    """The hard upper bound of threads: the lesser of the CPUs there are and MAGICMIND_NUM_THREADS (OMP_NUM_THREADS)."""
    bound = available_cpus()
    wanted = knobs.NUM_THREADS.integer()
    if wanted is None:
        # OpenMP allows a list, one number per nesting level: the first is the outermost.
        first = knobs.OMP_NUM_THREADS.text().split(",")[0].strip()
        wanted = int(first) if first.isdigit() and int(first) else None
    elif wanted < 1:
        raise Error(f"MAGICMIND_NUM_THREADS={wanted}: at least one thread is needed", hint="set it to 1 or more")
    return max(1, bound if wanted is None else min(bound, wanted))


def cgroup_quota(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int | None:
    """CPUs (rounded up) that the control groups of this process allow; None without a quota."""
    quotas = [quota for folder in _folders(root, membership) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _folders(root: Path, membership: Path) -> list[Path]:
    """The process's control groups and those around them, versions 2 and 1."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    folders: list[Path] = [root, root / "cpu", root / "cpu,cpuacct"]
    for line in lines:
        controllers, _, group = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        relative = Path(group.lstrip("/"))
        base = root / controllers if controllers else root
        folders += [base / part for part in (relative, *relative.parents)]
    return list(dict.fromkeys(folders))


def _quota(folder: Path) -> int | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        if quota == "max" or int(quota) <= 0:
            return None
        return max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return None  # no such controller here
