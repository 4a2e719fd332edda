"""Nodes with windows: convolutions, pooling, resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.facade.enums import Layout
from magicmind.facade.nodes.row import Arguments, Call, Emit, Emitter, Row, Value, plain
from magicmind.facade.status import Refused


def _window(c: Call, axes: int) -> dict[str, Any]:
    """strides, dilations and padding in ONNX's order. Pads are one number, one per axis, or two per axis: the
    beginning and end of the first axis, then of the next."""
    given = [int(v) for v in np.ravel(c.settings["pad"])]
    if len(given) == 2 * axes:
        pads = given[::2] + given[1::2]
    elif len(given) in (1, axes):
        pads = 2 * (given * axes if len(given) == 1 else given)
    else:
        raise Refused(f"set_pad has {len(given)} numbers for {axes} axes")
    mode = plain(c.settings["padding_mode"])
    padding = {"pads": pads} if mode == "EXPLICIT" else {"auto_pad": "SAME_UPPER" if mode == "SAME" else "VALID"}
    return {"strides": c.ints("stride", axes), **padding}


def _first(e: Emitter, value: Value, layout: Any) -> Value:
    """A channels-last tensor as a channels-first one."""
    last = plain(layout) in ("NHWC", "NTC", "NDHWC")
    rank = e.rank(value)
    return e.op("Transpose", value, perm=[0, rank - 1, *range(1, rank - 1)]) if last else value


def _last(e: Emitter, value: Value, layout: Any) -> Value:
    """Back again."""
    last = plain(layout) in ("NHWC", "NTC", "NDHWC")
    return e.op("Transpose", value, perm=[0, *range(2, e.rank(value)), 1]) if last else value


def _layouts(c: Call, count: int) -> list[Any]:
    given = c.settings["layout"]
    listed = given if isinstance(given, list) else [given]
    return [*listed, *[listed[-1]] * count][:count]


def _conv(axes: int, depthwise: bool = False) -> Emit:
    def emit(e: Emitter, c: Call) -> Value:
        reads, weights, writes = _layouts(c, 3)
        x, w = _first(e, c["input"], reads), _first(e, c["filter"], weights)
        group = e.shape(x)[1] if depthwise else c.setting("group", int)
        found = e.op(
            "Conv", x, w, c["bias"], group=group, dilations=c.ints("dilation", axes), **_window(c, axes)
        )  # fmt: skip
        return _last(e, found, writes)

    return emit


def _deconv(axes: int) -> Emit:
    def emit(e: Emitter, c: Call) -> Value:
        reads, weights, writes = _layouts(c, 3)
        x, w = _first(e, c["input"], reads), _first(e, c["filter"], weights)
        shape = None if c["output_shape"] is None else c.numbers("output_shape")[-axes:]
        found = e.op(
            "ConvTranspose", x, w, c["bias"], group=c.setting("group", int), dilations=c.ints("dilation", axes),
            output_shape=shape, **_window(c, axes),
        )  # fmt: skip
        return _last(e, found, writes)

    return emit


def _deform_conv(e: Emitter, c: Call) -> Value:
    attributes = {"group": c.setting("group", int), "offset_group": c.setting("offset_group", int)}
    dilations = c.ints("dilation", 2)
    return e.op(
        "DeformConv", c["input"], c["filter"], c["offset"], c["bias"], c["mask"], dilations=dilations,
        **attributes, **_window(c, 2),
    )  # fmt: skip


def _pool(kind: str, axes: int) -> Emit:
    def emit(e: Emitter, c: Call) -> Any:
        reads, writes = _layouts(c, 2)
        x = _first(e, c["input"], reads)
        attributes: dict[str, Any] = {
            "kernel_shape": c.ints("kernel", axes),
            "ceil_mode": int(c.setting("ceil_mode", bool)),
        }
        if kind == "MaxPool":
            found = e.ops("MaxPool", x, count=2 if c["with_index"] else 1, **attributes, **_window(c, axes))
            return [_last(e, found[0], writes), *found[1:]]
        include = int(c.setting("count_include_pad", bool))
        return _last(e, e.op(kind, x, count_include_pad=include, **attributes, **_window(c, axes)), writes)

    return emit


def _with_index(arguments: Arguments) -> int:
    return 2 if arguments["with_index"] else 1


def _unpool(e: Emitter, c: Call) -> Value:
    attributes = {"kernel_shape": c.ints("kernel", 2), **_window(c, 2)}
    return e.op("MaxUnpool", c["input"], c["index"], **attributes)


_WINDOW = {"stride": 1, "pad": 0, "padding_mode": "EXPLICIT", "layout": Layout.NCHW}
_CONV = _WINDOW | {"dilation": 1, "group": 1}
_POOL = _WINDOW | {"kernel": 2, "stride": 2, "ceil_mode": False}


def _resize(e: Emitter, c: Call) -> Value:
    """To (height, width); `set_mode`, `set_align_corners`, `set_half_pixel_centers` say how."""
    x = _first(e, c["input"], _layouts(c, 1)[0])
    mode = str(plain(c.settings["mode"])).lower()
    corners, half = c.setting("align_corners", bool), c.setting("half_pixel_centers", bool)
    transform = "align_corners" if corners else "half_pixel" if half else "asymmetric"
    size = e.sizes(e.dim(x, 0), e.dim(x, 1), c.i64("output_size"))
    nearest = {"nearest_mode": "round_prefer_floor" if corners or half else "floor"} if mode == "nearest" else {}
    found = e.op("Resize", x, None, None, size, mode=mode, coordinate_transformation_mode=transform, **nearest)
    return _last(e, found, _layouts(c, 1)[0])


ROWS: Sequence[Row] = (
    Row("conv", "input filter bias?", _conv(2), _CONV),
    Row("conv1d", "input filter bias?", _conv(1), _CONV | {"layout": Layout.NCT}),
    Row("conv3d", "input filter bias?", _conv(3), _CONV | {"layout": Layout.NCDHW}),
    Row("conv_depthwise", "input filter bias?", _conv(2, depthwise=True), _CONV),
    Row("deconv", "input filter bias? output_shape?", _deconv(2), _CONV),
    Row("deconv1d", "input filter bias? output_shape?", _deconv(1), _CONV | {"layout": Layout.NCT}),
    Row("deform_conv2d", "input filter offset mask? bias?", _deform_conv, _CONV | {"offset_group": 1}),
    *(Row(name, operands, _resize, {
        "mode": "linear", "align_corners": False, "half_pixel_centers": True, "layout": Layout.NCHW,
    }) for name, operands in (("resize", "input .output_size"), ("interp", "input .output_size scale?"))),
    Row("max_pool2d", "input .with_index", _pool("MaxPool", 2), _POOL, results=_with_index),
    Row("max_pool3d", "input .with_index", _pool("MaxPool", 3), _POOL | {"layout": Layout.NCDHW}, results=_with_index),
    Row("avg_pool2d", "input", _pool("AveragePool", 2), _POOL | {"count_include_pad": False}),
    Row("avg_pool3d", "input", _pool("AveragePool", 3), _POOL | {"count_include_pad": False, "layout": Layout.NCDHW}),
    Row("unpool2d", "input index .mode", _unpool, _POOL),
)  # fmt: skip
