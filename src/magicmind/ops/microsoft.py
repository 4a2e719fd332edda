"""What onnxruntime's optimiser writes for float networks (domain com.microsoft), as ONNX operators.

Normalisations with a residual, GELU with a bias, matrix products with scale and transposes, convolutions with an
activation, the embeddings of BERT. Attention is in `microsoft_attention.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx_ir import DataType

from magicmind.errors import UnsupportedOperatorError
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.quantise import MICROSOFT
from magicmind.ops.registry import Op


def _used(e: Expansion, i: int) -> bool:
    """Whether anybody reads output `i`."""
    if i >= len(e.node.outputs):
        return False
    return bool(e.node.outputs[i].uses()) or e.node.outputs[i].is_graph_output()


def _refuse_outputs(e: Expansion, *unsupported: int) -> None:
    for i in unsupported:
        if _used(e, i):
            raise UnsupportedOperatorError(f"output {i} is only written in training")


# ------------------------------------------------------------------------------------------------------ normalisation


def normalised(e: Expansion, x: Value, scale: Value, bias: Value | None, *, simplified: bool) -> Value:
    """The last axis normalised; `simplified` leaves the mean out."""
    epsilon = float(e.view.attr("epsilon", 1e-5 if simplified else 1e-12))
    if simplified:
        y = e.op("RMSNormalization", x, scale, axis=-1, epsilon=epsilon)
        return y if bias is None else e.op("Add", y, bias)
    return e.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)


def _skip(e: Expansion, *, simplified: bool) -> list[Value]:
    """input + skip (+ bias), normalised; output 3 is the sum."""
    _refuse_outputs(e, 1, 2)
    beta = None if simplified else e.optional(3)
    bias = e.optional(3 if simplified else 4)
    total = e.op("Add", e.input(0), e.input(1))
    total = total if bias is None else e.op("Add", total, bias)
    y = normalised(e, total, e.input(2), beta, simplified=simplified)
    return [y, total, total, total][: len(e.node.outputs)]


@Op("SkipLayerNormalization", MICROSOFT).expand
def expand_skip(e: Expansion) -> list[Value]:
    """input, skip, gamma, beta, bias."""
    return _skip(e, simplified=False)


@Op("SkipSimplifiedLayerNormalization", MICROSOFT).expand
def expand_skip_simplified(e: Expansion) -> list[Value]:
    """input, skip, gamma, bias."""
    return _skip(e, simplified=True)


def expand_simplified(e: Expansion) -> list[Value]:
    """X, scale: RMS normalisation over the axes from `axis` on."""
    _refuse_outputs(e, 1)
    epsilon = float(e.view.attr("epsilon", 1e-5))
    return [e.op("RMSNormalization", e.input(0), e.input(1), axis=e.view.attr("axis", -1), epsilon=epsilon)]


Op("SimplifiedLayerNormalization", MICROSOFT).expand(expand_simplified)
Op("SimplifiedLayerNormalization").expand(expand_simplified)  # onnxruntime also writes it in ONNX's own domain


@Op("LayerNormalization", MICROSOFT).expand
def expand_layer_normalization(e: Expansion) -> list[Value]:
    """As ONNX's."""
    given = {name: e.view.attr(name) for name in ("axis", "epsilon", "stash_type")}
    return list(e.ops("LayerNormalization", e.input(0), e.input(1), e.optional(2), count=len(e.node.outputs), **given))


# --------------------------------------------------------------------------------------------------------------- GELU


@Op("Gelu", MICROSOFT).expand
def expand_gelu(e: Expansion) -> list[Value]:
    """Exact GELU."""
    return [e.op("Gelu", e.input(0))]


@Op("BiasGelu", MICROSOFT).expand
def expand_bias_gelu(e: Expansion) -> list[Value]:
    """Exact GELU of A + B."""
    return [e.op("Gelu", e.op("Add", e.input(0), e.input(1)))]


@Op("FastGelu", MICROSOFT).expand
def expand_fast_gelu(e: Expansion) -> list[Value]:
    """GELU by tanh, of X plus an optional bias."""
    x = e.input(0) if not e.has(1) else e.op("Add", e.input(0), e.input(1))
    return [e.op("Gelu", x, approximate="tanh")]


