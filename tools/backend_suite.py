"""Runs the official ONNX backend suite against magicmind and prints passed / failed / unsupported per operator.

    python tools/backend_suite.py              all cases; results so far are kept in out/backend_suite.jsonl
    python tools/backend_suite.py --resume     only cases without a result yet
    python tools/backend_suite.py --match 'test_resize' --show failed
    python tools/backend_suite.py --runner reference           the same cases by ONNX's own evaluator
    python tools/backend_suite.py --resume --against reference what of the evaluator's passes does not pass here

Every case runs in a worker process with a time limit: a crash or a hang costs that case and is counted as failed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from magicmind.testing import backend_cases
from magicmind.testing.backend_cases import cases, operator_of, prepare_magicmind, prepare_reference, run_case
from magicmind.testing.worker import Verdict, Worker

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from onnx_backend_exclusions import reason_to_exclude  # noqa: E402  (lies in tests/)

RUNNERS = {"magicmind": prepare_magicmind, "reference": prepare_reference}
STATUSES = ("passed", "failed", "crashed", "timeout", "unsupported", "excluded")


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """The results in a log, the last one of each case; a line cut off by an interruption is passed over."""
    results = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            result = json.loads(line)
        except json.JSONDecodeError:
            continue
        results[result["case"]] = result
    return results


def results_of(runner: str, names: Iterable[str], log: Path, timeout: float) -> dict[str, dict[str, Any]]:
    """The results of all these cases; those without one in the log are run."""
    names = list(names)
    known = read_results(log)
    prepare = RUNNERS[runner]
    worker = Worker(lambda name: run_case(cases()[name], prepare), timeout)
    try:
        left = [name for name in names if name not in known]
        run_all(left, worker, log, progress=sys.stderr.isatty(), exclude=runner == "magicmind")
    finally:
        worker.stop()
    wanted = set(names)
    return {name: result for name, result in read_results(log).items() if name in wanted}


def run_all(names: Iterable[str], worker: Worker, log: Path, progress: bool, exclude: bool) -> None:
    """Runs the cases, but for those with a written reason where `exclude`; each result goes to the log at once."""
    names = list(names)
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("a") as file:
        for done, name in enumerate(names, 1):
            before = time.monotonic()
            reason = reason_to_exclude(name) if exclude else ""
            verdict = Verdict("excluded", reason) if reason else worker.run(name)
            seconds = round(time.monotonic() - before, 4)
            row = {"case": name, "operator": operator_of(cases()[name]), "status": verdict.status}
            file.write(json.dumps({**row, "reason": verdict.reason, "seconds": seconds}) + "\n")
            file.flush()
            if progress and (done % 50 == 0 or done == len(names)):
                left = (time.monotonic() - started) / done * (len(names) - done)
                print(f"\r{done} of {len(names)}, about {left:.0f} s left ", end="", file=sys.stderr)
    if progress and names:
        print(file=sys.stderr)


def table(results: Mapping[str, Mapping[str, Any]], group: str) -> str:
    """Counts by status, one row per operator or kind."""
    counts: dict[str, Counter[str]] = {}
    for name, result in results.items():
        key = name.partition("/")[0] if group == "kind" else str(result["operator"])
        counts.setdefault(key, Counter())[str(result["status"])] += 1
    used = [s for s in STATUSES if any(c[s] for c in counts.values())]
    width = max(map(len, counts), default=0)
    rows = [f"{group:{width}}  " + "  ".join(f"{s:>11}" for s in used)]
    rows += [f"{key:{width}}  " + "  ".join(f"{c[s]:11}" for s in used) for key, c in sorted(counts.items())]
    total: Counter[str] = sum(counts.values(), Counter())
    return "\n".join([*rows, f"{'total':{width}}  " + "  ".join(f"{total[s]:11}" for s in used)])


def comparison(results: Mapping[str, Mapping[str, Any]], reference: Mapping[str, Mapping[str, Any]]) -> str:
    """Every case that the reference passes and we do not, and how many those are."""
    passes = [name for name, result in reference.items() if result["status"] == "passed" and name in results]
    behind = {name: results[name] for name in passes if results[name]["status"] != "passed"}
    ahead = sum(r["status"] == "passed" and reference[n]["status"] != "passed" for n, r in results.items())
    reasoned = sum(result["status"] == "excluded" for result in behind.values())
    share = 100 * len(behind) / len(passes) if passes else 0.0
    lines = [f"{r['status']:11} {name}: {' '.join(r['reason'].split())[:200]}" for name, r in behind.items()]
    return "\n".join([
        *lines,
        f"the reference passes {len(passes)} of {len(results)} cases; {len(passes) - len(behind)} of those pass here, "
        f"{len(behind)} do not ({share:.2f} %), {reasoned} of them with a written reason; {ahead} pass only here",
    ])  # fmt: skip


def summary(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What --json writes: totals, totals by operator, and every case that did not pass."""
    operators: dict[str, Counter[str]] = {}
    for result in results.values():
        operators.setdefault(str(result["operator"]), Counter())[str(result["status"])] += 1
    return {
        "onnx": backend_cases.onnx.__version__,
        "totals": dict(Counter(str(r["status"]) for r in results.values())),
        "operators": {name: dict(c) for name, c in sorted(operators.items())},
        "not_passed": {n: dict(r) for n, r in results.items() if r["status"] != "passed"},
    }


def default_log(runner: str) -> Path:
    """Where the results of a runner are kept."""
    suffix = "" if runner == "magicmind" else f"_{runner}"
    return ROOT / "out" / f"backend_suite{suffix}.jsonl"


def forget(log: Path, names: Iterable[str]) -> None:
    """Takes the results of these cases out of the log."""
    gone = set(names)
    kept = [json.dumps(result) for name, result in read_results(log).items() if name not in gone]
    if log.exists():
        log.write_text("".join(f"{line}\n" for line in kept))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--match", default="", help="regular expression on names such as node/test_abs")
    parser.add_argument("--log", type=Path, help="results, one JSON line per case (default: out/backend_suite.jsonl)")
    parser.add_argument("--resume", action="store_true", help="keep the results in the log; run the cases without one")
    parser.add_argument("--runner", choices=RUNNERS, default="magicmind")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one case (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write totals and every case that did not pass to this file")
    parser.add_argument("--show", choices=STATUSES, action="append", default=[], help="list these cases with reasons")
    parser.add_argument("--against", choices=["reference"], help="compare with the evaluator's results, kept in out/")
    arguments = parser.parse_args()
    log = arguments.log or default_log(arguments.runner)
    chosen = [name for name in cases() if re.search(arguments.match, name)]
    if not arguments.resume:
        forget(log, chosen)
    results = results_of(arguments.runner, chosen, log, arguments.timeout)
    for name, result in results.items():
        if result["status"] in arguments.show:
            print(f"{result['status']:11} {name}: {' '.join(result['reason'].split())[:300]}")
    print(table(results, "operator"), table(results, "kind"), sep="\n\n")
    if arguments.against:
        reference = results_of(arguments.against, chosen, default_log(arguments.against), arguments.timeout)
        print("\n" + comparison(results, reference))
    if arguments.json:
        arguments.json.write_text(json.dumps(summary(results), indent=1) + "\n")
    return int(any(r["status"] in ("failed", "crashed", "timeout") for r in results.values()))


if __name__ == "__main__":
    sys.exit(main())
