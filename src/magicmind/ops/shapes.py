"""What the type rules share: broadcasting and equality of dims, checks of rank and dtype.

Two symbolic dims that an operator needs equal may simply be two names of one dim (`x_d0` and `y_d0`, two batches).
`MustEqual` says so; type inference then makes one of them the other and starts over, so the rule need not decide.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir

from magicmind.errors import ShapeError
from magicmind.ir.dims import DATA_PREFIX, Dim, bounds, symbols_of
from magicmind.ir.types import Shape, TensorType, dtype_name
from magicmind.ops.registry import NodeView

FLOATS = frozenset(
    {onnx_ir.DataType.FLOAT, onnx_ir.DataType.DOUBLE, onnx_ir.DataType.FLOAT16, onnx_ir.DataType.BFLOAT16}
)


class MustEqual(ShapeError):
    """`a` and `b` have to be the same dim, which their expressions do not show; `node`: for which node."""

    advice = 'give both the same name, as in shapes={"x": ("name=1..64", ...)}, or a number'

    def __init__(self, a: Dim, b: Dim, what: str, node: onnx_ir.Node | None = None) -> None:
        super().__init__(f"{what}: dimensions {a} and {b} have to be equal", hint=self.advice)
        self.a = a
        self.b = b
        self.what = what
        self.node = node


def same_dim(a: Dim, b: Dim, what: str) -> Dim:
    """The dim that `a` and `b` both are.  Raises ShapeError when they differ, MustEqual when they might not."""
    if a == b:
        return a
    low, high = bounds(a - b, {})
    if low > 0 or (high is not None and high < 0):
        raise ShapeError(f"{what}: {a} and {b} differ")
    raise MustEqual(a, b, what)


def same_dims(a: Sequence[Dim], b: Sequence[Dim], what: str) -> None:
    """`same_dim` of every axis of two shapes of one rank."""
    for x, y in zip(a, b, strict=True):
        same_dim(x, y, what)


def need_within(indices: TensorType, data: TensorType, axis: int) -> None:
    """Raises ShapeError where indices along `axis` have more elements than the data on another axis."""
    for i, (a, b) in enumerate(zip(indices.dims, data.dims, strict=True)):
        if i != axis and bounds(a - b, {})[0] > 0:
            raise ShapeError(f"indices {shape_text(indices.dims)} reach beyond axis {i} of {shape_text(data.dims)}")


def either_may_be_one(a: Dim, b: Dim) -> bool:
    """Whether two sizes that only data tells are unlike, so that either may be 1 and repeat."""
    return a != b and all(any(n.startswith(DATA_PREFIX) for n in symbols_of(d)) for d in (a, b))


def broadcast_dim(a: Dim, b: Dim) -> Dim:
    """The dim two dims broadcast to.  A symbolic dim is never taken for a 1 that repeats at run time."""
    if a == 1:
        return b
    if b == 1:
        return a
    return same_dim(a, b, "broadcast")


def broadcast(*shapes: Shape) -> Shape:
    """The shape all shapes broadcast to, numpy's rule.  Raises ShapeError naming the shapes that do not fit."""
    rank = max(map(len, shapes))
    result: list[Dim] = [1] * rank
    for shape in shapes:
        offset = rank - len(shape)
        for i, dim in enumerate(shape):
            try:
                result[offset + i] = broadcast_dim(result[offset + i], dim)
            except MustEqual:
                raise
            except ShapeError:
                listing = " and ".join(shape_text(s) for s in shapes)
                raise ShapeError(f"shapes {listing} do not broadcast") from None
    return tuple(result)


def shape_text(shape: Sequence[Dim]) -> str:
    """A shape as people write it: `[N, 3, 224, 224]`."""
    return f"[{', '.join(map(str, shape))}]"


def need_rank(t: TensorType, low: int, high: int | None = None, what: str = "input") -> TensorType:
    """`t`, checked to have between `low` and `high` dims (`high` None: no bound).  Raises ShapeError."""
    if t.rank < low or (high is not None and t.rank > high):
        wanted = f"{low}" if low == high else f"{low} or more" if high is None else f"{low} to {high}"
        raise ShapeError(f"{what} has shape {shape_text(t.dims)}; its rank must be {wanted}")
    return t


def need_same_dtype(*types: TensorType) -> onnx_ir.DataType:
    """The dtype that all have.  Raises ShapeError when they do not."""
    if any(t.dtype != types[0].dtype for t in types):
        raise ShapeError(f"inputs have different dtypes: {', '.join(dtype_name(t.dtype) for t in types)}")
    return types[0].dtype


def need_float(t: TensorType, what: str = "input") -> TensorType:
    """`t`, checked to hold floats.  Raises ShapeError."""
    if t.dtype not in FLOATS:
        raise ShapeError(f"{what} is {dtype_name(t.dtype)}; a float type is needed")
    return t


def like_first(node: NodeView) -> list[TensorType]:
    """The rule of operators whose output is typed like input 0."""
    return [node.input(0)]
