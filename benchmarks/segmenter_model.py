"""A fully convolutional segmenter for any height and width, with seeded random weights.

Encoder (strided convolutions, pooling, residual and dilated blocks), context from the whole picture, decoder with skip
connections. It is written as PyTorch's exporter spells such networks with dynamic axes: every extent that depends on
the picture is computed by Shape, Gather, Slice, Concat and integer arithmetic; Resize goes by sizes, and the level that
a transposed convolution doubles is padded to its skip connection (extents that are odd lose a row on the way down).
"""

from __future__ import annotations

import numpy as np
import onnx
from sequence_models import Batch, SequenceBuilder

CLASSES = 5


class SegmenterBuilder(SequenceBuilder):
    """Adds the parts that a convolutional network is made of."""

    def index(self, value: int) -> str:
        return self.constant(f"index{value}", np.array(value, np.int64))

    def indices(self, *values: int) -> str:
        return self.constant("indices" + "_".join(map(str, values)), np.array(values, np.int64))

    def conv(
        self, x: str, name: str, before: int, after: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1,
        group: int = 1, relu: bool = True,
    ) -> str:  # fmt: skip
        """Convolution (padded by half the window) with bias, of about the size of x; Relu unless told otherwise."""
        scale = (2.0 / (before // group * kernel * kernel)) ** 0.5
        weight = self.random(f"{name}.weight", after, before // group, kernel, kernel, scale=scale)
        y = self.node(
            "Conv",
            [x, weight, self.random(f"{name}.bias", after, scale=0.05)],
            name,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            dilations=[dilation, dilation],
            pads=[kernel // 2 * dilation] * 4,
            group=group,
        )
        return self.node("Relu", [y], f"{name}.relu") if relu else y

    def residual(self, x: str, name: str, width: int, dilation: int = 1) -> str:
        """relu(x + two 3x3 convolutions of x)."""
        y = self.conv(x, f"{name}.conv1", width, width, dilation=dilation)
        y = self.conv(y, f"{name}.conv2", width, width, dilation=dilation, relu=False)
        return self.node("Relu", [self.node("Add", [y, x], f"{name}.add")], f"{name}.relu")

    def size(self, x: str, axis: int, name: str) -> str:
        """x.shape[axis], a scalar."""
        return self.node("Gather", [self.node("Shape", [x], f"{name}.shape"), self.index(axis)], name, axis=0)

    def resized(self, x: str, like: str, name: str) -> str:
        """Bilinear interpolation of x to the height and width of `like`."""
        extents = [
            self.node("Unsqueeze", [self.size(like, axis, f"{name}.size{axis}"), self.indices(0)], f"{name}.dim{axis}")
            for axis in (2, 3)
        ]
        wanted = self.node("Concat", extents, f"{name}.extents", axis=0)
        wanted = self.node("Cast", [wanted], f"{name}.extents64", to=onnx.TensorProto.INT64)
        own = self.node(
            "Slice",
            [self.node("Shape", [x], f"{name}.own"), self.indices(0), self.indices(2), self.indices(0)],
            f"{name}.batch_channels",
        )
        sizes = self.node("Concat", [own, wanted], f"{name}.sizes", axis=0)
        return self.node(
            "Resize", [x, "", "", sizes], name, mode="linear", coordinate_transformation_mode="pytorch_half_pixel"
        )

    def padded(self, x: str, like: str, name: str) -> str:
        """x with zeros around it, half of them before, up to the height and width of `like`."""
        before, after = [], []
        for axis in (2, 3):
            sizes = [self.size(t, axis, f"{name}.{t}.size{axis}") for t in (like, x)]
            difference = self.node("Sub", sizes, f"{name}.difference{axis}")
            half = self.node("Div", [difference, self.index(2)], f"{name}.half{axis}")
            rest = self.node("Sub", [difference, half], f"{name}.rest{axis}")
            for part, where in ((half, before), (rest, after)):
                where.append(self.node("Unsqueeze", [part, self.indices(0)], f"{part}.dim"))
        none = self.indices(0, 0)
        pads = self.node("Concat", [none, *before, none, *after], f"{name}.pads", axis=0)
        return self.node("Pad", [x, pads], name, mode="constant")


def segmenter(batch: Batch = "N", height: Batch = "height", width: Batch = "width") -> onnx.ModelProto:
    """data [batch, 3, height, width] -> logits [batch, 5, height, width], float32; 6.5 GFLOP at 256 x 256."""
    net = SegmenterBuilder()
    half = net.conv("data", "stem", 3, 32, stride=2)
    x = net.node("MaxPool", [half], "pool", kernel_shape=[2, 2], strides=[2, 2])
    quarter = net.residual(net.conv(x, "stage1", 32, 64), "stage1.block", 64)
    eighth = net.residual(net.conv(quarter, "stage2", 64, 128, stride=2), "stage2.block", 128)
    x = net.conv(net.conv(eighth, "stage3.depthwise", 128, 128, stride=2, group=128), "stage3", 128, 256, 1)
    x = net.residual(x, "stage3.block", 256, dilation=2)
    context = net.conv(net.node("GlobalAveragePool", [x], "context.mean"), "context", 256, 64, 1)
    x = net.node("Concat", [x, net.resized(context, x, "context.wide")], "context.joined", axis=1)
    x = net.conv(x, "neck", 320, 128, 1)
    for name, skip, channels, after in (("up8", eighth, 128, 96), ("up4", quarter, 64, 64)):
        before = 128 if name == "up8" else 96
        x = net.node("Concat", [net.resized(x, skip, f"{name}.resize"), skip], f"{name}.joined", axis=1)
        x = net.conv(x, name, before + channels, after)
    weight = net.random("up2.weight", 64, 32, 2, 2, scale=64**-0.5)
    x = net.node(
        "ConvTranspose",
        [x, weight, net.random("up2.bias", 32, scale=0.05)],
        "up2",
        kernel_shape=[2, 2],
        strides=[2, 2],
    )
    x = net.node("Concat", [net.padded(x, half, "up2.padded"), half], "up2.joined", axis=1)
    x = net.conv(net.conv(x, "head", 64, 32), "classifier", 32, CLASSES, 1, relu=False)
    logits = net.resized(x, "data", "logits")
    return net.model({"data": (batch, 3, height, width)}, (logits, (batch, CLASSES, height, width)))
