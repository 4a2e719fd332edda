"""ResNet-50 v1 as exported by MXNet Gluon (`resnet50-v1-7.onnx`), with seeded random weights."""

from __future__ import annotations

import numpy as np
import onnx

from magicmind.zoo.networks.onnx_layers import SEED, Batch, NetBuilder, expect, start


def resnet50_v1(batch: Batch = "N", seed: int = SEED) -> onnx.ModelProto:
    """ResNet-50 v1, data [batch, 3, 224, 224] -> logits [batch, 1000], float32; the stride is in the first 1x1."""
    net = start("data", 3, seed)
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
    expect(model, counts | {"MaxPool": 1, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}, 25_575_912 + 53_120)
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
