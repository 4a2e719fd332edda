"""Gemm and MatMul become magicmind.MatMul, with constant operands transposed and scaled ahead."""

from __future__ import annotations

import numpy as np
import onnx_ir

from magicmind.ir.scalar import ScalarProgram, Var, single
from magicmind.ir.types import const_of, shape_of
from magicmind.passes.edit import DOMAIN, add_constant, attribute, graph_of, is_op, only_user, replace_node
from magicmind.passes.infra import Decline, Rewrite


class MatmulToOwn(Rewrite[None]):
    """MatMul becomes magicmind.MatMul, which can carry a bias and an epilogue."""

    roots = frozenset({"MatMul"})

    def match(self, node: onnx_ir.Node) -> None:
        return None

    def rewrite(self, node: onnx_ir.Node, found: None) -> None:
        replace_node(node, "MatMul", node.inputs, domain=DOMAIN)


class GemmToMatmul(Rewrite[None]):
    """Gemm becomes magicmind.MatMul: alpha goes into constant weights, C into the bias or the epilogue."""

    roots = frozenset({"Gemm"})

    def match(self, node: onnx_ir.Node) -> Decline | None:
        c = _addend(node)
        return Decline("the shape of C is not known") if c is not None and shape_of(c) is None else None

    def rewrite(self, node: onnx_ir.Node, found: None) -> None:
        alpha = attribute(node, "alpha", 1.0)
        weights, trans_b, alpha = _weights(node, alpha)
        beta = attribute(node, "beta", 1.0)
        bias, program, extra = _epilogue(node, alpha, beta)
        attributes = {
            "transA": attribute(node, "transA", 0) or None,
            "transB": trans_b or None,
            "epilogue": program.to_strings() if program is not None else None,
        }
        replace_node(node, "MatMul", [node.inputs[0], weights, bias, *extra], attributes, domain=DOMAIN)


def _addend(node: onnx_ir.Node) -> onnx_ir.Value | None:
    c = node.inputs[2] if len(node.inputs) > 2 else None
    return None if attribute(node, "beta", 1.0) == 0 else c


def _weights(node: onnx_ir.Node, alpha: float) -> tuple[onnx_ir.Value | None, int, float]:
    """B, whether it still is transposed, and the factor that is left."""
    value, trans_b = node.inputs[1], attribute(node, "transB", 0)
    constant = const_of(value)
    if constant is None:
        return value, trans_b, alpha
    if not np.issubdtype(constant.dtype, np.floating):
        scaled, left = constant, alpha
    elif alpha != 1:
        scaled, left = (constant.astype(np.float64) * alpha).astype(constant.dtype), 1.0
    else:
        scaled, left = constant, 1.0
    if not trans_b and scaled is constant:
        return value, 0, left
    return add_constant(graph_of(node), scaled.T if trans_b else scaled, f"{node.name}.weight"), 0, left


def _epilogue(
    node: onnx_ir.Node, alpha: float, beta: float
) -> tuple[onnx_ir.Value | None, ScalarProgram | None, list[onnx_ir.Value]]:
    """The bias, or else the program that scales by `alpha` and adds `beta * C`, with its operands."""
    c = _addend(node)
    scale = single("Mul", Var("acc"), alpha)
    if c is None:
        return None, scale if alpha != 1 else None, []
    if alpha == 1:
        bias = as_bias(c, node, beta)
        if bias is not None:
            return bias, None, []
    program = ScalarProgram.parse([f"t0 = Mul(acc, {alpha!r})", f"t1 = Mul(x0, {beta!r})", "t2 = Add(t0, t1)"])
    return None, program.simplified(), [c]


def as_bias(c: onnx_ir.Value, node: onnx_ir.Node, beta: float = 1.0) -> onnx_ir.Value | None:
    """`beta * c` as one number per column of `node`'s output, when it is that and constant."""
    shape, output = shape_of(c), shape_of(node.outputs[0])
    if shape is None or not output:
        return None
    columns, constant = output[-1], const_of(c)
    if constant is not None and shape == (columns,) and beta == 1:
        return c
    if constant is None or not isinstance(columns, int) or len(shape) > len(output):
        return None
    if any(size != 1 for size in constant.shape[:-1]) or constant.shape[-1:] not in ((), (1,), (columns,)):
        return None
    row = np.broadcast_to(constant.reshape(-1), (columns,)).astype(np.float64) * beta
    return add_constant(graph_of(node), row.astype(constant.dtype), f"{node.name}.bias")


class FuseMatmulBias(Rewrite[tuple[onnx_ir.Node, onnx_ir.Value]]):
    """MatMul(a, b) + c with one c per column becomes the bias of the product."""

    roots = frozenset({"Add"})

    def match(self, node: onnx_ir.Node) -> tuple[onnx_ir.Node, onnx_ir.Value] | Decline:
        for index in (0, 1):
            value, other = node.inputs[index], node.inputs[1 - index]
            product = value.producer() if value is not None else None
            if value is None or other is None or not is_op(product, "MatMul", domain=DOMAIN):
                continue
            assert product is not None
            if only_user(value) is None:
                return Decline("the product is used elsewhere")
            if len(product.inputs) > 2 or "epilogue" in product.attributes:
                return Decline("the product has a bias or an epilogue")
            if shape_of(value) != shape_of(node.outputs[0]) or const_of(other) is None:
                return Decline("the addend is no constant row")
            bias = as_bias(other, node)
            return Decline("the addend is not one number per column") if bias is None else (product, bias)
        return Decline("no operand is a matrix product")

    def rewrite(self, node: onnx_ir.Node, found: tuple[onnx_ir.Node, onnx_ir.Value]) -> None:
        product, bias = found
        attributes = {name: attr.value for name, attr in product.attributes.items()}
        inputs = [*product.inputs[:2], bias]
        replace_node(node, "MatMul", inputs, attributes, domain=DOMAIN, name=product.name, fused=[product])
