"""Watching a network's tensors: what is built for it, and what is refused."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from onnx.helper import make_graph, make_model, make_node, make_tensor_value_info

import magicmind
from magicmind.errors import PrecisionError
from magicmind.graph import Graph
from magicmind.quant.observe import Watch, observe
from magicmind.runtime.model import Model


@pytest.fixture(scope="module")
def doubling() -> Graph:
    """y = x + x for a batch of 1 to 4 and an open length."""
    x = make_tensor_value_info("x", TensorProto.FLOAT, ["n", "length"])
    y = make_tensor_value_info("y", TensorProto.FLOAT, ["n", "length"])
    proto = make_model(make_graph([make_node("Add", ["x", "x"], ["y"])], "doubling", [x], [y]))
    return magicmind.parse(proto).with_shapes({"x": ["n=1..4", "length=1.."]})


def watch(graph: Graph, shapes: Sequence[tuple[int, ...]]) -> tuple[list[list[Any]], float]:
    """The input shapes of the builds, and the largest value seen of y."""
    built: list[list[Any]] = []

    def build(watching: Graph) -> Model:
        built.append(list(watching.inputs[0].shape))
        return magicmind.build(watching)

    samples = ({"x": np.full(shape, i + 1, np.float32)} for i, shape in enumerate(shapes))
    found = observe(graph, {"x": Watch(), "y": Watch()}, samples, build, lambda *_: None)
    assert found.samples == len(shapes)
    return built, found.tensors["y"].peak


def test_samples_of_one_shape_are_watched_by_a_build_for_it(doubling: Graph) -> None:
    built, peak = watch(doubling, [(2, 5)] * 3)
    assert built == [[2, 5]]
    assert peak == 6


def test_samples_of_many_shapes_need_two_builds(doubling: Graph) -> None:
    built, peak = watch(doubling, [(1, 5), (1, 5), (4, 7), (1, 5), (3, 1)])
    assert built == [[1, 5], [(1, 4), (1, None)]]
    assert peak == 10


@pytest.mark.parametrize("shape", [(5, 3), (2,), (0, 3)])
def test_a_shape_that_the_network_does_not_take_is_named_with_its_sample(doubling: Graph, shape: tuple[int]) -> None:
    with pytest.raises(PrecisionError, match=r"calibration sample 2: .*x"):
        watch(doubling, [(1, 3), shape])


def test_a_magnitude_passes_by_infinity_but_not_nan(doubling: Graph) -> None:
    def magnitude(value: float) -> float:
        sample = {"x": np.array([[1.5, value, -2]], np.float32)}
        peaks = {"y": Watch(histogram=False)}
        return observe(doubling, peaks, [sample], magicmind.build, lambda *_: None).tensors["y"].peak

    assert magnitude(-np.inf) == 4
    with pytest.raises(PrecisionError, match="'y' contains NaN"):
        magnitude(np.nan)
