"""DeepLabV3 with MobileNetV2 (depth 1.0) at output stride 8, trained for PASCAL VOC: the frozen graph, random weights.

The graph is that of `deeplabv3_mnv2_pascal_train_aug`, node for node from the padding to the class map: sizes computed
at run time, dilation written as SpaceToBatchND and BatchToSpaceND, arg-max inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from magicmind.frontends.tensorflow.write import GraphWriter
from magicmind.zoo.networks import drawn
from magicmind.zoo.networks.drawn import Array

CLASSES = 21
SIDE = 513
"""What every picture is padded to."""
MAP = 65
"""Rows and columns of the features."""

BLOCKS = (
    # expanded channels, stride, dilation, channels, with shortcut
    (96, 2, 1, 24, False),
    (144, 1, 1, 24, True),
    (144, 2, 1, 32, False),
    *[(192, 1, 1, 32, True)] * 2,
    (192, 1, 1, 64, False),
    *[(384, 1, 2, 64, True)] * 3,
    (384, 1, 2, 96, False),
    *[(576, 1, 2, 96, True)] * 2,
    (576, 1, 2, 160, False),
    *[(960, 1, 4, 160, True)] * 2,
    (960, 1, 4, 320, False),
)
"""After the first block, which has no expansion."""

_F32, _I32, _U8, _I64 = (np.dtype(t) for t in (np.float32, np.int32, np.uint8, np.int64))


@dataclass
class _Net:
    """The graph so far; channels and second moment of every tensor that convolutions read."""

    rng: np.random.Generator
    graph: GraphWriter = field(default_factory=GraphWriter)
    channels: dict[str, int] = field(default_factory=dict)
    moment: dict[str, float] = field(default_factory=dict)

    def read(self, name: str, array: Array) -> str:
        """A weight: a Const and the Identity that training left behind."""
        return self.graph.node("Identity", f"{name}/read", self.graph.const(name, array), T=_F32)

    def keep(self, name: str, like: str, *, channels: int | None = None, moment: float | None = None) -> str:
        """Notes what a tensor is like; what is not given is as of the tensor `like`."""
        self.channels[name] = self.channels[like] if channels is None else channels
        self.moment[name] = self.moment[like] if moment is None else moment
        return name

    def identity(self, x: str, name: str) -> str:
        return self.keep(self.graph.node("Identity", name, x, T=_F32), x)

    def conv(self, x: str, name: str, out: int, kernel: int = 1, stride: int = 1, *, centred: bool = False) -> str:
        """Convolution without bias; `centred` weights sum to zero for an output, which the mean then does not move."""
        shape = (kernel, kernel, self.channels[x], out)
        values = drawn.weights(self.rng, shape, int(np.prod(shape[:3])))
        weight = self.read(f"{name}/weights", values - values.mean((0, 1, 2)) if centred else values)
        y = self.graph.node("Conv2D", f"{name}/Conv2D", x, weight, **_window(stride, "SAME"))
        return self.keep(y, x, channels=out)

    def depthwise(self, x: str, name: str, stride: int, dilation: int) -> str:
        """3x3 per channel; dilated ones work on every d-th pixel, laid out as further images of the batch."""
        weight = self.read(f"{name}/depthwise_weights", drawn.weights(self.rng, (3, 3, self.channels[x], 1), 9))
        y = x
        if dilation > 1:
            # 65 pixels and `dilation` before them, filled up to a multiple of it
            after = -(MAP + dilation) % dilation + dilation
            pads = np.array([[dilation, after]] * 2, np.int32)
            crops = np.array([[0, after - dilation]] * 2, np.int32)
            block = np.array([dilation, dilation], np.int32)
            spread = f"{name}/depthwise/SpaceToBatchND"
            y = self.graph.node("SpaceToBatchND", spread, y, block, pads, T=_F32, Tblock_shape=_I32, Tpaddings=_I32)
        window = _window(stride, "SAME" if dilation == 1 else "VALID")
        y = self.graph.node("DepthwiseConv2dNative", f"{name}/depthwise", y, weight, **window)
        if dilation > 1:
            joined = f"{name}/depthwise/BatchToSpaceND"
            y = self.graph.node("BatchToSpaceND", joined, y, block, crops, T=_F32, Tblock_shape=_I32, Tcrops=_I32)
        return self.keep(y, x)

    def normal(self, x: str, name: str, activation: str | None, epsilon: float = 1e-3) -> str:
        """FusedBatchNorm and perhaps an activation."""
        values = drawn.normalisation(self.rng, self.channels[x], self.moment[x])
        names = [f"{name}/BatchNorm/{part}" for part in ("gamma", "beta", "moving_mean", "moving_variance")]
        weights = [self.read(part, value) for part, value in zip(names, values, strict=True)]
        y = self.graph.node(
            "FusedBatchNorm", f"{name}/BatchNorm/FusedBatchNorm", x, *weights,
            T=_F32, epsilon=epsilon, data_format="NHWC", is_training=False,
        )  # fmt: skip
        self.keep(y, x, moment=1.0)
        if activation is None:
            return y
        return self.keep(self.graph.node(activation, f"{name}/{activation}", y, T=_F32), y, moment=0.5)

    def resized(self, x: str, name: str, side: int) -> str:
        """Bilinear, corners on corners."""
        y = self.graph.node("ResizeBilinear", name, x, np.array([side] * 2, np.int32), T=_F32, align_corners=True)
        return self.keep(y, x)


def _window(stride: int, padding: str) -> dict[str, object]:
    strides = [1, stride, stride, 1]
    return {"T": _F32, "strides": strides, "padding": padding, "data_format": "NHWC", "dilations": [1, 1, 1, 1]}


def deeplab(seed: int = 0) -> bytes:
    """The bytes of the frozen graph: ImageTensor uint8 [1, H, W, 3] -> SemanticPredictions int64 [1, H, W]; sides at
    most 513."""
    net = _Net(np.random.default_rng(seed))
    logits = _head(net, _backbone(net, _padded(net)))
    net.resized(logits, "ResizeBilinear_2", MAP)
    scores = net.resized("ResizeBilinear_2", "ResizeBilinear_3", SIDE)
    graph = net.graph
    graph.node("ArgMax", "ArgMax", scores, np.int32(3), T=_F32, Tidx=_I32, output_type=_I64)
    size = graph.node("Pack", "Slice/size", np.int32(1), "strided_slice", "strided_slice_1", T=_I32, N=3, axis=0)
    graph.node("Slice", "Slice", "ArgMax", np.zeros(3, np.int32), size, T=_I64, Index=_I32)
    graph.node("ExpandDims", "ExpandDims_2", "Slice", np.int32(3), T=_I64, Tdim=_I32)
    narrow = graph.node("Cast", "Cast_2", "ExpandDims_2", SrcT=_I64, DstT=_I32)
    nearest = "resize/ResizeNearestNeighbor"
    graph.node("ResizeNearestNeighbor", nearest, narrow, "Slice_1", T=_I32, align_corners=True)
    graph.node("Squeeze", "Squeeze_3", nearest, T=_I32, squeeze_dims=[3])
    graph.node("Cast", "Cast_3", "Squeeze_3", SrcT=_I32, DstT=_I64)
    graph.node("Identity", "SemanticPredictions", "Cast_3", T=_I64)
    return bytes(graph.message.SerializeToString())


def _padded(net: _Net) -> str:
    """The picture as float32 in -1..1, padded at the bottom and the right to 513 x 513."""
    graph = net.graph
    graph.placeholder("ImageTensor", (1, -1, -1, 3), np.uint8)
    graph.node("Squeeze", "Squeeze", "ImageTensor", T=_U8, squeeze_dims=[0])
    x = graph.node("Cast", "Cast", "Squeeze", SrcT=_U8, DstT=_F32)
    graph.node("Shape", "Shape", x, T=_F32, out_type=_I32)
    graph.node("Slice", "Slice_1", "Shape", np.array([0], np.int32), np.array([2], np.int32), T=_I32, Index=_I32)
    height, width = (_element(graph, f"strided_slice{suffix}", i) for i, suffix in enumerate(("", "_1")))
    for name, size in (("height", height), ("width", width)):
        graph.node("Sub", f"pad/{name}/short", np.int32(SIDE), size, T=_I32)
        graph.node("Maximum", f"pad/{name}/missing", f"pad/{name}/short", np.int32(0), T=_I32)
        graph.node("Pack", f"pad/{name}", np.int32(0), f"pad/{name}/missing", T=_I32, N=2, axis=0)
    none = np.zeros(2, np.int32)
    graph.node("Pack", "pad/amounts", "pad/height", "pad/width", none, T=_I32, N=3, axis=0)
    middle = graph.const("pad/middle", np.full(3, 127.5, np.float32))
    graph.node("Sub", "pad/sub", x, middle, T=_F32)
    graph.node("Pad", "pad/Pad", "pad/sub", "pad/amounts", T=_F32, Tpaddings=_I32)
    graph.node("Add", "pad/add", "pad/Pad", middle, T=_F32)
    graph.node("ExpandDims", "ExpandDims_1", "pad/add", np.int32(0), T=_F32, Tdim=_I32)
    graph.node("Mul", "mul_1", np.float32(2 / 255), "ExpandDims_1", T=_F32)
    y = graph.node("Sub", "sub_7", "mul_1", np.float32(1), T=_F32)
    # TensorFlow cannot infer the size after the padding; the published graph fixes it in the same way.
    y = graph.node("Reshape", "Reshape", y, np.array([1, SIDE, SIDE, 3], np.int32), T=_F32, Tshape=_I32)
    net.channels[y], net.moment[y] = 3, 0.3
    return y


def _element(graph: GraphWriter, name: str, index: int) -> str:
    begin, end, step = (np.array([i], np.int32) for i in (index, index + 1, 1))
    return graph.node("StridedSlice", name, "Shape", begin, end, step, T=_I32, Index=_I32, shrink_axis_mask=1)


def _backbone(net: _Net, x: str) -> str:
    """[1, 513, 513, 3] -> [1, 65, 65, 320]."""
    top = "MobilenetV2"
    x = net.normal(net.conv(x, f"{top}/Conv", 32, 3, 2), f"{top}/Conv", "Relu6")
    for i, (expanded, stride, dilation, out, shortcut) in enumerate(((0, 1, 1, 16, False), *BLOCKS)):
        name = f"{top}/expanded_conv" + (f"_{i}" if i else "")
        start = y = net.identity(x, f"{name}/input")
        if expanded:
            y = net.normal(net.conv(y, f"{name}/expand", expanded), f"{name}/expand", "Relu6")
        y = net.depthwise(y, f"{name}/depthwise", stride, dilation)
        y = net.normal(y, f"{name}/depthwise", "Relu6")
        y = net.normal(net.conv(y, f"{name}/project", out), f"{name}/project", None)
        if shortcut:
            total = net.moment[start] + net.moment[y]
            y = net.keep(net.graph.node("Add", f"{name}/add", y, start, T=_F32), y, moment=total)
        x = net.identity(y, f"{name}/output")
    return x


def _head(net: _Net, x: str) -> str:
    """[1, 65, 65, 320] -> logits [1, 65, 65, 21]: the mean of the picture beside every pixel."""
    graph = net.graph
    window = {"ksize": [1, MAP, MAP, 1], "strides": [1, 1, 1, 1], "padding": "VALID", "data_format": "NHWC"}
    mean = net.keep(graph.node("AvgPool", "AvgPool2D/AvgPool", x, T=_F32, **window), x, moment=0.05)
    mean = net.normal(net.conv(mean, "image_pooling", 256), "image_pooling", "Relu", 1e-5)
    mean = net.resized(mean, "ResizeBilinear_1", MAP)
    pixels = net.normal(net.conv(x, "aspp0", 256), "aspp0", "Relu", 1e-5)
    both = graph.node("ConcatV2", "concat", mean, pixels, np.int32(3), T=_F32, N=2, Tidx=_I32)
    y = net.conv(net.keep(both, pixels, channels=512), "concat_projection", 256)
    y = net.normal(y, "concat_projection", "Relu", 1e-5)
    y = net.conv(net.identity(y, "concat_projection_dropout/Identity"), "logits/semantic", CLASSES, centred=True)
    biases = net.read("logits/semantic/biases", drawn.bias(net.rng, CLASSES))
    return net.keep(graph.node("BiasAdd", "logits/semantic/BiasAdd", y, biases, T=_F32, data_format="NHWC"), y)
