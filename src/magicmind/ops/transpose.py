"""Transpose: axes in another order.  ONNX operator Transpose-13."""

from __future__ import annotations

from magicmind.errors import ShapeError
from magicmind.ir.types import TensorType
from magicmind.ops.registry import Array, NodeView, Op

transpose = Op("Transpose").half()


def permutation(node: NodeView) -> tuple[int, ...]:
    """`perm`: output axis i is input axis perm[i]; reversed when absent.  Raises ShapeError."""
    rank = node.input(0).rank
    perm = node.ints_attr("perm")
    if perm is None:
        return tuple(reversed(range(rank)))
    if sorted(perm) != list(range(rank)):
        raise ShapeError(f"perm={perm} is no order of {rank} axes")
    return tuple(perm)


@transpose.infer
def infer(node: NodeView) -> list[TensorType]:
    """Same dtype, dims in the order of `perm`."""
    x = node.input(0)
    return [TensorType(x.dtype, tuple(x.dims[p] for p in permutation(node)))]


@transpose.data
def data(node: NodeView) -> list[Array | None]:
    """The contents in the new order: PyTorch's older exporter turns the amounts of a padding around like this."""
    found = node.data(0)
    return [None if found is None else found.transpose(permutation(node))]
