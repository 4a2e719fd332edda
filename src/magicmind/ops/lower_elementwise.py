"""Lowering of `magicmind.Elementwise`, in both layouts."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from magicmind.codegen.target import BLOCK
from magicmind.codegen.values import ITEMSIZE
from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.dims import Dim, product
from magicmind.ir.scalar import ScalarProgram
from magicmind.kernels.elementwise import Elementwise, Operand, collapse
from magicmind.lower.lowering import Lowering
from magicmind.lower.plan import Ref
from magicmind.ops.fused import elementwise, program_of


@elementwise.lower
def lower(low: Lowering, node: ir.Node) -> None:
    """One pass; the output takes the memory of an operand that dies here where it can."""
    out = node.outputs[0]
    program = program_of(node, "program")
    assert program is not None
    emit_elementwise(low, node, program, [v for v in node.inputs if v is not None], out)


def emit_elementwise(
    low: Lowering, node: ir.Node, program: ScalarProgram, inputs: list[ir.Value], out: ir.Value
) -> None:
    """Adds the call of `program`, whose `x<i>` is `inputs[i]`."""
    shape = low.physical_shape(out)
    present = [_present(low, node, value, out) for value in inputs]
    sizes, kept = collapse(shape, present)
    p = low.params()
    operands = tuple(Operand(low.dtype(v), flags) for v, flags in zip(inputs, kept, strict=True))
    spec = Elementwise(program, operands, low.dtype(out), tuple(p.size(s) for s in sizes))
    for value, flags in zip(inputs, present, strict=True):
        same_size = ITEMSIZE[low.dtype(value)] == ITEMSIZE[low.dtype(out)]
        if same_size and low.shape(value) == low.shape(out) and all(flags) and low.reuse(out, value):
            break
    refs = [_ref(low, v, out) for v in inputs]
    memory = sum((low.nbytes(v) for v in inputs), start=low.nbytes(out))
    flops = product(low.shape(out)) * len(program.statements)
    low.call(node, spec, [*refs, low.ref(out)], p, flops=flops, bytes=memory)


def _aligned(low: Lowering, value: ir.Value, out: ir.Value) -> tuple[Dim, ...]:
    """The value's logical shape with ones in front, up to the rank of the output."""
    shape = low.shape(value)
    return (1,) * (len(low.shape(out)) - len(shape)) + shape


def _present(low: Lowering, node: ir.Node, value: ir.Value, out: ir.Value) -> tuple[bool, ...]:
    """For each dimension of the output in memory: whether the value extends over it."""
    full = low.shape(out)
    extends = tuple(n == m for n, m in zip(_aligned(low, value, out), full, strict=True))
    if low.layout(out) == "plain":
        if low.layout(value) == "blocked":
            raise UnsupportedOperatorError(
                f"{low.describe_node(node)}: a blocked operand of a plain result has no kernel"
            )
        return extends
    # A blocked tensor of one channel has 16 lanes, a constant of one channel just that one.
    in_blocks = low.layout(value) == "blocked" or _aligned(low, value, out)[1] != 1
    channel = extends[1] and in_blocks and not _is_scalar(low, value)
    return (extends[0], channel, *extends[2:], channel)


def _is_scalar(low: Lowering, value: ir.Value) -> bool:
    return all(d == 1 for d in low.shape(value))


def _ref(low: Lowering, value: ir.Value, out: ir.Value) -> Ref:
    """The value's memory; a constant of a blocked result is packed in blocks."""
    array = low.const(value)
    if array is None or low.layout(out) == "plain" or _is_scalar(low, value):
        return low.ref(value)
    rank = len(low.shape(out))
    return low.weight(_to_blocks(array.reshape((1,) * (rank - array.ndim) + array.shape)))


def _to_blocks(array: np.ndarray) -> np.ndarray:
    """[N, C, spatial...] -> [N, ceil(C/16), spatial..., 16], zeros beyond C; one channel stays one."""
    if array.shape[1] == 1:
        return array
    padding = [(0, 0)] * array.ndim
    padding[1] = (0, -array.shape[1] % BLOCK)
    padded = np.pad(array, padding)
    blocks = padded.reshape(array.shape[0], -1, BLOCK, *array.shape[2:])
    return np.ascontiguousarray(np.moveaxis(blocks, 2, -1))
