"""Lowering of `magicmind.Conv`: sizes, packed weights, kernel choice."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from magicmind.codegen.builder import Size
from magicmind.codegen.target import BLOCK
from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.dims import Dim, product
from magicmind.kernels.conv.candidates import ConvSchedule, FlatSchedule, conv_candidates, depthwise_candidates
from magicmind.kernels.conv.depthwise import DepthwiseConv
from magicmind.kernels.conv.direct import DirectConv
from magicmind.kernels.conv.pack import (
    merge_groups,
    pack_axis_zeros,
    pack_bias,
    pack_chunks,
    pack_depthwise,
    pack_direct,
    pack_few_channels,
    pad_axis,
)
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.conv.winograd import WinogradConv, WinogradSchedule, pack_winograd
from magicmind.kernels.epilogue import Epilogue
from magicmind.kernels.matmul import MatMul, matmul_candidates
from magicmind.lower.lowering import Lowering
from magicmind.lower.plan import Params, Ref
from magicmind.ops.fused import conv, program_of
from magicmind.ops.operands import has_few_channels, operand_kind
from magicmind.ops.registry import NodeView

FloatArray = npt.NDArray[np.float32]

FIRST_OPERAND = 3
"""Number of the first epilogue operand among the inputs."""


def read_epilogue(low: Lowering, node: ir.Node, first: int) -> tuple[Epilogue, list[Ref]]:
    """The node's scalar program and the memory of its operands, which are the inputs from number `first` on."""
    program = program_of(node)
    if program is None:
        return Epilogue(), []
    out = low.shape(node.outputs[0])
    kinds, refs = [], []
    for value in node.inputs[first:]:
        assert value is not None
        array = low.const(value)
        kind = operand_kind(low.shape(value), out, array is not None)
        assert kind is not None, f"{node.name}: operand {value.name} cannot be fused"
        kinds.append(kind)
        if kind == "channel" and array is not None:
            refs.append(low.weight(pack_axis_zeros(np.asarray(array, np.float32).ravel())))
        else:
            refs.append(low.ref(value))
    return Epilogue(program, tuple(kinds)), refs


class Geometry:
    """The node's attributes for two spatial axes; a 1-D convolution is 2-D with one row."""

    def __init__(self, low: Lowering, node: ir.Node, weights: FloatArray) -> None:
        spatial = weights.ndim - 2
        lead = [0] * (2 - spatial)

        def pair(name: str, default: int) -> list[int]:
            return [default] * len(lead) + list(NodeView(node).attr(name, [default] * spatial))

        self.groups = int(NodeView(node).attr("group", 1))
        self.strides, self.dilations = pair("strides", 1), pair("dilations", 1)
        pads = list(NodeView(node).attr("pads", [0] * (2 * spatial)))
        self.begin, self.end = lead + pads[:spatial], lead + pads[spatial:]
        self.batch = low.shape(node.inputs[0])[0]  # type: ignore[arg-type]
        self.input: list[Dim] = [*([1] * len(lead)), *low.shape(node.inputs[0])[2:]]  # type: ignore[arg-type]
        self.output: list[Dim] = [*([1] * len(lead)), *low.shape(node.outputs[0])[2:]]
        self.weights = weights.reshape(weights.shape[0], weights.shape[1], *([1] * len(lead)), *weights.shape[2:])

    def pointwise_after(self, weights: FloatArray) -> Geometry:
        """A 1x1 convolution with these weights on this one's result."""
        after = copy.copy(self)
        after.groups, after.weights = 1, weights
        after.strides = after.dilations = [1, 1]
        after.begin = after.end = [0, 0]
        after.input = after.output
        return after

    @property
    def is_pointwise(self) -> bool:
        return self.weights.shape[2:] == (1, 1) and not any(self.begin + self.end)


def _candidates(g: Geometry, shape: ConvShape, low: Lowering, *, plain: bool, exact: bool) -> list[ConvSchedule]:
    """Direct and Winograd schedules. A pointwise convolution sees its pixels as rows of a width to choose."""
    pixels = product(g.input)
    any_width = not plain and g.is_pointwise and g.strides == [1, 1] and pixels != 0
    return conv_candidates(shape, low.target, pixels=pixels if any_width else None, winograd=not (plain or exact))


def conv_shape(g: Geometry, p: Params) -> ConvShape:
    oc, ic, kh, kw = g.weights.shape
    sizes: list[Size] = [p.size(d) for d in (g.batch, *g.input, *g.output)]
    n, ih, iw, oh, ow = sizes
    return ConvShape(
        n=n,
        groups=g.groups,
        ic=ic,
        oc=oc // g.groups,
        ih=ih,
        iw=iw,
        oh=oh,
        ow=ow,
        kh=kh,
        kw=kw,
        sh=g.strides[0],
        sw=g.strides[1],
        dh=g.dilations[0],
        dw=g.dilations[1],
        pt=g.begin[0],
        pl=g.begin[1],
        padded=any(g.begin + g.end),
    )


