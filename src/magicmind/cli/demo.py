"""Builds a small classifier of handwritten digits, runs it over a held-out split, prints what came out.

Then it reads the same network from the files of four frameworks and compares the answers.

Needs no network and no files but the package's own: the model was trained by tools/train_digits.py on scikit-learn's
digits, and written for the other frameworks by tools/export_digits.py. The offline model and a picture of digits with
predictions are left in the output folder.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicmind.cli import options, text
from magicmind.cli.demo_formats import compare_formats, print_formats
from magicmind.cli.progress import progress
from magicmind.errors import MissingExtraError
from magicmind.runtime import latency

if TYPE_CHECKING:
    import numpy as np

SUMMARY = "build and run a digit classifier that comes with the package"

PRECISIONS = ("force_float32", "force_float16", "qint8_mixed_float32")
"""A row of the table each. The first one's answers are those that the other frameworks' files are compared with."""
CALIBRATION = "digits_calibration.npz"
"""64 images of the training split: what int8 finds its ranges with."""

BATCH = 50
SHAPES = {"image": ("1..64", 1, 8, 8)}


@dataclass(frozen=True)
class Row:
    """What the demo found in one precision."""

    precision: str
    accuracy: float
    latency_ms: float
    images_per_second: float
    build_s: float
    onnx_bytes: int
    mm_bytes: int
    model: str
    compiled: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    folder = Path("magicmind-demo")
    parser.add_argument("--out", type=Path, default=folder, metavar="FOLDER", help="for files (default: %(default)s)")
    parser.add_argument("--threads", type=options.positive, help="threads for one call (default: all CPUs it may use)")
    options.add_json(parser)


def execute(arguments: argparse.Namespace) -> None:
    data = Path(str(resources.files("magicmind") / "data"))
    images, labels = load_split(data / "digits_test.npz")
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows, answers = [], []
    for precision in PRECISIONS:
        row, predictions = measure(data / "digits.onnx", precision, images, labels, arguments)
        rows.append(row)
        answers.append(predictions)
    predictions = answers[0]
    formats, unread = compare_formats(data, images, predictions)
    picture = arguments.out / "digits.png"
    missing = draw(images, labels, predictions, picture)
    if arguments.json:
        found = {"rows": [asdict(row) for row in rows], "formats": [asdict(row) for row in formats]}
        text.print_json({**found, "picture": None if missing else str(picture)})
        return
    print_rows(rows, len(labels))
    print_formats(formats, unread)
    print(f"\n{missing or f'picture: {picture}'}")


def load_split(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Images float32 [N, 1, 8, 8] in 0..1, labels [N]."""
    import numpy as np

    with np.load(path) as stored:
        return (stored["images"][:, None] / 16).astype(np.float32), stored["labels"]


def measure(
    source: Path,
    precision: str,
    images: np.ndarray[Any, Any],
    labels: np.ndarray[Any, Any],
    arguments: argparse.Namespace,
) -> tuple[Row, np.ndarray[Any, Any]]:
    """Parses, builds, saves, loads and runs the network in one precision. Returns the row and probabilities [N, 10]."""
    import magicmind

    suffix = "" if precision == PRECISIONS[0] else f"-{precision}"
    built = arguments.out / f"digits{suffix}.mm"
    start = time.perf_counter()
    with progress(f"{source.name} in {precision}") as report:
        graph = magicmind.parse(source)
        calibration = source.parent / CALIBRATION if precision.startswith("q") else None
        made = magicmind.build(graph, precision=precision, calibration=calibration, shapes=SHAPES, progress=report)
        made.save(built)
    build_s = time.perf_counter() - start
    with magicmind.load(built) as model, model.session(threads=arguments.threads) as session:
        counts = Counter(step["op"] for step in model.info()["steps"])
        kernels = ", ".join(f"{count} {op}" for op, count in counts.most_common())
        compiled = f"{len(graph.model.graph)} nodes became {counts.total()} kernel calls for {model.target} ({kernels})"
        probabilities = run_all(session, images)
        one, many = images[:1], images[:BATCH]
        single = latency.summary(times(session, one), 1)
        batched = latency.summary(times(session, many), len(many))
    found = float((probabilities.argmax(1) == labels).mean())
    sizes = (source.stat().st_size, built.stat().st_size)
    row = Row(precision, found, single["median"], batched["throughput"], build_s, *sizes, str(built), compiled)
    return row, probabilities


def run_all(session: Any, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Probabilities of all images, in batches; the last batch may be smaller, the same file serves it."""
    import numpy as np

    parts = [session.run({"image": images[i : i + BATCH]})["probabilities"] for i in range(0, len(images), BATCH)]
    return np.concatenate(parts)


def times(session: Any, images: np.ndarray[Any, Any]) -> list[float]:
    """Seconds of single calls, about a second of them, after some to warm up."""
    for _ in range(20):
        session.run({"image": images})
    return latency.repeat(lambda: session.run({"image": images}), iterations=2000, duration=1.0)


def print_rows(rows: list[Row], count: int) -> None:
    print(f"handwritten digits, {count} held-out images of 8 x 8; one file per precision serves batches of 1 to 64\n")
    head = ["precision", "accuracy", "latency, ms", "images/s", "build, s", ".onnx", ".mm"]
    cells = [
        [
            row.precision,
            f"{row.accuracy:.2%}",
            f"{row.latency_ms:.3f}",
            f"{row.images_per_second:.0f}",
            f"{row.build_s:.2f}",
            text.size(row.onnx_bytes),
            text.size(row.mm_bytes),
        ]
        for row in rows
    ]
    print(text.table(head, cells))
    print(f"\nlatency: median of single images; images/s: batches of {BATCH}")
    for row in rows:
        print(f"compiled: {row.compiled}")
        print(f"offline model: {row.model} (magicmind info {row.model} shows what is in it)")


def draw(
    images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any], path: Path
) -> str | None:
    """Saves 4 x 8 digits with predictions, every wrong one first, in red. Returns why not when a package is missing."""
    try:
        from magicmind.cli.picture import draw_predictions
    except MissingExtraError as error:
        return f"no picture: {error}"
    draw_predictions(images[:, 0], labels, probabilities, path)
    return None
