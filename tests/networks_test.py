"""Shapes of networks beyond the demo, whole, against onnxruntime: blocks of well-known families in small sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from netbuilder import Net, check_model

IMAGE = (1, 3, 32, 32)


def residual() -> onnx.ModelProto:
    """ResNet: strided, dilated and grouped 3x3, projections, odd channel counts."""
    n = Net()
    x = n.block(n.input("x", (2, 3, 33, 31)), 3, 20, 7, strides=[2, 2])
    x = n.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for channels, out, stride, dilation, group in ((20, 32, 2, 1, 4), (32, 33, 1, 2, 1), (33, 48, 2, 1, 3)):
        strides, dilations = [stride, stride], [dilation, dilation]
        y = n.block(x, channels, channels, 1)
        y = n.conv(y, channels, out, 3, group=group, strides=strides, dilations=dilations, bias=False)
        shortcut = n.batch_norm(n.conv(x, channels, out, 1, strides=strides, bias=False), out)
        x = n.op("Relu", n.op("Add", n.batch_norm(y, out), shortcut))
    x = n.op("Flatten", n.op("GlobalAveragePool", x))
    return n.model(n.op("Gemm", x, n.floats(10, 48), n.floats(10), transB=1))


def grouped() -> onnx.ModelProto:
    """ResNeXt-like groups of 4 channels, groups of odd sizes, depthwise with a multiplier."""
    n = Net()
    x = n.conv(n.input("x", IMAGE), 3, 32)
    x = n.op("Relu", n.conv(x, 32, 32, 3, group=8))
    x = n.op("Relu", n.conv(x, 32, 30, 3, group=2, strides=[2, 2]))
    x = n.op("Relu", n.conv(x, 30, 42, 3, group=6))
    x = n.conv(x, 42, 84, 3, group=42)
    return n.model(n.conv(x, 84, 60, 5, group=12, dilations=[2, 1]))


def mobile_inverted() -> onnx.ModelProto:
    """MobileNetV2 blocks: expand, depthwise, project, add; Relu6 by Clip."""
    n = Net()
    six = n.const(np.float32(6)), n.const(np.float32(0))
    x = n.conv(n.input("x", IMAGE), 3, 24, strides=[2, 2])
    for stride in (1, 2):
        y = n.op("Clip", n.conv(x, 24, 72, 1), six[1], six[0])
        y = n.op("Clip", n.conv(y, 72, 72, 3, group=72, strides=[stride, stride]), six[1], six[0])
        y = n.conv(y, 72, 24, 1)
        x = n.op("Add", x, y) if stride == 1 else y
    return n.model(x)


def shuffle() -> onnx.ModelProto:
    """ShuffleNetV2: split 24+24, depthwise branch, concat, channel shuffle by Reshape and Transpose."""
    n = Net()
    x = n.block(n.input("x", IMAGE), 3, 48)
    for _ in range(2):
        left, right = n.ops("Split", 2, x, n.const(np.array([24, 24])), axis=1)
        right = n.block(right, 24, 24, 1)
        right = n.batch_norm(n.conv(right, 24, 24, 3, group=24, bias=False), 24)
        right = n.block(right, 24, 24, 1)
        x = n.op("Concat", left, right, axis=1)
        x = n.op("Reshape", x, n.const(np.array([1, 2, 24, 32, 32])))
        x = n.op("Transpose", x, perm=[0, 2, 1, 3, 4])
        x = n.op("Reshape", x, n.const(np.array([1, 48, 32, 32])))
    return n.model(n.op("GlobalAveragePool", x))


def squeeze_excite() -> onnx.ModelProto:
    """Global pool, two 1x1 convolutions, Sigmoid, Mul by [N, C, 1, 1]; hard-swish spelled out."""
    n = Net()
    three, six, zero = (n.const(np.float32(v)) for v in (3, 6, 0))
    x = n.conv(n.input("x", (2, *IMAGE[1:])), 3, 40)
    x = n.op("Div", n.op("Mul", x, n.op("Clip", n.op("Add", x, three), zero, six)), six)
    s = n.op("Relu", n.conv(n.op("GlobalAveragePool", x), 40, 10, 1))
    s = n.op("Sigmoid", n.conv(s, 10, 40, 1))
    x = n.op("Mul", x, s)
    s = n.op("HardSigmoid", n.op("ReduceMean", x, n.const(np.array([2, 3])), keepdims=1), alpha=1 / 6, beta=0.5)
    return n.model(n.conv(n.op("Mul", s, x), 40, 17, 1))


def unet() -> onnx.ModelProto:
    """Down, up by ConvTranspose in three shapes and by Resize, concat with the way down."""
    n = Net()
    top = n.block(n.input("x", IMAGE), 3, 18)
    middle = n.block(n.op("MaxPool", top, kernel_shape=[2, 2], strides=[2, 2]), 18, 32)
    x = n.block(n.op("MaxPool", middle, kernel_shape=[2, 2], strides=[2, 2]), 32, 40)
    up2 = n.conv_transpose(x, 40, 20, 2, strides=[2, 2])
    up4 = n.conv_transpose(x, 40, 12, 4, strides=[2, 2], pads=[1, 1, 1, 1])
    up3 = n.conv_transpose(x, 40, 8, 3, strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])
    x = n.block(n.op("Concat", middle, up2, up4, up3, axis=1), 72, 24)
    scales = n.const(np.array([1, 1, 2, 2], np.float32))
    linear = n.op("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
    near = n.op(
        "Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )
    x = n.block(n.op("Concat", top, linear, near, axis=1), 66, 16)
    grouped_up = n.conv_transpose(x, 16, 16, 2, group=4, strides=[2, 2])
    return n.model(n.op("Sigmoid", n.conv(grouped_up, 16, 2, 1)))


def dense() -> onnx.ModelProto:
    """DenseNet: concatenation of channel counts that are no multiple of 16, normalisation in front."""
    n = Net()
    x, channels = n.conv(n.input("x", IMAGE), 3, 13), 13
    for growth in (7, 16, 5):
        y = n.op("Relu", n.batch_norm(x, channels))
        y = n.conv(n.op("Relu", n.conv(y, channels, 4 * growth, 1)), 4 * growth, growth)
        x, channels = n.op("Concat", x, y, axis=1), channels + growth
    return n.model(n.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]))


def inception() -> onnx.ModelProto:
    """1x7 and 7x1 kernels, average pools with and without padding in the count, ceil mode."""
    n = Net()
    x = n.block(n.input("x", (1, 3, 30, 35)), 3, 24)
    a = n.block(n.block(x, 24, 12, (1, 7)), 12, 20, (7, 1))
    b = n.block(x, 24, 9, (3, 1))
    pool = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]}
    c = n.op("AveragePool", x, count_include_pad=1, **pool)
    d = n.block(n.op("AveragePool", x, **pool), 24, 8, 1)
    x = n.op("Concat", a, b, c, d, axis=1)
    most = n.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    mean = n.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    return n.model(n.conv(n.op("Concat", most, mean, axis=1), 122, 10, (5, 3)))


def spatial_pyramid() -> onnx.ModelProto:
    """YOLO's SPP: max pools of 5, 9 and 13 beside the input."""
    n = Net()
    x = n.op("LeakyRelu", n.conv(n.input("x", IMAGE), 3, 19), alpha=0.1)
    pools = [n.op("MaxPool", x, kernel_shape=[k, k], strides=[1, 1], pads=[k // 2] * 4) for k in (5, 9, 13)]
    x = n.conv(n.op("Concat", x, *pools, axis=1), 76, 32, 1)
    return n.model(n.op("Mul", x, n.op("Tanh", n.op("Softplus", x))))


def atrous_pyramid() -> onnx.ModelProto:
    """DeepLab's ASPP: dilated branches, image pooling resized back, auto_pad."""
    n = Net()
    x = n.block(n.input("x", (1, 3, 33, 33)), 3, 24, strides=[2, 2], auto_pad="SAME_UPPER")
    branches = [n.block(x, 24, 16, 1), *(n.block(x, 24, 16, 3, dilations=[d, d]) for d in (2, 4, 6))]
    pooled = n.block(n.op("GlobalAveragePool", x), 24, 16, 1)
    sizes = n.const(np.array([1, 16, 17, 17]))
    branches.append(
        n.op("Resize", pooled, "", "", sizes, mode="linear", coordinate_transformation_mode="align_corners")
    )
    x = n.conv(n.op("Concat", *branches, axis=1), 80, 21, 1)
    sizes = n.const(np.array([1, 21, 33, 33]))
    x = n.op("Resize", x, "", "", sizes, mode="linear", coordinate_transformation_mode="align_corners")
    return n.model(n.op("Softmax", x, axis=1), n.op("ArgMax", x, axis=1, keepdims=0))


def alexnet() -> onnx.ModelProto:
    """11x11 stride 4, local response normalisation, grouped 5x5, fully connected with Dropout."""
    n = Net()
    x = n.op("Relu", n.conv(n.input("x", (1, 3, 63, 63)), 3, 24, 11, strides=[4, 4], pads=[0] * 4))
    x = n.op("LRN", x, size=5, alpha=0.01, beta=0.75, bias=2.0)
    x = n.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    x = n.op("Relu", n.conv(x, 24, 32, 5, group=2))
    x = n.op("Reshape", x, n.const(np.array([0, -1])))
    x = n.op("Dropout", n.op("Relu", n.op("Gemm", x, n.floats(1152, 40), n.floats(40))))
    return n.model(n.op("LogSoftmax", n.op("MatMul", x, n.floats(40, 11)), axis=-1))


def stylised() -> onnx.ModelProto:
    """Style transfer and super-resolution: reflection padding, instance normalisation, PRelu, pixel shuffle."""
    n = Net()
    pads = n.const(np.array([0, 0, 2, 2, 0, 0, 2, 2]))
    x = n.conv(n.op("Pad", n.input("x", IMAGE), pads, mode="reflect"), 3, 20, 5, pads=[0] * 4)
    x = n.op("PRelu", n.op("InstanceNormalization", x, n.floats(20), n.floats(20)), n.floats(20, 1, 1))
    pads = n.const(np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    y = n.conv(n.op("Pad", x, pads, mode="edge"), 20, 20, 3, pads=[0] * 4)
    x = n.op("Add", x, n.op("PRelu", y, n.floats(1)))
    x = n.op("DepthToSpace", n.conv(x, 20, 12), blocksize=2, mode="CRD")
    return n.model(n.op("Add", n.op("Mul", n.op("Tanh", x), n.const(np.float32(150))), n.const(np.float32(127.5))))


def sequence() -> onnx.ModelProto:
    """One-dimensional convolutions: strided, dilated and causal, depthwise, pooled."""
    n = Net()
    x = n.op("Relu", n.conv(n.input("x", (2, 13, 100)), 13, 24, (5,), strides=[2]))
    x = n.op("Relu", n.conv(x, 24, 24, (3,), dilations=[4], pads=[8, 0]))
    x = n.op("Relu", n.conv(x, 24, 24, (9,), group=24))
    x = n.op("MaxPool", n.conv(x, 24, 40, (1,)), kernel_shape=[3], strides=[2])
    x = n.op("ReduceMean", x, n.const(np.array([2])), keepdims=0)
    return n.model(n.op("Softmax", n.op("Gemm", x, n.floats(7, 40), transB=1), axis=-1))


def attention() -> onnx.ModelProto:
    """Non-local block: 1x1 projections, MatMul of run-time matrices, Softmax, residual; then layer normalisation."""
    n = Net()
    x = n.conv(n.input("x", (2, 3, 12, 12)), 3, 32)
    shape = n.const(np.array([2, 16, 144]))
    query, key, value = (n.op("Reshape", n.conv(x, 32, 16, 1), shape) for _ in range(3))
    weights = n.op("MatMul", n.op("Transpose", query, perm=[0, 2, 1]), key)
    weights = n.op("Softmax", n.op("Div", weights, n.const(np.float32(4))), axis=-1)
    y = n.op("MatMul", value, n.op("Transpose", weights, perm=[0, 2, 1]))
    x = n.op("Add", x, n.conv(n.op("Reshape", y, n.const(np.array([2, 16, 12, 12]))), 16, 32, 1))
    x = n.op("Transpose", x, perm=[0, 2, 3, 1])
    return n.model(n.op("LayerNormalization", x, n.floats(32), n.floats(32), axis=-1))


def detector_head() -> onnx.ModelProto:
    """SSD: per-scale heads, Transpose to channels last, Reshape, concat of all boxes, Softmax and decoding."""
    n = Net()
    x, channels = n.input("x", IMAGE), 3
    scores, boxes = [], []
    for out in (16, 24):
        x, channels = n.block(x, channels, out, strides=[2, 2]), out
        for store, width in ((scores, 3), (boxes, 4)):
            y = n.op("Transpose", n.conv(x, out, 2 * width), perm=[0, 2, 3, 1])
            store.append(n.op("Reshape", y, n.const(np.array([0, -1, width]))))
    score = n.op("Softmax", n.op("Concat", *scores, axis=1), axis=2)
    box = n.op("Concat", *boxes, axis=1)
    starts = (n.const(np.array([0])), n.const(np.array([2])), n.const(np.array([2])))
    centre = n.op("Slice", box, starts[0], starts[1], starts[2])
    size = n.op("Exp", n.op("Slice", box, starts[1], n.const(np.array([4])), starts[2]))
    half = n.op("Div", size, n.const(np.float32(2)))
    return n.model(score, n.op("Concat", n.op("Sub", centre, half), n.op("Add", centre, half), axis=2))


NETWORKS = [
    residual, grouped, mobile_inverted, shuffle, squeeze_excite, unet, dense, inception, spatial_pyramid,
    atrous_pyramid, alexnet, stylised, sequence, attention, detector_head,
]  # fmt: skip


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_a_network_agrees_with_onnxruntime(network: Callable[[], onnx.ModelProto]) -> None:
    check_model(network())


def test_one_file_serves_a_range_of_batches() -> None:
    n = Net()
    x = n.block(n.input("x", ("N", 3, 20, 20)), 3, 24, strides=[2, 2])
    x = n.op("Add", x, n.block(n.block(x, 24, 24, 3, group=24), 24, 24, 1))
    x = n.op("Flatten", n.op("MaxPool", x, kernel_shape=[5, 5], strides=[5, 5]))
    model = n.model(n.op("Softmax", n.op("Gemm", x, n.floats(96, 10), n.floats(10))))
    check_model(model, shapes={"x": ("1..64", 3, 20, 20)}, runs=[{"N": k} for k in (1, 2, 7, 64, 1)])


def fully_convolutional() -> onnx.ModelProto:
    n = Net()
    x = n.block(n.input("x", (1, 3, "H", "W")), 3, 16, strides=[2, 2])
    y = n.block(n.block(x, 16, 16, 3, group=16), 16, 24, 1)
    y = n.op("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = n.op("Resize", n.conv(y, 24, 16, 3), "", n.const(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    return n.model(n.op("Sigmoid", n.conv(y, 16, 5, 1)), n.op("GlobalMaxPool", x))


def test_one_file_serves_a_range_of_image_sizes() -> None:
    sizes = [(16, 16), (17, 40), (33, 19), (48, 63), (5, 7)]
    runs = [{"H": h, "W": w} for h, w in sizes]
    check_model(fully_convolutional(), shapes={"x": (1, 3, "4..64", "4..64")}, runs=runs)


def test_a_dim_without_upper_bound() -> None:
    n = Net()
    x = n.conv(n.input("x", ("N", 4, "L")), 4, 20, (3,))
    model = n.model(n.op("Relu", x))
    check_model(model, shapes={"x": ("1..", 4, "1..")}, runs=[{"N": 1, "L": 1}, {"N": 3, "L": 50}, {"N": 2, "L": 333}])
