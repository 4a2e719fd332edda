"""Tables of results: a run records its own, and is compared with an older one.

python -m magicmind.evaluation.records record_result --dataset ImageNet --metric top1 --eval 0.7275 [--fps 1200]
python -m magicmind.evaluation.records check_result [benchmark.csv benchmark_ok.csv]
python -m magicmind.evaluation.records compare_perf --output_file new --output_ok_file old --model resnet50_onnx
python -m magicmind.evaluation.records compare_eval --metric top1andtop5 --output_file new --output_ok_file old
    --model resnet50_onnx
python -m magicmind.evaluation.records merge_table a/benchmark.csv b/benchmark.csv --output all.csv
python -m magicmind.evaluation.records show_table all.csv

The first two work on `$PROJ_ROOT_PATH/benchmark`; reports are written into the current folder.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from magicmind.evaluation.files import EvaluationError, lines_of, program, write_text

COLUMNS = ("model", "language", "dataset", "metric", "eval", "fps")
TOLERANCE = 0.05
"""How far, as a share, a figure may be from the older one."""

Table = list[dict[str, str]]

# -------------------------------------------------------------------------------------------------------------- tables


def read_table(path: Path) -> Table:
    """The rows of a table with a line of names. Raises EvaluationError."""
    rows = list(csv.DictReader(lines_of(path)))
    if rows and "model" not in rows[0]:
        raise EvaluationError(f"{path} has no column `model`; its first line is {list(rows[0])}")
    return [{name: value or "" for name, value in row.items() if name is not None} for row in rows]


def write_table(path: Path, rows: Iterable[Mapping[str, str]], columns: Sequence[str] = COLUMNS) -> None:
    """Writes a table with a line of names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def project() -> Path | None:
    """The folder of the sample that runs, from PROJ_ROOT_PATH."""
    return Path(os.environ["PROJ_ROOT_PATH"]) if os.environ.get("PROJ_ROOT_PATH") else None


def benchmark_file() -> Path:
    """`$PROJ_ROOT_PATH/benchmark/benchmark.csv`. Raises EvaluationError when the variable is not set."""
    folder = project()
    if folder is None:
        raise EvaluationError("PROJ_ROOT_PATH is not set", hint="set it to the sample's folder")
    return folder / "benchmark" / "benchmark.csv"


def record(path: Path, row: Mapping[str, str]) -> None:
    """Writes what is given of a row into a table: the row of that model changes, or is added."""
    rows = read_table(path) if path.exists() else []
    given = {name: value for name, value in row.items() if value}
    for known in rows:
        if known["model"] == row["model"]:
            known.update(given)
            break
    else:
        rows.append(given)
    write_table(path, rows)


def record_score(dataset: str, metric: str, value: float) -> None:
    """Records a score of the sample that runs; nothing where none does (PROJ_ROOT_PATH is not set)."""
    folder = project()
    if folder is not None:
        row = {"model": folder.name, "dataset": dataset, "metric": metric, "eval": f"{value}"}
        record(benchmark_file(), row)


def check(new: Path, ok: Path) -> list[str]:
    """What of the older table is missing in the new one or differs by more than 5 % in `eval`."""
    found = {row["model"]: row for row in read_table(new)}
    problems = []
    for row in read_table(ok):
        model, wanted = row["model"], numbers_in(row.get("eval", ""))
        got = numbers_in(found[model].get("eval", "")) if model in found else []
        if model not in found:
            problems.append(f"{model}: missing in {new}")
        elif len(got) != len(wanted) or any(abs(g - w) > TOLERANCE * abs(w) for g, w in zip(got, wanted, strict=True)):
            problems.append(f"{model}: {found[model].get('eval') or 'nothing'} differs from {row.get('eval')}")
    return problems


