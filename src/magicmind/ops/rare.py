"""Operators that networks hardly use: Det-22, ImageDecoder-20, MaxRoiPool-22. They are host steps."""

from __future__ import annotations

import onnx_ir

from magicmind.errors import ModelFormatError
from magicmind.ir.types import TensorType
from magicmind.ops.registry import NodeView, Op
from magicmind.ops.shapes import need_rank, same_dim

det = Op("Det").host()
image_decoder = Op("ImageDecoder").host()
max_roi_pool = Op("MaxRoiPool").host()


@det.infer
def infer_det(node: NodeView) -> list[TensorType]:
    """One number for each square matrix in the last two dims."""
    x = need_rank(node.input(0), 2)
    same_dim(x.dims[-1], x.dims[-2], "determinant of a matrix")
    return [TensorType(x.dtype, x.dims[:-2])]


@image_decoder.infer
def infer_image_decoder(node: NodeView) -> list[TensorType]:
    """[height, width, channels] of bytes."""
    channels = 1 if node.attr("pixel_format", "RGB") == "Grayscale" else 3
    return [TensorType(onnx_ir.DataType.UINT8, (node.unknown(0, 0), node.unknown(0, 1), channels))]


@max_roi_pool.infer
def infer_max_roi_pool(node: NodeView) -> list[TensorType]:
    """X [N, C, H, W] and regions [R, 5] to [R, C, pooled_shape...]."""
    x, regions = need_rank(node.input(0), 4, 4), need_rank(node.input(1), 2, 2, what="the regions")
    shape = node.ints_attr("pooled_shape")
    if shape is None or len(shape) != 2:
        raise ModelFormatError(f"attribute 'pooled_shape' is {shape}; two numbers are needed")
    return [TensorType(x.dtype, (regions.dims[0], x.dims[1], *shape))]
