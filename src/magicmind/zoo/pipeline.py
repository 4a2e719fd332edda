"""Pictures through a model: decoding, preparing and what comes after overlap with the engine's work.

The engine is called from one thread, batch after batch; a pool of few threads prepares the batches to come and works
off the results, as both release the interpreter's lock for most of their time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from magicmind.runtime import Session
from magicmind.zoo.geometry import Array, opencv
from magicmind.zoo.preparation import BrokenImage, Preparation, Prepared
from magicmind.zoo.tasks.task import Item

WORKERS = 2
AHEAD = 3
"""Batches that are prepared ahead of the engine."""


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
        opencv().setNumThreads(1)  # the pool is the parallelism; OpenCV's own threads would take the engine's cores
        start = time.perf_counter()
        pool = ThreadPoolExecutor(WORKERS, "zoo")
        try:
            loading: deque[Future[Loaded | Broken]] = deque()
            finishing: deque[tuple[Item, Future[Any] | Broken]] = deque()
            waiting = iter(items)
            group: list[Loaded] = []
            while True:
                while len(loading) < AHEAD * self.batch and (item := next(waiting, None)) is not None:
                    loading.append(pool.submit(self._load, item))
                if not loading:
                    break
                before = time.perf_counter()
                loaded = loading.popleft().result()
                self.times.waiting += time.perf_counter() - before
                if isinstance(loaded, Broken):
                    finishing += self._call(pool, work, group)  # order: what came before it first
                    group = []
                    finishing.append((loaded.item, loaded))
                else:
                    self.times.preparing += loaded.seconds
                    group.append(loaded)
                if len(group) == self.batch:
                    finishing += self._call(pool, work, group)
                    group = []
                while len(finishing) > 2 * self.batch:
                    yield self._finished(finishing.popleft())
            finishing += self._call(pool, work, group)
            while finishing:
                yield self._finished(finishing.popleft())
        finally:
            pool.shutdown(cancel_futures=True)
            self.times.total += time.perf_counter() - start

    def _load(self, item: Item) -> Loaded | Broken:
        begin = time.thread_time()
        try:
            pixels = self.preparation.read(item.path)
            prepared = self.preparation.of(pixels)
            return Loaded(item, prepared, pixels if self.keep_pixels else None, time.thread_time() - begin)
        except BrokenImage as error:
            return Broken(item, str(error))

    def _finished(self, entry: tuple[Item, Future[Any] | Broken]) -> tuple[Item, Any]:
        item, found = entry
        return item, found if isinstance(found, Broken) else found.result()

    def _call(
        self, pool: ThreadPoolExecutor, work: Work, group: list[Loaded]
    ) -> list[tuple[Item, Future[Any] | Broken]]:
        """Runs the engine on a group; what `work` will make of its pictures."""
        if not group:
            return []
        pictures = [loaded.prepared.pixels for loaded in group]
        if self.padded:
            pictures += pictures[-1:] * (self.batch - len(pictures))
        feed = np.stack(pictures)
        before = time.perf_counter()
        outputs = list(self.session.run({self.session.inputs[0].name: feed}).values())
        self.times.engine += time.perf_counter() - before
        self.times.pictures += len(group)
        return [
            (loaded.item, pool.submit(work, loaded, [output[i] for output in outputs]))
            for i, loaded in enumerate(group)
        ]
