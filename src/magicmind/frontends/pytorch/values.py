"""What a PyTorch program's values are while it is converted.

Python numbers, strings, lists, tuples, dicts and None are themselves; a size that is not a number is a `Dim`; a tensor
is a `Tensor`, a complex one a `Complex`, a quantised one a `Quantised`; a number that only the run tells is a `Tensor`
of rank 0; a module is a `Module`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import onnx_ir
import torch

from magicmind.ir.dims import Expr

Payload: TypeAlias = torch.Tensor | onnx_ir.Value


class Tensor:
    """A tensor: a constant of the file (torch.Tensor) or a value of the graph, which in-place operators replace.

    A view knows its base: `read` makes the view of the base's payload, `write` the base with a new view in place.
    """

    def __init__(
        self,
        payload: Payload,
        base: Tensor | None = None,
        read: Callable[[Payload], Payload] | None = None,
        write: Callable[[Payload, Payload], Payload] | None = None,
    ) -> None:
        self._payload = payload
        self._base, self._read, self._write = base, read, write
        self._version = 0
        self._seen = 0 if base is None else base.version

    @property
    def version(self) -> int:
        """Grows with every change of the tensor or of what it is a view of."""
        return self._version if self._base is None else self._version + self._base.version

    @property
    def payload(self) -> Payload:
        """The tensor as it is now."""
        if self._base is not None and self._base.version != self._seen:
            assert self._read is not None
            self._payload, self._seen = self._read(self._base.payload), self._base.version
        return self._payload

    def replace(self, payload: Payload) -> None:
        """Changes the tensor in place, and what it is a view of."""
        if self._base is not None:
            assert self._write is not None
            self._base.replace(self._write(self._base.payload, payload))
            self._seen = self._base.version
        self._payload = payload
        self._version += 1

    def restore(self, payload: Payload) -> None:
        """Takes back `replace`, of the tensor alone."""
        self._payload = payload
        self._version += 1

    @property
    def lineage(self) -> list[Tensor]:
        """The tensor and what it is a view of, down to the last."""
        return [self, *(self._base.lineage if self._base is not None else ())]

    @property
    def constant(self) -> torch.Tensor | None:
        """The tensor, when it is a constant."""
        found = self.payload
        return found if isinstance(found, torch.Tensor) else None


class Items(list[Any]):
    """A list that the program makes. `stacked` [items, ...]: what a loop that depends on data has put into it."""

    stacked: Tensor | None = None


class Body:
    """The body of a loop that depends on data: the lists made in it, and the others with what it appends to them."""

    def __init__(self) -> None:
        self.made: list[Items] = []
        self.grown: dict[int, tuple[Items, Tensor]] = {}


@dataclass(frozen=True)
class Complex:
    """A complex tensor: its real and imaginary parts."""

    re: Tensor
    im: Tensor


@dataclass(frozen=True)
class Quantised:
    """A quantised tensor, x = (whole - zero) * scale; `whole` are uint8 or int8 numbers."""

    whole: Tensor
    scale: float
    zero: int


def flatten(value: Any) -> Iterator[Any]:
    """The leaves of nested lists, tuples and dicts."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, Items) and value.stacked is not None:
        yield value.stacked
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from flatten(item)
    else:
        yield value


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """The nested value with `function` applied to its leaves."""
    if isinstance(value, dict):
        return {key: map_leaves(function, item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map_leaves(function, item) for item in value)
    return function(value)


def is_known(value: Any) -> bool:
    """Whether nothing in a nested value waits for the run."""
    return all(
        v.constant is not None if isinstance(v, Tensor) else not isinstance(v, (Expr, Complex, Quantised))
        for v in flatten(value)
    )
