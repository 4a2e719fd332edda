"""Networks of Keras, frozen by TensorFlow, against TensorFlow: seeded random weights, mutable batch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import magicmind

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

pytestmark = pytest.mark.slow

Array = np.ndarray[Any, Any]

TOLERANCE = 1e-4  # of the largest element

APPLICATIONS = {
    "MobileNet": 96,
    "MobileNetV2": 96,
    "MobileNetV3Small": 96,
    "EfficientNetB0": 96,
    "ResNet50": 64,
    "ResNet50V2": 64,
    "DenseNet121": 64,
    "InceptionV3": 96,
    "Xception": 96,
    "NASNetMobile": 64,
    "VGG16": 48,
    "ConvNeXtTiny": 64,
}
"""Networks of tf.keras.applications by the side of their images."""


@pytest.fixture(scope="module")
def tf() -> Any:
    return pytest.importorskip("tensorflow", reason="needs the extra 'tensorflow'")


def relative(found: Array, expected: Array) -> float:
    """The largest difference as a share of the largest element."""
    assert found.shape == expected.shape
    return float(
        np.abs(found.astype(np.float64) - expected).max(initial=0) / max(np.abs(expected).max(initial=0), 1e-30)
    )


def vary(model: Any, seed: int = 1) -> None:
    """Statistics and offsets as of a trained network: those of a new one are all 0 or 1."""
    random = np.random.default_rng(seed)
    for variable in model.variables:
        label = variable.path if hasattr(variable, "path") else variable.name
        shape = tuple(variable.shape)
        if label.endswith(("moving_variance", "gamma")):
            variable.assign(random.uniform(0.8, 1.2, shape))
        elif label.endswith(("moving_mean", "beta", "bias")):
            variable.assign(random.normal(0, 0.05, shape))


def check(model: Any, path: Path, feeds: list[Array], shapes: Any = None) -> magicmind.Graph:
    """The parsed graph, which gives what the model gives."""
    model.save(path)
    expected = np.asarray(model(feeds if len(feeds) > 1 else feeds[0], training=False))
    graph = magicmind.parse(path, input_shapes=shapes)
    session = magicmind.build(graph).session(threads=2)
    found = session.run({info.name: x for info, x in zip(graph.inputs, feeds, strict=True)})
    assert relative(next(iter(found.values())), expected) < TOLERANCE
    return graph


def turned(graph: magicmind.Graph) -> int:
    """How many transposes move data, rather than sizes of one."""
    count = 0
    for node in graph.model.graph:
        if node.op_type == "Transpose":
            value = node.inputs[0]
            assert value is not None and value.shape is not None
            kept = [axis for axis in node.attributes["perm"].as_ints() if value.shape[axis] != 1]
            count += kept != sorted(kept)
    return count


@pytest.mark.parametrize("name", APPLICATIONS)
def test_application(tf: Any, tmp_path: Path, name: str) -> None:
    side = APPLICATIONS[name]
    tf.keras.utils.set_random_seed(3)
    build = getattr(tf.keras.applications, name)
    model = build(weights=None, input_shape=(side, side, 3), classes=50, classifier_activation=None)
    vary(model)
    x = np.random.default_rng(0).uniform(-1, 1, (3, side, side, 3)).astype(np.float32)
    graph = check(model, tmp_path / "m.keras", [x], [("1..8", side, side, 3)])
    assert turned(graph) <= (40 if name == "ConvNeXtTiny" else 2), "channels are turned inside the network"


def test_recurrent_layers(tf: Any, tmp_path: Path) -> None:
    """Loops of today with lists of tensors; batch and, for the GRU, the number of steps are mutable."""
    layers, keras = tf.keras.layers, tf.keras
    keras.utils.set_random_seed(1)
    x = np.random.default_rng(0).standard_normal((3, 7, 5)).astype(np.float32)
    model = keras.Sequential(
        [
            layers.Input((7, 5)),
            layers.LSTM(6, return_sequences=True),
            layers.Bidirectional(layers.LSTM(4)),
            layers.Dense(3),
        ]
    )
    check(model, tmp_path / "lstm.keras", [x], [("1..4", 7, 5)])
    check(model, tmp_path / "lstm.h5", [x], [(3, 7, 5)])
    model = keras.Sequential([layers.Input((None, 5)), layers.GRU(6, return_sequences=True), layers.GRU(4)])
    check(model, tmp_path / "gru.keras", [x], [("1..4", "1..9", 5)])


def test_saved_model(tf: Any, tmp_path: Path) -> None:
    """A folder with two signatures, one of them with control flow that depends on data."""

    class Module(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.w = tf.Variable(np.arange(6, dtype=np.float32).reshape(3, 2))

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def run(self, x: Any) -> Any:
            y = tf.matmul(x, self.w)
            if tf.reduce_sum(y) > 0.0:
                y = y * 2.0
            while tf.reduce_max(tf.abs(y)) > 1.0:
                y = y * 0.5
            return {"y": y}

        @tf.function(input_signature=[tf.TensorSpec([2], tf.float32, name="v")])
        def other(self, v: Any) -> Any:
            return {"z": -v}

    module = Module()
    folder = tmp_path / "saved"
    tf.saved_model.save(module, str(folder), {"serving_default": module.run, "other": module.other})
    session = magicmind.build(magicmind.parse(folder)).session(threads=1)
    for sign in (1, -1):
        x = sign * np.float32([[1, 2, 3], [4, 5, 6]])
        found = next(iter(session.run({"x": x}).values()))
        np.testing.assert_allclose(found, module.run(x)["y"].numpy(), rtol=1e-6)
    session = magicmind.build(magicmind.parse(folder, signature="other")).session(threads=1)
    assert next(iter(session.run({"v": np.float32([1, -2])}).values())).tolist() == [-1, 2]
    with pytest.raises(magicmind.ModelFormatError, match=r"no signature 'gone'"):
        magicmind.parse(folder, signature="gone")


def test_two_networks_with_loops_in_one_process(tf: Any, tmp_path: Path) -> None:
    """TensorFlow gives the functions of both the same names."""

    def save(size: int | None, path: Path) -> Array:
        @tf.function(input_signature=[tf.TensorSpec([size, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def run(x: Any) -> Any:
            return {"y": tf.map_fn(lambda row: tf.reduce_sum(row) * row, x)}

        module = tf.Module()
        module.run = run
        tf.saved_model.save(module, str(path), {"serving_default": run})
        return run(x)["y"].numpy()  # type: ignore[no-any-return]

    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    for i, size in enumerate((2, None)):
        expected = save(size, tmp_path / str(i))
        found = magicmind.build(magicmind.parse(tmp_path / str(i))).session(threads=1).run({"x": x})
        assert relative(next(iter(found.values())), expected) < TOLERANCE


def test_a_model_with_tables(tf: Any, tmp_path: Path) -> None:
    layers = tf.keras.layers
    words, number = layers.Input((3,), dtype="string", name="w"), layers.Input((1,), name="n")
    found = layers.StringLookup(vocabulary=["a", "b", "c"], output_mode="multi_hot")(words)
    model = tf.keras.Model([words, number], layers.Concatenate()([found, layers.Discretization([0.0, 1.0])(number)]))
    model.save(tmp_path / "m.keras")
    feeds = np.array([["a", "x", "b"], ["c", "c", "a"]], object), np.float32([[0.5], [2]])
    expected = np.asarray(model([tf.constant(x) for x in feeds]))
    graph = magicmind.parse(tmp_path / "m.keras")
    session = magicmind.build(graph).session(threads=1)
    got = session.run({info.name: x for info, x in zip(graph.inputs, feeds, strict=True)})
    np.testing.assert_array_equal(next(iter(got.values())), expected)


def test_a_layer_that_keras_writes_for_known_sizes_only(tf: Any, tmp_path: Path) -> None:
    layers = tf.keras.layers
    model = tf.keras.Sequential([layers.Input((None, None, 2)), layers.UpSampling2D(2, interpolation="bilinear")])
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 2)).astype(np.float32)
    check(model, tmp_path / "up.keras", [x], [("1..4", 4, 5, 2)])
    with pytest.raises(magicmind.ModelFormatError, match=r"cannot be loaded by TensorFlow: .*UpSampling2D"):
        magicmind.parse(tmp_path / "up.keras")


def test_a_state_that_stays_from_call_to_call_is_refused(tf: Any, tmp_path: Path) -> None:
    layers = tf.keras.layers
    tf.keras.Sequential([layers.Input(batch_shape=(2, 3, 4)), layers.GRU(2, stateful=True)]).save(tmp_path / "m.keras")
    with pytest.raises(magicmind.UnsupportedOperatorError, match="keeps a state from call to call"):
        magicmind.parse(tmp_path / "m.keras")


def test_damaged_keras_files(tf: Any, tmp_path: Path) -> None:
    for name in ("bad.keras", "bad.h5"):
        (tmp_path / name).write_bytes(b"not a model" * 20)
        with pytest.raises(magicmind.ModelFormatError, match="cannot be loaded by TensorFlow"):
            magicmind.parse(tmp_path / name)


# --------------------------------------------------------------------------------------------- DeepLab of the old days

# (kernel channels out, stride, dilation, expansion) of the layers 2 to 18 of MobileNetV2 at output stride 8
DEEPLAB = [
    (16, 1, 1, 1), (24, 2, 1, 6), (24, 1, 1, 6), (32, 2, 1, 6), (32, 1, 1, 6), (32, 1, 1, 6), (64, 1, 1, 6),
    (64, 1, 2, 6), (64, 1, 2, 6), (64, 1, 2, 6), (96, 1, 2, 6), (96, 1, 2, 6), (96, 1, 2, 6), (160, 1, 2, 6),
    (160, 1, 4, 6), (160, 1, 4, 6), (320, 1, 4, 6),
]  # fmt: skip


class DeepLab:
    """DeepLab v3 on MobileNetV2 as its frozen graphs are written: padding computed from sizes, checks beside, dilation
    as SpaceToBatchND, old resizing; weights seeded. `side` is the size it pads to."""

    def __init__(self, tf: Any, side: int) -> None:
        self.tf, self.side, self.random = tf, side, np.random.default_rng(0)
        self.features = (side + 7) // 8

    def weights(self, *shape: int) -> Array:
        scale = np.sqrt(2 / np.prod(shape[:-1] if shape[-2] != 1 and shape[-1] != 1 else shape[:2]))
        return (self.random.standard_normal(shape) * scale).astype(np.float32)

    def norm(self, x: Any, epsilon: float) -> Any:
        n = int(x.shape[-1])
        r = self.random
        scale, offset, mean = r.uniform(0.8, 1.2, n), r.normal(0, 0.1, n), r.normal(0, 0.1, n)
        v1, f32 = self.tf.compat.v1, np.float32
        variance = r.uniform(0.8, 1.2, n).astype(f32)
        return v1.nn.fused_batch_norm(
            x, scale.astype(f32), offset.astype(f32), mean.astype(f32), variance, epsilon=epsilon, is_training=False
        )[0]

    def conv(self, x: Any, size: int, out: int, stride: int = 1, activate: bool = True, epsilon: float = 1e-3) -> Any:
        y = self.tf.nn.conv2d(x, self.weights(size, size, int(x.shape[-1]), out), stride, "SAME")
        y = self.norm(y, epsilon)
        return self.tf.nn.relu6(y) if activate else y

    def depthwise(self, x: Any, stride: int, dilation: int) -> Any:
        tf, w = self.tf, self.weights(3, 3, int(x.shape[-1]), 1)
        if dilation == 1:
            y = tf.nn.depthwise_conv2d(x, w, [1, stride, stride, 1], "SAME")
        else:
            more = -self.features % dilation
            pads, crops = [[dilation, dilation + more]] * 2, [[0, more]] * 2
            y = tf.raw_ops.SpaceToBatchND(input=x, block_shape=[dilation] * 2, paddings=pads)
            y = tf.nn.depthwise_conv2d(y, w, [1, 1, 1, 1], "VALID")
            y = tf.raw_ops.BatchToSpaceND(input=y, block_shape=[dilation] * 2, crops=crops)
            y.set_shape([1, self.features, self.features, int(x.shape[-1])])
        return tf.nn.relu6(self.norm(y, 1e-3))

    def padded(self, image: Any) -> Any:
        """Cast, the identity resize that training left over, and padding below and to the right."""
        tf, v1 = self.tf, self.tf.compat.v1
        x = tf.cast(tf.squeeze(image, [0]), tf.float32)
        size = tf.cast(tf.cast(tf.shape(x)[:2], tf.float32) * 1.0, tf.int32)
        x = tf.squeeze(v1.image.resize_bilinear(x[None], size, align_corners=True), [0])
        height, width = tf.shape(x)[0], tf.shape(x)[1]
        with tf.control_dependencies([v1.Assert(tf.greater_equal(height, 1), [height])]):
            below = tf.maximum(self.side - height, 0)
        right = tf.maximum(self.side - width, 0)
        x = tf.pad(x - 127.5, tf.stack([[0, below], [0, right], [0, 0]])) + 127.5
        x = tf.reshape(x, [1, self.side, self.side, 3])
        return x * np.float32(2 / 255) - 1.0

    def build(self, image: Any) -> Any:
        tf, v1 = self.tf, self.tf.compat.v1
        x = self.conv(self.padded(image), 3, 32, 2)
        for out, stride, dilation, expansion in DEEPLAB:
            y = x if expansion == 1 else self.conv(x, 1, expansion * int(x.shape[-1]))
            y = self.conv(self.depthwise(y, stride, dilation), 1, out, activate=False)
            x = tf.identity(x + y if stride == 1 and out == int(x.shape[-1]) else y)
        n = self.features
        pooled = tf.nn.relu(self.conv(tf.nn.avg_pool2d(x, n, 1, "VALID"), 1, 256, activate=False, epsilon=1e-5))
        pooled = v1.image.resize_bilinear(pooled, [n, n], align_corners=True)
        x = tf.concat([pooled, tf.nn.relu(self.conv(x, 1, 256, activate=False, epsilon=1e-5))], 3)
        x = tf.nn.relu(self.conv(x, 1, 256, activate=False, epsilon=1e-5))
        x = tf.nn.bias_add(tf.nn.conv2d(x, self.weights(1, 1, 256, 21), 1, "SAME"), np.zeros(21, np.float32))
        x = v1.image.resize_bilinear(x, [n, n], align_corners=True)
        logits = v1.image.resize_bilinear(x, [self.side, self.side], align_corners=True, name="logits")
        size = tf.shape(image)[1:3]
        classes = tf.slice(tf.argmax(logits, 3), [0, 0, 0], tf.concat([[1], size], 0))
        back = v1.image.resize_nearest_neighbor(tf.cast(classes, tf.float32)[..., None], size, align_corners=True)
        return tf.identity(tf.cast(tf.squeeze(back, [3]), tf.int64), name="SemanticPredictions")


def test_deeplab_of_the_samples(tf: Any, tmp_path: Path) -> None:
    """At 129 instead of 513: the same graph, a sixteenth of the work."""
    side = 129
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        image = v1.placeholder(tf.uint8, [1, None, None, 3], name="ImageTensor")
        DeepLab(tf, side).build(image)
        path = tmp_path / "frozen_inference_graph.pb"
        path.write_bytes(graph.as_graph_def().SerializeToString())
        x = np.random.default_rng(1).integers(0, 256, (1, 97, 129, 3), np.uint8)
        with v1.Session() as session:
            labels, logits = session.run(["SemanticPredictions:0", "logits:0"], {"ImageTensor:0": x})
    options = {"inputs": ["ImageTensor:0"], "outputs": ["SemanticPredictions:0", "logits"]}
    for shape in (x.shape, (1, "1..129", "1..129", 3)):
        parsed = magicmind.parse(path, input_shapes={"ImageTensor": shape}, **options)
        kinds = [node.op_type for node in parsed.model.graph]
        assert kinds.count("Conv") == 55
        assert turned(parsed) <= 5
        found = magicmind.build(parsed).session(threads=2).run({"ImageTensor": x})
        assert relative(found["logits"], logits) < TOLERANCE
        assert found["SemanticPredictions"].shape == (1, 97, 129)
        assert (found["SemanticPredictions"] != labels).mean() < 1e-3
