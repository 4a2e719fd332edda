"""The search: which candidate every layer gets, and whether the network is faster for it.

1. Variants of the whole network, in each of which every layer takes its next unmeasured candidate, run in turns with
   the cost model's network; a candidate's worth is its time relative to the layer of that network.
2. The best candidates together, once more in turns: picks that do not pay among their new neighbours are dropped.
3. Whole calls in turns: without a clear gain the cost model's network stays.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from magicmind.tune.bench import Bench, Times, Trial
from magicmind.tune.log import Log, Verdict

Report = Callable[[str, int, int], None]
"""Called with (what, done, total)."""
Rounds = list[tuple[float, float]]
"""Times of whole calls, in turns: (the cost model's network, the other one)."""
Listing = Mapping[str, Sequence[str]]
"""Candidates by key, the cost model's first."""

_GAIN = 0.97
"""A candidate must take less than this share of the time of the cost model's: smaller gains are mostly noise."""
_LEAST_SPEEDUP = 1.01
"""What the whole network must gain, in the median of the rounds and between the fastest calls."""
_MOST_SCATTER = 0.012
"""Distance of the quartiles over the root of the number of rounds, about the error of the median, from which on a
comparison without a gain says nothing."""
_MOST_COMPARISONS = 8
_LEAST_SHARE = 0.002
"""Layers with less of the network's time are left to the cost model."""
_LAYER_SECONDS, _WHOLE_SECONDS = 0.8, 1.6


@dataclass(frozen=True)
class Tuning:
    """`picks`: the candidates that differ from the cost model's. `measured`: candidates timed in this run."""

    picks: Mapping[str, str]
    measured: int
    complete: bool


class Tuner:
    """Tunes one network for one target. `seconds`: when to stop starting variants; a last comparison comes after."""

    def __init__(self, bench: Bench, listing: Listing, log: Log, seconds: float, report: Report) -> None:
        self._bench, self._listing, self._log, self._report = bench, listing, log, report
        self._start = time.perf_counter()
        self._seconds = seconds
        self._measured = 0
        self._usual: Times = {}
        """The least times of the cost model's network seen so far: what a candidate has to beat."""
        self._network = hashlib.sha256(json.dumps(list(listing.items())).encode()).hexdigest()[:16]

    def run(self) -> Tuning:
        """What is known already is not measured again."""
        known = self._log.verdicts.get(self._network)
        if known is not None and known.complete:
            return Tuning(known.picks, 0, True)
        before = time.perf_counter()
        self._report("tuning: the cost model's choices", 0, 1)
        base = self._bench.open({})
        try:
            (times,) = self._bench.layer_times([base], _LAYER_SECONDS)
            worth = [key for key, share in times.items() if share > _LEAST_SHARE]
            complete = self._search(base, worth, time.perf_counter() - before)
            self._report("tuning: the whole network", 1, 1)
            picks, sure = self._decide(base, self._best(worth))
        finally:
            base.close()
        self._log.decided(self._network, Verdict(picks, complete and sure))
        return Tuning(picks, self._measured, complete and sure)

    def _unmeasured(self, keys: Sequence[str]) -> dict[str, list[str]]:
        """Candidates without a time, by key."""
        known = self._log.ratios
        left = {key: [c for c in self._listing[key][1:] if c not in known.get(key, {})] for key in keys}
        return {key: candidates for key, candidates in left.items() if candidates}

    def _search(self, base: Trial, keys: Sequence[str], seconds_each: float) -> bool:
        """Measures variants as long as there is time for another and the comparison at the end; whether all are."""
        left, done = self._unmeasured(keys), 0
        total = max(map(len, left.values()), default=0)
        while left:
            spent = time.perf_counter() - self._start
            if spent + 2 * seconds_each + _WHOLE_SECONDS > self._seconds:
                return False
            remaining = min((total - done + 1) * seconds_each + _WHOLE_SECONDS, self._seconds - spent)
            self._report(f"tuning: candidate {done + 1} of {total}, about {remaining:.0f} s left", done, total)
            before = time.perf_counter()
            self._measure(base, {key: candidates[0] for key, candidates in left.items()})
            seconds_each = time.perf_counter() - before
            left, done = self._unmeasured(keys), done + 1
        return True

    def _measure(self, base: Trial, variant: Mapping[str, str]) -> None:
        trial = self._bench.open(variant)
        try:
            usual, other = self._bench.layer_times([base, trial], _LAYER_SECONDS)
        finally:
            trial.close()
        for key, candidate in variant.items():
            self._usual[key] = min(self._usual.get(key, usual[key]), usual[key])
            self._log.measured(key, candidate, other[key] / self._usual[key])
            self._measured += 1

    def _best(self, keys: Sequence[str]) -> dict[str, str]:
        """The fastest measured candidate of every layer where it beats the cost model's."""
        picks = {}
        for key in keys:
            ratios = {c: r for c, r in self._log.ratios.get(key, {}).items() if c in self._listing[key]}
            best = min(ratios, key=ratios.__getitem__, default=None)
            if best is not None and ratios[best] < _GAIN:
                picks[key] = best
        return picks

    def _decide(self, base: Trial, picks: dict[str, str]) -> tuple[dict[str, str], bool]:
        """The picks that the network is faster with, none when it is not; and whether that is sure."""
        if not picks:
            return {}, True
        trial = self._bench.open(picks)
        try:
            usual, other = self._bench.layer_times([base, trial], 2 * _LAYER_SECONDS)
            kept = {key: candidate for key, candidate in picks.items() if other[key] < usual[key]}
            if kept and kept != picks:
                trial.close()
                trial = self._bench.open(kept)
            if not kept:
                return {}, True
            rounds = self._compare(base, trial)
            faster = clearly_faster(rounds)
            return kept if faster else {}, faster or not scattered(rounds)
        finally:
            trial.close()

    def _compare(self, base: Trial, other: Trial) -> Rounds:
        """Rounds of whole calls; more of them as long as they disagree and there is time."""
        rounds = self._bench.call_times(base, other, _WHOLE_SECONDS)
        for _ in range(_MOST_COMPARISONS):
            spent = time.perf_counter() - self._start
            if clearly_faster(rounds) or not scattered(rounds) or spent > self._seconds:
                break
            rounds += self._bench.call_times(base, other, _WHOLE_SECONDS)
        return rounds


def scattered(rounds: Rounds) -> bool:
    """Whether the rounds disagree so much, the machine being busy, that a gain could hide."""
    low, _, high = statistics.quantiles([base / other for base, other in rounds], n=4)
    return (high - low) / math.sqrt(len(rounds)) > _MOST_SCATTER


def clearly_faster(rounds: Rounds) -> bool:
    """Whether rounds show a gain: in the median, between the fastest calls of all, and in more rounds than chance
    would have it.

    Of n rounds without a difference n/2 are wins, sqrt(n)/2 being the standard deviation; three times that must be
    passed.
    """
    speedups = [base / other for base, other in rounds]
    wins = sum(speedup > 1.0 for speedup in speedups)
    fastest = min(base for base, _ in rounds) / min(other for _, other in rounds)
    enough = wins >= len(rounds) / 2 + 1.5 * math.sqrt(len(rounds))
    return enough and min(statistics.median(speedups), fastest) > _LEAST_SPEEDUP
