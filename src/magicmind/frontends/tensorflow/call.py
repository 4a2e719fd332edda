"""What importers see of a node, and the table they stand in.

    @importer("Relu")
    def relu(c: Call) -> Value: ...

An importer writes the ONNX operators of its node into `c.net` and returns the node's outputs in order.

TensorFlow keeps channels last, ONNX first. `first` and `last` translate; a value that `last` made remembers its form
with the channels first, and operators that do not mind the order work on that form (`layout.py`), so that no transpose
stays inside a network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import numpy as np
import onnx_ir

from magicmind.errors import Error, ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.frontends.network import Network
from magicmind.frontends.tensorflow.graphdef import Node
from magicmind.frontends.tensorflow.items import Complex, Item, Table, TensorList
from magicmind.ir.dims import Dim, product
from magicmind.ir.evaluate import evaluate_node
from magicmind.ir.types import const_of
from magicmind.ops.emitter import Value
from magicmind.ops.registry import data_of, elements_of

if TYPE_CHECKING:
    from magicmind.frontends.tensorflow.spaced import Spaced
    from magicmind.frontends.tensorflow.walk import Walk

Array: TypeAlias = np.ndarray[Any, Any]
Importer: TypeAlias = "Callable[[Call], Item | Sequence[Item]]"

IMPORTERS: dict[str, Importer] = {}
"""By operator."""
ON_COMPLEX: dict[str, Importer] = {}
"""By operator, those that have a complex input."""
ON_PARTS: set[str] = set()
"""Operators that do to a complex tensor what they do to its two parts."""
ON_HOST: set[str] = set()
"""Operators that have no generated code: they run as numpy functions."""

_MOST_SIZES = 64
_MOST_FOLDED = 1 << 22  # elements of a result that is computed while importing


F = TypeVar("F", bound=Importer)


def importer(*names: str, host: bool = False) -> Callable[[F], F]:
    """Registers an importer for operators; `host` says that they run by numpy."""

    def register(function: F) -> F:
        for name in names:
            assert name not in IMPORTERS, f"{name} is registered twice"
            IMPORTERS[name] = function
        if host:
            ON_HOST.update(names)
        return function

    return register


def complex_importer(*names: str) -> Callable[[F], F]:
    """Registers what operators do where an input is complex."""

    def register(function: F) -> F:
        for name in names:
            assert name not in ON_COMPLEX, f"{name} is registered twice"
            ON_COMPLEX[name] = function
        return function

    return register


T = TypeVar("T")


class ByValue(Generic[T]):
    """Something for each of some values, told apart by identity."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[Value, T]] = {}  # with the value, so that its `id` stays taken

    def __contains__(self, value: Value) -> bool:
        return id(value) in self._found

    def __setitem__(self, value: Value, item: T) -> None:
        self._found[id(value)] = (value, item)

    def get(self, value: Value) -> T | None:
        """What was set for the value."""
        found = self._found.get(id(value))
        return None if found is None else found[1]


@dataclass
class State:
    """What one conversion remembers of values."""

    twins: ByValue[Value] = field(default_factory=ByValue)  # the same with the channels first
    spaced: ByValue[Spaced] = field(default_factory=ByValue)  # made between SpaceToBatchND and BatchToSpaceND
    folded: ByValue[Array | None] = field(default_factory=ByValue)


