"""Networks with host steps: data-dependent sizes, nested graphs, against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import magicmind

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)


def model_of(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]>\n' + text)


def expected(model: onnx.ModelProto, feeds: dict[str, Any]) -> list[Any]:
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def check(text: str, *calls: dict[str, Any]) -> magicmind.Model:
    """All calls on one session, so that memory is used again for other sizes."""
    proto = model_of(text)
    model = magicmind.build(magicmind.parse(proto))
    session = model.session(threads=2)
    for feeds in calls:
        got = session.run(feeds)
        for value, want in zip(proto.graph.output, expected(proto, feeds), strict=True):
            found = got[value.name]
            assert np.shape(found) == np.shape(want)
            if np.asarray(want).dtype == object:
                assert found.tolist() == want.tolist()
            else:
                assert found.dtype == want.dtype
                np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)
    return model


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


POSITIVE = """g (float[N, 5] x) => (float[K, 2] o, int64[2, K] i) {
    r = Relu(x)
    i = NonZero(r)
    t = Transpose<perm=[1, 0]>(i)
    f = Cast<to=1>(t)
    o = Add(f, f)
}"""


def test_kernels_before_and_after_a_size_that_only_data_tells() -> None:
    model = check(POSITIVE, *({"x": normal(n, 5)} for n in (3, 4, 1, 3)), {"x": -np.ones((3, 5), np.float32)})
    assert [step["op"] for step in model.info()["steps"] if "host" in step] == ["NonZero"]
    assert model.outputs[0].shape == ((0, None), 2)


def test_a_saved_model_with_host_steps_runs(tmp_path: Path) -> None:
    magicmind.build(magicmind.parse(model_of(POSITIVE))).save(tmp_path / "m.mm")
    with magicmind.load(tmp_path / "m.mm") as model:
        x = np.eye(3, 5, dtype=np.float32)
        assert model.session().run({"x": x})["i"].tolist() == [[0, 1, 2], [0, 1, 2]]


def test_sizes_that_must_agree_are_checked_when_they_are_known() -> None:
    text = """g (float[N] x, float[N] z) => (o) {
        a = Compress<axis=0>(x, c)
        b = Compress<axis=0>(z, d)
        o = Add(a, b)
    }"""
    text = text.replace("float[N] z", "float[N] z, bool[N] c, bool[N] d")
    session = magicmind.build(magicmind.parse(model_of(text))).session()
    x = normal(4)
    first, second = np.array([1, 0, 1, 0], bool), np.array([0, 1, 0, 1], bool)
    out = session.run({"x": x, "z": x, "c": first, "d": second})["o"]
    np.testing.assert_allclose(out, x[first] + x[second])
    with pytest.raises(magicmind.ShapeError, match=r"sizes \[2\] and \[4\] do not broadcast"):
        session.run({"x": x, "z": x, "c": first, "d": np.ones(4, bool)})


def test_out_takes_results_of_unforeseen_size() -> None:
    session = magicmind.build(magicmind.parse(model_of(POSITIVE))).session()
    x = np.eye(3, 5, dtype=np.float32)
    out = np.empty((2, 3), np.int64)
    assert session.run({"x": x}, out={"i": out})["i"] is out
    assert out.tolist() == [[0, 1, 2], [0, 1, 2]]
    with pytest.raises(magicmind.ShapeError, match="out"):
        session.run({"x": x}, out={"i": np.empty((2, 4), np.int64)})


def test_unique_and_non_max_suppression() -> None:
    x = np.array([[2, 1, 1, 3], [2, 1, 4, 4]], np.float32)
    check("g (float[2, N] x) => (v, i, j, c) { v, i, j, c = Unique<sorted=0>(x) }", {"x": x}, {"x": x[:, :1].copy()})
    check("g (float[2, N] x) => (v, i, j, c) { v, i, j, c = Unique<axis=1>(x) }", {"x": x})
    corners = np.sort(RNG.random((2, 20, 2, 2)), axis=2).reshape(2, 20, 4).astype(np.float32)
    feeds = {"b": corners, "s": RNG.random((2, 3, 20)).astype(np.float32)}
    check(
        """g (float[2, N, 4] b, float[2, 3, N] s) => (o)
        <int64 m = {4}, float iou = {0.2}, float least = {0.3}> { o = NonMaxSuppression(b, s, m, iou, least) }""",
        feeds,
    )


IF = """g (float[N, 4] x, float[4] w) => (o) {
    s = ReduceSum<keepdims=0>(x)
    zero = Constant<value_float=0.0>()
    c = Greater(s, zero)
    y = If<
        then_branch = t () => (p) { p = Add(x, w) },
        else_branch = e () => (q) { m = Mul(x, w) q = Concat<axis=0>(m, m) }
    >(c)
    o = Sigmoid(y)
}"""


def test_if_runs_one_branch_and_its_output_may_have_another_size() -> None:
    w = normal(4)
    check(IF, *({"x": sign * np.ones((n, 4), np.float32), "w": w} for sign in (1, -1) for n in (2, 3)))


LOOP = """g (float[N, 3] x, int64 m) => (a, n, s) {
    a, g, each = Loop<
        body = b (int64 i, bool c, acc, grow) => (c2, acc2, grow2, part) {
            acc2 = Add(acc, x)
            grow2 = Concat<axis=0>(grow, acc2)
            f = Cast<to=1>(i)
            part = Mul(acc2, f)
            c2 = Identity(c)
        }
    >(m, , x, x)
    n = Neg(g)
    s = ReduceSum<keepdims=0>(each)
}"""


def test_a_loop_may_carry_what_grows() -> None:
    check(LOOP, *({"x": normal(n, 3), "m": np.array(k)} for n in (2, 1) for k in (3, 1, 5)))


def test_a_loop_without_a_round_gives_empty_slices() -> None:
    session = magicmind.build(magicmind.parse(model_of(LOOP.replace("s = Re", "t = Identity(each) s = Re")))).session()
    out = session.run({"x": np.ones((2, 3), np.float32), "m": np.array(0)})
    assert out["a"].shape == (2, 3) and out["s"] == 0


def test_scan_backwards_along_the_second_axis() -> None:
    check(
        """g (float[3] start, float[3, N] x) => (f, o) {
            f, o = Scan<num_scan_inputs=1, scan_input_axes=[1], scan_input_directions=[1], scan_output_axes=[1],
                body = b (state, row) => (next, made) { next = Add(state, row) made = Mul(next, next) }
            >(start, x)
        }""",
        *({"start": normal(3), "x": normal(3, n)} for n in (2, 1, 5)),
    )


def test_the_profile_shows_host_steps() -> None:
    from magicmind.runtime.profiler import profile

    model = magicmind.build(magicmind.parse(model_of(POSITIVE)))
    found = profile(model.engine().context(), {"x": normal(3, 5)}, runs=2, warmup=1)
    rows = {row["kernel"]: row for row in found.rows()}
    assert 0 < rows["host NonZero"]["share"] < 1
    assert all(row["us"] >= 0 for row in rows.values())


def test_an_if_on_shapes_is_decided_when_building() -> None:
    text = """g (float[1, 3, 1] x) => (o) {
        s = Shape<start=2>(x)
        one = Constant<value_ints=[1]>()
        c = Equal(s, one)
        y = If<
            then_branch = t () => (p) { axis = Constant<value_ints=[2]>() p = Squeeze(x, axis) },
            else_branch = e () => (q) { q = Identity(x) }
        >(c)
        o = Neg(y)
    }"""
    model = check(text, {"x": normal(1, 3, 1)})
    assert not any("host" in step for step in model.info()["steps"])


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("node", "extra"),
    [
        ("Reshape(x, a)", {"a": ints(4, -1)}),
        ("Expand(x, a)", {"a": ints(2, 1, 3, 1)}),
        ("Tile(x, a)", {"a": ints(1, 2, 1)}),
        ("Slice(x, a, b, c, d)", {"a": ints(0, -1), "b": ints(2, -100), "c": ints(2, 1), "d": ints(1, -1)}),
        ("Pad(x, a)", {"a": ints(0, 1, 0, 0, -1, 2)}),
        ("Unsqueeze(x, a)", {"a": ints(0, 2)}),
        ("ReduceSum<keepdims=0>(x, a)", {"a": ints(1)}),
        ("ReduceMax(x, a)", {"a": ints(-1, 0)}),
    ],
)
def test_shapes_that_are_fed(node: str, extra: dict[str, Array]) -> None:
    inputs = ", ".join(f"int64[{value.size}] {name}" for name, value in extra.items())
    check(f"g (float[N, 3, 4] x, {inputs}) => (o) {{ y = {node} o = Neg(y) }}", {"x": normal(2, 3, 4), **extra})


def test_sequences_between_kernels() -> None:
    check(
        """g (float[N, 6] x) => (o, n, last) {
            r = Relu(x)
            s = SplitToSequence<axis=1, keepdims=1>(r)
            more = SequenceInsert(s, r)
            n = SequenceLength(more)
            three = Constant<value_int=3>()
            part = SequenceAt(more, three)
            last = Neg(part)
            all = ConcatFromSequence<axis=1>(more)
            o = Sigmoid(all)
        }""",
        *({"x": normal(n, 6)} for n in (2, 3)),
    )


def test_seeded_random_numbers_repeat() -> None:
    text = "g (float[N] x) => (o) { y = RandomNormalLike<seed=3.0>(x) o = Add(y, x) }"
    session = magicmind.build(magicmind.parse(model_of(text))).session()
    x = np.zeros(1000, np.float32)
    first, again = session.run({"x": x})["o"], session.run({"x": x})["o"]
    assert first.tobytes() == again.tobytes()
    assert abs(first.mean()) < 0.15 and abs(first.std() - 1) < 0.1


def test_strings_in_and_out() -> None:
    text = """g (string[N] x) => (parts, counts, same) {
        parts, counts = StringSplit<delimiter="-">(x)
        same = RegexFullMatch<pattern="[a-z]+">(x)
    }"""
    words = np.array(["a-b-c", "word", ""], object)
    model = check(text, {"x": words}, {"x": words[:1]})
    assert sorted(model.info()["fallback"]) == ["RegexFullMatch_1 (RegexFullMatch)", "StringSplit_0 (StringSplit)"]


def test_a_maximum_of_no_elements_is_the_smallest_value() -> None:
    model = magicmind.build(
        magicmind.parse(
            model_of("g (float[2, 0] x, int64[1] a) => (float[2, 1] y) { y = ReduceMax<keepdims=1>(x, a) }")
        )
    )
    found = model.session().run({"x": np.zeros((2, 0), np.float32), "a": np.array([1])})["y"]
    assert found.tolist() == [[-np.inf], [-np.inf]]
