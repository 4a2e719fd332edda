"""Nodes that end detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.facade.enums import Layout
from magicmind.facade.nodes.row import Call, Emitter, Row, Value, plain


def _attributes(c: Call) -> dict[str, Any]:
    """What was set, enumerations by name; what has no default and was not set is left out."""
    return {name: plain(value) for name, value in c.settings.items() if value is not None}


def _detection_output(e: Emitter, c: Call) -> Any:
    floats = ("confidence_thresh", "nms_thresh", "scale", "diou_power_exp")
    found = _attributes(c)
    found |= {name: float(found[name]) for name in floats if name in found}
    if "aspect_ratios" in found:
        found["aspect_ratios"] = [float(v) for v in np.ravel(found["aspect_ratios"])]
    return e.ops("DetectionOutput", c["bias"], *c["features"], count=2, domain="magicmind", **found)


def _nms(e: Emitter, c: Call) -> Value:
    limits = [e.op("Unsqueeze", c.scalar(n), e.ints(0)) for n in ("iou_threshold", "score_threshold")]
    centres = str(plain(c.settings["boxes_coorinate_format"])).upper().startswith("CENTER")
    return e.op(
        "NonMaxSuppression", c["boxes"], c["scores"], c.i64("max_output_size"), *limits, center_point_box=int(centres)
    )  # fmt: skip


_DETECTION = dict.fromkeys(
    [
        "layout",
        "algo",
        "confidence_thresh",
        "nms_thresh",
        "scale",
        "num_coord",
        "num_class",
        "num_entry",
        "num_anchor",
        "num_box_limit",
        "image_shape",
        "aspect_ratios",
        "nms_type",
        "diou_power_exp",
        "code_type",
        "variance_encoded",
        "share_location",
        "background",
        "objectness",
    ]
)


ROWS: Sequence[Row] = (
    Row("non_max_suppression", "boxes scores .max_output_size iou_threshold score_threshold", _nms, {
        "input_layout": Layout.NONE, "boxes_coorinate_format": "CORNER", "pad_to_max_output_size": False,
        "output_mode": "OUTPUT_TARGET_INDICES",
    }),
    Row("detection_output", "features* bias", _detection_output, _DETECTION, results=2),
)  # fmt: skip
