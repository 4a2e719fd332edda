"""Input arrays for `magicmind run`: from files, or random ones with a fixed seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.dtypes import is_foreign
from magicmind.errors import ModelFormatError, ShapeError
from magicmind.tensorinfo import TensorInfo

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


def make(
    inputs: Sequence[TensorInfo],
    *,
    files: Mapping[str, Path],
    shapes: Mapping[str, Shape],
    batch: int | None,
    seed: int,
) -> dict[str, Array]:
    """One array per input of a model.

    `files` gives .npy files by input name, `shapes` shapes for random ones; in the other ones a mutable first dim
    becomes `batch` (its minimum when None) and any other mutable dim its minimum (1 where that is 0). Raises
    ShapeError for a name that the model does not have, ModelFormatError for a file that is no array.
    """
    known = [info.name for info in inputs]
    for name in (*files, *shapes):
        if name not in known:
            raise ShapeError(f"the model has no input {name!r}", hint=f"its inputs: {', '.join(known)}")
    rng = np.random.default_rng(seed)
    feeds = {}
    for info in inputs:
        if info.name in files:
            feeds[info.name] = named(load(files[info.name]), info.dtype)
        else:
            shape = shapes[info.name] if info.name in shapes else fixed(info, batch)
            feeds[info.name] = random(shape, info.dtype, rng)
    return feeds


def fixed(info: TensorInfo, batch: int | None) -> Shape:
    """A shape with a number for every mutable dim. Raises ShapeError when `batch` differs from a fixed first dim."""
    dims = [dim if isinstance(dim, int) else max(dim[0], 1) for dim in info.shape]
    if batch is not None and info.shape:
        if isinstance(info.shape[0], int) and info.shape[0] != batch:
            raise ShapeError(
                f"input {info.name!r} was built for a first dim of {info.shape[0]}, not {batch}",
                hint=f"build with --shape {info.name}=1..{max(batch, 64)},...",
            )
        dims[0] = batch
    return tuple(dims)


def random(shape: Shape, dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
    """Normal floats, all values of 8-bit integers, zeros and ones otherwise (they are mostly indices and flags)."""
    if dtype.kind in "iub":
        limits = np.iinfo(dtype) if dtype.kind != "b" and dtype.itemsize == 1 else None
        low, high = (limits.min, limits.max + 1) if limits else (0, 2)
        return rng.integers(low, high, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def load(path: Path) -> Array:
    """The array of a .npy file."""
    try:
        loaded = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ModelFormatError(f"{path}: not a .npy array ({error})") from error
    if not isinstance(loaded, np.ndarray):
        loaded.close()
        raise ModelFormatError(f"{path}: an archive of arrays", hint="give one .npy file per input")
    return loaded


def named(array: Array, dtype: np.dtype[Any]) -> Array:
    """The array as `dtype` where that is no type of numpy's own: .npy files hold bytes or codes of such."""
    codes = is_foreign(dtype) and array.dtype.itemsize == dtype.itemsize and array.dtype.kind in "Vu"
    return array.view(dtype) if codes else array


def batch_of(feeds: Mapping[str, Array]) -> int:
    """The first dim of the first input that has one: what throughput counts."""
    return next((array.shape[0] for array in feeds.values() if array.ndim), 1)
