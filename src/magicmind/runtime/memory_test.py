from __future__ import annotations

import random

import pytest

from magicmind.runtime import memory
from magicmind.runtime.memory import Memory, pack


def check(sizes: list[int], firsts: list[int], lasts: list[int]) -> int:
    offsets, total = pack(sizes, firsts, lasts)
    for i, a in enumerate(offsets):
        assert a % 64 == 0 and a + sizes[i] <= total
        for j in range(i):
            alive_together = firsts[i] <= lasts[j] and firsts[j] <= lasts[i]
            apart = a + sizes[i] <= offsets[j] or offsets[j] + sizes[j] <= a
            assert apart or not alive_together
    return total


def test_a_chain_takes_the_two_largest_neighbours() -> None:
    assert check([100, 640, 320, 64], [0, 1, 2, 3], [1, 2, 3, 4]) == 640 + 320


def test_empty_buffers_and_no_buffers() -> None:
    assert pack([], [], []) == ([], 0)
    assert pack([0, 64, 0], [0, 0, 0], [9, 9, 9]) == ([0, 0, 0], 64)


@pytest.mark.parametrize("seed", range(20))
def test_random_buffers_never_overlap(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.randrange(1, 60)
    firsts = [rng.randrange(40) for _ in range(count)]
    lasts = [first + rng.randrange(8) for first in firsts]
    sizes = [rng.choice([0, 1, 64, 1000, 5000, rng.randrange(100000)]) for _ in range(count)]
    total = check(sizes, firsts, lasts)
    lower = max(
        sum(-(-s // 64) * 64 for s, f, t in zip(sizes, firsts, lasts, strict=True) if f <= e <= t) for e in range(48)
    )
    assert lower <= total <= 2 * max(lower, 1)


def test_more_than_the_machine_has_free_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_free", lambda: 3 << 30)
    with pytest.raises(MemoryError, match=r"needs 4\.0 GiB more, 3\.0 GiB are free"):
        Memory(4 << 30)
    monkeypatch.setattr(memory, "_free", lambda: 0)
    Memory(4096).close()  # little is not looked at
    monkeypatch.setattr(memory, "_free", lambda: None)
    memory.require(1 << 50)  # nobody knows
