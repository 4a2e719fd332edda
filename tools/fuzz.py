"""Random graphs against onnx's reference evaluator, one per seed; prints what fails and keeps the results.

    python tools/fuzz.py --seeds 0..5000 --resume      results so far are kept in out/fuzz.jsonl
    python tools/fuzz.py --seeds 1234..1235 --text     one seed, with its graph

Every seed runs in a worker process with a time limit. Exit code 1 when any seed fails, crashes or takes too long.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

import onnx.printer

import magicmind.compiler  # noqa: F401  (before the workers fork, so that all run the same code, loaded once)
from magicmind.testing.differential import check
from magicmind.testing.random_graphs import Seeded, random_graph
from magicmind.testing.worker import Verdict, Worker

ROOT = Path(__file__).parents[1]
BAD = ("failed", "crashed", "timeout")


def check_seed(seed: str) -> Verdict:
    return check(random_graph(Seeded(int(seed))), int(seed))


def seed_range(text: str) -> range:
    first, _, last = text.partition("..")
    return range(int(first), int(last or int(first) + 1))


def known_results(log: Path) -> dict[str, str]:
    """Status by seed; a line that an interruption cut off is passed over."""
    found = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[row["seed"]] = row["status"]
    return found


def run(seeds: list[str], worker: Worker, log: Path) -> dict[str, str]:
    """Status by seed; every result is appended to the log at once."""
    log.parent.mkdir(parents=True, exist_ok=True)
    found, started = {}, time.monotonic()
    with log.open("a") as file:
        for done, seed in enumerate(seeds, 1):
            verdict = worker.run(seed)
            found[seed] = verdict.status
            file.write(json.dumps({"seed": seed, "status": verdict.status, "reason": verdict.reason}) + "\n")
            file.flush()
            if verdict.status in BAD:
                print(f"seed {seed}: {verdict.status}: {' '.join(verdict.reason.split())[:400]}", flush=True)
            if sys.stderr.isatty() and done % 20 == 0:
                left = (time.monotonic() - started) / done * (len(seeds) - done)
                print(f"\r{done} of {len(seeds)}, about {left:.0f} s left ", end="", file=sys.stderr)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds", type=seed_range, default=range(200), metavar="FIRST..LAST", help="the last is left out"
    )
    parser.add_argument("--resume", action="store_true", help="leave out the seeds that have a result in the log")
    parser.add_argument("--log", type=Path, default=ROOT / "out" / "fuzz.jsonl")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one seed (default: %(default)s)")
    parser.add_argument("--text", action="store_true", help="print the graphs")
    arguments = parser.parse_args()
    seeds = [str(seed) for seed in arguments.seeds]
    known = known_results(arguments.log) if arguments.resume else {}
    if arguments.text:
        for seed in seeds:
            print(onnx.printer.to_text(random_graph(Seeded(int(seed))).model()))
    worker = Worker(check_seed, arguments.timeout)
    try:
        found = run([seed for seed in seeds if seed not in known], worker, arguments.log)
    finally:
        worker.stop()
    statuses = Counter({**{s: known[s] for s in seeds if s in known}, **found}.values())
    print(
        f"seeds {seeds[0]}..{int(seeds[-1]) + 1}: " + ", ".join(f"{n} {status}" for status, n in statuses.most_common())
    )
    return int(any(statuses[status] for status in BAD))


if __name__ == "__main__":
    sys.exit(main())
