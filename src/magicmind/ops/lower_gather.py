"""Lowering of the operators that read by index."""

from __future__ import annotations

import onnx_ir as ir

from magicmind.codegen.values import ITEMSIZE
from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.attributes import attribute
from magicmind.ir.dims import Dim, product
from magicmind.kernels.gather import GatherElements, Lookup
from magicmind.kernels.move import BY_SIZE
from magicmind.lower.lowering import Lowering
from magicmind.ops import gather
from magicmind.ops.copying import Axis
from magicmind.ops.lower_move import place
from magicmind.ops.registry import normalise_axis


def _operands(low: Lowering, node: ir.Node) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Data, indices, output. Raises UnsupportedOperatorError for indices that are no int32 or int64."""
    data, indices = node.inputs[0], node.inputs[1]
    assert data is not None and indices is not None
    if low.dtype(indices) not in ("i32", "i64"):
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: indices must be int32 or int64")
    return data, indices, node.outputs[0]


def _lookup(low: Lowering, node: ir.Node, batch: Dim, count: Dim, sizes: list[Dim], inner: Dim, shared: bool) -> None:
    data, indices, out = _operands(low, node)
    p = low.params()
    spec = Lookup(
        p.size(batch),
        p.size(count),
        tuple(p.size(s) for s in sizes),
        p.size(inner),
        shared,
        BY_SIZE[ITEMSIZE[low.dtype(data)]],
        low.dtype(indices),
    )
    refs = [low.ref(data), low.ref(indices), low.ref(out)]
    low.call(node, spec, refs, p, bytes=2 * low.nbytes(out) + low.nbytes(indices))


@gather.gather.lower
def lower_gather(low: Lowering, node: ir.Node) -> None:
    """One constant index of the outermost axis is a view."""
    data, indices, out = _operands(low, node)
    shape = low.shape(data)
    axis = normalise_axis(int(attribute(node, "axis", 0)), len(shape))
    outer, inner = product(shape[:axis]), product(shape[axis + 1 :])
    known, size = low.const(indices), shape[axis]
    if known is not None and known.size == 1 and isinstance(size, int) and -size <= known.item() < size:
        first = low.ref(data).offset_bytes(int(known.item()) % size * inner * ITEMSIZE[low.dtype(data)])
        place(low, node, [Axis(outer, size * inner, inner), Axis(inner, 1, 1)], first, out)
        return
    _lookup(low, node, outer, product(low.shape(indices)), [size], inner, True)


@gather.gather_nd.lower
def lower_gather_nd(low: Lowering, node: ir.Node) -> None:
    data, indices, _ = _operands(low, node)
    shape, picks = low.shape(data), low.shape(indices)
    b, depth = int(attribute(node, "batch_dims", 0)), picks[-1]
    assert isinstance(depth, int)
    sizes, inner = list(shape[b : b + depth]), product(shape[b + depth :])
    _lookup(low, node, product(shape[:b]), product(picks[b:-1]), sizes, inner, False)


@gather.gather_elements.lower
def lower_gather_elements(low: Lowering, node: ir.Node) -> None:
    data, indices, out = _operands(low, node)
    p = low.params()
    shape = low.shape(data)
    spec = GatherElements(
        normalise_axis(int(attribute(node, "axis", 0)), len(shape)),
        tuple(p.size(d) for d in shape),
        tuple(p.size(d) for d in low.shape(indices)),
        BY_SIZE[ITEMSIZE[low.dtype(data)]],
        low.dtype(indices),
    )
    refs = [low.ref(data), low.ref(indices), low.ref(out)]
    low.call(node, spec, refs, p, bytes=2 * low.nbytes(out) + low.nbytes(indices))
