"""From a file to what a built network takes: decoding, geometry, channel order, and where normalisation is done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from magicmind.errors import Error
from magicmind.zoo.geometry import Array, Geometry, Placement, opencv, pillow


class BrokenImage(Error):
    """A file that no picture can be read from."""


@dataclass(frozen=True)
class Prepared:
    """A picture as the network takes it: [H, W, 3]; `size` is (height, width) of the file's picture."""

    pixels: Array
    placement: Placement
    size: tuple[int, int]


@dataclass(frozen=True)
class Preparation:
    """How pictures are read and brought to the network's size.

    reader: "opencv" turns pictures as their EXIF data says, "pillow" does not.
    order: of channels, "bgr" or "rgb"; also that of mean and std, which are of pixels from 0 to 255.
    inside: whether (x - mean) / std is part of the built network, which then takes uint8; else it is done here, in
        float32. Networks that normalise themselves have neither mean nor std.
    """

    geometry: Geometry
    order: str
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    reader: str = "opencv"
    inside: bool = True

    def read(self, path: Path) -> Array:
        """uint8 [H, W, 3] in the network's channel order. Raises BrokenImage."""
        stored = self.reader == "pillow"
        pixels = read_rgb_as_stored(path) if stored else read_bgr(path)
        return pixels if stored == (self.order == "rgb") else swapped(pixels)

    def of(self, pixels: Array) -> Prepared:
        """A picture that is read already."""
        moved, placement = self.geometry.apply(pixels)
        if not self.inside and self.mean is not None and self.std is not None:
            moved = normalised(moved, self.mean, self.std)
        return Prepared(moved, placement, pixels.shape[:2])

    def __call__(self, path: Path) -> Prepared:
        """Raises BrokenImage."""
        return self.of(self.read(path))


def read_bgr(path: Path) -> Array:
    """uint8 [H, W, 3], the right way up. Raises BrokenImage for files that are missing, damaged or no pictures."""
    cv2 = opencv()
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise BrokenImage(f"{path} cannot be read: {error.strerror}") from error
    if not data.size:
        raise BrokenImage(f"{path} is empty")
    if _is_cut_off(data):
        raise BrokenImage(f"{path} is a JPEG file that was cut off")
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise BrokenImage(f"{path} holds no picture: {' '.join(str(error).split())}") from error
    if pixels is None:
        raise BrokenImage(f"{path} holds no picture that OpenCV can read")
    found: Array = pixels
    return found


def _is_cut_off(data: Array) -> bool:
    """Whether a file begins as JPEG files do and has no end marker; OpenCV fills what is missing with grey, silently.

    Some cameras write padding after it, so the last kilobyte is searched. Other formats that are called .jpg pass.
    """
    return data[:2].tobytes() == b"\xff\xd8" and b"\xff\xd9" not in data[-1024:].tobytes()


def read_rgb_as_stored(path: Path) -> Array:
    """uint8 [H, W, 3] as Pillow reads it: any mode turned to RGB, EXIF data not looked at. Raises BrokenImage."""
    try:
        with pillow().open(path) as image:
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise BrokenImage(f"{path} holds no picture: {error}") from error


def swapped(pixels: Array) -> Array:
    """Red and blue change places; OpenCV's copy takes a tenth of the time of numpy's."""
    found: Array = opencv().cvtColor(pixels, opencv().COLOR_BGR2RGB)
    return found


def normalised(pixels: Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
    """(pixels - mean) / std in float32, channel by channel.

    Row by row with the statistics repeated along the row: numpy is slow where the last axis has three elements.
    """
    rows = pixels.reshape(pixels.shape[0], -1).astype(np.float32)
    rows -= np.tile(np.array(mean, np.float32), pixels.shape[1])
    rows /= np.tile(np.array(std, np.float32), pixels.shape[1])
    return rows.reshape(pixels.shape)