def _join_groups(g: Geometry) -> None:
    """Groups whose channels do not fill blocks of 16 are merged until they do (their weights become block-diagonal)."""
    oc, ic = g.weights.shape[0] // g.groups, g.weights.shape[1]
    if g.groups == 1 or (oc % BLOCK == 0 and ic % BLOCK == 0):
        return
    for together in range(2, g.groups + 1):
        if g.groups % together == 0 and (
            together == g.groups or (together * oc) % BLOCK == (together * ic) % BLOCK == 0
        ):
            g.weights = merge_groups(g.weights, g.groups, together)
            g.groups //= together
            return


@conv.lower
def lower(low: Lowering, node: ir.Node) -> None:
    x, out = node.inputs[0], node.outputs[0]
    weights = low.const(node.inputs[1])
    bias = low.const(node.inputs[2]) if len(node.inputs) > 2 else None
    if weights is None or (len(node.inputs) > 2 and node.inputs[2] is not None and bias is None):
        raise UnsupportedOperatorError(
            f"{low.describe_node(node)}: weights computed at run time are not supported", hint="make them initializers"
        )
    if weights.ndim not in (3, 4):
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: {weights.ndim - 2}-D convolution is not supported")
    assert x is not None
    g = Geometry(low, node, np.asarray(weights, np.float32))
    epilogue, extras = read_epilogue(low, node, FIRST_OPERAND)
    p = low.params()
    flops = product([g.batch, *g.output]) * (2 * int(weights.size))
    reuse_residual(low, node, FIRST_OPERAND, epilogue)
    memory = low.nbytes(x) + low.nbytes(out) + weights.nbytes

    def call(spec: Any, packed: FloatArray, packed_bias: FloatArray, scratch: Dim = 0) -> None:
        refs = [low.ref(x), low.weight(packed), low.weight(packed_bias), *extras, low.ref(out)]
        low.call(node, spec, refs, p, flops=flops, bytes=memory, scratch=scratch)

    oc, ic = g.weights.shape[:2]
    if g.groups > 1 and ic == 1 and oc == g.groups:
        shape = conv_shape(g, p)
        rows = low.choose(depthwise_candidates(shape, low.target), p, "depthwise", repr(shape), epilogue)
        call(DepthwiseConv(shape, rows, epilogue), pack_depthwise(g.weights), pack_bias(bias, 1, oc))
        return
    if g.is_pointwise and g.groups == 1 and ic % BLOCK == 0 and all(d == 1 for d in g.output):
        # One pixel per image: the blocked tensors are matrices with a row per image.
        columns = pad_axis(g.weights.reshape(oc, ic).T, 1, BLOCK)
        m = p.size(g.batch)
        tile = low.choose(matmul_candidates(low.target, g.batch), p, "matmul", 1, m, oc, ic, epilogue)
        product_spec = MatMul(
            batch=1,
            m=m,
            n=columns.shape[1],
            k=ic,
            schedule=tile,
            has_bias=True,
            epilogue=epilogue,
        )
        call(product_spec, pack_chunks(columns, tile.nr), pack_bias(bias, 1, oc))
        return
    _join_groups(g)
    plain = has_few_channels(node)
    sizes = low.params()
    shape = conv_shape(g, sizes)
    candidates = _candidates(g, shape, low, plain=plain, exact=bool(NodeView(node).attr("exact", 0)))
    schedule = low.choose(candidates, sizes, "first conv" if plain else "conv", repr(shape), epilogue)
    if isinstance(schedule, FlatSchedule):
        g.input = g.output = [product(g.input) // schedule.width, schedule.width]
        schedule = schedule.schedule
    shape = conv_shape(g, p)
    if isinstance(schedule, WinogradSchedule):
        winograd = WinogradConv(shape, schedule, epilogue)
        packed = pack_winograd(g.weights, schedule.m, schedule.nr)
        call(winograd, packed, pack_bias(bias, 1, shape.oc), winograd.scratch_bytes())
        return
    direct = DirectConv(shape, schedule, epilogue, plain)
    packed = pack_few_channels(g.weights, schedule.nr) if plain else pack_direct(g.weights, g.groups, schedule.nr)
    call(direct, packed, pack_bias(bias, g.groups, shape.oc), direct.scratch_bytes(low.target, g.output[1]))


def reuse_residual(low: Lowering, node: ir.Node, first: int, epilogue: Epilogue) -> None:
    """Writes the result over a residual operand that dies here: every element is read before it is written."""
    x = node.inputs[0]
    assert x is not None
    for value, kind in zip(node.inputs[first:], epilogue.operands, strict=False):
        if kind != "same" or value is None or low.ref(value).storage is low.ref(x).storage:
            continue
        if low.reuse(node.outputs[0], value):
            return
