"""Branches and loops that programs build: what they compute, and what cannot be built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import build, run, run_model

FLOAT, BOOL = mm.DataType.FLOAT32, mm.DataType.BOOL
ADD, SUB = mm.enums.IElementwise.ADD, mm.enums.IElementwise.SUB


def constant(network: Any, value: Any, dtype: mm.DataType = FLOAT) -> Any:
    array = np.asarray(value)
    return network.add_i_const_node(dtype, mm.Dims(array.shape), array).get_output(0)


def branch(*dims: int) -> tuple[mm.Network, Any]:
    """x + y, or x - y: by the third input."""
    network = mm.Network()
    x, y = (network.add_input(FLOAT, mm.Dims(dims)) for _ in range(2))
    cond = network.add_input(BOOL, mm.Dims([1]))
    node: Any = network.add_i_if_node(cond)  # type: ignore[arg-type]
    for body, kind in ((node.create_then_body(), ADD), (node.create_else_body(), SUB)):
        assert body.add_cond_output(body.add_i_elementwise_node(x, y, kind)).ok()
    return network, node


@pytest.mark.parametrize("dims", [(2, 3), (-1, -1)])
def test_a_branch(dims: tuple[int, ...]) -> None:
    network, node = branch(*dims)
    assert node.get_node_type() == "IIfNode" and node.get_output_count() == 1
    assert node.get_output(0).get_dimension().GetDims() == list(dims)
    assert network.mark_output(network.add_i_abs_node(node.get_output(0))).ok()
    model = build(network)
    ones = np.ones((2, 3))
    for flag, expected in ((True, 2), (False, 0)):
        np.testing.assert_array_equal(run_model(model, ones, ones, np.array([flag]))[0], np.full((2, 3), expected))


def loop(*dims: int) -> tuple[mm.Network, Any, Any]:
    """x grows by y from round to round while a counter, beginning at 1, stays below 5."""
    network = mm.Network()
    x, y = (network.add_input(FLOAT, mm.Dims(dims)) for _ in range(2))
    go_on, begin, step, end = constant(network, True, BOOL), *(constant(network, [v]) for v in (1.0, 1.0, 5.0))
    node: Any = network.add_i_while_node(go_on)
    body = node.create_loop_body()
    carried = {name: body.add_recurrence_tensor(t) for name, t in (("x", x), ("count", begin), ("go", go_on))}
    grown = body.add_i_elementwise_node(carried["x"], y, ADD).get_output(0)
    count = body.add_i_elementwise_node(carried["count"], step, ADD).get_output(0)
    less = body.add_i_logic_node(count, end, mm.enums.ILogic.LT).get_output(0)
    for name, new in (("x", grown), ("count", count), ("go", less)):
        assert body.update_recurrence_tensor(carried[name], new).ok()
    for tensor in (grown, carried["x"]):
        assert body.add_loop_output(tensor).ok()
    return network, node, body


@pytest.mark.parametrize("dims", [(2, 2), (-1, -1)])
def test_a_loop(dims: tuple[int, ...]) -> None:
    network, node, _ = loop(*dims)
    assert node.get_node_type() == "IWhileNode" and node.get_output_count() == 2
    assert node.get_output(0).get_dimension().GetDims() == list(dims)
    for i in range(2):
        assert network.mark_output(node.get_output(i)).ok()
    found = run(network, np.zeros((2, 2)), np.ones((2, 2)))
    np.testing.assert_array_equal(found[0], np.full((2, 2), 4))  # carried
    np.testing.assert_array_equal(found[1], np.full((2, 2), 3))  # as the last round began


def test_a_branch_in_a_loop() -> None:
    network = mm.Network()
    x = network.add_input(FLOAT, mm.Dims([3]))
    go_on = constant(network, True, BOOL)
    node: Any = network.add_i_while_node(go_on)
    body = node.create_loop_body()
    value, going = body.add_recurrence_tensor(x), body.add_recurrence_tensor(go_on)
    low = constant(body, 10.0)
    least = body.add_i_reduce_node(value, constant(body, [0], mm.DataType.INT32), mm.IReduce.ADD, False)
    inner: Any = body.add_i_if_node(body.add_i_logic_node(least, low, mm.enums.ILogic.LT))
    then, other = inner.create_then_body(), inner.create_else_body()
    assert then.add_cond_output(then.add_i_elementwise_node(value, value, ADD)).ok()
    assert other.add_cond_output(value).ok()
    assert body.update_recurrence_tensor(value, inner.get_output(0)).ok()
    total = body.add_i_reduce_node(inner, constant(body, [0], mm.DataType.INT32), mm.IReduce.ADD, False)
    assert body.update_recurrence_tensor(going, body.add_i_logic_node(total, low, mm.enums.ILogic.LT)).ok()
    assert body.add_loop_output(inner.get_output(0)).ok()
    assert network.mark_output(node.get_output(0)).ok()
    np.testing.assert_array_equal(run(network, np.ones(3))[0], np.full(3, 4))  # 3, 6, 12


def without_else() -> mm.Network:
    network = mm.Network()
    x = network.add_input(FLOAT, mm.Dims([1]))
    node: Any = network.add_i_if_node(constant(network, True, BOOL))
    assert node.create_then_body().add_cond_output(x).ok()
    assert network.mark_output(node.get_output(0)).ok()
    return network


def unequal() -> mm.Network:
    network, node = branch(2)
    assert node.bodies["then"].add_cond_output(network.get_input(0)).ok()
    assert network.mark_output(node.get_output(0)).ok()
    return network


def endless() -> mm.Network:
    network, node, body = loop(2)
    body.recurrent[2].next = None
    assert network.mark_output(node.get_output(0)).ok()
    return network


def without_body() -> mm.Network:
    network = mm.Network()
    node: Any = network.add_i_while_node(network.add_input(BOOL, mm.Dims([])))  # type: ignore[arg-type]
    assert node.create_loop_body() is not None and node.create_loop_body() is None
    assert node.bodies["loop"].add_loop_output(network.get_input(0)).ok()
    assert network.mark_output(node.get_output(0)).ok()
    return network


UNBUILT: dict[str, tuple[Callable[[], mm.Network], str]] = {
    "no else": (without_else, "no else body"),
    "outputs on one side": (unequal, "2 and 1 outputs"),
    "no end": (endless, "would not end"),
    "no condition inside": (without_body, "begin as the condition"),
}


@pytest.mark.parametrize("what", UNBUILT)
def test_bodies_that_do_not_fit(what: str) -> None:
    make, text = UNBUILT[what]
    builder = mm.Builder()
    assert builder.build_model("n", make()) is None
    assert text in str(builder.status)


def test_what_is_inside_stays_inside() -> None:
    network, node = branch(2)
    inside = node.bodies["then"].outputs[0]
    assert network.add_i_abs_node(inside) is None
    assert not network.mark_output(inside).ok()
    assert node.bodies["else"].add_i_abs_node(inside) is None
    loops, _, body = loop(2)
    assert not body.update_recurrence_tensor(loops.get_input(0), loops.get_input(0)).ok()
    assert network.add_i_if_node(None) is None  # type: ignore[arg-type]
