"""From what a program asked of a Network to a graph of our own: the file's graph, then the nodes added to it.

A Network is a list of wishes until somebody looks, because shapes, setters and outputs may change in any order. Here
they become an onnx-ir model, in which the inputs and outputs bear the names that programs see.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

import numpy as np
import onnx_ir

from magicmind.errors import Error
from magicmind.facade.status import Refused
from magicmind.frontends.network import CALL
from magicmind.frontends.onnx import read_onnx
from magicmind.graph import Graph
from magicmind.ir.evaluate import OPSET
from magicmind.ir.input_shapes import apply_shapes
from magicmind.ir.shape_spec import DimSpec
from magicmind.ir.types import TensorType, set_type, type_of
from magicmind.ops.emitter import Emitter
from magicmind.ops.shapes import MustEqual
from magicmind.passes.equal_symbols import unequal, unify
from magicmind.passes.infer_types import infer_types, type_node
from magicmind.tensorinfo import TensorInfo

Key = tuple[Any, ...]
"""Which tensor is meant: ("input", i), ("result", i) of the file, ("value", name), ("call", k, i), ("weight", k, i)
of a call, ("added", k, i), ("carried", k, i) by a loop."""
Shapes = Mapping[str, Sequence[DimSpec]]
_IR_VERSION = 10


@dataclass(frozen=True)
class Wishes:
    """What a Network has been told. `inputs` and `outputs`: name to be seen, and which tensor."""

    file: File | None
    own_names: Sequence[str]
    """Of the inputs, as the file has them."""
    types: Sequence[TensorType]
    """Of inputs without a file."""
    shown_names: Sequence[str]
    added: Sequence[Added]
    outputs: Sequence[tuple[str, Key]]
    rewired: Mapping[tuple[Key, int], Key] = field(default_factory=dict)
    """(a result of a node of the file, number of an input) -> what is read there instead."""
    labels: Sequence[str] = ()
    """Of the file's calls in their order, where they were listed before any shape was known."""
    names: Mapping[Key, str] = field(default_factory=dict)
    """Of tensors inside, as programs see them."""


class File(Protocol):
    """What a parser has read: a `Graph`, or a `Waiting`."""

    @property
    def inputs(self) -> Sequence[TensorInfo]:
        """The inputs by the file's names."""

    def with_shapes(self, shapes: Shapes, /) -> Graph:
        """The graph for these shapes.  Raises ShapeError."""


class Waiting:
    """An ONNX file whose open sizes do not all fit its operators: it is read for given shapes only."""

    def __init__(self, path: str | os.PathLike[str], names: Sequence[str]) -> None:
        self._path = path
        self.inputs = [TensorInfo(name, np.dtype(np.float32), ()) for name in names]  # the names are what counts

    def with_shapes(self, shapes: Shapes, /) -> Graph:
        """The graph for these shapes.  Raises ShapeError."""
        return Graph(read_onnx(self._path, input_shapes=shapes))


class Added(Protocol):
    """A node that the program added."""

    name: str
    number: int

    def reads(self) -> Sequence[Read]:
        """The tensors that have to be there before."""

    def emit(self, emitter: Appendix, graph: Realised, /) -> Sequence[onnx_ir.Value]:
        """Makes its results."""


class Read(Protocol):
    """A tensor by its key."""

    key: Key


