"""Random numbers: equal in every call where the node has a seed.

ONNX operators RandomNormal-22, RandomUniform-22, RandomNormalLike-22, RandomUniformLike-22, Bernoulli-22,
Multinomial-22.
"""

from __future__ import annotations

import onnx_ir

from magicmind.ir.types import TensorType
from magicmind.ops.registry import NodeView, Op

_INT32 = 6


def infer_made(node: NodeView) -> list[TensorType]:
    """Of the attributes `shape` and `dtype`."""
    return [TensorType(onnx_ir.DataType(node.attr("dtype", 1)), tuple(node.ints_attr("shape") or ()))]


def infer_like(node: NodeView) -> list[TensorType]:
    """Of the input's shape, and its dtype unless there is an attribute."""
    x = node.input(0)
    dtype = node.attr("dtype")
    return [TensorType(x.dtype if dtype is None else onnx_ir.DataType(dtype), x.shape)]


def infer_multinomial(node: NodeView) -> list[TensorType]:
    """[batch, sample_size] numbers of classes."""
    dtype = onnx_ir.DataType(node.attr("dtype", _INT32))
    return [TensorType(dtype, (node.input(0).dims[0], node.attr("sample_size", 1)))]


for _name in ("RandomNormal", "RandomUniform"):
    Op(_name).host().infer(infer_made)
for _name in ("RandomNormalLike", "RandomUniformLike", "Bernoulli"):
    Op(_name).host().infer(infer_like)
Op("Multinomial").host().infer(infer_multinomial)
