"""Lowering of `magicmind.Elementwise`: broadcasting, constants, run-time sizes and memory reuse in both layouts."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import magicmind.ops  # noqa: F401  (fills the registry)
from magicmind.passes.infer_types import infer_types
from magicmind.testing.check_pass import parse_model
from magicmind.testing.run_plan import run_plan

SHAPE = (2, 20, 3, 5)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


def blocked_model(operand: tuple[int, ...], constant: bool, *, batch: str = "2", convert: bool = False) -> ir.Model:
    """y = relu(x * b + 1) on blocked memory; b is constant, a scalar input, or an input that is converted as well."""
    dims = ",".join(map(str, operand))
    names = "xb, bb" if convert else "xb, b"
    model = parse_model(
        f"(float[{batch},20,3,5] x{'' if constant else f', float[{dims}] b'}) => (float[{batch},20,3,5] y) "
        + (f"<float[{dims}] b = {{{','.join('0' * int(np.prod(operand)))}}}> " if constant else "")
        + "{ xb = magicmind.ToBlocked(x)  "
        + ("bb = magicmind.ToBlocked(b)  " if convert else "")
        + f'yb = magicmind.Elementwise<program = ["t0 = Mul(x0, x1)", "t1 = Add(t0, 1.0)", "t2 = Relu(t1)"]>({names})  '
        + "y = magicmind.ToPlain(yb) }"
    )
    if constant:
        model.graph.initializers["b"].const_value = ir.Tensor(random(*operand, seed=1))
    for node in model.graph:
        if node.op_type != "ToPlain":
            node.outputs[0].meta["layout"] = "blocked"
    return model


def check(model: ir.Model, x: np.ndarray, b: np.ndarray) -> list[str]:
    infer_types(model)
    feeds = {str(v.name): {"x": x, "b": b}[str(v.name)] for v in model.graph.inputs}
    got, kernels = run_plan(model, feeds, "native", nthreads=2)
    np.testing.assert_allclose(got["y"], np.maximum(x * b + 1, 0), rtol=1e-6, atol=1e-6)
    return kernels


@pytest.mark.parametrize("operand", [(1,), (20, 1, 1), (1, 20, 1, 1), (1, 1, 1, 5), (1, 20, 3, 5), (2, 1, 1, 1)])
def test_blocked_with_a_constant(operand: tuple[int, ...]) -> None:
    check(blocked_model(operand, constant=True), random(*SHAPE), random(*operand, seed=1))


@pytest.mark.parametrize("operand", [SHAPE, (2, 20, 1, 1), (1, 20, 1, 1)])
def test_blocked_with_a_blocked_operand(operand: tuple[int, ...]) -> None:
    check(blocked_model(operand, constant=False, convert=True), random(*SHAPE), random(*operand, seed=1))


def test_blocked_with_a_scalar_input_and_any_batch() -> None:
    check(blocked_model((1,), constant=False), random(*SHAPE), random(1, seed=1))
    check(blocked_model((20, 1, 1), constant=True, batch="N"), random(5, *SHAPE[1:]), random(20, 1, 1, seed=1))


def test_plain_with_any_size() -> None:
    model = parse_model(
        "(float[N,7,W] x, float[7,1] b) => (float[N,7,W] y) { y = magicmind.Elementwise<program = "
        '["t0 = Mul(x0, x1)", "t1 = Add(t0, 1.0)", "t2 = Relu(t1)"]>(x, b) }'
    )
    for width in (1, 16, 37):
        check(model.clone(), random(3, 7, width), random(7, 1, seed=1))


def test_a_dying_operand_gives_its_memory() -> None:
    model = parse_model(
        '(float[40] x) => (float[40] y) { a = magicmind.Elementwise<program = ["t0 = Exp(x0)"]>(x) '
        'b = magicmind.Elementwise<program = ["t0 = Add(x0, 1.0)"]>(a) '
        'c = magicmind.Elementwise<program = ["t0 = Mul(x0, x1)"]>(a, b) '
        'y = magicmind.Elementwise<program = ["t0 = Neg(x0)"]>(c) }'
    )
    x = random(40)
    got, _ = run_plan(model, {"x": x})
    np.testing.assert_allclose(got["y"], -np.exp(x) * (np.exp(x) + 1), rtol=1e-5)
