"""Images to other sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir

from magicmind.errors import ModelFormatError
from magicmind.frontends.tensorflow.call import Array, Call, importer
from magicmind.frontends.tensorflow.layout import first, last
from magicmind.ops.emitter import Value

_FLOAT = onnx_ir.DataType.FLOAT


def _resize(c: Call, **attributes: Any) -> Value:
    net, x = c.net, first(c, c.x)
    if c.rank() != 4:
        raise ModelFormatError(f"resizes images [N, H, W, C]; the input has rank {c.rank()}")
    asked = c.dims(1)
    if asked is not None and asked == list(net.shape(x)[2:]):  # every kind is the identity then
        return last(c, x)
    sizes = c.vector(c.value(1))
    return last(c, net.op("Resize", x, None, None, sizes, axes=[2, 3], **attributes))


def _coordinates(c: Call) -> str:
    if c.attr("half_pixel_centers", False):
        return "half_pixel"
    return "align_corners" if c.attr("align_corners", False) else "asymmetric"


def _as_float(c: Call, y: Value) -> Value:
    return c.net.cast(y, _FLOAT) if c.net.type(y).dtype != _FLOAT else y


@importer("ResizeBilinear")
def bilinear(c: Call) -> Value:
    """Resize, linear, in each of TensorFlow's three ways to place pixels."""
    return _floating(c, lambda d: _resize(d, mode="linear", coordinate_transformation_mode=_coordinates(c)))


@importer("ResizeBicubic")
def bicubic(c: Call) -> Value:
    """Resize, cubic: by Keys' curve without what is outside for centred pixels, else by a = -0.75."""
    half = bool(c.attr("half_pixel_centers", False))
    curve = {"cubic_coeff_a": -0.5, "exclude_outside": 1} if half else {"cubic_coeff_a": -0.75, "exclude_outside": 0}
    return _floating(c, lambda d: _resize(d, mode="cubic", coordinate_transformation_mode=_coordinates(c), **curve))


def _floating(c: Call, build: Callable[[Call], Value]) -> Value:
    """These give float32 whatever they are given."""
    if c.net.type(c.x).dtype == _FLOAT:
        return build(c)
    return build(Call(c.walk, c.node, [c.net.cast(c.x, _FLOAT), *c.inputs[1:]]))


@importer("ResizeNearestNeighbor")
def nearest(c: Call) -> Value:
    """Resize, nearest: rounded down, or to the closest where corners or centres are aligned."""
    mode = _coordinates(c)
    rounding = "floor" if mode == "asymmetric" else "round_prefer_ceil"
    return _resize(c, mode="nearest", coordinate_transformation_mode=mode, nearest_mode=rounding)


# ------------------------------------------------------------------------------------------- by weights of every pixel


def _weighted(c: Call, rows: Array, columns: Array) -> Value:
    """Both spatial axes multiplied by matrices [size after, size before]."""
    net, x = c.net, first(c, c.net.cast(c.x, _FLOAT))
    across = net.op("MatMul", x, net.const(np.ascontiguousarray(columns.T), np.float32))
    return last(c, net.op("MatMul", net.const(rows, np.float32), across))


def _lengths(c: Call) -> tuple[list[int], list[int]]:
    before = [c.fixed(d, "the size of the image") for d in c.shape()[1:3]]
    return before, c.ints(1, "the size asked for")


@importer("ResizeArea")
def area(c: Call) -> Value:
    """The mean over the area that each new pixel covers: two matrix products."""
    before, after = _lengths(c)
    aligned = bool(c.attr("align_corners", False))
    return _weighted(c, *(_covered(n, m, aligned) for n, m in zip(before, after, strict=True)))


def _covered(before: int, after: int, aligned: bool) -> Array:
    step = (before - 1) / (after - 1) if aligned and after > 1 else before / after
    matrix = np.zeros((after, before))
    for i in range(after):
        start, stop = i * step, (i + 1) * step
        for j in range(int(np.floor(start)), int(np.ceil(stop))):
            matrix[i, min(j, before - 1)] += max(min(j + 1, stop) - max(j, start), 0.0) / step
    return matrix


def _keys(x: Array) -> Array:
    """Keys' cubic curve with a = -0.5."""
    return np.where(x < 1, (1.5 * x - 2.5) * x**2 + 1, np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0))


def _mitchell(x: Array) -> Array:
    """The cubic curve of Mitchell and Netravali."""
    near, far = 7 * x**3 - 12 * x**2 + 16 / 3, -7 / 3 * x**3 + 12 * x**2 - 20 * x + 32 / 3
    return np.where(x < 1, near / 6, np.where(x < 2, far / 6, 0))


def _lanczos(reach: float) -> tuple[float, Callable[[Array], Array]]:
    return reach, lambda x: np.where(x < reach, np.sinc(x) * np.sinc(x / reach), 0)


_KERNELS: dict[str, tuple[float, Callable[[Array], Array]]] = {
    "lanczos1": _lanczos(1.0),
    "lanczos3": _lanczos(3.0),
    "lanczos5": _lanczos(5.0),
    "gaussian": (1.5, lambda x: np.where(x < 1.5, np.exp(-(x**2) / 0.5), 0)),
    "box": (1.0, lambda x: np.where(x < 0.5, 1.0, np.where(x == 0.5, 0.5, 0.0))),
    "triangle": (1.0, lambda x: np.maximum(1 - x, 0)),
    "keyscubic": (2.0, _keys),
    "mitchellcubic": (2.0, _mitchell),
}
"""Reach and curve of each kernel, of distances >= 0."""


