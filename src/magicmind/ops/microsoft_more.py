"""Rarer operators that onnxruntime's tools write (domain com.microsoft): quantised products and attention, weights of
few bits, rotary positions, layers of diffusion models, and early names of ONNX operators.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx_ir import DataType

from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.ir.types import TensorType, const_of
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.integer import dequantised, dequantised_bias, has_kernel, requantise
from magicmind.ops.microsoft import activated, embed, fused_matmul, swapped
from magicmind.ops.qlinear import turned
from magicmind.ops.quantise import MICROSOFT, along_axis, centred, dequantise, quantise
from magicmind.ops.registry import NodeView, Op
from magicmind.ops.shapes import need_rank, same_dim

# ----------------------------------------------------------------------------------------------- additions fused in


@Op("BiasAdd", MICROSOFT).expand
def expand_bias_add(e: Expansion) -> list[Value]:
    """X + bias + skip."""
    return [e.op("Add", e.op("Add", e.input(0), e.input(1)), e.input(2))]


@Op("BiasSplitGelu", MICROSOFT).expand
def expand_bias_split_gelu(e: Expansion) -> list[Value]:
    """With x = X + bias: its first half along the last axis times GELU of its second."""
    left, right = e.ops("Split", e.op("Add", e.input(0), e.input(1)), count=2, axis=-1, num_outputs=2)
    return [e.op("Mul", left, e.op("Gelu", right))]


@Op("BiasSoftmax", MICROSOFT).expand
def expand_bias_softmax(e: Expansion) -> list[Value]:
    """Softmax of data + bias along the last axis."""
    x = e.input(0)
    if e.view.axis(1, e.rank(x)) != e.rank(x) - 1:
        raise UnsupportedOperatorError("a softmax over several axes at once")
    return [e.op("Softmax", e.op("Add", x, e.input(1)), axis=-1)]


@Op("FusedMatMulActivation", MICROSOFT).expand
def expand_matmul_activation(e: Expansion) -> list[Value]:
    """activation(alpha * A @ B)."""
    y = fused_matmul(e)
    params = [e.view.attr(f"activation_{name}") for name in ("alpha", "beta")]
    return [activated(e, y, e.view.attr("activation", ""), [v for v in params if v is not None])]


def _group_norm(e: Expansion, x: Value) -> Value:
    """Groups of channels normalised, then SiLU where `activation` is 1; channels are the last axis unless told."""
    last = bool(e.view.attr("channels_last", 1))
    if last:
        x = e.op("Transpose", x, perm=[0, 3, 1, 2])
    words: dict[str, Any] = {"num_groups": e.view.attr("groups", 1), "epsilon": e.view.attr("epsilon", 1e-5)}
    y = e.op("GroupNormalization", x, e.cast_like(e.input(1), x), e.cast_like(e.input(2), x), **words)
    y = e.op("Mul", y, e.op("Sigmoid", y)) if e.view.attr("activation", 0) else y
    return e.op("Transpose", y, perm=[0, 2, 3, 1]) if last else y


@Op("GroupNorm", MICROSOFT).expand
def expand_group_norm(e: Expansion) -> list[Value]:
    """X, gamma, beta."""
    return [_group_norm(e, e.input(0))]


@Op("SkipGroupNorm", MICROSOFT).expand
def expand_skip_group_norm(e: Expansion) -> list[Value]:
    """X, gamma, beta, skip, bias: of the sum, which is the second output."""
    skip = e.input(3)
    total = e.op("Add", e.input(0), e.unsqueeze(skip, 1, 2) if e.rank(skip) == 2 else skip)
    total = e.op("Add", total, e.input(4)) if e.has(4) else total
    return [_group_norm(e, total), total][: len(e.node.outputs)]


# --------------------------------------------------------------------------------------------------------- quantised


def _dequantised(e: Expansion, i: int, scale: int, zero: int, axis: int = -1) -> Value:
    """Input `i` as floats, by the inputs with its scale and zero point."""
    x = e.input(i)
    placed = along_axis(e, e.input(zero), x, axis) if e.has(zero) else None
    return dequantise(e, x, along_axis(e, e.input(scale), x, axis), placed)


@Op("QLinearWhere", MICROSOFT).expand
def expand_where(e: Expansion) -> list[Value]:
    """condition, X, scale, zero, Y, scale, zero, scale and zero of the result."""
    y = e.op("Where", e.input(0), _dequantised(e, 1, 2, 3), _dequantised(e, 4, 5, 6))
    return [quantise(e, y, e.input(7), e.optional(8), e.type(e.input(1)).dtype)]


@Op("QLinearReduceMean", MICROSOFT).expand
def expand_reduce_mean(e: Expansion) -> list[Value]:
    """data, scale, zero, scale and zero of the result."""
    axes = e.view.ints_attr("axes")
    words: dict[str, Any] = {"keepdims": e.view.attr("keepdims", 1)}
    y = e.op("ReduceMean", _dequantised(e, 0, 1, 2), None if axes is None else e.ints(*axes), **words)
    return [quantise(e, y, e.input(3), e.optional(4), e.type(e.input(0)).dtype)]


@Op("QGemm", MICROSOFT).expand
def expand_gemm(e: Expansion) -> list[Value]:
    """A, scale, zero, B, scale, zero, int32 C, scale and zero of the result (floats without them)."""
    if e.has(7) and not e.has(8):
        raise ModelFormatError("the result's zero point (input 8) is missing")
    b_axis = 0 if e.view.attr("transB", 0) else 1
    if has_kernel(e, 0, 3, w_axis=b_axis, single=(1, 2, 7, 8), known=(4, 6)):
        return _byte_gemm(e, b_axis)
    a = swapped(e, e.input(0)) if e.view.attr("transA", 0) else e.input(0)
    b = swapped(e, e.input(3)) if e.view.attr("transB", 0) else e.input(3)
    b_zero = None if not e.has(5) else along_axis(e, e.input(5), b, -1)
    total = e.op("MatMul", centred(e, a, along_axis(e, e.input(2), a, -1)), centred(e, b, b_zero))
    total = e.op("Add", total, e.input(6)) if e.has(6) else total
    alpha = e.const(e.view.attr("alpha", 1.0), np.float32)
    factor = e.op("Mul", e.op("Mul", alpha, along_axis(e, e.input(1), total, -1)), along_axis(e, e.input(4), total, -1))
    if not e.has(7):
        return [e.op("Mul", e.cast(total, DataType.FLOAT), factor)]
    factor = e.op("Div", factor, along_axis(e, e.input(7), total, -1))
    return [requantise(e, total, factor, along_axis(e, e.input(8), total, -1))]


def _byte_gemm(e: Expansion, b_axis: int) -> list[Value]:
    """QGemm written with dequantised numbers; `alpha` is part of the weights' scale."""
    alpha, b_scale = float(e.view.attr("alpha", 1.0)), const_of(e.input(4))
    assert b_scale is not None
    scale = e.const(b_scale * np.float32(alpha), np.float32)
    b = e.op("DequantizeLinear", e.input(3), scale, e.optional(5), axis=b_axis)
    a = dequantised(e, 0)
    a = swapped(e, a) if e.view.attr("transA", 0) else a
    c = dequantised_bias(e, e.input(6), alpha) if e.has(6) else None
    y = e.op("Gemm", a, b, c, transB=1 - b_axis)
    return [e.op("QuantizeLinear", y, e.input(7), e.input(8))] if e.has(7) else [y]


