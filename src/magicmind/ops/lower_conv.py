"""Lowering of `magicmind.Conv`: sizes, packed weights, kernel choice."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from magicmind.codegen.builder import Size
from magicmind.codegen.dot import dot_format
from magicmind.codegen.target import BLOCK
from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.dims import Dim, product
from magicmind.kernels.contract import weight_group
from magicmind.kernels.conv.candidates import ConvSchedule, FlatSchedule, conv_candidates, depthwise_candidates
from magicmind.kernels.conv.depthwise import DepthwiseConv, depthwise_types, packed_depthwise
from magicmind.kernels.conv.depthwise_copied import MOST_TAPS
from magicmind.kernels.conv.direct import DirectConv
from magicmind.kernels.conv.load import Load
from magicmind.kernels.conv.pack import (
    Weights,
    merge_groups,
    pack_axis_zeros,
    pack_bias,
    pack_chunks,
    pack_direct,
    pack_few_channels,
    pad_axis,
)
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.conv.types import ConvTypes
from magicmind.kernels.conv.winograd import WinogradConv, WinogradSchedule, pack_winograd
from magicmind.kernels.conv.winograd_weights import WinogradWeights
from magicmind.kernels.epilogue import Epilogue
from magicmind.kernels.matmul import MatMul, matmul_candidates
from magicmind.kernels.matmul_operands import Types
from magicmind.lower.lowering import Lowering
from magicmind.lower.plan import Params, Ref
from magicmind.ops.first_conv import first_conv, load_of, loaded_dtype
from magicmind.ops.fused import conv, program_of
from magicmind.ops.operands import has_few_channels, operand_kind
from magicmind.ops.registry import NodeView
from magicmind.ops.rounding import fits_int32

FIRST_OPERAND = 3
"""Number of the first epilogue operand among the inputs."""


def read_epilogue(low: Lowering, node: ir.Node, first: int) -> tuple[Epilogue, list[Ref]]:
    """The node's scalar program and the memory of its operands, which are the inputs from number `first` on."""
    program = program_of(node)
    if program is None:
        return Epilogue(), []
    out = low.shape(node.outputs[0])
    kinds, dtypes, refs, arrays = [], [], [], []
    for value in node.inputs[first:]:
        assert value is not None
        array = low.const(value)
        arrays.append(array)
        kind = operand_kind(low.shape(value), out, array is not None)
        assert kind is not None, f"{node.name}: operand {value.name} cannot be fused"
        kinds.append(kind)
        if kind == "channel" and array is not None:
            dtypes.append("f32")
            refs.append(low.weight(pack_axis_zeros(np.asarray(array, np.float32).ravel())))
        else:
            dtypes.append(low.dtype(value))
            refs.append(low.ref(value))
    weights = node.inputs[1]
    sums = "i32" if weights is not None and low.dtype(weights) == "i8" else "f32"
    fits = fits_int32(program, sums, list(zip(dtypes, arrays, strict=True)))
    return Epilogue(program, tuple(kinds), tuple(dtypes), fits), refs


def conv_types(low: Lowering, node: ir.Node, loaded: str | None = None) -> ConvTypes:
    """The element types of a convolution, `loaded` where its input becomes another type on the way.

    Raises UnsupportedOperatorError for weights that have no kernel.
    """
    x, w, out = node.inputs[0], node.inputs[1], node.outputs[0]
    assert x is not None and w is not None
    types = ConvTypes(loaded or low.dtype(x), low.dtype(w), low.dtype(out), int(NodeView(node).attr("x_zero", 0)))
    if (types.x, types.w) not in _SUPPORTED:
        known = ", ".join(f"{w} weights on {x}" for x, w in _SUPPORTED)
        raise UnsupportedOperatorError(
            f"{low.describe_node(node)}: {types.w} weights on {types.x} input have no kernel", hint=f"there are {known}"
        )
    return types


_SUPPORTED = (("f32", "f32"), ("f16", "f16"), ("f32", "f16"), ("f16", "f32"), ("u8", "i8"), ("i16", "i16"))


