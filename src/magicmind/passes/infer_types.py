"""Type and shape inference: one walk in topological order, with symbolic dims and the contents of shape tensors.

Every value gets its dtype and shape from the operators' rules (`ops/`).  Where a rule needs two symbolic dims to be
equal, one of them replaces the other in the graph's inputs and the walk starts over.  All unsupported operators of a
model are reported in one error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import onnx_ir

from magicmind.errors import Error, ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.ir.dims import DATA_PREFIX, bounds, narrow, product, substitute, symbols_of
from magicmind.ir.evaluate import evaluate_node
from magicmind.ir.types import (
    TensorType,
    ValueType,
    const_of,
    ranges_of,
    set_ranges,
    set_type,
    set_value_type,
    value_type_of,
)
from magicmind.ops.expansion import can_expand, expand_node
from magicmind.ops.registry import LATE_KEY, MAX_DATA, Array, NodeView, Op, contents_of, lookup, set_data
from magicmind.ops.shapes import MustEqual
from magicmind.passes.determinism import is_deterministic
from magicmind.passes.equal_symbols import same_of, unequal, unify
from magicmind.passes.spell_broadcast import spell_broadcast

_MAX_ELEMENTS = 1 << 40  # of one tensor; beyond it a file is damaged rather than large

# What rules and onnx's evaluator raise on attributes of the wrong type, out-of-range indices and the like.
_MALFORMED = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, AssertionError, RecursionError)


Resolve: TypeAlias = Callable[[ValueType], ValueType]


def infer_types(model: onnx_ir.Model) -> bool:
    """Sets the type of every value; True when any changed.

    Raises UnsupportedOperatorError listing every operator without a rule, ShapeError and ModelFormatError naming the
    node that does not fit.
    """
    modified = False
    while True:
        walk = _Walk(model)
        try:
            modified |= walk.run()
            _add_ranges(model, walk.order)
        except MustEqual as error:
            spelled = spell_broadcast(error.node, error.a, error.b)
            if not spelled and not unify(model, error.a, error.b, list(walk.order)):
                raise unequal(model, error) from error
            modified = True
            continue
        return modified


class _Walk:
    """One pass over the nodes."""

    def __init__(self, model: onnx_ir.Model) -> None:
        self.opset = model.graph.opset_imports.get("", 0)
        self.graph = model.graph
        self.same = same_of(model)
        self.ranges = ranges_of(model)
        self.modified = False
        self.unsupported: list[str] = []
        self.order: dict[str, None] = {}  # data-dependent symbols as they appear

    def run(self) -> bool:
        self.walk(self.graph)
        if self.unsupported:
            lines = list(dict.fromkeys(self.unsupported))  # a loop's body is visited more than once
            count = len(lines)
            listing = "\n".join(f"  {line}" for line in lines)
            raise UnsupportedOperatorError(
                f"{count} node{'s are' if count > 1 else ' is'} not supported:\n{listing}",
                hint="replace these operators when exporting, or cut the model before them",
            )
        return self.modified

    def walk(self, graph: onnx_ir.Graph) -> None:
        """Types a graph's constants, then its nodes; of nested graphs the inputs have their types by now."""
        for value in graph.initializers.values():
            self._type_initializer(value)
        for node in graph:
            self._visit(node)

    def _type_initializer(self, value: onnx_ir.Value) -> None:
        tensor = value.const_value
        if tensor is not None and (value.dtype != tensor.dtype or value.shape is None):
            set_type(value, TensorType(tensor.dtype, tuple(tensor.shape.numpy())))

    def _walk_nested(self, graph: onnx_ir.Graph) -> None:
        """As `walk`. A loop's body is typed several times on the way to its types: only `_visit` can tell a change."""
        modified = self.modified
        for value in graph.inputs:
            t = value_type_of(value)
            if t is not None:
                set_value_type(value, self._resolved(t))
        self.walk(graph)
        self.modified = modified

    def _visit(self, node: onnx_ir.Node) -> None:
        before = _nested_types(node)
        self._type(node)
        self.modified |= bool(before) and before != _nested_types(node)

    def _type(self, node: onnx_ir.Node) -> None:
        if not can_type(node, self.opset):
            self._refuse(node, "")
            return
        if any(v is not None and v.dtype is None for v in node.inputs):
            _forget(node)  # an unsupported operator upstream, listed already
            return
        try:
            types, contents = types_and_contents(node, self.opset, self._walk_nested)
        except UnsupportedOperatorError as error:
            self._refuse(node, f": {error}")
            return
        except Error as error:
            raise _located(error, node) from error
        except _MALFORMED as error:
            text = f"{_describe(node)} is malformed: {type(error).__name__}: {error}"
            raise ModelFormatError(text, hint="export the model again, or check it with onnx.checker") from error
        self._write(node, types, contents)

    def _write(self, node: onnx_ir.Node, types: Sequence[ValueType], contents: Sequence[Array | None]) -> None:
        for value, given, data in zip(node.outputs, types, contents, strict=False):
            t = self._resolved(given)
            if value_type_of(value) != t:
                set_value_type(value, t)
                self.modified = True
            set_data(value, data)

    def _resolved(self, t: ValueType) -> ValueType:
        """The type with data-dependent symbols replaced by what they were found to equal, within the ranges."""
        if not isinstance(t, TensorType) or t.shape is None:
            return t
        for d in t.shape:
            self.order.update(dict.fromkeys(n for n in sorted(symbols_of(d)) if n.startswith(DATA_PREFIX)))
        return TensorType(t.dtype, tuple(narrow(substitute(d, self.same), self.ranges) for d in t.shape))

    def _refuse(self, node: onnx_ir.Node, reason: str) -> None:
        self.unsupported.append(_describe(node) + reason)
        _forget(node)


