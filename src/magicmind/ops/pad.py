"""Pad: constant, reflect, edge or wrap padding; negative pads crop.  ONNX operator Pad-21."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir

from magicmind.errors import ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.ir.dims import Dim
from magicmind.ir.types import Shape, TensorType
from magicmind.ops.registry import Array, NodeView, Op, normalise_axis
from magicmind.ops.shapes import need_same_dtype

pad = Op("Pad").half()


def pads_of(node: NodeView) -> tuple[Shape, Shape]:
    """(before, after) for every axis of the input.

    Raises UnsupportedOperatorError when they depend on run-time data, ShapeError when malformed.
    """
    rank = node.input(0).rank
    pads = node.dims(1)
    if pads is None:
        raise UnsupportedOperatorError("pads (input 1) depend on run-time data; they must follow from shapes")
    axes = [normalise_axis(a, rank) for a in node.need_ints(3, "axes")] if node.has(3) else list(range(rank))
    if len(pads) != 2 * len(axes):
        raise ShapeError(f"{len(pads)} pads for {len(axes)} axes; two per axis are needed")
    before: list[Dim] = [0] * rank
    after: list[Dim] = [0] * rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = pads[i], pads[len(axes) + i]
    return tuple(before), tuple(after)


@pad.infer
def infer(node: NodeView) -> list[TensorType]:
    """Every dim grows by its two pads."""
    x = node.input(0)
    mode = node.attr("mode", "constant")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise ModelFormatError(f"attribute 'mode' is {mode!r}", hint="constant, reflect, edge or wrap")
    if node.has(2):
        need_same_dtype(x, node.input(2))
    before, after = pads_of(node)
    shape = tuple(d + b + a for d, b, a in zip(x.dims, before, after, strict=True))
    if any(isinstance(d, int) and d < 0 for d in shape):
        raise ShapeError(f"negative pads {before} and {after} crop more than there is")
    return [TensorType(x.dtype, shape)]


@pad.reference
def reference(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """numpy's padding of what negative pads leave; onnx's evaluator refuses those."""
    x, pads = np.asarray(arrays[0]), np.asarray(arrays[1])
    given = arrays[3] if len(arrays) > 3 else None
    axes = range(x.ndim) if given is None else [normalise_axis(int(a), x.ndim) for a in given]
    around = np.zeros((x.ndim, 2), np.int64)
    for i, axis in enumerate(axes):
        around[axis] = pads[i], pads[len(axes) + i]
    mode: Any = NodeView(node).attr("mode", "constant")
    options: dict[str, Any] = {}
    if mode == "constant" and len(arrays) > 2 and arrays[2] is not None:
        options["constant_values"] = arrays[2].item()
    cropped = x[tuple(slice(max(-b, 0), n - max(-a, 0)) for n, (b, a) in zip(x.shape, around, strict=True))]
    return [np.pad(cropped, np.maximum(around, 0), mode=mode, **options)]
