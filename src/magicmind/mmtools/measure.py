"""Runs a model as `mm_run` does: warm-up, then at least so many runs and so much time, in several threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Feeds = Mapping[str, Array]


class Runs(Protocol):
    """A context."""

    def run(self, feeds: Mapping[str, Array], out: Mapping[str, Array] | None = None) -> dict[str, Array]: ...

    def __enter__(self) -> Runs: ...

    def __exit__(self, *_: object) -> None: ...


class Engine(Protocol):
    """What is measured: an engine here, or one on a server."""

    def context(self) -> Runs: ...


@dataclass
class Times:
    """Seconds of every measured run, in the order they ended; a run copies its inputs in, computes, copies out."""

    enqueue: list[float] = field(default_factory=list)
    copy_in: list[float] = field(default_factory=list)
    compute: list[float] = field(default_factory=list)
    copy_out: list[float] = field(default_factory=list)

    def add(self, other: Times) -> None:
        """Joins the runs of another thread."""
        for name in ("enqueue", "copy_in", "compute", "copy_out"):
            getattr(self, name).extend(getattr(other, name))


@dataclass(frozen=True)
class Load:
    """How long and how wide: milliseconds of warm-up and measurement, runs at least, threads."""

    warmup: int
    duration: int
    iterations: int
    threads: int
    copies: bool = True


@dataclass
class Result:
    """What was measured. `wall` seconds include everything between the first run and the last."""

    times: Times
    wall: float
    warmup: float
    outputs: dict[str, Array]


def measure(engine: Engine, groups: Sequence[Feeds], load: Load) -> Result:
    """Runs the groups round-robin. An error of a thread is raised here."""
    began = time.perf_counter()
    outputs = _warm_up(engine, groups, load.warmup / 1e3)
    warm = time.perf_counter() - began
    total, lock, failures = Times(), threading.Lock(), []
    share = -(-load.iterations // load.threads)
    start = time.perf_counter()

    def work() -> None:
        try:
            found = _runs(engine, groups, share, start + load.duration / 1e3, load.copies)
        except BaseException as failure:  # raised again in the caller's thread
            failures.append(failure)
            return
        with lock:
            total.add(found)

    workers = [threading.Thread(target=work) for _ in range(load.threads - 1)]
    for worker in workers:
        worker.start()
    work()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    return Result(total, time.perf_counter() - start, warm, outputs)


def _warm_up(engine: Engine, groups: Sequence[Feeds], seconds: float) -> dict[str, Array]:
    until = time.perf_counter() + seconds
    with engine.context() as context:
        outputs = context.run(dict(groups[0]))
        while time.perf_counter() < until:
            for feeds in groups:
                context.run(dict(feeds))
    return outputs


def _runs(engine: Engine, groups: Sequence[Feeds], least: int, until: float, copies: bool) -> Times:
    """The runs of one thread, in a context of its own."""
    times = Times()
    places: list[dict[str, Array]] = [{name: np.empty_like(array) for name, array in feeds.items()} for feeds in groups]
    results: list[dict[str, Array] | None] = [None] * len(groups)
    done = 0
    with engine.context() as context:
        while done < least or time.perf_counter() < until:
            index = done % len(groups)
            source, place = groups[index], places[index] if copies else dict(groups[index])
            t0 = time.perf_counter()
            if copies:
                for name, array in source.items():
                    np.copyto(place[name], array)
            t1 = time.perf_counter()
            found = context.run(place, results[index])
            t2 = time.perf_counter()
            results[index] = found
            if copies:
                for array in found.values():
                    array.copy()
            t3 = time.perf_counter()
            for name, seconds in (("copy_in", t1 - t0), ("compute", t2 - t1), ("copy_out", t3 - t2)):
                getattr(times, name).append(seconds)
            times.enqueue.append(t2 - t1)
            done += 1
    return times
