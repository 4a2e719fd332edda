"""What flows between nodes besides tensors: lists of tensors of one shape (TensorArray, TensorList), complex
tensors, tables.

A list is a value: setting an element makes a new list, which is what the `flow` of a TensorArray and the handle of a
TensorList are in the file. Its tensors are one dense tensor [size, *element], made when the first element tells the
shape that the file left open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx_ir

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.network import Network
from magicmind.ir.types import Shape
from magicmind.ops.emitter import Value

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TensorList:
    """`size` tensors (int64 [1]) of one type; `data` is None as long as no element has told their shape.

    One that `grows` may be written behind its end.
    """

    dtype: onnx_ir.DataType
    size: Value | None
    data: Value | None = None
    grows: bool = False

    def dense(self, net: Network, element: Shape) -> TensorList:
        """The list with zeros for its elements, if it has none yet."""
        if self.data is not None:
            return self
        assert self.size is not None
        shape = net.op("Concat", self.size, net.shape_vector(*element), axis=0) if element else self.size
        zero = onnx_ir.Tensor(net.const([0], self.dtype.numpy()).const_value.numpy())  # type: ignore[union-attr]
        return TensorList(self.dtype, self.size, net.op("ConstantOfShape", shape, value=zero), self.grows)

    def tensor(self) -> Value:
        """All elements as one tensor.  Raises UnsupportedOperatorError when nothing says their shape."""
        if self.data is None:
            raise UnsupportedOperatorError("reads a list of tensors whose shape nothing tells")
        return self.data

    def length(self, net: Network) -> Value:
        """int64 [1]."""
        return self.size if self.data is None and self.size is not None else net.dim(self.tensor(), 0)


@dataclass(frozen=True)
class Complex:
    """A complex tensor: its real and imaginary parts."""

    re: Value
    im: Value


@dataclass(frozen=True, eq=False)
class Table:
    """What some keys stand for: both are vectors."""

    keys: Array
    values: Array


PART = {
    onnx_ir.DataType.COMPLEX64: onnx_ir.DataType.FLOAT,
    onnx_ir.DataType.COMPLEX128: onnx_ir.DataType.DOUBLE,
}
"""The type of the parts of a complex type."""

Item: TypeAlias = "Value | TensorList | Complex | Table"


def values_of(items: Sequence[Item]) -> list[Value]:
    """The tensors behind items; lists must be dense.  Raises UnsupportedOperatorError for complex ones."""
    return [_value_of(item) for item in items]


def _value_of(item: Item) -> Value:
    if isinstance(item, (Complex, Table)):
        raise UnsupportedOperatorError(f"a {type(item).__name__.lower()} that a loop changes or a branch returns")
    return item.tensor() if isinstance(item, TensorList) else item


def like(item: Item, value: Value) -> Item:
    """A tensor as the kind of item that `item` is."""
    return TensorList(item.dtype, None, value) if isinstance(item, TensorList) else value
