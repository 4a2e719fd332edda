"""Tensor types on the graph: dtype and a shape of dims, read from and written to onnx-ir values.

On a value a symbolic dim is `onnx_ir.SymbolicDim(str(expr))`; this module is the only place that converts.  The ranges
of the symbols live once per model, as JSON in its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx_ir

from magicmind.ir import dims
from magicmind.ir.dims import Dim

RANGES_KEY = "magicmind.ranges"

Shape = tuple[Dim, ...]

ELEMENT = dims.symbol(f"{dims.DATA_PREFIX}element")
"""A dim in which the tensors of a list differ; a tensor taken from it has a symbol of its own there."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """`dtype` and `shape` of a tensor; `shape` is None where not even the rank is known."""

    dtype: onnx_ir.DataType
    shape: Shape | None

    @property
    def dims(self) -> Shape:
        """The shape, where a rule has made sure that there is one."""
        assert self.shape is not None
        return self.shape

    @property
    def rank(self) -> int:
        """The number of dims."""
        return len(self.dims)

    @property
    def size(self) -> Dim:
        """The number of elements."""
        return dims.product(self.dims)

    @property
    def is_static(self) -> bool:
        """Whether every dim is a number."""
        return self.shape is not None and all(isinstance(d, int) for d in self.shape)

    @property
    def nbytes(self) -> int | None:
        """Bytes of the elements; None where a size is not a number."""
        count = self.size if self.is_static else None
        return count * self.dtype.bitwidth // 8 if isinstance(count, int) else None

    def __str__(self) -> str:
        inner = "..." if self.shape is None else ", ".join(map(str, self.shape))
        return f"{dtype_name(self.dtype)}[{inner}]"


@dataclass(frozen=True, slots=True)
class SequenceOf:
    """A list of tensors; `element.shape` is None unless all have one rank."""

    element: TensorType

    def __str__(self) -> str:
        return f"sequence of {self.element}"


@dataclass(frozen=True, slots=True)
class OptionalOf:
    """A tensor, a sequence, or nothing."""

    element: TensorType | SequenceOf

    def __str__(self) -> str:
        return f"optional {self.element}"


ValueType: TypeAlias = TensorType | SequenceOf | OptionalOf


def dtype_name(dtype: onnx_ir.DataType) -> str:
    """The dtype as people write it: `float32`, `int64`, `bfloat16`."""
    return {"FLOAT": "float32", "DOUBLE": "float64"}.get(dtype.name, dtype.name.lower())


# ---------------------------------------------------------------------------------------------------------- values


def type_of(value: onnx_ir.Value) -> TensorType | None:
    """The type written on `value`; None when it has no dtype or is no tensor."""
    found = value_type_of(value)
    return found if isinstance(found, TensorType) else None


def value_type_of(value: onnx_ir.Value) -> ValueType | None:
    """The type written on `value`, tensor or not; None when it has none."""
    if value.dtype is None:
        return None
    kind, element = value.type, TensorType(value.dtype, shape_of(value))
    if isinstance(kind, onnx_ir.OptionalType):
        return OptionalOf(SequenceOf(element) if isinstance(kind.elem_type, onnx_ir.SequenceType) else element)
    return SequenceOf(element) if isinstance(kind, onnx_ir.SequenceType) else element


def set_value_type(value: onnx_ir.Value, t: ValueType) -> None:
    """Writes a type onto `value`; of sequences and optionals the elements' shape."""
    if isinstance(t, TensorType):
        set_type(value, t)
        return
    inner = t.element
    element = inner.element if isinstance(inner, SequenceOf) else inner
    kind: onnx_ir.TypeProtocol = onnx_ir.TensorType(element.dtype)
    if isinstance(t, SequenceOf) or isinstance(inner, SequenceOf):
        kind = onnx_ir.SequenceType(kind)
    value.type = onnx_ir.OptionalType(kind) if isinstance(t, OptionalOf) else kind
    value.shape = None if element.shape is None else to_ir_shape(element.shape)


def shape_of(value: onnx_ir.Value) -> Shape | None:
    """The shape written on `value`; None when the rank or any dim is unknown."""
    if value.shape is None:
        return None
    found: list[Dim] = []
    for dim in value.shape.dims:
        if isinstance(dim, int):
            found.append(dim)
        elif dim.value is None:
            return None
        else:
            found.append(dims.parse(dim.value))
    return tuple(found)


def dtype_of(value: onnx_ir.Value) -> onnx_ir.DataType | None:
    """The dtype written on `value`."""
    return value.dtype


def set_type(value: onnx_ir.Value, t: TensorType) -> None:
    """Writes dtype and shape onto `value`."""
    if value.type is None or value.type.dtype != t.dtype or not isinstance(value.type, onnx_ir.TensorType):
        value.type = onnx_ir.TensorType(t.dtype)
    value.shape = None if t.shape is None else to_ir_shape(t.shape)


def to_ir_shape(shape: Shape) -> onnx_ir.Shape:
    """The onnx-ir form of a shape."""
    return onnx_ir.Shape([d if isinstance(d, int) else onnx_ir.SymbolicDim(str(d)) for d in shape])


def const_of(value: onnx_ir.Value | None) -> np.ndarray[Any, Any] | None:
    """The array of an initializer or of a `Constant` node; None for everything else, absent inputs included.

    The array shares its memory with the graph: do not write to it.
    """
    if value is None:
        return None
    if value.const_value is not None:
        return value.const_value.numpy()
    node = value.producer()
    if node is None or node.op_type != "Constant" or node.domain:
        return None
    return constant_array(node)


def constant_array(node: onnx_ir.Node) -> np.ndarray[Any, Any] | None:
    """What a `Constant` node holds, whichever attribute it uses; None for sparse tensors and strings."""
    for attr in node.attributes.values():
        match attr.name:
            case "value":
                # `as_tensor` checks against a protocol, which took a third of the time to read a large network.
                return np.asarray(attr.value.numpy())
            case "value_int":
                return np.array(attr.as_int(), np.int64)
            case "value_ints":
                return np.array(attr.as_ints(), np.int64)
            case "value_float":
                return np.array(attr.as_float(), np.float32)
            case "value_floats":
                return np.array(attr.as_floats(), np.float32)
    return None


# ---------------------------------------------------------------------------------------------------------- ranges


def ranges_of(model: onnx_ir.Model) -> dict[str, tuple[int, int | None]]:
    """The range of every symbol: `{"N": (1, 64)}`; None is no upper bound."""
    text = model.metadata_props.get(RANGES_KEY, "{}")
    return {name: (low, high) for name, (low, high) in json.loads(text).items()}


def set_ranges(model: onnx_ir.Model, ranges: Mapping[str, tuple[int, int | None]]) -> None:
    """Replaces the ranges of all symbols."""
    if ranges:
        model.metadata_props[RANGES_KEY] = json.dumps({name: list(ranges[name]) for name in sorted(ranges)})
    else:
        model.metadata_props.pop(RANGES_KEY, None)
