"""MobileNetV2 as published for Caffe (shicai/MobileNet-Caffe): prototxt and caffemodel with random weights.

Unlike the paper's it has plain ReLU, an expansion in its first block too, and the stride in `conv4_7`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from magicmind.frontends.caffe.write import caffemodel
from magicmind.zoo.networks import drawn
from magicmind.zoo.networks.drawn import Array

BLOCKS = (
    # name, expanded channels, stride, channels, with shortcut
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

_HEAD = """name: "MOBILENET_V2"
input: "data"
input_dim: 1
input_dim: 3
input_dim: 224
input_dim: 224
"""


@dataclass
class _Net:
    """The layers so far as text, their blobs, and channels and second moment of the current tensor."""

    rng: np.random.Generator
    text: list[str] = field(default_factory=lambda: [_HEAD])
    blobs: dict[str, list[Array]] = field(default_factory=dict)
    channels: int = 3
    moment: float = 1.0

    def layer(self, name: str, kind: str, bottoms: tuple[str, ...], top: str, parameters: str = "") -> str:
        lines = [f'name: "{name}"', f'type: "{kind}"', *(f'bottom: "{b}"' for b in bottoms), f'top: "{top}"']
        self.text.append("\n".join(["layer {", *(f"  {line}" for line in [*lines, parameters] if line), "}"]) + "\n")
        return top

    def conv(
        self, x: str, name: str, out: int, kernel: int = 1, *, stride: int = 1, depthwise: bool = False,
        relu: str | None = None,
    ) -> str:  # fmt: skip
        """Convolution, BatchNorm and Scale, perhaps ReLU; the name of the result."""
        per_group = 1 if depthwise else self.channels
        options = [f"num_output: {out}", "bias_term: false", f"kernel_size: {kernel}"]
        options += [f"pad: {kernel // 2}"] if kernel > 1 else []
        options += [f"group: {out}"] if depthwise else []
        options += [f"stride: {stride}"] if stride > 1 else []
        self.layer(name, "Convolution", (x,), name, f"convolution_param {{ {' '.join(options)} }}")
        normal = self.layer(
            f"{name}/bn", "BatchNorm", (name,), f"{name}/bn", "batch_norm_param { use_global_stats: true eps: 1e-5 }"
        )
        self.layer(f"{name}/scale", "Scale", (normal,), normal, "scale_param { bias_term: true }")
        terms = per_group * kernel * kernel
        self.blobs[name] = [drawn.weights(self.rng, (out, per_group, kernel, kernel), terms)]
        gamma, beta, mean, variance = drawn.normalisation(self.rng, out, self.moment)
        factor = np.ones(1, np.float32)
        self.blobs[f"{name}/bn"], self.blobs[f"{name}/scale"] = [mean, variance, factor], [gamma, beta]
        self.channels, self.moment = out, 1.0
        if relu:
            self.layer(relu, "ReLU", (normal,), normal)
            self.moment = 0.5
        return normal


def mobilenet_v2(seed: int = 0) -> tuple[str, bytes]:
    """The text of the prototxt and the bytes of the caffemodel: data [1, 3, 224, 224] -> prob [1, 1000, 1, 1]."""
    net = _Net(np.random.default_rng(seed))
    x = net.conv("data", "conv1", 32, 3, stride=2, relu="relu1")
    for name, expanded, stride, out, shortcut in BLOCKS:
        number, before = name.removeprefix("conv"), net.moment
        y = net.conv(x, f"{name}/expand", expanded, relu=f"relu{number}/expand")
        y = net.conv(y, f"{name}/dwise", expanded, 3, stride=stride, depthwise=True, relu=f"relu{number}/dwise")
        y = net.conv(y, f"{name}/linear", out)
        if shortcut:
            y = net.layer(f"block_{number}", "Eltwise", (x, y), f"block_{number}")
            net.moment += before
        x = y
    x = net.conv(x, "conv6_4", 1280, relu="relu6_4")
    x = net.layer("pool6", "Pooling", (x,), "pool6", "pooling_param { pool: AVE global_pooling: true }")
    x = net.layer("fc7", "Convolution", (x,), "fc7", "convolution_param { num_output: 1000 kernel_size: 1 }")
    net.layer("prob", "Softmax", (x,), "prob")
    # Averaging 49 pixels leaves about 0.2 of the second moment; aim at logits of a few units, or softmax would be flat.
    gain = 3.0 / math.sqrt(0.2)
    net.blobs["fc7"] = [drawn.weights(net.rng, (1000, 1280, 1, 1), 1280, gain), drawn.bias(net.rng, 1000)]
    return "".join(net.text), caffemodel(net.blobs)
