"""Conv and matrix products between dequantised values become products of whole numbers, scaled once.

DequantizeLinear(x) * DequantizeLinear(w) + b = (sum (x - x_zero) * w + b') * (x_scale * w_scale): the sum is a
magicmind.Conv or magicmind.MatMul on uint8 (int16) and int8 (int16) numbers, the factor an Elementwise that fuses into
its epilogue. b' is the bias in steps of that factor, as Q/DQ networks hold it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir
from onnx_ir import DataType

from magicmind.ir.types import TensorType, const_of, shape_of
from magicmind.passes.edit import DOMAIN, add_constant, attribute, graph_of, insert_node, is_op, replace_node
from magicmind.passes.infra import Decline, Rewrite
from magicmind.passes.quantised import Dequantised, Parameters, dequantised, dequantised_constant
from magicmind.passes.resolve_auto_pad import kernel_shape

Array = npt.NDArray[Any]

_BIAS_LIMIT = 2**30
"""A bias beyond this many steps is added as a float: the sum would leave int32."""
_LARGEST = {DataType.UINT8: 255 * 128}
"""The largest product of two quantised numbers, where sums are int32."""
_WEIGHTS = {DataType.UINT8: (DataType.INT8, DataType.UINT8), DataType.INT8: (DataType.INT8, DataType.UINT8)}
_WEIGHTS |= {DataType.INT16: (DataType.INT16, DataType.INT8)}


@dataclass(frozen=True)
class Product:
    """A product that can be done in whole numbers: `weights` are centred, `scale` is one per output channel or one."""

    x: Dequantised
    weights: Array
    scale: npt.NDArray[np.float32]
    bias: Array | None
    float_bias: Array | None


def centred_weights(array: Array, parameters: Parameters, wide: bool, axis: int) -> Array | None:
    """array - zero as int8 (int16 when `wide`), None where that does not fit."""
    zero = parameters.zero
    if zero.size > 1:
        zero = zero.reshape([-1 if i == axis % array.ndim else 1 for i in range(array.ndim)])
    exact = array.astype(np.int32) - zero
    dtype = np.int16 if wide else np.int8
    limits = np.iinfo(dtype)
    return exact.astype(dtype) if exact.min(initial=0) >= limits.min and exact.max(initial=0) <= limits.max else None


def product_of(
    x: onnx_ir.Value | None, w: onnx_ir.Value | None, b: onnx_ir.Value | None, axis: int, depth_axes: tuple[int, ...]
) -> Product | Decline:
    """What a node on x, w, b computes; `axis` of w counts output channels, `depth_axes` are summed over."""
    data, weights = dequantised(x), dequantised_constant(w)
    if data is None or weights is None:
        return Decline("its operands are not dequantised")
    array, parameters = weights
    if not data.parameters.per_tensor:
        return Decline("its data has several scales")
    if parameters.dtype not in _WEIGHTS.get(data.parameters.dtype, ()):
        return Decline("there is no product of these types")
    if not parameters.per_tensor and parameters.axis % array.ndim != axis % array.ndim:
        return Decline("the weights are scaled along another axis than the output channels")
    if data.parameters.dtype == DataType.INT16 and data.parameters.zero[0] != 0:
        return Decline("16-bit data has a zero point")
    centred = centred_weights(array, parameters, data.parameters.dtype == DataType.INT16, axis)
    if centred is None:
        return Decline("the weights do not fit once they are centred")
    depth = int(np.prod([array.shape[i] for i in depth_axes]))
    if depth * _LARGEST.get(data.parameters.dtype, 0) > np.iinfo(np.int32).max:
        return Decline("sums do not fit into 32 bits")
    scale = (data.parameters.scale * parameters.scale).astype(np.float32)
    if not np.isfinite(scale).all() or (scale < np.finfo(np.float32).tiny).any():
        return Decline("a product of scales is no float32")
    if b is None:
        return Product(data, centred, scale, None, None)
    biases = _bias_numbers(b)
    if biases is None:
        return Decline("the bias is computed at run time")
    row = np.broadcast_to(biases.ravel(), (array.shape[axis],))
    steps = np.rint(row / scale.astype(np.float64))
    if np.abs(steps).max(initial=0) >= _BIAS_LIMIT:
        return Product(data, centred, scale, None, row.astype(np.float32))
    wide = np.int64 if data.parameters.dtype == DataType.INT16 else np.int32
    return Product(data, centred, scale, steps.astype(wide), None)


def _bias_numbers(b: onnx_ir.Value) -> npt.NDArray[np.float64] | None:
    quantised = dequantised_constant(b)
    if quantised is not None:
        array, parameters = quantised
        return (array.astype(np.float64) - parameters.zero) * parameters.scale.astype(np.float64)
    constant = const_of(b)
    return None if constant is None else constant.astype(np.float64)


def unsigned(node: onnx_ir.Node, x: Dequantised) -> tuple[onnx_ir.Value, int]:
    """The data as the kernels read it, and its zero point: int8 goes through a shift by 128."""
    zero = int(x.parameters.zero[0])
    if x.parameters.dtype != DataType.INT8:
        return x.q, zero
    program = ["t0 = Cast(x0, INT32)", "t1 = Add(t0, 128)", "t2 = Cast(t1, UINT8)"]
    types = [TensorType(DataType.UINT8, shape_of(x.q))]
    shift = insert_node(
        node,
        "Elementwise",
        [x.q],
        {"program": program},
        domain=DOMAIN,
        name=f"{node.name}.{x.q.name}.unsigned",
        types=types,
    )
    shift.outputs[0].name = f"{node.name}.{x.q.name}.unsigned"
    return shift.outputs[0], zero + 128


def replace_by_product(
    node: onnx_ir.Node, found: Product, op_type: str, attributes: dict[str, Any], channel_shape: tuple[int, ...]
) -> None:
    """The product of whole numbers, then its factor (and a bias too large for it); constants are `channel_shape`."""
    graph = graph_of(node)
    x, zero = unsigned(node, found.x)
    weights = add_constant(graph, found.weights, f"{node.name}.weights")
    bias = None if found.bias is None else add_constant(graph, found.bias, f"{node.name}.steps")
    wide = DataType.INT64 if found.weights.dtype == np.int16 else DataType.INT32
    types = [TensorType(wide, shape_of(node.outputs[0]))]
    product = insert_node(
        node, op_type, [x, weights, bias], {**attributes, "x_zero": zero or None}, domain=DOMAIN, name=node.name,
        types=types,
    )  # fmt: skip
    product.outputs[0].name = f"{node.name}.sum"
    product.metadata_props.update(node.metadata_props)
    program, operands = ["t0 = Cast(x0, FLOAT)"], [product.outputs[0]]
    for op, numbers in (("Mul", found.scale), ("Add", found.float_bias)):
        if numbers is None:
            continue
        last = f"t{len(program) - 1}"
        if numbers.size == 1:
            program.append(f"t{len(program)} = {op}({last}, {float(numbers.flat[0])!r})")
        else:
            shaped = numbers.reshape(channel_shape)
            program.append(f"t{len(program)} = {op}({last}, x{len(operands)})")
            operands.append(add_constant(graph, shaped, f"{node.name}.{'scale' if op == 'Mul' else 'bias'}"))
    replace_node(node, "Elementwise", operands, {"program": program}, domain=DOMAIN, name=f"{node.name}.scaled")


class ConvToInteger(Rewrite[Product]):
    """Conv of dequantised data and weights becomes magicmind.Conv of whole numbers and its factor."""

    roots = frozenset({"Conv"})

    def match(self, node: onnx_ir.Node) -> Product | Decline:
        kernel = kernel_shape(node)
        if attribute(node, "auto_pad", "NOTSET") != "NOTSET" or kernel is None:
            return Decline("its padding or window is not known")
        if len(kernel) > 2 and dequantised(node.inputs[0]) is not None:
            return Decline("three spatial axes have no kernel for whole numbers")
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        depth = tuple(range(1, 2 + len(kernel)))
        return product_of(node.inputs[0], node.inputs[1], bias, 0, depth)

    def rewrite(self, node: onnx_ir.Node, found: Product) -> None:
        kernel = kernel_shape(node)
        assert kernel is not None
        rank = len(kernel)
        attributes = {
            "kernel_shape": kernel,
            "strides": attribute(node, "strides", (1,) * rank),
            "pads": attribute(node, "pads", (0,) * (2 * rank)),
            "dilations": attribute(node, "dilations", (1,) * rank),
            "group": attribute(node, "group", 1),
        }
        replace_by_product(node, found, "Conv", attributes, (1, -1, *([1] * rank)))


class MatmulToInteger(Rewrite[Product]):
    """MatMul and Gemm of dequantised data and weights become magicmind.MatMul of whole numbers and its factor."""

    roots = frozenset({"MatMul", "Gemm"})

    def match(self, node: onnx_ir.Node) -> Product | Decline:
        weights = dequantised_constant(node.inputs[1])
        if weights is None or weights[0].ndim != 2 or len(shape_of(node.outputs[0]) or ()) < 2:
            return Decline("its weights are no dequantised constant matrix")
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if is_op(node, "Gemm"):
            if attribute(node, "alpha", 1.0) != 1 or attribute(node, "transA", 0):
                return Decline("its data is scaled or transposed")
            if bias is not None and (attribute(node, "beta", 1.0) != 1 or not _is_row(bias)):
                return Decline("the addend is not one number per column")
        axis = 0 if attribute(node, "transB", 0) else 1
        return product_of(node.inputs[0], node.inputs[1], bias, axis, (1 - axis,))

    def rewrite(self, node: onnx_ir.Node, found: Product) -> None:
        if attribute(node, "transB", 0):
            found = Product(found.x, np.ascontiguousarray(found.weights.T), found.scale, found.bias, found.float_bias)
        replace_by_product(node, found, "MatMul", {}, (-1,))


class MatmulOfDataToInteger(Rewrite[tuple[Dequantised, Dequantised]]):
    """MatMul of two computed tensors, both dequantised, becomes magicmind.MatMul of bytes and its factor."""

    roots = frozenset({"MatMul"})

    def match(self, node: onnx_ir.Node) -> tuple[Dequantised, Dequantised] | Decline:
        a, b = (dequantised(value) for value in node.inputs[:2])
        if a is None or b is None or const_of(b.q) is not None:
            return Decline("its operands are not both dequantised data")
        if not all(d.parameters.per_tensor and d.parameters.dtype in _WEIGHTS[DataType.UINT8] for d in (a, b)):
            return Decline("they are no bytes of one scale each")
        shape = shape_of(node.inputs[0])  # type: ignore[arg-type]
        depth = shape[-1] if shape else None
        if not isinstance(depth, int) or depth * 255 * 255 > np.iinfo(np.int32).max:
            return Decline("sums do not fit into 32 bits, or their length is not known")
        return a, b

    def rewrite(self, node: onnx_ir.Node, found: tuple[Dequantised, Dequantised]) -> None:
        (a, a_zero), (b, b_zero) = (unsigned(node, d) for d in found)
        scale = (found[0].parameters.scale * found[1].parameters.scale).astype(np.float32)
        attributes = {"x_zero": a_zero or None, "b_zero": b_zero or None}
        types = [TensorType(DataType.INT32, shape_of(node.outputs[0]))]
        product = insert_node(node, "MatMul", [a, b], attributes, domain=DOMAIN, name=node.name, types=types)
        product.outputs[0].name = f"{node.name}.sum"
        program = ["t0 = Cast(x0, FLOAT)", f"t1 = Mul(t0, {float(scale[0])!r})"]
        replace_node(
            node, "Elementwise", product.outputs, {"program": program}, domain=DOMAIN, name=f"{node.name}.scaled"
        )


def _is_row(value: onnx_ir.Value) -> bool:
    shape = shape_of(value)
    return shape is not None and all(d == 1 for d in shape[:-1])