class Realised:
    """The model, and where the tensors are in it."""

    def __init__(self, wishes: Wishes, base: onnx_ir.Model, *, lenient: bool = False) -> None:
        """`base` changes.  Raises Error for what does not fit together; a lenient one leaves nodes that do not out."""
        self._lenient = lenient
        while True:
            self.model = base.clone()
            try:
                self._make(wishes)
                break
            except MustEqual as error:
                if not unify(base, error.a, error.b, []):
                    raise unequal(base, error) from error
                infer_types(base)

    def _make(self, wishes: Wishes) -> None:
        graph = self.model.graph
        self._values: dict[Key, onnx_ir.Value] = {("input", i): v for i, v in enumerate(graph.inputs)}
        self._values |= {("result", i): _original(v) for i, v in enumerate(graph.outputs)}
        self._named = {o.name: o for node in graph for o in node.outputs} | {v.name: v for v in graph.inputs}
        self._named |= {v.name: v for v in graph.initializers.values()}
        self.calls = _calls(graph, wishes.labels)
        emitter = Appendix(graph.opset_imports.get("", OPSET))
        self.emit(wishes.added, emitter)
        rewired = {key: self.value(new) for key, new in wishes.rewired.items()}
        emitter.flush(graph)
        _rewire(rewired, self.value, graph)
        if rewired:
            infer_types(self.model)
        self._name(wishes.names)
        _set_outputs(graph, self._outputs(wishes), emitter)
        for value, name in zip(graph.inputs, wishes.shown_names, strict=False):
            value.name = name

    def _name(self, names: Mapping[Key, str]) -> None:
        """Gives values the names that programs see, unless the graph has another of that name."""
        taken = {o.name for node in self.model.graph for o in node.outputs} | {v.name for v in self.model.graph.inputs}
        for key, name in names.items():
            value = self._found(key)
            if value is not None and value.producer() is not None and name not in taken:
                value.name = name
                taken.add(name)

    def _outputs(self, wishes: Wishes) -> list[tuple[str, onnx_ir.Value]]:
        known = [(n, k) for n, k in wishes.outputs if not self._lenient or self._found(k) is not None]
        return [(name, self.value(key)) for name, key in known]

    def emit(self, nodes: Sequence[Added], emitter: Appendix) -> None:
        """Emits nodes, each after what it reads among them."""
        for node in _in_order(nodes):
            emitter.scope = node.name
            try:
                results = node.emit(emitter, self)
            except MustEqual:
                raise
            except Exception as error:
                if self._lenient:
                    continue
                raise _named(node.name, error) from error
            for i, value in enumerate(results):
                self.bind(("added", node.number, i), value)

    def bind(self, key: Key, value: onnx_ir.Value) -> None:
        """From here on the tensor is this value."""
        self._values[key] = value

    def value(self, key: Key) -> onnx_ir.Value:
        """The value of a tensor.  Raises Refused when the graph has none."""
        found = self._found(key)
        if found is None:
            raise Refused(f"the network has no tensor {key} any more: it was folded while its file was read")
        return found

    def _found(self, key: Key) -> onnx_ir.Value | None:
        found = self._values.get(key)
        if found is None and key[0] == "value":
            found = self._named.get(key[1])
        if found is None and key[0] == "weight" and key[1] in self.calls:
            read = (v for node in self.calls[key[1]] for v in node.inputs if v is not None)
            constants = [v for v in read if v.is_initializer()]
            found = constants[key[2]] if key[2] < len(constants) else None
        if found is None and key[0] == "call" and key[1] in self.calls:
            outputs = self.calls[key[1]][-1].outputs
            found = outputs[key[2]] if key[2] < len(outputs) else None
        return found

    def type(self, key: Key) -> TensorType | None:
        """The type of a tensor."""
        return type_of(self.value(key))

    def graph(self) -> Graph:
        """The graph of our own API.  Raises what its inference raises."""
        return Graph(self.model)


def _named(name: str, error: Exception) -> Error:
    """The error of a node that cannot be made."""
    if isinstance(error, Error):
        return type(error)(f"{name}: {error}")
    if isinstance(error, AssertionError):  # of a tensor without shape nothing can be made
        return Refused(f"{name}: {error}", hint="set_dimension gives the inputs shapes")
    # Settings and constants of any kind are looked at by the operators alone.
    return Refused(f"{name}: {type(error).__name__}: {error}")


def _original(value: onnx_ir.Value) -> onnx_ir.Value:
    """What the front-end copied to give an output its name."""
    node = value.producer()
    copied = node is not None and node.op_type == "Identity" and str(node.name).endswith("/output")
    return node.inputs[0] if copied and node is not None and node.inputs[0] is not None else value


def base_of(wishes: Wishes, shapes: Shapes, *, lenient: bool = False) -> onnx_ir.Model:
    """The file's graph for these shapes, or an empty one with the inputs alone; a lenient one leaves inputs without
    rank untyped.  Raises ShapeError."""
    if wishes.file is not None:
        known = [info.name for info in wishes.file.inputs]
        found = wishes.file.with_shapes({n: s for n, s in shapes.items() if n in known}).model
        removed = [value.name for value in found.graph.inputs if value.name not in wishes.own_names]
        if removed:
            found = found.clone()
            for value in [v for v in found.graph.inputs if v.name in removed]:
                found.graph.inputs.remove(value)
        return found
    values = [onnx_ir.Value(name=name) for name in wishes.own_names]
    graph = onnx_ir.Graph(values, [], nodes=[], opset_imports={"": OPSET}, name="network")
    model = onnx_ir.Model(graph, ir_version=_IR_VERSION, producer_name="magicmind")
    types = dict(zip(wishes.own_names, wishes.types, strict=True))
    typed = {name: t for name, t in types.items() if not lenient or t.shape is not None}
    apply_shapes(model, typed, shapes, {})
    return model


