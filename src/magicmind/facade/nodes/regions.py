"""Nodes of detectors in two steps: regions, and what is read of them. A region is (image, left, top, right, bottom)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from magicmind.facade.enums import Layout
from magicmind.facade.nodes.row import Call, Emit, Emitter, Row, Value, graph_type
from magicmind.facade.nodes.windows import as_asked, channels_first
from magicmind.facade.status import Refused


def _proposal(e: Emitter, c: Call) -> Any:
    """Caffe's: of scores [N, 2 A, H, W], changes [N, 4 A, H, W] and images (height, width, zoom) [N, 3] regions [R, 5]
    and their scores [R, 1]."""
    from magicmind.frontends.caffe.anchors import anchors_of

    ratios, scales = ([float(v) for v in c.settings[n]] for n in ("ratio", "scale"))
    anchors = anchors_of(c.setting("base_size", int), ratios, scales)
    scores, changes = (channels_first(e, c, c[n]) for n in ("scores", "changes"))
    return e.ops(
        "Proposal", scores, changes, c["image"], domain="magicmind", count=2,
        anchors=[float(a) for a in anchors.reshape(-1)], stride=c.setting("feat_stride", int),
        min_size=c.setting("min_size", float), nms_before=c.setting("pre_nms_topn", int),
        nms_after=c.setting("post_nms_topn", int), nms_threshold=c.setting("nms_thresh", float),
    )  # fmt: skip


def _pooled(c: Call) -> list[int]:
    if c.settings["pooled_shape"] is None:
        raise Refused("set_pooled_shape(height, width) is missing")
    return c.ints("pooled_shape", 2)


def _region(pool: Emit) -> Emit:
    """Channels as the last axis, unless asked otherwise."""
    return lambda e, c: as_asked(e, c, pool(e, c))


def _roi_pool(e: Emitter, c: Call) -> Value:
    """The maximum in each cell of a grid (Caffe's ROIPooling)."""
    x, scale = channels_first(e, c, c["input"]), c.setting("spatial_scale", float)
    return e.op("MaxRoiPool", x, c["regions"], pooled_shape=_pooled(c), spatial_scale=scale)


def _ps_roi_pool(e: Emitter, c: Call) -> Value:
    """The mean in each cell, every cell of channels of its own (R-FCN's PSROIPooling)."""
    sizes = {name: c.setting(name, int) for name in ("output_dim", "group_size")}
    x, scale = channels_first(e, c, c["input"]), c.setting("spatial_scale", float)
    return e.op("PSRoiPool", x, c["regions"], domain="magicmind", spatial_scale=scale, **sizes)


def _roi_align(e: Emitter, c: Call) -> Value:
    """The mean of samples in each cell (ONNX's RoiAlign, PyTorch's roi_align)."""
    height, width = _pooled(c)
    image = e.cast(e.squeeze(e.slice(c["regions"], 1, 0, 1), 1), graph_type("INT64"))
    return e.op(
        "RoiAlign", channels_first(e, c, c["input"]), e.slice(c["regions"], 1, 1, 5), image,
        output_height=height, output_width=width, sampling_ratio=c.setting("sampling_ratio", int),
        spatial_scale=c.setting("spatial_scale", float),
        coordinate_transformation_mode="half_pixel" if c.setting("aligned", bool) else "output_half_pixel",
    )  # fmt: skip


_POOL = {"pooled_shape": None, "spatial_scale": 1.0, "layout": Layout.NHWC}

ROWS: Sequence[Row] = (
    Row("proposal", "scores changes image", _proposal, {
        "feat_stride": 16, "min_size": 16, "base_size": 16, "ratio": (0.5, 1, 2), "scale": (8, 16, 32),
        "pre_nms_topn": 6000, "post_nms_topn": 300, "nms_thresh": 0.7, "layout": Layout.NHWC,
    }, results=2),
    Row("roi_pool", "input regions", _region(_roi_pool), _POOL),
    Row("roi_align", "input regions", _region(_roi_align), _POOL | {"sampling_ratio": 0, "aligned": False}),
    Row("psroi_pool", "input regions", _region(_ps_roi_pool), {
        "output_dim": 1, "group_size": 1, "spatial_scale": 1.0, "layout": Layout.NHWC,
    }),
)  # fmt: skip