@dataclass(frozen=True)
class Call:
    """A node to import, and its inputs."""

    walk: Walk
    node: Node
    inputs: Sequence[Item]

    @property
    def net(self) -> Network:
        """Where the node's operators are written."""
        return self.walk.net

    @property
    def state(self) -> State:
        """What the conversion remembers."""
        return self.walk.shared.state

    @property
    def x(self) -> Value:
        """The first input."""
        return self.value(0)

    def value(self, i: int) -> Value:
        """Input `i`, a tensor.  Raises ModelFormatError when there is none."""
        found = self._input(i)
        if isinstance(found, TensorList):
            raise ModelFormatError(f"input {i} is a list of tensors; a tensor is needed")
        if not isinstance(found, Value):
            kind = "complex" if isinstance(found, Complex) else "a table"
            raise UnsupportedOperatorError(f"input {i} is {kind}, which this operator cannot take here")
        return found

    def table(self, i: int) -> Table:
        """Input `i`, a table.  Raises UnsupportedOperatorError when its contents are not there."""
        found = self._input(i)
        if not isinstance(found, Table):
            raise UnsupportedOperatorError(
                "the contents of the table are not in the graph", hint="give the SavedModel or the Keras file"
            )
        return found

    def pair(self, i: int, part: onnx_ir.DataType | None = None) -> Complex:
        """Input `i` as a complex tensor; of a real one the parts get the type `part`."""
        found = self._input(i)
        if isinstance(found, Complex):
            return found
        value = self.value(i) if part is None else self.net.cast(self.value(i), part)
        return Complex(value, self.net.op("Mul", value, self.net.scalar(0, value)))

    def tensor_list(self, i: int) -> TensorList:
        """Input `i`, a list of tensors.  Raises ModelFormatError when it is something else."""
        found = self._input(i)
        if not isinstance(found, TensorList):
            raise ModelFormatError(f"input {i} is a tensor; a list of tensors is needed")
        return found

    def _input(self, i: int) -> Item:
        if i >= len(self.inputs):
            raise ModelFormatError(f"needs an input {i}; the node has {len(self.inputs)}")
        return self.inputs[i]

    @property
    def values(self) -> Sequence[Value]:
        """All inputs, which are tensors."""
        return [self.value(i) for i in range(len(self.inputs))]

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute of the node."""
        return self.node.attr(name, default)

    def rank(self, i: int = 0) -> int:
        """The number of dims of an input."""
        return self.net.rank(self.value(i))

    def shape(self, i: int = 0) -> tuple[Dim, ...]:
        """The shape of an input."""
        return self.net.shape(self.value(i))

    # ------------------------------------------------------------------------------------------------ known contents

    def known(self, value: Value) -> Array | None:
        """The contents of a value that depends on no input, else None."""
        return known(self.state, value)

    def const(self, i: int, what: str) -> Array:
        """The contents of input `i`.  Raises UnsupportedOperatorError unless they are known."""
        found = self.known(self.value(i))
        if found is None:
            raise UnsupportedOperatorError(f"{what} (input {i}) depends on the network's inputs; it must be constant")
        return found

    def ints(self, i: int, what: str) -> list[int]:
        """The whole numbers of input `i`, which must be known."""
        found = self.dims(i)
        if found is None or not all(isinstance(d, int) for d in found):
            array = self.const(i, what)
            if array.dtype.kind not in "iu":
                raise ModelFormatError(f"{what} (input {i}) has type {array.dtype}; whole numbers are needed")
            return [int(n) for n in array.reshape(-1)]
        return [int(d) for d in found if isinstance(d, int)]

    def number(self, i: int, what: str) -> int:
        """The only whole number of input `i`, which must be known."""
        found = self.ints(i, what)
        if len(found) != 1:
            raise ModelFormatError(f"{what} (input {i}) has {len(found)} elements; one is needed")
        return found[0]

    def dims(self, i: int) -> list[Dim] | None:
        """What is known of the whole numbers of input `i`: numbers and sizes of axes; None if anything is missing."""
        value = self.value(i)
        array = self.known(value)
        found = data_of(value) if array is None else array
        if found is None or (found.dtype != object and found.dtype.kind not in "iu"):
            return None
        dims = [d if not isinstance(d, np.integer) else int(d) for d in found.reshape(-1)]
        return None if any(d is None for d in dims) else dims

    def elements(self, i: int) -> list[Dim | None]:
        """As `dims`, one by one: None for each number that is not known.  Raises ShapeError for an open count."""
        found = self.dims(i)
        some: list[Dim | None] | None = elements_of(self.value(i)) if found is None else list(found)
        return [None] * self.fixed(product(self.shape(i)), "how many numbers there are") if some is None else some

    def axis(self, i: int, rank: int, *, inclusive: bool = False) -> int:
        """Input `i` as an axis counted from the front."""
        return self.axis_of(self.number(i, "the axis"), rank, inclusive=inclusive)

    def axis_of(self, axis: int, rank: int, *, inclusive: bool = False) -> int:
        """An axis counted from the front.  Raises ShapeError when a tensor of this rank has none such."""
        if not -rank - inclusive <= axis < rank + inclusive:
            raise ShapeError(f"axis {axis} does not exist in a tensor of rank {rank}")
        return axis + rank + inclusive if axis < 0 else axis

    def fixed(self, dim: Dim, what: str) -> int:
        """The number that a dim is.  Raises ShapeError when it is mutable."""
        if not isinstance(dim, int):
            raise ShapeError(f"{what} is mutable ({dim}); this operator needs a number", hint="fix this dimension")
        return dim

    # --------------------------------------------------------------------------------------------------------- types

    def int64(self, value: Value) -> Value:
        """Sizes, positions and axes as ONNX wants them."""
        array = None if self.net.type(value).dtype == onnx_ir.DataType.INT64 else self.known(value)
        if array is not None:
            return self.net.const(array.astype(np.int64))
        return self.net.cast(value, onnx_ir.DataType.INT64)

    def vector(self, value: Value) -> Value:
        """int64 with one axis: sizes, or amounts for every axis.  Raises ShapeError when they are too many for that."""
        count = product(self.net.shape(value))
        if isinstance(count, int) and count > _MOST_SIZES:
            raise ShapeError(f"{count} numbers are to be sizes: no tensor has so many axes")
        found = self.int64(value)
        return found if self.net.rank(found) == 1 else self.net.reshape(found, -1)

    def as_type(self, value: Value, attribute: str, default: onnx_ir.DataType) -> Value:
        """The value as the type that an attribute names."""
        return self.net.cast(value, self.node.dtype(attribute) if self.node.has(attribute) else default)

    def unsupported(self, what: str) -> UnsupportedOperatorError:
        """The error for a setting that this importer does not know."""
        return UnsupportedOperatorError(what)


def known(state: State, value: Value) -> Array | None:
    """The contents of a value that depends on no input, computed by ONNX's reference; None if it does or is large."""
    pending = [value]
    while pending:
        top = pending[-1]
        if top in state.folded:
            pending.pop()
            continue
        array, node = const_of(top), top.producer()
        if array is not None or node is None or not _foldable(node):
            state.folded[top] = array
            continue
        missing = [v for v in node.inputs if v is not None and v not in state.folded]
        if missing:
            pending += missing
            continue
        _fold(state, node)
    return state.folded.get(value)


