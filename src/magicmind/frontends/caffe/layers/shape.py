"""Moving, cutting and joining: Concat, Slice, Flatten, Reshape, Permute, Reverse, Crop, Tile, Reorg, choices."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import onnx_ir

from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.frontends.caffe.layer import Layer, importer
from magicmind.frontends.caffe.plugins import fields_of
from magicmind.ir.dims import product
from magicmind.ops.emitter import Value

_BEFORE_ALL = -(1 << 31)  # where a slice that runs backwards ends: before element 0


@importer("Concat")
def concat(layer: Layer) -> Value:
    """Joined along `axis`, which old files call `concat_dim`."""
    p = layer.message.concat_param
    axis = layer.axis(layer.x, p.concat_dim if p.HasField("concat_dim") else p.axis)
    return layer.net.op("Concat", *layer.inputs, axis=axis)


@importer("Slice")
def slice_(layer: Layer) -> list[Value]:
    """Cut along an axis: at the given points, or into equal parts."""
    p, net = layer.message.slice_param, layer.net
    axis = layer.axis(layer.x, p.slice_dim if p.HasField("slice_dim") else p.axis)
    if layer.tops == 1:
        return [net.op("Identity", layer.x)]
    total = layer.size(layer.x, axis)
    points = [0, *p.slice_point, total] if p.slice_point else list(range(0, total + 1, max(total // layer.tops, 1)))
    sizes = [stop - start for start, stop in pairwise(points)]
    if len(sizes) != layer.tops or min(sizes) < 1 or points[-1] != total:
        raise ModelFormatError(f"{total} elements cannot be cut into {layer.tops} tops at {list(p.slice_point)}")
    return list(net.ops("Split", layer.x, net.ints(*sizes), count=layer.tops, axis=axis))


@importer("Flatten")
def flatten(layer: Layer) -> Value:
    """The axes `axis` to `end_axis` become one."""
    p, net, x = layer.message.flatten_param, layer.net, layer.x
    axis, end = layer.axis(x, p.axis), layer.axis(x, p.end_axis) + 1
    if axis >= end:
        raise ModelFormatError(f"axis {p.axis} lies behind end_axis {p.end_axis}")
    middle = product(net.shape(x)[axis:end])
    behind = layer.dims(x, end, net.rank(x))
    return net.reshape(x, *layer.leading(x, axis), middle if isinstance(middle, int) else -1, *behind)


@importer("Reshape")
def reshape(layer: Layer) -> Value:
    """`num_axes` axes from `axis` on take the given sizes: 0 keeps a size, -1 is what is left."""
    p, net, x = layer.message.reshape_param, layer.net, layer.x
    rank = net.rank(x)
    start = p.axis if p.axis >= 0 else rank + p.axis + 1
    stop = rank if p.num_axes == -1 else start + p.num_axes
    if not 0 <= start <= stop <= rank:
        raise ModelFormatError(f"axis {p.axis} and num_axes {p.num_axes} do not exist in a blob of {rank} axes")
    sizes: list[Value | int] = []
    for i, size in enumerate(p.shape.dim):
        if size == 0 and start + i >= stop:
            raise ModelFormatError(f"dim {i} is 0 (keep), but the input has no axis {start + i} to keep")
        sizes += layer.dims(x, start + i, start + i + 1) if size == 0 else [int(size)]
    return net.reshape(x, *layer.leading(x, start), *sizes, *layer.dims(x, stop, rank))


@importer("Permute")
def permute(layer: Layer) -> Value:
    """Axes in a new order; those not named follow as they were."""
    order = list(layer.message.permute_param.order)
    order += [axis for axis in range(layer.net.rank(layer.x)) if axis not in order]
    return layer.net.op("Transpose", layer.x, perm=order)


@importer("Transpose", "TensorTranspose")
def transpose(layer: Layer) -> Value:
    """Axes in a new order: `dim` (CRNN), `dim { dim }` or `order`, all of them."""
    rank = layer.net.rank(layer.x)
    order = [axis % rank if -rank <= axis < rank else axis for axis in _order(layer)]
    if sorted(order) != list(range(rank)):
        raise ModelFormatError(f"{order} is no order of {rank} axes")
    return layer.net.op("Transpose", layer.x, perm=order)


def _order(layer: Layer) -> list[int]:
    """The numbers in the layer's own message, which branches spell in several ways."""
    settings = [v for name, fields in fields_of(layer) if name.endswith("transpose_param") for _, v in fields]
    nested = [number for item in settings if isinstance(item, list) for _, number in item]
    return [int(number) for number in nested or settings]


