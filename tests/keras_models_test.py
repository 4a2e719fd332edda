"""Networks of Keras, frozen by TensorFlow, against TensorFlow: seeded random weights, mutable batch."""

from __future__ import annotations

import os
from collections import Counter
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


@pytest.mark.parametrize("name", APPLICATIONS)
def test_application(tf: Any, tmp_path: Path, name: str) -> None:
    side = APPLICATIONS[name]
    tf.keras.utils.set_random_seed(3)
    model = getattr(tf.keras.applications, name)(weights=None, input_shape=(side, side, 3), classes=50)
    vary(model)
    x = np.random.default_rng(0).uniform(-1, 1, (3, side, side, 3)).astype(np.float32)
    graph = check(model, tmp_path / "m.keras", [x], [("1..8", side, side, 3)])
    kinds = Counter(node.op_type for node in graph.model.graph)
    assert kinds["Transpose"] <= (30 if name == "ConvNeXtTiny" else 2), "channels are turned inside the network"
