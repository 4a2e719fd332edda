"""How a picture of any size becomes one of the network's: by OpenCV's or Pillow's rules, as each sample has it.

OpenCV's resampling does not average when a picture shrinks (but for INTER_AREA), Pillow's does; roundings of sizes and
corners differ too, and are part of each rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from magicmind.errors import MissingExtraError

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Placement:
    """Where the network's pixels lie in the picture: x_picture = left + x * across, y_picture = top + y * down."""

    left: float
    top: float
    across: float
    down: float

    def corners(self, boxes: Array) -> Array:
        """Boxes [n, 4] (x1, y1, x2, y2) of the network in the picture."""
        return np.asarray(boxes * np.array([self.across, self.down] * 2) + np.array([self.left, self.top] * 2))


class Geometry(Protocol):
    """A rule."""

    def apply(self, pixels: Array) -> tuple[Array, Placement]:
        """uint8 [H, W, 3] -> uint8 of the network's size, and where it lies."""
        ...


@dataclass(frozen=True)
class Stretch:
    """The whole picture on width x height; the ratio of its sides is not kept."""

    width: int
    height: int
    how: str = "linear"

    def apply(self, pixels: Array) -> tuple[Array, Placement]:
        placement = Placement(0, 0, pixels.shape[1] / self.width, pixels.shape[0] / self.height)
        return resize(pixels, self.width, self.height, self.how), placement


@dataclass(frozen=True)
class CentreCrop:
    """The short side on `side`, then the middle `crop` x `crop`.

    rounding: of sides and corners. "half_up" is C's round for both, "down" the same with corners rounded down, "pillow"
    cuts the long side off and rounds corners half to even, as torchvision has it.
    corner_of: the side that the corner is the middle for, if not the picture's; as published for one calibration.
    """

    side: int
    crop: int
    how: str = "linear"
    rounding: str = "half_up"
    corner_of: int | None = None

    def apply(self, pixels: Array) -> tuple[Array, Placement]:
        height, width = pixels.shape[:2]
        if self.rounding == "pillow":
            new = [
                self.side if n == min(height, width) else int(self.side * n / min(height, width))
                for n in (height, width)
            ]
        else:
            scale = float(np.float32(self.side) / np.float32(min(height, width)))
            new = [round_half_up(scale * n) for n in (height, width)]
        top, left = (self._corner(n) for n in new)
        resized = resize(pixels, new[1], new[0], self.how)
        across, down = width / new[1], height / new[0]
        placement = Placement(left * across, top * down, across, down)
        return resized[top : top + self.crop, left : left + self.crop], placement

    def _corner(self, side: int) -> int:
        free = side - (self.corner_of or self.crop)
        if self.rounding == "down":
            return free // 2
        return round(free / 2) if self.rounding == "pillow" else round_half_up(free / 2)


@dataclass(frozen=True)
class LongSide:
    """The long side on `side`, the other in proportion but at least `least`; rounding "half_up" or "down"."""

    side: int
    how: str
    rounding: str = "half_up"
    least: int = 1

    def apply(self, pixels: Array) -> tuple[Array, Placement]:
        height, width = pixels.shape[:2]
        ratio = self.side / max(height, width)
        whole = int if self.rounding == "down" else round_half_up
        new_height, new_width = (max(whole(ratio * n), self.least) for n in (height, width))
        placement = Placement(0, 0, width / new_width, height / new_height)
        return resize(pixels, new_width, new_height, self.how), placement


@dataclass(frozen=True)
class Fit:
    """The whole picture in a black square, in proportion: x' = (x - w/2) * side / max(w, h) + side / 2."""

    side: int

    def apply(self, pixels: Array) -> tuple[Array, Placement]:
        height, width = pixels.shape[:2]
        scale = self.side / max(height, width)
        middle = self.side / 2
        matrix = np.array([[scale, 0, middle - scale * width / 2], [0, scale, middle - scale * height / 2]])
        cv2 = opencv()
        warped = cv2.warpAffine(pixels, matrix, (self.side, self.side), flags=cv2.INTER_LINEAR)
        return warped, Placement(width / 2 - middle / scale, height / 2 - middle / scale, 1 / scale, 1 / scale)


def round_half_up(value: float) -> int:
    """C's round, of numbers that are not negative."""
    return math.floor(value + 0.5)


def resize(pixels: Array, width: int, height: int, how: str) -> Array:
    """uint8 [H, W, 3] resampled: linear, cubic, area are OpenCV's; pil_linear, pil_cubic, pil_lanczos Pillow's."""
    if how.startswith("pil_"):
        image = pillow()
        filters = image.Resampling
        chosen = {"linear": filters.BILINEAR, "cubic": filters.BICUBIC, "lanczos": filters.LANCZOS}[how[4:]]
        return np.asarray(image.fromarray(pixels).resize((width, height), chosen))
    cv2 = opencv()
    chosen = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}[how]
    resized: Array = cv2.resize(pixels, (width, height), interpolation=chosen)
    return resized


def opencv() -> Any:
    """The module. Raises MissingExtraError."""
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise MissingExtraError("reading pictures needs OpenCV", hint="pip install 'magicmind[zoo]'") from error
    return cv2


def pillow() -> Any:
    """The module PIL.Image. Raises MissingExtraError."""
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise MissingExtraError("reading pictures needs Pillow", hint="pip install 'magicmind[zoo]'") from error
    return Image
