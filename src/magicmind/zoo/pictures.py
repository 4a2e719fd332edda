"""Pictures that are made here: for runs of random weights where there is no data set, and for examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from magicmind.zoo import files
from magicmind.zoo.datasets import Dataset
from magicmind.zoo.geometry import Array, opencv
from magicmind.zoo.tasks.task import Item

HEIGHT, WIDTH = 375, 500


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Array:
    """BGR [height, width, 3]: a sky, a ground, and a few coloured shapes."""
    cv2 = opencv()
    rng = np.random.default_rng(seed)
    rows = np.linspace(0, 1, height)[:, None, None]
    sky, ground = (rng.integers(low, 256, 3) for low in (120, 30))
    pixels = np.broadcast_to(sky * (1 - rows) + ground * rows, (height, width, 3)).astype(np.uint8).copy()
    for _ in range(6):
        colour = [int(v) for v in rng.integers(0, 256, 3)]
        x, y = int(rng.integers(0, width)), int(rng.integers(height // 4, height))
        a, b = (int(v) for v in rng.integers(height // 12, height // 4, 2))
        shape = rng.integers(0, 3)
        if shape == 0:
            cv2.ellipse(pixels, (x, y), (a, b), float(rng.integers(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        elif shape == 1:
            cv2.rectangle(pixels, (x - a, y - b), (x + a, y + b), colour, -1)
        else:
            corners = np.array([[x, y - b], [x - a, y + b], [x + a, y + b]], np.int32)
            cv2.fillPoly(pixels, [corners], colour, cv2.LINE_AA)
    noisy = pixels.astype(int) + rng.integers(-6, 7, pixels.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def made_dataset(folder: Path, count: int) -> Dataset:
    """So many made pictures as JPEG files in `folder`; there is no truth to score against."""
    with files.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    items = []
    for i in range(count):
        path = folder / f"made_{i:04}.jpg"
        if not path.exists():
            files.write(path, opencv().imencode(".jpg", picture(i))[1].tobytes())
        items.append(Item(i, path.name, path))
    return Dataset(items, truth=False)
