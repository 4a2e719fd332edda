"""Which tensors become integers, decided on the simplified graph before any scale is known.

The inputs of integer products do. From there the decision spreads backwards, so that what lies between two products
stays bytes: through operators that move or average, through concatenations, and to the operands of elementwise work. A
chain of elementwise operators behind a product is its epilogue: computed in float on the accumulator, never stored, so
nothing is quantised inside of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir

from magicmind.ir.types import type_of
from magicmind.passes.edit import is_op
from magicmind.quant.kinds import ELEMENTWISE, activations, is_average, is_float, is_mover, is_product
from magicmind.quant.precision import PrecisionPlan


@dataclass(frozen=True)
class Places:
    """The tensors that become integers of `bits`, in the order of the graph."""

    bits: int
    roots: dict[onnx_ir.Value, onnx_ir.Value]
    """For each of them the tensor that its elements are taken from: they have its scale."""

    @property
    def scaled(self) -> list[onnx_ir.Value]:
        """The tensors that have a scale of their own."""
        return list(dict.fromkeys(self.roots.values()))


def places_of(graph: onnx_ir.Graph, plan: PrecisionPlan, bits: int) -> Places:
    """The tensors that products of so many bits make integers."""
    chosen: dict[onnx_ir.Value, None] = {}
    order = {node: i for i, node in enumerate(graph)}
    wanted = [v for node in graph if plan.bits(node) == bits for v in activations(node)]
    while wanted:
        value = wanted.pop()
        if value in chosen or value.graph is not graph or not is_float(value):
            continue
        chosen[value] = None
        node = value.producer()
        if node is not None:
            wanted += _spread(node, value, order)
    positions = {output: i for i, node in enumerate(graph) for output in node.outputs}
    ordered = sorted(chosen, key=lambda v: positions.get(v, -1))
    return Places(bits, {value: root_of(value) for value in ordered})


def all_places(graph: onnx_ir.Graph, bits: int) -> Places:
    """The tensors that any plan could make integers of `bits`."""
    from magicmind.quant.precision import MODES

    return places_of(graph, PrecisionPlan(MODES[f"qint{bits}_mixed_float32"], "fast"), bits)


def root_of(value: onnx_ir.Value) -> onnx_ir.Value:
    """The tensor that `value`'s elements are elements of: through everything that only moves."""
    node = value.producer()
    while node is not None and is_mover(node) and is_float(node.inputs[0]):
        assert node.inputs[0] is not None
        value = node.inputs[0]
        node = value.producer()
    return value


def _spread(node: onnx_ir.Node, value: onnx_ir.Value, order: dict[onnx_ir.Node, int]) -> Iterator[onnx_ir.Value]:
    """What should be integers because `value`, a result of `node`, is."""
    if is_mover(node) or is_average(node):
        if node.inputs[0] is not None:
            yield node.inputs[0]
    elif is_op(node, "Concat"):
        yield from (v for v in node.inputs if v is not None)
    elif is_elementwise(node):
        leaves = list(dict.fromkeys(_leaves(node)))
        into = [v for v in leaves if is_product(v.producer()) and len(v.uses()) == 1 and not v.is_graph_output()]
        fused = max(into, key=lambda v: order.get(_producer(v), -1), default=None)
        yield from (v for v in leaves if v is not fused and _same_size(v, value) and _writes_bytes(v))


def is_elementwise(node: onnx_ir.Node | None) -> bool:
    """Whether the node works on floats element by element."""
    return node is not None and is_op(node, *ELEMENTWISE) and is_float(node.outputs[0])


def _leaves(node: onnx_ir.Node) -> Iterator[onnx_ir.Value]:
    """What a chain of elementwise operators, fused into one program, reads."""
    for value in node.inputs:
        if value is None or not is_float(value):
            continue
        before = value.producer()
        if before is not None and is_elementwise(before) and len(value.uses()) == 1 and not value.is_graph_output():
            yield from _leaves(before)
        else:
            yield value


def _producer(value: onnx_ir.Value) -> onnx_ir.Node:
    node = value.producer()
    assert node is not None
    return node


def _same_size(a: onnx_ir.Value, b: onnx_ir.Value) -> bool:
    """Operands that broadcast are small: they may stay floats."""
    left, right = type_of(a), type_of(b)
    return left is not None and right is not None and left.shape == right.shape


def _writes_bytes(value: onnx_ir.Value, depth: int = 16) -> bool:
    """Whether what computes `value` can store integers; else quantising it were a pass of its own."""
    node = value.producer()
    if node is None or depth == 0:
        return False
    if is_product(node):
        return bool(activations(node))
    if is_elementwise(node):
        return True
    if is_mover(node) or is_average(node) or is_op(node, "Concat"):
        return all(_writes_bytes(v, depth - 1) for v in node.inputs if v is not None and is_float(v))
    return False
