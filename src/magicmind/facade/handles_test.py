"""Networks while they are built by hand: shapes, connections, names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import run, run_model


def test_shapes_follow_as_nodes_are_added() -> None:
    network = mm.Network()
    x = network.add_input(mm.DataType.FLOAT32, mm.Dims([2, 3, 4]))
    order = network.add_i_const_node(mm.DataType.INT32, mm.Dims([3]), [0, 2, 1])
    assert order.get_output(0).get_dimension().GetDims() == [3]
    assert order.get_output(0).get_data_type() is mm.DataType.INT32
    turned = network.add_i_permute_node(x, order)
    assert turned.get_output(0).get_dimension().GetDims() == [2, 4, 3]
    kind = network.add_i_cast_node(turned, mm.DataType.INT8).get_output(0)
    assert kind.get_data_type() is mm.DataType.INT8 and kind.get_dimension().GetDims() == [2, 4, 3]
    assert x is not None and x.set_dimension(mm.Dims([7, -1, 4])).ok()
    assert turned.get_output(0).get_dimension().GetDims() == [7, 4, -1]


def test_what_has_no_shape_yet_does_not_hide_the_rest() -> None:
    network = mm.Network()
    x, y = network.add_input(mm.DataType.FLOAT32), network.add_input(mm.DataType.FLOAT32, mm.Dims([2]))
    assert network.add_i_abs_node(x).get_output(0).get_dimension().GetDims() == []
    assert network.add_i_softmax_node(x, 1).get_output(0).get_dimension().GetDims() == []
    assert network.add_i_abs_node(y).get_output(0).get_dimension().GetDims() == [2]


def test_an_added_node_reads_something_else() -> None:
    """Also what was added after it."""
    network = mm.Network()
    x, y = (network.add_input(mm.DataType.FLOAT32, mm.Dims([2])) for _ in range(2))
    total = network.add_i_elementwise_node(x, y, mm.enums.IElementwise.SUB)
    double = network.add_i_elementwise_node(y, y, mm.enums.IElementwise.ADD)
    joined = network.add_i_concat_node(0, [x, total])
    assert total.update_input(1, double).ok() and total.get_input(1) is double.get_output(0)
    assert joined.update_input(0, double).ok() and not joined.update_input(2, double).ok()
    assert network.mark_output(total).ok() and network.mark_output(joined).ok()
    found = run(network, np.array([1.0, 2.0]), np.array([3.0, 5.0]))
    np.testing.assert_array_equal(found[0], [-5, -8])
    np.testing.assert_array_equal(found[1], [6, 10, -5, -8])


def test_nodes_that_read_each_other() -> None:
    network = mm.Network()
    first = network.add_i_abs_node(network.add_input(mm.DataType.FLOAT32, mm.Dims([2])))
    second = network.add_i_abs_node(first)
    assert first.update_input(0, second).ok() and network.mark_output(second).ok()
    builder = mm.Builder()
    assert builder.build_model("n", network) is None and "read each other" in str(builder.status)
    assert second.get_output(0).get_dimension().GetDims() == []


@pytest.mark.parametrize("name", ["add_i_topk_node", "add_i_conv_2d_node", "add_i_nothing_node", "topk"])
def test_spellings_of_nodes(name: str) -> None:
    network = mm.Network()
    assert hasattr(network, name) == (name == "add_i_topk_node")
    assert hasattr(network, "add_i_max_pool_2d_node") and hasattr(network, "add_i_matmul_node")


def test_the_sample_that_builds_a_convolution_by_hand(tmp_path: Path) -> None:
    """Channels last without being said; weights in float64; no configuration."""
    network = mm.Network()
    rng = np.random.default_rng(1)
    x, weights, bias = rng.random((1, 9, 9, 3)), rng.random((4, 3, 3, 3)), rng.random(4)
    made = [network.add_i_const_node(mm.DataType.FLOAT32, mm.Dims(a.shape), a).get_output(0) for a in (weights, bias)]
    conv = network.add_i_conv_node(network.add_input(mm.DataType.FLOAT32, mm.Dims(x.shape)), *made)
    for status in (conv.set_stride(2, 2), conv.set_pad(0, 0, 0, 0), conv.set_dilation(1, 1)):
        assert status.ok()
    assert conv.set_padding_mode(mm.IPaddingMode.EXPLICIT).ok()
    relu = network.add_i_activation_node(conv.get_output(0), mm.IActivation.RELU)
    assert network.mark_output(relu.get_output(0))
    model = mm.Builder().build_model("conv", network)
    assert model is not None and model.serialize_to_file(str(tmp_path / "graph")).ok()
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2]
    expected = np.einsum("nhwckl,oklc->nhwo", windows, weights) + bias
    np.testing.assert_allclose(run_model(model, x)[0], expected, rtol=1e-5)
