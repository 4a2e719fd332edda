"""magicmind.SeparableConv: a depthwise convolution, a program on its result, and a pointwise convolution.

Inputs X, V [C,1,kh,kw], C?, W [M,C,1,1], B?, x0, ...; attributes `strides`, `pads`, `dilations` and `inner` (a scalar
program on `acc`) of the depthwise part, `epilogue` of the pointwise one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from magicmind.ir.dims import product
from magicmind.ir.evaluate import evaluate_op
from magicmind.ir.types import TensorType
from magicmind.kernels.conv.candidates import separable_candidates
from magicmind.kernels.conv.pack import pack_bias, pack_depthwise, pack_direct
from magicmind.kernels.conv.separable import SeparableConv
from magicmind.kernels.conv.types import ConvTypes
from magicmind.lower.lowering import Lowering
from magicmind.ops.fused import program_of
from magicmind.ops.geometry import static_kernel, window_of
from magicmind.ops.lower_conv import Geometry, conv_shape, folded_bias, read_epilogue, reuse_residual
from magicmind.ops.registry import Array, NodeView, Op

separable = Op("SeparableConv", "magicmind")

FIRST_OPERAND = 5


@separable.infer
def infer(node: NodeView) -> list[TensorType]:
    """The depthwise part gives the image size, W the channels, the epilogue the dtype."""
    x, v, w = node.input(0), node.input(1), node.input(3)
    program = program_of(node.node)
    operands = {f"x{i}": node.input(FIRST_OPERAND + i).dtype for i in range(len(node.node.inputs) - FIRST_OPERAND)}
    dtype = x.dtype if program is None else program.result_dtype({"acc": x.dtype, **operands})
    return [TensorType(dtype, (x.dims[0], w.dims[0], *window_of(node, x.dims[2:], static_kernel(v.dims[2:])).output))]


@separable.reference
def reference(node: ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """Two ONNX Convs with their programs."""
    view = NodeView(node)
    v = np.asarray(arrays[1])
    names = ("strides", "pads", "dilations")
    attributes = {name: view.ints_attr(name) for name in names if view.ints_attr(name) is not None}
    (between,) = evaluate_op("Conv", arrays[:3], {**attributes, "group": v.shape[0]})
    inner, epilogue = program_of(node, "inner"), program_of(node)
    between = between if inner is None else inner.evaluate({"acc": between})
    (acc,) = evaluate_op("Conv", [between, *arrays[3:5]], {})
    if epilogue is None:
        return [acc]
    operands = {f"x{i}": a for i, a in enumerate(arrays[FIRST_OPERAND:]) if a is not None}
    return [np.broadcast_to(epilogue.evaluate({"acc": acc, **operands}), acc.shape)]


@separable.lower
def lower(low: Lowering, node: ir.Node) -> None:
    x, weights, out = node.inputs[0], node.inputs[3], node.outputs[0]
    v, w = low.const(node.inputs[1]), low.const(weights)
    assert x is not None and weights is not None and v is not None and w is not None
    inner_bias, bias = low.const(node.inputs[2]), low.const(node.inputs[4] if len(node.inputs) > 4 else None)
    p = low.params()
    types = ConvTypes(low.dtype(x), low.dtype(weights), low.dtype(out))
    first = Geometry(low, node, v)
    first.groups = v.shape[0]
    depthwise = conv_shape(first, p)
    second = first.pointwise_after(w)
    pointwise = conv_shape(second, p)
    epilogue, extras = read_epilogue(low, node, FIRST_OPERAND)
    reuse_residual(low, node, FIRST_OPERAND, epilogue)
    candidates = separable_candidates(depthwise, pointwise, low.target, replace(types, x="f32"))
    mr, schedule = low.choose(candidates, p, "separable", repr(depthwise), repr(pointwise), types, epilogue)
    spec = SeparableConv(depthwise, pointwise, mr, schedule, program_of(node, "inner"), epilogue, types)
    refs = [
        low.ref(x),
        low.weight(pack_depthwise(first.weights.astype(np.float32))),
        low.weight(pack_bias(folded_bias(v, inner_bias, types), 1, v.shape[0])),
        low.weight(pack_direct(second.weights, 1, schedule.nr)),
        low.weight(pack_bias(folded_bias(w, bias, types), 1, w.shape[0])),
        *extras,
        low.ref(out),
    ]
    pixels = product([first.batch, *first.output])
    low.call(
        node,
        spec,
        refs,
        p,
        flops=pixels * (2 * int(v.size + w.size)),
        bytes=low.nbytes(x) + low.nbytes(out) + v.nbytes + w.nbytes,
        scratch=spec.scratch_bytes(low.target, first.output[1]),
    )
