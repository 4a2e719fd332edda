"""Operators whose output sizes only the data tells: NonZero, Compress, Unique, NonMaxSuppression.

ONNX operators NonZero-13, Compress-11, Unique-11, NonMaxSuppression-11; MagicMind's NonMaxSuppression.
"""

from __future__ import annotations

import onnx_ir

from magicmind.errors import ShapeError, UnsupportedOperatorError
from magicmind.ir.types import TensorType
from magicmind.ops.fused import DOMAIN
from magicmind.ops.registry import NodeView, Op, normalise_axis
from magicmind.ops.shapes import need_rank, same_dim

_INT32, _INT64 = onnx_ir.DataType.INT32, onnx_ir.DataType.INT64

non_zero = Op("NonZero").host()
compress = Op("Compress").host()
unique = Op("Unique").host()
non_max_suppression = Op("NonMaxSuppression").host()
own_non_max_suppression = Op("NonMaxSuppression", DOMAIN).host()


@non_zero.infer
def infer_non_zero(node: NodeView) -> list[TensorType]:
    """[rank, count]."""
    return [TensorType(_INT64, (node.input(0).rank, node.unknown(0, 1)))]


@compress.infer
def infer_compress(node: NodeView) -> list[TensorType]:
    """The input with an unforeseen size along `axis`; a vector without one."""
    x = node.input(0)
    axis = node.attr("axis")
    if axis is None:
        return [TensorType(x.dtype, (node.unknown(0),))]
    axis = normalise_axis(axis, x.rank)
    return [TensorType(x.dtype, tuple(node.unknown(0, i) if i == axis else d for i, d in enumerate(x.dims)))]


@unique.infer
def infer_unique(node: NodeView) -> list[TensorType]:
    """The distinct slices (elements, without `axis`), first places, numbers and counts."""
    x = node.input(0)
    axis, count = node.attr("axis"), node.unknown(0)
    if axis is None:
        return [TensorType(x.dtype, (count,)), *(TensorType(_INT64, (d,)) for d in (count, x.size, count))]
    axis = normalise_axis(axis, x.rank)
    values = tuple(count if i == axis else d for i, d in enumerate(x.dims))
    return [TensorType(x.dtype, values), *(TensorType(_INT64, (d,)) for d in (count, x.dims[axis], count))]


@non_max_suppression.infer
def infer_non_max_suppression(node: NodeView) -> list[TensorType]:
    """[selected, 3]."""
    need_rank(node.input(0), 3, 3, "boxes")
    need_rank(node.input(1), 3, 3, "scores")
    return [TensorType(_INT64, (node.unknown(0), 3))]


@own_non_max_suppression.infer
def infer_own_non_max_suppression(node: NodeView) -> list[TensorType]:
    """What MagicMind's graph API builds: int32 selected, and how many they are.

    Inputs: boxes, scores, max_output_size, iou_threshold?, score_threshold?. Boxes [n, 4] with scores [n] give
    [selected] boxes (TensorFlow's semantics), boxes [N, n, 4] with scores [N, classes, n] give [selected, 3] rows of
    image, class and box (ONNX's). Attributes:
      input_layout: 1 when boxes are [.., 4, n]
      boxes_coordinate_format: 0 two corners, 1 centre, width and height
      pad_to_max_output_size: 1 for max_output_size boxes, zeros after the last; for one image only
      output_mode: only OUTPUT_TARGET_INDICES (0) has public semantics
    """
    boxes, scores = need_rank(node.input(0), 2, 3, "boxes"), need_rank(node.input(1), 1, 3, "scores")
    if (boxes.rank, scores.rank) not in ((2, 1), (3, 3)):
        raise ShapeError(f"boxes {boxes} with scores {scores}; [n, 4] with [n], or [N, n, 4] with [N, classes, n] fit")
    if node.attr("output_mode", 0) != 0:
        raise UnsupportedOperatorError(
            f"output_mode {node.attr('output_mode')}; only 0, OUTPUT_TARGET_INDICES, is known"
        )
    corners, count = boxes.dims[-2:] if node.attr("input_layout", 0) else boxes.dims[:-3:-1]
    same_dim(count, scores.dims[-1], "boxes and scores")
    if corners != 4:
        raise ShapeError(f"boxes {boxes} with input_layout {node.attr('input_layout', 0)} have {corners} coordinates")
    selected = (node.unknown(0),) if scores.rank == 1 else (node.unknown(0), 3)
    if node.attr("pad_to_max_output_size", 0):
        if scores.rank != 1:
            raise UnsupportedOperatorError("pad_to_max_output_size for several classes has no public semantics")
        selected = (node.need_ints(2, "max_output_size")[0],)
    return [TensorType(_INT32, selected), TensorType(_INT32, ())][: node.num_outputs]
