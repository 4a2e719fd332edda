"""Samples for calibration as `mm_build` takes them: raw files, listed or in a folder, and random numbers."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.errors import Error
from magicmind.facade.calibrator import CalibDataInterface
from magicmind.facade.dims import Dims
from magicmind.facade.enums import DataType, get_numpy_dtype_by_datatype
from magicmind.facade.network import Network
from magicmind.facade.status import Code, Status
from magicmind.mmtools.arguments import UsageError
from magicmind.mmtools.build_config import one_each

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]

RANDOM_SAMPLES = 4
"""How many samples of random numbers there are."""
_LINE = re.compile(r"(?P<path>.*?)(?:\s+shape\s*\[(?P<dims>[\d,\s]*)\])?\s*")


@dataclass(frozen=True)
class Entry:
    """A file with one sample; `shape` None: the network's, with 1 in front."""

    path: Path
    shape: Shape | None = None


class _Samples(CalibDataInterface, ABC):
    """`count` samples of one type, each made when it is its turn."""

    def __init__(self, dtype: DataType, count: int) -> None:
        super().__init__()
        self._dtype, self._count = dtype, count
        self._index = -1
        self._sample: Array | None = None

    def next(self) -> Status:
        self._index += 1
        if self._index >= self._count:
            return Status(Code.OUT_OF_RANGE, "there are no more samples")
        try:
            self._sample = self._made(self._index)
        except (Error, OSError) as error:
            return Status.of(error)
        return Status.OK()

    def get_shape(self) -> Dims:
        return Dims(() if self._sample is None else self._sample.shape)

    def get_data_type(self) -> DataType:
        return self._dtype

    def get_sample(self) -> Any:
        return self._sample

    def reset(self) -> Status:
        self._index, self._sample = -1, None
        return Status.OK()

    @abstractmethod
    def _made(self, i: int) -> Array:
        """Sample number i.  Raises Error, OSError."""


class FileSamples(_Samples):
    """What the files hold: elements of the type, nothing before or behind them. `shape`: where a file has none."""

    def __init__(self, entries: Sequence[Entry], dtype: DataType, shape: Shape) -> None:
        super().__init__(dtype, len(entries))
        self._entries, self._shape = entries, shape

    def _made(self, i: int) -> Array:
        entry, dtype = self._entries[i], get_numpy_dtype_by_datatype(self._dtype)
        shape = self._shape if entry.shape is None else entry.shape
        data = entry.path.read_bytes()
        if len(data) != prod(shape) * dtype.itemsize:
            raise Error(
                f"{entry.path} holds {len(data)} bytes; {list(shape)} of {dtype} are {prod(shape) * dtype.itemsize}",
                hint="a line of --file_list may say the shape: path shape[1,3,224,224]",
            )
        return np.frombuffer(data, dtype).reshape(shape)


class RandomSamples(_Samples):
    """Numbers between two bounds, the same at every pass."""

    def __init__(self, low: float, high: float, dtype: DataType, shape: Shape, seed: int) -> None:
        super().__init__(dtype, RANDOM_SAMPLES)
        self._low, self._high, self._shape, self._seed = low, high, shape, seed

    def _made(self, i: int) -> Array:
        rng, dtype = np.random.default_rng((self._seed, i)), get_numpy_dtype_by_datatype(self._dtype)
        if dtype.kind == "f":
            return rng.uniform(self._low, self._high, self._shape).astype(dtype)
        return np.rint(rng.uniform(self._low, self._high, self._shape)).astype(dtype)


def samples(network: Network, values: Mapping[str, Any]) -> list[CalibDataInterface]:
    """An object per input for the calibrator.  Raises Error for flags, lists and folders that do not fit."""
    inputs = network.inputs
    if values["random_calib_range"] is not None:
        low, high = _range(values["random_calib_range"])
        return [
            RandomSamples(low, high, found.dtype, _shape(found.shown_name, found.dims), seed=i)
            for i, found in enumerate(inputs)
        ]
    lists = _entries(len(inputs), values)
    if len({len(entries) for entries in lists}) > 1:
        raise Error(f"the lists have {' and '.join(str(len(e)) for e in lists)} files", hint="as many in each")
    made: list[CalibDataInterface] = []
    for found, entries in zip(inputs, lists, strict=True):
        needed = any(entry.shape is None for entry in entries)
        shape = _shape(found.shown_name, found.dims and [1, *found.dims[1:]]) if needed else ()
        made.append(FileSamples(entries, found.dtype, shape))
    return made


def _range(given: Sequence[float]) -> tuple[float, float]:
    if len(given) != 2 or given[0] > given[1]:
        raise UsageError(f"--random_calib_range {' '.join(map(str, given))}: two numbers, the smaller first")
    return given[0], given[1]


def _shape(name: str, dims: Sequence[int] | None) -> Shape:
    """The sizes, the first 1 where it is open.  Raises Error for another that is."""
    shape = None if dims is None else tuple(1 if i == 0 and d < 0 else d for i, d in enumerate(dims))
    if shape is None or any(d < 0 for d in shape):
        said = "unknown" if dims is None else list(dims)
        raise Error(f"the shape of input {name} is {said}: no samples can have it", hint="--input_dims says it")
    return shape


def _entries(inputs: int, values: Mapping[str, Any]) -> list[list[Entry]]:
    """The files of every input."""
    folder = Path(values["calibration_data_path"] or "")
    if not folder.is_dir():
        raise Error(f"--calibration_data_path {folder}: there is no such folder")
    if values["file_list"] is not None:
        return [_listed(Path(path), folder) for path in one_each("file_list", values["file_list"], inputs)]
    if inputs != 1:
        raise UsageError("--file_list is missing", hint=f"one list for each of the network's {inputs} inputs")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if not files:
        raise Error(f"--calibration_data_path {folder}: the folder holds no files")
    return [[Entry(path) for path in files]]


def _listed(path: Path, folder: Path) -> list[Entry]:
    found = []
    for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is None or not match["path"]:
            continue
        try:
            dims = None if match["dims"] is None else tuple(int(d) for d in match["dims"].split(",") if d.strip())
        except ValueError as error:
            raise Error(f"{path}: {line!r} has no shape of numbers") from error
        entry = Entry(folder / match["path"], dims)
        if not entry.path.is_file():
            raise Error(f"{path}: there is no file {entry.path}", hint="a line is `file` or `file shape[1,3,224,224]`")
        found.append(entry)
    if not found:
        raise Error(f"{path}: the list names no file")
    return found
