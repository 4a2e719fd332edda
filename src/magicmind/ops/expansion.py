"""Operators written as simpler ones: by a rule of ours (`Op.expand`), or by the function body that ONNX defines.

An `Expansion` holds nodes that are in no graph yet, typed as they are made, so that a rule can look at shapes. Type
inference makes one, reads the types of the results and throws it away; the pass `expand_operators` puts it in place.
Sizes that follow from inputs should be taken by `dim`, so that a mutable dim stays one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import onnx
import onnx_ir

from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.dims import Dim
from magicmind.ir.function_body import body_of, has_body
from magicmind.ir.types import TensorType, type_of
from magicmind.ops.registry import NodeView, lookup

TypeNode = Callable[[onnx_ir.Node, int], None]
Value = onnx_ir.Value


class Expansion:
    """The nodes that stand for `node`."""

    def __init__(self, node: onnx_ir.Node, opset: int, type_node: TypeNode) -> None:
        self.node = node
        self.opset = opset
        self.view = NodeView(node, opset)
        self.nodes: list[onnx_ir.Node] = []
        self.constants: list[Value] = []
        self.results: Sequence[Value] = ()
        self._type_node = type_node

    # ------------------------------------------------------------------------------------------------------- inputs

    def has(self, i: int) -> bool:
        """Whether input `i` is given."""
        return self.view.has(i)

    def input(self, i: int) -> Value:
        """Input `i`, which must be given."""
        self.view.input(i)
        value = self.view.value(i)
        assert value is not None
        return value

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
        given = {name: value for name, value in attributes.items() if value is not None}
        return self.add(domain, op_type, inputs, onnx_ir.convenience.convert_attributes(given), count)

    def add(
        self, domain: str, op_type: str, inputs: Sequence[Value | None], attributes: Sequence[onnx_ir.Attr], count: int
    ) -> Sequence[Value]:
        """As `ops`, with attributes as onnx-ir has them."""
        name = f"{self.node.name}.{op_type}{len(self.nodes)}"
        node = onnx_ir.Node(domain, op_type, inputs, attributes, num_outputs=count, name=name)
        for i, output in enumerate(node.outputs):
            output.name = f"{name}.out{i}"
        self.nodes.append(node)
        self._type_node(node, self.opset)
        return node.outputs

    def const(self, array: Any, dtype: Any = None) -> Value:
        """A constant."""
        data = np.asarray(array, dtype)
        name = f"{self.node.name}.const{len(self.constants)}"
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
        """An int64 vector of numbers and of vectors."""
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

    def discard(self) -> None:
        """Detaches the nodes from the values they read."""
        for node in self.nodes:
            for i in range(len(node.inputs)):
                node.replace_input_with(i, None)


def can_expand(node: onnx_ir.Node, opset: int) -> bool:
    """Whether there is a rule or a function body for the node's operator."""
    op = lookup(node.domain, node.op_type)
    if op is not None and op.expand_rule is not None:
        return True
    return (op is None or op.infer_rule is None) and has_body(node, opset)


def expand_node(node: onnx_ir.Node, opset: int, type_node: TypeNode) -> Expansion | None:
    """The node written as others; None where its rule declines."""
    expansion = Expansion(node, opset, type_node)
    op = lookup(node.domain, node.op_type)
    rule = inline_body if op is None or op.expand_rule is None else op.expand_rule
    try:
        results = rule(expansion)
    except BaseException:
        expansion.discard()
        raise
    if results is None:
        expansion.discard()
        return None
    expansion.results = results
    return expansion


def inline_body(e: Expansion) -> list[Value]:
    """The function body of ONNX, with the node's inputs and attributes in place."""
    body = body_of(e.node, e.opset)
    known: dict[str, Value | None] = {"": None}
    for i, name in enumerate(body.inputs):
        known[name] = e.view.value(i)
    for proto in body.nodes:
        alone = onnx.NodeProto(op_type=proto.op_type, domain=proto.domain, attribute=proto.attribute)
        node = cast(onnx_ir.Node, onnx_ir.from_proto(alone))
        if any(a.type in (onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS) for a in node.attributes.values()):
            raise UnsupportedOperatorError("its definition branches at run time")
        inputs = [known[name] for name in proto.input]
        outputs = e.add(proto.domain, proto.op_type, inputs, list(node.attributes.values()), len(proto.output))
        known.update(zip(proto.output, outputs, strict=True))
    # A body leaves out what the node does not ask for; the first result stands in where nobody looks.
    results = [known.get(name) for name in body.outputs[: len(e.node.outputs)]]
    return [value or filler for filler in results[:1] if filler is not None for value in results]
