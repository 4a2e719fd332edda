"""Runs a model as `mm_run` does: warm-up, then at least so many runs and so much time, in several threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from magicmind.errors import Error
from magicmind.runtime.context import Context

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
    """How long and how wide: milliseconds, the warm-up being the first part of the duration; runs at least; threads."""

    warmup: int
    duration: int
    iterations: int
    threads: int
    copies: bool = True


@dataclass
class Worker:
    """What one thread measured, and the seconds that making its context, its warm-up and its runs took."""

    context: float
    warm_up: float
    outputs: dict[str, Array]
    arena: int | None
    """Bytes of its context's memory, in the first group's shapes; None where that is on a server."""
    times: Times = field(default_factory=Times)
    seconds: float = 0.0
    runs: list[int] = field(default_factory=list)
    """Of each group."""


@dataclass
class Result:
    """What was measured. `wall` seconds include everything between the first run and the last."""

    workers: list[Worker]
    wall: float

    @property
    def outputs(self) -> dict[str, Array]:
        """Of the first group."""
        return self.workers[0].outputs

    @property
    def times(self) -> Times:
        """Of all threads together."""
        total = Times()
        for worker in self.workers:
            total.add(worker.times)
        return total

    @property
    def runs(self) -> list[int]:
        """Of each group, all threads together."""
        return [sum(counts) for counts in zip(*(worker.runs for worker in self.workers), strict=True)]


def measure(engine: Engine, groups: Sequence[Feeds], load: Load) -> Result:
    """Runs the groups round-robin; all threads warm up, then all begin. An error of a thread is raised here."""
    workers: dict[int, Worker] = {}
    failures: list[BaseException] = []
    begins: list[float] = []
    barrier = threading.Barrier(load.threads, action=lambda: begins.append(time.perf_counter()))
    share, opened = -(-load.iterations // load.threads), time.perf_counter()

    def work(number: int) -> None:
        try:
            with engine.context() as context:
                workers[number] = worker = _warm(context, groups, opened, load.warmup / 1e3)
                barrier.wait()
                _run(worker, context, groups, share, opened + load.duration / 1e3, load.copies)
        except threading.BrokenBarrierError:
            return  # another thread failed
        except BaseException as failure:  # raised again in the caller's thread
            failures.append(failure)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(1, load.threads)]
    try:
        for thread in threads:
            thread.start()
    except RuntimeError as error:
        barrier.abort()
        raise Error(f"the system does not give {load.threads} threads: {error}", hint="fewer --threads") from error
    work(0)
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return Result([workers[number] for number in range(load.threads)], time.perf_counter() - begins[0])


def _warm(context: Runs, groups: Sequence[Feeds], opened: float, seconds: float) -> Worker:
    """One run of every group at least; how long all of it took."""
    began = time.perf_counter()
    made = began - opened
    first = context.run(dict(groups[0]))
    arena = context.layout.arena_bytes if isinstance(context, Context) else None
    for feeds in groups[1:]:
        context.run(dict(feeds))
    while time.perf_counter() < opened + seconds:
        for feeds in groups:
            context.run(dict(feeds))
    return Worker(made, time.perf_counter() - began, first, arena, runs=[0] * len(groups))


def _run(worker: Worker, context: Runs, groups: Sequence[Feeds], least: int, until: float, copies: bool) -> None:
    """The measured runs of one thread."""
    times, began = worker.times, time.perf_counter()
    places: list[dict[str, Array]] = [{name: np.empty_like(array) for name, array in feeds.items()} for feeds in groups]
    results: list[dict[str, Array] | None] = [None] * len(groups)
    done = 0
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
        worker.runs[index] += 1
        done += 1
    worker.seconds = time.perf_counter() - began
