"""For all tests: compiled kernels are kept in the project's own folder, away from the user's, and Ctrl-C interrupts.

`--sample N` runs N cases of every parametrised test, the same ones each time: what the quick suite is made of.
"""

import os
import signal
import zlib
from collections import defaultdict
from pathlib import Path

import pytest

os.environ.setdefault("MAGICMIND_CACHE_DIR", str(Path(__file__).parent / "out" / "test-cache"))

# A shell lets what it starts in the background ignore the signal, which children inherit: some tests send it to them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sample", type=int, metavar="N", help="run at most N cases of every test")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    count = config.getoption("--sample")
    if not count:
        return
    cases: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        cases[item.nodeid.split("[")[0]].append(item)
    chosen = {item for test, of_test in cases.items() for item in _spread(of_test, count, zlib.crc32(test.encode()))}
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = [item for item in items if item in chosen]


def _spread(items: list[pytest.Item], count: int, seed: int) -> list[pytest.Item]:
    """`count` of the items, evenly apart; the first is another one for every test, so that all targets are used."""
    if len(items) <= count:
        return items
    return [items[(seed + i * len(items) // count) % len(items)] for i in range(count)]
