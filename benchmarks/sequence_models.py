"""Transformer encoders and a recurrent network for the benchmarks, with seeded random weights.

The encoders are written operator by operator as PyTorch's exporter spells them (opset 17): attention as Transpose,
MatMul, Div, Softmax, GELU by Erf, LayerNormalization as one operator. Embeddings and heads are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Batch = int | str
SEED = 20240229


@dataclass
class SequenceBuilder:
    """Collects nodes and initializers; every node's only output carries its name."""

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(SEED))
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def constant(self, name: str, array: np.ndarray) -> str:
        """An initializer."""
        self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def random(self, name: str, *shape: int, scale: float = 1.0, around: float = 0.0) -> str:
        """Normally distributed float32 weights."""
        return self.constant(name, (around + scale * self.rng.standard_normal(shape)).astype(np.float32))

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def linear(self, x: str, name: str, before: int, after: int) -> str:
        """x W + b, of about the size of x."""
        weight = self.random(f"{name}.weight", before, after, scale=before**-0.5)
        product = self.node("MatMul", [x, weight], f"{name}.product")
        return self.node("Add", [self.random(f"{name}.bias", after, scale=0.02), product], name)

    def layer_norm(self, x: str, name: str, width: int) -> str:
        scale = self.random(f"{name}.scale", width, scale=0.1, around=1.0)
        return self.node(
            "LayerNormalization", [x, scale, self.random(f"{name}.bias", width, scale=0.1)], name, axis=-1, epsilon=1e-6
        )

    def gelu(self, x: str, name: str) -> str:
        """x / 2 * (1 + erf(x / sqrt 2)), spelled out."""
        root = self.constant("sqrt2", np.float32(np.sqrt(2.0)))
        erf = self.node("Erf", [self.node("Div", [x, root], f"{name}.div")], f"{name}.erf")
        total = self.node("Add", [erf, self.constant("one", np.float32(1.0))], f"{name}.add")
        return self.node(
            "Mul", [self.node("Mul", [x, total], f"{name}.mul"), self.constant("half", np.float32(0.5))], name
        )

    def attention(self, x: str, name: str, width: int, heads: int, mask: str | None) -> str:
        """Self-attention with its four projections."""
        split = self.constant("split", np.array([0, 0, heads, width // heads], np.int64))
        join = self.constant("join", np.array([0, 0, width], np.int64))

        def head(part: str, perm: list[int]) -> str:
            rows = self.node("Reshape", [self.linear(x, f"{name}.{part}", width, width), split], f"{name}.{part}.split")
            return self.node("Transpose", [rows], f"{name}.{part}.heads", perm=perm)

        q, k, v = head("q", [0, 2, 1, 3]), head("k", [0, 2, 3, 1]), head("v", [0, 2, 1, 3])
        scale = self.constant("scale", np.float32(np.sqrt(width // heads)))
        scores = self.node("Div", [self.node("MatMul", [q, k], f"{name}.scores"), scale], f"{name}.scaled")
        if mask is not None:
            scores = self.node("Add", [scores, mask], f"{name}.masked")
        context = self.node(
            "MatMul", [self.node("Softmax", [scores], f"{name}.softmax", axis=-1), v], f"{name}.context"
        )
        rows = self.node("Transpose", [context], f"{name}.turned", perm=[0, 2, 1, 3])
        return self.linear(self.node("Reshape", [rows, join], f"{name}.join"), f"{name}.out", width, width)

    def model(self, inputs: dict[str, Sequence[Batch]], output: tuple[str, Sequence[Batch]]) -> onnx.ModelProto:
        """Checks and returns the model."""
        graph = helper.make_graph(
            self.nodes,
            "benchmark",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, list(output[1]))],
            list(self.initializers.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        return model


def _encoder(batch: Batch, length: Batch, *, pre_norm: bool, mask: bool) -> onnx.ModelProto:
    """Twelve layers of width 768 with twelve heads and a hidden width of 3072."""
    width, heads, layers = 768, 12, 12
    net = SequenceBuilder()
    x = "data"
    for layer in range(layers):
        name = f"layer{layer}"
        a = net.layer_norm(x, f"{name}.norm1", width) if pre_norm else x
        a = net.attention(a, f"{name}.attention", width, heads, "mask" if mask else None)
        x = net.node("Add", [a, x], f"{name}.add1")
        x = x if pre_norm else net.layer_norm(x, f"{name}.norm1", width)
        f = net.layer_norm(x, f"{name}.norm2", width) if pre_norm else x
        f = net.gelu(net.linear(f, f"{name}.up", width, 4 * width), f"{name}.gelu")
        x = net.node("Add", [net.linear(f, f"{name}.down", 4 * width, width), x], f"{name}.add2")
        x = x if pre_norm else net.layer_norm(x, f"{name}.norm2", width)
    inputs: dict[str, Sequence[Batch]] = {"data": (batch, length, width)}
    if mask:
        inputs["mask"] = (batch, 1, 1, length)
    return net.model(inputs, (x, (batch, length, width)))


def bert_base(batch: Batch = 1) -> onnx.ModelProto:
    """The encoder of BERT-base: normalisation after each part, a mask added to the scores, length 128.

    With a symbolic batch the length is symbolic too.
    """
    return _encoder(batch, "length" if isinstance(batch, str) else 128, pre_norm=False, mask=True)


def vit_b16(batch: Batch = 1) -> onnx.ModelProto:
    """The encoder of ViT-B/16: normalisation before each part, 197 tokens (224 x 224 pixels)."""
    return _encoder(batch, 197, pre_norm=True, mask=False)


def lstm(batch: Batch = 1) -> onnx.ModelProto:
    """Two LSTM layers, 512 wide, over 100 steps; `batch` stands second in the shape."""
    width, steps = 512, 100
    net = SequenceBuilder()
    x = "data"
    for layer in range(2):
        name = f"lstm{layer}"
        parts = {"W": (1, 4 * width, width), "R": (1, 4 * width, width), "B": (1, 8 * width)}
        weights = [net.random(f"{name}.{part}", *shape, scale=width**-0.5) for part, shape in parts.items()]
        y = net.node("LSTM", [x, *weights], name, hidden_size=width)
        x = net.node("Squeeze", [y, net.constant("directions", np.array([1], np.int64))], f"{name}.squeeze")
    shape = (steps, 1 if isinstance(batch, str) else batch, width)  # the first dim is what `run.py` takes for a batch
    return net.model({"data": shape}, (x, shape))