@Op("QLinearConv", MICROSOFT).expand
def expand_conv(e: Expansion) -> list[Value]:
    """ONNX's, and with `channels_last` that of data whose channels are the last axis; weights are as always."""
    names = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    given: dict[str, Any] = {name: e.view.attr(name) for name in names}
    last, x = bool(e.view.attr("channels_last", 0)), e.input(0)
    x = turned(e, x, to_first=True) if last else x
    y = e.op("QLinearConv", x, *(e.optional(i) for i in range(1, len(e.node.inputs))), **given)
    return [turned(e, y, to_first=False) if last else y]


@Op("NhwcMaxPool", MICROSOFT).expand
def expand_nhwc_max_pool(e: Expansion) -> list[Value]:
    """MaxPool with the channels last."""
    names = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")
    given: dict[str, Any] = {name: e.view.attr(name) for name in names}
    y = e.op("MaxPool", turned(e, e.input(0), to_first=True), **given)
    return [turned(e, y, to_first=False)]


@Op("QAttention", MICROSOFT).expand
def expand_attention(e: Expansion) -> list[Value]:
    """input, weight, bias, their scales, mask, their zero points, past: Attention of dequantised values."""
    x, weight = (e.op("DequantizeLinear", e.input(i), e.input(3 + i), e.optional(6 + i), axis=1) for i in (0, 1))
    names = ("num_heads", "unidirectional", "scale", "mask_filter_value", "do_rotary")
    given = {name: e.view.attr(name) for name in names}
    inputs = [x, weight, e.input(2), e.optional(5), e.optional(8)]
    return list(e.ops("Attention", *inputs, domain=MICROSOFT, count=len(e.node.outputs), **given))


