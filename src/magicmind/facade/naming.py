"""The names and types that programs see of what a file holds; scripts search them for parts of names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

MAIN = "main"
"""What the names of everything that is not named by a file begin with."""

_TORCH_KINDS = {
    "addmm": "matmul", "linear": "matmul", "mm": "matmul", "bmm": "matmul", "baddbmm": "matmul", "mv": "matmul",
    "batch_norm": "fused_batch_norm", "cat": "concat", "_convolution": "conv2d",
}  # fmt: skip
"""Operators of PyTorch that have another name here."""

_TYPES = {
    "conv1d": "Conv1D", "conv2d": "Conv", "conv3d": "Conv3D", "conv_depthwise2d": "ConvDepthwise",
    "conv_transpose1d": "Deconv1D", "conv_transpose2d": "Deconv", "matmul": "MatMul",
    "relu": "Activation", "sigmoid": "Activation", "tanh": "Activation", "add": "Elementwise", "sub": "Elementwise",
    "mul": "Elementwise", "argmax": "ArgMax", "topk": "TopK", "mat_mul": "MatMul",
    # operators of ONNX
    "Conv": "Conv", "ConvTranspose": "Deconv", "MatMul": "MatMul", "Gemm": "InnerProduct", "Relu": "Activation",
    "BatchNormalization": "FusedBatchNorm", "Sigmoid": "Activation", "Tanh": "Activation", "Add": "Elementwise",
    "Sub": "Elementwise", "Mul": "Elementwise", "MaxPool": "MaxPool2D", "AveragePool": "AvgPool2D",
    "LayerNormalization": "LayerNorm", "Transpose": "Permute", "NonMaxSuppression": "NonMaxSuppression",
}  # fmt: skip
"""Kinds whose node type is not just the kind in camel case."""


class Numbered:
    """Names `main/mm.<kind>`, the second of a kind with `-1`, the third with `-2`."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def name(self, kind: str) -> str:
        """The next name of a kind."""
        number = self._seen[kind]
        self._seen[kind] += 1
        return f"{MAIN}/mm.{kind}-{number}" if number else f"{MAIN}/mm.{kind}"


def kind_of_torch(kind: str) -> str:
    """The name here of an operator of PyTorch."""
    return _TORCH_KINDS.get(kind, kind)


def type_of_kind(kind: str) -> str:
    """`IConvNode` for `conv2d` and `Conv`."""
    found = _TYPES.get(kind) or _camel(kind)
    return f"I{found}Node"


def _camel(kind: str) -> str:
    """`MaxPool2D` for `max_pool2d`."""
    words = "".join(part[:1].upper() + part[1:] for part in re.split(r"_+", kind))
    return re.sub(r"(\d)d\b", r"\1D", words)


def onnx_name(name: str, op_type: str, number: int) -> str:
    """The name of a node of ONNX: the file's, with the operator and `_` in it as programs expect."""
    if f"{op_type}_" in name:
        return name
    return f"{name}/{op_type}_{number}" if name else f"{op_type}_{number}"


def with_index(names: Iterable[str]) -> list[str]:
    """TensorFlow's names of tensors: `node:0`."""
    return [name if ":" in name else f"{name}:0" for name in names]