@importer("ScaleAndTranslate")
def scale_and_translate(c: Call) -> Value:
    """Any kernel, scale and offset, by two matrix products with the weights of every pixel."""
    before, after = _lengths(c)
    scales, offsets = c.const(2, "the scales").reshape(-1), c.const(3, "the offsets").reshape(-1)
    kernel = str(c.attr("kernel_type", "lanczos3"))
    if kernel not in _KERNELS:
        raise ModelFormatError(f"kernel_type = {kernel!r} does not exist")
    soft = bool(c.attr("antialias", True))
    return _weighted(
        c,
        *(
            _spread(n, m, float(s), float(t), kernel, soft)
            for n, m, s, t in zip(before, after, scales, offsets, strict=True)
        ),
    )


def _spread(before: int, after: int, scale: float, offset: float, kernel: str, soft: bool) -> Array:
    """The weights [after, before] of the pixels that each new one is made of; rows add up to one."""
    reach, curve = _KERNELS[kernel]
    step = np.float32(1) / np.float32(scale)  # float32 as in TensorFlow: it decides what the ends of a kernel touch
    wide = max(step, np.float32(1)) if soft else np.float32(1)
    matrix = np.zeros((after, before))
    for i in range(after):
        centre = np.float32(i + 0.5) * step - np.float32(offset) * step
        if not 0 <= centre <= before:
            continue
        low = max(int(np.ceil(centre - reach * wide - 0.5)), 0)
        high = min(int(np.floor(centre + reach * wide - 0.5)), before - 1)
        places = np.arange(low, high + 1)
        weights = curve(np.abs(places.astype(np.float32) + np.float32(0.5) - centre) * (np.float32(1) / wide))
        if abs(weights.sum()) > 1e-8:
            matrix[i, low : high + 1] = weights / weights.sum()
    return matrix


@importer("CropAndResize")
def crop_and_resize(c: Call) -> Value:
    """Parts of images at a fixed size: RoiAlign's relative, sampled with corners aligned, by GatherND."""
    net, images, boxes, owners = c.net, c.x, c.value(1), c.value(2)
    height, width = c.ints(3, "the size asked for")
    if str(c.attr("method", "bilinear")) != "bilinear":
        raise c.unsupported("CropAndResize by the nearest pixel")
    outside = float(c.attr("extrapolation_value", 0.0))
    images = net.cast(images, _FLOAT)
    sides = [_sampled(c, boxes, axis, size, images) for axis, size in ((0, height), (1, width))]
    (top, bottom, down, in_rows), (left, right, across, in_columns) = sides
    corners = [[_pick(c, images, owners, y, x, height, width) for x in (left, right)] for y in (top, bottom)]
    weight_x = net.unsqueeze(across, 1, 3)
    rows = [net.op("Add", a, net.op("Mul", net.op("Sub", b, a), weight_x)) for a, b in corners]
    weight_y = net.unsqueeze(down, 2, 3)
    result = net.op("Add", rows[0], net.op("Mul", net.op("Sub", rows[1], rows[0]), weight_y))
    inside = net.op("And", net.unsqueeze(in_rows, 2, 3), net.unsqueeze(in_columns, 1, 3))
    return net.op("Where", inside, result, net.const(outside, np.float32))


def _sampled(c: Call, boxes: Value, axis: int, size: int, images: Value) -> tuple[Value, Value, Value, Value]:
    """For [boxes, size] places along an axis: the pixels before and after, the share of the latter, and if inside."""
    net = c.net
    low, high = (net.slice(boxes, 1, i, i + 1) for i in (axis, axis + 2))
    last_ = net.cast(net.op("Sub", net.dim(images, 1 + axis), net.ints(1)), _FLOAT)
    if size > 1:
        steps = net.const(np.arange(size)[None] / (size - 1), np.float32)
        place = net.op("Add", low, net.op("Mul", net.op("Sub", high, low), steps))
    else:
        place = net.op("Mul", net.op("Add", low, high), net.const(0.5, np.float32))
    place = net.op("Mul", place, last_)
    inside = net.op(
        "And", net.op("GreaterOrEqual", place, net.const(0, np.float32)), net.op("LessOrEqual", place, last_)
    )
    safe = net.op("Min", net.op("Max", place, net.const(0, np.float32)), last_)
    floor = net.op("Floor", safe)
    before, after = (net.cast(v, onnx_ir.DataType.INT64) for v in (floor, net.op("Ceil", safe)))
    return before, after, net.op("Sub", safe, floor), inside


def _pick(c: Call, images: Value, owners: Value, y: Value, x: Value, height: int, width: int) -> Value:
    """[boxes, height, width, channels]: the pixels at rows `y` [boxes, height] and columns `x` [boxes, width]."""
    net = c.net
    count = net.dim(y, 0)
    shape = net.op("Concat", count, net.ints(height, width, 1), axis=0)
    owner = net.unsqueeze(c.int64(owners), 1, 2, 3)
    parts = [owner, net.unsqueeze(y, 2, 3), net.unsqueeze(x, 1, 3)]
    return net.op("GatherND", images, net.op("Concat", *(net.op("Expand", p, shape) for p in parts), axis=3))
