"""Operators whose output shape is an input that only the run time computes: their rank, and a host function.

Where the shape is known when building, the operators' own files apply; what stands here is the second choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir

from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.dims import Dim
from magicmind.ir.types import TensorType, ValueType
from magicmind.ops.registry import InferRule, NodeView, elements_of, lookup, normalise_axis
from magicmind.ops.shapes import broadcast_dim, either_may_be_one

Rank = Callable[[NodeView], int]


def _length(i: int) -> Rank:
    """As many dims as input `i` has elements."""

    def rank(node: NodeView) -> int:
        size = node.input(i).size
        if not isinstance(size, int):
            raise UnsupportedOperatorError(f"not even the rank is known: input {i} has an unforeseen length")
        return size

    return rank


def _same(node: NodeView) -> int:
    return node.input(0).rank


def _plus(i: int, sign: int) -> Rank:
    return lambda node: node.input(0).rank + sign * _length(i)(node)


def _reduced(node: NodeView) -> int:
    return node.input(0).rank if node.attr("keepdims", 1) else node.input(0).rank - _length(1)(node)


def _unknown(node: NodeView, output: int, rank: int, dtype: onnx_ir.DataType) -> TensorType:
    return TensorType(dtype, tuple(node.unknown(output, axis) for axis in range(rank)))


def _first_dtype(rank: Rank) -> InferRule:
    return lambda node: [_unknown(node, i, rank(node), node.input(0).dtype) for i in range(node.num_outputs)]


_RANKS: dict[str, Rank] = {
    "Tile": _same,
    "Resize": _same,
    "Split": _same,
    "Range": lambda node: 1,
    "Squeeze": _plus(1, -1),
    "Unsqueeze": _plus(1, 1),
    **{
        f"Reduce{kind}": _reduced
        for kind in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")
    },
}


def late_constant_of_shape(node: NodeView) -> list[TensorType]:
    """The dtype of `value`, float32 without one."""
    value = node.node.attributes.get("value")
    dtype = onnx_ir.DataType.FLOAT if value is None else value.as_tensor().dtype
    sizes = elements_of(node.node.inputs[0]) if node.node.inputs[0] is not None else None
    dims = [None] * _length(0)(node) if sizes is None else sizes
    return [TensorType(dtype, tuple(node.unknown(0, i) if d is None else d for i, d in enumerate(dims)))]


def late_reshape(node: NodeView) -> list[TensorType]:
    """The sizes of the target that are known."""
    x, given = node.input(0), node.value(1)
    found = None if given is None else elements_of(given)
    target: list[Dim | None] = [None] * _length(1)(node) if found is None else found
    if not node.attr("allowzero", 0):
        target = [None if d == 0 else d for d in target]
    dims = (node.unknown(0, i) if d is None or d == -1 else d for i, d in enumerate(target))
    return [TensorType(x.dtype, tuple(dims))]


def late_slice(node: NodeView) -> list[TensorType]:
    """Unforeseen sizes of the axes that are cut."""
    x, axes = node.input(0), node.ints(3) if node.has(3) else None
    cut = range(x.rank) if axes is None else [normalise_axis(a, x.rank) for a in axes]
    return [TensorType(x.dtype, tuple(node.unknown(0, i) if i in cut else d for i, d in enumerate(x.dims)))]


def late_pad(node: NodeView) -> list[TensorType]:
    """The sizes of the axes whose padding is known."""
    x, given, axes = node.input(0), node.value(1), node.ints(3) if node.has(3) else list(range(node.input(0).rank))
    amounts = None if given is None else elements_of(given)
    if amounts is None or axes is None or len(amounts) != 2 * len(axes):
        return [_unknown(node, 0, x.rank, x.dtype)]
    dims = list(x.dims)
    for axis, before, after in zip(axes, amounts[: len(axes)], amounts[len(axes) :], strict=True):
        i = normalise_axis(axis, x.rank)
        dims[i] = node.unknown(0, i) if before is None or after is None else dims[i] + before + after
    return [TensorType(x.dtype, tuple(dims))]


def late_expand(node: NodeView) -> list[TensorType]:
    """The sizes that are known whatever the others turn out to be."""
    x, wanted = node.input(0), node.dims(1)
    rank = max(x.rank, _length(1)(node))
    target: list[Dim | None] = [None] * rank if wanted is None else [*[1] * (rank - len(wanted)), *wanted]
    own: list[Dim] = [*[1] * (rank - x.rank), *x.dims]
    dims = [
        node.unknown(0, i) if b is None or either_may_be_one(a, b) else broadcast_dim(a, b)
        for i, (a, b) in enumerate(zip(own, target, strict=True))
    ]
    return [TensorType(x.dtype, tuple(dims))]


def late_top_k(node: NodeView) -> list[TensorType]:
    """The `k` largest along `axis`, and where they were."""
    x, axis = node.input(0), node.axis(-1, node.input(0).rank)
    count = node.unknown(0, axis)
    dims = tuple(count if i == axis else d for i, d in enumerate(x.dims))
    return [TensorType(x.dtype, dims), TensorType(onnx_ir.DataType.INT64, dims)]


def late_one_hot(node: NodeView) -> list[TensorType]:
    """A new axis of unforeseen size."""
    return [_unknown(node, 0, node.input(0).rank + 1, node.input(2).dtype)]


_STRINGS = ("Equal", "Cast")
"""Operators whose kernels know no strings; their host functions do."""


def attach() -> None:
    """Gives the operators their second choice; once all of them are registered."""
    rules: dict[str, InferRule] = {name: _first_dtype(rank) for name, rank in _RANKS.items()}
    rules |= {
        "Reshape": late_reshape,
        "Slice": late_slice,
        "Pad": late_pad,
        "ConstantOfShape": late_constant_of_shape,
        "TopK": late_top_k,
        "OneHot": late_one_hot,
        "Expand": late_expand,
    }
    for name, rule in rules.items():
        op = lookup("", name)
        assert op is not None, name
        op.late(rule)
    _pass_on_anything()
    for name in _STRINGS:
        op = lookup("", name)
        assert op is not None, name
        op.host()


def _pass_on_anything() -> None:
    """Identity also takes sequences and optional values."""
    identity = lookup("", "Identity")
    assert identity is not None and identity.infer_rule is not None
    tensors = identity.infer_rule

    def infer(node: NodeView) -> Sequence[ValueType]:
        t = node.value_type(0)
        return tensors(node) if isinstance(t, TensorType) and t.shape is not None else [t]

    identity.host().infer(infer)
