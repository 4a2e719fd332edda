"""LinearAttention: attention whose memory is a matrix per head, updated token by token.  ONNX LinearAttention-27.

It becomes `magicmind.LinearAttention`, which works in float32, has the scale in its queries and factors for decays.
"""

from __future__ import annotations

import math

import onnx_ir
from onnx_ir import DataType

from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.ir.dims import Dim, product
from magicmind.ir.types import TensorType
from magicmind.kernels.linear_attention import LinearAttention
from magicmind.lower.lowering import Lowering
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.registry import NodeView, Op
from magicmind.ops.shapes import need_rank, same_dim

linear_attention = Op("LinearAttention")
own = Op("LinearAttention", "magicmind")

_RULES = {"linear": (False, False), "gated": (True, False), "delta": (False, True), "gated_delta": (True, True)}
"""By `update_rule`: whether the state decays, whether it is corrected by what it recalls."""


@linear_attention.expand
def expand(e: Expansion) -> list[Value]:
    """query [B, T, Hq * dk], key, value [B, T, H * d], past state [B, H, dk, dv]?, decay?, beta? -> output, state."""
    rule = e.view.attr("update_rule", "gated_delta")
    if rule not in _RULES:
        raise ModelFormatError(f"attribute 'update_rule' is {rule!r}", hint=", ".join(_RULES))
    for given, wanted, what in zip((e.has(4), e.has(5)), _RULES[rule], ("a decay", "a beta"), strict=True):
        if given != wanted:
            raise ModelFormatError(f"update_rule {rule!r} {'needs' if wanted else 'has no'} {what}")
    heads, readers = e.view.attr("kv_num_heads", 0), e.view.attr("q_num_heads", 0)
    if heads < 1 or readers < 1 or readers % heads:
        raise ModelFormatError(f"q_num_heads={readers} is no multiple of kv_num_heads={heads}")
    q, k, v = (e.cast(e.input(i), DataType.FLOAT) for i in range(3))
    width = e.shape(q)[2]
    scale = e.view.attr("scale", 0.0)
    if not scale:
        if not isinstance(width, int):
            raise UnsupportedOperatorError("the size of a head is mutable; give the attribute 'scale'")
        scale = 1 / math.sqrt(width // readers)
    decay = e.op("Exp", e.cast(e.input(4), DataType.FLOAT)) if e.has(4) else None
    beta = e.cast(e.input(5), DataType.FLOAT) if e.has(5) else None
    state = e.cast(e.input(3), DataType.FLOAT) if e.has(3) else _empty_state(e, k, v, heads)
    y, after = e.ops(
        "LinearAttention", e.op("Mul", q, e.scalar(scale, q)), k, v, state, decay, beta,
        domain="magicmind", count=2, heads=heads, group=readers // heads,
    )  # fmt: skip
    return [e.cast_like(y, e.input(0)), e.cast_like(after, e.input(3 if e.has(3) else 0))][: len(e.node.outputs)]


def _empty_state(e: Expansion, k: Value, v: Value, heads: int) -> Value:
    sizes = [e.op("Div", e.dim(x, 2), e.ints(heads)) for x in (k, v)]
    return e.op("Expand", e.const(0, "float32"), e.sizes(e.dim(k, 0), heads, *sizes))


@own.infer
def infer(node: NodeView) -> list[TensorType]:
    """[B, T, H * group * dv] and the state [B, H, dk, dv].

    Raises ShapeError where sizes disagree, MustEqual where they might.
    """
    q, state = node.input(0), need_rank(node.input(3), 4, 4, "the state")
    heads, group = node.attr("heads", 1), node.attr("group", 1)
    batch, own_heads, keys, values = state.dims
    same_dim(own_heads, heads, "heads of the state")
    widths: list[tuple[int, str, list[Dim]]] = [
        (0, "queries", [heads * group * keys]),
        (1, "keys", [heads * keys]),
        (2, "values", [heads * values]),
        (4, "decays", [heads, heads * keys]),
        (5, "betas", [1, heads]),
    ]
    for i, what, allowed in widths:
        if not node.has(i):
            continue
        x = need_rank(node.input(i), 3, 3, f"the {what}")
        same_dim(x.dims[0], batch, f"batches of the {what} and the state")
        same_dim(x.dims[1], q.dims[1], f"tokens of the queries and the {what}")
        if x.dims[2] not in allowed:
            same_dim(x.dims[2], allowed[-1], f"columns of the {what}, for {heads} heads")
    return [TensorType(q.dtype, (*q.dims[:2], heads * group * values)), state]


@own.lower
def lower(low: Lowering, node: onnx_ir.Node) -> None:
    """Threads divide (batch, head, columns of the state)."""
    view = NodeView(node)
    inputs = [view.value(i) for i in range(6)]
    q, k, v, state, decay, beta = inputs
    assert q is not None and k is not None and v is not None and state is not None
    batch, heads, keys, values = low.shape(state)
    steps, group = low.shape(q)[1], view.attr("group", 1)
    per_key = decay is not None and low.shape(decay)[2] != heads
    per_head = beta is not None and low.shape(beta)[2] == heads
    p = low.params()
    spec = LinearAttention(
        "none" if decay is None else "key" if per_key else "head",
        "none" if beta is None else "head" if per_head else "shared",
        p.size(batch), p.size(steps), p.size(heads), group, p.size(keys), p.size(values),
    )  # fmt: skip
    read = [low.ref(x) for x in (q, k, v, decay, beta, state) if x is not None]
    written = [low.ref(x) for x in node.outputs]
    work = product((batch, steps, heads, keys, values)) * (4 + 2 * group)
    low.call(
        node,
        spec,
        [*read, *written],
        p,
        outputs=2,
        flops=work,
        bytes=sum(low.nbytes(x) for x in inputs if x is not None),
    )
