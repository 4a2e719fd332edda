"""Lowering of `magicmind.MatMul`: numpy's matmul on plain tensors of any rank, of floats or of whole numbers.

Whole numbers (`INTEGER_PRODUCTS` in `ops/fused.py`) have zero points: attributes `x_zero` and `b_zero`. Those of a
product with constant weights go into the bias.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from magicmind.codegen.target import BLOCK
from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.dims import Dim, product
from magicmind.kernels.conv.pack import pack_axis_zeros, pack_chunks, pad_axis
from magicmind.kernels.epilogue import Epilogue
from magicmind.kernels.matmul import MatMul, matmul_candidates
from magicmind.kernels.matmul_operands import F32, Types, format_of
from magicmind.lower.lowering import Lowering
from magicmind.lower.plan import Ref
from magicmind.ops.fused import matmul, program_of, zero_of
from magicmind.ops.registry import NodeView
from magicmind.ops.rounding import fits_int32

Array = npt.NDArray[Any]

_FACTORS = {("f32", "f32"), ("f32", "f16"), ("f16", "f16"), ("f16", "f32"), ("u8", "i8"), ("u8", "u8"), ("i16", "i16")}
_SUMS = {"f32": np.float32, "i32": np.int32, "i64": np.int64}


@matmul.lower
def lower(low: Lowering, node: ir.Node) -> None:
    a, b, out = node.inputs[0], node.inputs[1], node.outputs[0]
    assert a is not None and b is not None
    types = Types(low.dtype(a), low.dtype(b), low.dtype(out))
    if (types.a, types.b) not in _FACTORS:
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: these products have no kernel")
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
    weights = low.const(b) if b_lead == 1 and types.b != "u8" else None
    columns = None
    if weights is not None:
        columns = weights.reshape(weights.shape[-2:]).T if trans_b else weights.reshape(b_shape[-2:])  # type: ignore[arg-type]
    p = low.params()
    epilogue, extras = _epilogue(low, node, n, types.accumulator)
    zeros = (zero_of(node, "x_zero"), zero_of(node, "b_zero"))
    bias = _bias(low, node, types, None if columns is None else _share_of_zero(columns, *zeros))
    sizes = [p.size(d) for d in (batch, m, n, k)]
    flags = [
        f"packed={columns is not None}",
        f"{trans_a=}",
        f"{trans_b=}",
        f"a_batched={a_lead != 1}",
        f"b_batched={b_lead != 1}",
        *([] if types == F32 else [types]),
    ]
    candidates = matmul_candidates(low.target, m, n, types, None if trans_a else k)
    schedule = low.choose(candidates, p, "matmul", *sizes, *flags, epilogue)
    spec = MatMul(
        batch=sizes[0],
        m=sizes[1],
        n=sizes[2],
        k=sizes[3],
        schedule=schedule,
        packed=columns is not None,
        a_batched=a_lead != 1,
        b_batched=b_lead != 1,
        trans_a=trans_a,
        trans_b=trans_b and columns is None,
        has_bias=bias is not None,
        epilogue=epilogue,
        types=types,
        a_zero=0 if columns is not None else zeros[0],
        b_zero=0 if columns is not None else zeros[1],
    )
    if columns is not None:
        kr = format_of(low.target, types, packed=True).kr
        source = low.weight(pack_chunks(pad_axis(columns, 1, BLOCK), schedule.nr, kr))
    else:
        source = low.ref(b)
    refs = [low.ref(a), source, *([bias] if bias is not None else []), *extras, low.ref(out)]
    memory = low.nbytes(a) + low.nbytes(b) + low.nbytes(out)
    scratch = spec.scratch_bytes(low.target, k)
    low.call(node, spec, refs, p, flops=batch * m * n * k * 2, bytes=memory, scratch=scratch)


def _as_matrix(shape: tuple[Dim, ...], *, row: bool) -> tuple[Dim, ...]:
    """A vector as a matrix with one row (left operand) or one column (right operand)."""
    if len(shape) >= 2:
        return shape
    return (1, *shape) if row else (*shape, 1)


def _share_of_zero(columns: Array, a_zero: int, b_zero: int) -> Array | None:
    """What the zero point of `a` adds to each column's sum: -a_zero * (sum of the column); None when nothing."""
    assert b_zero == 0, "constant weights have no zero point (passes recentre them)"
    return -a_zero * columns.astype(np.int64).sum(0) if a_zero else None


def _bias(low: Lowering, node: ir.Node, types: Types, share: Array | None) -> Ref | None:
    """The bias, with the zero point's share, in the type of the sums."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    array = low.const(value)
    assert value is None or array is not None, "a bias is constant (passes/to_matmul.py)"
    if array is None and share is None:
        return None
    parts = [part.ravel() for part in (array, share) if part is not None]
    total = parts[0] if len(parts) == 1 else parts[0].astype(np.int64) + parts[1]
    return low.weight(pack_axis_zeros(total.astype(_SUMS[types.accumulator])))


def _epilogue(low: Lowering, node: ir.Node, n: Dim, sums: str) -> tuple[Epilogue, list[Ref]]:
    """The scalar program; operands are one value, one per column, or laid out like the product."""
    program = program_of(node)
    if program is None:
        return Epilogue(), []
    kinds, refs, dtypes, arrays = [], [], [], []
    for value in node.inputs[3:]:
        assert value is not None
        shape, array, dtype = low.shape(value), low.const(value), low.dtype(value)
        arrays.append(array)
        if all(d == 1 for d in shape):
            kinds.append("scalar")
            refs.append(low.ref(value))
        elif shape == low.shape(node.outputs[0]):
            kinds.append("same")
            refs.append(low.ref(value))
        else:
            assert array is not None and shape[-1] == n, f"{node.name}: operand {value.name} cannot be fused"
            kinds.append("channel")
            refs.append(low.weight(pack_axis_zeros(array.ravel())))
        dtypes.append(dtype)
    fits = fits_int32(program, sums, list(zip(dtypes, arrays, strict=True)))
    return Epilogue(program, tuple(kinds), () if set(dtypes) <= {"f32"} else tuple(dtypes), fits), refs
