"""Pictures through a model: decoding and preparing, the engine's work, and what is made of its outputs, turn by turn.

A turn is a few batches. Where there are CPUs beside the engine's, the pictures of the next turn are prepared and the
results of the last one worked off while the engine runs. Where the engine has all of them, the two alternate, each
with all CPUs: a decoder on one of the engine's CPUs makes the others wait at every barrier, and costs several times
what it does. Only the files of the next turn are read into memory meanwhile.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.runtime import Session
from magicmind.runtime.limits import available_cpus
from magicmind.zoo.geometry import Array, opencv
from magicmind.zoo.preparation import BrokenImage, Preparation, Prepared
from magicmind.zoo.tasks.task import Item

MOST_WORKERS = 8
"""Threads that prepare pictures: as many as they have CPUs, but no more than these."""
TURN = 8
"""Pictures of a turn, at least: waiting for the last of them to be decoded is then a small part of it."""


@dataclass(frozen=True)
class Loaded:
    """A prepared picture; `pixels` is what was read, in the network's channel order, where it is wanted.

    seconds: of one CPU, for reading and preparing it.
    """

    item: Item
    prepared: Prepared
    pixels: Array | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Broken:
    """A picture that could not be read."""

    item: Item
    reason: str


@dataclass
class Times:
    """Seconds: all of them, in the engine, and of the engine's thread waiting for pictures.

    preparing: seconds of one CPU that reading and preparing took, beside the engine.
    """

    total: float = 0.0
    engine: float = 0.0
    waiting: float = 0.0
    preparing: float = 0.0
    pictures: int = 0

    @property
    def rate(self) -> float:
        """Pictures per second, from file to result."""
        return self.pictures / self.total if self.total else 0.0


Work = Callable[[Loaded, Sequence[Array]], Any]
"""Makes something of the outputs of one picture."""


@dataclass
class Pipeline:
    """batch: pictures a call. padded: whether a last batch is filled up, as models with a fixed batch need it."""

    session: Session
    preparation: Preparation
    batch: int
    padded: bool
    keep_pixels: bool = False
    times: Times = field(default_factory=Times)

    def run(self, items: Iterable[Item], work: Work) -> Iterator[tuple[Item, Any]]:
        """(item, what `work` made of it, or Broken) in order.

        Closing the iterator, or an exception in its consumer, ends the threads.
        """
        opencv().setNumThreads(1)  # the pool is the parallelism; OpenCV's own threads would take the engine's CPUs
        start = time.perf_counter()
        cpus = available_cpus()
        left_over = cpus - self.session.engine.threads
        beside = left_over > 0
        pool = ThreadPoolExecutor(min(left_over if beside else cpus, MOST_WORKERS), "zoo")
        waiting = iter(items)
        size = self.batch * -(-TURN // self.batch)
        finishing: list[tuple[Item, Future[Any] | Broken]] = []
        try:
            coming = self._load_all(pool, islice(waiting, size))
            while coming:
                loading, following = coming, list(islice(waiting, size))
                if beside:
                    coming = self._load_all(pool, following)
                else:
                    read_ahead(item.path for item in following)
                before = time.perf_counter()
                loaded = [future.result() for future in loading]
                self.times.waiting += time.perf_counter() - before
                outputs = self._call([picture for picture in loaded if isinstance(picture, Loaded)])
                yield from _finished(finishing)
                finishing = [
                    (p.item, p if isinstance(p, Broken) else pool.submit(work, p, next(outputs))) for p in loaded
                ]
                if not beside:
                    coming = self._load_all(pool, following)
            yield from _finished(finishing)
        finally:
            pool.shutdown(cancel_futures=True)
            self.times.total += time.perf_counter() - start

    def _load_all(self, pool: ThreadPoolExecutor, items: Iterable[Item]) -> list[Future[Loaded | Broken]]:
        return [pool.submit(self._load, item) for item in items]

    def _load(self, item: Item) -> Loaded | Broken:
        begin = time.thread_time()
        try:
            pixels = self.preparation.read(item.path)
            prepared = self.preparation.of(pixels)
            return Loaded(item, prepared, pixels if self.keep_pixels else None, time.thread_time() - begin)
        except BrokenImage as error:
            return Broken(item, str(error))

    def _call(self, pictures: Sequence[Loaded]) -> Iterator[list[Array]]:
        """The engine's outputs, picture by picture."""
        found: list[list[Array]] = []
        for start in range(0, len(pictures), self.batch):
            group = pictures[start : start + self.batch]
            pixels = [loaded.prepared.pixels for loaded in group]
            if self.padded:
                pixels += pixels[-1:] * (self.batch - len(pixels))
            feed = np.stack(pixels)
            before = time.perf_counter()
            outputs = list(self.session.run({self.session.inputs[0].name: feed}).values())
            self.times.engine += time.perf_counter() - before
            found += [[output[i] for output in outputs] for i in range(len(group))]
        self.times.pictures += len(pictures)
        self.times.preparing += sum(loaded.seconds for loaded in pictures)
        return iter(found)


def _finished(results: Iterable[tuple[Item, Future[Any] | Broken]]) -> Iterator[tuple[Item, Any]]:
    for item, found in results:
        yield item, found if isinstance(found, Broken) else found.result()


def read_ahead(paths: Iterable[Path]) -> None:
    """Has the files read into memory, without waiting for it. What is wrong with one is said by who reads it."""
    for path in paths:
        with suppress(OSError):
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(file)
