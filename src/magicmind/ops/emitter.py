"""A vocabulary for making typed ONNX nodes: what operators' expansions and the front-ends are written in.

Every node is typed as it is made, so that rules can look at shapes, and so that an operator that does not fit is
reported where it is asked for. Sizes that follow from inputs should be taken by `dim`, so that a mutable dim stays one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir

from magicmind.ir.attributes import attributes_of
from magicmind.ir.dims import Dim
from magicmind.ir.types import TensorType, type_of

TypeNode = Callable[[onnx_ir.Node, int], None]
Value = onnx_ir.Value


class Emitter:
    """Nodes that are in no graph yet, in the order they were made, and the constants they read.

    `scope` begins the names of all that is made; `type_node` writes the types of a node's outputs.
    """

    def __init__(self, scope: str, opset: int, type_node: TypeNode) -> None:
        self.scope = scope
        self.opset = opset
        self.nodes: list[onnx_ir.Node] = []
        self.constants: list[Value] = []
        self._type_node = type_node

    # -------------------------------------------------------------------------------------------------------- types

    def type(self, value: Value) -> TensorType:
        """The type of a value."""
        found = type_of(value)
        assert found is not None and found.shape is not None, f"{value.name} has no type"
        return found

    def shape(self, value: Value) -> tuple[Dim, ...]:
        """The shape of a value."""
        return self.type(value).dims

    def rank(self, value: Value) -> int:
        """The number of dims of a value."""
        return self.type(value).rank

    # -------------------------------------------------------------------------------------------------------- nodes

    def op(self, op_type: str, *inputs: Value | None, domain: str = "", **attributes: Any) -> Value:
        """The only output of a new node."""
        return self.ops(op_type, *inputs, domain=domain, count=1, **attributes)[0]

    def ops(
        self, op_type: str, *inputs: Value | None, count: int, domain: str = "", **attributes: Any
    ) -> Sequence[Value]:
        """The outputs of a new node. Attributes that are None are left out."""
        return self.add(domain, op_type, inputs, attributes_of(attributes), count)

    def add(
        self, domain: str, op_type: str, inputs: Sequence[Value | None], attributes: Sequence[onnx_ir.Attr], count: int
    ) -> Sequence[Value]:
        """As `ops`, with attributes as onnx-ir has them."""
        name = self._name_of(op_type)
        node = onnx_ir.Node(domain, op_type, inputs, attributes, num_outputs=count, name=name)
        for i, output in enumerate(node.outputs):
            output.name = f"{name}.out{i}"
        self.nodes.append(node)
        self._type_node(node, self.opset)
        return node.outputs

    def const(self, array: Any, dtype: Any = None) -> Value:
        """A constant."""
        data = np.asarray(array, dtype)
        name = self._name_of_constant()
        tensor = onnx_ir.Tensor(data, name=name)
        value = Value(name=name, type=onnx_ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)
        self.constants.append(value)
        return value

    def ints(self, *numbers: int) -> Value:
        """A constant int64 vector."""
        return self.const(list(numbers), np.int64)

    def scalar(self, number: float, like: Value) -> Value:
        """A constant scalar with the dtype of `like`."""
        return self.const(number, self.type(like).dtype.numpy())

    # ------------------------------------------------------------------------------------------------------- shapes

    def dim(self, value: Value, axis: int) -> Value:
        """int64 [1]: the size of an axis."""
        axis %= self.rank(value)
        return self.op("Shape", value, start=axis, end=axis + 1)

    def sizes(self, *parts: Value | int) -> Value:
        """An int64 vector of numbers and of vectors; a constant where there are numbers only."""
        numbers = [p for p in parts if isinstance(p, int)]
        if len(numbers) == len(parts):
            return self.ints(*numbers)
        return self.op("Concat", *(self.ints(p) if isinstance(p, int) else p for p in parts), axis=0)

    def reshape(self, value: Value, *parts: Value | int) -> Value:
        """The value with another shape."""
        return self.op("Reshape", value, self.sizes(*parts), allowzero=1)

    def unsqueeze(self, value: Value, *axes: int) -> Value:
        """The value with axes of size 1 added."""
        return self.op("Unsqueeze", value, self.ints(*axes)) if axes else value

    def squeeze(self, value: Value, *axes: int) -> Value:
        """The value without these axes of size 1."""
        return self.op("Squeeze", value, self.ints(*axes))

    def count_up(self, size: Value) -> Value:
        """int64 0, 1, ... below `size` (int64 [1])."""
        zero, one = self.const(0, np.int64), self.const(1, np.int64)
        return self.op("Range", zero, self.squeeze(size, 0), one)

    def slice(self, value: Value, axis: int, start: int, stop: int) -> Value:
        """start..stop of one axis."""
        return self.op("Slice", value, self.ints(start), self.ints(stop), self.ints(axis))

    def cast(self, value: Value, dtype: onnx_ir.DataType) -> Value:
        """The value as `dtype`; itself where it is that already."""
        return value if self.type(value).dtype == dtype else self.op("Cast", value, to=int(dtype))

    def cast_like(self, value: Value, like: Value) -> Value:
        """The value with the dtype of `like`."""
        return self.cast(value, self.type(like).dtype)

    def _name_of(self, op_type: str) -> str:
        """The name of the next node."""
        return f"{self.scope}.{op_type}{len(self.nodes)}"

    def _name_of_constant(self) -> str:
        """The name of the next constant."""
        return f"{self.scope}.const{len(self.constants)}"
