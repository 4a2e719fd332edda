"""What a precision costs: real networks scored in float32, float16 and int8 on pictures not calibrated with.

`python benchmarks/accuracy.py FOLDER --readme README.md README.zh-CN.md` takes networks and pictures from FOLDER, which
holds what `NETWORKS` names, builds and scores them by the recipes of `magicmind zoo`, and writes the table between the
READMEs' markers of the section `accuracy`. Pictures evenly spread over the set calibrate, the others are scored; where
these are few, so is the whole set.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import report
import run

from magicmind.zoo.build import BuildOptions, build
from magicmind.zoo.datasets import Dataset, Given, load
from magicmind.zoo.export import export, quiet
from magicmind.zoo.infer import infer
from magicmind.zoo.samples import SAMPLES
from magicmind.zoo.score import score
from magicmind.zoo.workspace import Request

MANY = 100
"""Pictures from which on a score says something by itself."""
PRECISIONS = ("force_float32", "force_float16", "qint8_mixed_float32")


@dataclass(frozen=True)
class Network:
    """A recipe, the folders of its files and its pictures, how many calibrate, and the figures to show."""

    sample: str
    files: str
    pictures: str
    calibrating: int
    figures: Sequence[str]


NETWORKS = (
    Network(
        "squeezenet_caffe", "classification/squeezenet_v1_0", "classification/imagenet_samples", 64, ("top1", "top5")
    ),
    Network("yolov3_nano_caffe", "detection/yolov3_nano_voc_caffe", "detection/voc_subset", 20, ("mAP50",)),
    Network("fastestdet_onnx", "detection/fastestdet_coco", "detection/voc_subset", 20, ("mAP50",)),
)


def split(data: Dataset, count: int) -> tuple[Dataset, Dataset]:
    """`count` pictures, evenly spread over the set, and the others."""
    chosen = {i * len(data.items) // count for i in range(count)}
    parts = ([item for i, item in enumerate(data.items) if (i in chosen) is wanted] for wanted in (True, False))
    first, second = (replace(data, items=items) for items in parts)
    return first, second


def rows(network: Network, folder: Path, scratch: Path) -> list[str]:
    """The table's rows of one network."""
    found: dict[str, dict[str, Mapping[str, float]]] = {}
    for precision in PRECISIONS:
        request = Request(SAMPLES[network.sample], precision=precision, root=scratch / network.sample)
        export(request, quiet, given=folder / network.files)
        every = load(request.sample.dataset, Given(root=folder / network.pictures))
        calibrating, others = split(every, network.calibrating)
        build(request, calibrating, BuildOptions(count=network.calibrating))
        sets = [others] if len(others.items) >= MANY else [others, every]
        for scored in sets:
            figures = score(request, scored, infer(request, scored)).figures
            found.setdefault(f"{network.calibrating} / {len(scored.items)}", {})[precision] = figures
    return [
        f"| {network.sample} | {name} | {pictures} | " + " | ".join(f"{of[p][name]:.3f}" for p in PRECISIONS) + " |"
        for pictures, of in found.items()
        for name in network.figures
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where networks and pictures are")
    parser.add_argument("--readme", nargs="*", type=Path, default=[], help="files whose section to replace")
    arguments = parser.parse_args()
    for readme in arguments.readme:
        report.check(readme, "accuracy")
    head = ["network", "figure", "pictures, calibrating / scored", *PRECISIONS]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    with tempfile.TemporaryDirectory() as scratch:
        for network in NETWORKS:
            lines += rows(network, arguments.folder, Path(scratch))
    machine = run.machine()
    head_line = f"{machine['cpu']} (family/model {machine['family_model']}), {machine['date']}."
    text = "\n".join([head_line, "", *lines])
    print(text)
    for readme in arguments.readme:
        report.fill(readme, text, "accuracy")


if __name__ == "__main__":
    main()