@Op("QEmbedLayerNormalization", MICROSOFT).expand
def expand_embed(e: Expansion) -> list[Value]:
    """ids, segments; words, positions, segment table, gamma, beta, all quantised; mask, five scales, five zeros."""

    def rows(i: int, at: Value) -> Value:
        return e.op("DequantizeLinear", e.op("Gather", e.input(i), at, axis=0), e.input(i + 6), e.input(i + 11))

    gamma, beta = (e.op("DequantizeLinear", e.input(i), e.input(i + 6), e.input(i + 11)) for i in (5, 6))
    return embed(e, rows, gamma, beta)


@Op("DynamicQuantizeLSTM", MICROSOFT).expand
def expand_lstm(e: Expansion) -> list[Value]:
    """X, W, R, B, lengths, h, c, P, scales and zero points of W and R; the input stays float, which loses nothing."""
    weights = []
    for i, scale, zero in ((1, 8, 9), (2, 10, 11)):
        q, axes = e.input(i), (1, 2) if e.rank(e.input(scale)) == 1 else (1,)
        centre = centred(e, q, e.unsqueeze(e.input(zero), *axes) if e.has(zero) else None)
        real = e.op("Mul", e.cast(centre, DataType.FLOAT), e.unsqueeze(e.input(scale), *axes))
        weights.append(e.op("Transpose", real, perm=[0, 2, 1]))
    names = ("activations", "activation_alpha", "activation_beta", "clip", "direction", "hidden_size", "input_forget")
    given = {name: e.view.attr(name) for name in names}
    inputs = [e.input(0), *weights, *(e.optional(i) for i in range(3, 8))]
    return list(e.ops("LSTM", *inputs, count=len(e.node.outputs), **given))


# ------------------------------------------------------------------------------------------------ weights of few bits


