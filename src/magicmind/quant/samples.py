"""Calibration data: dicts of arrays, a folder of images, .npz files, or random numbers.

Whatever they are, samples arrive one after another; nothing but the current one is held.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from magicmind.errors import MissingExtraError, PrecisionError
from magicmind.tensorinfo import TensorInfo

Array = np.ndarray[Any, np.dtype[Any]]
Sample = Mapping[str, Array]

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"})
RANDOM_SAMPLES = 8
LARGEST_SIDE = 8192
"""Pixels: a slip of the pen must not fill the memory."""


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes an input, in this order.

    resize: (height, width), or the length of the short side; crop: (height, width) from the middle; then
    (x - mean) / std per channel of pixels from 0 to 255, in the channel `order` (rgb, bgr, or gray), which is also
    the order of mean and std; `layout` NCHW or NHWC. A size that is not given is the network's.
    """

    resize: tuple[int, int] | int | None = None
    crop: tuple[int, int] | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: str = "rgb"
    layout: str = "NCHW"

    def __post_init__(self) -> None:
        if self.order not in ("rgb", "bgr", "gray") or self.layout not in ("NCHW", "NHWC"):
            raise PrecisionError(f"order {self.order!r}, layout {self.layout!r}", hint="rgb, bgr or gray; NCHW or NHWC")
        if not all(self.std):
            raise PrecisionError("std is zero", hint="leave it out for 1")
        channels = 1 if self.order == "gray" else 3
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, channels) or not np.isfinite(numbers).all():
                raise PrecisionError(f"{name} is {numbers}", hint=f"one number, or {channels} of order {self.order}")
        for size in (self.resize, self.crop):
            sides = (size,) if isinstance(size, int) else size or ()
            if not all(0 < side <= LARGEST_SIDE for side in sides):
                raise PrecisionError(f"a picture of size {size}", hint=f"sides have 1 to {LARGEST_SIDE} pixels")


@dataclass(frozen=True)
class Images:
    """The pictures of a folder (or a list of files), in order of their names; `limit` of them, spread evenly."""

    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    how: Preprocessing = field(default_factory=Preprocessing)
    limit: int | None = None


@dataclass(frozen=True)
class Random:
    """Random inputs: to see that a network quantises and how fast it is, not how well."""

    samples: int = RANDOM_SAMPLES
    seed: int = 0


Data: TypeAlias = Iterable[Sample] | Images | Random | str | os.PathLike[str]


@dataclass(frozen=True)
class Samples:
    """What calibration reads: the samples, how many (0 where that is not known), and what they are."""

    items: Iterable[Sample]
    total: int
    random: bool
    data: str


def samples_of(data: Data, inputs: Sequence[TensorInfo]) -> Samples:
    """The samples for these inputs. A text is `random`, `random:N`, a .npz file, a folder of such, or of pictures.

    Raises PrecisionError for data that is not there or cannot be, MissingExtraError where pictures need a package.
    """
    if isinstance(data, str | os.PathLike):
        return _named_samples(os.fspath(data), inputs)
    if isinstance(data, Random):
        return Samples(_random(data, inputs), data.samples, True, f"random, seed {data.seed}")
    if isinstance(data, Images):
        files = _image_files(data)
        return Samples(_pictures(files, data.how, inputs), len(files), False, f"{len(files)} images")
    if isinstance(data, Mapping) or not isinstance(data, Iterable):
        raise PrecisionError(
            f"calibration data is {type(data).__name__}", hint="give a list of dicts from input name to array"
        )
    return Samples(data, len(data) if isinstance(data, Sequence) else 0, False, "samples")


def _named_samples(text: str, inputs: Sequence[TensorInfo]) -> Samples:
    word, _, count = text.partition(":")
    if word == "random" and (count.isdigit() or not count):
        return samples_of(Random(int(count) if count else RANDOM_SAMPLES), inputs)
    path = Path(text)
    archives = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if path.is_dir() and not archives:
        return samples_of(Images(path), inputs)
    if not path.exists():
        raise PrecisionError(f"there is no calibration data at {text}", hint="a folder, a .npz file, or random:N")
    if archives == [path] and path.suffix != ".npz":
        raise PrecisionError(f"{text} is no calibration data", hint="a folder of images, .npz files, or random:N")
    return Samples(_arrays(archives, inputs), 0, False, f"{len(archives)} .npz file{'s' if len(archives) > 1 else ''}")


# ----------------------------------------------------------------------------------------------------------- random


def _random(data: Random, inputs: Sequence[TensorInfo]) -> Iterator[Sample]:
    rng = np.random.default_rng(data.seed)
    for _ in range(data.samples):
        yield {info.name: _noise(rng, info) for info in inputs}


def _noise(rng: np.random.Generator, info: TensorInfo) -> Array:
    """Normal floats, all values of 8-bit integers, zeros and ones of wider ones, which mostly are indices."""
    shape = [dim if isinstance(dim, int) else max(dim[0], 1) for dim in info.shape]
    if info.dtype.kind in "iub":
        high = 256 if info.dtype == np.uint8 else 2
        return rng.integers(0, high, shape).astype(info.dtype)
    return rng.standard_normal(shape).astype(info.dtype)


# ----------------------------------------------------------------------------------------------------------- arrays


