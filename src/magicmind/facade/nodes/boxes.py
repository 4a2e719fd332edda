"""Nodes that end detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.facade.enums import Layout
from magicmind.facade.nodes.row import Call, Emitter, Row, plain
from magicmind.facade.status import Code, Refused


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


def _nms(e: Emitter, c: Call) -> Any:
    """What has no known meaning is passed on, and refused by the operator."""
    limits = [e.op("Unsqueeze", c.scalar(n), e.ints(0)) for n in ("iou_threshold", "score_threshold")]
    return e.ops(
        "NonMaxSuppression", c["boxes"], c["scores"], c.i64("max_output_size"), *limits, count=2, domain="magicmind",
        input_layout=_choice(c, "input_layout", "NONE", "1"),
        boxes_coordinate_format=_choice(c, "boxes_coorinate_format", "CORNER", "CENTER"),
        pad_to_max_output_size=int(bool(c.settings["pad_to_max_output_size"])),
        output_mode=_choice(c, "output_mode", "OUTPUT_TARGET_INDICES", "-"),
    )  # fmt: skip


def _choice(c: Call, setting: str, zero: str, one: str) -> int:
    """0 or 1 for a member of an enumeration, its name or its number.  Raises Refused for others."""
    given = str(plain(c.settings[setting])).upper()
    if given.startswith((zero, "0", "ARRAY")) or given == "FALSE":
        return 0
    if given.startswith((one, "1")):
        return 1
    raise Refused(f"set_{setting}({c.settings[setting]!r}) has no public meaning", Code.UNIMPLEMENTED)


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
    }, results=2),
    Row("detection_output", "features* bias", _detection_output, _DETECTION, results=2),
)  # fmt: skip
