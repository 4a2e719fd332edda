"""Lists of tensors and optional values; they exist in host steps only.

ONNX operators SequenceAt-11, SequenceConstruct-11, SequenceEmpty-11, SequenceErase-11, SequenceInsert-11,
SequenceLength-11, SequenceMap-17, SplitToSequence-24, ConcatFromSequence-11, Optional-15, OptionalGetElement-18,
OptionalHasElement-18.
"""

from __future__ import annotations

import onnx_ir

from magicmind.errors import ModelFormatError, ShapeError
from magicmind.ir.dims import symbol
from magicmind.ir.types import ELEMENT, OptionalOf, SequenceOf, TensorType, ValueType
from magicmind.ops.control_flow import is_inner, joined
from magicmind.ops.registry import NodeView, Op, data_symbol, normalise_axis

sequence_at = Op("SequenceAt").host()
sequence_construct = Op("SequenceConstruct").host()
sequence_empty = Op("SequenceEmpty").host()
sequence_erase = Op("SequenceErase").host()
sequence_insert = Op("SequenceInsert").host()
sequence_length = Op("SequenceLength").host()
sequence_map = Op("SequenceMap").host()
split_to_sequence = Op("SplitToSequence").host()
concat_from_sequence = Op("ConcatFromSequence").host()
optional = Op("Optional").host()
optional_get_element = Op("OptionalGetElement").host()
optional_has_element = Op("OptionalHasElement").host()


def _sequence(node: NodeView, i: int = 0) -> SequenceOf:
    t = node.value_type(i)
    t = t.element if isinstance(t, OptionalOf) else t
    if not isinstance(t, SequenceOf):
        raise ShapeError(f"input {i} is {t}; a sequence is needed")
    return t


def _element(node: NodeView, t: TensorType, output: int = 0) -> TensorType:
    """A tensor of a list as an output: what differs between the list's tensors is unforeseen."""
    if t.shape is None:
        return t
    return TensorType(t.dtype, tuple(node.unknown(output, i) if is_inner(d) else d for i, d in enumerate(t.shape)))


def _grown(sequence: SequenceOf, t: TensorType) -> SequenceOf:
    found = joined(sequence, SequenceOf(_hidden(t)), lambda axis: ELEMENT)
    assert isinstance(found, SequenceOf)
    return found


@sequence_at.infer
def infer_at(node: NodeView) -> list[ValueType]:
    """One of the tensors."""
    return [_element(node, _sequence(node).element)]


@sequence_construct.infer
def infer_construct(node: NodeView) -> list[ValueType]:
    """A list of the inputs."""
    found = SequenceOf(_hidden(node.input(0)))
    for t in node.inputs[1:]:
        found = _grown(found, t)
    return [found]


@sequence_empty.infer
def infer_empty(node: NodeView) -> list[ValueType]:
    """A list without tensors; those that come later give the shape."""
    return [SequenceOf(TensorType(onnx_ir.DataType(node.attr("dtype", 1)), None))]


@sequence_erase.infer
def infer_erase(node: NodeView) -> list[ValueType]:
    """The list without one."""
    return [_sequence(node)]


@sequence_insert.infer
def infer_insert(node: NodeView) -> list[ValueType]:
    """The list with one more."""
    return [_grown(_sequence(node), node.input(1))]


@sequence_length.infer
def infer_length(node: NodeView) -> list[ValueType]:
    """A number."""
    return [TensorType(onnx_ir.DataType.INT64, ())]


@sequence_map.infer
def infer_map(node: NodeView) -> list[ValueType]:
    """Lists of what the body makes of each element."""
    given = [node.value_type(i) for i in range(len(node.node.inputs))]
    elements = [t.element if isinstance(t, SequenceOf) else t for t in given]
    inner = node.node.attributes["body"].as_graph().inputs
    types = [_round(t, v) if isinstance(t, TensorType) else t for t, v in zip(elements, inner, strict=True)]
    results = node.body("body", types)
    if not all(isinstance(t, TensorType) for t in results):
        raise ModelFormatError("its body gives no tensors")
    return [SequenceOf(_hidden(t)) for t in results if isinstance(t, TensorType)]


def _round(t: TensorType, value: onnx_ir.Value) -> TensorType:
    """The type of the body's input: what differs from round to round has a symbol there."""
    if t.shape is None:
        return t
    dims = (symbol(data_symbol(value, i)) if is_inner(d) else d for i, d in enumerate(t.shape))
    return TensorType(t.dtype, tuple(dims))


def _hidden(t: TensorType) -> TensorType:
    return t if t.shape is None else TensorType(t.dtype, tuple(ELEMENT if is_inner(d) else d for d in t.shape))


@split_to_sequence.infer
def infer_split(node: NodeView) -> list[ValueType]:
    """Parts along `axis`: of size 1 without `split`, else of the sizes it says."""
    x = node.input(0)
    axis = normalise_axis(node.attr("axis", 0), x.rank)
    if not node.has(1):
        one = (1,) if node.attr("keepdims", 1) else ()
        return [SequenceOf(_hidden(TensorType(x.dtype, (*x.dims[:axis], *one, *x.dims[axis + 1 :]))))]
    sizes = node.ints(1)
    known = sizes is not None and node.input(1).rank == 1 and len(set(sizes)) == 1
    part = sizes[0] if known and sizes is not None else ELEMENT
    return [SequenceOf(_hidden(TensorType(x.dtype, (*x.dims[:axis], part, *x.dims[axis + 1 :]))))]


@concat_from_sequence.infer
def infer_concat(node: NodeView) -> list[ValueType]:
    """All tensors along an axis, or stacked on a new one."""
    t = _sequence(node).element
    if t.shape is None:
        return [t]
    new = bool(node.attr("new_axis", 0))
    axis = normalise_axis(node.attr("axis", 0), len(t.shape) + new)
    dims = [*t.shape[:axis], ELEMENT, *t.shape[axis + (not new) :]]
    return [_element(node, TensorType(t.dtype, tuple(dims)))]


@optional.infer
def infer_optional(node: NodeView) -> list[ValueType]:
    """What is given, or nothing of the type that the attribute says."""
    if node.has(0):
        t = node.value_type(0)
        assert not isinstance(t, OptionalOf)
        return [OptionalOf(t)]
    kind = node.attr("type").type
    element = TensorType(kind.dtype, None)
    return [OptionalOf(SequenceOf(element) if isinstance(kind, onnx_ir.SequenceType) else element)]


@optional_get_element.infer
def infer_get_element(node: NodeView) -> list[ValueType]:
    """The content; other values are their own content."""
    t = node.value_type(0)
    t = t.element if isinstance(t, OptionalOf) else t
    return [_element(node, t) if isinstance(t, TensorType) else t]


@optional_has_element.infer
def infer_has_element(node: NodeView) -> list[ValueType]:
    """Whether there is content."""
    return [TensorType(onnx_ir.DataType.BOOL, ())]
