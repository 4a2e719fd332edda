"""GridSample, DeformConv, RoiAlign: reading images between their pixels.

ONNX operators GridSample-22, DeformConv-22, RoiAlign-22; computed in float32. DeformConv is its samples, then a
pointwise convolution over channels and taps.
"""

from __future__ import annotations

import onnx_ir
from onnx_ir import DataType

from magicmind.errors import ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.ir.dims import product
from magicmind.ir.types import TensorType
from magicmind.kernels.sample import DeformSample, GridSample, RoiAlign
from magicmind.lower.lowering import Lowering
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.geometry import window_of
from magicmind.ops.registry import NodeView, Op
from magicmind.ops.shapes import need_rank, same_dim, same_dims

DOMAIN = "magicmind"
_MODES = {"nearest": "nearest", "bilinear": "linear", "linear": "linear", "bicubic": "cubic", "cubic": "cubic"}
_PADDINGS = ("zeros", "border", "reflection")

grid_sample = Op("GridSample")
roi_align = Op("RoiAlign")
deform_conv = Op("DeformConv")
deform_sample = Op("DeformSample", DOMAIN)


def _inputs(low: Lowering, node: onnx_ir.Node) -> list[onnx_ir.Value]:
    values = [v for v in node.inputs if v is not None]
    if low.dtype(values[0]) != "f32":
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: only float32 has a kernel")
    return values


@grid_sample.infer
def infer_grid(node: NodeView) -> list[TensorType]:
    """x [N, C, spatial...], grid [N, out..., rank] give [N, C, out...]."""
    x, grid = need_rank(node.input(0), 4, 5), node.input(1)
    need_rank(grid, x.rank, x.rank, what="grid")
    if grid.dims[-1] != x.rank - 2:
        raise ShapeError(f"grid has {grid.dims[-1]} coordinates; the image has {x.rank - 2} axes")
    same_dim(grid.dims[0], x.dims[0], "batches of the grid and the image")
    if node.attr("mode", "linear") not in _MODES or node.attr("padding_mode", "zeros") not in _PADDINGS:
        raise ModelFormatError("attribute 'mode' or 'padding_mode' has an unknown value")
    return [TensorType(x.dtype, (*x.dims[:2], *grid.dims[1:-1]))]


@grid_sample.lower
def lower_grid(low: Lowering, node: onnx_ir.Node) -> None:
    x, grid = _inputs(low, node)
    out, view = node.outputs[0], NodeView(node)
    shape, p = low.shape(x), low.params()
    spec = GridSample(
        _MODES[view.attr("mode", "linear")],
        view.attr("padding_mode", "zeros"),
        bool(view.attr("align_corners", 0)),
        p.size(shape[0]),
        p.size(shape[1]),
        tuple(p.size(d) for d in shape[2:]),
        p.size(product(low.shape(out)[2:])),
    )
    memory = low.nbytes(x) + low.nbytes(grid) + low.nbytes(out)
    refs = [low.ref(x), low.ref(grid), low.ref(out)]
    low.call(node, spec, refs, p, flops=product(low.shape(out)) * 8, bytes=memory)


@roi_align.infer
def infer_roi(node: NodeView) -> list[TensorType]:
    """x [N, C, H, W], rois [R, 4], batch indices [R] give [R, C, output_height, output_width]."""
    x, rois = need_rank(node.input(0), 4, 4), need_rank(node.input(1), 2, 2, what="rois")
    batches = need_rank(node.input(2), 1, 1, what="batch indices")
    same_dims(rois.dims, (batches.dims[0], 4), "rois against one batch index and four corners each")
    return [TensorType(x.dtype, (rois.dims[0], x.dims[1], node.attr("output_height", 1), node.attr("output_width", 1)))]


@roi_align.lower
def lower_roi(low: Lowering, node: onnx_ir.Node) -> None:
    x, rois, batches = _inputs(low, node)
    out, view = node.outputs[0], NodeView(node)
    shape, p = low.shape(x), low.params()
    if low.dtype(batches) != "i64":
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: batch indices must be int64")
    spec = RoiAlign(
        view.attr("mode", "avg") == "max",
        view.attr("coordinate_transformation_mode", "half_pixel") == "half_pixel",
        float(view.attr("spatial_scale", 1.0)),
        view.attr("sampling_ratio", 0),
        p.size(shape[0]),
        p.size(shape[1]),
        (p.size(shape[2]), p.size(shape[3])),
        p.size(low.shape(rois)[0]),
        (view.attr("output_height", 1), view.attr("output_width", 1)),
    )
    memory = low.nbytes(x) + low.nbytes(rois) + low.nbytes(out)
    refs = [low.ref(x), low.ref(rois), low.ref(batches), low.ref(out)]
    low.call(node, spec, refs, p, flops=product(low.shape(out)) * 32, bytes=memory)


