"""Which values become float16, and where the casts go."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import onnx_ir
import pytest

from magicmind.ops.fused import conv, matmul
from magicmind.ops.reference import run_graph
from magicmind.ops.registry import HalfRule
from magicmind.passes.compare import random_feeds
from magicmind.passes.convert_floats import ConvertFloats, Exceeds, half
from magicmind.passes.verify import verify
from magicmind.testing.check_pass import parse_model

CONV = "magicmind.Conv<kernel_shape=[1,1], strides=[1,1], pads=[0,0,0,0], dilations=[1,1], group=1"
IMAGE = "(float[1,2,8,8] x) => (float[1,4,8,8] y)"
W = "float[4,2,1,1] w = {0.5, 1.0, 1.5, 2.0, -0.5, -1.0, -1.5, -2.0}"
V = "float[4,4,1,1] v = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}"


@pytest.fixture(autouse=True)
def _products(monkeypatch: pytest.MonkeyPatch) -> None:
    """As products are with kernels for float16."""
    for op in (conv, matmul):
        monkeypatch.setattr(op, "half_rule", HalfRule(weights=(1,), own_result=True))


def converted(text: str, **arguments: Any) -> tuple[onnx_ir.Model, dict[str, str]]:
    """The model after the pass and the dtype of every value; checks that it is sound and computes the same."""
    model, before = parse_model(text), parse_model(text)
    convert = ConvertFloats(**arguments)
    assert convert.call(model)
    assert not verify(model)
    assert not convert.call(model)
    feeds = random_feeds(before)
    for name, expected in run_graph(before, feeds).items():
        got = run_graph(model, feeds)[name]
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=5e-3, atol=5e-3 * np.abs(expected).max())
    return model, dtypes_of(model)


def dtypes_of(model: onnx_ir.Model) -> dict[str, str]:
    """The dtype of every value that is read or written."""
    values = [v for node in model.graph for v in (*node.inputs, *node.outputs) if v is not None]
    return {str(v.name): v.dtype.name for v in values if v.dtype is not None}


def programs(model: onnx_ir.Model) -> list[str]:
    found = [a for node in model.graph for name, a in node.attributes.items() if name in ("program", "epilogue")]
    return ["; ".join(attr.as_strings()) for attr in found]


def test_products_carry_the_casts_and_the_ends_stay() -> None:
    model, dtypes = converted(
        f'{IMAGE} <{W}, {V}> {{ a = {CONV}>(x, w)  y = {CONV}, epilogue=["t0 = Add(acc, x0)"]>(a, v, , a) }}'
    )
    assert dtypes == {"x": "FLOAT", "a": "FLOAT16", "y": "FLOAT", "w.half": "FLOAT16", "v.half": "FLOAT16"}
    assert programs(model) == ["t0 = Cast(acc, FLOAT16)", "t0 = Cast(x0, FLOAT); t1 = Add(acc, t0)"]


def test_operators_between_products_have_one_type() -> None:
    _, dtypes = converted(
        f"{IMAGE} <{W}, {V}> {{ a = {CONV}>(x, w)  b = Concat<axis=0>(a, a)"
        f" d, e = Split<axis=0, num_outputs=2>(b)  y = {CONV}>(d, v) }}"
    )
    assert {dtypes[name] for name in "abd"} == {"FLOAT16"}


def test_what_an_output_is_made_of_stays_float32() -> None:
    """The product writes float32, for nothing; a pass over memory would have to."""
    model, dtypes = converted(f"{IMAGE} <{W}> {{ a = {CONV}>(x, w)  y = Softmax<axis=1>(a) }}")
    assert dtypes["a"] == "FLOAT" and dtypes["w.half"] == "FLOAT16"
    assert not programs(model)


def test_operators_without_kernels_for_float16_stay() -> None:
    _, dtypes = converted(
        f"{IMAGE} <{W}, {V}, int64 axis = {{3}}> {{ a = {CONV}>(x, w)  s = CumSum(a, axis)"
        "  b = Transpose<perm=[0,1,3,2]>(s)"
        f" c = {CONV}>(b, v)  d = Transpose<perm=[0,1,3,2]>(c)  y = {CONV}>(d, v) }}"
    )
    assert [dtypes[name] for name in "asbcd"] == ["FLOAT", "FLOAT", "FLOAT", "FLOAT16", "FLOAT16"]


def test_programs_read_and_write_either_type() -> None:
    model, dtypes = converted(
        f'{IMAGE} <{W}> {{ a = {CONV}>(x, w)  b = magicmind.Elementwise<program=["t0 = Sigmoid(x0)"]>(a)'
        ' y = magicmind.Elementwise<program=["t0 = Mul(x0, x1)"]>(b, a) }'
    )
    assert [dtypes[name] for name in "aby"] == ["FLOAT16", "FLOAT16", "FLOAT"]
    assert programs(model)[1:] == [
        "t0 = Cast(x0, FLOAT); t1 = Sigmoid(t0); t2 = Cast(t1, FLOAT16)",
        "t0 = Cast(x1, FLOAT); t1 = Cast(x0, FLOAT); t2 = Mul(t1, t0)",
    ]


def test_positions_and_huge_numbers_stay_float32() -> None:
    head = "(int64[4] n, float[4] x) => (float[4] y)"
    model = parse_model(
        f'{head} {{ p = magicmind.Elementwise<program=["t0 = Cast(x0, FLOAT)"]>(n)'
        '  m = magicmind.Elementwise<program=["t0 = Mul(x0, -3e38)"]>(x)'
        '  y = magicmind.Elementwise<program=["t0 = Add(x0, x1)"]>(p, m) }'
    )
    assert not ConvertFloats().call(model)


def test_a_layer_that_is_kept_reads_and_writes_float32() -> None:
    text = f"{IMAGE} <{W}, {V}> {{ a = {CONV}>(x, w)  b = {CONV}>(a, v)  c = {CONV}>(b, v)  y = {CONV}>(c, v) }}"
    _, dtypes = converted(text, keep={"conv1"})
    assert [dtypes[name] for name in "abc"] == ["FLOAT", "FLOAT", "FLOAT16"]
    assert dtypes["v"] == "FLOAT" and dtypes["v.half"] == "FLOAT16"
    model = parse_model(text)
    next(node for node in model.graph if node.name == "conv1").metadata_props["magicmind.sources"] = "block1,relu1"
    half(model, keep={"relu1"})
    assert dtypes_of(model)["b"] == "FLOAT"


def test_weights_beyond_the_range_stay_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    large = W.replace("2.0}", "7e4}")
    convert = ConvertFloats()
    model = parse_model(f"{IMAGE} <{large}, {V}> {{ a = {CONV}>(x, w)  y = {CONV}>(a, v) }}")
    with caplog.at_level(logging.WARNING):
        convert.call(model)
    assert convert.exceeds == [Exceeds("w", "conv0", 7e4)]
    assert "w of conv0: 70000 is beyond float16's 65504; kept in float32" in caplog.text
    assert dtypes_of(model)["w"] == "FLOAT"


def test_activations_beyond_the_range_stay_and_are_reported() -> None:
    text = f"{IMAGE} <{W}, {V}> {{ a = {CONV}>(x, w)  b = Relu(a)  c = {CONV}>(b, v)  y = {CONV}>(c, v) }}"
    model = parse_model(text.replace("Relu", "Identity"))
    found = half(model, magnitudes={"a": 1e5, "c": 10.0, "gone": 1e9})
    assert found == [Exceeds("a", "conv0", 1e5)]
    dtypes = dtypes_of(model)
    assert [dtypes[name] for name in "abcy"] == ["FLOAT", "FLOAT", "FLOAT16", "FLOAT"]


def test_nested_graphs_read_float32() -> None:
    body = "{ z = Add(a, a) }"
    text = (
        f"(float[1,2,8,8] x, bool k) => (float[1,4,8,8] y) <{W}, {V}> {{ a = {CONV}>(x, w)"
        f" b = If<then_branch=g1 () => (float[1,4,8,8] z) {body}, else_branch=g2 () => (float[1,4,8,8] z) {body}>(k)"
        f" y = {CONV}>(a, v) }}"
    )
    model = parse_model(text)
    ConvertFloats().call(model)
    assert dtypes_of(model)["a"] == "FLOAT"
