"""Layers against OpenCV's Caffe importer where it reads them right, else against numpy written down from the paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

import magicmind
from magicmind.frontends.caffe.prototxt import parse_prototxt
from magicmind.frontends.caffe.source import CaffeSource
from magicmind.graph import SourceGraph
from magicmind.testing.caffe import RandomWeights, caffemodel

Array = np.ndarray[Any, Any]


def net_text(layers: str, shapes: Mapping[str, Sequence[int]]) -> str:
    """A prototxt of inputs and layers."""
    inputs = "".join(
        f"layer {{ name: '{name}' type: 'Input' top: '{name}' "
        f"input_param {{ shape {{ {' '.join(f'dim: {d}' for d in shape)} }} }} }}\n"
        for name, shape in shapes.items()
    )
    return inputs + layers


def layer_text(kind: str, params: str = "", bottoms: Sequence[str] = ("x",), tops: Sequence[str] = ("y",)) -> str:
    """A layer `y` that reads `x`."""
    ends = "".join(f"bottom: '{b}' " for b in bottoms) + "".join(f"top: '{t}' " for t in tops)
    return f"layer {{ name: 'y' type: '{kind}' {ends} {params} }}"


def random_feeds(shapes: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    return {name: rng.standard_normal(tuple(shape)).astype(np.float32) for name, shape in shapes.items()}


def run(text: str, feeds: Mapping[str, Array], weights: RandomWeights | None = None) -> dict[str, Array]:
    """The network compiled and run."""
    source = CaffeSource(parse_prototxt(text, "test"), weights or RandomWeights())
    with magicmind.build(SourceGraph.of(source)) as model:
        return model.session(threads=1).run(dict(feeds))


def run_layer(
    kind: str,
    params: str = "",
    feeds: Mapping[str, Array] | None = None,
    *,
    tops: Sequence[str] = ("y",),
    weights: RandomWeights | None = None,
) -> list[Array]:
    """The tops of one layer whose bottoms are the feeds."""
    feeds = feeds or random_feeds({"x": (2, 6, 7, 5)})
    text = net_text(layer_text(kind, params, list(feeds), tops), {name: a.shape for name, a in feeds.items()})
    found = run(text, feeds, weights)
    return [found[top] for top in tops]


def run_opencv(text: str, feeds: Mapping[str, Array], weights: RandomWeights, output: str = "y") -> Array:
    cv2 = pytest.importorskip("cv2", reason="OpenCV 4 is not installed")
    blobs = caffemodel(weights.blobs)
    net = cv2.dnn.readNetFromCaffe(np.frombuffer(text.encode(), np.uint8), np.frombuffer(blobs, np.uint8))
    for name, array in feeds.items():
        net.setInput(array, name)
    return np.asarray(net.forward(output))


def close(found: Array, expected: Array, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape
    scale = max(float(np.abs(expected).max(initial=0)), 1e-6)
    np.testing.assert_allclose(found, expected, atol=tolerance * scale, rtol=0)


OPENCV: dict[str, tuple[str, str, dict[str, tuple[int, ...]]]] = {
    "convolution": ("Convolution", "convolution_param { num_output: 8 kernel_size: 3 pad: 1 stride: 2 group: 2 }", {}),
    "convolution_hw": (
        "Convolution",
        "convolution_param { num_output: 4 kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0 stride_h: 1 stride_w: 2 }",
        {},
    ),
    "dilated": ("Convolution", "convolution_param { num_output: 4 kernel_size: 3 dilation: 2 bias_term: false }", {}),
    "deconvolution": (
        "Deconvolution",
        "convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 2 }",
        {},
    ),
    "deconvolution_depthwise": (
        "Deconvolution",
        "convolution_param { num_output: 6 kernel_size: 4 stride: 2 pad: 1 group: 6 bias_term: false }",
        {},
    ),
    "inner_product": ("InnerProduct", "inner_product_param { num_output: 9 }", {}),
    "inner_product_axis": ("InnerProduct", "inner_product_param { num_output: 9 axis: 2 }", {}),
    "max_pool_up": ("Pooling", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }", {"x": (2, 3, 8, 9)}),
    "max_pool_clip": ("Pooling", "pooling_param { pool: MAX kernel_size: 2 stride: 2 pad: 1 }", {"x": (1, 3, 8, 9)}),
    "ave_pool_up": ("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }", {"x": (2, 3, 8, 9)}),
    "ave_pool_pad": ("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }", {"x": (2, 3, 8, 9)}),
    "pool_global": ("Pooling", "pooling_param { pool: AVE global_pooling: true }", {}),
    "batch_norm": ("BatchNorm", "batch_norm_param { eps: 0.001 }", {}),
    "scale": ("Scale", "scale_param { bias_term: true }", {}),
    "relu_slope": ("ReLU", "relu_param { negative_slope: 0.1 }", {}),
    "prelu": ("PReLU", "", {}),
    "elu": ("ELU", "elu_param { alpha: 0.5 }", {}),
    "sigmoid": ("Sigmoid", "", {}),
    "tanh": ("TanH", "", {}),
    "absval": ("AbsVal", "", {}),
    "bnll": ("BNLL", "", {}),
    "power": ("Power", "power_param { power: 3 scale: 0.5 shift: 1.5 }", {}),
    "exp": ("Exp", "exp_param { base: 2 scale: 0.5 shift: 0.25 }", {}),
    "lrn": ("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 }", {}),
    "softmax": ("Softmax", "", {}),
    "softmax_axis": ("Softmax", "softmax_param { axis: 2 }", {}),
    "flatten": ("Flatten", "flatten_param { axis: 1 end_axis: 2 }", {}),
    "reshape": ("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 5 } }", {}),
    "reshape_axis": ("Reshape", "reshape_param { shape { dim: 3 dim: 2 } axis: 1 num_axes: 1 }", {}),
    "permute": ("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", {}),
    "eltwise_sum": (
        "Eltwise",
        "eltwise_param { operation: SUM coeff: 0.5 coeff: -2 }",
        {"a": (2, 3, 4), "b": (2, 3, 4)},
    ),
    "eltwise_max": ("Eltwise", "eltwise_param { operation: MAX }", {"a": (2, 3, 4), "b": (2, 3, 4)}),
    "eltwise_prod": ("Eltwise", "eltwise_param { operation: PROD }", {"a": (2, 3, 4), "b": (2, 3, 4)}),
    "concat": ("Concat", "concat_param { axis: 2 }", {"a": (2, 3, 4), "b": (2, 3, 5)}),
    "crop": ("Crop", "crop_param { axis: 2 offset: 1 }", {"a": (2, 3, 8, 9), "b": (2, 3, 5, 6)}),
    "normalize": ("Normalize", "norm_param { across_spatial: false channel_shared: false }", {}),
    "shuffle_channel": ("ShuffleChannel", "shuffle_channel_param { group: 3 }", {}),
    "prior_box": (
        "PriorBox",
        "prior_box_param { min_size: 20 max_size: 40 aspect_ratio: 2 aspect_ratio: 3 clip: true variance: 0.1 "
        "variance: 0.1 variance: 0.2 variance: 0.2 }",
        {"a": (1, 3, 4, 6), "b": (1, 3, 64, 96)},
    ),
}


@pytest.mark.parametrize("case", OPENCV)
def test_layer_as_opencv(case: str) -> None:
    kind, params, shapes = OPENCV[case]
    feeds = random_feeds(shapes or {"x": (2, 6, 7, 5)})
    text = net_text(layer_text(kind, params, list(feeds)), {name: a.shape for name, a in feeds.items()})
    weights = RandomWeights()
    found = run(text, feeds, weights)["y"]
    close(found, run_opencv(text, feeds, weights).reshape(found.shape))


# --------------------------------------------------------------------------------------------------- functions of one x

FUNCTIONS: dict[str, tuple[str, str, Callable[[Array], Array]]] = {
    "log": ("Log", "log_param { base: 10 scale: 0.5 shift: 4 }", lambda x: np.log10(0.5 * x + 4)),
    "power_one": ("Power", "power_param { scale: 2 }", lambda x: 2 * x),
    "power_nothing": ("Power", "", lambda x: x),
    "square": ("Power", "power_param { power: 2 shift: 1 }", lambda x: (x + 1) ** 2),
    "exp_e": ("Exp", "", np.exp),
    "threshold": ("Threshold", "threshold_param { threshold: 0.3 }", lambda x: (x > 0.3).astype(np.float32)),
    "swish": ("Swish", "swish_param { beta: 2 }", lambda x: x / (1 + np.exp(-2 * x))),
    "clip": ("Clip", "clip_param { min: -0.5 max: 1 }", lambda x: x.clip(-0.5, 1)),
    "relu6": ("ReLU6", "", lambda x: x.clip(0, 6)),
    "dropout": ("Dropout", "dropout_param { dropout_ratio: 0.4 }", lambda x: x),
    "ave_down": (
        "Pooling",
        "pooling_param { pool: AVE kernel_size: 2 stride: 2 round_mode: FLOOR }",
        lambda x: x[:, :, :6, :4].reshape(2, 6, 3, 2, 2, 2).mean(axis=(3, 5)),
    ),
    "mvn": (
        "MVN",
        "mvn_param { eps: 0.1 }",
        lambda x: (x - x.mean((2, 3), keepdims=True)) / (x.std((2, 3), keepdims=True) + 0.1),
    ),
    "mvn_mean": (
        "MVN",
        "mvn_param { normalize_variance: false across_channels: true }",
        lambda x: x - x.mean((1, 2, 3), keepdims=True),
    ),
    "batch_statistics": (
        "BatchNorm",
        "batch_norm_param { use_global_stats: false eps: 0.01 }",
        lambda x: (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 0.01),
    ),
    "reduce_sum": ("Reduction", "reduction_param { axis: 1 coeff: 2 }", lambda x: 2 * x.sum((1, 2, 3))),
    "reduce_asum": ("Reduction", "reduction_param { operation: ASUM axis: -1 }", lambda x: np.abs(x).sum(3)),
    "reduce_sumsq": ("Reduction", "reduction_param { operation: SUMSQ axis: 2 }", lambda x: (x * x).sum((2, 3))),
    "reduce_mean": ("Reduction", "reduction_param { operation: MEAN }", lambda x: x.mean()),
    "tile": ("Tile", "tile_param { axis: 1 tiles: 3 }", lambda x: np.tile(x, (1, 3, 1, 1))),
    "argmax": ("ArgMax", "", lambda x: x.reshape(2, 1, -1).argmax(2).reshape(2, 1, 1).astype(np.float32)),
    "argmax_axis": ("ArgMax", "argmax_param { axis: 1 }", lambda x: x.argmax(1)[:, None].astype(np.float32)),
    "argmax_value": ("ArgMax", "argmax_param { axis: 1 out_max_val: true }", lambda x: x.max(1, keepdims=True)),
    "flatten_all": ("Flatten", "", lambda x: x.reshape(2, -1)),
    "concat_old": ("Concat", "concat_param { concat_dim: 1 }", lambda x: x),
    "reverse": ("Reverse", "", lambda x: x[::-1]),
    "reverse_axes": ("Reverse", "reverse_param { axis: 1 axis: -1 }", lambda x: x[:, ::-1, :, ::-1]),
    "transpose": ("Transpose", "transpose_param { dim: 3 dim: 0 dim: 1 dim: 2 }", lambda x: x.transpose(3, 0, 1, 2)),
    "transpose_nested": (
        "Transpose",
        "transpose_param { dim { dim: 0 dim: 2 dim: 1 dim: 3 } }",
        lambda x: x.transpose(0, 2, 1, 3),
    ),
    "transpose_order": (
        "TensorTranspose",
        "tensor_transpose_param { order: 1 order: 0 order: 2 order: 3 }",
        lambda x: x.transpose(1, 0, 2, 3),
    ),
    "upsample": ("Upsample", "upsample_param { scale: 2 }", lambda x: x.repeat(2, 2).repeat(2, 3)),
    "reorg_back": (
        "Reorg",
        "reorg_param { stride: 1 reverse: true }",
        lambda x: x,
    ),
    "spp": (
        "SPP",
        "spp_param { pyramid_height: 1 pool: AVE }",
        lambda x: x.mean((2, 3)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FUNCTIONS)
def test_layer_as_numpy(case: str) -> None:
    kind, params, function = FUNCTIONS[case]
    feeds = random_feeds({"x": (2, 6, 7, 5)})
    (found,) = run_layer(kind, params, feeds)
    close(found, np.asarray(function(feeds["x"].astype(np.float64)), np.float32))


def test_argmax_lists_places_then_values() -> None:
    feeds = random_feeds({"x": (2, 3, 4, 5)})
    (found,) = run_layer("ArgMax", "argmax_param { top_k: 3 out_max_val: true }", feeds)
    flat = feeds["x"].reshape(2, -1)
    order = np.argsort(-flat, axis=1)[:, :3]
    close(found, np.stack([order, np.take_along_axis(flat, order, 1)], axis=1).astype(np.float32))


def test_lrn_within_channel_pads_planes() -> None:
    feeds = random_feeds({"x": (1, 2, 5, 6)})
    params = "lrn_param { local_size: 3 alpha: 2 beta: 0.75 norm_region: WITHIN_CHANNEL }"
    (found,) = run_layer("LRN", params, feeds)
    padded = np.pad(feeds["x"] ** 2, [(0, 0), (0, 0), (1, 1), (1, 1)])
    mean = sum(padded[:, :, i : i + 5, j : j + 6] for i in range(3) for j in range(3)) / 9
    close(found, feeds["x"] * (1 + 2 * mean) ** -0.75)


def test_lrn_across_channels_starts_at_k() -> None:
    """OpenCV reads no k."""
    feeds = random_feeds({"x": (1, 4, 2, 3)})
    (found,) = run_layer("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 k: 2 }", feeds)
    padded = np.pad(feeds["x"] ** 2, [(0, 0), (1, 1), (0, 0), (0, 0)])
    total = padded[:, :4] + padded[:, 1:5] + padded[:, 2:]
    close(found, feeds["x"] * (2 + 0.5 / 3 * total) ** -0.6)


def test_three_dimensional_convolution_and_pooling() -> None:
    feeds = random_feeds({"x": (1, 2, 4, 6, 6)})
    weights = RandomWeights()
    params = "convolution_param { num_output: 3 kernel_size: 3 kernel_depth: 2 pad: 1 temporal_pad: 0 }"
    (found,) = run_layer("Convolution3D", params, feeds, weights=weights)
    kernel, bias = weights.blobs["y"]
    assert kernel.shape == (3, 2, 2, 3, 3)
    padded = np.pad(feeds["x"], [(0, 0), (0, 0), (0, 0), (1, 1), (1, 1)])
    expected = np.zeros((1, 3, 3, 6, 6))
    for d, i, j in np.ndindex(2, 3, 3):
        part = padded[0, :, d : d + 3, i : i + 6, j : j + 6]
        expected[0] += np.einsum("oc,cdhw->odhw", kernel[:, :, d, i, j], part)
    close(found, (expected + bias.reshape(3, 1, 1, 1)).astype(np.float32))
    params = "pooling_param { pool: MAX kernel_size: 2 kernel_depth: 1 stride: 2 temporal_stride: 1 }"
    (found,) = run_layer("Pooling3D", params, feeds)
    close(found, feeds["x"].reshape(1, 2, 4, 3, 2, 3, 2).max(axis=(4, 6)))
    params = "pooling_param { pool: MAX kernel_size: [1, 2, 2] stride: 1 stride: 2 stride: 2 }"
    (again,) = run_layer("Pooling", params, feeds)
    close(again, found)


def test_depthwise_ignores_the_group() -> None:
    feeds, weights = random_feeds({"x": (1, 4, 5, 5)}), RandomWeights()
    params = "convolution_param { num_output: 4 kernel_size: 3 bias_term: false }"
    (found,) = run_layer("ConvolutionDepthwise", params, feeds, weights=weights)
    (kernel,) = weights.blobs["y"]
    assert kernel.shape == (4, 1, 3, 3)
    windows = np.lib.stride_tricks.sliding_window_view(feeds["x"], (3, 3), axis=(2, 3))
    close(found, np.einsum("nchwij,cij->nchw", windows, kernel[:, 0]).astype(np.float32))


def test_im2col_orders_taps_within_channels() -> None:
    feeds = random_feeds({"x": (1, 2, 4, 5)})
    (found,) = run_layer("Im2col", "convolution_param { kernel_size: 2 }", feeds)
    windows = np.lib.stride_tricks.sliding_window_view(feeds["x"], (2, 2), axis=(2, 3))
    close(found, windows.transpose(0, 1, 4, 5, 2, 3).reshape(1, 8, 3, 4))


def test_embed_looks_up_rows() -> None:
    weights, feeds = RandomWeights(), {"x": np.array([[0, 3], [2, 2]], np.float32)}
    (found,) = run_layer("Embed", "embed_param { num_output: 4 input_dim: 5 }", feeds, weights=weights)
    table, bias = weights.blobs["y"]
    close(found, table[feeds["x"].astype(int)] + bias)


def test_scale_and_bias_by_a_second_bottom() -> None:
    feeds = random_feeds({"x": (2, 3, 4, 5), "s": (2, 3)})
    (found,) = run_layer("Scale", "scale_param { axis: 0 }", feeds)
    close(found, feeds["x"] * feeds["s"][:, :, None, None])
    (found,) = run_layer("Bias", "bias_param { axis: 0 }", feeds)
    close(found, feeds["x"] + feeds["s"][:, :, None, None])


def test_axpy() -> None:
    feeds = random_feeds({"a": (2, 3, 1, 1), "x": (2, 3, 4, 5), "z": (2, 3, 4, 5)})
    (found,) = run_layer("Axpy", "", feeds)
    close(found, feeds["a"] * feeds["x"] + feeds["z"])


def test_slice_by_points_and_in_equal_parts() -> None:
    feeds = random_feeds({"x": (2, 6, 3)})
    a, b, c = run_layer("Slice", "slice_param { slice_point: 1 slice_point: 3 }", feeds, tops="abc")
    close(np.concatenate([a, b, c], 1), feeds["x"])
    assert (a.shape[1], b.shape[1], c.shape[1]) == (1, 2, 3)
    a, b = run_layer("Slice", "slice_param { slice_dim: 1 }", feeds, tops="ab")
    assert a.shape == b.shape == (2, 3, 3)


def test_batch_reindex_and_filter() -> None:
    feeds = random_feeds({"x": (4, 3)}) | {"i": np.array([3, 0, 3], np.float32)}
    (found,) = run_layer("BatchReindex", "", feeds)
    close(found, feeds["x"][[3, 0, 3]])
    feeds = random_feeds({"x": (4, 3)}) | {"keep": np.array([0, 1, 1, 0], np.float32).reshape(4, 1)}
    (found,) = run_layer("Filter", "", feeds)
    close(found, feeds["x"][1:3])


def test_interp_aligns_corners() -> None:
    feeds = random_feeds({"x": (1, 2, 4, 5)})
    (found,) = run_layer("Interp", "interp_param { zoom_factor: 2 }", feeds)
    assert found.shape == (1, 2, 7, 9)
    close(found[:, :, ::2, ::2], feeds["x"])
    close(found[:, :, 0, 1], feeds["x"][:, :, 0, :2].mean(-1))
    (found,) = run_layer("Interp", "interp_param { shrink_factor: 2 pad_beg: -1 }", feeds)
    close(found, feeds["x"][:, :, [1, 3]][..., [1, 4]])  # 3 x 4 pixels left, 2 x 2 wanted: the corners


def test_pooling_mask_and_segnet_upsample() -> None:
    feeds = random_feeds({"x": (2, 3, 4, 6)})
    pool = layer_text("Pooling", "pooling_param { kernel_size: 2 stride: 2 }", tops=("y", "mask"))
    back = "layer { name: 'up' type: 'Upsample' bottom: 'y' bottom: 'mask' top: 'up' upsample_param { scale: 2 } }"
    keep = "layer { name: 'same' type: 'Power' bottom: 'mask' top: 'same' power_param { scale: 1 } }"
    found = run(net_text(pool + back + keep, {"x": (2, 3, 4, 6)}), feeds)
    largest = feeds["x"].reshape(2, 3, 2, 2, 3, 2).max((3, 5))
    where = feeds["x"] == largest.repeat(2, 2).repeat(2, 3)
    close(found["up"], np.where(where, feeds["x"], 0))
    flat = feeds["x"].reshape(2, 3, -1)
    close(np.take_along_axis(flat, found["same"].reshape(2, 3, -1).astype(int), 2).reshape(largest.shape), largest)


def test_segnet_bn_has_its_statistics_folded_in() -> None:
    feeds, weights = random_feeds({"x": (1, 3, 2, 2)}), RandomWeights()
    (found,) = run_layer("BN", "", feeds, weights=weights)
    scale, shift, mean, variance = (b.reshape(3, 1, 1) for b in weights.blobs["y"])
    close(found, (feeds["x"] - mean) / np.sqrt(variance + 1e-5) * scale + shift)


def test_reorg_is_darknets() -> None:
    """Index by index, as darknet's loop has it."""
    n, c, h, w, s = 2, 8, 4, 6, 2
    feeds = random_feeds({"x": (n, c, h, w)})
    (found,) = run_layer("Reorg", "reorg_param { stride: 2 }", feeds)
    flat, expected = feeds["x"].reshape(-1), np.zeros(feeds["x"].size, np.float32)
    for b, k, j, i in np.ndindex(n, c, h, w):
        offset, c2 = divmod(k, c // (s * s))
        x, y = i * s + offset % s, j * s + offset // s
        expected[i + w * (j + h * (k + c * b))] = flat[x + w * s * (y + h * s * (c2 + c // (s * s) * b))]
    close(found, expected.reshape(n, c * s * s, h // s, w // s))


def test_dummy_data_and_parameter_are_constants() -> None:
    text = net_text(
        "layer { name: 'd' type: 'DummyData' top: 'd' dummy_data_param { shape { dim: 3 } data_filler { value: 2 } } }"
        "layer { name: 'p' type: 'Parameter' top: 'p' parameter_param { shape { dim: 3 } } }"
        + layer_text("Eltwise", "eltwise_param { operation: PROD }", ("x", "d", "p")),
        {"x": (3,)},
    )
    feeds, weights = random_feeds({"x": (3,)}), RandomWeights()
    found = run(text, feeds, weights)["y"]
    close(found, feeds["x"] * 2 * weights.blobs["p"][0])