def _arrays(files: Sequence[Path], inputs: Sequence[TensorInfo]) -> Iterator[Sample]:
    """Each file holds an array per input; a further first axis, or a longer one, counts samples."""
    for file in files:
        try:
            with np.load(file, allow_pickle=False) as archive:
                held = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError) as error:
            raise PrecisionError(f"{file} cannot be read: {error}", hint="write it with numpy.savez") from error
        missing = [info.name for info in inputs if info.name not in held]
        if missing:
            has = ", ".join(held) or "none"
            raise PrecisionError(f"{file} holds no array {missing[0]!r}; its arrays: {has}", hint="one per input")
        parts = [_split(held[info.name], info) for info in inputs]
        for arrays in zip(*parts, strict=False):
            yield {info.name: array for info, array in zip(inputs, arrays, strict=True)}


def _split(array: Array, info: TensorInfo) -> Iterator[Array]:
    if array.ndim == len(info.shape) + 1:
        yield from array
        return
    first = info.shape[0] if info.shape else None
    size = first if isinstance(first, int) or first is None else max(first[0], 1)
    if array.ndim != len(info.shape) or size is None or array.shape[0] <= size:
        yield array  # one sample; where it does not fit, running it says so
        return
    for i in range(0, array.shape[0] - size + 1, size):
        yield array[i : i + size]


# ----------------------------------------------------------------------------------------------------------- images


def _image_files(data: Images) -> list[Path]:
    if isinstance(data.files, str | os.PathLike):
        folder = Path(data.files)
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGES)
        if not files:
            raise PrecisionError(f"{folder} holds no images", hint=f"looked for {', '.join(sorted(IMAGES))}")
    else:
        files = [Path(path) for path in data.files]
    if data.limit is None or data.limit >= len(files):
        return files
    return [files[i * len(files) // data.limit] for i in range(data.limit)]


def _pictures(files: Sequence[Path], how: Preprocessing, inputs: Sequence[TensorInfo]) -> Iterator[Sample]:
    """As many pictures a sample as the network's batch; a last one that is not full is left out, unless it is all."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise PrecisionError(
            "pictures are for networks with one input of four dims", hint="give dicts from input name to array"
        )
    (info,) = inputs
    first = info.shape[0]
    batch = first if isinstance(first, int) else max(first[0], 1)
    held: list[Array] = []
    for file in files:
        held.append(picture(file, how, info))
        if len(held) == batch:
            yield {info.name: np.stack(held)}
            held = []


def picture(file: str | os.PathLike[str], how: Preprocessing, info: TensorInfo) -> Array:
    """One picture as the network takes it, without the batch: [C, H, W] or [H, W, C]."""
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise MissingExtraError("reading images needs Pillow", hint="pip install 'magicmind[images]'") from error
    try:
        image = Image.open(file).convert("L" if how.order == "gray" else "RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise PrecisionError(f"{file} is no image that can be read: {error}") from error
    height, width = _target(how, info, image.size[::-1])
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    if how.crop is not None:
        if how.crop[0] > image.size[1] or how.crop[1] > image.size[0]:
            wanted = f"the crop, {how.crop[0]}x{how.crop[1]}, is larger than {file}, which is {height}x{width}"
            raise PrecisionError(wanted, hint="resize first: size=HEIGHTxWIDTH, or short=SIDE")
        top, left = (image.size[1] - how.crop[0]) // 2, (image.size[0] - how.crop[1]) // 2
        image = image.crop((left, top, left + how.crop[1], top + how.crop[0]))
    pixels: Array = np.asarray(image, np.float32).reshape(image.size[1], image.size[0], -1)
    pixels = pixels[..., ::-1] if how.order == "bgr" else pixels
    pixels = (pixels - np.asarray(how.mean, np.float32)) / np.asarray(how.std, np.float32)
    if how.layout == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
    if info.dtype.kind in "iu":
        limits = np.iinfo(info.dtype.name)
        pixels = np.clip(np.rint(pixels), limits.min, limits.max)
    return np.ascontiguousarray(pixels, info.dtype)


def _target(how: Preprocessing, info: TensorInfo, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) to resize to."""
    if isinstance(how.resize, int):
        share = how.resize / min(size)
        return round(size[0] * share), round(size[1] * share)
    if how.resize is not None:
        return how.resize
    dims = info.shape[2:4] if how.layout == "NCHW" else info.shape[1:3]
    fixed = [dim if isinstance(dim, int) else dim[0] if dim[0] == dim[1] else 0 for dim in dims]
    if how.crop is not None:
        return how.crop
    if 0 in fixed:
        raise PrecisionError(f"the network takes pictures of any size ({dims})", hint="say which: resize=HEIGHTxWIDTH")
    return fixed[0], fixed[1]


def parse_preprocessing(text: str) -> Preprocessing:
    """`size=227 mean=104,117,123 order=bgr`: the fields as `name=value`, blanks or semicolons between them.

    `size` is the length of a square's side or HEIGHTxWIDTH, `short` the length of the short side.
    """
    given: dict[str, Any] = {}
    for word in text.replace(";", " ").split():
        name, _, value = word.partition("=")
        try:
            if name in ("size", "crop"):
                given["resize" if name == "size" else name] = _size(value)
            elif name == "short":
                given["resize"] = int(value)
            elif name in ("mean", "std"):
                given[name] = tuple(float(number) for number in value.split(","))
            elif name == "order":
                given[name] = value.lower()
            elif name == "layout":
                given[name] = value.upper()
            else:
                raise ValueError
        except ValueError as error:
            hint = "size=HxW short=N crop=HxW mean=a,b,c std=a,b,c order=rgb|bgr|gray layout=NCHW|NHWC"
            raise PrecisionError(f"preprocessing {word!r} is not understood", hint=hint) from error
    return Preprocessing(**given)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    return int(height), int(width or height)
