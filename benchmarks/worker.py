"""One engine in a process of its own: commands come as JSON lines on stdin, answers go as JSON lines to stdout.

`{"do": "open", ...}` prepares a network and answers the time taken, `{"do": "measure", ...}` answers the times of
single calls, `{"do": "outputs", "to": file}` writes the outputs of one call. The parent stops this process (SIGSTOP)
between its turns.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from engines import ENGINES, Feeds, time_calls

from magicmind.zoo.peers import Peer


class Worker:
    """Holds the opened network between commands."""

    def __init__(self, engine_name: str) -> None:
        self.engine_name = engine_name
        self.engine: Peer | None = None
        self.feeds: Feeds = {}

    def open(self, path: str, feeds: str, threads: int) -> dict[str, Any]:
        with np.load(feeds) as stored:
            self.feeds = {name: stored[name] for name in stored.files}
        start = time.perf_counter()
        self.engine = ENGINES[self.engine_name](Path(path), self.feeds, threads)
        return {"seconds": time.perf_counter() - start}

    def measure(self, warmup: float, seconds: float, at_least: int) -> dict[str, Any]:
        assert self.engine is not None
        time_calls(self.engine, self.feeds, warmup, 2)
        return {"samples": time_calls(self.engine, self.feeds, seconds, at_least)}

    def outputs(self, to: str) -> dict[str, Any]:
        assert self.engine is not None
        results = self.engine.run(self.feeds)
        np.savez(to, **{f"output{i}": array for i, array in enumerate(results)})
        return {"count": len(results)}


def main() -> None:
    # Engines may print; keep the answers' channel for the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker(sys.argv[1])
    for line in sys.stdin:
        command: dict[str, Any] = json.loads(line)
        action = getattr(worker, command.pop("do"))
        try:
            answer = action(**command)
        except Exception as problem:  # the parent reports it beside the other engines' figures
            answer = {"error": f"{type(problem).__name__}: {problem}"}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
