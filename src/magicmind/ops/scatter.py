"""ScatterND, ScatterElements (and Scatter, its old name): writing by index.  ONNX operators of opset 18."""

from __future__ import annotations

import onnx_ir

from magicmind.codegen.values import ITEMSIZE
from magicmind.errors import ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.ir.dims import product
from magicmind.ir.types import TensorType
from magicmind.kernels.move import BY_SIZE
from magicmind.kernels.scatter import ScatterElements, ScatterRows
from magicmind.lower.lowering import Lowering
from magicmind.lower.plan import Ref
from magicmind.ops.copying import Axis, call_copy
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.registry import NodeView, Op, normalise_axis
from magicmind.ops.shapes import need_rank, need_same_dtype, need_within, same_dims

scatter_nd = Op("ScatterND")
scatter_elements = Op("ScatterElements")
scatter = Op("Scatter")

REDUCTIONS = ("none", "add", "mul", "max", "min")


def reduction_of(node: NodeView) -> str:
    """The attribute `reduction`."""
    found = node.attr("reduction", "none")
    if found not in REDUCTIONS:
        raise ModelFormatError(f"attribute 'reduction' is {found!r}", hint=", ".join(REDUCTIONS))
    return found


@scatter_nd.infer
def infer_nd(node: NodeView) -> list[TensorType]:
    """Typed like the data; indices [..., K] name places along the first K axes."""
    data, indices, updates = node.input(0), need_rank(node.input(1), 1, what="indices"), node.input(2)
    need_same_dtype(data, updates)
    depth = indices.dims[-1]
    if not isinstance(depth, int) or depth > data.rank:
        raise ShapeError(f"indices name places along {depth} axes of data of rank {data.rank}")
    rank = indices.rank - 1 + data.rank - depth
    need_rank(updates, rank, rank, what="updates")
    same_dims(updates.dims, (*indices.dims[:-1], *data.dims[depth:]), "updates against the places they go to")
    reduction_of(node)
    return [data]


@scatter_elements.infer
def infer_elements(node: NodeView) -> list[TensorType]:
    """Typed like the data; indices and updates have its rank."""
    data, indices, updates = node.input(0), node.input(1), node.input(2)
    need_same_dtype(data, updates)
    axis = node.axis(0, data.rank)
    need_within(need_rank(indices, data.rank, data.rank, what="indices"), data, axis)
    need_rank(updates, data.rank, data.rank, what="updates")
    same_dims(updates.dims, indices.dims, "updates against indices")
    reduction_of(node)
    return [data]


@scatter.expand
def expand_scatter(e: Expansion) -> list[Value]:
    """The same under its new name."""
    return [e.op("ScatterElements", e.input(0), e.input(1), e.input(2), axis=e.view.attr("axis", 0))]


def _begin(low: Lowering, node: onnx_ir.Node) -> tuple[str, str, list[Ref]]:
    """Copies the data to the output. Returns element type, index type, and the refs of the scatter kernel."""
    data, indices, updates = node.inputs
    out = node.outputs[0]
    assert data is not None and indices is not None and updates is not None
    if low.dtype(indices) not in ("i32", "i64"):
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: indices must be int32 or int64")
    refs = [low.ref(indices), low.ref(updates)]
    if low.overlap(data, indices) or low.overlap(data, updates) or not low.reuse(out, data):
        call_copy(low, node, [Axis(product(low.shape(data)), 1, 1)], low.ref(data), low.ref(out), low.dtype(out))
    moved = reduction_of(NodeView(node)) == "none"
    dtype = low.dtype(out)
    return BY_SIZE[ITEMSIZE[dtype]] if moved else dtype, low.dtype(indices), [*refs, low.ref(out)]


@scatter_nd.lower
def lower_nd(low: Lowering, node: onnx_ir.Node) -> None:
    indices, out = node.inputs[1], node.outputs[0]
    assert indices is not None
    dtype, index_dtype, refs = _begin(low, node)
    picks, shape = low.shape(indices), low.shape(out)
    depth = picks[-1]
    assert isinstance(depth, int)
    p = low.params()
    spec = ScatterRows(
        reduction_of(NodeView(node)),
        p.size(product(picks[:-1])),
        tuple(p.size(d) for d in shape[:depth]),
        p.size(product(shape[depth:])),
        dtype,
        index_dtype,
    )
    low.call(node, spec, refs, p, bytes=low.nbytes(indices) + 2 * low.nbytes(out))


@scatter_elements.lower
def lower_elements(low: Lowering, node: onnx_ir.Node) -> None:
    indices, out = node.inputs[1], node.outputs[0]
    assert indices is not None
    dtype, index_dtype, refs = _begin(low, node)
    shape, view = low.shape(out), NodeView(node)
    p = low.params()
    spec = ScatterElements(
        reduction_of(view),
        normalise_axis(view.attr("axis", 0), len(shape)),
        tuple(p.size(d) for d in shape),
        tuple(p.size(d) for d in low.shape(indices)),
        dtype,
        index_dtype,
    )
    low.call(node, spec, refs, p, bytes=low.nbytes(indices) + 2 * low.nbytes(out))
