"""How busy this process keeps the CPU, and the memory it holds, while something is measured."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

SECONDS = 0.1
"""Between two samples."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Utilization:
    """Samples: percent of the CPUs that the process may use, and MB that are resident."""

    chip: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


@contextmanager
def sampled(cpus: int) -> Iterator[Utilization]:
    """Samples until the end of the block, and once there."""
    found, ended = Utilization(), threading.Event()
    state = [time.perf_counter(), _cpu_seconds()]

    def sample() -> None:
        now, used = time.perf_counter(), _cpu_seconds()
        if now > state[0]:
            found.chip.append(min(100.0, 100 * (used - state[1]) / (now - state[0]) / cpus))
            found.memory.append(_resident() / 1e6)
        state[:] = now, used

    def work() -> None:
        while not ended.wait(SECONDS):
            sample()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
        sample()


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system


def _resident() -> int:
    """Bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * _PAGE
