"""Benchmark networks as ONNX files with seeded random weights.

Owns MobileNetV2 as published for Caffe and a one-node model, and which networks are measured; others are the zoo's.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import segmenter_model
import sequence_models

from magicmind.zoo.networks.mobilenet_v2 import BLOCKS
from magicmind.zoo.networks.onnx_layers import Batch, expect, start
from magicmind.zoo.networks.resnet50 import resnet50_v1

RECIPE = 2
"""Part of the file names: raise it with every change of what is written."""


def mobilenet_v2(batch: Batch = "N") -> onnx.ModelProto:
    """MobileNetV2 as published for Caffe (plain ReLU): data [batch, 3, 224, 224] -> prob [batch, 1000, 1, 1]."""
    net = start("data", 3)

    def conv_bn(x: str, name: str, out: int, kernel: int, *, stride: int = 1, group: int = 1, act: bool = True) -> str:
        y = net.conv(x, name, out, kernel, stride=stride, pad=kernel // 2, group=group)
        y = net.batch_norm(y, f"{name}/bn")
        return net.relu(y, f"{name}/relu") if act else y

    x = conv_bn("data", "conv1", 32, 3, stride=2)
    for name, expand, stride, out, shortcut in BLOCKS:
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
    expect(model, counts, 3_505_960 + 34_229 - 53)
    return model


def one_node(batch: Batch = 1) -> onnx.ModelProto:
    """One Relu on float32 [batch, 16]: what is left of a call is its overhead."""
    net = start("data", 16)
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
