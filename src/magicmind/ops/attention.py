"""magicmind.Attention: softmax(scale Q K^T + mask) V without the scores in memory.

Inputs Q, K, V and a mask that broadcasts to the scores, the size of its last axis included: float numbers are added,
where a bool is false the score becomes `fill` (-inf). `layouts` gives for Q, K, V and the result one letter per axis:
b (batch), h (head), s (position), d (column); a digit is the one index taken of that axis. Fewer heads of K and V are
shared by as many of Q each. `causal`: 1, query i sees keys up to i; 2, the last query sees the last key. A query that
sees nothing gives NaN as Softmax does, or zeros where `zero_masked` is set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
import onnx_ir as ir

from magicmind.codegen.values import ITEMSIZE
from magicmind.errors import ModelFormatError, ShapeError
from magicmind.ir.dims import Dim, product
from magicmind.ir.types import TensorType
from magicmind.kernels.attention import Attention, Mask, View, choose_chunks, scratch_bytes
from magicmind.lower.lowering import Lowering
from magicmind.lower.plan import Params
from magicmind.ops.registry import Array, NodeView, Op
from magicmind.ops.shapes import same_dim

attention = Op("Attention", "magicmind").half(0, 1, 2)

NO_MASK, FROM_FIRST, TO_LAST = range(3)
"""Values of `causal`."""


@dataclass
class Operand:
    """Sizes and strides (in elements) of the axes b, h, s, d of an operand, and the offset of its first element."""

    sizes: dict[str, Dim] = field(default_factory=lambda: dict.fromkeys("bhsd", 1))
    strides: dict[str, Dim] = field(default_factory=lambda: dict.fromkeys("bhsd", 0))
    offset: Dim = 0

    @classmethod
    def of(cls, layout: str, shape: Sequence[Dim]) -> Operand:
        """Raises ModelFormatError where the layout does not fit the shape."""
        letters = [axis for axis in layout if not axis.isdigit()]
        if len(layout) != len(shape) or len(set(letters)) != len(letters) or not set(letters) <= set("bhsd"):
            raise ModelFormatError(f"layout {layout!r} does not fit a tensor of rank {len(shape)}")
        result = cls()
        for i, (axis, size) in enumerate(zip(layout, shape, strict=True)):
            stride = product(shape[i + 1 :])
            if axis.isdigit():
                result.offset = result.offset + stride * int(axis)
            else:
                result.sizes[axis], result.strides[axis] = size, stride
        return result

    def view(self, p: Params) -> View:
        """Strides for the kernel: none along a batch of one."""
        batch = 0 if self.sizes["b"] == 1 else self.strides["b"]
        return View(*(p.size(x) for x in (batch, self.strides["h"], self.strides["s"], self.strides["d"])))


def layouts_of(node: NodeView) -> list[str]:
    """The four layouts. Raises ModelFormatError where there are not four."""
    layouts = list(node.attr("layouts", ["bhsd"] * 4))
    if len(layouts) != 4:
        raise ModelFormatError(f"attribute 'layouts' is {layouts}; expected four: Q, K, V and the result")
    return layouts


def operands_of(node: NodeView) -> tuple[Operand, Operand, Operand]:
    """Q, K and V."""
    q, k, v = (Operand.of(layout, node.shape(i)) for i, layout in enumerate(layouts_of(node)[:3]))
    return q, k, v


@attention.infer
def infer(node: NodeView) -> list[TensorType]:
    """Batch, heads and positions of Q, columns of V, in the order of the last layout.

    Raises ShapeError where sizes disagree, MustEqual where they might.
    """
    q, k, v = operands_of(node)
    if _shares(q, k) is None:
        raise ShapeError(f"{q.sizes['h']} heads of queries cannot share {k.sizes['h']} heads of keys")
    same_dim(q.sizes["d"], k.sizes["d"], "columns of queries and keys")
    same_dim(k.sizes["s"], v.sizes["s"], "positions of keys and values")
    same_dim(k.sizes["h"], v.sizes["h"], "heads of keys and values")
    for x in (k, v):
        if x.sizes["b"] != 1:
            same_dim(x.sizes["b"], q.sizes["b"], "batches of queries, keys and values")
    if node.has(3):
        mask, scores = node.shape(3), _scores(q, k)
        fitting = len(mask) <= 4 and all(m in (1, n) for m, n in zip(mask[::-1], scores[::-1], strict=False))
        if not fitting or mask[-1:] != scores[-1:]:
            raise ShapeError(f"the mask {node.input(3)} does not fit scores of {scores}")
    sizes = q.sizes | {"d": v.sizes["d"]}
    return [TensorType(node.input(0).dtype, tuple(sizes[axis] for axis in layouts_of(node)[3]))]


def _scores(q: Operand, k: Operand) -> tuple[Dim, ...]:
    return (q.sizes["b"], q.sizes["h"], q.sizes["s"], k.sizes["s"])


def _shares(q: Operand, k: Operand) -> Dim | None:
    """How many heads of Q share one of K; None where that is no whole number."""
    of_q, of_k = q.sizes["h"], k.sizes["h"]
    if isinstance(of_q, int) and isinstance(of_k, int):
        return of_q // of_k if of_k and of_q % of_k == 0 else (1 if of_q == 0 else None)
    return 1 if of_q == of_k else of_q if of_k == 1 else of_q // of_k


@attention.reference
def reference(node: ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """Products and a softmax, one after the other."""
    view = NodeView(node)
    layouts = layouts_of(view)
    q, k, v = (_plain(np.asarray(x), layout) for x, layout in zip(arrays[:3], layouts[:3], strict=True))
    k, v = (np.repeat(x, q.shape[1] // x.shape[1], 1) if x.shape[1] else x for x in (k, v))
    scores = q @ k.swapaxes(-1, -2) * q.dtype.type(view.attr("scale", 1.0))
    mask = arrays[3] if len(arrays) > 3 else None
    if mask is not None:
        fill = scores.dtype.type(view.attr("fill", -inf))
        scores = np.where(mask, scores, fill) if mask.dtype == bool else scores + mask
    causal = view.attr("causal", NO_MASK)
    if causal:
        shift = 0 if causal == FROM_FIRST else scores.shape[-1] - scores.shape[-2]
        seen = np.tri(scores.shape[-2], scores.shape[-1], shift, dtype=bool)
        scores = np.where(seen, scores, scores.dtype.type(-inf))
    peak = scores.max(-1, keepdims=True, initial=-inf)
    e = np.exp(scores - np.where(np.isneginf(peak), 0, peak)).astype(scores.dtype)
    with np.errstate(invalid="ignore"):
        p = e / e.sum(-1, keepdims=True)
    if view.attr("zero_masked", 0):
        p = np.where(np.isneginf(peak), scores.dtype.type(0), p)
    letters = layouts[3]
    missing = tuple(i for i, axis in enumerate("bhsd") if axis not in letters)
    kept = [axis for axis in "bhsd" if axis in letters]
    return [np.squeeze(p @ v, missing).transpose([kept.index(axis) for axis in letters])]


def _plain(x: Array, layout: str) -> Array:
    """[batch, head, position, column]."""
    x = x[tuple(int(axis) if axis.isdigit() else slice(None) for axis in layout)]
    letters = [axis for axis in layout if not axis.isdigit()]
    x = x.transpose([letters.index(axis) for axis in "bhsd" if axis in letters])
    return np.expand_dims(x, tuple(i for i, axis in enumerate("bhsd") if axis not in letters))


@attention.lower
def lower(low: Lowering, node: ir.Node) -> None:
    """One call; the operands' orders are strides."""
    view, out = NodeView(node), node.outputs[0]
    q, k, v = operands_of(view)
    result = Operand.of(layouts_of(view)[3], low.shape(out))
    p = low.params()
    batch, heads, queries, keys = _scores(q, k)
    depth, width, group = q.sizes["d"], v.sizes["d"], _shares(q, k)
    assert group is not None
    causal = {NO_MASK: None, FROM_FIRST: 0, TO_LAST: keys - queries}[view.attr("causal", NO_MASK)]
    chunks = choose_chunks(keys)
    spec = Attention(
        batch=p.size(batch),
        heads=p.size(heads),
        queries=p.size(queries),
        keys=p.size(keys),
        depth=p.size(depth),
        width=p.size(width),
        q=q.view(p),
        k=k.view(p),
        v=v.view(p),
        out=result.view(p),
        scale=view.attr("scale", 1.0),
        group=p.size(group),
        mask=_mask(low, view, p),
        causal=None if causal is None else p.size(causal),
        zero_masked=bool(view.attr("zero_masked", 0)),
        chunks=chunks,
        dtype=low.dtype(out),
    )
    values = [value for value in node.inputs if value is not None]
    refs = [low.ref(value) for value in values]
    for i, operand in enumerate((q, k, v)):
        refs[i] = refs[i].offset_bytes(operand.offset * ITEMSIZE[spec.dtype])
    low.call(
        node,
        spec,
        [*refs, low.ref(out)],
        p,
        flops=product((batch, heads, queries, keys)) * (depth + width) * 2,
        bytes=sum(low.nbytes(value) for value in (*values, out)),
        scratch=scratch_bytes(low.target, chunks, depth, keys, width, spec.dtype),
    )


def _mask(low: Lowering, node: NodeView, p: Params) -> Mask | None:
    value = node.value(3)
    if value is None:
        return None
    shape = (1,) * (4 - len(low.shape(value))) + low.shape(value)
    strides = [0 if shape[i] == 1 else product(shape[i + 1 :]) for i in range(3)]
    fill = node.attr("fill", -inf) if low.dtype(value) == "bool" else None
    return Mask(View(*(p.size(stride) for stride in strides)), fill)
