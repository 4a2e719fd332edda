"""Lowering of `magicmind.MatMul`: numpy's matmul on plain tensors of any rank."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from magicmind.codegen.target import BLOCK
from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.dims import Dim, product
from magicmind.kernels.conv.pack import pack_axis_zeros, pack_chunks, pad_axis
from magicmind.kernels.epilogue import Epilogue
from magicmind.kernels.matmul import MatMul, matmul_candidates
from magicmind.lower.lowering import Lowering
from magicmind.lower.plan import Ref
from magicmind.ops.fused import matmul, program_of
from magicmind.ops.registry import NodeView


@matmul.lower
def lower(low: Lowering, node: ir.Node) -> None:
    a, b, out = node.inputs[0], node.inputs[1], node.outputs[0]
    assert a is not None and b is not None
    if low.dtype(out) != "f32" or low.dtype(a) != "f32":
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: only float32 products have kernels")
    trans_a, trans_b = bool(NodeView(node).attr("transA", 0)), bool(NodeView(node).attr("transB", 0))
    a_shape, b_shape = _as_matrix(low.shape(a), row=True), _as_matrix(low.shape(b), row=False)
    m, k = (a_shape[-1], a_shape[-2]) if trans_a else a_shape[-2:]
    n = b_shape[-2] if trans_b else b_shape[-1]
    a_lead, b_lead = product(a_shape[:-2]), product(b_shape[:-2])
    batch = product(low.shape(out)) // (m * n) if m != 0 and n != 0 else 0
    if not trans_a and b_lead == 1:  # one matrix for all: the leading dims of `a` are more rows
        m, a_lead, batch = m * a_lead, 1, 1
    if not {a_lead, b_lead} <= {1, batch} and batch != 0:
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: broadcasting of inner batch dims has no kernel")
    weights = low.const(b)
    packed = weights is not None and b_lead == 1
    p = low.params()
    epilogue, extras = _epilogue(low, node, n)
    bias = _bias(low, node)
    sizes = [p.size(d) for d in (batch, m, n, k)]
    flags = [f"{packed=}", f"{trans_a=}", f"{trans_b=}", f"a_batched={a_lead != 1}", f"b_batched={b_lead != 1}"]
    schedule = low.choose(matmul_candidates(low.target, m, n), p, "matmul", *sizes, *flags, epilogue)
    spec = MatMul(
        batch=sizes[0],
        m=sizes[1],
        n=sizes[2],
        k=sizes[3],
        schedule=schedule,
        packed=packed,
        a_batched=a_lead != 1,
        b_batched=b_lead != 1,
        trans_a=trans_a,
        trans_b=trans_b and not packed,
        has_bias=bias is not None,
        epilogue=epilogue,
    )
    if packed:
        assert weights is not None
        columns = weights.reshape(weights.shape[-2:]).T if trans_b else weights.reshape(b_shape[-2:])  # type: ignore[arg-type]
        source = low.weight(pack_chunks(pad_axis(np.asarray(columns, np.float32), 1, BLOCK), schedule.nr))
    else:
        source = low.ref(b)
    refs = [low.ref(a), source, *([bias] if bias is not None else []), *extras, low.ref(out)]
    memory = low.nbytes(a) + low.nbytes(b) + low.nbytes(out)
    scratch = 0 if packed else k * (schedule.nr * BLOCK * 4)
    low.call(node, spec, refs, p, flops=batch * m * n * k * 2, bytes=memory, scratch=scratch)


def _as_matrix(shape: tuple[Dim, ...], *, row: bool) -> tuple[Dim, ...]:
    """A vector as a matrix with one row (left operand) or one column (right operand)."""
    if len(shape) >= 2:
        return shape
    return (1, *shape) if row else (*shape, 1)


def _bias(low: Lowering, node: ir.Node) -> Ref | None:
    value = node.inputs[2] if len(node.inputs) > 2 else None
    array = low.const(value)
    assert value is None or array is not None, "a bias is constant (passes/to_matmul.py)"
    return None if array is None else low.weight(pack_axis_zeros(np.asarray(array, np.float32).ravel()))


def _epilogue(low: Lowering, node: ir.Node, n: Dim) -> tuple[Epilogue, list[Ref]]:
    """The scalar program; operands are one value, one per column, or laid out like the product."""
    program = program_of(node)
    if program is None:
        return Epilogue(), []
    kinds, refs = [], []
    for value in node.inputs[3:]:
        assert value is not None
        shape, array = low.shape(value), low.const(value)
        if all(d == 1 for d in shape):
            kinds.append("scalar")
            refs.append(low.ref(value))
        elif shape == low.shape(node.outputs[0]):
            kinds.append("same")
            refs.append(low.ref(value))
        else:
            assert array is not None and shape[-1] == n, f"{node.name}: operand {value.name} cannot be fused"
            kinds.append("channel")
            refs.append(low.weight(pack_axis_zeros(np.asarray(array, np.float32).ravel())))
    return Epilogue(program, tuple(kinds)), refs