@importer("Reverse")
def reverse(layer: Layer) -> Value:
    """The elements along the axes from the last to the first; along the first axis, time, where none is given."""
    net, x = layer.net, layer.x
    if len(layer.inputs) > 1:
        raise UnsupportedOperatorError("sequences of several lengths, which the second bottom marks")
    axes = [layer.axis(x, axis) for axis in layer.message.reverse_param.axis or [0]]
    back = [-1] * len(axes)
    return net.op("Slice", x, net.ints(*back), net.ints(*[_BEFORE_ALL] * len(axes)), net.ints(*axes), net.ints(*back))


@importer("Crop")
def crop(layer: Layer) -> Value:
    """From `axis` on as large as the second bottom, cut at the offsets."""
    p, net, (x, like) = layer.message.crop_param, layer.net, layer.inputs
    first = layer.axis(x, p.axis)
    axes = list(range(first, net.rank(x)))
    offsets = list(p.offset) or [0]
    offsets = offsets * len(axes) if len(offsets) == 1 else offsets
    if len(offsets) != len(axes):
        raise ModelFormatError(f"{len(offsets)} offsets for {len(axes)} cropped axes")
    ends: list[Value | int] = []
    for axis, offset in zip(axes, offsets, strict=True):
        size = net.shape(like)[axis]
        ends.append(size + offset if isinstance(size, int) else net.op("Add", net.dim(like, axis), net.ints(offset)))
        room = net.shape(x)[axis]
        if isinstance(size, int) and isinstance(room, int) and size + offset > room:
            raise ModelFormatError(f"axis {axis} has {room} elements; {size} from {offset} on are asked for")
    return net.op("Slice", x, net.ints(*offsets), net.sizes(*ends), net.ints(*axes))


@importer("Tile")
def tile(layer: Layer) -> Value:
    """Copies side by side along an axis."""
    p, net = layer.message.tile_param, layer.net
    repeats = [1] * net.rank(layer.x)
    repeats[layer.axis(layer.x, p.axis)] = p.tiles
    return net.op("Tile", layer.x, net.ints(*repeats))


