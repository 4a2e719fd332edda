"""Turns a record of `run.py` into a table, a plot, and the speed section of the READMEs.

`python benchmarks/report.py record.json` prints the table; with `--readme FILE ...` it replaces what stands between
the markers `<!-- speed:begin -->` and `<!-- speed:end -->`, or those of another `--section`. No figure reaches a
README by another way.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from engines import HALF, INT8, PEERS

OURS = "magicmind"

COMPARISONS: dict[str, tuple[tuple[str, ...], str]] = {
    "best peer / ours": (PEERS, OURS),
    "float32 / float16, ours": ((OURS,), OURS + HALF),
    "best int8 peer / our int8": (tuple(name + INT8 for name in PEERS), OURS + INT8),
    "best float32 peer / our int8": (PEERS, OURS + INT8),
}
"""Columns of ratios: the fastest of these engines over that one; shown where both sides were measured."""
SECTIONS = ("speed", "precision", "accuracy", "samples")
"""Parts of a README that are written from records, each between markers of its name."""


def median_ms(engine: dict[str, Any]) -> float:
    """Median over the rounds of the rounds' medians."""
    return statistics.median(engine["round_median_ms"])


def ratios(case: dict[str, Any], others: tuple[str, ...] = PEERS, one: str = OURS) -> list[float] | None:
    """Per round, the median of the best of `others` over that of `one` (above 1: `one` is faster); None when a side
    is missing.

    The best is chosen once, by its median over all rounds.
    """
    engines = case["engines"]
    there = [name for name in others if name in engines]
    if one not in engines or not there:
        return None
    best = min(there, key=lambda name: median_ms(engines[name]))
    pairs = zip(engines[best]["round_median_ms"], engines[one]["round_median_ms"], strict=True)
    return [theirs / ours for theirs, ours in pairs]


def table(record: dict[str, Any]) -> str:
    """Markdown: a row per case; milliseconds as `median (minimum)`, the ratio as `median [lowest, highest]`."""
    names = list(dict.fromkeys(name for case in record["cases"] for name in case["engines"]))
    shown = {title: sides for title, sides in COMPARISONS.items() if any(ratios(c, *sides) for c in record["cases"])}
    head = ["network", "batch", "threads", *(f"{name}, ms" for name in names), *shown, "rel. L2 to onnxruntime"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for case in record["cases"]:
        cells = [case["model"], str(case["batch"]), str(case["threads"])]
        cells += [_time(case["engines"].get(name)) for name in names]
        cells += [_ratio(ratios(case, *sides)) for sides in shown.values()]
        cells.append(", ".join(_error(e) for name, e in case["engines"].items() if name.startswith(OURS)) or "-")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([_machine(record), "", *lines])


def _machine(record: dict[str, Any]) -> str:
    m = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in m["versions"].items())
    vector = ", ".join(m["vector"])
    return (
        f"{m['cpu']} (family/model {m['family_model']}; {vector}), {m['cpus']} CPUs, {m['date']}; {versions}. "
        f"Median (minimum) over {record['rounds']} alternating rounds, one process per engine."
    )


def _time(engine: dict[str, Any] | None) -> str:
    return "-" if engine is None else f"{median_ms(engine):.2f} ({min(engine['round_min_ms']):.2f})"


def _ratio(values: list[float] | None) -> str:
    return "-" if values is None else f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def _error(engine: dict[str, Any]) -> str:
    return "-" if engine["error"] is None else f"{engine['error']:.1e}"


def plot(record: dict[str, Any], path: Path) -> None:
    """Bar chart: images per second of every engine for every case, whiskers from the slowest to the fastest round."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(name for case in record["cases"] for name in case["engines"]))
    figure, axes = pyplot.subplots(1, len(record["cases"]), figsize=(2.6 * len(record["cases"]), 3.6), squeeze=False)
    for axis, case in zip(axes[0], record["cases"], strict=True):
        for position, name in enumerate(names):
            engine = case["engines"].get(name)
            if engine is None:
                continue
            rates = sorted(1e3 * case["batch"] / ms for ms in engine["round_median_ms"])
            middle = statistics.median(rates)
            axis.bar(position, middle, yerr=[[middle - rates[0]], [rates[-1] - middle]], capsize=3)
        axis.set_title(f"{case['model']}\nbatch {case['batch']}, {case['threads']} threads", fontsize=9)
        axis.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
        axis.tick_params(axis="y", labelsize=8)
    axes[0][0].set_ylabel("images per second")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def markers(section: str) -> tuple[str, str]:
    """What begins and ends a section."""
    return f"<!-- {section}:begin -->", f"<!-- {section}:end -->"


def fill(readme: Path, text: str, section: str = "speed") -> None:
    """Replaces what stands between the markers of a README. Raises SystemExit when the markers are missing."""
    before, after = check(readme, section)
    first, last = markers(section)
    readme.write_text(f"{before}{first}\n{text}\n{last}{after}")


def check(readme: Path, section: str) -> tuple[str, str]:
    """What stands before and after a section. Raises SystemExit when its markers are missing."""
    first, last = markers(section)
    before, begin, rest = readme.read_text().partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise SystemExit(f"{readme}: no {first} ... {last}")
    return before, after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path, help="what run.py --json wrote")
    parser.add_argument("--readme", nargs="*", type=Path, default=[], help="files whose section to replace")
    parser.add_argument("--section", choices=SECTIONS, default="speed")
    parser.add_argument("--plot", type=Path, default=None)
    arguments = parser.parse_args()
    record = json.loads(arguments.record.read_text())
    print(table(record))
    for readme in arguments.readme:
        fill(readme, table(record), arguments.section)
    if arguments.plot:
        plot(record, arguments.plot)


if __name__ == "__main__":
    main()
