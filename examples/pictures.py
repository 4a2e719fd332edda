"""What the examples share: open a network, read and resize pictures, keep the best of overlapping boxes, draw."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

import magicmind

Array = np.ndarray[Any, np.dtype[Any]]

COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#f032e6", "#9a6324")


def arguments(description: str | None, network: str) -> argparse.ArgumentParser:
    """The command line that all examples have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help=f"{network}: an .onnx file, or an offline model built from it (.mm)")
    parser.add_argument("images", type=Path, nargs="+", help="pictures to look at")
    parser.add_argument("--output", type=Path, default=Path("pictures"), help="folder for results (default: pictures)")
    parser.add_argument("--threads", type=int, help="threads for one picture (default: all CPUs it may use)")
    return parser


def open_session(model: Path, threads: int | None = None) -> magicmind.Session:
    """Loads an offline model; anything else is compiled first, which takes some seconds."""
    if model.suffix == ".mm":
        return magicmind.load(model).session(threads=threads)
    return magicmind.build(magicmind.parse(model)).session(threads=threads)


def read(path: Path) -> Image.Image:
    """The picture in RGB, the right way up."""
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def sampled(picture: Image.Image, width: int, height: int) -> Array:
    """RGB [height, width, 3]: the four neighbours of each sample weighted, as detectors are trained with."""
    across, down = picture.width / width, picture.height / height
    # Pillow's own bilinear resize averages over the whole area when it makes a picture smaller.
    affine = (across, 0, 0, 0, down, 0)
    return np.asarray(picture.transform((width, height), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR))


def averaged(picture: Image.Image, width: int, height: int) -> Array:
    """RGB [height, width, 3]: each sample is the mean of the area it stands for, parts of pixels included."""
    pixels = np.asarray(picture, np.float64)
    for axis, size in ((0, height), (1, width)):
        # Sums from the start up to every edge; an edge inside a pixel takes its share of it.
        sums = np.insert(np.cumsum(pixels, axis), 0, 0.0, axis)
        edges = np.linspace(0, pixels.shape[axis], size + 1)
        whole = np.minimum(edges.astype(int), pixels.shape[axis] - 1)
        share = np.expand_dims(edges - whole, (1, 2) if axis == 0 else (0, 2))
        at_edges = sums.take(whole, axis) * (1 - share) + sums.take(whole + 1, axis) * share
        pixels = np.diff(at_edges, axis=axis) * (size / pixels.shape[axis])
    return np.rint(pixels).astype(np.uint8)


def planes(pixels: Array) -> Array:
    """[H, W, C] to a batch of one, [1, C, H, W], float32."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


def overlap(box: Array, boxes: Array) -> Array:
    """Intersection over union of one box with each of several; a box is x1, y1, x2, y2."""
    corner = np.maximum(box[:2], boxes[:, :2])
    sides = np.maximum(np.minimum(box[2:], boxes[:, 2:]) - corner, 0)
    common = sides[:, 0] * sides[:, 1]
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return common / np.maximum(area + areas - common, 1e-9)


def best(boxes: Array, scores: Array, limit: float) -> list[int]:
    """Indices of the boxes, the surest first, that overlap no surer one by more than `limit`."""
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        first, order = order[0], order[1:]
        kept.append(int(first))
        order = order[overlap(boxes[first], boxes[order]) <= limit]
    return kept


def draw_boxes(picture: Image.Image, boxes: Array, labels: list[str], colours: list[str]) -> Image.Image:
    """A copy with a frame and a label per box."""
    result = picture.copy()
    draw = ImageDraw.Draw(result)
    line = max(2, round(max(picture.size) / 320))
    font = ImageFont.load_default(size=max(10, 6 * line))
    for box, label, colour in zip(boxes, labels, colours, strict=True):
        corners = tuple(float(v) for v in box)
        draw.rectangle(corners, outline=colour, width=line)
        place = (max(corners[0], 0), max(corners[1] - 7 * line, 0))
        draw.rectangle(draw.textbbox(place, label, font=font), fill=colour)
        draw.text(place, label, fill="white", font=font)
    return result


def save(picture: Image.Image, folder: Path, source: Path) -> Path:
    """Writes `<name of source>.png` into the folder and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{source.stem}.png"
    picture.save(path)
    return path
