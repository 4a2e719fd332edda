"""Shapes as programs hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from operator import index
from reprlib import repr as shortened
from typing import Any

from magicmind.facade.status import Refused

_LARGEST = 2**63 - 1


class Dims:
    """A shape; -1 is a size that is not known. What cannot be a shape is refused where it is used."""

    __slots__ = ("_dims", "problem")

    def __init__(self, dims: Iterable[int] | Dims = ()) -> None:
        try:
            self._dims = dims.GetDims() if isinstance(dims, Dims) else _sizes(dims)
        except Exception:  # whatever the iteration of a foreign object raises
            self._dims = []
            self.problem = f"{shortened(dims)} is no shape: a shape is a list of whole numbers, -1 for unknown"
        else:
            self.problem = dims.problem if isinstance(dims, Dims) else ""

    def GetDims(self) -> list[int]:
        """A new list of the sizes."""
        return list(self._dims)

    def GetDimValue(self, i: int) -> int:
        """The i-th size; -1 where there is none."""
        return self._dims[i] if isinstance(i, int) and -len(self._dims) <= i < len(self._dims) else -1

    def GetDimsNum(self) -> int:
        """The number of dims."""
        return len(self._dims)

    def GetElementCount(self) -> int:
        """The product of the sizes; -1 where one is not known."""
        return -1 if any(d < 0 for d in self._dims) else prod(self._dims)

    def __len__(self) -> int:
        return len(self._dims)

    def __iter__(self) -> Iterator[int]:
        return iter(self._dims)

    def __getitem__(self, i: int) -> int:
        return self._dims[i]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dims) and self._dims == other._dims

    def __hash__(self) -> int:
        return hash(tuple(self._dims))

    def __str__(self) -> str:
        return str(self._dims)

    def __repr__(self) -> str:
        return f"Dims({self._dims})"


def checked(dims: Any) -> list[int]:
    """The sizes of what a program passes as a shape.  Raises Refused for what is none."""
    found = dims if isinstance(dims, Dims) else Dims(dims)
    if found.problem:
        raise Refused(found.problem)
    return found.GetDims()


def _sizes(dims: Iterable[Any]) -> list[int]:
    if isinstance(dims, (str, bytes)):
        raise TypeError(dims)
    sizes = [index(d) for d in dims]
    if any(not -1 <= d <= _LARGEST for d in sizes):
        raise ValueError(sizes)
    return sizes
