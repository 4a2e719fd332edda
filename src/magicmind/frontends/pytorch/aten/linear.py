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


@aten("outer", "aten::ger")
def outer(c: Converter, a: Tensor, b: Tensor) -> Value:
    return c.net.op("Mul", c.net.unsqueeze(c.value(a), 1), c.net.unsqueeze(c.value(b), 0))


@aten("einsum")
def einsum(c: Converter, equation: str, operands: Sequence[Tensor], *path: Any) -> Value:
    return c.net.op("Einsum", *c.promoted(*operands), equation=equation.replace(" ", ""))


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
    """softmax(scale * q k' + mask) v.  q [..., L, E], k [..., S, E], v [..., S, F]."""
    size = c.shape(q)[-1]
    if dropout:
        raise UnsupportedOperatorError("attention with dropout", hint="call eval() on the module before export")
    if not isinstance(size, int):
        raise UnsupportedOperatorError("attention over a mutable number of features")
    factor = 1 / math.sqrt(size) if scale is None else scale
    query = c.value(q)
    if grouped and c.shape(q)[-3] != c.shape(k)[-3]:
        raise UnsupportedOperatorError("attention whose heads share keys")
    scores = c.net.op("MatMul", c.net.op("Mul", query, c.net.scalar(factor, query)), transpose(c, k))
    lowest = c.net.scalar(-math.inf, query)
    if causal:
        ones = c.net.op("Expand", c.net.const(True), c.vector([c.shape(q)[-2], c.shape(k)[-2]]))
        scores = c.net.op("Where", c.net.op("Trilu", ones, upper=0), scores, lowest)
    if mask is not None:
        given = c.value(mask)
        is_flag = c.dtype(given).is_floating_point is False
        scores = c.net.op("Where", given, scores, lowest) if is_flag else c.net.op("Add", scores, given)
    return c.net.op("MatMul", c.net.op("Softmax", scores, axis=-1), c.value(v))