def _foldable(node: onnx_ir.Node) -> bool:
    sizes = [1 if v.shape is None else _count(v) for v in node.outputs]
    nested = any(
        a.type in (onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS) for a in node.attributes.values()
    )
    return not node.domain and not nested and all(size <= _MOST_FOLDED for size in sizes) and bool(node.inputs)


def _count(value: Value) -> int:
    assert value.shape is not None
    count = 1
    for dim in value.shape.dims:
        count *= dim if isinstance(dim, int) else 1
    return count


def _fold(state: State, node: onnx_ir.Node) -> None:
    arrays = [None if v is None else state.folded.get(v) for v in node.inputs]
    given = [v is not None for v in node.inputs]
    results: list[Array | None] = [None] * len(node.outputs)
    if all(a is not None for a, there in zip(arrays, given, strict=True) if there):
        try:
            results = list(evaluate_node(node, arrays))
        except (Error, ValueError, TypeError, IndexError, RuntimeError):  # then it is no constant for us
            results = [None] * len(node.outputs)
    elif node.op_type == "Shape" or all(data is not None for data in map(_numbers, node.outputs)):
        results = [_numbers(v) for v in node.outputs]
    for output, array in zip(node.outputs, results, strict=True):
        state.folded[output] = array


def _numbers(value: Value) -> Array | None:
    """What inference found out about the contents, where it is numbers only."""
    found = data_of(value)
    if found is None or not all(isinstance(d, int) for d in found.reshape(-1)) or value.dtype is None:
        return None
    return found.astype(value.dtype.numpy())