def folded_bias(weights: Weights, bias: Weights | None, types: ConvTypes) -> Weights:
    """One value per output channel in the accumulators' type, with what x_zero adds to every sum."""
    oc = weights.shape[0]
    if not types.is_integer:
        return np.zeros(oc, np.float32) if bias is None else np.asarray(bias, np.float32).reshape(oc)
    zero = types.x_zero * weights.reshape(oc, -1).sum(1, dtype=np.int64)
    total = np.asarray((0 if bias is None else bias.astype(np.int64)) - zero)
    return total.astype(np.int32 if types.acc == "i32" else np.int64)


class Geometry:
    """The node's attributes for two spatial axes; a 1-D convolution is 2-D with one row."""

    def __init__(self, low: Lowering, node: ir.Node, weights: Weights, *, channels_last: bool = False) -> None:
        spatial = weights.ndim - 2
        lead = [0] * (2 - spatial)

        def pair(name: str, default: int) -> list[int]:
            return [default] * len(lead) + list(NodeView(node).attr(name, [default] * spatial))

        self.groups = int(NodeView(node).attr("group", 1))
        self.strides, self.dilations = pair("strides", 1), pair("dilations", 1)
        pads = list(NodeView(node).attr("pads", [0] * (2 * spatial)))
        self.begin, self.end = lead + pads[:spatial], lead + pads[spatial:]
        self.batch = low.shape(node.inputs[0])[0]  # type: ignore[arg-type]
        first = 1 if channels_last else 2
        positions = low.shape(node.inputs[0])[first : first + spatial]  # type: ignore[arg-type]
        self.input: list[Dim] = [*([1] * len(lead)), *positions]
        self.output: list[Dim] = [*([1] * len(lead)), *low.shape(node.outputs[0])[2:]]
        self.weights = weights.reshape(weights.shape[0], weights.shape[1], *([1] * len(lead)), *weights.shape[2:])

    def pointwise_after(self, weights: Weights) -> Geometry:
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


