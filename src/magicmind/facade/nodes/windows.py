"""Nodes with windows: convolutions, pooling, resizing. Channels are the last axis unless `set_layout` says otherwise,
of filters [out, window..., in] too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.facade.enums import Layout
from magicmind.facade.nodes.row import Arguments, Call, Emit, Emitter, Row, Value, graph_type, plain
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


def channels_first(e: Emitter, c: Call, value: Value) -> Value:
    """A tensor in the node's layout as [N, C, ...]."""
    return _first(e, value, _layouts(c, 1)[0])


def as_asked(e: Emitter, c: Call, value: Value) -> Value:
    """A result [N, C, ...] in the node's layout."""
    return _last(e, value, _layouts(c, 2)[1])


def _conv(axes: int, depthwise: bool = False) -> Emit:
    def emit(e: Emitter, c: Call) -> Value:
        reads, weights, writes = _layouts(c, 3)
        x, w = _first(e, c["input"], reads), _first(e, c["filter"], weights)
        group = e.shape(x)[1] if depthwise else c.setting("group", int)
        if depthwise:
            w = _depthwise(e, w, group)
        found = e.op(
            "Conv", x, w, _bias(e, c), group=group, dilations=c.ints("dilation", axes), **_window(c, axes)
        )  # fmt: skip
        return _last(e, found, writes)

    return emit


def _bias(e: Emitter, c: Call) -> Value | None:
    """In the type of the input, whatever type it was made in."""
    return None if c["bias"] is None else e.cast_like(c["bias"], c["input"])


def _depthwise(e: Emitter, w: Value, channels: Any) -> Value:
    """[channels * m, 1, window...], of a filter [m, channels, window...] too."""
    times, inputs, *window = (d if isinstance(d, int) else -1 for d in e.shape(w))
    if inputs == 1 or inputs != channels:
        return w
    turned = e.op("Transpose", w, perm=[1, 0, *range(2, e.rank(w))])
    return e.reshape(turned, times * inputs, 1, *window)


def _deconv(axes: int) -> Emit:
    def emit(e: Emitter, c: Call) -> Value:
        reads, weights, writes = _layouts(c, 3)
        x, w = _first(e, c["input"], reads), _first(e, c["filter"], weights)
        shape = None if c["output_shape"] is None else c.numbers("output_shape")[-axes:]
        found = e.op(
            "ConvTranspose", x, w, _bias(e, c), group=c.setting("group", int), dilations=c.ints("dilation", axes),
            output_shape=shape, output_padding=c.ints("out_pad", axes), **_window(c, axes),
        )  # fmt: skip
        return _last(e, found, writes)

    return emit


def _deform_conv(e: Emitter, c: Call) -> Value:
    attributes = {"group": c.setting("group", int), "offset_group": c.setting("offset_group", int)}
    dilations = c.ints("dilation", 2)
    reads, weights, writes = _layouts(c, 3)
    x, offset = (_first(e, c[n], reads) for n in ("input", "offset"))
    mask = None if c["mask"] is None else _first(e, c["mask"], reads)
    found = e.op(
        "DeformConv", x, _first(e, c["filter"], weights), offset, _bias(e, c), mask, dilations=dilations,
        **attributes, **_window(c, 2),
    )  # fmt: skip
    return _last(e, found, writes)


def _pool(kind: str, axes: int) -> Emit:
    def emit(e: Emitter, c: Call) -> Any:
        reads, writes = _layouts(c, 2)
        x = _first(e, c["input"], reads)
        attributes: dict[str, Any] = {
            "kernel_shape": c.ints("kernel", axes),
            "ceil_mode": int(c.setting("ceil_mode", bool)),
        }
        if kind == "MaxPool":
            attributes["dilations"] = c.ints("dilation", axes)
            found = e.ops("MaxPool", x, count=2 if c["with_index"] else 1, **attributes, **_window(c, axes))
            return [_last(e, v, writes) for v in (found[0], *(e.cast(i, graph_type("INT32")) for i in found[1:]))]
        include = int(c.setting("count_include_pad", bool))
        return _last(e, e.op(kind, x, count_include_pad=include, **attributes, **_window(c, axes)), writes)

    return emit


def _with_index(arguments: Arguments) -> int:
    return 2 if arguments["with_index"] else 1


def _unpool(e: Emitter, c: Call) -> Value:
    """Of the indices that a max_pool2d gives."""
    attributes = {"kernel_shape": c.ints("kernel", 2), **_window(c, 2)}
    reads, writes = _layouts(c, 2)
    index = e.cast(_first(e, c["index"], reads), graph_type("INT64"))
    return _last(e, e.op("MaxUnpool", _first(e, c["input"], reads), index, **attributes), writes)


