"""What importers see of a layer, and the table they stand in.

    @importer("ReLU")
    def relu(layer: Layer) -> Value: ...

An importer writes the ONNX operators of its layer into `layer.net` and returns the layer's tops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from magicmind.errors import ModelFormatError, ShapeError
from magicmind.frontends.caffe.weights import Array, BlobSource
from magicmind.frontends.network import Network
from magicmind.ir.dims import Dim
from magicmind.ops.emitter import Value

Importer: TypeAlias = "Callable[[Layer], Value | Sequence[Value]]"

IMPORTERS: dict[str, Importer] = {}
"""By layer type."""
ON_HOST: set[str] = set()
"""Types that have no generated code: they run as numpy functions."""
EACH: set[str] = set()
"""Types that turn one bottom into one top, and so any number of bottoms into as many tops."""


def importer(*types: str, host: bool = False, each: bool = False) -> Callable[[Importer], Importer]:
    """Registers an importer for layer types; `host` says that they run by numpy.

    `each`: the importer sees one bottom at a time, however many the layer lists.
    """

    def register(function: Importer) -> Importer:
        for name in types:
            assert name not in IMPORTERS, f"{name} is registered twice"
            IMPORTERS[name] = function
        if host:
            ON_HOST.update(types)
        if each:
            EACH.update(types)
        return function

    return register


_MAX_CONSTANT = 1 << 26


@dataclass(frozen=True)
class Layer:
    """A layer to import. `message` is its record in the prototxt, `inputs` are its bottoms, `text` is the network's."""

    net: Network
    message: Any
    weights: BlobSource
    inputs: Sequence[Value]
    text: str = ""

    @property
    def name(self) -> str:
        """The layer's name."""
        return str(self.message.name)

    @property
    def x(self) -> Value:
        """The first bottom."""
        return self.bottom(0)

    @property
    def tops(self) -> int:
        """How many results the layer lists."""
        return len(self.message.top)

    def bottom(self, i: int) -> Value:
        """Bottom `i`.  Raises ModelFormatError when there is none."""
        if i >= len(self.inputs):
            raise ModelFormatError(f"needs a bottom {i}; the prototxt gives {len(self.inputs)}")
        return self.inputs[i]

    def blob(self, index: int, shape: Sequence[int], role: str) -> Array:
        """Parameter `index`, which must have that shape."""
        return self.weights.get(self.message, index, shape, role)

    def weight(self, index: int, shape: Sequence[int], role: str) -> Value:
        """Parameter `index` as a constant."""
        return self.net.const(self.blob(index, shape, role))

    def weight_as_is(self, index: int) -> Value:
        """Parameter `index` as a constant of the shape that the caffemodel has."""
        return self.net.const(self.blob(index, self.weights.shape(self.message, index), "parameter"))

    def size(self, value: Value, axis: int) -> int:
        """A size that must be known.  Raises ShapeError when it is mutable."""
        return self.fixed(self.net.shape(value)[self.axis(value, axis)], f"axis {axis}")

    def fixed(self, dim: Dim, what: str) -> int:
        """The number that a dim is.  Raises ShapeError when it is mutable."""
        if not isinstance(dim, int):
            raise ShapeError(f"{what} is mutable ({dim}); this layer needs a number", hint="fix this dimension")
        return dim

    def axis(self, value: Value, axis: int, *, inclusive: bool = False) -> int:
        """An axis counted from the front.  Raises ShapeError when the value has none such."""
        rank = self.net.rank(value)
        if not -rank <= axis < rank + inclusive:
            raise ShapeError(f"axis {axis} does not exist in a blob of {rank} axes")
        return axis + rank if axis < 0 else axis

    def leading(self, value: Value, axis: int) -> list[Value | int]:
        """The sizes before `axis`, for `net.reshape`; mutable ones are read at run time."""
        return self.dims(value, 0, axis)

    def dims(self, value: Value, start: int, stop: int) -> list[Value | int]:
        """The sizes of the axes start..stop, for `net.reshape`."""
        shape = self.net.shape(value)
        return [d if isinstance(d, int) else self.net.dim(value, i) for i, d in enumerate(shape[:stop]) if i >= start]

    def limit(self, count: int, what: str) -> None:
        """Refuses to make a constant of more than 64 million numbers: the prototxt is damaged rather than large."""
        if not 0 <= count <= _MAX_CONSTANT:
            raise ModelFormatError(f"{what} would have {count} numbers")
