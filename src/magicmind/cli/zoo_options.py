"""Arguments of `magicmind zoo`, under all the names that the samples' own scripts give them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicmind.cli import options
from magicmind.errors import Error

if TYPE_CHECKING:
    from magicmind.zoo.datasets import Dataset, Given
    from magicmind.zoo.workspace import Request


MADE = 64
"""Most pictures that are made here."""


class Intermixed(argparse.ArgumentParser):
    """Options may stand between the name and the pictures."""

    _inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._inside:  # the two passes of intermixed parsing
            return super().parse_known_args(args, namespace)
        self._inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._inside = False


def add(group: argparse._ArgumentGroup, *names: str, **how: Any) -> None:
    """An option by its first name, the only one that help shows; the others, and underscores for dashes, work too."""
    dest = how.pop("dest", names[0].replace("-", "_"))
    spelled = dict.fromkeys(f"--{n}" for name in names for n in (name, name.replace("-", "_")))
    first, *others = spelled
    group.add_argument(first, dest=dest, **how)
    if others:
        group.add_argument(*others, dest=dest, **(how | {"help": argparse.SUPPRESS, "default": argparse.SUPPRESS}))


def truth(value: str) -> bool:
    """`true` or `false`."""
    if value.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{value!r} is neither true nor false")
    return value.lower() == "true"


def add_place(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where files are")
    group.add_argument(
        "--root",
        type=Path,
        metavar="FOLDER",
        help="of the sample's files (default: PROJ_ROOT_PATH, or magicmind-zoo/NAME)",
    )
    group.add_argument(
        "--weights",
        choices=("published", "random"),
        default="published",
        help="random ones need no download (default: %(default)s)",
    )
    group.add_argument("--seed", type=int, default=0, help="of random weights (default: %(default)s)")
    add(
        group,
        "model",
        "caffe-model",
        "onnx-model",
        "pt-model",
        "tf-model",
        "tf-mode",
        dest="model",
        type=Path,
        metavar="FILE",
        help="the network's file, instead of the exported one",
    )
    add(
        group,
        "prototxt",
        "caffe-prototxt",
        dest="prototxt",
        type=Path,
        metavar="FILE",
        help="Caffe: the network's text",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the model")
    add(
        group,
        "precision",
        "quant-mode",
        dest="precision",
        metavar="MODE",
        help="force_float32, force_float16, qint8_mixed_float16, ...",
    )
    add(
        group,
        "shape-mutable",
        "dynamic-shape",
        dest="mutable",
        type=truth,
        metavar="true|false",
        help="whether the batch (DeepLab: height and width) may vary",
    )
    add(group, "batch-size", "batch", dest="batch", type=options.positive, metavar="N", help="pictures a call")
    group.add_argument(
        "--compat",
        action="store_true",
        help="what the published figures were measured with, where that is not the right thing",
    )
    add(group, "device-id", type=int, default=0, help="there is one device, the CPU: 0")
    group.add_argument("--threads", type=options.positive, help="for one call (default: all CPUs it may use)")


def add_compile(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("building it")
    add(
        group,
        "calibration-num",
        dest="calibration",
        type=options.positive,
        metavar="N",
        help="calibration pictures, for the q* modes",
    )
    group.add_argument("--target", default="native", help="CPU to compile for (default: %(default)s)")
    group.add_argument("--tune", type=options.positive_seconds, metavar="SECONDS", help="measure schedules for so long")
    group.add_argument("--rebuild", action="store_true", help="build also where the model is there already")


def add_data(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the data set")
    add(
        group,
        "dataset",
        "datasets-dir",
        dest="dataset",
        type=Path,
        metavar="FOLDER",
        help="its root (default: from the environment)",
    )
    add(group, "image-dir", type=Path, metavar="FOLDER", help="of its pictures")
    add(
        group,
        "file-list",
        "label-file",
        dest="file_list",
        type=Path,
        metavar="FILE",
        help="list of pictures, with labels for classification",
    )
    add(group, "name-file", "label-path", dest="name_file", type=Path, metavar="FILE", help="names of classes")
    add(group, "ann-file", type=Path, metavar="FILE", help="annotations in COCO's form")
    add(group, "gt-dir", type=Path, metavar="FOLDER", help="of masks")
    add(
        group,
        "image-num",
        "img-num",
        "test-nums",
        dest="image_num",
        type=int,
        metavar="N",
        help="the first N pictures; -1 for all",
    )


def add_infer(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("results")
    add(
        group,
        "output",
        "output-dir",
        dest="output",
        type=Path,
        metavar="FOLDER",
        help="instead of the sample's own",
    )
    add(
        group,
        "save-img",
        nargs="?",
        type=truth,
        const=True,
        default=False,
        metavar="true|false",
        help="draw what is found",
    )
    group.add_argument("--again", action="store_true", help="begin anew, not where an earlier run stopped")
    add(
        group,
        "confidence-thresholds",
        "confidence",
        dest="confidence",
        type=float,
        metavar="SCORE",
        help="smallest score of a box",
    )
    add(group, "max-bbox-num", type=options.positive, metavar="N", help="most boxes of a picture")


def add_list(parser: argparse.ArgumentParser) -> None:
    options.add_json(parser)


def add_perf(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is measured")
    group.add_argument("--precisions", nargs="+", metavar="MODE", help="(default: float32, float16, int8)")
    group.add_argument(
        "--batches",
        nargs="+",
        type=options.positive,
        metavar="N",
        help="(default: 1 4 8, where the network has a batch)",
    )
    group.add_argument(
        "--iterations",
        type=options.positive,
        default=50,
        help="calls that are measured at least (default: %(default)s)",
    )
    group.add_argument(
        "--duration", type=options.positive_seconds, default=3.0, help="seconds at least (default: %(default)s)"
    )
    group.add_argument(
        "--peers", nargs="*", choices=("onnxruntime", "openvino"), help="measure these as well, in float32 and int8"
    )
    group.add_argument("--output", type=Path, metavar="FOLDER", help="of table, figures and plot")


def add_pictures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images", type=Path, nargs="*", metavar="IMAGE", help="pictures of yours; without any the data set is run"
    )


def add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="given", type=Path, metavar="FOLDER", help="take the published files from here")
    parser.add_argument("--url", help="another address of the network")


def request_of(arguments: argparse.Namespace) -> Request:
    """The request; what was left out is as the sample's own one command has it."""
    from magicmind.zoo.samples import SAMPLES
    from magicmind.zoo.workspace import Request

    sample = SAMPLES[arguments.name]
    given = vars(arguments)
    if given.get("device_id"):
        raise Error(f"there is no device {given['device_id']}: this machine has one, the CPU, number 0")
    chosen: dict[str, Any] = {
        key: sample.defaults[key] if given.get(key) is None else given[key] for key in ("precision", "mutable", "batch")
    }
    names = sample.source.files
    files = {name: path for name, path in zip(names, (given.get("model"), given.get("prototxt")), strict=False) if path}
    return Request(
        sample, **chosen, weights=arguments.weights, seed=arguments.seed, compat=given.get("compat", False),
        root=arguments.root, threads=given.get("threads"), files=files,
    )  # fmt: skip


def given_of(arguments: argparse.Namespace) -> Given:
    from magicmind.zoo.datasets import Given

    return Given(
        arguments.dataset, arguments.image_dir, arguments.file_list, arguments.name_file, arguments.ann_file,
        arguments.gt_dir,
    )  # fmt: skip


def dataset_of(arguments: argparse.Namespace, request: Request, *, count: int | None = None) -> Dataset:
    """The user's data set; pictures made here where random weights, whose results mean nothing, have none."""
    from magicmind.zoo.datasets import load
    from magicmind.zoo.pictures import made_dataset

    if count is None:
        asked = arguments.image_num
        count = int(request.sample.defaults["image_num"]) if asked is None else asked
    try:
        return load(request.sample.dataset, given_of(arguments), count)
    except Error as error:
        if request.weights != "random" or arguments.dataset or arguments.image_dir:
            raise
        print(f"pictures are made here: {str(error).splitlines()[0]}", file=sys.stderr)
        return made_dataset(request.data / "pictures", min(count, MADE) if count > 0 else MADE)