@Op("MatMulNBits", MICROSOFT).expand
def expand_matmul_bits(e: Expansion) -> list[Value]:
    """A @ W^T + bias; W [N, K] is packed in blocks along K, each with a scale and perhaps a zero point."""
    if e.has(4):
        raise UnsupportedOperatorError("an order of columns (g_idx) is not supported")
    bits, block = e.view.attr("bits", 4), e.view.attr("block_size", 0)
    n, k = e.view.attr("N", 0), e.view.attr("K", 0)
    packed, scales, zeros = (e.view.const(i) if e.has(i) else None for i in (1, 2, 3))
    if packed is None or scales is None or (e.has(3) and zeros is None):
        raise UnsupportedOperatorError("packed weights computed at run time; they must be constants")
    if bits not in (2, 4, 8) or block < 1:
        raise UnsupportedOperatorError(f"weights of {bits} bits in blocks of {block}")
    blocks = -(-k // block)
    codes = _unpacked(packed.reshape(n * blocks, -1), bits)[:, :block].reshape(n, blocks, block)
    if zeros is None:
        offset = np.full((n, blocks), float(1 << (bits - 1)))
    elif zeros.dtype == np.uint8:
        offset = _unpacked(zeros.reshape(n, -1), bits)[:, :blocks]
    else:
        offset = zeros.reshape(n, blocks).astype(np.float64)
    weights = (codes - offset[..., None]) * scales.reshape(n, blocks, 1).astype(np.float64)
    a = e.input(0)
    matrix = np.ascontiguousarray(weights.reshape(n, -1)[:, :k].T)
    y = e.op("MatMul", a, e.const(matrix, e.type(a).dtype.numpy()))
    return [e.op("Add", y, e.input(5)) if e.has(5) else y]


def _unpacked(rows: np.ndarray[Any, Any], bits: int) -> np.ndarray[Any, Any]:
    """Numbers from the low bits of each byte up."""
    shifts = np.arange(0, 8, bits)
    return ((rows[..., None] >> shifts) & ((1 << bits) - 1)).reshape(len(rows), -1).astype(np.float64)


# ------------------------------------------------------------------------------------ positions, transforms, old names


@Op("RotaryEmbedding", MICROSOFT).expand
def expand_rotary(e: Expansion) -> list[Value]:
    """input, position ids [B, S] or the first position [1], cosines and sines [positions, half]."""
    if e.view.attr("is_packed_batching", 0) or e.view.attr("scale", 1.0) != 1.0:
        raise UnsupportedOperatorError("packed batches and scaled positions")
    x, places, cosines, sines = (e.input(i) for i in range(4))
    heads, width, half = e.view.attr("num_heads", 0), e.shape(x)[-1], e.shape(cosines)[1]
    if e.rank(x) == 3 and not heads:
        if not isinstance(width, int) or not isinstance(half, int):
            raise UnsupportedOperatorError("the width of a head is not known; give the attribute 'num_heads'")
        heads = width // (2 * half)
    if e.rank(places) == 1:
        length = e.dim(x, 1 if e.rank(x) == 3 else 2)
        places = e.op("Expand", e.op("Add", e.count_up(length), places), e.sizes(e.dim(x, 0), length))
    return [_rotated(e, x, heads, e.op("Gather", cosines, places, axis=0), e.op("Gather", sines, places, axis=0))]


def _rotated(e: Expansion, x: Value, heads: int, cosine: Value, sine: Value) -> Value:
    """x [B, S, heads * width] or [B, heads, S, width] with its first pairs of each head turned; angles [B, S, half]."""
    split = e.rank(x) == 3
    turned = e.op("Reshape", x, e.ints(0, 0, heads, -1)) if split else e.op("Transpose", x, perm=[0, 2, 1, 3])
    half, width = e.shape(cosine)[2], e.shape(turned)[3]
    if not isinstance(half, int) or not isinstance(width, int):
        raise UnsupportedOperatorError("the width of a head is not known")
    pairs, rest = turned, None
    if width > 2 * half:
        pairs, rest = e.slice(turned, 3, 0, 2 * half), e.slice(turned, 3, 2 * half, width)
    beside = bool(e.view.attr("interleaved", 0))
    pairs = e.op("Reshape", pairs, e.ints(0, 0, 0, half, 2) if beside else e.ints(0, 0, 0, 2, half))
    axis = 4 if beside else 3
    a, b = (e.squeeze(e.slice(pairs, axis, i, i + 1), axis) for i in (0, 1))
    cosine, sine = e.unsqueeze(cosine, 2), e.unsqueeze(sine, 2)
    left = e.op("Sub", e.op("Mul", a, cosine), e.op("Mul", b, sine))
    right = e.op("Add", e.op("Mul", a, sine), e.op("Mul", b, cosine))
    both = e.op("Concat", e.unsqueeze(left, axis), e.unsqueeze(right, axis), axis=axis)
    y = e.op("Reshape", both, e.ints(0, 0, 0, 2 * half))
    y = y if rest is None else e.op("Concat", y, rest, axis=3)
    return e.op("Reshape", y, e.ints(0, 0, -1)) if split else e.op("Transpose", y, perm=[0, 2, 1, 3])


@Op("Rfft", MICROSOFT).expand
def expand_rfft(e: Expansion) -> list[Value]:
    """[..., n] to [..., n // 2 + 1, 2]."""
    _one_plain_dim(e)
    x = e.input(0)
    return [e.op("DFT", e.unsqueeze(x, e.rank(x)), None, e.const(e.rank(x) - 1, np.int64), onesided=1)]


@Op("Irfft", MICROSOFT).expand
def expand_irfft(e: Expansion) -> list[Value]:
    """[..., bins, 2] to [..., n]."""
    _one_plain_dim(e)
    x, last = e.input(0), e.rank(e.input(0)) - 1
    y = e.op("DFT", x, None, e.const(last - 1, np.int64), onesided=1, inverse=1)
    return [e.squeeze(y, last)]


def _one_plain_dim(e: Expansion) -> None:
    if e.view.attr("signal_ndim", 1) != 1 or e.view.attr("normalized", 0) or not e.view.attr("onesided", 1):
        raise UnsupportedOperatorError("only onesided transforms of one dimension that are not normalised")


inverse = Op("Inverse", MICROSOFT).host()


@inverse.infer
def infer_inverse(node: NodeView) -> list[TensorType]:
    """Square matrices in the last two dims."""
    x = need_rank(node.input(0), 2)
    same_dim(x.dims[-1], x.dims[-2], "inverse of a matrix")
    return [x]


@Op("ConvTransposeWithDynamicPads", MICROSOFT).expand
def expand_conv_transpose(e: Expansion) -> list[Value]:
    """X, W, pads, B."""
    names = ("auto_pad", "dilations", "group", "kernel_shape", "output_padding", "strides")
    given: dict[str, Any] = {name: e.view.attr(name) for name in names}
    if e.has(2):
        given["pads"] = e.view.need_ints(2, "pads")
    return [e.op("ConvTranspose", e.input(0), e.input(1), e.optional(3), **given)]


@Op("ExpandDims", MICROSOFT).expand
def expand_expand_dims(e: Expansion) -> list[Value]:
    """X with an axis of size 1."""
    return [e.unsqueeze(e.input(0), e.view.need_ints(1, "axis")[0])]


def _same(name: str, *attributes: str) -> None:
    @Op(name, MICROSOFT).expand
    def expand(e: Expansion) -> list[Value]:
        """ONNX took it over as it was."""
        inputs = [e.optional(i) for i in range(len(e.node.inputs))]
        return [e.op(name, *inputs, **{word: e.view.attr(word) for word in attributes})]


_same("GatherND")
_same("Trilu", "upper")
_same("Pad", "mode")
