"""Never slower: a layer stays float where integers were measured slower on this machine.

Both networks run with time stamps, in turns; a layer's time is that of the steps that compute it, and of the pass that
makes its input integers where that is a step of its own. What is kept changes the neighbours too, so the last word has
the time of the whole network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from magicmind.quant.samples import Sample
from magicmind.runtime.model import Model
from magicmind.runtime.profiler import profile

_ROUNDS, _RUNS = 5, 3
_SLOWER = 1.05
"""A layer counts as slower from here: less is noise."""


@dataclass(frozen=True)
class Timed:
    """The layers that stay float, and milliseconds a call of the network in float, in integers, and as chosen."""

    kept: tuple[str, ...]
    float_ms: float
    integer_ms: float
    chosen_ms: float


def choose_by_time(
    build: Callable[[Sequence[str] | None], Model], layers: Sequence[str], sample: Sample, threads: int | None = None
) -> Timed:
    """`build`: the network with these layers kept in float, with all of them for None."""
    slower: tuple[str, ...] = ()
    with build(None) as floats, build(()) as integers:
        slower = slower_layers(floats, integers, layers, sample, threads)
        float_ms, integer_ms = whole_times([floats, integers], sample, threads)
        if not slower:
            best = min(float_ms, integer_ms)
            return Timed(tuple(layers) if float_ms < integer_ms else (), float_ms, integer_ms, best)
        with build(slower) as mixed:
            float_ms, integer_ms, mixed_ms = whole_times([floats, integers, mixed], sample, threads)
    choices = [(mixed_ms, slower), (integer_ms, ()), (float_ms, tuple(layers))]
    chosen_ms, kept = min(choices, key=lambda choice: choice[0])
    return Timed(kept, float_ms, integer_ms, chosen_ms)


def slower_layers(
    floats: Model, integers: Model, layers: Sequence[str], sample: Sample, threads: int | None = None
) -> tuple[str, ...]:
    """The layers whose steps take longer in `integers`."""
    times: list[dict[str, float]] = [{}, {}]
    contexts = [model.engine(threads).context() for model in (floats, integers)]
    for _ in range(_ROUNDS):
        for context, best in zip(contexts, times, strict=True):
            steps = profile(context, sample, runs=_RUNS, warmup=1).steps
            for name, ns in layer_times(((step.node, step.ns) for step in steps), layers).items():
                best[name] = min(best.get(name, np.inf), ns)
    before, after = times
    return tuple(name for name in layers if name in before and after.get(name, 0.0) > _SLOWER * before[name])


def layer_times(steps: Iterable[tuple[str, float]], layers: Iterable[str]) -> Mapping[str, float]:
    """The time of every layer. A step of several layers (a + b) counts for the first of them that is asked for."""
    wanted, found = set(layers), dict[str, float]()
    for node, ns in steps:
        name = next((source for source in node.replace(",", " + ").split(" + ") if source in wanted), None)
        if name is not None:
            found[name] = found.get(name, 0.0) + ns
    return found


def whole_times(models: Sequence[Model], sample: Mapping[str, Any], threads: int | None = None) -> list[float]:
    """Milliseconds a call of each: the least of several, in turns."""
    sessions = [model.session(threads) for model in models]
    best = [np.inf] * len(sessions)
    for _ in range(_ROUNDS):
        for i, session in enumerate(sessions):
            session.run(sample)
            for _ in range(_RUNS):
                start = time.perf_counter()
                session.run(sample)
                best[i] = min(best[i], (time.perf_counter() - start) * 1e3)
    return [float(ms) for ms in best]
