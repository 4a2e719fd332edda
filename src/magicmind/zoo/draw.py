"""Pictures of results. All are BGR [H, W, 3], of the size of the picture or larger; small pictures are enlarged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from magicmind.zoo.geometry import Array, opencv

GREEN, RED, WHITE, BLACK = (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
BAR, GROUND = (180, 119, 31), (250, 250, 250)
_WIDTH = 400
"""Narrower pictures are enlarged to this, or text would not fit."""


def _wide_enough(pixels: Array) -> tuple[Array, int]:
    """The picture and by how much it was enlarged."""
    factor = -(-_WIDTH // pixels.shape[1])
    if factor == 1:
        return np.ascontiguousarray(pixels).copy(), 1
    cv2 = opencv()
    size = (pixels.shape[1] * factor, pixels.shape[0] * factor)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC), factor


def _line(width: int) -> tuple[float, int]:
    """Size of text and its line's height for a picture of this width."""
    scale = max(0.45, width / 1400)
    return scale, round(32 * scale)


def _text(canvas: Array, text: str, x: float, y: float, scale: float, colour: Sequence[int]) -> None:
    cv2 = opencv()
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(canvas, plain, (round(x), round(y)), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)


def boxes(pixels: Array, corners: Sequence[tuple[float, ...]], labels: Sequence[str]) -> Array:
    """Green frames, red names above them, or inside where there is no room above."""
    cv2 = opencv()
    canvas, factor = _wide_enough(pixels)
    scale, height = _line(canvas.shape[1])
    for corner, label in zip(reversed(corners), reversed(labels), strict=True):  # the surest on top
        left, top, right, bottom = (round(factor * v) for v in corner)
        cv2.rectangle(canvas, (left, top), (right, bottom), GREEN, 2)
        (wide, _), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        base = top - 4 if top > height else top + height - 6
        at = min(max(left, 0), max(canvas.shape[1] - wide, 0))
        _shade(canvas, at, base - height + 8, wide, height - 2)
        _text(canvas, label, at, base, scale, RED)
    return canvas


def _shade(canvas: Array, x: int, y: int, width: int, height: int) -> None:
    """Lightens a rectangle, so that text can be read on it."""
    y, x = max(y, 0), max(x, 0)
    part = canvas[y : y + height, x : x + width]
    part[:] = (part * 0.3 + 255 * 0.7).astype(np.uint8)


def bars(pixels: Array, rows: Sequence[tuple[str, float]]) -> Array:
    """The picture above a bar per name; shares are from 0 to 1."""
    canvas, _ = _wide_enough(pixels)
    width = canvas.shape[1]
    scale, height = _line(width)
    panel = np.full((height * len(rows) + 12, width, 3), GROUND, np.uint8)
    start = round(0.5 * width)
    for i, (name, share) in enumerate(rows):
        y = 6 + i * height
        _text(panel, name, 8, y + 0.7 * height, scale, BLACK)
        panel[y + 4 : y + height - 4, start:] = GROUND
        length = round((width - start - 90 * scale * 2) * share)
        panel[y + 4 : y + height - 4, start : start + max(length, 1)] = BAR
        _text(panel, f"{100 * share:.1f} %", start + length + 6, y + 0.7 * height, scale, BLACK)
    return np.concatenate([canvas, panel])


def overlay(pixels: Array, colours: Array, where: Array, legend: Sequence[tuple[str, Array, float]]) -> Array:
    """Half of the colour on the pixels of `where`; the legend has name, R, G, B and share of each class."""
    mixed = pixels.copy()
    mixed[where] = ((pixels[where].astype(int) + colours[where]) // 2).astype(np.uint8)
    canvas, _ = _wide_enough(mixed)
    scale, height = _line(canvas.shape[1])
    panel = np.full((height * max(len(legend), 1) + 12, canvas.shape[1], 3), GROUND, np.uint8)
    for i, (name, colour, share) in enumerate(sorted(legend, key=lambda entry: -entry[2])):
        y = 6 + i * height
        panel[y + 4 : y + height - 4, 8 : 8 + 2 * height] = colour[::-1]
        _text(panel, f"{name}  {100 * share:.1f} %", 16 + 2 * height, y + 0.7 * height, scale, BLACK)
    if not legend:
        _text(panel, "background alone", 8, 6 + 0.7 * height, scale, BLACK)
    return np.concatenate([canvas, panel])
