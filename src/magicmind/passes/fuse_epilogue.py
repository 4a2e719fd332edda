"""Fuses an elementwise operator into the convolution or matrix product whose result it reads."""

from __future__ import annotations

import onnx_ir
from onnx_ir import DataType

from magicmind.ir.scalar import ScalarProgram
from magicmind.ir.types import dtype_of, shape_of
from magicmind.passes.edit import DOMAIN, is_op, only_user, replace_node
from magicmind.passes.fuse_elementwise import Operands, compact, operands_of, program_of
from magicmind.passes.infra import Decline, Rewrite

FIRST_OPERAND = 3  # X, W, B come before

# Each operand that is a tensor keeps a pointer in the innermost loops of a convolution.
MAX_OPERANDS = 4


STORED = frozenset({DataType.FLOAT, DataType.FLOAT16, DataType.UINT8, DataType.INT8, DataType.UINT16, DataType.INT16})
"""Dtypes that the kernels of products store, and load as operands of their epilogues."""


class FuseEpilogue(Rewrite[onnx_ir.Node]):
    """Activation, residual addition and the like become the epilogue of a magicmind.Conv or magicmind.MatMul."""

    roots = frozenset({f"{DOMAIN}.Elementwise"})

    def __init__(self) -> None:
        super().__init__()
        self._position: dict[onnx_ir.Node, int] = {}

    def call(self, model: onnx_ir.Model) -> bool:
        self._position = {node: i for i, node in enumerate(model.graph.all_nodes())}
        return super().call(model)

    def match(self, node: onnx_ir.Node) -> onnx_ir.Node | Decline:
        reasons, candidates = ["no operand is a convolution or matrix product"], []
        for value in node.inputs:
            producer = value.producer() if value is not None else None
            if value is None or producer is None or not is_op(producer, "Conv", "MatMul", domain=DOMAIN):
                continue
            reason = _reason_against(value, node, producer)
            if reason:
                reasons.append(reason)
            else:
                candidates.append(producer)
        # Two products meet in an addition: the later one takes it, the earlier one is its residual.
        return max(candidates, key=self._position.__getitem__) if candidates else Decline(reasons[-1])

    def rewrite(self, node: onnx_ir.Node, found: onnx_ir.Node) -> None:
        program, operands = inline_epilogue(node, found)
        attributes = {name: attr.value for name, attr in found.attributes.items()}
        bias = found.inputs[2] if len(found.inputs) > 2 else None
        new = replace_node(
            node,
            found.op_type,
            [*found.inputs[:2], bias, *operands],
            attributes | {"epilogue": program.to_strings()},
            domain=DOMAIN,
            name=found.name,
            fused=[found],
        )
        self._position[new] = self._position[node]


def _reason_against(value: onnx_ir.Value, node: onnx_ir.Node, producer: onnx_ir.Node) -> str:
    output = node.outputs[0]
    if only_user(value) is None:
        return "the result is used elsewhere"
    if shape_of(value) is None or shape_of(value) != shape_of(output):
        return "the shape of the result changes"
    if dtype_of(output) not in STORED and dtype_of(output) != dtype_of(value):
        return "kernels do not store the dtype of the result"
    if any(v is not None and v is not value and dtype_of(v) not in STORED for v in node.inputs):
        return "kernels do not load the dtype of an operand"
    if producer.graph is not node.graph:
        return "the result belongs to an enclosing graph"
    if len(inline_epilogue(node, producer)[1]) > MAX_OPERANDS:
        return "the epilogue would have too many operands"
    return ""


def inline_epilogue(node: onnx_ir.Node, producer: onnx_ir.Node) -> tuple[ScalarProgram, Operands]:
    """The epilogue and its operands after `node` was inlined into `producer`."""
    own, other = operands_of(producer, FIRST_OPERAND), operands_of(node)
    result = producer.outputs[0]
    operands = dict.fromkeys([*own, *(v for v in other if v is not result)])
    number = {value: i for i, value in enumerate(operands)}
    outer = program_of(node).rename({f"x{i}": "acc" if v is result else f"y{number[v]}" for i, v in enumerate(other)})
    if "epilogue" in producer.attributes:
        inner = program_of(producer, "epilogue").rename({f"x{i}": f"y{number[v]}" for i, v in enumerate(own)})
        outer = outer.rename({"acc": "fused"}).compose(inner, "fused")
    return compact(outer, list(operands), "y")
