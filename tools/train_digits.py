"""Trains the demo's network on scikit-learn's 8 x 8 handwritten digits and writes it as ONNX, with a held-out split.

    python tools/train_digits.py    # under a minute; writes digits.onnx and digits_test.npz to src/magicmind/data

Deterministic for a given seed, numpy and BLAS. BatchNormalization stays in the graph, so that building the model has
to fold it.
The digits: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, CC BY 4.0.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import onnx
from numpy_layers import Adam, Array, BatchNorm, Conv, GlobalAverage, Layer, Linear, MaxPool2, Relu, Residual
from onnx import TensorProto, helper, numpy_helper

CLASSES = 10


def digits(seed: int) -> tuple[Array, np.ndarray, Array, np.ndarray]:
    """Training and held-out images [N, 1, 8, 8] in 0..1 and labels; a quarter is held out, by class."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    x, x_test, y, y_test = train_test_split(images, labels, test_size=0.25, stratify=labels, random_state=seed)
    return x, y, x_test, y_test


class Network:
    """3x3 conv, 3x3 conv, max pool, residual block of depthwise 3x3 and 1x1, global average, linear classifier."""

    def __init__(self, rng: np.random.Generator) -> None:
        depthwise: list[Layer] = [Conv(rng, 32, 32, 3, depthwise=True), BatchNorm(32), Relu()]
        self.stem: list[Layer] = [
            Conv(rng, 1, 16, 3),
            BatchNorm(16),
            Relu(),
            Conv(rng, 16, 32, 3),
            BatchNorm(32),
            Relu(),
        ]
        self.block: list[Layer] = [*depthwise, Conv(rng, 32, 32, 1), BatchNorm(32)]
        self.head: list[Layer] = [Relu(), GlobalAverage(), Linear(rng, 32, CLASSES)]
        self.chain: list[Layer] = [*self.stem, MaxPool2(), Residual(self.block), *self.head]
        self.layers = [*self.stem, *self.block, *self.head]

    def forward(self, x: Array, training: bool = False) -> Array:
        """Logits [N, 10]."""
        for layer in self.chain:
            x = layer.forward(x, training)
        return x

    def backward(self, dy: Array) -> None:
        for layer in reversed(self.chain):
            dy = layer.backward(dy)


def softmax(logits: Array) -> Array:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def shifted(images: Array, rng: np.random.Generator) -> Array:
    """Every image moved by -1, 0 or 1 pixels in each direction, filled with background."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    moved = np.empty_like(images)
    for i, (dy, dx) in enumerate(rng.integers(0, 3, (len(images), 2))):
        moved[i] = padded[i, :, dy : dy + 8, dx : dx + 8]
    return moved


def train(network: Network, x: Array, y: np.ndarray, rng: np.random.Generator, epochs: int) -> None:
    """Cross entropy with smoothed labels, batches of 64, a cosine schedule from 0.01 to 0."""
    optimiser = Adam(network.layers, decay=1e-2)
    targets = (0.95 * np.eye(CLASSES) + 0.05 / CLASSES).astype(np.float32)
    batches = len(x) // 64
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        for batch in range(batches):
            rows = order[64 * batch : 64 * (batch + 1)]
            probabilities = softmax(network.forward(shifted(x[rows], rng), training=True))
            network.backward((probabilities - targets[y[rows]]) / len(rows))
            progress = (epoch * batches + batch) / (epochs * batches)
            optimiser.step(0.005 * (1 + np.cos(np.pi * progress)))


def accuracy(network: Network, x: Array, y: np.ndarray) -> float:
    return float((network.forward(x).argmax(1) == y).mean())


class Exporter:
    """Writes the layers as ONNX nodes, each output named after its node."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(
        self, op: str, inputs: list[str], name: str, parameters: dict[str, Array] | None = None, **attributes: object
    ) -> str:
        for key, array in (parameters or {}).items():
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), f"{name}.{key}"))
        stored = [f"{name}.{key}" for key in parameters or {}]
        self.nodes.append(helper.make_node(op, [*inputs, *stored], [name], name=name, **attributes))
        return name

    def chain(self, layers: list[Layer], x: str, prefix: str) -> str:
        for i, layer in enumerate(layers):
            x = self.layer(layer, x, f"{prefix}.{i}.{type(layer).__name__.lower()}")
        return x

    def layer(self, layer: Layer, x: str, name: str) -> str:
        match layer:
            case Conv():
                size = layer.kernel
                group = len(layer.parameters["weight"]) if layer.depthwise else 1
                return self.node(
                    "Conv", [x], name, layer.parameters, kernel_shape=[size] * 2, pads=[size // 2] * 4, group=group
                )
            case BatchNorm():
                statistics = {"mean": layer.mean, "var": layer.var}
                return self.node(
                    "BatchNormalization", [x], name, layer.parameters | statistics, epsilon=BatchNorm.EPSILON
                )
            case MaxPool2():
                return self.node("MaxPool", [x], name, kernel_shape=[2, 2], strides=[2, 2])
            case Residual():
                return self.node("Add", [x, self.chain(layer.layers, x, name)], f"{name}.add")
            case GlobalAverage():
                return self.node("Flatten", [self.node("GlobalAveragePool", [x], name)], f"{name}.flatten", axis=1)
            case Linear():
                return self.node("Gemm", [x], name, layer.parameters, transB=1)
            case Relu():
                return self.node("Relu", [x], name)
        raise TypeError(type(layer).__name__)


def export(network: Network, path: Path) -> None:
    """Writes image float32 [N, 1, 8, 8] -> probabilities float32 [N, 10], opset 17."""
    exporter = Exporter()
    logits = exporter.chain(network.chain, "image", "digits")
    exporter.nodes.append(helper.make_node("Softmax", [logits], ["probabilities"], name="probabilities", axis=1))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", CLASSES])
    graph = helper.make_graph(exporter.nodes, "digits", [image], [output], exporter.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.producer_name = "magicmind tools/train_digits.py"
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


CALIBRATION_IMAGES = 64


def save_calibration(x: Array, folder: Path) -> None:
    """The first training images, as the network's input `image`: to find ranges with, not to score."""
    np.savez_compressed(folder / "digits_calibration.npz", image=x[:CALIBRATION_IMAGES].astype(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "src" / "magicmind" / "data")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    x, y, x_test, y_test = digits(arguments.seed)
    network = Network(rng)
    start = time.perf_counter()
    train(network, x, y, rng, arguments.epochs)
    found = accuracy(network, x_test, y_test)
    print(f"{time.perf_counter() - start:.0f} s, training {accuracy(network, x, y):.2%}, held out {found:.2%}")
    if found < 0.98:
        sys.exit("below 98 % on the held-out split: nothing written")
    arguments.out.mkdir(parents=True, exist_ok=True)
    export(network, arguments.out / "digits.onnx")
    images = np.rint(x_test[:, 0] * 16).astype(np.uint8)
    np.savez_compressed(arguments.out / "digits_test.npz", images=images, labels=y_test.astype(np.uint8))
    save_calibration(x, arguments.out)


if __name__ == "__main__":
    main()
