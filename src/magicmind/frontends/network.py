"""The unified graph under construction: what the front-ends of Caffe, TensorFlow and PyTorch write into.

A `Network` is the node vocabulary of `ops/emitter.py` with inputs, outputs and the names of the source file: nodes are
named after the layer (`at`), values after the layer's results (`bind`), so that messages, profiles and comparisons
speak of what the user knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import onnx_ir

from magicmind.errors import ModelFormatError
from magicmind.ir.evaluate import OPSET
from magicmind.ir.types import TensorType, set_type
from magicmind.ops.emitter import Emitter, Value
from magicmind.passes.infer_types import type_node

_IR_VERSION = 10


class Network(Emitter):
    """A graph that grows node by node; `values` finds what has been made by the source's names."""

    def __init__(self, name: str = "") -> None:
        super().__init__(name, OPSET, type_node)
        self.name = name
        self.inputs: list[Value] = []
        self.values: dict[str, Value] = {}
        self._names: set[str] = set()  # of nodes
        self._bound: dict[int, str] = {}  # id of a value -> the name it was bound to

    def input(self, name: str, t: TensorType) -> Value:
        """A new input of the graph."""
        value = Value(name=name)
        set_type(value, t)
        self.inputs.append(value)
        self.values[name] = value
        self._bound[id(value)] = name
        return value

    @contextmanager
    def at(self, layer: str) -> Iterator[None]:
        """Names what is made inside after `layer`: its first node as it is, further ones `layer.Operator<n>`."""
        before, self.scope = self.scope, layer
        try:
            yield
        finally:
            self.scope = before

    def bind(self, name: str, value: Value) -> None:
        """From here on `name` means `value`, which takes the name unless it has one of the source's already.

        A layer that works in place binds a name again; the value before it then becomes `name@<n>`.
        """
        old = self.values.get(name)
        if old is value:
            return
        self.values[name] = value
        if id(value) in self._bound or value.producer() is None:
            return  # a layer that passes its input on, or a constant
        if old is not None and not self._step_aside(name, old):
            return
        self._take(name, value)

    def _step_aside(self, name: str, old: Value) -> bool:
        """Whether `name` can go to another value: what the graph's users see of inputs cannot change."""
        if old in self.inputs:
            return False
        if old.name == name:
            self._take(f"{name}@{sum(n.startswith(f'{name}@') for n in self._bound.values())}", old)
        return True

    def _take(self, name: str, value: Value) -> None:
        value.name = name
        self._bound[id(value)] = name

    def nested(self, name: str) -> Network:
        """A graph for a body of If, Loop or Scan: it may read this one's values."""
        return Network(name)

    def graph(self, outputs: Mapping[str, Value]) -> onnx_ir.Graph:
        """The finished graph; `outputs` maps the names users shall see to values."""
        results = [self._output(name, value) for name, value in outputs.items()]
        return onnx_ir.Graph(
            self.inputs,
            results,
            nodes=self.nodes,
            initializers=self.constants,
            name=self.name or None,
            opset_imports={"": self.opset},
        )

    def model(self, outputs: Mapping[str, Value]) -> onnx_ir.Model:
        """The finished graph as a model."""
        return onnx_ir.Model(self.graph(outputs), ir_version=_IR_VERSION, producer_name="magicmind")

    def _output(self, name: str, value: Value) -> Value:
        """The value under the wanted name: a copy where it is known by another, or is an input or a constant."""
        if value.name == name and value.producer() is not None:
            return value
        old = self.values.get(name)
        if old is not None and old is not value and not self._step_aside(name, old):
            raise ModelFormatError(f"{name!r} names an input and an output that differ")
        if value.producer() is None or id(value) in self._bound:
            with self.at(f"{name}/output"):
                value = self.op("Identity", value)
        self._take(name, value)
        return value

    def _name_of(self, op_type: str) -> str:
        name = self.scope if self.scope and self.scope not in self._names else super()._name_of(op_type)
        self._names.add(name)
        return name
