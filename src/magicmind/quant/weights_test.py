"""Weights as integers, and what rounding does to means."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.ops.reference import run_node
from magicmind.passes.edit import add_constant
from magicmind.quant.weights import mean_error, output_axis, quantise_weights
from magicmind.testing.check_pass import parse_model

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("per_axis", [False, True])
def test_rounding_is_half_a_step_at_most(bits: int, axis: int, per_axis: bool) -> None:
    weights = RNG.standard_normal((4, 5, 3, 3)).astype(np.float32)
    found = quantise_weights(weights, axis, bits=bits, per_axis=per_axis)
    assert found.values.dtype == (np.int8 if bits == 8 else np.int16)
    assert found.scale.shape == ((weights.shape[axis],) if per_axis else ())
    limit = 127 if bits == 8 else 32767
    assert np.abs(found.values).max() == limit
    shape = [-1 if i == axis else 1 for i in range(4)] if per_axis else [1] * 4
    assert (np.abs(found.dequantised() - weights) <= 0.5001 * found.scale.reshape(shape)).all()


def test_channels_of_zeros_leave_room_for_their_bias() -> None:
    weights, bias = np.zeros((3, 2), np.float32), np.array([0.0, 1e-3, 500.0], np.float32)
    found = quantise_weights(weights, 0, bits=8, per_axis=True, bias=bias, input_scale=0.1)
    assert not found.values.any() and (found.scale > 0).all()
    steps = bias / (0.1 * found.scale.astype(np.float64))
    assert (np.abs(steps) < 2**31).all()
    np.testing.assert_allclose(np.rint(steps) * 0.1 * found.scale, bias, rtol=1e-5)


def test_a_large_bias_makes_the_scale_larger() -> None:
    weights = np.full((1, 4), 1e-9, np.float32)
    found = quantise_weights(weights, 0, bits=8, per_axis=True, bias=np.array([100.0]), input_scale=1.0)
    assert 100.0 / found.scale[0] <= 2**30


def test_weights_that_are_not_finite() -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        quantise_weights(np.array([[np.nan]]), 0, bits=8, per_axis=True)


NODES = {
    "Conv": ("float[1,4,5,5] x, float[6,2,3,3] w", "Conv<group=2>(x, w)", 1),
    "Gemm": ("float[7,4] x, float[5,4] w", "Gemm<transB=1, alpha=0.5>(x, w)", 1),
    "MatMul": ("float[3,7,4] x, float[4,5] w", "MatMul(x, w)", 2),
}


@pytest.mark.parametrize("kind", NODES)
def test_the_error_of_means_is_that_of_outputs(kind: str) -> None:
    inputs, call, axis = NODES[kind]
    model = parse_model(f"({inputs}) => (y) {{ y = {call} }}")
    (node,) = model.graph
    x, w = (RNG.standard_normal(v.shape.numpy()).astype(np.float32) for v in node.inputs if v is not None and v.shape)
    if kind == "Conv":  # what reaches every position has the means of the channels
        x = np.broadcast_to(x[:, :, :1, :1], x.shape)
    node.replace_input_with(1, add_constant(model.graph, w, "constant"))
    found = quantise_weights(w, output_axis(node, w.ndim), bits=8, per_axis=True)
    means = x.mean(tuple(i for i in range(x.ndim) if i != (axis if kind != "Conv" else 1)), dtype=np.float64)
    lost = mean_error(node, found, means)
    assert lost is not None
    exact, rounded = (run_node(node, [x, a.astype(np.float32)])[0] for a in (w, found.dequantised()))
    others = tuple(i for i in range(exact.ndim) if i != axis)
    np.testing.assert_allclose(lost, (exact - rounded).mean(others), rtol=1e-3, atol=1e-6)