def _reorg(e: Emitter, c: Call) -> Value:
    """Darknet's: [N, C, H, W] read as [N, C / s / s, H * s, W * s], whose blocks become channels; or `set_reverse`."""
    reads, writes = _layouts(c, 2)
    x, s = _first(e, c["input"], reads), c.number("stride", "stride")
    batch, (channels, height, width) = e.dim(x, 0), e.shape(x)[1:]
    reverse = c.setting("reverse", bool)
    sizes = [d for d in (channels, height, width) if isinstance(d, int)]
    if len(sizes) < 3 or sizes[0] % (s * s) or (not reverse and (sizes[1] % s or sizes[2] % s)):
        raise Refused(f"stride {s} does not fit {channels} channels of {height} x {width}")
    inner, (height, width) = sizes[0] // (s * s), sizes[1:]
    if reverse:
        phases = e.reshape(x, batch, s, s, inner, height, width)
        turned = e.op("Transpose", phases, perm=[0, 3, 4, 1, 5, 2])
        return _last(e, e.reshape(turned, batch, inner, height * s, width * s), writes)
    phases = e.reshape(x, batch, inner, height, s, width, s)
    turned = e.op("Transpose", phases, perm=[0, 3, 5, 1, 2, 4])
    return _last(e, e.reshape(turned, batch, sizes[0] * s * s, height // s, width // s), writes)


_LAST = Layout.NHWC
_WINDOW = {"stride": 1, "pad": 0, "padding_mode": "EXPLICIT", "layout": _LAST}
_CONV = _WINDOW | {"dilation": 1, "group": 1}
_DECONV = _CONV | {"out_pad": 0}
_POOL = _WINDOW | {"kernel": 2, "stride": 2, "ceil_mode": False}
_MAX = _POOL | {"dilation": 1}


_MODES = {
    "nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic", "bicubic": "cubic",
}  # fmt: skip


def _resize(e: Emitter, c: Call) -> Value:
    """To (height, width), or by a scale; `set_mode`, `set_align_corners`, `set_half_pixel_centers` say how."""
    x = _first(e, c["input"], _layouts(c, 1)[0])
    mode = str(plain(c.settings["mode"])).lower()
    if mode not in _MODES:
        raise Refused(f"set_mode({mode}) is not known", hint=f"known: {', '.join(_MODES)}")
    mode = _MODES[mode]
    corners, half = c.setting("align_corners", bool), c.setting("half_pixel_centers", bool)
    transform = "align_corners" if corners else "half_pixel" if half else "asymmetric"
    scales, size = _size_of(e, c, x)
    nearest = {"nearest_mode": "round_prefer_floor" if corners or half else "floor"} if mode == "nearest" else {}
    found = e.op("Resize", x, None, scales, size, mode=mode, coordinate_transformation_mode=transform, **nearest)
    return _last(e, found, _layouts(c, 1)[0])


def _size_of(e: Emitter, c: Call, x: Value) -> tuple[Value | None, Value | None]:
    """(scales, sizes) as Resize wants them, one of them: the size asked, else the scales, else Caffe's zoom factor."""
    if c["output_size"] is not None:
        return None, e.sizes(e.dim(x, 0), e.dim(x, 1), c.i64("output_size"))
    if c["scale"] is not None:
        axes = e.cast(c.vector(c["scale"], np.float32), graph_type("FLOAT"))
        if e.shape(axes) == (1,):
            axes = e.op("Concat", axes, axes, axis=0)
        return e.op("Concat", e.const([1.0, 1.0], np.float32), axes, axis=0), None
    zoom = c.setting("zoom_factor", int)
    if zoom < 1:
        raise Refused("neither a size nor a scale is given")
    gaps = (e.op("Sub", e.dim(x, axis), e.ints(1)) for axis in (2, 3))
    grown = (e.op("Add", e.op("Mul", gap, e.ints(zoom)), e.ints(1)) for gap in gaps)
    return None, e.sizes(e.dim(x, 0), e.dim(x, 1), *grown)


ROWS: Sequence[Row] = (
    Row("conv", "input filter bias?", _conv(2), _CONV),
    Row("conv1d", "input filter bias?", _conv(1), _CONV | {"layout": Layout.NTC}),
    Row("conv3d", "input filter bias?", _conv(3), _CONV | {"layout": Layout.NDHWC}),
    Row("conv_depthwise", "input filter bias?", _conv(2, depthwise=True), _CONV),
    Row("deconv", "input filter bias? output_shape?", _deconv(2), _DECONV),
    Row("deconv1d", "input filter bias? output_shape?", _deconv(1), _DECONV | {"layout": Layout.NTC}),
    Row("deform_conv2d", "input filter offset mask? bias?", _deform_conv, _CONV | {"offset_group": 1}),
    *(Row(name, "input .output_size? scale?", _resize, {
        "mode": "linear", "align_corners": False, "half_pixel_centers": True, "layout": _LAST, "zoom_factor": 0,
    }) for name in ("resize", "interp")),
    Row("max_pool2d", "input .with_index", _pool("MaxPool", 2), _MAX, results=_with_index),
    Row("max_pool3d", "input .with_index", _pool("MaxPool", 3), _MAX | {"layout": Layout.NDHWC}, results=_with_index),
    Row("avg_pool2d", "input", _pool("AveragePool", 2), _POOL | {"count_include_pad": False}),
    Row("avg_pool3d", "input", _pool("AveragePool", 3), _POOL | {"count_include_pad": False, "layout": Layout.NDHWC}),
    Row("unpool2d", "input index .mode", _unpool, _POOL),
    Row("reorg", "input .stride?", _reorg, {"stride": None, "reverse": False, "layout": _LAST}),
)  # fmt: skip
