"""Finds faces with RFB-320 or slim-320 (Ultra-Light-Fast-Generic-Face-Detector-1MB) and frames them.

python examples/detect_faces.py version-RFB-320.onnx photo.jpg --output pictures
"""

from __future__ import annotations

import numpy as np
import pictures
from pictures import Array
from PIL import Image

import magicmind

WIDTH, HEIGHT = 320, 240
SCORE, OVERLAP = 0.7, 0.3


def prepare(pixels: Array) -> Array:
    """The network's input for RGB [240, 320, 3]."""
    return pictures.planes((pixels.astype(np.float32) - 127) / 128)


def decode(scores: Array, boxes: Array, width: int, height: int) -> Array:
    """Faces as rows x1, y1, x2, y2 (pixels of a picture of that size), score; the surest first.

    scores [1, boxes, 2]: background and face; boxes [1, boxes, 4]: corners in 0..1.
    """
    likely = scores[0, :, 1] > SCORE
    score, box = scores[0, likely, 1], boxes[0, likely] * np.array([width, height, width, height], np.float32)
    kept = pictures.best(box, score, OVERLAP)
    return np.column_stack([box[kept], score[kept]])


def detect(session: magicmind.Session, picture: Image.Image) -> Array:
    """The faces of a picture, see `decode`."""
    outputs = session.run({"input": prepare(pictures.sampled(picture, WIDTH, HEIGHT))})
    return decode(outputs["scores"], outputs["boxes"], *picture.size)


def main() -> None:
    asked = pictures.arguments(__doc__, "the detector").parse_args()
    with pictures.open_session(asked.model, asked.threads) as session:
        for source in asked.images:
            picture = pictures.read(source)
            faces = detect(session, picture)
            labels = [f"{score:.2f}" for score in faces[:, 4]]
            drawn = pictures.draw_boxes(picture, faces[:, :4], labels, [pictures.COLOURS[0]] * len(faces))
            print(f"{source}: {len(faces)} faces, drawn in {pictures.save(drawn, asked.output, source)}")


if __name__ == "__main__":
    main()