@importer("Reorg")
def reorg(layer: Layer) -> Value:
    """[N, C, H, W] to [N, C * s * s, H / s, W / s] as darknet does it, or back.

    Darknet's forward reads the memory as [N, C / s / s, H * s, W * s] and takes that apart into s x s phases, so the
    sizes it works with are not those of either side.
    """
    p, net, x = layer.message.reorg_param, layer.net, layer.x
    s = p.stride
    channels, height, width = (layer.size(x, axis) for axis in (1, 2, 3))
    batch, inner = layer.leading(x, 1), channels // (s * s)
    if channels % (s * s) or (not p.reverse and (height % s or width % s)):
        raise ModelFormatError(f"stride {s} does not fit {channels} channels of {height} x {width}")
    if p.reverse:
        phases = net.reshape(x, *batch, s, s, inner, height, width)
        return net.reshape(net.op("Transpose", phases, perm=[0, 3, 4, 1, 5, 2]), *batch, inner, height * s, width * s)
    phases = net.reshape(x, *batch, inner, height, s, width, s)
    turned = net.op("Transpose", phases, perm=[0, 3, 5, 1, 2, 4])
    return net.reshape(turned, *batch, channels * s * s, height // s, width // s)


@importer("ShuffleChannel")
def shuffle_channel(layer: Layer) -> Value:
    """Channels counted as (group, member) come to be counted as (member, group)."""
    net, x, groups = layer.net, layer.x, layer.message.shuffle_channel_param.group
    channels, batch = layer.size(x, 1), layer.leading(x, 1)
    if not groups or channels % groups:
        raise ModelFormatError(f"group={groups} does not divide {channels} channels")
    rest = layer.dims(x, 2, net.rank(x))
    split = net.reshape(x, *batch, groups, channels // groups, *rest)
    turned = net.op("Transpose", split, perm=[0, 2, 1, *range(3, 3 + len(rest))])
    return net.reshape(turned, *batch, channels, *rest)


@importer("BatchReindex")
def batch_reindex(layer: Layer) -> Value:
    """The images that the second bottom lists."""
    return layer.net.op("Gather", layer.x, layer.net.cast(layer.bottom(1), onnx_ir.DataType.INT64), axis=0)


@importer("Filter", host=True)
def filter_(layer: Layer) -> list[Value]:
    """Of each bottom the images for which the last bottom is not 0."""
    net = layer.net
    *values, selector = layer.inputs
    chosen = net.cast(net.reshape(selector, -1), onnx_ir.DataType.BOOL)
    return [net.op("Compress", value, chosen, axis=0) for value in values]


@importer("Upsample")
def upsample(layer: Layer) -> Value:
    """Pixels repeated (darknet), or put back where a pooling's mask says they came from (SegNet)."""
    p, net = layer.message.upsample_param, layer.net
    if len(layer.inputs) == 1:
        scale = p.stride or p.scale
        scales = net.const([1, 1, p.scale_h or scale, p.scale_w or scale], np.float32)
        return net.op(
            "Resize", layer.x, None, scales,
            mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip
    height = p.upsample_h or int(layer.size(layer.x, 2) * (p.scale_h or p.scale)) - p.pad_out_h
    width = p.upsample_w or int(layer.size(layer.x, 3) * (p.scale_w or p.scale)) - p.pad_out_w
    return _unpool(layer, height, width)


def _unpool(layer: Layer, height: int, width: int) -> Value:
    net, x, mask = layer.net, layer.x, layer.bottom(1)
    planes = layer.leading(x, 2)
    pixels = math.prod(layer.size(x, axis) for axis in (2, 3))
    places = net.cast(net.reshape(mask, *planes, pixels), onnx_ir.DataType.INT64)
    zeros = net.op("Expand", net.scalar(0, x), net.sizes(*planes, height * width))
    spread = net.op("ScatterElements", zeros, places, net.reshape(x, *planes, pixels), axis=2)
    return net.reshape(spread, *planes, height, width)


@importer("Interp")
def interp(layer: Layer) -> Value:
    """Bilinear with corners aligned (DeepLab, PSPNet), after cutting `-pad_beg` and `-pad_end` pixels off."""
    p, net, x = layer.message.interp_param, layer.net, layer.x
    if p.pad_beg > 0 or p.pad_end > 0:
        raise ModelFormatError(f"pad_beg {p.pad_beg} and pad_end {p.pad_end} cannot be positive: they cut")
    sizes = [layer.size(x, axis) + p.pad_beg + p.pad_end for axis in (2, 3)]
    if p.pad_beg or p.pad_end:
        stops = [-p.pad_beg + size for size in sizes]
        x = net.op("Slice", x, net.ints(-p.pad_beg, -p.pad_beg), net.ints(*stops), net.ints(2, 3))
    wanted = _interp_sizes(layer, sizes)
    return net.op(
        "Resize", x, None, None, net.sizes(*layer.leading(x, 2), *wanted),
        mode="linear", coordinate_transformation_mode="align_corners",
    )  # fmt: skip


def _interp_sizes(layer: Layer, sizes: list[int]) -> list[int]:
    """By the second bottom, by size, or by shrinking and zooming, which keep the corners."""
    p = layer.message.interp_param
    if len(layer.inputs) > 1:
        return [layer.size(layer.bottom(1), axis) for axis in (2, 3)]
    if p.height and p.width:
        return [p.height, p.width]
    shrunk = [(size - 1) // p.shrink_factor + 1 for size in sizes]
    return [size + (size - 1) * (p.zoom_factor - 1) for size in shrunk]