@deform_conv.expand
def expand_deform(e: Expansion) -> list[Value]:
    """X, W, offset, B?, mask?."""
    x, w, offset = (e.input(i) for i in range(3))
    half = e.type(x).dtype
    if half in (DataType.FLOAT16, DataType.BFLOAT16):
        wide = [e.cast(v, DataType.FLOAT) if v is not None else None for v in map(e.optional, range(5))]
        return [e.cast(e.add("", "DeformConv", wide, list(e.node.attributes.values()), 1)[0], half)]
    kernel = [d for d in e.shape(w)[2:] if isinstance(d, int)]
    if len(kernel) != 2 or e.type(x).dtype != DataType.FLOAT:
        raise UnsupportedOperatorError("only float32 images with two axes and a kernel of known size have an expansion")
    groups, taps = e.view.attr("offset_group", 1), kernel[0] * kernel[1]
    height, width = e.dim(offset, 2), e.dim(offset, 3)
    moved = e.reshape(offset, e.dim(offset, 0), groups, taps, 2, height, width)
    shape = e.sizes(e.dim(offset, 0), groups, taps, height, width)
    mask = e.op("Reshape", e.input(4), shape) if e.has(4) else e.op("Expand", e.scalar(1, x), shape)
    attributes = {
        "kernel_shape": kernel,
        "pads": e.view.ints_attr("pads") or [0] * 4,
        "strides": e.view.ints_attr("strides") or [1, 1],
        "dilations": e.view.ints_attr("dilations") or [1, 1],
    }
    sampled = e.op("DeformSample", x, moved, mask, domain=DOMAIN, **attributes)
    outputs, per_group = e.shape(w)[:2]
    if not isinstance(outputs, int) or not isinstance(per_group, int):
        raise UnsupportedOperatorError("the number of channels is mutable")
    weights = e.reshape(w, outputs, per_group * taps, 1, 1)
    bias = e.input(3) if e.has(3) else None
    return [e.op("Conv", sampled, weights, bias, group=e.view.attr("group", 1))]


@deform_sample.infer
def infer_deform(node: NodeView) -> list[TensorType]:
    """x [N, C, H, W], offset [N, G, taps, 2, oh, ow], mask [N, G, taps, oh, ow] give [N, C * taps, oh, ow]."""
    x, mask = need_rank(node.input(0), 4, 4), need_rank(node.input(2), 5, 5, what="mask")
    taps = mask.dims[2]
    window = window_of(node, x.dims[2:], tuple(node.ints_attr("kernel_shape") or ()))
    offset = need_rank(node.input(1), 6, 6, what="offset")
    same_dims(mask.dims, (x.dims[0], mask.dims[1], taps, *window.output), "the mask against the image")
    same_dims(offset.dims, (*mask.dims[:3], 2, *mask.dims[3:]), "offsets against the mask")
    return [TensorType(x.dtype, (x.dims[0], x.dims[1] * taps, *window.output))]


@deform_sample.lower
def lower_deform(low: Lowering, node: onnx_ir.Node) -> None:
    x, offset, mask = _inputs(low, node)
    out, view = node.outputs[0], NodeView(node)
    shape, p = low.shape(x), low.params()
    lists = [view.ints_attr(name) or [] for name in ("kernel_shape", "strides", "dilations", "pads")]
    geometry = tuple((lists[0][a], lists[1][a], lists[2][a], lists[3][a]) for a in range(2))
    groups = low.shape(mask)[1]
    assert isinstance(groups, int) and len(geometry) == 2
    outs = low.shape(out)[2:]
    spec = DeformSample(
        (geometry[0], geometry[1]),
        p.size(shape[0]),
        p.size(shape[1]),
        groups,
        (p.size(shape[2]), p.size(shape[3])),
        (p.size(outs[0]), p.size(outs[1])),
    )
    memory = low.nbytes(x) + low.nbytes(offset) + low.nbytes(mask) + low.nbytes(out)
    refs = [low.ref(x), low.ref(offset), low.ref(mask), low.ref(out)]
    low.call(node, spec, refs, p, flops=product(low.shape(out)) * 8, bytes=memory)