def _nested_types(node: onnx_ir.Node) -> list[ValueType | None]:
    """The types of all values in the node's nested graphs, in order."""
    graphs = [a.as_graph() for a in node.attributes.values() if a.type == onnx_ir.AttributeType.GRAPH]
    inner = [g for graph in graphs for g in (graph, *graph.subgraphs())]
    return [value_type_of(v) for g in inner for v in (*g.inputs, *(o for n in g for o in n.outputs))]


def can_type(node: onnx_ir.Node, opset: int) -> bool:
    """Whether there is a rule for the node's operator: for its types, or for writing it as others."""
    op = lookup(node.domain, node.op_type)
    return (op is not None and op.infer_rule is not None) or can_expand(node, opset)


def types_and_contents(
    node: onnx_ir.Node, opset: int, walk: Callable[[onnx_ir.Graph], None] | None = None
) -> tuple[list[ValueType], Sequence[Array | None]]:
    """The types of a node's outputs and what is known of their elements."""
    op = lookup(node.domain, node.op_type)
    if op is not None and op.infer_rule is not None:
        view = NodeView(node, opset, walk)
        types, late = _types(op, view)
        _check(types, node)
        if late:
            node.metadata_props[LATE_KEY] = "1"
            return types, [None] * len(types)
        node.metadata_props.pop(LATE_KEY, None)
        return types, _contents(op, view, types)
    expansion = expand_node(node, opset, type_node)
    if expansion is None and op is not None and op.late_rule is not None:
        types = list(op.late_rule(NodeView(node, opset, walk)))
        _check(types, node)
        return types, [None] * len(types)
    if expansion is None:
        raise UnsupportedOperatorError("its attributes have no simpler form")
    found = [(expansion.type(value), contents_of(value)) for value in expansion.results]
    expansion.discard()
    types = [t for t, _ in found]
    _check(types, node)
    return list(types), [c if c is not None and c.size <= MAX_DATA else None for _, c in found]


def _types(op: Op, view: NodeView) -> tuple[list[ValueType], bool]:
    """Types of the outputs, and whether the shapes are only known at run time."""
    assert op.infer_rule is not None
    try:
        return list(op.infer_rule(view)), False
    except UnsupportedOperatorError:
        if op.late_rule is None:
            raise
        return list(op.late_rule(view)), True


def type_node(node: onnx_ir.Node, opset: int, resolve: Resolve = lambda t: t) -> None:
    """Types the outputs of a node outside of any graph; `resolve` says what is known more of a type.

    Raises UnsupportedOperatorError, ShapeError.
    """
    if not can_type(node, opset):
        raise UnsupportedOperatorError(f"{node.op_type}, which it is made of, is not supported")
    types, contents = types_and_contents(node, opset, lambda graph: _type_nested(graph, opset, resolve))
    for value, t, data in zip(node.outputs, types, contents, strict=False):
        set_value_type(value, resolve(t))
        set_data(value, data)


def _type_nested(graph: onnx_ir.Graph, opset: int, resolve: Resolve) -> None:
    for node in graph:
        type_node(node, opset, resolve)