def numbers_in(text: str) -> list[float]:
    """All numbers in a text."""
    return [float(found) for found in re.findall(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?", text)]


def as_text(rows: Table) -> str:
    """A table for people."""
    columns = [c for c in COLUMNS if any(c in row for row in rows)]
    columns += [c for row in rows for c in row if c not in columns]
    columns = list(dict.fromkeys(columns))
    cells = [columns, *([row.get(c, "") for c in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


# --------------------------------------------------------------------------------------------------------------- speed


def throughput(path: Path, metric: str = "normal") -> float:
    """The figure in what a run printed: queries a second, or of `tacotron` items. Raises EvaluationError."""
    mark = "tacotron2_items_per_sec average" if metric == "tacotron" else "Throughput (qps)"
    for line in lines_of(path):
        if mark in line:
            _, _, rest = line.partition("=" if metric == "tacotron" else ":")
            found = numbers_in(rest)
            if found:
                return found[0]
    raise EvaluationError(f"{path} has no line with {mark!r} and a number")


def verdict(ratio: float) -> str:
    """`pass` within 5 % of the older figure, `fail` below; above, taking the new one over is an `option`."""
    if ratio < 1 - TOLERANCE:
        return "fail"
    return "option" if ratio > 1 + TOLERANCE else "pass"


# ------------------------------------------------------------------------------------------------------------- scores


def _after(mark: str, count: int = 1) -> Callable[[Sequence[str]], list[float]]:
    """The first number behind a mark in each of the first `count` lines that have it."""

    def read(lines: Sequence[str]) -> list[float]:
        found = [line.partition(mark)[2] for line in lines if mark in line]
        return [numbers_in(text)[0] for text in found[:count] if numbers_in(text)]

    return read


def _last_of_lines(count: int) -> Callable[[Sequence[str]], list[float]]:
    """The number behind the last colon of the first lines."""
    return lambda lines: [numbers_in(line.rpartition(":")[2])[0] for line in lines[:count]]


def _squad(lines: Sequence[str]) -> list[float]:
    """`: OrderedDict([('exact', v), ('f1', v), ...])`."""
    found = [line.rpartition(":")[2] for line in lines if "OrderedDict" in line][-1:]
    return [numbers_in(text.partition(f"('{name}',")[2])[0] for text in found for name in ("exact", "f1")]


def _voc_miou(lines: Sequence[str]) -> list[float]:
    """The fifth field of a row of a table, or what the score printed."""
    for line in lines:
        fields = line.split(",")
        if "miou" in line.lower() and len(fields) >= 5:
            return numbers_in(fields[4])
        if line.startswith("mIOU"):
            return numbers_in(line.partition(":")[2])
    return []


def _third_words(lines: Sequence[str]) -> list[float]:
    return [numbers_in(line.split()[2])[0] for line in lines[:3] if len(line.split()) > 2]


METRICS: dict[str, tuple[tuple[str, ...], Callable[[Sequence[str]], list[float]]]] = {
    "top1": (("top1",), _after("top1 accuracy:")),
    "top1andtop5": (
        ("top1", "top5"),
        lambda lines: [*_after("top1 accuracy:")(lines), *_after("top5 accuracy:")(lines)],
    ),
    "cocomAP": (
        ("mAP", "mAP50"),
        lambda lines: [
            numbers_in(line.rpartition("=")[2])[0]
            for line in lines
            if "Average Precision" in line and "=   all" in line
        ][:2],
    ),
    "vocmAP": (("mAP",), _after("Mean AP =")),
    "unet": (("dice",), lambda lines: [numbers_in(line)[-1] for line in lines if "dice" in line.lower()][-1:]),
    "squad": (("exact", "f1"), _squad),
    "voc_miou": (("miou",), _voc_miou),
    "1e5and1e4": (("1E-5", "1E-4"), lambda lines: [*_after("(1E-5):")(lines), *_after("(1E-4):")(lines)]),
    "mrpc": (("acc", "f1"), _last_of_lines(2)),
    "u2net": (("mae", "fmeasure"), _last_of_lines(2)),
    "cocoKeyPoints": (("body25", "coco"), _after("AP IoU=0.50:", 2)),
    "total_text": (("precision", "recall", "f-measure"), _third_words),
}
"""By name: what the figures are, and how they are read from the lines of a file."""

LOWER_IS_BETTER = frozenset({"mae"})


def scores(path: Path, metric: str) -> list[float]:
    """The figures of a metric in what a score wrote. Raises EvaluationError."""
    names, read = METRICS[metric]
    try:
        found = read(lines_of(path))
    except IndexError:
        found = []
    if len(found) != len(names):
        raise EvaluationError(f"{path} has no {' and '.join(names)} as {metric} writes them")
    return found


def is_no_worse(metric: str, new: Sequence[float], old: Sequence[float]) -> bool:
    """Whether every figure is at least the older one; errors at most."""
    return all(
        a <= b if name in LOWER_IS_BETTER else a >= b for name, a, b in zip(METRICS[metric][0], new, old, strict=True)
    )


def append_report(path: Path, row: Mapping[str, str]) -> None:
    """Adds a line to a report, which gets a line of names when it is new."""
    rows = [dict(r) for r in csv.DictReader(lines_of(path))] if path.exists() else []
    write_table(path, [*rows, row], list(row))


# ------------------------------------------------------------------------------------------------------------ commands


def _record_result(a: argparse.Namespace) -> int:
    path = benchmark_file()
    record(path, {**{name: getattr(a, name) for name in COLUMNS}, "model": a.model or path.parents[1].name})
    return 0


def _check_result(a: argparse.Namespace) -> int:
    if len(a.files) not in (0, 2):
        raise EvaluationError(f"{len(a.files)} files; the new and the older table are compared")
    new, ok = a.files or (benchmark_file(), benchmark_file().with_name("benchmark_ok.csv"))
    problems = check(new, ok)
    print("\n".join(problems) or "all results are within 5 %")
    return 1 if problems else 0


def _compare_perf(a: argparse.Namespace) -> int:
    new, old = throughput(a.output_file, a.metric), throughput(a.output_ok_file, a.metric)
    ratio = new / old if old else float("inf")
    row = {"model": a.model, "qps": f"{new:g}", "qps_ok": f"{old:g}", "ratio": f"{ratio:.4f}", "result": verdict(ratio)}
    append_report(Path("perf_report.csv"), row)
    print(",".join(row.values()))
    return 0


def _compare_eval(a: argparse.Namespace) -> int:
    new, old = scores(a.output_file, a.metric), scores(a.output_ok_file, a.metric)
    row = {"model": a.model}
    for name, x, y in zip(METRICS[a.metric][0], new, old, strict=True):
        row |= {name: f"{x:g}", f"{name}_ok": f"{y:g}"}
    row["result"] = "pass" if is_no_worse(a.metric, new, old) else "fail"
    append_report(Path(f"eval_{a.metric}_report.csv"), row)
    print(",".join(row.values()))
    return 0


def _merge_table(a: argparse.Namespace) -> int:
    rows = [row for file in a.files for row in read_table(file)]
    if a.output:
        write_table(a.output, rows)
    else:
        print(as_text(rows))
    return 0


def _show_table(a: argparse.Namespace) -> int:
    print(as_text([row for file in a.files or [benchmark_file()] for row in read_table(file)]))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        added = commands.add_parser(name, description=(run.__doc__ or name))
        added.set_defaults(run=run)
        return added

    recording = command("record_result", _record_result)
    for name in COLUMNS:
        recording.add_argument(
            f"--{name}", default="", help="default: the sample's folder" if name == "model" else None
        )
    command("check_result", _check_result).add_argument(
        "files", type=Path, nargs="*", help="the new and the older table"
    )
    for name, run in (("compare_perf", _compare_perf), ("compare_eval", _compare_eval)):
        comparing = command(name, run)
        comparing.add_argument("--output_file", type=Path, required=True, help="of the new run")
        comparing.add_argument("--output_ok_file", type=Path, required=True, help="of the older run")
        comparing.add_argument("--model", default="", help="its name in the report")
        metrics = ("normal", "tacotron") if run is _compare_perf else tuple(METRICS)
        comparing.add_argument("--metric", choices=metrics, default=metrics[0])
    merging = command("merge_table", _merge_table)
    merging.add_argument("files", type=Path, nargs="+")
    merging.add_argument("--output", type=Path, help="where to write the table instead of showing it")
    command("show_table", _show_table).add_argument("files", type=Path, nargs="*")
    arguments = parser.parse_args(argv)
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(program(main))
