"""The search with made-up times: which candidates are kept, what is measured again, when the default stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from magicmind.tune.bench import Bench, Times, Trial
from magicmind.tune.log import Log
from magicmind.tune.tuner import Report, Rounds, Tuner, Tuning, clearly_faster

LISTING = {"a": ("a0", "a1", "a2"), "b": ("b0", "b1"), "tiny": ("t0", "t1"), "alone": ("only",)}
USUAL = {"a": 0.5, "b": 0.4, "tiny": 0.0001, "alone": 0.05}


def rounds(speedups: Sequence[float]) -> Rounds:
    return [(1.0, 1.0 / speedup) for speedup in speedups]


class FakeBench:
    """Layers take the times of `table`, or the usual ones; other times `together`, in the network of the picks."""

    def __init__(self, table: Mapping[str, float], speedup: float = 1.2, together: Mapping[str, float] | None = None):
        self.table, self.speedup, self.together = table, speedup, together or {}
        self.opened: list[dict[str, str]] = []
        self.closed = 0

    def open(self, picks: Mapping[str, str]) -> Any:
        self.opened.append(dict(picks))
        return FakeTrial(self, dict(picks))

    def layer_times(self, trials: Sequence[Any], seconds: float) -> list[Times]:
        final = len(self.opened) > 3
        table = {**self.table, **(self.together if final else {})}
        return [{key: table.get(trial.chosen.get(key, ""), usual) for key, usual in USUAL.items()} for trial in trials]

    def call_times(self, base: Trial, other: Trial, seconds: float) -> Rounds:
        return rounds([self.speedup] * 16)


class FakeTrial:
    def __init__(self, bench: FakeBench, chosen: dict[str, str]) -> None:
        self.bench, self.chosen = bench, chosen

    def close(self) -> None:
        self.bench.closed += 1


def quiet(what: str, done: int, total: int) -> None: ...


def tune(bench: FakeBench, log: Log, seconds: float = 1e9, report: Report = quiet) -> Tuning:
    return Tuner(cast(Bench, bench), LISTING, log, seconds, report).run()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log.jsonl", {"cpu": "fake"})


def test_every_layer_gets_its_fastest_candidate(log: Log) -> None:
    bench = FakeBench({"a1": 0.4, "a2": 0.3, "b1": 0.5})
    tuning = tune(bench, log)
    assert tuning == Tuning({"a": "a2"}, 3, True)
    # The cost model's network, two variants (layers that do not count are left alone), the picks together.
    assert bench.opened == [{}, {"a": "a1", "b": "b1"}, {"a": "a2"}, {"a": "a2"}]
    assert bench.closed == 4


def test_small_gains_are_noise(log: Log) -> None:
    assert tune(FakeBench({"a1": 0.49, "a2": 0.499, "b1": 0.4}), log).picks == {}


def test_the_default_stays_without_a_gain_of_the_whole(log: Log) -> None:
    """Layers seem faster one by one, the network is not: never slower than the default."""
    assert tune(FakeBench({"a1": 0.1, "b1": 0.1}, speedup=1.005), log).picks == {}
    assert log.verdicts.popitem()[1].picks == {}


def test_picks_that_do_not_pay_among_their_neighbours_are_dropped(log: Log) -> None:
    bench = FakeBench({"a1": 0.3, "b1": 0.3}, together={"b1": 0.41})
    assert tune(bench, log).picks == {"a": "a1"}
    assert bench.opened[-2:] == [{"a": "a1", "b": "b1"}, {"a": "a1"}]


def test_what_is_known_is_not_measured_again(log: Log) -> None:
    table = {"a1": 0.4, "b1": 0.3}
    first = tune(FakeBench(table), log)
    again = FakeBench({})
    assert tune(again, Log(log.path, {})) == Tuning(first.picks, 0, True)
    assert again.opened == []


def test_measuring_continues_where_it_stopped(log: Log) -> None:
    """Without time for variants the cost model's choices stand; a run that is stopped keeps what it measured."""
    assert tune(FakeBench({"a1": 0.4}), log, seconds=0.001) == Tuning({}, 0, False)

    def stop(what: str, done: int, total: int) -> None:
        if "candidate 2" in what:
            raise KeyboardInterrupt

    stopped = FakeBench({"a1": 0.4, "b1": 0.3})
    with pytest.raises(KeyboardInterrupt):
        tune(stopped, log, report=stop)
    assert stopped.closed == len(stopped.opened)
    rest = FakeBench({"a1": 0.4, "b1": 0.3, "a2": 0.2})
    assert tune(rest, Log(log.path, {})) == Tuning({"a": "a2", "b": "b1"}, 1, True)
    assert rest.opened[1] == {"a": "a2"}


def test_the_time_left_is_told(log: Log) -> None:
    told: list[tuple[str, int, int]] = []
    tune(FakeBench({}), log, report=lambda *said: told.append(said))
    texts = [what for what, _, _ in told]
    assert [text.partition(", about")[0] for text in texts] == [
        "tuning: the cost model's choices",
        "tuning: candidate 1 of 2",
        "tuning: candidate 2 of 2",
        "tuning: the whole network",
    ]
    assert texts[1].endswith("s left")


def test_a_busy_machine_has_not_the_last_word(log: Log) -> None:
    """Rounds that scatter show no gain: the default is built, the next build compares once more and only that."""

    class Busy(FakeBench):
        def call_times(self, base: Trial, other: Trial, seconds: float) -> Rounds:
            return rounds([0.7, 1.4, 0.8, 1.3, 1.1, 0.9, 1.0, 1.2] * 2)

    table = {"a1": 0.3, "a2": 0.4, "b1": 0.5}
    assert tune(Busy(table), log) == Tuning({}, 3, False)
    quiet_bench = FakeBench(table)
    assert tune(quiet_bench, Log(log.path, {})) == Tuning({"a": "a1"}, 0, True)
    assert quiet_bench.opened == [{}, {"a": "a1"}]


@pytest.mark.parametrize(
    ("speedups", "faster"),
    [
        ([1.1] * 16, True),
        ([1.1] * 14 + [0.9] * 2, True),
        ([1.3] * 13 + [0.9] * 3, False),
        ([1.3] * 48 + [0.9] * 16, True),
        ([1.005] * 16, False),
        ([0.9] * 16, False),
    ],
)
def test_a_gain_shows_in_nearly_all_rounds(speedups: list[float], faster: bool) -> None:
    assert clearly_faster(rounds(speedups)) is faster


def test_the_fastest_calls_must_agree() -> None:
    """Rounds are mostly won because the other network was disturbed: its best call is no slower."""
    assert not clearly_faster([(1.2, 1.0)] * 15 + [(0.99, 1.0)])
