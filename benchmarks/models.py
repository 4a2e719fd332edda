"""Benchmark networks as ONNX files with seeded random weights.

Owns the topologies (ResNet-50 v1 as exported by MXNet Gluon, MobileNetV2 as published for Caffe, a one-node model) and
the scaling of their weights. Accuracy means nothing here; what matters is that the graph is the published one, node
for node, and that activations keep a plausible size through all layers: no engine meets denormals or infinities.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import segmenter_model
import sequence_models
from onnx import TensorProto, helper, numpy_helper

Batch = int | str
"""A fixed batch, or the name of a symbolic one."""

SEED = 20240229
RECIPE = 2
"""Part of the file names: raise it with every change of what is written."""


@dataclass
class NetBuilder:
    """Collects nodes and initializers; keeps the second moment of every tensor so that weights can be scaled to it."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    channels: dict[str, int] = field(default_factory=dict)
    moment: dict[str, float] = field(default_factory=dict)

    def parameter(self, name: str, array: np.ndarray) -> str:
        """Adds a float32 initializer and returns its name."""
        self.initializers.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def node(
        self, op: str, inputs: Sequence[str], name: str, *, channels: int, moment: float, **attributes: object
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
        scale = 1.0 / np.sqrt(per_group * kernel * kernel)
        shape = (out, per_group, kernel, kernel)
        inputs = [x, self.parameter(f"{name}_weight", self.rng.normal(0.0, scale, shape))]
        if bias:
            inputs.append(self.parameter(f"{name}_bias", self.rng.normal(0.0, 0.05, out)))
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
        c, spread = self.channels[x], self.moment[x]
        parameters = {
            "gamma": self.rng.uniform(0.8, 1.2, c),
            "beta": self.rng.normal(0.0, 0.1, c),
            "running_mean": self.rng.normal(0.0, 0.1 * np.sqrt(spread), c),
            "running_var": spread * self.rng.uniform(0.7, 1.3, c),
        }
        inputs = [x, *(self.parameter(f"{name}_{key}", value) for key, value in parameters.items())]
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


def _start(name: str, channels: int) -> NetBuilder:
    net = NetBuilder(np.random.default_rng(SEED))
    net.channels[name], net.moment[name] = channels, 1.0
    return net


def _expect(model: onnx.ModelProto, counts: dict[str, int], parameters: int) -> None:
    found = Counter(node.op_type for node in model.graph.node)
    assert found == counts, f"node counts {dict(found)}, expected {counts}"
    total = sum(int(np.prod(t.dims)) for t in model.graph.initializer)
    assert total == parameters, f"{total} parameters, expected {parameters}"


def resnet50_v1(batch: Batch = "N") -> onnx.ModelProto:
    """ResNet-50 v1, data [batch, 3, 224, 224] -> logits [batch, 1000], float32; the stride is in the first 1x1."""
    net = _start("data", 3)
    prefix = "resnetv17"
    x = net.conv("data", f"{prefix}_conv0_fwd", 64, 7, stride=2, pad=3)
    x = net.relu(net.batch_norm(x, f"{prefix}_batchnorm0_fwd"), f"{prefix}_relu0_fwd")
    x = net.node(
        "MaxPool",
        [x],
        f"{prefix}_pool0_fwd",
        channels=64,
        moment=1.0,
        kernel_shape=[3, 3],
        pads=[1] * 4,
        strides=[2, 2],
    )
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        x = _resnet_stage(net, x, f"{prefix}_stage{stage}", blocks, width, first_stride=1 if stage == 1 else 2)
    x = net.node("GlobalAveragePool", [x], f"{prefix}_pool1_fwd", channels=2048, moment=net.moment[x] / 2)
    x = net.node("Flatten", [x], "flatten_170", channels=2048, moment=net.moment[x], axis=1)
    weight = net.parameter(f"{prefix}_dense0_weight", net.rng.normal(0.0, 1.0 / np.sqrt(2048), (1000, 2048)))
    bias = net.parameter(f"{prefix}_dense0_bias", net.rng.normal(0.0, 0.05, 1000))
    net.node(
        "Gemm",
        [x, weight, bias],
        f"{prefix}_dense0_fwd",
        channels=1000,
        moment=1.0,
        alpha=1.0,
        beta=1.0,
        transA=0,
        transB=1,
    )
    model = net.model(input_shape=(batch, 3, 224, 224), output_shape=(batch, 1000), opset=7, ir=3)
    counts = {"Conv": 53, "BatchNormalization": 53, "Relu": 49, "Add": 16}
    _expect(model, counts | {"MaxPool": 1, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}, 25_575_912 + 53_120)
    assert len(model.graph.initializer) == 299
    return model


def _resnet_stage(net: NetBuilder, x: str, prefix: str, blocks: int, width: int, first_stride: int) -> str:
    index = 0

    def conv_bn(source: str, out: int, kernel: int, *, stride: int = 1, bias: bool = False) -> str:
        nonlocal index
        y = net.conv(source, f"{prefix}_conv{index}_fwd", out, kernel, stride=stride, pad=kernel // 2, bias=bias)
        y = net.batch_norm(y, f"{prefix}_batchnorm{index}_fwd")
        index += 1
        return y

    for block in range(blocks):
        stride = first_stride if block == 0 else 1
        y = net.relu(conv_bn(x, width, 1, stride=stride, bias=True), f"{prefix}_relu{2 * block}_fwd")
        y = net.relu(conv_bn(y, width, 3), f"{prefix}_relu{2 * block + 1}_fwd")
        y = conv_bn(y, 4 * width, 1, bias=True)
        shortcut = conv_bn(x, 4 * width, 1, stride=stride) if block == 0 else x
        # An identity shortcut is never negative, so that little of the sum is cut off.
        keep = 0.5 if block == 0 else 0.85
        x = net.relu(net.add(y, shortcut, f"{prefix}__plus{block}"), f"{prefix}_activation{block}", keep=keep)
    return x


MOBILENET_BLOCKS = (
    # name, expand, depthwise stride, out, shortcut
    ("conv2_1", 32, 1, 16, False),
    ("conv2_2", 96, 2, 24, False),
    ("conv3_1", 144, 1, 24, True),
    ("conv3_2", 144, 2, 32, False),
    ("conv4_1", 192, 1, 32, True),
    ("conv4_2", 192, 1, 32, True),
    ("conv4_3", 192, 1, 64, False),
    ("conv4_4", 384, 1, 64, True),
    ("conv4_5", 384, 1, 64, True),
    ("conv4_6", 384, 1, 64, True),
    ("conv4_7", 384, 2, 96, False),
    ("conv5_1", 576, 1, 96, True),
    ("conv5_2", 576, 1, 96, True),
    ("conv5_3", 576, 2, 160, False),
    ("conv6_1", 960, 1, 160, True),
    ("conv6_2", 960, 1, 160, True),
    ("conv6_3", 960, 1, 320, False),
)


def mobilenet_v2(batch: Batch = "N") -> onnx.ModelProto:
    """MobileNetV2 as published for Caffe (plain ReLU): data [batch, 3, 224, 224] -> prob [batch, 1000, 1, 1]."""
    net = _start("data", 3)

    def conv_bn(x: str, name: str, out: int, kernel: int, *, stride: int = 1, group: int = 1, act: bool = True) -> str:
        y = net.conv(x, name, out, kernel, stride=stride, pad=kernel // 2, group=group)
        y = net.batch_norm(y, f"{name}/bn")
        return net.relu(y, f"{name}/relu") if act else y

    x = conv_bn("data", "conv1", 32, 3, stride=2)
    for name, expand, stride, out, shortcut in MOBILENET_BLOCKS:
        y = conv_bn(x, f"{name}/expand", expand, 1)
        y = conv_bn(y, f"{name}/dwise", expand, 3, stride=stride, group=expand)
        y = conv_bn(y, f"{name}/linear", out, 1, act=False)
        x = net.add(x, y, f"block_{name[4:]}") if shortcut else y
    x = conv_bn(x, "conv6_4", 1280, 1)
    # Averaging 49 pixels leaves about 0.2 of the second moment; aim at logits of a few units, or softmax would be flat.
    x = net.node("GlobalAveragePool", [x], "pool6", channels=1280, moment=0.2)
    weight = net.parameter("fc7_weight", net.rng.normal(0.0, 3.0 / np.sqrt(1280 * 0.2), (1000, 1280, 1, 1)))
    bias = net.parameter("fc7_bias", net.rng.normal(0.0, 0.05, 1000))
    x = net.node("Conv", [x, weight, bias], "fc7", channels=1000, moment=9.0, kernel_shape=[1, 1])
    net.node("Softmax", [x], "prob", channels=1000, moment=1.0, axis=1)
    model = net.model(input_shape=(batch, 3, 224, 224), output_shape=(batch, 1000, 1, 1), opset=13, ir=8)
    counts = {"Conv": 54, "BatchNormalization": 53, "Relu": 36, "Add": 10, "GlobalAveragePool": 1, "Softmax": 1}
    # Caffe stores one scale factor per BatchNorm beside mean and variance; ONNX has none: 34,229 - 53 statistics.
    _expect(model, counts, 3_505_960 + 34_229 - 53)
    return model


def one_node(batch: Batch = 1) -> onnx.ModelProto:
    """One Relu on float32 [batch, 16]: what is left of a call is its overhead."""
    net = _start("data", 16)
    net.relu("data", "relu")
    return net.model(input_shape=(batch, 16), output_shape=(batch, 16), opset=13, ir=8)


MODELS: dict[str, Callable[[Batch], onnx.ModelProto]] = {
    "resnet50": resnet50_v1,
    "mobilenetv2": mobilenet_v2,
    "onenode": one_node,
    "bert": sequence_models.bert_base,
    "vit": sequence_models.vit_b16,
    "lstm": sequence_models.lstm,
    "segmenter": segmenter_model.segmenter,
}
EXTENTS = {"height": 256, "width": 256, "length": 128}
"""What is measured where a file names a dim that is not the batch."""


def default_folder() -> Path:
    """`$XDG_CACHE_HOME/magicmind/benchmarks`, else below `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "magicmind" / "benchmarks"


def ensure(name: str, batch: Batch, folder: Path | None = None) -> Path:
    """Path of the ONNX file of a benchmark network, written unless it is there; equal arguments give equal bytes."""
    folder = folder or default_folder()
    path = folder / f"{name}-{batch}-v{RECIPE}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.draft")
        draft.write_bytes(MODELS[name](batch).SerializeToString(deterministic=True))
        draft.replace(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=sorted(MODELS))
    parser.add_argument("--batches", nargs="+", default=["N"], help="numbers, or a name for a symbolic batch")
    parser.add_argument("--out", type=Path, default=None, help=f"folder (default {default_folder()})")
    arguments = parser.parse_args()
    for name in arguments.models:
        for batch in arguments.batches:
            print(ensure(name, int(batch) if batch.isdigit() else batch, arguments.out))


if __name__ == "__main__":
    main()