def _candidates(
    g: Geometry, shape: ConvShape, low: Lowering, types: ConvTypes, *, plain: bool, exact: bool
) -> Sequence[ConvSchedule]:
    """Direct and Winograd schedules. A pointwise convolution sees its pixels as rows of a width to choose."""
    pixels = product(g.input)
    any_width = not plain and g.is_pointwise and g.strides == [1, 1] and pixels != 0
    winograd = not (plain or exact)
    return conv_candidates(shape, low.target, pixels=pixels if any_width else None, winograd=winograd, types=types)


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
@first_conv.lower
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
    load = load_of(node, weights.shape[1]) if node.op_type == "FirstConv" else None
    types = conv_types(low, node, None if load is None else loaded_dtype(node))
    g = Geometry(low, node, weights, channels_last=load is not None and load.channels_last)
    packed_bias = folded_bias(g.weights, bias, types)
    epilogue, extras = read_epilogue(low, node, FIRST_OPERAND)
    p = low.params()
    flops = product([g.batch, *g.output]) * (2 * int(weights.size))
    reuse_residual(low, node, FIRST_OPERAND, epilogue)
    memory = low.nbytes(x) + low.nbytes(out) + weights.nbytes

    def call(spec: Any, packed: Weights | Ref, groups: int, scratch: Dim = 0) -> None:
        per_channel = pack_bias(packed_bias, groups, packed_bias.size // groups)
        refs = [
            low.ref(x),
            packed if isinstance(packed, Ref) else low.weight(packed),
            low.weight(per_channel),
            *extras,
            low.ref(out),
        ]
        low.call(node, spec, refs, p, flops=flops, bytes=memory, scratch=scratch)

    oc, ic = g.weights.shape[:2]
    if g.groups > 1 and ic == 1 and oc == g.groups and (types.x != "u8" or weights[0].size <= MOST_TAPS):
        shape = conv_shape(g, p)
        depthwise = depthwise_types(shape, types, low.target)
        rows = low.choose(
            depthwise_candidates(shape, low.target, depthwise), p, "depthwise", repr(shape), depthwise, epilogue
        )
        spec = DepthwiseConv(shape, rows, epilogue, depthwise)
        packed = packed_depthwise(shape, depthwise, low.target, g.weights)
        call(spec, packed, 1, spec.scratch_bytes(low.target, g.output[1]))
        return
    if g.is_pointwise and g.groups == 1 and ic % BLOCK == 0 and all(d == 1 for d in g.output):
        # One pixel per image: the blocked tensors are matrices with a row per image.
        columns = pad_axis(g.weights.reshape(oc, ic).T, 1, BLOCK)
        m = p.size(g.batch)
        factors = Types(types.x, types.w, types.y)
        candidates = matmul_candidates(low.target, g.batch, oc, factors, ic)
        tile = low.choose(candidates, p, "matmul", 1, m, oc, ic, factors, epilogue)
        product_spec = MatMul(
            batch=1,
            m=m,
            n=columns.shape[1],
            k=ic,
            schedule=tile,
            has_bias=True,
            epilogue=epilogue,
            types=factors,
        )
        kr = weight_group(low.target, types.w)
        call(product_spec, pack_chunks(columns, tile.nr, kr), 1, product_spec.scratch_bytes(low.target, ic))
        return
    _join_groups(g)
    plain = has_few_channels(node)
    if plain and load is None:
        load = Load(types.x)
    sizes = low.params()
    shape = conv_shape(g, sizes)
    exact = bool(NodeView(node).attr("exact", 0)) and not types.is_integer  # whole numbers are exact in any way
    schedules = _candidates(g, shape, low, types, plain=plain, exact=exact)
    schedule = low.choose(schedules, sizes, "first conv" if plain else "conv", repr(shape), types, epilogue)
    if isinstance(schedule, FlatSchedule):
        g.input = g.output = [product(g.input) // schedule.width, schedule.width]
        schedule = schedule.schedule
    shape = conv_shape(g, p)
    if isinstance(schedule, WinogradSchedule):
        winograd = WinogradConv(shape, schedule, epilogue, types)
        call(winograd, _winograd_weights(low, node, g, shape, schedule), 1, winograd.scratch_bytes())
        return
    direct = DirectConv(shape, schedule, epilogue, load, types)
    kr = weight_group(low.target, types.w)
    packed = (
        pack_few_channels(g.weights, schedule.nr, kr, direct.copy.run)
        if plain
        else pack_direct(g.weights, g.groups, schedule.nr, kr)
    )
    call(direct, packed, g.groups, direct.scratch_bytes(low.target, g.output[1]))


def _winograd_weights(
    low: Lowering, node: ir.Node, g: Geometry, shape: ConvShape, schedule: WinogradSchedule
) -> Weights | Ref:
    """float32 ones are transformed here, so that the file is mapped and nothing is left to do; smaller ones at load, or
    the file would be larger than what it was made of."""
    if g.weights.dtype == np.float32:
        return pack_winograd(g.weights, schedule.m, schedule.nr)
    dtype, kr = ("f16", 1) if g.weights.dtype == np.float16 else ("i8", dot_format(low.target, words=True).kr)
    spec = WinogradWeights(schedule.m, schedule.nr, shape.ic_blocks, shape.oc_blocks, dtype)
    source = low.weight(pack_direct(g.weights, 1, schedule.nr, kr))
    return low.prepared(node, spec, [source], spec.bytes, flops=spec.flops)


def reuse_residual(low: Lowering, node: ir.Node, first: int, epilogue: Epilogue) -> None:
    """Writes the result over a residual operand that dies here: every element is read before it is written."""
    x = node.inputs[0]
    assert x is not None
    for value, kind in zip(node.inputs[first:], epilogue.operands, strict=False):
        if kind != "same" or value is None or low.ref(value).storage is low.ref(x).storage:
            continue
        if low.reuse(node.outputs[0], value):
            return
