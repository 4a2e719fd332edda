"""Shapes as programs hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from operator import index


class Dims:
    """A shape; -1 is a size that is not known. What cannot be a shape is refused where it is used."""

    __slots__ = ("_dims", "problem")

    def __init__(self, dims: Iterable[int] | Dims = ()) -> None:
        self.problem = ""
        try:
            self._dims = dims.GetDims() if isinstance(dims, Dims) else [_size(d) for d in dims]
        except (TypeError, ValueError):
            self._dims, self.problem = [], f"{dims!r} is no shape: a shape is a list of whole numbers, -1 for unknown"

    def GetDims(self) -> list[int]:
        """A new list of the sizes."""
        return list(self._dims)

    def GetDimValue(self, i: int) -> int:
        """The i-th size; -1 where there is none."""
        return self._dims[i] if -len(self._dims) <= i < len(self._dims) else -1

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


def _size(value: object) -> int:
    size = index(value)  # type: ignore[arg-type]
    if size < -1:
        raise ValueError(size)
    return size
