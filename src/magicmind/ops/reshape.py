"""Operators that give the same elements another shape: Reshape, Flatten, Squeeze, Unsqueeze, Dropout.

ONNX operators Reshape-14, Flatten-13, Squeeze-13, Unsqueeze-13, Dropout-13 (a host step in training).
"""

from __future__ import annotations

import onnx_ir

from magicmind.errors import ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.ir.dims import Dim, exact_div, product
from magicmind.ir.types import Shape, TensorType
from magicmind.ops.registry import Array, NodeView, Op, normalise_axis
from magicmind.ops.shapes import same_dim, shape_text

reshape = Op("Reshape").half()
flatten = Op("Flatten").half()
squeeze = Op("Squeeze").half()
unsqueeze = Op("Unsqueeze").half()
dropout = Op("Dropout").host()


@reshape.infer
def infer_reshape(node: NodeView) -> list[TensorType]:
    """The target with 0 taken from the input and -1 such that the number of elements stays."""
    x = node.input(0)
    target = node.dims(1)
    if target is None:
        raise UnsupportedOperatorError("the target shape (input 1) depends on run-time data")
    return [TensorType(x.dtype, resolve_target(x.dims, target, allow_zero=node.attr("allowzero", 0) != 0))]


def resolve_target(shape: Shape, target: list[Dim], *, allow_zero: bool) -> Shape:
    """The shape a Reshape gives.  Raises ShapeError when the elements do not fit."""
    result = [_copied(shape, i) if d == 0 and not allow_zero else d for i, d in enumerate(target)]
    free = [i for i, d in enumerate(result) if d == -1]
    size = product(shape)
    if len(free) > 1 or any(isinstance(d, int) and d < -1 for d in result):
        raise ShapeError(f"the target {shape_text(target)} is malformed")
    if free:
        known = product(d for d in result if d != -1)
        result[free[0]] = _quotient(size, known, shape, target)
    elif product(result) != size:
        same_dim(size, product(result), f"elements of {shape_text(shape)} and {shape_text(result)}")
    return tuple(result)


def _copied(shape: Shape, i: int) -> Dim:
    if i >= len(shape):
        raise ShapeError(f"the target copies axis {i}, but the input is {shape_text(shape)}")
    return shape[i]


def _quotient(size: Dim, known: Dim, shape: Shape, target: list[Dim]) -> Dim:
    if known == 0:
        return 0
    exact = exact_div(size, known)
    if exact is None and isinstance(size, int) and isinstance(known, int):
        raise ShapeError(f"{shape_text(shape)} does not fit into {shape_text(target)}")
    return size // known if exact is None else exact


def data_same_elements(node: NodeView) -> list[Array | None]:
    """The contents of input 0 in the output's shape."""
    data = node.data(0)
    (t,) = _RULES[node.op_type](node)
    if data is None or not t.is_static:
        return [None]
    return [data.reshape(t.dims)]


@flatten.infer
def infer_flatten(node: NodeView) -> list[TensorType]:
    """A matrix: the axes before `axis` are the rows."""
    x = node.input(0)
    axis = node.axis(1, x.rank, inclusive=True)
    return [TensorType(x.dtype, (product(x.dims[:axis]), product(x.dims[axis:])))]


def axes_of(node: NodeView) -> list[int] | None:
    """The axes of Squeeze and Unsqueeze, from the input or the attribute; None when not given."""
    return node.need_ints(1, "axes") if node.has(1) else node.ints_attr("axes")


@squeeze.infer
def infer_squeeze(node: NodeView) -> list[TensorType]:
    """The shape without `axes`, which must be 1; without any 1 when `axes` is not given."""
    x = node.input(0)
    given = axes_of(node)
    if given is None:
        axes = {i for i, d in enumerate(x.dims) if d == 1}
    else:
        axes = {normalise_axis(a, x.rank) for a in given}
        for a in axes:
            same_dim(x.dims[a], 1, f"axis {a} is squeezed")
    return [TensorType(x.dtype, tuple(d for i, d in enumerate(x.dims) if i not in axes))]


@unsqueeze.infer
def infer_unsqueeze(node: NodeView) -> list[TensorType]:
    """The shape with a 1 at every one of `axes`, counted in the output."""
    x = node.input(0)
    given = axes_of(node)
    if given is None:
        raise ModelFormatError("axes are missing")
    rank = x.rank + len(given)
    axes = {normalise_axis(a, rank) for a in given}
    if len(axes) != len(given):
        raise ShapeError(f"axes {given} name one axis twice")
    rest = iter(x.dims)
    return [TensorType(x.dtype, tuple(1 if i in axes else next(rest) for i in range(rank)))]


for _op in (reshape, flatten, squeeze, unsqueeze):
    _op.data(data_same_elements)
_RULES = {
    "Reshape": infer_reshape,
    "Flatten": infer_flatten,
    "Squeeze": infer_squeeze,
    "Unsqueeze": infer_unsqueeze,
}


@dropout.infer
def infer_dropout(node: NodeView) -> list[TensorType]:
    """Like the input, and a mask: true everywhere, except in training."""
    x = node.input(0)
    return [x, TensorType(onnx_ir.DataType.BOOL, x.shape)][: node.num_outputs]