def _forget(node: onnx_ir.Node) -> None:
    for value in node.outputs:
        value.type = None
        value.shape = None
        set_data(value, None)


def _check(types: Sequence[ValueType], node: onnx_ir.Node) -> None:
    used = max((i + 1 for i, v in enumerate(node.outputs) if v.uses() or v.is_graph_output()), default=0)
    if len(types) < used:
        raise ModelFormatError(f"{used} outputs are used; {node.op_type} has {len(types)}")
    for t in types:
        if not isinstance(t, TensorType) or t.shape is None:
            continue
        if any(isinstance(d, int) and d < 0 for d in t.dims):
            raise ShapeError(f"the output would have shape {t}")
        size = bounds(product(t.dims), {})[0]
        if size > _MAX_ELEMENTS:
            raise ShapeError(f"the output would have {size} elements: {t}")


def _contents(op: Op, view: NodeView, types: Sequence[ValueType]) -> Sequence[Array | None]:
    """What is known of the outputs' elements: by the operator's rule, else by running the node on known inputs."""
    nothing: list[Array | None] = [None] * len(types)
    if not types or not isinstance(types[0], TensorType) or not _is_small(types[0]) or _is_opaque(view.node):
        return nothing
    found = nothing if op.data_rule is None else op.data_rule(view)
    if any(f is not None for f in found) or view.op_type == "Constant" or view.node.domain:
        return found
    arrays = [None if v is None else _known(v) for v in view.node.inputs]
    if any(a is None and v is not None for a, v in zip(arrays, view.node.inputs, strict=True)):
        return nothing
    try:
        return evaluate_node(view.node, arrays, view.opset)
    except (*_MALFORMED, Error, RuntimeError):  # the evaluator has gaps; then the contents simply stay unknown
        return nothing


def _is_opaque(node: onnx_ir.Node) -> bool:
    """Whether running a node once tells nothing: random ones, those with nested graphs, those on no tensors."""
    tensors = all(v is None or isinstance(v.type, onnx_ir.TensorType) for v in node.inputs)
    return not tensors or not is_deterministic(node)


def _is_small(t: TensorType) -> bool:
    return t.is_static and product(t.dims) <= MAX_DATA  # type: ignore[operator]


def _known(value: onnx_ir.Value) -> Array | None:
    """The elements as an array of the value's dtype, when all are numbers and few."""
    found = contents_of(value)
    if found is None or found.size > MAX_DATA or found.dtype != object:
        return found if found is not None and found.size <= MAX_DATA else None
    if value.dtype is None or not all(isinstance(d, int) for d in found.flat):
        return None
    return found.astype(value.dtype.numpy())


def _add_ranges(model: onnx_ir.Model, symbols: Iterable[str]) -> None:
    """Gives data-dependent symbols the range 0.. ."""
    ranges = ranges_of(model)
    new = {name: (0, None) for name in symbols if name not in ranges}
    if new:
        set_ranges(model, {**ranges, **new})


# ---------------------------------------------------------------------------------------------------------- texts


def _describe(node: onnx_ir.Node) -> str:
    types = ", ".join("-" if v is None else str(value_type_of(v) or "?") for v in node.inputs)
    domain = f"{node.domain}." if node.domain else ""
    return f"{node.name} ({domain}{node.op_type}) with inputs {types or 'none'}"


def _located(error: Error, node: onnx_ir.Node) -> Error:
    """The same error with the node's name, operator and input types in front, and the constants among its inputs."""
    where = _describe(node)
    constants = _constants(node) if isinstance(error, ShapeError) else ""
    if isinstance(error, MustEqual):
        unequal_dims = MustEqual(error.a, error.b, f"{where}: {error.what}{constants}", node)
        unequal_dims.advice = _BAKED_IN if constants else error.advice
        return unequal_dims
    located = type(error)(f"{where}: {error}{constants}")
    located.hint = error.hint or (_BAKED_IN if constants else None)  # the former's text is in the message already
    return located


_BAKED_IN = (
    "what is constant was made for one size of the inputs: give it as input_shapes of parse (--shape), "
    "or export with dynamic sizes"
)


def _constants(node: onnx_ir.Node) -> str:
    """Names of the constant tensors that the node reads: sizes written into a model sit there."""
    names = []
    for value in node.inputs:
        array = None if value is None else const_of(value)
        if value is not None and array is not None and array.size > 1:
            producer = value.producer()
            names.append(repr(value.name if producer is None else producer.name))
    return f" (constant in the model: {', '.join(names)})" if names else ""
