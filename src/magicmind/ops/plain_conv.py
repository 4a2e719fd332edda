"""magicmind.PlainConv: Conv, or with `transposed` ConvTranspose, on plain tensors; weights may come at run time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from magicmind.codegen.target import BLOCK
from magicmind.codegen.values import ITEMSIZE
from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.dims import Dim, product
from magicmind.ir.evaluate import evaluate_op
from magicmind.ir.types import ValueType
from magicmind.kernels.conv.plain import SCRATCH_BYTES, PackPlain, PlainConv, Sizes, Three, pack_plain
from magicmind.lower.lowering import Lowering
from magicmind.lower.plan import Params, Ref
from magicmind.ops.conv import conv, conv_window
from magicmind.ops.conv import infer as infer_conv
from magicmind.ops.conv_transpose import conv_transpose, transposed_pads
from magicmind.ops.conv_transpose import infer as infer_transposed
from magicmind.ops.conv_transpose import reference as reference_transposed
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.geometry import per_axis
from magicmind.ops.registry import Array, NodeView, Op

plain_conv = Op("PlainConv", "magicmind")


@plain_conv.infer
def infer(node: NodeView) -> Sequence[ValueType]:
    """As the ONNX operator."""
    return infer_transposed(node) if node.attr("transposed", 0) else infer_conv(node)


@plain_conv.reference
def reference(node: ir.Node, arrays: Sequence[Array | None]) -> Sequence[Array]:
    """As the ONNX operator."""
    if NodeView(node).attr("transposed", 0):
        return reference_transposed(node, arrays)
    attributes = {a.name: a.value for a in node.attributes.values() if a.name != "transposed"}
    return evaluate_op("Conv", arrays, attributes)


@plain_conv.lower
def lower(low: Lowering, node: ir.Node) -> None:
    """Weights are packed ahead where they are constants."""
    x, w, out = node.inputs[0], node.inputs[1], node.outputs[0]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    assert x is not None and w is not None
    view, dtype = NodeView(node), low.dtype(x)
    if dtype not in ("f32", "f64"):
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: only float32 and float64 convolutions have kernels")
    transposed, groups = bool(view.attr("transposed", 0)), int(view.attr("group", 1))
    outer, inner, *window = (d for d in low.shape(w) if isinstance(d, int))
    if len(window) != len(low.shape(w)) - 2 or len(window) > 3:
        raise UnsupportedOperatorError(
            f"{low.describe_node(node)}: needs weights of known sizes, up to three spatial axes"
        )
    ic, oc = (outer // groups, inner) if transposed else (inner, outer // groups)
    begin = transposed_pads(view)[0] if transposed else conv_window(view).pads_begin
    p = low.params()
    spec = PlainConv(
        dtype, transposed, bias is not None, p.size(low.shape(x)[0]), groups, ic, oc,
        kernel=_three(window, 1),
        strides=_three(per_axis(view, "strides", len(window), 1, lowest=1), 1),
        dilations=_three(per_axis(view, "dilations", len(window), 1, lowest=1), 1),
        begin=_sizes(p, begin, 0),
        input=_sizes(p, low.shape(x)[2:], 1),
        output=_sizes(p, low.shape(out)[2:], 1),
    )  # fmt: skip
    refs = [low.ref(x), _packed(low, node, w, spec), *([low.ref(bias)] if bias is not None else []), low.ref(out)]
    positions = low.shape(x) if transposed else low.shape(out)
    flops = product((positions[0], *positions[2:])) * (2 * groups * ic * oc * int(np.prod(window)))
    memory = low.nbytes(x) + low.nbytes(w) + low.nbytes(out)
    low.call(node, spec, refs, p, flops=flops, bytes=memory, scratch=SCRATCH_BYTES)


def _packed(low: Lowering, node: ir.Node, w: ir.Value, spec: PlainConv) -> Ref:
    array = low.const(w)
    if array is not None:
        return low.weight(pack_plain(array, spec.groups, transposed=spec.transposed))
    taps, blocks = int(np.prod(spec.kernel)), -(-spec.oc // BLOCK)
    packed = low.temp(spec.groups * blocks * taps * spec.ic * BLOCK * ITEMSIZE[spec.dtype])
    pack = PackPlain(spec.dtype, spec.transposed, spec.groups, spec.ic, spec.oc, taps)
    low.call(node, pack, [low.ref(w), packed], low.params(), bytes=2 * low.nbytes(w))
    return packed


def _three(values: Sequence[int], filler: int) -> Three:
    a, b, c = [filler] * (3 - len(values)) + list(values)
    return a, b, c


def _sizes(p: Params, values: Sequence[Dim], filler: int) -> Sizes:
    a, b, c = (p.size(v) for v in [*([filler] * (3 - len(values))), *values])
    return a, b, c


@conv.expand
@conv_transpose.expand
def expand_halves(e: Expansion) -> list[Value] | None:
    """float16 and bfloat16 are convolved in float32."""
    dtype = e.type(e.input(0)).dtype
    if dtype not in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
        return None
    inputs = [e.cast(value, ir.DataType.FLOAT) for value in e.node.inputs if value is not None]
    (wide,) = e.add("", e.node.op_type, inputs, list(e.node.attributes.values()), 1)
    return [e.cast(wide, dtype)]
