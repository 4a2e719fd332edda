"""If, Loop and Scan: nested graphs that host functions run.

ONNX operators If-21, Loop-21, Scan-21. What a nested graph makes of unforeseen size gets a new symbol outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir

from magicmind.errors import ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.ir.dims import DATA_PREFIX, Dim, symbol, symbols_of
from magicmind.ir.types import ELEMENT, OptionalOf, SequenceOf, TensorType, ValueType, const_of
from magicmind.ops.registry import NodeView, Op, data_symbol, normalise_axis

if_ = Op("If").host()
loop = Op("Loop").host()
scan = Op("Scan").host()

_COUNT = TensorType(onnx_ir.DataType.INT64, ())
_FLAG = TensorType(onnx_ir.DataType.BOOL, ())
_MOST_ROUNDS = 8  # of finding the shapes that a loop keeps: each round gives up at least one dim

Fresh = Callable[[int], Dim]


@if_.infer
def infer_if(node: NodeView) -> list[ValueType]:
    """What both branches agree on; sizes that differ are unforeseen."""
    condition = node.const(0)
    if condition is not None and condition.size == 1:  # the other branch may not even fit these shapes
        taken = node.body("then_branch" if condition.reshape(-1)[0] else "else_branch")
        return [_outside(t, _fresh(node, i)) for i, t in enumerate(taken)]
    branches = [node.body("then_branch"), node.body("else_branch")]
    if len(branches[0]) != len(branches[1]) or len(branches[0]) != node.num_outputs:
        raise ModelFormatError(f"its branches have {len(branches[0])} and {len(branches[1])} outputs")
    return [
        _outside(joined(a, b, _fresh(node, i)), _fresh(node, i)) for i, (a, b) in enumerate(zip(*branches, strict=True))
    ]


def _fresh(node: NodeView, output: int) -> Fresh:
    return lambda axis: node.unknown(output, axis)


def joined(a: ValueType, b: ValueType, fresh: Fresh) -> ValueType:
    """A type that both have; `fresh` names the dims that differ.  Raises ShapeError for different kinds or dtypes.

    Raises UnsupportedOperatorError for an optional and a value that always has content.
    """
    if isinstance(a, TensorType) and isinstance(b, TensorType) and a.dtype == b.dtype:
        if a.shape is None or b.shape is None or len(a.shape) != len(b.shape):
            return TensorType(a.dtype, None)
        dims = enumerate(zip(a.shape, b.shape, strict=True))
        return TensorType(a.dtype, tuple(x if x == y else fresh(axis) for axis, (x, y) in dims))
    if isinstance(a, SequenceOf) and isinstance(b, SequenceOf) and a.element.dtype == b.element.dtype:
        # An empty list has no shape yet. Where this guess is wrong, the run time refuses what it takes from the list.
        if a.element.shape is None or b.element.shape is None:
            return b if a.element.shape is None else a
        element = joined(a.element, b.element, lambda axis: ELEMENT)
        assert isinstance(element, TensorType)
        return SequenceOf(element)
    if isinstance(a, OptionalOf) and isinstance(b, OptionalOf):
        content = joined(a.element, b.element, fresh)
        assert not isinstance(content, OptionalOf)
        return OptionalOf(content)
    if isinstance(a, OptionalOf) != isinstance(b, OptionalOf):
        raise UnsupportedOperatorError(f"one value would be {a} and {b}")
    raise ShapeError(f"one value would be {a} and {b}")


def _outside(t: ValueType, fresh: Fresh) -> ValueType:
    """The type as the enclosing graph sees it: sizes that only the nested graph knows get names of their own."""
    if isinstance(t, TensorType) and t.shape is not None:
        return TensorType(t.dtype, tuple(fresh(i) if is_inner(d) else d for i, d in enumerate(t.shape)))
    if isinstance(t, SequenceOf) and t.element.shape is not None:
        return SequenceOf(TensorType(t.element.dtype, tuple(ELEMENT if is_inner(d) else d for d in t.element.shape)))
    return t


def is_inner(dim: Dim) -> bool:
    """Whether a dim depends on what only data tells."""
    return any(name.startswith(DATA_PREFIX) for name in symbols_of(dim))


def _settled(
    node: NodeView, body: str, before: Sequence[ValueType], start: Sequence[ValueType], after: Sequence[ValueType]
) -> tuple[list[ValueType], list[ValueType]]:
    """(types of the carried values, types of all outputs of the body), such that a round keeps the former.

    The body's inputs are `before`, carried, `after`; its outputs after the first `len(before) - 1` carried ones.
    """
    graph = node.node.attributes[body].as_graph() if body in node.node.attributes else None
    carried = list(start)
    for _ in range(_MOST_ROUNDS):
        outputs = node.body(body, [*before, *carried, *after])
        assert graph is not None
        skip = max(len(before) - 1, 0)
        kept = outputs[skip : skip + len(carried)]
        if len(kept) != len(carried):
            raise ModelFormatError(f"{body} has {len(outputs)} outputs; its {len(carried)} carried values are missing")
        names = graph.inputs[len(before) : len(before) + len(carried)]
        wider = [joined(a, b, _named(v)) for a, b, v in zip(carried, kept, names, strict=True)]
        if wider == carried:
            return carried, outputs
        carried = wider
    raise ShapeError("the shapes of its carried values do not settle")


def _named(value: onnx_ir.Value) -> Fresh:
    return lambda axis: symbol(data_symbol(value, axis))


@loop.infer
def infer_loop(node: NodeView) -> list[ValueType]:
    """Carried values, then one slice of each round of the others."""
    start = [node.value_type(i) for i in range(2, len(node.node.inputs))]
    carried, outputs = _settled(node, "body", [_COUNT, _FLAG], start, [])
    trips = _trips(node)
    found = [_outside(t, _fresh(node, i)) for i, t in enumerate(carried)]
    for i, t in enumerate(outputs[1 + len(carried) :], len(carried)):
        if not isinstance(t, TensorType):
            raise ModelFormatError(f"output {i} would collect {t}; only tensors can be")
        count = node.unknown(i, 0) if trips is None else trips
        shape = None if t.shape is None else (count, *t.shape)
        found.append(_outside(TensorType(t.dtype, shape), _fresh(node, i)))
    return found


def _trips(node: NodeView) -> Dim | None:
    """How often a Loop without an end of its own runs, when that is a number."""
    count = node.ints(0) if node.has(0) else None
    graph = node.node.attributes["body"].as_graph()
    end, first = graph.outputs[0], node.const(1) if node.has(1) else None
    producer = end.producer()
    same = end is graph.inputs[1] or (
        producer is not None and producer.op_type == "Identity" and producer.inputs[0] is graph.inputs[1]
    )
    always = const_of(end)
    forever = same or (always is not None and bool(always.all()))
    begins = not node.has(1) or (first is not None and bool(first.all()))
    return max(count[0], 0) if count is not None and forever and begins else None


@scan.infer
def infer_scan(node: NodeView) -> list[ValueType]:
    """States, then the stacked slices."""
    slices = int(node.attr("num_scan_inputs", 0))
    states = len(node.node.inputs) - slices
    axes = node.ints_attr("scan_input_axes") or [0] * slices
    inputs = [node.input(i) for i in range(states, states + slices)]
    if slices < 1 or states < 0 or len(axes) != slices:
        raise ModelFormatError(f"{slices} scan inputs with {len(axes)} axes and {len(node.node.inputs)} inputs")
    places = [normalise_axis(a, t.rank) for a, t in zip(axes, inputs, strict=True)]
    cut = [TensorType(t.dtype, t.dims[:a] + t.dims[a + 1 :]) for t, a in zip(inputs, places, strict=True)]
    start = [node.value_type(i) for i in range(states)]
    carried, outputs = _settled(node, "body", [], start, cut)
    found = [_outside(t, _fresh(node, i)) for i, t in enumerate(carried)]
    into = node.ints_attr("scan_output_axes") or [0] * (len(outputs) - states)
    length = inputs[0].dims[places[0]]
    for i, (t, a) in enumerate(zip(outputs[states:], into, strict=True), states):
        if not isinstance(t, TensorType) or t.shape is None:
            raise ShapeError(f"output {i} would collect {t} of no fixed rank")
        a = normalise_axis(a, t.rank + 1)
        inner = _outside(t, lambda axis, i=i, a=a: node.unknown(i, axis + (axis >= a)))  # type: ignore[misc]
        assert isinstance(inner, TensorType)
        found.append(TensorType(t.dtype, (*inner.dims[:a], length, *inner.dims[a:])))
    return found
