"""Matrix products and attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.aten.pointwise import scaled
from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ops.emitter import Value
from magicmind.ops.fused import DOMAIN


@aten("linear")
def linear(c: Converter, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Value:
    """x [..., K], weight [N, K]."""
    product = c.net.op("MatMul", c.value(x), transpose(c, weight))
    return product if bias is None else c.net.op("Add", product, c.value(bias))


def transpose(c: Converter, x: Tensor) -> Value:
    """The last two axes exchanged; of a weight when it is read."""
    constant = x.constant
    if constant is not None:
        return c.value(Tensor(constant.transpose(-1, -2))) if constant.ndim > 1 else c.value(x)
    rank = c.rank(x)
    return c.net.op("Transpose", c.value(x), perm=[*range(rank - 2), rank - 1, rank - 2])


@aten("matmul", "aten::mm", "aten::bmm", "aten::mv", "aten::dot")
def matmul(c: Converter, a: Tensor, b: Tensor) -> Value:
    return c.net.op("MatMul", *c.promoted(a, b))


def _plus(c: Converter, start: Tensor, product: Value, beta: Any, alpha: Any) -> Value:
    """beta * start + alpha * product."""
    scaled_product = scaled(c, product, alpha)
    if not isinstance(beta, Tensor) and beta == 0:
        return scaled_product
    return c.net.op("Add", scaled_product, scaled(c, c.value(start), beta))


@aten("addmm", "aten::baddbmm", "aten::addmv")
def addmm(c: Converter, start: Tensor, a: Tensor, b: Tensor, beta: Any = 1, alpha: Any = 1) -> Value:
    return _plus(c, start, matmul(c, a, b), beta, alpha)


@aten("addbmm")
def addbmm(c: Converter, start: Tensor, a: Tensor, b: Tensor, beta: Any = 1, alpha: Any = 1) -> Value:
    total = c.net.op("ReduceSum", matmul(c, a, b), c.net.ints(0), keepdims=0)
    return _plus(c, start, total, beta, alpha)


@aten("_grouped_mm", "transformers::grouped_mm_fallback")
def grouped_mm(
    c: Converter, x: Tensor, weight: Tensor, ends: Tensor | None = None, bias: Tensor | None = None, dtype: Any = None
) -> Value:
    """Runs of rows of x [S, K], each times its matrix of weight [E, K, N]: experts. Without runs, a batch of them."""
    if ends is None and bias is None:
        return matmul(c, x, weight)
    if ends is None or bias is not None or c.rank(x) != 2 or c.rank(weight) != 3:
        raise UnsupportedOperatorError("a bias, or runs along anything but the rows of a matrix")
    return c.net.op("GroupedMatMul", c.value(x), c.value(weight), c.value(ends), domain=DOMAIN)


@aten("outer", "aten::ger")
def outer(c: Converter, a: Tensor, b: Tensor) -> Value:
    return c.net.op("Mul", c.net.unsqueeze(c.value(a), 1), c.net.unsqueeze(c.value(b), 0))


@aten("einsum")
def einsum(c: Converter, equation: str, operands: Sequence[Tensor], *path: Any) -> Value:
    return c.net.op("Einsum", *c.promoted(*operands), equation=equation.replace(" ", ""))


@aten("bilinear")
def bilinear(c: Converter, a: Tensor, b: Tensor, weight: Tensor, bias: Tensor | None = None) -> Value:
    """a [..., I], b [..., J], weight [O, I, J]: sum of a_i w_oij b_j."""
    product = c.net.op("Einsum", c.value(a), c.value(weight), c.value(b), equation="...i,oij,...j->...o")
    return product if bias is None else c.net.op("Add", product, c.value(bias))


@aten("det", "aten::linalg_det")
def det(c: Converter, x: Tensor) -> Value:
    return c.net.op("Det", c.value(x))


@aten("scaled_dot_product_attention")
def attention(
    c: Converter,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    causal: bool = False,
    scale: float | None = None,
    grouped: bool = False,
) -> Value:
    """softmax(scale * q k' + mask) v.  q [..., L, E], k [..., S, E], v [..., S, F].

    A query that the mask leaves no key (padding, under a window that slides) gives zeros, as in PyTorch since 2.5.
    """
    size = c.shape(q)[-1]
    if dropout:
        raise UnsupportedOperatorError("attention with dropout", hint="call eval() on the module before export")
    if not isinstance(size, int):
        raise UnsupportedOperatorError("attention over a mutable number of features")
    factor = 1 / math.sqrt(size) if scale is None else scale
    query = c.value(q)
    if grouped:
        k, v = (_for_each_head(c, t, c.shape(q)[-3]) for t in (k, v))
    scores = c.net.op("MatMul", c.net.op("Mul", query, c.net.scalar(factor, query)), transpose(c, k))
    lowest = c.net.scalar(-math.inf, query)
    if causal:
        ones = c.net.op("Expand", c.net.const(True), c.vector([c.shape(q)[-2], c.shape(k)[-2]]))
        scores = c.net.op("Where", c.net.op("Trilu", ones, upper=0), scores, lowest)
    if mask is not None:
        given = c.value(mask)
        is_flag = c.dtype(given).is_floating_point is False
        scores = c.net.op("Where", given, scores, lowest) if is_flag else c.net.op("Add", scores, given)
    weights = c.net.op("Softmax", scores, axis=-1)
    if mask is not None:  # the spelling that passes/fuse_attention.py knows
        weights = c.net.op("Where", c.net.op("IsNaN", weights), c.net.scalar(0.0, query), weights)
    return c.net.op("MatMul", weights, c.value(v))


def _for_each_head(c: Converter, x: Tensor, heads: Any) -> Tensor:
    """Keys or values [..., groups, S, E] as [..., heads, S, E]: a group serves heads that follow one another."""
    *rest, groups, length, size = c.shape(x)
    if not isinstance(heads, int) or not isinstance(groups, int):
        raise UnsupportedOperatorError("attention with a mutable number of heads")
    if heads == groups:
        return x
    spread = c.net.unsqueeze(c.value(x), len(rest) + 1)
    wide = c.net.op("Expand", spread, c.vector([*rest, groups, heads // groups, length, size]))
    return Tensor(c.net.op("Reshape", wide, c.vector([*rest, heads, length, size]), allowzero=1))


@aten("_scaled_dot_product_flash_attention_for_cpu")
def attention_for_cpu(
    c: Converter, q: Tensor, k: Tensor, v: Tensor, dropout: float, causal: bool, mask: Any = None, scale: Any = None
) -> Any:
    """As `torch.compile` spells attention; nobody reads its second result at inference."""
    result = attention(c, q, k, v, mask, dropout, causal, scale)
    return result, result


@aten("_safe_softmax")
def safe_softmax(c: Converter, x: Tensor, dim: int, dtype: Any = None) -> Value:
    """Softmax; rows of nothing but -inf give zeros."""
    value = c.value(x) if dtype is None else c.cast(x, dtype)
    top = c.net.op("ReduceMax", value, c.net.ints(dim), keepdims=1)
    empty = c.net.op("Equal", top, c.net.scalar(-math.inf, value))
    return c.net.op("Where", empty, c.net.scalar(0.0, value), c.net.op("Softmax", value, axis=dim))


# ---------------------------------------------------------------------- layers as PyTorch runs them in evaluation mode


@aten("_native_multi_head_attention")
def native_attention(
    c: Converter, q: Tensor, k: Tensor, v: Tensor, size: int, heads: int, w_in: Tensor, b_in: Tensor, w_out: Tensor,
    b_out: Tensor, mask: Tensor | None = None, need_weights: bool = True, average: bool = True, kind: int | None = None,
) -> Any:  # fmt: skip
    """Batch first: q, k, v [N, L, E]; `kind` 0: mask over queries and keys [L, S], 1: over padding [N, S], 2: both."""
    n, length, _ = c.shape(q)
    parts = []
    for i, x in enumerate((q, k, v)):
        weight, bias = (c.net.slice(c.value(w), 0, i * size, (i + 1) * size) for w in (w_in, b_in))
        projected = linear(c, x, Tensor(weight), Tensor(bias))
        cut = c.net.op("Reshape", projected, c.vector([n, c.shape(x)[1], heads, size // heads]), allowzero=1)
        parts.append(Tensor(c.net.op("Transpose", cut, perm=[0, 2, 1, 3])))
    allowed = None if mask is None else Tensor(_additive(c, mask, kind, parts[0]))
    scores = c.net.op("MatMul", scaled(c, c.value(parts[0]), 1 / math.sqrt(size // heads)), transpose(c, parts[1]))
    scores = scores if allowed is None else c.net.op("Add", scores, c.value(allowed))
    weights = c.net.op("Softmax", scores, axis=-1)
    mixed = c.net.op("Transpose", c.net.op("MatMul", weights, c.value(parts[2])), perm=[0, 2, 1, 3])
    joined = Tensor(c.net.op("Reshape", mixed, c.vector([n, length, size]), allowzero=1))
    seen = c.net.op("ReduceMean", weights, c.net.ints(1), keepdims=0) if average else weights
    return linear(c, joined, w_out, b_out), seen


def _additive(c: Converter, mask: Tensor, kind: int | None, like: Tensor) -> Value:
    """A mask, true or -inf where nothing may be read, as what is added to scores [N, heads, L, S]."""
    value, numbers = c.value(mask), c.value(like)
    if not c.dtype(mask).is_floating_point:
        value = c.net.op("Where", value, c.net.scalar(-math.inf, numbers), c.net.scalar(0.0, numbers))
    return c.net.unsqueeze(value, 1, 2) if kind == 1 and c.rank(mask) == 2 else value


@aten("_transformer_encoder_layer_fwd")
def encoder_layer(
    c: Converter, x: Tensor, size: int, heads: int, w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor,
    use_gelu: bool, norm_first: bool, eps: float, norm1: Tensor, shift1: Tensor, norm2: Tensor, shift2: Tensor,
    w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, mask: Tensor | None = None, kind: int | None = None,
) -> Any:  # fmt: skip
    def attend(y: Value) -> Value:
        t = Tensor(y)
        return native_attention(c, t, t, t, size, heads, w_in, b_in, w_out, b_out, mask, False, True, kind)[0]  # type: ignore[no-any-return]

    def feed(y: Value) -> Value:
        inner = linear(c, Tensor(y), w1, b1)
        return linear(c, Tensor(c.net.op("Gelu" if use_gelu else "Relu", inner)), w2, b2)

    def norm(y: Value, weight: Tensor, bias: Tensor) -> Value:
        return c.net.op("LayerNormalization", y, c.value(weight), c.value(bias), axis=-1, epsilon=float(eps))

    value = c.value(x)
    for work, weight, bias in ((attend, norm1, shift1), (feed, norm2, shift2)):
        if norm_first:
            value = c.net.op("Add", value, work(norm(value, weight, bias)))
        else:
            value = norm(c.net.op("Add", value, work(value)), weight, bias)
    return value
