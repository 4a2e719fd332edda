"""The third step: pictures through a built model, results as the sample's files, drawings where these are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from math import prod
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
    if any(folder.resolve() == parent.resolve() for parent in {item.path.parent for item in data.items}):
        raise Error(f"{folder} is the folder of the pictures; results would be written over them", hint="--output")
    with open_session(request) as session, Journal(folder, _key(request, options)) as journal:
        if options.again or any(_other(journal.entries.get(item.index), item) for item in data.items):
            journal.clear()
        _require_classes(data.items, session)
        pipeline = pipeline_of(request, session, keep_pixels=options.save_img)
        left = [item for item in data.items if item.index not in journal.entries]
        done, total = len(data.items) - len(left), len(data.items)

        def work(loaded: Loaded, outputs: Sequence[Array]) -> Any:
            result = task.result(outputs, loaded.prepared, options.limits)
            if options.save_img:
                save_drawing(request, folder / f"{Path(loaded.item.name).stem}.jpg", loaded, result, names)
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
        drawing = drawings[loaded.item.index]
        save_drawing(request, drawing, loaded, result, names)
        return task.describe(result, names), drawing

    items = [Item(i, path.name, path) for i, path in enumerate(pictures)]
    drawings = _drawings(folder, pictures)
    with open_session(request) as session:
        found = list(pipeline_of(request, session, keep_pixels=True).run(items, work))
    return [(item.path, *((result.reason, None) if isinstance(result, Broken) else result)) for item, result in found]


def open_session(request: Request) -> magicmind.Session:
    """The built model, ready to run. Raises Error where it has not been built."""
    request.require_batch()
    if not request.model.exists():
        raise Error(
            f"there is no model {request.model}",
            hint=f"magicmind zoo build {request.sample.name} {request.spelled} builds it",
        )
    return magicmind.load(request.model).session(threads=request.threads)


def pipeline_of(request: Request, session: magicmind.Session, *, keep_pixels: bool = False) -> Pipeline:
    """The pipeline of a request: fixed models run whole batches."""
    return Pipeline(session, request.preparation, request.batch, not request.mutable, keep_pixels)


def save_drawing(request: Request, path: Path, loaded: Loaded, result: Any, names: Sequence[str]) -> None:
    """Draws a result and writes it as JPEG."""
    assert loaded.pixels is not None, "drawing needs the picture"
    pixels = loaded.pixels[:, :, ::-1] if request.preparation.order == "rgb" else loaded.pixels
    drawn = request.task.draw(pixels, result, names)
    _, data = opencv().imencode(".jpg", drawn)
    files.write(path, data.tobytes())


def _drawings(folder: Path, pictures: Sequence[Path]) -> list[Path]:
    """A file `<stem>.jpg` for every picture; another name where a picture, or an earlier one, has it."""
    taken = {path.resolve() for path in pictures}
    found = []
    for picture in pictures:
        names = (f"{picture.stem}{end}.jpg" for end in chain([""], (f"_{i}" for i in count(2))))
        path = next(path for name in names if (path := folder / name).resolve() not in taken)
        taken.add(path.resolve())
        found.append(path)
    return found


def _require_classes(items: Sequence[Item], session: magicmind.Session) -> None:
    """Raises Error for labels that the network has no class of: lists that begin at 1 are common."""
    worst = max((item for item in items if item.label is not None), key=lambda item: item.label or 0, default=None)
    classes = prod(d for d in session.outputs[0].shape[1:] if isinstance(d, int))
    if worst is not None and worst.label is not None and worst.label >= classes:
        raise Error(
            f"{worst.name} has the label {worst.label}; the network's classes are 0 to {classes - 1}",
            hint="labels count from 0, in the order of the network's classes",
        )


def _key(request: Request, options: InferOptions) -> dict[str, Any]:
    """What results depend on."""
    stat = request.model.stat()
    limits = [options.limits.confidence, options.limits.boxes]
    return {"model": [stat.st_size, stat.st_mtime_ns], "limits": limits, "drawn": options.save_img}


def _other(entry: dict[str, Any] | None, item: Item) -> bool:
    """Whether an entry is of another picture than the item."""
    return entry is not None and entry["name"] != item.name
