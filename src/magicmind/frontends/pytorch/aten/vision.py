"""torchvision's own operators: suppression of boxes, regions, deformable convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir

from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ops.emitter import Value


@aten("torchvision::nms")
def nms(c: Converter, boxes: Tensor, scores: Tensor, threshold: float) -> Value:
    """Positions of the boxes kept, best first.  boxes [N, 4], scores [N]."""
    value = c.value(boxes)
    most = c.net.dim(value, 0)
    limit = c.net.const([threshold], np.float32)
    found = c.net.op(
        "NonMaxSuppression", c.net.unsqueeze(value, 0), c.net.unsqueeze(c.value(scores), 0, 1), most, limit
    )
    return c.net.squeeze(c.net.slice(found, 1, 2, 3), 1)


def _regions(c: Converter, rois: Tensor) -> tuple[Value, Value]:
    """(boxes [K, 4], image of each [K]) of rois [K, 5]."""
    value = c.value(rois)
    image = c.net.squeeze(c.net.slice(value, 1, 0, 1), 1)
    return c.net.slice(value, 1, 1, 5), c.net.cast(image, onnx_ir.DataType.INT64)


@aten("torchvision::roi_align")
def roi_align(
    c: Converter, x: Tensor, rois: Tensor, scale: float, height: int, width: int, samples: int, aligned: bool
) -> Value:
    boxes, image = _regions(c, rois)
    return c.net.op(
        "RoiAlign", c.value(x), boxes, image, output_height=height, output_width=width, spatial_scale=float(scale),
        sampling_ratio=max(samples, 0), mode="avg",
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
    )  # fmt: skip


@aten("torchvision::roi_pool")
def roi_pool(c: Converter, x: Tensor, rois: Tensor, scale: float, height: int, width: int) -> Any:
    pooled = c.net.op("MaxRoiPool", c.value(x), c.value(rois), pooled_shape=[height, width], spatial_scale=float(scale))
    return pooled, pooled  # nobody reads the positions at inference


@aten("torchvision::deform_conv2d")
def deform_conv2d(
    c: Converter, x: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, *settings: Any
) -> Value:
    """settings: strides, paddings and dilations by height and width, groups, groups of offsets, use_mask."""
    *sizes, groups, offset_groups, use_mask = settings
    stride, pad, dilation = list(sizes[:2]), list(sizes[2:4]), list(sizes[4:])
    inputs = [c.value(t) for t in (x, weight, offset, bias, *([mask] if use_mask else []))]
    return c.net.op(
        "DeformConv", *inputs, strides=stride, pads=pad * 2, dilations=dilation, group=groups,
        offset_group=offset_groups,
    )  # fmt: skip
