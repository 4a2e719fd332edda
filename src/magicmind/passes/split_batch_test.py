"""SplitBatch: text before and after, near misses, equal numbers."""

from __future__ import annotations

import pytest

from magicmind.passes.split_batch import SplitBatch
from magicmind.testing.check_pass import check_pass, model_text, parse_model

WIDE = "float[2,4,8,8]"
RELU = 'magicmind.Elementwise<program=["t0 = Max(x0, 0.0)"]>'
ADD = 'magicmind.Elementwise<program=["t0 = Add(x0, x1)"]>'
POOL = "MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>"


@pytest.fixture(autouse=True)
def _small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magicmind.passes.split_batch.WIDE_BYTES", 4096)


def test_neighbours_on_wide_tensors_take_one_picture_after_the_other() -> None:
    check_pass(
        SplitBatch(),
        f"({WIDE} x) => ({WIDE} y) {{ a = {RELU}(x)  b = {POOL}(a)  y = {ADD}(b, a) }}",
        f"({WIDE} x) => ({WIDE} y) {{ x0, x1 = Split<axis=0, num_outputs=2>(x)"
        f" a0 = {RELU}(x0)  b0 = {POOL}(a0)  y0 = {ADD}(b0, a0)"
        f" a1 = {RELU}(x1)  b1 = {POOL}(a1)  y1 = {ADD}(b1, a1)  y = Concat<axis=0>(y0, y1) }}",
    )


def test_what_others_read_is_put_together() -> None:
    check_pass(
        SplitBatch(),
        f"({WIDE} x) => ({WIDE} y, {WIDE} z) {{ a = {RELU}(x)  y = {POOL}(a)  z = Transpose<perm=[0,1,2,3]>(a) }}",
        f"({WIDE} x) => ({WIDE} y, {WIDE} z) {{ x0, x1 = Split<axis=0, num_outputs=2>(x)"
        f" a0 = {RELU}(x0)  y0 = {POOL}(a0)  a1 = {RELU}(x1)  y1 = {POOL}(a1)  a = Concat<axis=0>(a0, a1)"
        " y = Concat<axis=0>(y0, y1)  z = Transpose<perm=[0,1,2,3]>(a) }",
    )


def test_gates_of_channels_go_along() -> None:
    check_pass(
        SplitBatch(),
        f"({WIDE} x) => ({WIDE} y) {{ a = {POOL}(x)  g = GlobalAveragePool(a)  h = {RELU}(g)  y = {ADD}(a, h) }}",
        f"({WIDE} x) => ({WIDE} y) {{ x0, x1 = Split<axis=0, num_outputs=2>(x)"
        f" a0 = {POOL}(x0)  g0 = GlobalAveragePool(a0)  h0 = {RELU}(g0)  y0 = {ADD}(a0, h0)"
        f" a1 = {POOL}(x1)  g1 = GlobalAveragePool(a1)  h1 = {RELU}(g1)  y1 = {ADD}(a1, h1)"
        " y = Concat<axis=0>(y0, y1) }",
    )


def test_a_run_ends_at_narrow_tensors_and_another_begins() -> None:
    small = "MaxPool<kernel_shape=[8,8], strides=[8,8]>"
    plain = "Transpose<perm=[0,1,2,3]>"
    check_pass(
        SplitBatch(),
        f"({WIDE} x) => ({WIDE} y, float[2,4,1,1] z)"
        f" {{ a = {RELU}(x)  b = {POOL}(a)  c = {small}(b)  z = {plain}(c)  d = {RELU}(b)  y = {ADD}(d, a) }}",
        f"({WIDE} x) => ({WIDE} y, float[2,4,1,1] z)"
        f" {{ x0, x1 = Split<axis=0, num_outputs=2>(x)"
        f" a0 = {RELU}(x0)  b0 = {POOL}(a0)  a1 = {RELU}(x1)  b1 = {POOL}(a1)"
        f" a = Concat<axis=0>(a0, a1)  b = Concat<axis=0>(b0, b1)  c = {small}(b)  z = {plain}(c)"
        " p0, p1 = Split<axis=0, num_outputs=2>(b)  q0, q1 = Split<axis=0, num_outputs=2>(a)"
        f" d0 = {RELU}(p0)  y0 = {ADD}(d0, q0)  d1 = {RELU}(p1)  y1 = {ADD}(d1, q1)  y = Concat<axis=0>(y0, y1) }}",
    )


@pytest.mark.parametrize("text", [
    f"(float[1,4,16,8] x) => (float[1,4,16,8] y) {{ a = {RELU}(x)  y = {POOL}(a) }}",
    f"(float[37,4,16,8] x) => (float[37,4,16,8] y) {{ a = {RELU}(x)  y = {POOL}(a) }}",
    f"(float[N,4,16,8] x) => (float[N,4,16,8] y) {{ a = {RELU}(x)  y = {POOL}(a) }}",
    f"(float[2,4,2,8] x) => (float[2,4,2,8] y) {{ a = {RELU}(x)  y = {POOL}(a) }}",
    f"({WIDE} x) => ({WIDE} y, {WIDE} z) {{ y = {RELU}(x)  z = {POOL}(x) }}",
    f"({WIDE} x) => (float[4,4,8,8] y) {{ a = {RELU}(x)  y = Concat<axis=0>(a, a) }}",
    f"({WIDE} x) => (float[2,4] y) <int64[2] axes = {{2, 3}}> {{ a = {RELU}(x)  y = ReduceMean<keepdims=0>(a, axes) }}",
], ids=[
    "one picture", "no equal parts", "a symbol", "narrow", "nothing is passed on", "along the batch", "of another rank"
])  # fmt: skip
def test_what_is_left_alone(text: str) -> None:
    model = parse_model(text)
    assert not SplitBatch().call(model)
    assert model_text(model) == model_text(parse_model(text))
