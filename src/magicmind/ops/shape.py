"""Operators about shapes and constants: Shape, Size, Constant, ConstantOfShape, Range."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir

from magicmind.errors import ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.ir.dims import Dim, bounds, ceildiv, dim_max
from magicmind.ir.types import TensorType, constant_array
from magicmind.ops.registry import MAX_DATA, Array, NodeView, Op

shape = Op("Shape")
size = Op("Size")
constant = Op("Constant")
constant_of_shape = Op("ConstantOfShape")
range_ = Op("Range")

INT64 = onnx_ir.DataType.INT64


def _as_data(dims: list[Dim]) -> Array:
    data = np.empty(len(dims), object)
    data[:] = dims
    return data


def kept_dims(node: NodeView) -> list[Dim]:
    """The dims a Shape node gives: `start` to `end` of the input's."""
    dims = node.shape(0)
    return list(dims[slice(node.attr("start", 0), node.attr("end", len(dims)))])


@shape.infer
def infer_shape(node: NodeView) -> list[TensorType]:
    """int64 [rank]."""
    return [TensorType(INT64, (len(kept_dims(node)),))]


@shape.data
def data_shape(node: NodeView) -> list[Array | None]:
    """The dims themselves."""
    return [_as_data(kept_dims(node))]


@size.infer
def infer_size(node: NodeView) -> list[TensorType]:
    """An int64 scalar."""
    return [TensorType(INT64, ())]


@size.data
def data_size(node: NodeView) -> list[Array | None]:
    """The number of elements."""
    return [_as_data([node.input(0).size]).reshape(())]


@constant.infer
def infer_constant(node: NodeView) -> list[TensorType]:
    """The type of the array it holds."""
    array = constant_array(node.node)
    if array is None:
        raise UnsupportedOperatorError("a constant that is no dense tensor of numbers")
    return [TensorType(onnx_ir.DataType.from_numpy(array.dtype), array.shape)]


def fill_value(node: NodeView) -> Array:
    """What a ConstantOfShape repeats: an array of one element; float32 zero when absent."""
    value = node.attr("value")
    array = np.zeros(1, np.float32) if value is None else value.numpy()
    if array.size != 1:
        raise ModelFormatError("attribute 'value' must hold one element")
    return np.asarray(array).reshape(1)


@constant_of_shape.infer
def infer_constant_of_shape(node: NodeView) -> list[TensorType]:
    """The shape that input 0 spells."""
    dims = node.dims(0)
    if dims is None:
        raise UnsupportedOperatorError("the shape (input 0) depends on run-time data; it must follow from shapes")
    if any((bounds(d, {})[1] or 0) < 0 for d in dims):
        raise ShapeError(f"the shape {dims} has a negative dimension")
    return [TensorType(onnx_ir.DataType.from_numpy(fill_value(node).dtype), tuple(dims))]


@constant_of_shape.data
def data_constant_of_shape(node: NodeView) -> list[Array | None]:
    """The repeated value, when it is small."""
    (t,) = infer_constant_of_shape(node)
    dims = [d for d in t.dims if isinstance(d, int)]
    if len(dims) < t.rank or math.prod(dims) > MAX_DATA:
        return [None]
    return [np.full(dims, fill_value(node)[0])]


@range_.infer
def infer_range(node: NodeView) -> list[TensorType]:
    """max(ceil((limit - start) / delta), 0) numbers."""
    dtype = node.input(0).dtype
    numbers = [node.const(i) for i in range(3)]
    if all(n is not None for n in numbers):
        start, limit, delta = (n.item() for n in numbers if n is not None)
        if delta == 0:
            raise ShapeError("delta is 0")
        return [TensorType(dtype, (max(math.ceil((limit - start) / delta), 0),))]
    dims = [node.dims(i) for i in range(3)]
    if any(not d or len(d) != 1 for d in dims):
        raise UnsupportedOperatorError("its length depends on run-time data; it must follow from shapes")
    first, last, step = (d[0] for d in dims if d)
    if not isinstance(step, int) or step <= 0:
        raise UnsupportedOperatorError(f"delta is {step}; over mutable dimensions it must be a positive number")
    return [TensorType(dtype, (dim_max(ceildiv(last - first, step), 0),))]
