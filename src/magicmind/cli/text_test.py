from __future__ import annotations

import numpy as np

from magicmind.cli import text
from magicmind.runtime import latency
from magicmind.tensorinfo import TensorInfo


def test_table_sets_numbers_right() -> None:
    shown = text.table(["name", "ms"], [["conv", "1.25"], ["relu", "10.5"]])
    assert shown.splitlines() == ["name    ms", "conv  1.25", "relu  10.5"]


def test_empty_table_is_its_head() -> None:
    assert text.table(["name", "ms"], []) == "name  ms"


def test_sizes() -> None:
    shown = [text.size(n) for n in (0, 1023, 1024, 5 << 20, 3 << 30)]
    assert shown == ["0 B", "1023 B", "1.0 KiB", "5.0 MiB", "3.0 GiB"]


def test_tensor() -> None:
    info = TensorInfo("x", np.dtype(np.float32), ((1, 64), 3, (1, None)))
    assert text.tensor(info) == "x float32 [1..64, 3, 1..]"
    assert text.tensor_json(info) == {"name": "x", "dtype": "float32", "shape": [(1, 64), 3, (1, None)]}


def test_summary_of_known_times() -> None:
    found = latency.summary([0.001 * ms for ms in range(1, 101)], batch=2)
    assert found["mean"] == 50.5 and found["median"] == 50.5
    assert found["min"] == 1.0 and found["max"] == 100.0
    assert 90 < found["p90"] < 91 < 95 < found["p95"] < 96 < 99 < found["p99"] < 100
    np.testing.assert_allclose(found["throughput"], 2 * 100 / 5.05)


def test_repeat_counts_or_lasts() -> None:
    calls: list[int] = []
    assert len(latency.repeat(lambda: calls.append(1), iterations=7, duration=None)) == len(calls) == 7
    assert len(latency.repeat(lambda: None, iterations=None, duration=1e-9)) == 1
