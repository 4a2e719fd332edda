"""Builds ONNX files with seeded random weights layer by layer.

Accuracy means nothing here; what matters is that the graph is the published one, node for node, and that activations
keep a plausible size through all layers: no engine meets denormals or infinities.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from magicmind.zoo.networks import drawn
from magicmind.zoo.networks.drawn import Array

Batch = int | str
"""A fixed batch, or the name of a symbolic one."""

SEED = 20240229


@dataclass
class NetBuilder:
    """Collects nodes and initializers; keeps the second moment of every tensor so that weights can be scaled to it."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    channels: dict[str, int] = field(default_factory=dict)
    moment: dict[str, float] = field(default_factory=dict)

    def parameter(self, name: str, array: Array) -> str:
        """Adds a float32 initializer and returns its name."""
        self.initializers.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def node(
        self, op: str, inputs: Sequence[str], name: str, *, channels: int, moment: float, **attributes: Any
    ) -> str:
        """Adds a node whose only output carries the node's name."""
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        self.channels[name], self.moment[name] = channels, moment
        return name

    def conv(
        self,
        x: str,
        name: str,
        out: int,
        kernel: int,
        *,
        stride: int = 1,
        pad: int = 0,
        group: int = 1,
        bias: bool = False,
    ) -> str:
        """Convolution whose output has about the second moment of its input."""
        per_group = self.channels[x] // group
        weight = drawn.weights(self.rng, (out, per_group, kernel, kernel), per_group * kernel * kernel)
        inputs = [x, self.parameter(f"{name}_weight", weight)]
        if bias:
            inputs.append(self.parameter(f"{name}_bias", drawn.bias(self.rng, out)))
        return self.node(
            "Conv",
            inputs,
            name,
            channels=out,
            moment=self.moment[x],
            dilations=[1, 1],
            group=group,
            kernel_shape=[kernel, kernel],
            pads=[pad] * 4,
            strides=[stride, stride],
        )

    def batch_norm(self, x: str, name: str) -> str:
        """BatchNormalization with statistics near the true ones, so that its output is about N(0, 1) per channel."""
        c = self.channels[x]
        values = drawn.normalisation(self.rng, c, self.moment[x])
        names = [f"{name}_{key}" for key in ("gamma", "beta", "running_mean", "running_var")]
        inputs = [x, *(self.parameter(key, value) for key, value in zip(names, values, strict=True))]
        return self.node("BatchNormalization", inputs, name, channels=c, moment=1.0, epsilon=1e-5, momentum=0.9)

    def relu(self, x: str, name: str, *, keep: float = 0.5) -> str:
        """Relu; `keep` is the share of the second moment that survives: half of a symmetric input's."""
        return self.node("Relu", [x], name, channels=self.channels[x], moment=self.moment[x] * keep)

    def add(self, a: str, b: str, name: str) -> str:
        return self.node("Add", [a, b], name, channels=self.channels[a], moment=self.moment[a] + self.moment[b])

    def model(
        self, *, input_shape: Sequence[int | str], output_shape: Sequence[int | str], opset: int, ir: int
    ) -> onnx.ModelProto:
        """Checks and returns the model; before IR version 4 initializers are graph inputs too."""
        inputs = [helper.make_tensor_value_info("data", TensorProto.FLOAT, input_shape)]
        if ir < 4:
            inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in self.initializers]
        output = helper.make_tensor_value_info(self.nodes[-1].output[0], TensorProto.FLOAT, output_shape)
        graph = helper.make_graph(self.nodes, "benchmark", inputs, [output], self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
        onnx.checker.check_model(model)
        return model


def start(name: str, channels: int, seed: int = SEED) -> NetBuilder:
    """A network with one input."""
    net = NetBuilder(np.random.default_rng(seed))
    net.channels[name], net.moment[name] = channels, 1.0
    return net


def expect(model: onnx.ModelProto, counts: dict[str, int], parameters: int) -> None:
    """Checks that the graph is the published one."""
    found = Counter(node.op_type for node in model.graph.node)
    assert found == counts, f"node counts {dict(found)}, expected {counts}"
    total = sum(int(np.prod(t.dims)) for t in model.graph.initializer)
    assert total == parameters, f"{total} parameters, expected {parameters}"
