"""The measured tables and plots of the samples' pages in docs/guide/zoo, by what `magicmind zoo perf` measures.

`python benchmarks/pages.py` exports the five samples with random weights, builds every precision and batch of the
published tables, measures them beside onnxruntime and openvino, and fills the section `perf` of the pages in both
languages. It takes half an hour on two cores.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from datetime import date
from pathlib import Path

import report
from engines import PEERS
from models import default_folder

from magicmind.zoo.datasets import Dataset
from magicmind.zoo.export import export
from magicmind.zoo.perf import PRECISIONS, PerfOptions, PerfResult, measure
from magicmind.zoo.pictures import made_dataset
from magicmind.zoo.samples import SAMPLES
from magicmind.zoo.workspace import Request
from samples import FIVE

PAGES = Path(__file__).parents[1] / "docs/guide/zoo"
LANGUAGES = ("", ".zh-CN")


def measured(name: str, seconds: float, folder: Path) -> PerfResult:
    """One sample, built anew: it is the compiler that is measured."""
    request = Request(SAMPLES[name], weights="random", root=folder / name)
    export(request)

    def pictures() -> Dataset:
        return made_dataset(folder / "pictures", max(request.calibration.count, *request.batches))

    output = request.data / "perf"
    options = PerfOptions(PRECISIONS, tuple(request.batches), None, seconds, PEERS, output, rebuild=True)
    return measure(request, options, pictures, lambda what, n, total: print(f"{name}: {what}", file=sys.stderr))


def fill(name: str, result: PerfResult) -> None:
    """The table and the plot of one sample, in the pages of both languages."""
    plot = PAGES / f"pictures/{name}-perf.png"
    shutil.copyfile(next(path for path in result.files if path.suffix == ".png"), plot)
    _, table = result.as_markdown().split("\n\n", 1)
    for language in LANGUAGES:
        text = f"{date.today()}, {table}\n\n![{name}](pictures/{plot.name})"
        report.fill(PAGES / f"{name}{language}.md", text, "perf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=FIVE, help="(default: all five)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement, at least (default: 3)")
    parser.add_argument("--folder", type=Path, default=default_folder() / "samples", help="where networks are kept")
    arguments = parser.parse_args()
    for name in arguments.names:
        for language in LANGUAGES:
            report.check(PAGES / f"{name}{language}.md", "perf")
    for name in arguments.names:
        fill(name, measured(name, arguments.seconds, arguments.folder))


if __name__ == "__main__":
    main()
