"""Networks in float16 against the same in float32: small ones of well-known families, and published ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networks_test as networks
import numpy as np
import onnx
import pytest

import magicmind

Array = np.ndarray[Any, np.dtype[Any]]
HALF = "force_float16"

SMALL = [
    networks.residual, networks.grouped, networks.mobile_inverted, networks.shuffle, networks.squeeze_excite,
]  # fmt: skip


def feeds_of(proto: onnx.ModelProto) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in proto.graph.input}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def close(got: Array, want: Array, tolerance: float) -> bool:
    return bool(np.abs(got - want).max() <= tolerance * np.abs(want).max())


@pytest.mark.parametrize("network", SMALL, ids=lambda network: network.__name__)
def test_small_networks(network: Callable[[], onnx.ModelProto]) -> None:
    """Ends are float32, results near, on any number of threads the same."""
    proto = network()
    feeds = feeds_of(proto)
    want = magicmind.build(magicmind.parse(proto)).session().run(feeds)
    with magicmind.build(magicmind.parse(proto), HALF) as model:
        got = [model.session(threads=threads).run(feeds) for threads in (1, 2)]
        assert model.info()["precision"] == HALF
    for name, expected in want.items():
        assert got[0][name].dtype == np.float32
        assert close(got[0][name], expected, 2e-3)
        np.testing.assert_array_equal(got[0][name], got[1][name])
