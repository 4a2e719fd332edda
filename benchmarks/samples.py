"""The five samples against the peers: random weights, float32 and int8, batch 1, from uint8 pictures to outputs.

`python benchmarks/samples.py --readme README.md README.zh-CN.md` builds, measures as `run.py` does, and writes the
table between the READMEs' markers of the section `samples`. Our models are what `magicmind zoo build` makes; the peers
run the same graph as an ONNX file, and its Q/DQ form by onnxruntime's quantiser, from the same calibration pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import report
import run
from engines import INT8, PEERS
from models import default_folder
from quantised import quantised_file
from report import OURS

from magicmind.zoo.build import BuildOptions, build, calibration_data, image_graph
from magicmind.zoo.datasets import Dataset
from magicmind.zoo.export import export
from magicmind.zoo.peers_int8 import quantise
from magicmind.zoo.pictures import made_dataset
from magicmind.zoo.samples import SAMPLES
from magicmind.zoo.workspace import Request

FIVE = ("mobilenetv2_caffe", "resnet50_onnx", "deeplabv3_tf", "volo_d2_pytorch", "centernet_pytorch")
CALIBRATION = 4
"""Pictures. The weights are random, so more say nothing more."""


def prepare(name: str, threads: int, int8: str, folder: Path) -> run.Case:
    """Makes the network's files, both of our models, and the peers' quantised network."""
    float32, integers = (
        Request(SAMPLES[name], precision=precision, weights="random", root=folder / name, threads=threads)
        for precision in ("force_float32", int8)
    )
    data = made_dataset(folder / "pictures", CALIBRATION)
    export(float32)
    graph = image_graph(float32)
    network = folder / f"{name}.onnx"
    if not network.exists():
        graph.save(network)
    quantise(network, quantised_file(network, 1), calibration_data(integers, graph, data, CALIBRATION))
    models = {OURS: built(float32, data), OURS + INT8: built(integers, data)}
    return run.Case(name, 1, threads, network, models)


def built(request: Request, data: Dataset) -> Path:
    """The model's file, built anew: it is the compiler that is measured."""
    return build(request, data, BuildOptions(count=CALIBRATION))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", nargs="+", choices=FIVE, default=FIVE)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.2, help="measured time per engine and round")
    parser.add_argument("--int8", default="qint8_mixed_float16", help="our mode for int8 (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=default_folder() / "samples", help="where networks are kept")
    parser.add_argument("--json", type=Path, default=default_folder() / "samples.json", help="write all figures here")
    parser.add_argument("--readme", nargs="*", type=Path, default=[], help="files whose section to replace")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    for readme in arguments.readme:
        report.check(readme, "samples")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    engines = [OURS, *PEERS, *(f"{name}{INT8}" for name in (OURS, *PEERS))]
    cases: list[dict[str, Any]] = []
    record = {"machine": run.machine(), "rounds": arguments.rounds, "cases": cases}
    for name in arguments.samples:
        start = time.perf_counter()
        case = prepare(name, arguments.threads, arguments.int8, arguments.folder)
        middle = time.perf_counter()
        cases.append(run.run_case(case, engines, arguments.rounds, arguments.seconds, None))
        seconds = (middle - start, time.perf_counter() - middle)
        print("{}: prepared in {:.0f} s, measured in {:.0f} s".format(name, *seconds), file=sys.stderr)
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")
    text = report.table(record)
    print(text)
    for readme in arguments.readme:
        report.fill(readme, text, "samples")


if __name__ == "__main__":
    main()