class Appendix(Emitter):
    """Nodes at the end of a graph, or in a graph inside it; their names are unique in both."""

    def __init__(self, opset: int, numbers: Iterator[int] | None = None) -> None:
        super().__init__("", opset, type_node)
        self._numbers = count(1) if numbers is None else numbers

    def flush(self, graph: onnx_ir.Graph) -> None:
        """Puts what was made into the graph."""
        graph.extend(self.nodes)
        for value in self.constants:
            graph.register_initializer(value)
        for node in self.nodes:
            if node.domain:
                graph.opset_imports.setdefault(node.domain, 1)
        self.nodes, self.constants = [], []

    def nested(self) -> Appendix:
        """For a body: it may read this one's values."""
        return Appendix(self.opset, self._numbers)

    def input(self, t: TensorType) -> onnx_ir.Value:
        """An input of a body."""
        value = onnx_ir.Value(name=f"{self.scope}/input_{next(self._numbers)}")
        set_type(value, t)
        return value

    def graph(self, name: str, inputs: Sequence[onnx_ir.Value], outputs: Sequence[onnx_ir.Value]) -> onnx_ir.Graph:
        """What was made as the graph of a body."""
        domains = {"": self.opset} | {node.domain: 1 for node in self.nodes if node.domain}
        return onnx_ir.Graph(
            inputs, outputs, nodes=self.nodes, initializers=self.constants, name=name, opset_imports=domains
        )

    def _name_of(self, op_type: str) -> str:
        return f"{self.scope}/{op_type}_{next(self._numbers)}"

    def _name_of_constant(self) -> str:
        return f"{self.scope}/const_{next(self._numbers)}"


def _in_order(nodes: Sequence[Added]) -> list[Added]:
    """Each after those that it reads.  Raises Refused for nodes that read each other."""
    made = {node.number: node for node in nodes}
    found: dict[int, Added] = {}
    entered: set[int] = set()

    def visit(first: Added) -> None:
        stack = [(first, iter(first.reads()))]
        entered.add(first.number)
        while stack:
            node, reads = stack[-1]
            for tensor in reads:
                number = tensor.key[1] if tensor.key[0] == "added" else -1
                if number not in made or number in found:
                    continue
                if number in entered:
                    raise Refused(f"{node.name} and {made[number].name} read each other")
                entered.add(number)
                stack.append((made[number], iter(made[number].reads())))
                break
            else:
                found[node.number] = node
                stack.pop()

    for node in nodes:
        if node.number not in found:
            visit(node)
    return list(found.values())


def _calls(graph: onnx_ir.Graph, labels: Sequence[str]) -> dict[int, list[onnx_ir.Node]]:
    """The nodes that each listed call became: calls and nodes both stand in the program's order."""
    runs: list[tuple[tuple[int, str], list[onnx_ir.Node]]] = []
    for node in graph:
        call = node.meta.get(CALL)
        if call is not None and (not runs or runs[-1][0] != call):
            runs.append((call, []))
        if call is not None:
            runs[-1][1].append(node)
    found: dict[int, list[onnx_ir.Node]] = {}
    start = 0
    for (_, label), nodes in runs:
        try:
            start = labels.index(label, start) + 1
        except ValueError:
            continue  # made for an output, or by a loop that was written out
        found[start - 1] = nodes
    return found


def _rewire(
    rewired: Mapping[tuple[Key, int], onnx_ir.Value],
    value: Callable[[Key], onnx_ir.Value],
    graph: onnx_ir.Graph,
) -> None:
    for (key, i), new in rewired.items():
        node = value(key).producer()
        if node is None or i >= len(node.inputs):
            raise Refused(f"the node has no input {i}")
        node.replace_input_with(i, new)
    if rewired:
        graph.sort()


def _set_outputs(graph: onnx_ir.Graph, wanted: Sequence[tuple[str, onnx_ir.Value]], emitter: Appendix) -> None:
    """Makes these the outputs, under these names: copies of what is no result of a node, or an output already."""
    taken: set[int] = set()
    outputs = []
    for name, value in wanted:
        if value.producer() is None or id(value) in taken:
            emitter.scope = f"{name}/output"
            value = emitter.op("Identity", value)
        taken.add(id(value))
        outputs.append(value)
    emitter.flush(graph)
    graph.outputs.clear()
    for (name, _), value in zip(wanted, outputs, strict=True):
        value.name = name
        graph.outputs.append(value)
