"""The unified graph under construction: what the front-ends of Caffe, TensorFlow and PyTorch write into.

A `Network` is the node vocabulary of `ops/emitter.py` with inputs, outputs and the names of the source file: nodes are
named after the layer (`at`), values after the layer's results (`bind`), so that messages, profiles and comparisons
speak of what the user knows.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import onnx_ir

from magicmind.errors import ModelFormatError
from magicmind.ir.dims import DATA_PREFIX, Dim, narrow, substitute, symbols_of
from magicmind.ir.evaluate import OPSET
from magicmind.ir.shape_spec import Range
from magicmind.ir.types import TensorType, ValueType, set_type, type_of
from magicmind.ops.emitter import Emitter, Value
from magicmind.ops.shapes import MustEqual
from magicmind.passes.equal_symbols import rename_in, solve_data
from magicmind.passes.infer_types import type_node

_IR_VERSION = 10
CALL = "magicmind.call"
"""Where a node's `meta` keeps (number, layer) of the `at` it was made in: which nodes one call of the source became."""
_ARITHMETIC = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul", ast.FloorDiv: "Div", ast.Mod: "Mod"}


class Network(Emitter):
    """A graph that grows node by node; `values` finds what has been made by the source's names.

    `ranges` are those of the inputs' symbols.
    """

    def __init__(self, name: str = "", ranges: Mapping[str, Range] | None = None) -> None:
        self._same: dict[str, Dim] = {}  # what sizes that only the data tells were found to equal
        self._unforeseen: dict[str, None] = {}  # such sizes in the order they appeared
        self._changing: set[str] = set()  # those that may differ from turn to turn of a loop
        super().__init__(name, OPSET, self._typed)
        self.name = name
        self.ranges = dict(ranges or {})
        self.inputs: list[Value] = []
        self.values: dict[str, Value] = {}
        self._names: set[str] = set()  # of nodes and constants, those of nested graphs too
        self._outer: Network | None = None
        self._call = 0
        self._bound: dict[int, str] = {}  # id of a value -> the name it was bound to
        self._sized: dict[str, tuple[Value, int]] = {}  # symbol -> a value and the axis that has this size

    def input(self, name: str, t: TensorType) -> Value:
        """A new input of the graph."""
        value = Value(name=name)
        set_type(value, t)
        self._changing |= {str(d) for d in t.shape or () if str(d).startswith(DATA_PREFIX)}
        self.inputs.append(value)
        self.values[name] = value
        self._bound[id(value)] = name
        self._find_symbols(value)
        return value

    def add(
        self, domain: str, op_type: str, inputs: Sequence[Value | None], attributes: Sequence[onnx_ir.Attr], count: int
    ) -> Sequence[Value]:
        """As of `Emitter`."""
        outputs = super().add(domain, op_type, inputs, attributes, count)
        self.nodes[-1].meta[CALL] = (self._call, self.scope)
        for value in outputs:
            self._narrow(value)
            self._find_symbols(value)
        return outputs

    def _narrow(self, value: Value) -> None:
        """Decides minima and maxima that the ranges of the inputs decide."""
        t = type_of(value)
        if t is not None and t.shape is not None and not t.is_static:
            set_type(value, TensorType(t.dtype, tuple(narrow(d, self.ranges) for d in t.shape)))

    def _typed(self, node: onnx_ir.Node, opset: int) -> None:
        """Types a node; sizes that only the data tells become equal where it needs them to be.

        Raises MustEqual where other sizes would have to be equal.
        """
        while True:
            try:
                return type_node(node, opset, self._resolved)
            except MustEqual as error:
                if not self.equate(error.a, error.b):
                    raise

    def _resolved(self, t: ValueType) -> ValueType:
        """The type with sizes that only the data tells replaced by what they were found to equal."""
        if not isinstance(t, TensorType) or t.shape is None or t.is_static:
            return t
        for dim in t.shape:
            self._unforeseen.update(dict.fromkeys(n for n in sorted(symbols_of(dim)) if n.startswith(DATA_PREFIX)))
        return TensorType(t.dtype, tuple(substitute(d, self._same) for d in t.shape)) if self._same else t

    def equate(self, a: Dim, b: Dim) -> bool:
        """Makes two sizes one here and in the graphs around, if one of them is what only the data tells.

        The run time checks such sizes, so anything may be asked of them.
        """
        found = solve_data(a, b, [name for name in self._unforeseen if name not in self._changing])
        if found is None or found[0] in self._same:
            return False
        swap = dict([found])
        for name, dim in self._same.items():
            self._same[name] = substitute(dim, swap)
        self._same.update(swap)
        graph: Network | None = self
        while graph is not None:
            for value in (*graph.inputs, *(v for node in graph.nodes for v in node.outputs)):
                rename_in(value, swap)
            graph = graph._outer
        return True

    def shape_vector(self, *dims: Dim) -> Value:
        """int64 vector of these sizes; symbolic ones are computed from the values that have them."""
        if all(isinstance(d, int) for d in dims):
            return self.const(list(dims), "int64")
        parts = [self.size(d) for d in dims]
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=0)

    def size(self, dim: Dim) -> Value:
        """int64 [1]: a dim."""
        return self._compute(ast.parse(str(dim), mode="eval").body)

    def _compute(self, term: ast.expr) -> Value:
        match term:
            case ast.Constant(value=int(number)):
                return self.ints(number)
            case ast.Name(id=name):
                value, axis = self._sized[name]
                return self.dim(value, axis)
            case ast.BinOp(left=left, op=operator, right=right):
                return self.op(_ARITHMETIC[type(operator)], self._compute(left), self._compute(right))
            case ast.UnaryOp(operand=operand):
                return self.op("Sub", self.ints(0), self._compute(operand))  # the contents of which are followed
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return self.op(name.capitalize(), *(self._compute(a) for a in arguments))
        raise AssertionError(f"{ast.dump(term)} is no dim")

    def _find_symbols(self, value: Value) -> None:
        """Remembers where the sizes that are a symbol of their own can be read."""
        t = type_of(value)
        for axis, dim in enumerate(t.shape or () if t else ()):
            if not isinstance(dim, int) and symbols_of(dim) == {str(dim)}:
                self._sized.setdefault(str(dim), (value, axis))

    @contextmanager
    def at(self, layer: str) -> Iterator[None]:
        """Names what is made inside after `layer`: its first node as it is, further ones `layer.Operator<n>`."""
        before, self.scope = self.scope, layer
        self._call += 1
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
        if id(value) in self._bound or value.producer() is None or self._outer is not None:
            return  # a layer that passes its input on, a constant, or one of a branch, whose names must be its own
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
        inner = Network(name, self.ranges)
        inner._names, inner._outer = self._names, self
        inner._same, inner._unforeseen, inner._changing = self._same, self._unforeseen, self._changing
        inner._sized.update(self._sized)
        return inner

    def graph(self, outputs: Mapping[str, Value]) -> onnx_ir.Graph:
        """The finished graph; `outputs` maps the names users shall see to values."""
        results = [self._output(name, value) for name, value in outputs.items()]
        return onnx_ir.Graph(
            self.inputs,
            results,
            nodes=self.nodes,
            initializers=self.constants,
            name=self.name or None,
            opset_imports={"": self.opset} | {node.domain: 1 for node in self.nodes if node.domain},
        )

    def model(self, outputs: Mapping[str, Value]) -> onnx_ir.Model:
        """The finished graph as a model."""
        return onnx_ir.Model(self.graph(outputs), ir_version=_IR_VERSION, producer_name="magicmind")

    def _output(self, name: str, value: Value) -> Value:
        """The value under the wanted name: a copy where it is known by another, or was not made in this graph."""
        if value.name == name and value.producer() is not None:
            return value
        old = self.values.get(name)
        if old is not None and old is not value and not self._step_aside(name, old):
            raise ModelFormatError(f"{name!r} names an input and an output that differ")
        maker = value.producer()
        if maker is None or id(value) in self._bound or all(maker is not node for node in reversed(self.nodes)):
            with self.at(f"{name}/output"):
                value = self.op("Identity", value)
        self._take(name, value)
        return value

    def _name_of(self, op_type: str) -> str:
        return self._unique(self.scope or f"{self.name}.{op_type}", f"{self.scope}.{op_type}")

    def _name_of_constant(self) -> str:
        return self._unique(f"{self.scope}.const", f"{self.scope}.const")

    def _unique(self, name: str, stem: str) -> str:
        """`name`, or `stem` with the first number that makes it a new one."""
        number = len(self.nodes)
        while name in self._names:
            name, number = f"{stem}{number}", number + 1
        self._names.add(name)
        return name
