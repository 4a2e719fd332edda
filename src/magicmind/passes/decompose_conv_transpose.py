"""ConvTranspose as a convolution whose outputs are interleaved: nothing is multiplied by inserted zeros.

With stride s, output f = s*q + p reads the taps k = p + s*t only: y[s*q + p] = sum over t of x[q - t] * w[p + s*t].
That is one convolution with s*s times the output channels (one set per phase p), DepthToSpace, and a Slice for the
padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir
from onnx_ir import DataType

from magicmind.ir.dims import Dim
from magicmind.ir.types import TensorType, const_of, dtype_of, shape_of
from magicmind.ops.conv_transpose import transposed_pads
from magicmind.ops.registry import NodeView
from magicmind.passes.edit import add_constant, attribute, graph_of, insert_node, replace_node, required
from magicmind.passes.infra import Decline, Rewrite
from magicmind.passes.quantised import dequantised, dequantised_constant

Weights = npt.NDArray[Any]


@dataclass(frozen=True)
class _Transposed:
    """Sizes per spatial axis: stride, padding at the begin, taps per phase, rows that output_padding adds."""

    strides: tuple[int, ...]
    begin: tuple[int, ...]
    taps: tuple[int, ...]
    more: tuple[int, ...]
    weights: Weights
    groups: int
    scale: Weights | None = None
    """Where the weights are whole numbers: of all, or of every output channel of every group."""


class DecomposeConvTranspose(Rewrite[_Transposed]):
    """ConvTranspose becomes Conv, DepthToSpace and Slice, with the weights sorted by output phase."""

    roots = frozenset({"ConvTranspose"})

    def match(self, node: onnx_ir.Node) -> _Transposed | Decline:
        weights = const_of(node.inputs[1])
        return Decline("the weights are computed at run time") if weights is None else self._decomposed(node, weights)

    def _decomposed(self, node: onnx_ir.Node, weights: Weights, scale: Weights | None = None) -> _Transposed | Decline:
        rank = weights.ndim - 2
        if rank > 2:
            return Decline(f"{rank}-D")
        strides = tuple(attribute(node, "strides", [1] * rank))
        if len(set(strides)) > 1 and not all(isinstance(d, int) for d in shape_of(node.outputs[0]) or [""]):
            return Decline("the strides differ and a size is mutable")
        begin = transposed_pads(NodeView(node))[0]
        fixed = tuple(p for p in begin if isinstance(p, int))
        if len(fixed) != rank or any(p < 0 for p in fixed):
            return Decline("the padding depends on a run-time size")
        spread = _dilated(weights, attribute(node, "dilations", [1] * rank))
        taps = tuple(-(-k // s) for k, s in zip(spread.shape[2:], strides, strict=True))
        extra = attribute(node, "output_padding", [0] * rank)
        ends = zip(spread.shape[2:], extra, taps, strides, strict=True)
        more = tuple(max(0, -(-(k + e - t * s) // s)) for k, e, t, s in ends)
        return _Transposed(strides, fixed, taps, more, spread, attribute(node, "group", 1), scale)

    def rewrite(self, node: onnx_ir.Node, found: _Transposed) -> None:
        graph, rank = graph_of(node), len(found.strides)
        x = required(node.inputs[0], node, "X")
        out, dtype, x_shape = shape_of(node.outputs[0]), dtype_of(x), shape_of(x)
        assert out is not None and dtype is not None and x_shape is not None
        phases = int(np.prod(found.strides))
        inputs = [x, _phased_weights(node, found)]
        bias = _numbers(node.inputs[2]) if len(node.inputs) > 2 else None
        if bias is not None:
            inputs.append(add_constant(graph, np.repeat(bias, phases), f"{node.name}.phases_bias"))
        elif len(node.inputs) > 2 and node.inputs[2] is not None:
            inputs.append(node.inputs[2])
        pads = [t - 1 for t in found.taps]
        spatial = tuple(d + t - 1 + m for d, t, m in zip(x_shape[2:], found.taps, found.more, strict=True))
        conv = insert_node(
            node,
            "Conv",
            inputs,
            {"pads": [*pads, *(p + m for p, m in zip(pads, found.more, strict=True))], "group": found.groups},
            name=node.name,
            types=[TensorType(dtype, (x_shape[0], out[1] * phases, *spatial))],
        )
        whole = conv.outputs[0]
        if phases > 1:
            full = tuple(d * s for d, s in zip(spatial, found.strides, strict=True))
            whole = _interleave(node, whole, found.strides, TensorType(dtype, (x_shape[0], out[1], *full)))
        begin = np.array(found.begin, np.int64)
        # Ends counted from the front where the size is a number, else from the back.
        ends = np.array([_end(b, d, w) for b, d, w in zip(found.begin, out[2:], shape_of(whole)[2:], strict=True)])  # type: ignore[index]
        axes = np.arange(2, 2 + rank, dtype=np.int64)
        crop = [add_constant(graph, a.astype(np.int64), f"{node.name}.crop") for a in (begin, ends, axes)]
        replace_node(node, "Slice", [whole, *crop], name=f"{node.name}.crop")


class DecomposeQuantisedConvTranspose(DecomposeConvTranspose):
    """ConvTranspose of dequantised bytes becomes Conv of them, DepthToSpace and Slice."""

    def match(self, node: onnx_ir.Node) -> _Transposed | Decline:
        weights = dequantised_constant(node.inputs[1])
        if weights is None or dequantised(node.inputs[0]) is None:
            return Decline("its operands are not dequantised")
        array, parameters = weights
        if parameters.zero.any() or not (parameters.per_tensor or parameters.axis % array.ndim == 1):
            return Decline("the weights have zero points, or scales along another axis than the output channels")
        if len(node.inputs) > 2 and node.inputs[2] is not None and _numbers(node.inputs[2]) is None:
            return Decline("the bias is computed at run time")
        return self._decomposed(node, array, parameters.scale)


def _numbers(value: onnx_ir.Value | None) -> Weights | None:
    """A constant in float32, also behind a DequantizeLinear."""
    quantised = dequantised_constant(value)
    if quantised is None:
        return const_of(value)
    array, parameters = quantised
    return ((array.astype(np.float64) - parameters.zero) * parameters.scale.astype(np.float64)).astype(np.float32)


def _phased_weights(node: onnx_ir.Node, found: _Transposed) -> onnx_ir.Value:
    """The weights of the convolution, behind a DequantizeLinear where they are whole numbers."""
    graph, name = graph_of(node), f"{node.name}.phases"
    phased = _by_phase(found)
    constant = add_constant(graph, phased, name)
    if found.scale is None:
        return constant
    each = np.repeat(np.tile(found.scale, found.groups), int(np.prod(found.strides)))
    scale: Weights = each if found.scale.size > 1 else found.scale.reshape(())
    parts = [constant, add_constant(graph, scale, f"{name}.scale")]
    types = [TensorType(DataType.FLOAT, phased.shape)]
    return insert_node(node, "DequantizeLinear", parts, {"axis": 0}, name=f"{name}.dequantize", types=types).outputs[0]


def _end(begin: int, size: object, whole: object) -> int:
    """Where the Slice stops on one axis."""
    if isinstance(size, int):
        return begin + size
    rest = whole - size - begin  # type: ignore[operator]
    return -rest if isinstance(rest, int) and rest > 0 else np.iinfo(np.int64).max


def _dilated(weights: Weights, dilations: list[int]) -> Weights:
    """The weights with their taps spread apart by zeros."""
    shape = [(k - 1) * d + 1 for k, d in zip(weights.shape[2:], dilations, strict=True)]
    spread = np.zeros((*weights.shape[:2], *shape), weights.dtype)
    every: Any = (..., *(slice(None, None, d) for d in dilations))
    spread[every] = weights
    return spread


def _by_phase(found: _Transposed) -> Weights:
    """w[ic, oc/g, k...] -> [oc * phases, ic/g, taps...]: entry (o, p) holds w[p + s*t], t running backwards."""
    w, s = found.weights, found.strides
    ic, oc = w.shape[:2]
    padded = np.pad(w, [(0, 0), (0, 0), *((0, t * n - k) for t, n, k in zip(found.taps, s, w.shape[2:], strict=True))])
    split = padded.reshape(
        found.groups, ic // found.groups, oc, *(v for pair in zip(found.taps, s, strict=True) for v in pair)
    )
    rank = len(s)
    taps, phases = [3 + 2 * i for i in range(rank)], [4 + 2 * i for i in range(rank)]
    flipped: Weights = np.flip(split, tuple(taps))
    return np.asarray(flipped.transpose(0, 2, *phases, 1, *taps).reshape(-1, ic // found.groups, *found.taps))


def _interleave(node: onnx_ir.Node, value: onnx_ir.Value, strides: tuple[int, ...], after: TensorType) -> onnx_ir.Value:
    """Phases from the channels into the spatial axes."""
    stride = strides[0]
    if after.rank == 4 and len(set(strides)) > 1:
        return _interleave_unequal(node, value, strides, after)
    if after.rank == 4:
        return insert_node(
            node,
            "DepthToSpace",
            [value],
            {"blocksize": stride, "mode": "CRD"},
            name=f"{node.name}.interleave",
            types=[after],
        ).outputs[0]
    graph, (n, c, w) = graph_of(node), after.dims
    split = add_constant(graph, np.array([0, c, stride, -1], np.int64), f"{node.name}.split")
    name = f"{node.name}.interleave"
    parts = insert_node(
        node,
        "Reshape",
        [value, split],
        name=f"{name}.split",
        types=[TensorType(after.dtype, (n, c, stride, w // stride))],
    ).outputs[0]
    turned = insert_node(
        node,
        "Transpose",
        [parts],
        {"perm": [0, 1, 3, 2]},
        name=f"{name}.turn",
        types=[TensorType(after.dtype, (n, c, w // stride, stride))],
    ).outputs[0]
    join = add_constant(graph, np.array([0, c, -1], np.int64), f"{node.name}.join")
    return insert_node(node, "Reshape", [turned, join], name=f"{name}.join", types=[after]).outputs[0]


def _interleave_unequal(
    node: onnx_ir.Node, value: onnx_ir.Value, strides: tuple[int, ...], after: TensorType
) -> onnx_ir.Value:
    """As `_interleave`, in two axes of known size with different strides."""
    graph, (n, c, h, w) = graph_of(node), after.dims
    down, across = strides
    name = f"{node.name}.interleave"
    shape = (n, c, down, across, h // down, w // across)

    def step(
        op_type: str, hint: str, read: onnx_ir.Value, shape: tuple[Dim, ...], perm: list[int] | None = None
    ) -> onnx_ir.Value:
        inputs = [read]
        if perm is None:
            inputs.append(add_constant(graph, np.array([0, *shape[1:]], np.int64), f"{node.name}.{hint}"))
        made = TensorType(after.dtype, shape)
        return insert_node(node, op_type, inputs, {"perm": perm}, name=f"{name}.{hint}", types=[made]).outputs[0]

    parts = step("Reshape", "split", value, shape)
    turned = step("Transpose", "turn", parts, tuple(shape[i] for i in (0, 1, 4, 2, 5, 3)), [0, 1, 4, 2, 5, 3])
    return step("Reshape", "join", turned, after.dims)
