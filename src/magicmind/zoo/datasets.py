"""Data sets on the user's disk: which pictures, with which labels, masks or annotations.  Nothing here is distributed.

Their places come from options, else from the environment (DATASETS_PATH, or a variable per data set).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from magicmind.errors import Error
from magicmind.zoo.tasks.task import Item


@dataclass(frozen=True)
class Given:
    """What the user says about the data set; all may be left out."""

    root: Path | None = None
    image_dir: Path | None = None
    file_list: Path | None = None
    """With labels, for classification."""
    name_file: Path | None = None
    annotations: Path | None = None
    masks: Path | None = None


@dataclass(frozen=True)
class Dataset:
    """The pictures in order, and what they are scored against."""

    items: Sequence[Item]
    names: tuple[str, ...] = ()
    annotations: Path | None = None
    masks: Path | None = None
    truth: bool = True
    """Whether the pictures can be scored."""


@dataclass(frozen=True)
class Layout:
    """Where a data set has its parts, below its root; the first that exists is taken."""

    title: str
    variable: str
    origin: str
    image_dirs: tuple[str, ...]
    lists: tuple[str, ...]
    labelled: bool = False
    scored: bool = True
    suffix: str = ""
    """Of the pictures, where the list leaves it out."""
    names: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()


LAYOUTS: Mapping[str, Layout] = {
    "imagenet": Layout(
        "ImageNet ILSVRC2012 (validation)", "ILSVRC2012_DATASETS_PATH", "https://image-net.org",
        ("", "images", "val"), ("ILSVRC2012_val.txt", "imagenet_1000.txt", "val.txt"), labelled=True,
        names=("imagenet_name.txt", "names.txt", "imagenet_classes.txt", "synset.txt"),
    ),
    "coco": Layout(
        "COCO 2017 (validation)", "COCO_DATASETS_PATH",
        "http://images.cocodataset.org/zips/val2017.zip and "
        "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
        ("val2017", "images"), ("file_list_5000.txt", "images.txt"),
        annotations=("annotations/instances_val2017.json", "instances.json"),
    ),
    "voc": Layout(
        "PASCAL VOC 2012", "VOC2012_DATASETS_PATH",
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        ("VOCdevkit/VOC2012/JPEGImages", "VOC2012/JPEGImages", "JPEGImages"),
        tuple(f"{top}ImageSets/Segmentation/val.txt" for top in ("VOCdevkit/VOC2012/", "VOC2012/", "")), suffix=".jpg",
        masks=tuple(f"{top}SegmentationClass" for top in ("VOCdevkit/VOC2012/", "VOC2012/", "")),
    ),
    "pictures": Layout(
        "a folder of pictures", "DATASETS_PATH", "your own pictures", ("images", ""), ("images.txt",), scored=False,
    ),
}  # fmt: skip

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def load(kind: str, given: Given, count: int = -1) -> Dataset:
    """The first `count` pictures (-1: all) of the data set. Raises Error that says what is missing, and where from."""
    layout = LAYOUTS[kind]
    return _Reader(layout, given).dataset(count)


@dataclass
class _Reader:
    layout: Layout
    given: Given
    _by_name: dict[Path, dict[str, Path]] = field(default_factory=dict)

    def root(self) -> Path | None:
        variables = (self.layout.variable, "DATASETS_PATH")
        named = next((os.environ[v] for v in variables if os.environ.get(v)), None)
        return self.given.root or (Path(named) if named else None)

    def dataset(self, count: int) -> Dataset:
        folder = self._folder()
        items = list(self._items(folder, count))
        if not items:
            self._refuse_nothing(folder, count)
        if not any(item.path.exists() for item in items):
            raise Error(
                f"none of the {len(items)} listed pictures is in {folder}; the first is {items[0].name}",
                hint="--image-dir says where they are",
            )
        annotations = self.given.annotations or self._first(self.layout.annotations)
        masks = self.given.masks or self._first(self.layout.masks)
        return Dataset(items, self._names(), annotations, masks, truth=self.layout.scored or annotations is not None)

    def _refuse_nothing(self, folder: Path, count: int) -> NoReturn:
        if count == 0:
            raise Error("no picture is asked for", hint="--image-num is their number, -1 for all")
        listed = self.given.file_list or self._first(self.layout.lists)
        if listed is not None:
            raise Error(f"{listed} lists no pictures", hint="a line for each")
        raise Error(f"{folder} holds no pictures", hint=f"suffixes: {', '.join(PICTURES)}")

    def _folder(self) -> Path:
        if self.given.image_dir is not None:
            if not self.given.image_dir.is_dir():
                raise Error(f"there is no folder {self.given.image_dir}", hint="--image-dir is the folder of pictures")
            return self.given.image_dir
        root = self.root()
        if root is None or not root.is_dir():
            what = f"there is no folder {root}" if root else "nothing says where it is"
            raise Error(
                f"the data set {self.layout.title} is missing: {what}\n  get it from {self.layout.origin}",
                hint=f"set {self.layout.variable} (or DATASETS_PATH) to its folder, or give --dataset FOLDER",
            )
        candidates = [root / name for name in self.layout.image_dirs if (root / name).is_dir()]
        if not candidates:
            hint = f"get it from {self.layout.origin}"
            raise Error(f"{root} has no folder {' or '.join(filter(None, self.layout.image_dirs))}", hint=hint)
        # Pictures may also lie a level deeper, in a folder per class: then the deepest candidate is their folder's.
        return next((c for c in candidates if _holds_pictures(c)), candidates[-1])

    def _first(self, names: Sequence[str]) -> Path | None:
        places = [place for place in (self.root(), _utilities()) if place is not None]
        return next((p / name for p in places for name in names if (p / name).exists()), None)

    def _items(self, folder: Path, count: int) -> Iterator[Item]:
        listed = self.given.file_list or self._first(self.layout.lists)
        if listed is None:
            if self.layout.labelled:
                where = self.root() or folder
                raise Error(
                    f"{self.layout.title}: there is no label list in {where}",
                    hint=f"one of {', '.join(self.layout.lists)} with lines `file label`, or --label-file FILE",
                )
            files = sorted(f for f in folder.iterdir() if f.suffix.lower() in PICTURES)
            yield from (Item(i, f.name, f) for i, f in enumerate(files[:count] if count >= 0 else files))
            return
        for number, line in enumerate(_lines(listed), 1):
            if 0 <= count < number:
                return
            name, label = self._entry(line, listed, number)
            yield Item(number - 1, name, self._find(folder, name + self.layout.suffix), label)

    def _entry(self, line: str, listed: Path, number: int) -> tuple[str, int | None]:
        if not self.layout.labelled:
            return line, None
        name, *label = line.rsplit(None, 1)  # at a blank or a tab
        if not label or not label[0].isdecimal():
            raise Error(f"{listed}, line {number}: {line!r} has no label", hint="every line is `file label`")
        return name, int(label[0])

    def _find(self, folder: Path, name: str) -> Path:
        """The file: as listed, by its base name, or in a folder per class; where there is none, where it should be."""
        places = (folder / name, folder / Path(name).name, folder.parent / name)
        bare = () if Path(name).suffix.lower() in PICTURES else tuple(folder / f"{name}{s}" for s in PICTURES)
        for path in (*places, *bare):
            if path.exists():
                return path
        if self.layout.labelled and folder not in self._by_name:
            self._by_name[folder] = {path.name: path for path in folder.glob("*/*") if path.is_file()}
        return self._by_name.get(folder, {}).get(Path(name).name, folder / name)

    def _names(self) -> tuple[str, ...]:
        path = self.given.name_file or self._first(self.layout.names)
        return read_names(path) if path is not None else ()


def read_names(path: Path) -> tuple[str, ...]:
    """Class names: `index name`, `wnid name`, or a name per line."""
    lines = _lines(path)
    first = lines[0].split()[0] if lines else ""
    wordnet = first[:1] == "n" and first[1:].isdigit()
    numbered = first.isdigit() or wordnet
    return tuple(line.split(None, 1)[-1] for line in lines) if numbered else tuple(lines)


def read_annotations(path: Path) -> dict[str, Any]:
    """A file of annotations in COCO's form. Raises Error for another."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise Error(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Error(f"{path} is no JSON: {error}") from error
    keys = ("images", "annotations", "categories")
    missing = [key for key in keys if not isinstance(found, dict) or key not in found]
    if missing:
        raise Error(f"{path} has no {', '.join(missing)}", hint="annotations are in COCO's form")
    return found


def _lines(path: Path) -> list[str]:
    """What stands in the lines of a text; a byte order mark, as some editors write it, is no part of it."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise Error(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Error(f"{path} is no text in UTF-8: {error}", hint="save it in UTF-8") from error


def _utilities() -> Path | None:
    """The folder of lists that samples share."""
    named = os.environ.get("UTILS_PATH")
    return Path(named) if named else None


def _holds_pictures(folder: Path) -> bool:
    """Whether pictures lie in the folder itself."""
    with os.scandir(folder) as entries:
        return any(Path(entry.name).suffix.lower() in PICTURES for entry in entries)
