"""Ranges that programs set, by hand or as quantisation parameters, and names that they give to tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import build, run_model

QINT8 = '{"graph_shape_mutable": false, "precision_config": {"precision_mode": "qint8_mixed_float32"}}'
W = np.random.default_rng(1).uniform(-1, 1, (8, 4)).astype(np.float32)
X = np.random.default_rng(2).uniform(-1, 1, (3, 8)).astype(np.float32)


def test_numbers_of_the_official_samples() -> None:
    one = mm.range_to_uniform_quant_param(mm.Range(-1, 1), 8, "symmetric", mm.RoundingMode.ROUND_HALF_TO_EVEN)
    assert one is not None and one.scale == pytest.approx(0.00787402) and one.offset == 0
    back = mm.uniform_quant_param_to_range(one, 8, "symmetric")
    assert back is not None and (back.min, back.max) == pytest.approx((-1, 1))
    cast = mm.normal_to_uniform_cast(mm.NormalQuantParam(-13, 1.99994, 0))
    assert cast is not None and cast.scale == pytest.approx(2 / 32767, rel=1e-4)
    normal = mm.uniform_to_normal_cast(cast)
    assert normal is not None and normal.pos == -13 and normal.scale == pytest.approx(1.99994)


def test_asymmetric_parameters_reach_both_ends() -> None:
    found = mm.range_to_uniform_quant_param((-1, 3), 8, "asymmetric")
    assert found is not None
    assert (-128 - found.offset) * found.scale == pytest.approx(-1, abs=found.scale)
    back = mm.uniform_quant_param_to_range(found, 8, "asymmetric")
    assert back is not None and (back.min, back.max) == pytest.approx((-1, 3), abs=found.scale)


@pytest.mark.parametrize("wrong", [None, (1,), (2, 1), (0, float("nan")), "ab", (0, 1, 2)])
def test_what_is_no_range(wrong: Any) -> None:
    assert mm.range_to_uniform_quant_param(wrong) is None
    network = mm.Network()
    tensor = network.add_input(mm.DataType.FLOAT32, mm.Dims([2]))
    assert tensor is not None and not tensor.set_dynamic_range(wrong).ok()
    assert not tensor.set_dynamic_range_per_axis([]).ok()


@pytest.mark.parametrize("wrong", [{"bit_width": 99}, {"algorithm": "best"}, {"rounding": "up"}])
def test_what_is_no_way_to_count(wrong: Any) -> None:
    assert mm.range_to_uniform_quant_param((0, 1), **wrong) is None
    assert mm.uniform_to_normal_cast(mm.UniformQuantParam(0.0)) is None
    assert mm.normal_to_uniform_cast("x") is None and mm.uniform_quant_param_to_range(1.0) is None


def product() -> tuple[mm.Network, Any, Any]:
    """x w, its node and the input."""
    network = mm.Network()
    x = network.add_input(mm.DataType.FLOAT32, mm.Dims([3, 8]))
    node = network.add_i_mat_mul_node(x, network.add_i_const_node(mm.DataType.FLOAT32, mm.Dims([8, 4]), W), None)
    assert network.mark_output(node).ok()
    return network, node, x


def test_ranges_alone_are_enough_to_quantise() -> None:
    network, node, x = product()
    assert x.set_dynamic_range(mm.Range(-1, 1), False).ok()
    assert node.get_output(0).set_dynamic_range((-8, 8)).ok()
    found = run_model(build(network, QINT8), X)[0]
    assert 0 < np.abs(found - X @ W).max() < 0.1


def test_a_narrow_range_cuts_what_lies_outside() -> None:
    network, _, x = product()
    assert x.set_dynamic_range_per_axis([(-0.25, 0), (0, 0.125)]).ok()
    found = run_model(build(network, QINT8, '{"custom_ranges": {"": {"min": [-8], "max": [8]}}}'), X)[0]
    np.testing.assert_allclose(found, np.clip(X, -0.25, 0.25) @ W, atol=0.1)
    assert np.abs(found - X @ W).max() > 0.5


def test_precision_with_parameters() -> None:
    network, node, _ = product()
    one = mm.uniform_to_normal_cast(mm.UniformQuantParam(0.25 / 127))
    assert node.set_precision_with_normal_param(0, mm.DataType.QINT8, one, False).ok()
    every = '{"custom_ranges": {"": {"min": [-8], "max": [8]}}}'
    found = run_model(build(network, QINT8, every), X)[0]
    np.testing.assert_allclose(found, np.clip(X, -0.25, 0.25) @ W, atol=0.1)
    assert not node.set_precision_with_normal_param(0, mm.DataType.QINT8, one).ok()  # it is built


def test_parameters_that_do_not_fit() -> None:
    _, node, _ = product()
    one = mm.NormalQuantParam()
    assert not node.set_precision_with_normal_param(0, mm.DataType.FLOAT32, one).ok()
    assert not node.set_precision_with_normal_param(9, mm.DataType.QINT8, one).ok()
    assert not node.set_precision_with_normal_param(0, mm.DataType.QINT8, "x").ok()
    assert node.set_precision_with_normal_param_per_axis(1, mm.DataType.QINT16, [one, one]).ok()


def test_names_of_inputs_outputs_and_what_is_inside() -> None:
    network, node, x = product()
    inside = network.add_i_softmax_node(node, [1])
    assert network.mark_output(network.add_i_square_node(inside)).ok()
    assert x.set_tensor_name("image").ok() and node.get_output(0).set_tensor_name("scores").ok()
    assert inside.get_output(0).set_tensor_name("inside").ok()
    assert inside.get_output(0).get_tensor_name() == "inside"
    for wrong in ("scores", "", None, "a\n"):
        assert not x.set_tensor_name(wrong).ok()
    model = build(network)
    assert model.get_input_names() == ["image"] and model.get_output_names() == ["scores", "main/mm.square:0"]
    assert not x.set_tensor_name("late").ok()
