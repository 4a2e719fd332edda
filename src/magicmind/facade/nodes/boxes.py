"""Nodes that end detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.facade.enums import Layout
from magicmind.facade.nodes.row import Call, Emitter, Row, Value, graph_type, plain
from magicmind.facade.status import Code, Refused


def _attributes(c: Call) -> dict[str, Any]:
    """What was set, enumerations by name; what has no default and was not set is left out."""
    said = {name: plain(value) for name, value in c.settings.items() if value is not None}
    said.pop("batch_size", None)  # the maps have it
    return said


def _detection_output(e: Emitter, c: Call) -> Any:
    floats = ("confidence_thresh", "nms_thresh", "scale", "diou_power_exp")
    found = _attributes(c)
    found |= {name: float(found[name]) for name in floats if name in found}
    if "aspect_ratios" in found:
        found["aspect_ratios"] = [float(v) for v in np.ravel(found["aspect_ratios"])]
    return e.ops("DetectionOutput", c["bias"], *c["features"], count=2, domain="magicmind", **found)


_MODES = {
    "OUTPUT_TARGET_INDICES": 0, "OUTPUT_TARGET_CONFIDENCE_AND_POS_1": 1, "OUTPUT_TARGET_CONFIDENCE_AND_POS_2": 2,
    "OUTPUT_TARGET_BATCH_AND_CLASS": 3,
}  # fmt: skip
"""What a suppression delivers, as mlu-ops documents its modes."""


def _nms(e: Emitter, c: Call) -> Any:
    """The indices of boxes; or rows of their scores and corners, the same by columns; or (image, class, box).

    What has no known meaning is passed on, and refused by the operator.
    """
    limits = [e.op("Unsqueeze", c.scalar(n), e.ints(0)) for n in ("iou_threshold", "score_threshold")]
    turned = _choice(c, "input_layout", "NONE", "1")
    centres = _choice(c, "boxes_coorinate_format", "CORNER", "CENTER")
    found, count = e.ops(
        "NonMaxSuppression", c["boxes"], c["scores"], c.i64("max_output_size"), *limits, count=2, domain="magicmind",
        input_layout=turned, boxes_coordinate_format=centres,
        pad_to_max_output_size=int(bool(c.settings["pad_to_max_output_size"])), output_mode=0,
    )  # fmt: skip
    given = str(plain(c.settings["output_mode"])).upper()
    mode = _MODES.get(given, int(given) if given in "0123" else -1)
    if mode < 0:
        raise Refused(f"set_output_mode({given}) has no public meaning", Code.UNIMPLEMENTED)
    if mode == 0:
        return [found, count]
    rows = e.cast(_places(e, found), graph_type("INT64"))
    if mode == 3:
        made = e.cast(rows, graph_type("INT32"))
        return [_counted(e, made, count), count]
    boxes, scores = c["boxes"], c["scores"]
    if e.rank(scores) == 1:
        boxes, scores = e.unsqueeze(boxes, 0), e.unsqueeze(scores, 0, 1)
    boxes = e.op("Transpose", boxes, perm=[0, 2, 1]) if turned else boxes
    chosen = e.op("GatherND", boxes, e.op("Gather", rows, e.ints(0, 2), axis=1))
    table = e.op("Concat", e.unsqueeze(e.op("GatherND", scores, rows), 1), _corners(e, chosen, centres), axis=1)
    table = _counted(e, table, count)
    return [e.op("Transpose", table, perm=[1, 0]) if mode == 2 else table, count]


def _places(e: Emitter, found: Value) -> Value:
    """Rows (image, class, box) of what was found."""
    if e.rank(found) == 2:
        return found
    box = e.unsqueeze(found, 1)
    zeros = e.op("Sub", box, box)
    return e.op("Concat", zeros, zeros, box, axis=1)


def _corners(e: Emitter, boxes: Value, centres: int) -> Value:
    """(left, top, right, bottom)."""
    if not centres:
        return boxes
    middle, size = e.slice(boxes, 1, 0, 2), e.slice(boxes, 1, 2, 4)
    half = e.op("Mul", size, e.scalar(0.5, size))
    return e.op("Concat", e.op("Sub", middle, half), e.op("Add", middle, half), axis=1)


def _counted(e: Emitter, table: Value, count: Value) -> Value:
    """Zeros in the rows that only fill the table up."""
    number = e.unsqueeze(e.count_up(e.dim(table, 0)), 1)
    return e.op("Where", e.op("Less", number, e.cast(count, graph_type("INT64"))), table, e.scalar(0, table))


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
        "batch_size",
    ]
)


ROWS: Sequence[Row] = (
    Row("non_max_suppression", "boxes scores .max_output_size iou_threshold score_threshold", _nms, {
        "input_layout": Layout.NONE, "boxes_coorinate_format": "CORNER", "pad_to_max_output_size": False,
        "output_mode": "OUTPUT_TARGET_INDICES",
    }, results=2),
    Row("detection_output", "features* bias", _detection_output, _DETECTION, results=2),
)  # fmt: skip
