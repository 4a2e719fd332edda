"""The third step: pictures through a built model, results as the sample's files, drawings where these are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import magicmind
from magicmind.errors import Error
from magicmind.zoo import files
from magicmind.zoo.datasets import Dataset
from magicmind.zoo.export import quiet
from magicmind.zoo.fetch import Report
from magicmind.zoo.geometry import Array, opencv
from magicmind.zoo.journal import Journal
from magicmind.zoo.pipeline import Broken, Loaded, Pipeline, Times
from magicmind.zoo.tasks.task import Item, Limits
from magicmind.zoo.workspace import Request


@dataclass(frozen=True)
class InferOptions:
    """output: instead of the sample's folder. save_img: draw what is found. again: begin anew."""

    output: Path | None = None
    save_img: bool = False
    again: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass
class Outcome:
    """What a run has: entries by index, pictures that could not be read, and times of what was run just now."""

    folder: Path
    records: list[tuple[Item, Any]]
    broken: list[tuple[Item, str]]
    times: Times = field(default_factory=Times)


DEFAULT = InferOptions()


def infer(request: Request, data: Dataset, options: InferOptions = DEFAULT, report: Report = quiet) -> Outcome:
    """Runs the pictures of a data set that the sample's output folder has no results of yet, and writes all files.

    Pictures that cannot be read are noted and counted, and the run goes on. Raises Error; KeyboardInterrupt leaves
    what is done, for a later call to go on from.
    """
    folder = options.output or request.output
    task, names = request.task, data.names or request.task.class_names()
    with open_session(request) as session, Journal(folder, _key(request, options)) as journal:
        if options.again or any(_other(journal.entries.get(item.index), item) for item in data.items):
            journal.clear()
        pipeline = pipeline_of(request, session, keep_pixels=options.save_img)
        left = [item for item in data.items if item.index not in journal.entries]
        done, total = len(data.items) - len(left), len(data.items)

        def work(loaded: Loaded, outputs: Sequence[Array]) -> Any:
            result = task.result(outputs, loaded.prepared, options.limits)
            if options.save_img:
                save_drawing(request, folder, loaded, result, names)
            return task.store(folder, loaded.item, result, names)

        for item, found in pipeline.run(left, work):
            entry = {"index": item.index, "name": item.name}
            journal.add(entry | ({"error": found.reason} if isinstance(found, Broken) else {"result": found}))
            done += 1
            report("images", done, total)
        records = [(item, journal.entries[item.index].get("result")) for item in data.items]
        broken = [(i, e["error"]) for i in data.items if "error" in (e := journal.entries[i.index])]
    task.finish(folder, records, names)
    return Outcome(folder, records, broken, pipeline.times)


def look(
    request: Request, pictures: Sequence[Path], names: Sequence[str], options: InferOptions = DEFAULT
) -> list[tuple[Path, str, Path | None]]:
    """Runs pictures of the user's: per picture its path, the result in a line, and the drawing (None: unreadable)."""
    folder = options.output or request.data / "output" / "pictures"
    with files.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    task, names = request.task, names or request.task.class_names()

    def work(loaded: Loaded, outputs: Sequence[Array]) -> tuple[str, Path | None]:
        result = task.result(outputs, loaded.prepared, options.limits)
        return task.describe(result, names), save_drawing(request, folder, loaded, result, names)

    items = [Item(i, path.name, path) for i, path in enumerate(pictures)]
    with open_session(request) as session:
        found = list(pipeline_of(request, session, keep_pixels=True).run(items, work))
    return [(item.path, *((result.reason, None) if isinstance(result, Broken) else result)) for item, result in found]


def open_session(request: Request) -> magicmind.Session:
    """The built model, ready to run. Raises Error where it has not been built."""
    if not request.model.exists():
        raise Error(
            f"there is no model {request.model}",
            hint=f"magicmind zoo build {request.sample.name} --precision {request.precision} builds it",
        )
    return magicmind.load(request.model).session(threads=request.threads)


def pipeline_of(request: Request, session: magicmind.Session, *, keep_pixels: bool = False) -> Pipeline:
    """The pipeline of a request: fixed models run whole batches."""
    return Pipeline(session, request.preparation, request.batch, not request.mutable, keep_pixels)


def save_drawing(request: Request, folder: Path, loaded: Loaded, result: Any, names: Sequence[str]) -> Path:
    """Draws a result and writes it as `<stem>.jpg`."""
    assert loaded.pixels is not None, "drawing needs the picture"
    pixels = loaded.pixels[:, :, ::-1] if request.preparation.order == "rgb" else loaded.pixels
    drawn = request.task.draw(pixels, result, names)
    path = folder / f"{Path(loaded.item.name).stem}.jpg"
    _, data = opencv().imencode(".jpg", drawn)
    files.write(path, data.tobytes())
    return path


def _key(request: Request, options: InferOptions) -> dict[str, Any]:
    """What results depend on."""
    stat = request.model.stat()
    limits = [options.limits.confidence, options.limits.boxes]
    return {"model": [stat.st_size, stat.st_mtime_ns], "limits": limits, "drawn": options.save_img}


def _other(entry: dict[str, Any] | None, item: Item) -> bool:
    """Whether an entry is of another picture than the item."""
    return entry is not None and entry["name"] != item.name
