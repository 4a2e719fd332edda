"""FuseElementwise."""

from __future__ import annotations

from magicmind.passes.fuse_elementwise import FuseElementwise
from magicmind.testing.check_pass import check_declined, check_pass

SIGMOID = '{ s = magicmind.Elementwise<program=["t0 = Sigmoid(x0)"]>(x)'
HEAD = "(float[N,2] x, float[N,2] z) => (float[N,2] y)"


def test_a_chain_becomes_one_program() -> None:
    model = check_pass(
        FuseElementwise(),
        HEAD + '{ [a] s = magicmind.Elementwise<program=["t0 = Sigmoid(x0)"]>(x)'
        '[b] m = magicmind.Elementwise<program=["t0 = Mul(x0, x1)"]>(x, s)'
        '[c] y = magicmind.Elementwise<program=["t0 = Add(x0, x1)"]>(z, m) }',
        HEAD
        + '{ y = magicmind.Elementwise<program=["t0 = Sigmoid(x0)", "t1 = Mul(x0, t0)", "t2 = Add(x1, t1)"]>(x, z) }',
    )
    (node,) = (n for n in model.graph if n.outputs[0].is_graph_output())
    assert node.name == "c"
    assert set(node.metadata_props["magicmind.sources"].split(",")) == {"a", "b", "c"}


def test_a_value_with_two_users_stays() -> None:
    text = (
        HEAD + SIGMOID + '  u = magicmind.Elementwise<program=["t0 = Mul(x0, x1)"]>(x, s)  y = Concat<axis=0>(s, u) }'
    )
    check_declined(FuseElementwise(), text, "used elsewhere")


def test_a_value_that_is_broadcast_stays() -> None:
    text = (
        "(float[1,2] x, float[3,2] z) => (float[3,2] y)"
        + SIGMOID
        + '  y = magicmind.Elementwise<program=["t0 = Mul(x0, x1)"]>(s, z) }'
    )
    check_declined(FuseElementwise(), text, "broadcast")


def test_too_many_operands_stay_apart() -> None:
    operands = [f"a{i}" for i in range(9)]
    inputs = ", ".join(f"float[2] {name}" for name in operands)
    sums = ['"t0 = Add(x0, x1)"', *(f'"t{i} = Add(t{i - 1}, x{i + 1})"' for i in range(1, 7))]
    chain = f"magicmind.Elementwise<program=[{', '.join(sums)}]>({', '.join(operands[:8])})"
    text = (
        f'({inputs}) => (float[2] y) {{ s = {chain} y = magicmind.Elementwise<program=["t0 = Add(x0, x1)"]>(s, a8) }}'
    )
    check_declined(FuseElementwise(), text, "too large")
