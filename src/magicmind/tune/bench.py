"""Runs variants of a network against each other, in turns: a layer is measured where it stands, with the caches as its
neighbours leave them. Measured alone, with its weights in cache, it would be judged by what never happens."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from magicmind.errors import Error
from magicmind.runtime.context import Context
from magicmind.runtime.engine import Engine
from magicmind.runtime.model import Model
from magicmind.tune.picks import Picks
from magicmind.tune.sizes import Feeds, Sizes

_WARM, _TIMED = 1, 3
"""Calls of one turn: those before the first is timed bring code and weights back after the other variant's turn."""
_LEAST_ROUNDS, _MOST_ROUNDS = 3, 60
_LEAST_COMPARISONS = 16
_TURN_SECONDS = 0.04
"""A turn of a whole-network comparison takes so long, or one call."""

Times = dict[str, float]
"""Times by key, over all layers of that key, as shares of the first trial's call: every input counts the same."""


@dataclass
class Trial:
    """A built variant: its contexts with the inputs to run, and the key behind every step."""

    model: Model
    steps: tuple[str | None, ...]
    engine: Engine
    runs: list[tuple[Context, Feeds]]

    def renew(self) -> None:
        """Fresh memory: where the pages of an arena happen to lie makes some percent of a call's time."""
        for context, _ in self.runs:
            context.close()
        self.runs = [(self.engine.context(), feeds) for _, feeds in self.runs]

    def close(self) -> None:
        self.model.close()


class Bench:
    """Builds and measures variants. `build` compiles and opens the network with the picks it is given."""

    def __init__(
        self,
        build: Callable[[Picks], Model],
        inputs: Sequence[tuple[Sizes, Feeds]],
        threads: int,
        at: str,
    ) -> None:
        self._build, self._inputs = build, inputs
        self._threads, self._at = threads, at
        self._calls: list[float] = []
        """Nanoseconds of the first measured trial's call, by input: the unit of all times."""

    def open(self, picks: Mapping[str, str]) -> Trial:
        """A variant, run once. Raises Error when the network refuses the inputs."""
        chooser = Picks(picks, self._at)
        model = self._build(chooser)
        engine = model.engine(self._threads)
        runs = [(engine.context(), feeds) for _, feeds in self._inputs]
        for (context, feeds), (sizes, _) in zip(runs, self._inputs, strict=True):
            try:
                context.run(feeds)
            except Error as error:
                model.close()
                raise Error(
                    f"the network cannot be measured: random inputs of sizes {sizes} do not fit ({error})",
                    hint="build it without tune, or with shapes that fit it",
                ) from error
        return Trial(model, chooser.steps, engine, runs)

    def layer_times(self, trials: Sequence[Trial], seconds: float) -> list[Times]:
        """Of every trial the least time of each step over rounds of turns, summed by key and over the inputs."""
        steps = [[[float("inf")] * len(trial.steps) for _ in trial.runs] for trial in trials]
        end = time.perf_counter() + seconds
        for done in range(_MOST_ROUNDS):
            if done >= _LEAST_ROUNDS and time.perf_counter() > end:
                break
            for trial, least in zip(trials, steps, strict=True):
                for i, (context, feeds) in enumerate(trial.runs):
                    for _ in range(_WARM):
                        context.run(feeds)
                    for _ in range(_TIMED):
                        stamps = context.profile(feeds)[1]
                        took = [b - a for a, b in itertools.pairwise(stamps)]
                        least[i] = [min(pair) for pair in zip(least[i], took, strict=True)]
        self._calls = self._calls or [sum(least) for least in steps[0]]
        return [_by_key(trial.steps, least, self._calls) for trial, least in zip(trials, steps, strict=True)]

    def call_times(self, base: Trial, other: Trial, seconds: float) -> list[tuple[float, float]]:
        """Rounds of turns: (base, other) time of the fastest whole call, as a share like `Times`.

        Every round has fresh memory, so that two equal networks differ by chance only.
        """
        rounds = []
        end = time.perf_counter() + seconds
        for done in range(_MOST_ROUNDS):
            if done >= _LEAST_COMPARISONS and time.perf_counter() > end:
                break
            base.renew()
            other.renew()
            turns = [(_turn(*a), _turn(*b)) for a, b in zip(base.runs, other.runs, strict=True)]
            shares = [(1e9 * a / call, 1e9 * b / call) for (a, b), call in zip(turns, self._calls, strict=True)]
            rounds.append((sum(a for a, _ in shares), sum(b for _, b in shares)))
        return rounds


def _turn(context: Context, feeds: Feeds) -> float:
    """Seconds of the fastest call of a turn, after one call that is not counted."""
    context.run(feeds)
    least, end = float("inf"), time.perf_counter() + _TURN_SECONDS
    while True:
        start = time.perf_counter()
        context.run(feeds)
        now = time.perf_counter()
        least = min(least, now - start)
        if now > end:
            return least


def _by_key(steps: Sequence[str | None], runs: Sequence[Sequence[float]], calls: Sequence[float]) -> Times:
    times: Times = {}
    for i, key in enumerate(steps):
        if key is not None:
            times[key] = times.get(key, 0.0) + sum(least[i] / call for least, call in zip(runs, calls, strict=True))
    return times