@Op("QuickGelu", MICROSOFT).expand
def expand_quick_gelu(e: Expansion) -> list[Value]:
    """x * sigmoid(alpha * x)."""
    x = e.input(0)
    return [e.op("Mul", x, e.op("Sigmoid", e.op("Mul", x, e.scalar(e.view.attr("alpha", 1.702), x))))]


# ----------------------------------------------------------------------------------------------------------- products


def swapped(e: Expansion, x: Value) -> Value:
    """The last two axes exchanged."""
    rank = e.rank(x)
    return x if rank < 2 else e.op("Transpose", x, perm=[*range(rank - 2), rank - 1, rank - 2])


def fused_matmul(e: Expansion) -> Value:
    """alpha * A @ B, either with its last two axes exchanged."""
    if e.view.attr("transBatchA", 0) or e.view.attr("transBatchB", 0):
        raise UnsupportedOperatorError("transBatchA and transBatchB are not supported")
    a = swapped(e, e.input(0)) if e.view.attr("transA", 0) else e.input(0)
    b = swapped(e, e.input(1)) if e.view.attr("transB", 0) else e.input(1)
    y = e.op("MatMul", a, b)
    alpha = float(e.view.attr("alpha", 1.0))
    return y if alpha == 1 else e.op("Mul", y, e.scalar(alpha, y))


for _name in ("FusedMatMul", "TransposeMatMul"):
    Op(_name, MICROSOFT).expand(lambda e: [fused_matmul(e)])


def activated(e: Expansion, y: Value, name: str, params: list[float]) -> Value:
    """`name` is an ONNX activation; `params` are its alpha and beta, or bounds."""
    if not name:
        return y
    if name == "Clip":
        return e.op("Clip", y, *(e.scalar(v, y) for v in params))
    words: dict[str, Any] = dict(zip(("alpha", "beta"), params, strict=False))
    return e.op(name, y, **words)


@Op("FusedConv", MICROSOFT).expand
def expand_fused_conv(e: Expansion) -> list[Value]:
    """activation(Conv(X, W, B) + Z)."""
    names = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    given: dict[str, Any] = {name: e.view.attr(name) for name in names}
    y = e.op("Conv", e.input(0), e.input(1), e.optional(2), **given)
    if e.has(3):
        y = e.op("Add", y, e.input(3))
    return [activated(e, y, e.view.attr("activation", ""), list(e.view.attr("activation_params", [])))]


@Op("FusedGemm", MICROSOFT).expand
def expand_fused_gemm(e: Expansion) -> list[Value]:
    """activation(Gemm(A, B, C))."""
    given = {name: e.view.attr(name) for name in ("alpha", "beta", "transA", "transB")}
    y = e.op("Gemm", e.input(0), e.input(1), e.optional(2), **given)
    params = [e.view.attr(f"activation_{name}") for name in ("alpha", "beta")]
    return [activated(e, y, e.view.attr("activation", ""), [v for v in params if v is not None])]


# --------------------------------------------------------------------------------------------------------- embeddings


@Op("EmbedLayerNormalization", MICROSOFT).expand
def expand_embed(e: Expansion) -> list[Value]:
    """ids, segments, words, positions, segment table, gamma, beta, mask, position ids -> normalised sum, mask index."""
    return embed(e, lambda i, at: e.op("Gather", e.input(i), at, axis=0), e.input(5), e.input(6), e.optional(8))


def embed(
    e: Expansion, rows: Callable[[int, Value], Value], gamma: Value, beta: Value, places: Value | None = None
) -> list[Value]:
    """What EmbedLayerNormalization does; `rows` looks up in the table of an input."""
    ids = e.input(0)
    places = e.unsqueeze(e.count_up(e.dim(ids, 1)), 0) if places is None else places
    total = e.op("Add", rows(2, ids), rows(3, places))
    if e.has(1) and e.has(4):
        total = e.op("Add", total, rows(4, e.input(1)))
    y = normalised(e, total, gamma, beta, simplified=False)
    return [y, *([_mask_index(e, ids)] if len(e.node.outputs) > 1 else []), total][: len(e.node.outputs)]


def _mask_index(e: Expansion, ids: Value) -> Value:
    """int32 [batch]: how many places of each row the mask keeps; 0 without a mask."""
    if e.has(7):
        kept = e.op("Cast", e.input(7), to=int(DataType.INT32))
        return e.op("ReduceSum", kept, e.ints(1), keepdims=0)
    return e.op("Expand", e.const(0, np.int32), e.dim(ids, 0))
