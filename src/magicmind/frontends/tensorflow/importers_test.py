"""Operators against numpy, on graphs made by hand; real networks and TensorFlow itself are in tests/."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from magicmind.errors import ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.frontends.tensorflow.importers.lookup import TABLE
from magicmind.frontends.tensorflow.importers.quantise import nudged
from magicmind.runtime.host.audio import mel_weights, read_wav
from magicmind.testing.tensorflow import GraphBuilder, f32

Array = np.ndarray[Any, Any]

FLOAT = np.dtype(np.float32)


def image(*shape: int) -> Array:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def kinds(b: GraphBuilder, outputs: list[str], **options: Any) -> Counter[str]:
    return Counter(node.op_type for node in b.graph(outputs, **options).model.graph)


def convolved(x: Array, w: Array, dilation: int, pads: tuple[int, int], stride: int = 1) -> Array:
    """A convolution of [N, H, W, C] by [h, w, C, O], written down."""
    x = np.pad(x, [(0, 0), pads, pads, (0, 0)])
    reach = (w.shape[0] - 1) * dilation + 1
    size = [(n - reach) // stride + 1 for n in x.shape[1:3]]
    y = np.zeros((x.shape[0], *size, w.shape[3]))
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            part = x[:, i * dilation :: stride, j * dilation :: stride][:, : size[0], : size[1]]
            y += part @ w[i, j]
    return y


def conv(b: GraphBuilder, name: str, x: str, w: Array, **attributes: Any) -> str:
    given: dict[str, Any] = {"strides": [1, 1, 1, 1], "padding": "VALID", "T": FLOAT, **attributes}
    return b.node("Conv2D", name, x, w, **given)


# -------------------------------------------------------------------------------------------------------- convolutions


@pytest.mark.parametrize(("size", "stride", "pads"), [(7, 1, (1, 1)), (7, 2, (1, 1)), (8, 2, (0, 1))])
def test_same_padding_puts_the_odd_row_after(size: int, stride: int, pads: tuple[int, int]) -> None:
    b, w, x = GraphBuilder(), image(3, 3, 2, 4), image(1, size, size, 2)
    b.placeholder("x", [-1, -1, -1, 2])
    conv(b, "y", "x", w, padding="SAME", strides=[1, stride, stride, 1])
    np.testing.assert_allclose(b.run(["y"], x=x)[0], convolved(x, w, 1, pads, stride), atol=1e-4)


def test_dilation_written_as_space_to_batch_is_one_convolution() -> None:
    b, w, x = GraphBuilder(), image(3, 3, 2, 3), image(2, 7, 7, 2)
    b.placeholder("x", [-1, 7, 7, 2])
    b.node("SpaceToBatchND", "s", "x", np.array([2, 2], np.int32), np.array([[2, 3], [2, 3]], np.int32))
    conv(b, "c", "s", w)
    b.node("BiasAdd", "a", "c", f32([1, 2, 3]))
    b.node("BatchToSpaceND", "y", "a", np.array([2, 2], np.int32), np.array([[0, 1], [0, 1]], np.int32))
    assert kinds(b, ["y"]) == {"Transpose": 2, "Conv": 1, "Add": 1}
    np.testing.assert_allclose(b.run(["y"], x=x)[0], convolved(x, w, 2, (2, 2)) + f32([1, 2, 3]), atol=1e-4)


def test_space_to_batch_alone() -> None:
    b, x = GraphBuilder(), image(1, 4, 2, 3)
    b.placeholder("x", [-1, 4, 2, 3])
    b.node("SpaceToBatchND", "s", "x", np.array([2, 2], np.int32), np.zeros((2, 2), np.int32))
    b.node("BatchToSpaceND", "y", "s", np.array([2, 2], np.int32), np.array([[1, 0], [0, 1]], np.int32))
    s, y = b.run(["s", "y"], x=x)
    np.testing.assert_array_equal(s[1], x[0, ::2, 1::2])
    np.testing.assert_array_equal(y, x[:, 1:, :-1])


def test_no_transpose_stays_between_layers() -> None:
    """Arithmetic, concatenation, padding, slices, means and resizing all work with the channels first."""
    b = GraphBuilder()
    b.placeholder("x", [-1, 8, 8, 3])
    conv(b, "c1", "x", image(3, 3, 3, 4), padding="SAME")
    b.node("Relu6", "r", "c1")
    b.node("Mul", "m", "r", f32([1, 2, 3, 4]))
    b.node("ConcatV2", "k", "m", "r", np.int32(3))
    b.node("Pad", "p", "k", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    b.node("StridedSlice", "s", "p", *(np.array(n, np.int32) for n in ([0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1])),
        begin_mask=1, end_mask=15)  # fmt: skip
    conv(b, "c2", "s", image(1, 1, 8, 2))
    b.node("ResizeBilinear", "z", "c2", np.array([5, 5], np.int32), half_pixel_centers=True)
    b.node("Mean", "y", "z", np.array([1, 2], np.int32))
    assert kinds(b, ["y"])["Transpose"] == 1  # of the input
    assert kinds(b, ["z"])["Transpose"] == 2


def test_filters_that_do_not_fit_are_named() -> None:
    b = GraphBuilder()
    b.placeholder("x", [1, 8, 8, 3])
    conv(b, "head/conv", "x", image(3, 3, 4, 4))
    with pytest.raises(ModelFormatError, match=r"head/conv \(TensorFlow Conv2D\): filters of depth 4 do not fit 3"):
        b.graph(["head/conv"])


# -------------------------------------------------------------------------------------------------------- quantisation


def test_fake_quantisation_meets_zero() -> None:
    scale, zero = nudged(f32([-1.1, 0.5, -3.0]), f32([1.0, 6.0, -1.0]), 0, 255)
    np.testing.assert_allclose(scale, [2.1 / 255, 5.5 / 255, 2 / 255], rtol=1e-6)
    assert zero.tolist() == [134, 0, 255]


def test_fake_quantisation_is_what_training_saw() -> None:
    b, x = GraphBuilder(), image(4, 7) * 2
    b.placeholder("x", [-1, 7])
    b.node("FakeQuantWithMinMaxArgs", "y", "x", min=-1.3, max=2.1, num_bits=4, narrow_range=True)
    assert {"QuantizeLinear", "DequantizeLinear"} <= set(kinds(b, ["y"]))
    scale = np.float32(3.4) / np.float32(14)
    zero = np.floor(1 + 1.3 / scale + 0.5)
    expected = np.clip((1 - zero) * scale + 0 * x, None, None)
    steps = np.floor((np.clip(x, (1 - zero) * scale, (15 - zero) * scale) - expected) / scale + 0.5)
    np.testing.assert_allclose(b.run(["y"], x=x)[0], steps * scale + expected, atol=1e-6)


def test_rounding_to_symmetric_integers() -> None:
    b, x = GraphBuilder(), image(4, 7) * 2
    b.placeholder("x", [-1, 7])
    limits = np.float32(-1), np.float32(2)
    b.node("QuantizeAndDequantizeV4", "y", "x", *limits, range_given=True)
    b.node("QuantizeAndDequantizeV2", "z", "x", *limits, range_given=True, num_bits=4, narrow_range=True)
    b.node("QuantizeAndDequantizeV3", "w", "x", np.float32(0), np.float32(2), np.int32(8), signed_input=False)
    assert {"QuantizeLinear", "DequantizeLinear"} <= set(kinds(b, ["y"]))
    y, z, w = b.run(["y", "z", "w"], x=x)
    for found, step, least, last in ((y, 2 / 127, -128, 127), (z, 2 / 7, -7, 7), (w, 2 / 255, 0, 255)):
        np.testing.assert_allclose(found, np.clip(np.rint(x / step), least, last) * step, atol=1e-5)


def test_products_of_bytes_add_up_in_whole_numbers() -> None:
    """As Keras writes the layers of a model that it quantised."""
    b, random = GraphBuilder(), np.random.default_rng(0)
    x, w = (random.integers(-127, 128, shape).astype(np.int8) for shape in ((3, 40), (5, 40)))
    b.placeholder("x", [-1, 40], np.int8)
    b.node("BatchMatMulV3", "y", "x", w, adj_y=True, Tout=np.dtype(np.int32))
    np.testing.assert_array_equal(b.run(["y"], x=x)[0], x.astype(np.int32) @ w.astype(np.int32).T)


# ------------------------------------------------------------------------------------------------------------- resizing


def nearest_rows(before: int, after: int, aligned: bool, centred: bool) -> list[int]:
    scale = (before - 1) / (after - 1) if aligned else before / after
    if aligned:
        places = [int(np.floor(i * scale + 0.5)) for i in range(after)]
    else:
        places = [int(np.floor((i + 0.5 * centred) * scale)) for i in range(after)]
    return [min(p, before - 1) for p in places]


def linear_rows(before: int, after: int, aligned: bool, centred: bool) -> Array:
    scale = (before - 1) / (after - 1) if aligned else before / after
    matrix = np.zeros((after, before))
    for i in range(after):
        place = np.clip((i + 0.5) * scale - 0.5 if centred else i * scale, 0, before - 1)
        low = int(place)
        matrix[i, low] += 1 - (place - low)
        matrix[i, min(low + 1, before - 1)] += place - low
    return matrix


@pytest.mark.parametrize(("aligned", "centred"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("after", [4, 11])
def test_the_three_ways_to_place_pixels(after: int, aligned: bool, centred: bool) -> None:
    b, x = GraphBuilder(), image(1, 7, 7, 2)
    b.placeholder("x", [-1, 7, 7, 2])
    options = {"align_corners": aligned, "half_pixel_centers": centred}
    b.node("ResizeNearestNeighbor", "n", "x", np.array([after, 7], np.int32), **options)
    b.node("ResizeBilinear", "l", "x", np.array([after, 7], np.int32), **options)
    nearest, linear = b.run(["n", "l"], x=x)
    np.testing.assert_array_equal(nearest, x[:, nearest_rows(7, after, aligned, centred)])
    rows = linear_rows(7, after, aligned, centred)
    np.testing.assert_allclose(linear, np.einsum("ij,njwc->niwc", rows, x), atol=1e-5)


def test_area_is_the_mean_of_what_is_covered() -> None:
    b, x = GraphBuilder(), image(1, 6, 6, 2)
    b.placeholder("x", [-1, 6, 6, 2])
    b.node("ResizeArea", "y", "x", np.array([3, 2], np.int32))
    np.testing.assert_allclose(b.run(["y"], x=x)[0], x.reshape(1, 3, 2, 2, 3, 2).mean((2, 4)), atol=1e-6)


# -------------------------------------------------------------------------------------------- slices, sizes, arithmetic


def test_all_masks_of_a_strided_slice() -> None:
    """x[..., tf.newaxis, 1, ::-2] and x[:1, ..., -1]."""
    b, x = GraphBuilder(), image(3, 4, 5, 6)
    b.placeholder("x", [-1, 4, 5, 6])
    first = [np.array(n, np.int32) for n in ([0, 0, 1, 0], [0, 0, 2, 0], [1, 1, 1, -2])]
    b.node(
        "StridedSlice", "a", "x", *first, ellipsis_mask=1, new_axis_mask=2, shrink_axis_mask=4, begin_mask=8, end_mask=8
    )
    second = [np.array(n, np.int32) for n in ([0, 0, -1], [1, 0, 0], [1, 1, 1])]
    b.node("StridedSlice", "b", "x", *second, ellipsis_mask=2, shrink_axis_mask=4)
    a, c = b.run(["a", "b"], x=x)
    np.testing.assert_array_equal(a, x[..., np.newaxis, 1, ::-2])
    np.testing.assert_array_equal(c, x[:1, ..., -1])


def test_whole_numbers_are_divided_downwards() -> None:
    b, x = GraphBuilder(), np.arange(-7, 8, dtype=np.int32)
    b.placeholder("x", [-1], np.int32)
    b.node("FloorDiv", "q", "x", np.int32(3))
    b.node("FloorMod", "r", "x", np.int32(-3))
    q, r = b.run(["q", "r"], x=x)
    assert q.tolist() == (x // 3).tolist()
    assert r.tolist() == (x % -3).tolist()


def test_computed_shapes_keep_a_batch_mutable() -> None:
    b = GraphBuilder()
    b.placeholder("x", [-1, 4, 6])
    b.node("Shape", "s", "x", out_type=np.dtype(np.int32))
    b.node("StridedSlice", "n", "s", *(np.array([n], np.int32) for n in (0, 1, 1)), shrink_axis_mask=1)
    b.node("Pack", "t", "n", np.int32(-1), axis=0, N=2)
    b.node("Reshape", "y", "x", "t")
    assert b.graph(["y"], input_shapes={"x": ("1..8", 4, 6)}).outputs[0].shape == ((1, 8), 24)


def test_one_hot_of_positions_outside() -> None:
    b = GraphBuilder()
    b.placeholder("x", [-1], np.int32)
    b.node("OneHot", "y", "x", np.int32(3), np.float32(2), np.float32(-1), axis=-1)
    assert b.run(["y"], x=np.array([1, -1, 5], np.int32))[0].tolist() == [[-1, 2, -1], [-1, -1, -1], [-1, -1, -1]]


def test_symmetric_padding_repeats_the_edge() -> None:
    b, x = GraphBuilder(), image(2, 3)
    b.placeholder("x", [-1, 3])
    b.node("MirrorPad", "y", "x", np.array([[0, 0], [2, 1]], np.int32), mode="SYMMETRIC")
    np.testing.assert_array_equal(b.run(["y"], x=x)[0], np.pad(x, [(0, 0), (2, 1)], mode="symmetric"))


def test_a_shape_that_does_not_fit_is_named() -> None:
    b = GraphBuilder()
    b.placeholder("x", [2, 3])
    b.node("Reshape", "flat", "x", np.array([4], np.int32))
    with pytest.raises(ShapeError, match=r"flat \(TensorFlow Reshape\): \[2, 3\] cannot become \[4\]"):
        b.graph(["flat"])


def test_too_many_axes() -> None:
    b = GraphBuilder()
    b.node("Fill", "full", np.ones(5000, np.int32), np.float32(1))
    with pytest.raises(ShapeError, match=r"full \(TensorFlow Fill\): 5000 numbers are to be sizes"):
        b.graph(["full"])


def test_random_numbers_are_refused() -> None:
    b = GraphBuilder()
    b.node("RandomUniform", "noise", np.array([2, 2], np.int32))
    with pytest.raises(UnsupportedOperatorError, match=r"noise .*draws random numbers"):
        b.graph(["noise"])


def test_a_table_of_words() -> None:
    b = GraphBuilder()
    b.placeholder("x", [-1, 2], object)
    b.node(TABLE, "table", np.array([b"cat", b"dog"], object), np.array([3, 4]))
    inner = b.function("look", ["t", "v"], {"r": "found:values:0"})
    inner.node("LookupTableFindV2", "found", "t", "v", inner.const("none", np.int64(-1)) + ":output:0")
    b.node("PartitionedCall", "y", "table", "x", f=b"look")
    words = np.array([[b"dog", b"cow"], [b"cat", b"dog"]], object)
    assert b.run(["y"], x=words)[0].tolist() == [[4, -1], [3, 4]]
    b.node("LookupTableFindV2", "z", np.int64(0), "x", np.int64(-1))
    with pytest.raises(UnsupportedOperatorError, match="contents of the table are not in the graph"):
        b.graph(["z"])


# ---------------------------------------------------------------------------------------------------------------- cells


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def test_lstm_cell_with_peepholes() -> None:
    b, x, cs, h = GraphBuilder(), image(2, 3), image(2, 4), image(2, 4) * 0.5
    w, bias, peep = image(7, 16), image(16), image(3, 4)
    b.placeholder("x", [-1, 3])
    b.node("LSTMBlockCell", "cell", "x", cs, h, w, *peep, bias, forget_bias=1.0, cell_clip=0.5, use_peephole=True)
    i, c, f, o = np.split(np.concatenate([x, h], 1) @ w + bias, 4, axis=1)
    state = np.tanh(c) * sigmoid(i + cs * peep[0]) + cs * sigmoid(f + 1 + cs * peep[1])
    state = np.clip(state, -0.5, 0.5)
    out = sigmoid(o + state * peep[2]) * np.tanh(state)
    found = b.run(["cell:1", "cell:6"], x=x)
    np.testing.assert_allclose(found[0], state, atol=1e-5)
    np.testing.assert_allclose(found[1], out, atol=1e-5)


def test_gru_cell() -> None:
    b, x, h = GraphBuilder(), image(2, 3), image(2, 4)
    w_gates, w_new, b_gates, b_new = image(7, 8), image(7, 4), image(8), image(4)
    b.placeholder("x", [-1, 3])
    b.node("GRUBlockCell", "cell", "x", h, w_gates, w_new, b_gates, b_new)
    r, u = np.split(sigmoid(np.concatenate([x, h], 1) @ w_gates + b_gates), 2, axis=1)
    new = np.tanh(np.concatenate([x, r * h], 1) @ w_new + b_new)
    np.testing.assert_allclose(b.run(["cell:3"], x=x)[0], u * h + (1 - u) * new, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------------- sound


def wav(samples: Array, rate: int = 16000, bits: int = 16) -> bytes:
    data = samples.astype("<i2").tobytes()
    parts = [b"LIST", (4).to_bytes(4, "little"), b"abcd", b"fmt ", (16).to_bytes(4, "little")]
    parts += [
        n.to_bytes(size, "little") for n, size in ((1, 2), (samples.shape[1], 2), (rate, 4), (0, 4), (0, 2), (bits, 2))
    ]
    parts += [b"data", len(data).to_bytes(4, "little"), data]
    body = b"WAVE" + b"".join(parts)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def test_wav_files() -> None:
    samples = np.array([[1, -2], [300, 4], [-32768, 32767]])
    found, rate = read_wav(wav(samples))
    assert (found.tolist(), rate) == (samples.tolist(), 16000)
    for data in (b"", b"RIFF", wav(samples)[:40], wav(samples, bits=8), b"no sound" * 8):
        with pytest.raises(ShapeError, match="WAV"):
            read_wav(data)


def test_sound_to_cepstra() -> None:
    """A tone has its largest value in the band it lies in; too short a file ends in silence."""
    b = GraphBuilder()
    b.placeholder("w", None, object)
    b.node("DecodeWav", "d", "w", desired_samples=1600, desired_channels=1)
    b.node("AudioSpectrogram", "s", "d", window_size=640, stride=320, magnitude_squared=True)
    b.node("Mfcc", "y", "s", "d:1", dct_coefficient_count=10)
    tone = np.sin(np.arange(1280) * 2 * np.pi * 1000 / 16000) * 20000
    data = np.array(wav(tone[:, None]), object)
    audio, power, cepstrum = b.run(["d", "s", "y"], w=data)
    assert (audio.shape, power.shape, cepstrum.shape) == ((1600, 1), (1, 4, 513), (1, 4, 10))
    assert not audio[1280:].any()
    assert power[0, 0].argmax() == 64  # 1000 Hz of 8000 in 512 steps
    weights = mel_weights(513, 16000, 40, 20.0, 4000.0)
    np.testing.assert_allclose(weights[4:238].sum(1), 1, atol=1e-9)  # neighbours share every frequency


# ---------------------------------------------------------------------------------------------- what TensorFlow on CPUs
# does not run, or no longer writes


def test_channels_first_in_the_file() -> None:
    b, w, x = GraphBuilder(), image(3, 3, 2, 4), image(1, 2, 7, 8)
    b.placeholder("x", [-1, 2, 7, 8])
    conv(b, "c", "x", w, data_format="NCHW", strides=[1, 1, 2, 2], padding="SAME")
    b.node("BiasAdd", "a", "c", f32([1, 2, 3, 4]), data_format="NCHW")
    b.node("MaxPool", "y", "a", ksize=[1, 1, 2, 2], strides=[1, 1, 1, 1], padding="VALID", data_format="NCHW")
    assert kinds(b, ["y"]) == {"Conv": 1, "Add": 1, "MaxPool": 1}
    full = np.pad(x.transpose(0, 2, 3, 1), [(0, 0), (1, 1), (0, 1), (0, 0)])
    y = convolved(full, w, 1, (0, 0), 2) + f32([1, 2, 3, 4])
    pooled = np.max([y[:, i : i + 3, j : j + 3] for i in (0, 1) for j in (0, 1)], axis=0)
    np.testing.assert_allclose(b.run(["y"], x=x)[0], pooled.transpose(0, 3, 1, 2), atol=1e-4)


def test_the_oldest_batch_normalisation() -> None:
    b, x = GraphBuilder(), image(1, 4, 4, 2)
    mean, variance, beta, gamma = f32([0.1, 0.2]), f32([1, 2]), f32([3, 4]), f32([5, 6])
    b.placeholder("x", [-1, 4, 4, 2])
    for name, scaled in (("y", True), ("z", False)):
        b.node("BatchNormWithGlobalNormalization", name, "x", mean, variance, beta, gamma, variance_epsilon=0.01,
            scale_after_normalization=scaled)  # fmt: skip
    y, z = b.run(["y", "z"], x=x)
    normal = (x - mean) / np.sqrt(variance + 0.01)
    np.testing.assert_allclose(y, normal * gamma + beta, atol=1e-4)
    np.testing.assert_allclose(z, normal + beta, atol=1e-4)


def test_block_lstm_stops_where_it_is_told() -> None:
    b, x = GraphBuilder(), image(3, 2, 4)
    w, bias = image(7, 12), image(12)
    zero, none = np.zeros((2, 3), np.float32), np.zeros(3, np.float32)
    b.placeholder("x", [3, -1, 4])
    b.node(
        "BlockLSTM", "cell", np.int64(2), "x", zero, zero, w, none, none, none, bias, forget_bias=0.5, cell_clip=-1.0
    )
    state, h = zero, zero
    for t in range(2):
        i, c, f, o = np.split(np.concatenate([x[t], h], 1) @ w + bias, 4, axis=1)
        state = np.tanh(c) * sigmoid(i) + state * sigmoid(f + 0.5)
        h = sigmoid(o) * np.tanh(state)
    found = b.run(["cell:6"], x=x)[0]
    np.testing.assert_allclose(found[1], h, atol=1e-5)
    assert not found[2].any()


def test_stitching_rows() -> None:
    b, x = GraphBuilder(), image(2, 3)
    b.placeholder("x", [2, 3])
    b.node("Neg", "minus", "x")
    b.node("DynamicStitch", "y", np.array([3, 0], np.int32), np.array([1, 2], np.int32), "x", "minus", N=2)
    np.testing.assert_array_equal(b.run(["y"], x=x)[0], np.stack([x[1], -x[0], -x[1], x[0]]))


def test_integers_that_stand_for_a_range() -> None:
    b = GraphBuilder()
    b.placeholder("x", [-1], np.uint8)
    b.node("Dequantize", "y", "x", np.float32(-1), np.float32(1), mode="MIN_COMBINED")
    np.testing.assert_allclose(b.run(["y"], x=np.array([0, 51, 255], np.uint8))[0], [-1, -0.6, 1], atol=1e-6)


def test_a_mutable_size_that_must_be_a_number() -> None:
    b = GraphBuilder()
    b.placeholder("x", [1, -1, 8, 3])
    b.node("ResizeArea", "small", "x", np.array([3, 2], np.int32))
    with pytest.raises(ShapeError, match=r"small \(TensorFlow ResizeArea\): the size of the image is mutable"):
        b.graph(["small"], input_shapes={"x": (1, "1..9", 8, 3)})
