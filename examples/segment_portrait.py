"""Cuts people out of portraits with SINet: the person stays, the background turns blue and pale.

python examples/segment_portrait.py SINet.onnx portrait.jpg --output pictures
"""

from __future__ import annotations

import numpy as np
import pictures
from pictures import Array
from PIL import Image

import magicmind

SIZE = 320
# Of the three channels in the order B, G, R, from the network's training.
MEAN = np.array([102.890434, 111.25247, 126.91212], np.float32)
DEVIATION = np.array([62.93292, 62.82138, 66.355705], np.float32)
BACKGROUND = np.array([70, 120, 220], np.float32)


def prepare(pixels: Array) -> Array:
    """The network's input for BGR [320, 320, 3]."""
    return pictures.planes((pixels.astype(np.float32) - MEAN) / DEVIATION / 255)


def decode(logits: Array) -> Array:
    """Mask [320, 320] of bool, true where the person is; logits [1, 2, 320, 320]: background and person."""
    return logits[0, 1] > logits[0, 0]


def segment(session: magicmind.Session, picture: Image.Image) -> Array:
    """Mask [height, width] of bool of a picture."""
    pixels = pictures.sampled(picture, SIZE, SIZE)[:, :, ::-1]
    (logits,) = session.run({session.inputs[0].name: prepare(pixels)}).values()
    return np.asarray(Image.fromarray(decode(logits)).resize(picture.size, Image.Resampling.NEAREST))


def overlay(picture: Image.Image, mask: Array) -> Image.Image:
    """The picture with its background mixed with a colour."""
    pixels = np.asarray(picture, np.float32)
    return Image.fromarray(np.where(mask[:, :, None], pixels, 0.3 * pixels + 0.7 * BACKGROUND).astype(np.uint8))


def main() -> None:
    asked = pictures.arguments(__doc__, "the segmenter").parse_args()
    with pictures.open_session(asked.model, asked.threads) as session:
        for source in asked.images:
            picture = pictures.read(source)
            mask = segment(session, picture)
            path = pictures.save(overlay(picture, mask), asked.output, source)
            print(f"{source}: {mask.mean():.0%} person, drawn in {path}")


if __name__ == "__main__":
    main()
