"""Finds objects of the 80 COCO classes with FastestDet and frames them.

python examples/detect_objects.py FastestDet.onnx street.jpg --names coco.names --output pictures
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pictures
from pictures import Array
from PIL import Image

import magicmind

SIZE = 352
SCORE, OVERLAP = 0.5, 0.45


def prepare(pixels: Array) -> Array:
    """The network's input for BGR [352, 352, 3]."""
    return pictures.planes(pixels.astype(np.float32) / 255)


def decode(output: Array, width: int, height: int) -> Array:
    """Objects as rows x1, y1, x2, y2 (pixels of a picture of that size), score, class; the surest first.

    output [1, 85, rows, columns]: per cell objectness, offset and size of the box, and a score per class.
    """
    cells = output[0].astype(np.float64)
    objectness, (dx, dy, across, down), classes = cells[0], cells[1:5], cells[5:]
    rows, columns = np.indices(objectness.shape)
    centre = np.stack([(columns + np.tanh(dx)) / objectness.shape[1], (rows + np.tanh(dy)) / objectness.shape[0]])
    half = 1 / (1 + np.exp(-np.stack([across, down]))) / 2
    score = objectness**0.6 * classes.max(0) ** 0.4
    likely = score > SCORE
    box = np.concatenate([centre - half, centre + half])[:, likely].T * [width, height, width, height]
    kept = pictures.best(box, score[likely], OVERLAP)
    return np.column_stack([box, score[likely], classes.argmax(0)[likely]])[kept]


def detect(session: magicmind.Session, picture: Image.Image) -> Array:
    """The objects of a picture, see `decode`."""
    pixels = pictures.averaged(picture, SIZE, SIZE)[:, :, ::-1]
    (output,) = session.run({session.inputs[0].name: prepare(pixels)}).values()
    return decode(output, *picture.size)


def main() -> None:
    parser = pictures.arguments(__doc__, "the detector")
    parser.add_argument("--names", type=Path, help="text file with the name of a class per line (default: numbers)")
    asked = parser.parse_args()
    names = asked.names.read_text().splitlines() if asked.names else [f"class {i}" for i in range(80)]
    with pictures.open_session(asked.model, asked.threads) as session:
        for source in asked.images:
            picture = pictures.read(source)
            found = detect(session, picture)
            classes = found[:, 5].astype(int)
            labels = [f"{names[c]} {score:.2f}" for c, score in zip(classes, found[:, 4], strict=True)]
            colours = [pictures.COLOURS[c % len(pictures.COLOURS)] for c in classes]
            drawn = pictures.draw_boxes(picture, found[:, :4], labels, colours)
            print(f"{source}: {', '.join(labels) or 'nothing'}, drawn in {pictures.save(drawn, asked.output, source)}")


if __name__ == "__main__":
    main()
