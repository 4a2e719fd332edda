"""Sizes that inputs or data decide at run time: one file, several shapes, against ONNX's reference evaluator."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from netbuilder import Net, check_outputs, reference
from onnx.reference import ReferenceEvaluator

import magicmind

Array = np.ndarray[Any, np.dtype[Any]]

HEAD = '<ir_version: 8, opset_import: ["" : 18]> '


@dataclass(frozen=True)
class Case:
    """A graph as ONNX text and the feeds to run it with, all from one build."""

    name: str
    text: str
    feeds: Sequence[dict[str, Any]]

    def __str__(self) -> str:
        return self.name


def f32(*values: float) -> Array:
    return np.array(values, np.float32)


def i64(*values: int) -> Array:
    return np.array(values, np.int64)


def ramp(*shape: int) -> Array:
    """0, 1, -2, 3, -4, ... : every shape has values of both signs, no zeros but the first."""
    numbers = np.arange(int(np.prod(shape)), dtype=np.float32)
    return (numbers * np.where(numbers % 2 == 0, -1, 1)).astype(np.float32).reshape(shape)


VECTORS = [{"x": f32(1, 0, 2, 0, 3)}, {"x": f32(0, 0)}, {"x": f32(7)}, {"x": f32(0, 5, 0)}, {"x": ramp(19)}]
"""With 3, 0, 1, 1 and 18 elements that are not 0."""

PICK = """i = NonZero(x)  j = Squeeze(i, zero)  p = Gather(x, j)"""
ZERO = "int64[1] zero = {0}"

DATA = [
    Case("compress_then_add_itself", f"(float[n] x) => (float[k] y) <{ZERO}> {{ {PICK}  y = Add(p, p) }}", VECTORS),
    Case(
        "picked_times_a_vector_of_one",
        f"(float[n] x, float[1] s) => (float[k] y) <{ZERO}> {{ {PICK}  y = Mul(p, s) }}",
        [{**v, "s": f32(3)} for v in VECTORS],
    ),
    Case(
        "picked_against_one_or_as_many",
        f"(float[n] x, int64[1] c) => (float[k] y) <{ZERO}, float one = {{2.5}}> "
        f"{{ {PICK}  t = Expand(one, c)  y = Add(p, t) }}",
        [{"x": f32(1, 0, 2), "c": i64(1)}, {"x": f32(1, 0, 2), "c": i64(2)}, {"x": f32(4, 0), "c": i64(5)}],
    ),
    Case(
        "both_sides_of_unforeseen_size",
        f"(float[n] x, float[m] z) => (float[k, l] y) <{ZERO}, int64[1] one = {{1}}> "
        f"{{ {PICK}  q = NonZero(z)  r = Squeeze(q, zero)  s = Gather(z, r)  c = Unsqueeze(p, one)  y = Mul(c, s) }}",
        [{"x": f32(1, 0, 2), "z": f32(3, 4, 5)}, {"x": f32(0), "z": f32(1, 0)}, {"x": ramp(9), "z": f32(0, 0)}],
    ),
    Case(
        "concat_of_picked_and_input",
        f"(float[n] x) => (float[k] y) <{ZERO}> {{ {PICK}  y = Concat<axis = 0>(p, x, p) }}",
        VECTORS,
    ),
    Case(
        "reshape_to_rows_of_two",
        f"(float[n] x) => (float[k, 2] y) <{ZERO}, int64[2] s = {{-1, 2}}> "
        f"{{ {PICK}  d = Concat<axis = 0>(p, p)  y = Reshape(d, s) }}",
        VECTORS,
    ),
    Case(
        "reshape_by_a_computed_shape",
        f"(float[n] x) => (float[k, 1] y) <{ZERO}, int64[1] one = {{1}}> "
        f"{{ {PICK}  c = Shape(p)  s = Concat<axis = 0>(c, one)  y = Reshape(p, s) }}",
        VECTORS,
    ),
    Case(
        "slice_up_to_a_count",
        f"(float[n] x) => (float[k] y) <{ZERO}> {{ {PICK}  c = Shape(p)  y = Slice(x, zero, c) }}",
        VECTORS,
    ),
    Case(
        "slice_from_fed_bounds",
        "(float[n, 3] x, int64[1] a, int64[1] b, int64[1] t) => (float[k, 3] y) <int64[1] axis = {0}> "
        "{ y = Slice(x, a, b, axis, t) }",
        [
            {"x": ramp(7, 3), "a": i64(1), "b": i64(5), "t": i64(2)},
            {"x": ramp(4, 3), "a": i64(-1), "b": i64(-9), "t": i64(-1)},
            {"x": ramp(2, 3), "a": i64(2), "b": i64(2), "t": i64(1)},
        ],
    ),
    Case(
        "expand_by_a_count",
        f"(float[n] x, float[3] r) => (float[k, 3] y) <{ZERO}, int64[1] three = {{3}}> "
        f"{{ {PICK}  c = Shape(p)  s = Concat<axis = 0>(c, three)  y = Expand(r, s) }}",
        [{**v, "r": f32(1, 2, 3)} for v in VECTORS],
    ),
    Case(
        "tile_by_a_count",
        f"(float[n] x, float[2, 2] r) => (float[k, 2] y) <{ZERO}, int64[1] one = {{1}}> "
        f"{{ {PICK}  c = Shape(p)  s = Concat<axis = 0>(c, one)  y = Tile(r, s) }}",
        [{**v, "r": ramp(2, 2)} for v in VECTORS],
    ),
    Case(
        "range_up_to_a_count",
        f"(float[n] x) => (int64[k] y) <{ZERO}, int64 from = {{0}}, int64 step = {{1}}> "
        f"{{ {PICK}  c = Shape(p)  e = Squeeze(c, zero)  r = Range(from, e, step)  y = Add(r, c) }}",
        VECTORS,
    ),
    Case(
        "range_from_fed_numbers",
        "(float a, float b, float s) => (float[k] y) { r = Range(a, b, s)  y = Mul(r, s) }",
        [
            {"a": np.float32(0), "b": np.float32(5), "s": np.float32(1)},
            {"a": np.float32(3), "b": np.float32(-3), "s": np.float32(-1.5)},
            {"a": np.float32(3), "b": np.float32(1), "s": np.float32(1)},
        ],
    ),
    Case(
        "zeros_of_a_counted_shape",
        f"(float[n] x) => (float[k, k2] y) <{ZERO}> "
        f"{{ {PICK}  c = Shape(p)  s = Concat<axis = 0>(c, c)  z = ConstantOfShape(s)  y = Add(z, p) }}",
        VECTORS,
    ),
    Case(
        "rows_by_a_mask",
        "(float[n, 4] x, bool[n] m) => (float[k, 4] y) { c = Compress<axis = 0>(x, m)  y = Relu(c) }",
        [
            {"x": ramp(5, 4), "m": np.array([1, 0, 1, 1, 0], bool)},
            {"x": ramp(2, 4), "m": np.zeros(2, bool)},
            {"x": ramp(1, 4), "m": np.ones(1, bool)},
        ],
    ),
    Case(
        "product_of_picked_rows",
        "(float[n, 4] x, bool[n] m) => (float[k, 3] y) "
        "<float[4, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, float[3] b = {1, 0, 2}> "
        "{ c = Compress<axis = 0>(x, m)  y = Gemm(c, w, b) }",
        [
            {"x": ramp(6, 4), "m": np.array([1, 0, 1, 1, 0, 1], bool)},
            {"x": ramp(3, 4), "m": np.zeros(3, bool)},
            {"x": ramp(20, 4), "m": np.ones(20, bool)},
        ],
    ),
    Case(
        "gram_matrix_of_picked_rows",
        "(float[n, 4] x, bool[n] m) => (float[k, k2] y) "
        "{ c = Compress<axis = 0>(x, m)  t = Transpose<perm = [1, 0]>(c)  y = MatMul(c, t) }",
        [
            {"x": ramp(6, 4), "m": np.array([1, 0, 1, 1, 0, 1], bool)},
            {"x": ramp(3, 4), "m": np.zeros(3, bool)},
            {"x": ramp(20, 4), "m": np.ones(20, bool)},
        ],
    ),
    Case(
        "softmax_and_sum_of_picked",
        f"(float[n] x) => (float[k] y, float[1] s) <{ZERO}> {{ {PICK}  y = Softmax(p)  s = ReduceSum(y, zero) }}",
        [v for v in VECTORS if v["x"].any()],
    ),
    Case(
        "unique_and_back",
        "(float[n] x) => (float[k] u, float[n] y) { u, f, j, c = Unique(x)  y = Gather(u, j) }",
        [{"x": f32(3, 1, 3, 2)}, {"x": f32(5)}, {"x": f32(1, 1, 1, 1, 1)}],
    ),
    Case(
        "where_nonzero_transposed_and_gathered",
        "(float[a, b] x) => (float[k] y, int64[k2, 2] t) "
        "{ i = NonZero(x)  t = Transpose<perm = [1, 0]>(i)  y = GatherND(x, t) }",
        [{"x": np.eye(3, dtype=np.float32)}, {"x": np.zeros((2, 5), np.float32)}, {"x": ramp(4, 7)}],
    ),
    Case(
        "split_picked_in_two",
        f"(float[n] x) => (float[a] y, float[b] z) <{ZERO}> "
        f"{{ {PICK}  d = Concat<axis = 0>(p, p)  y, z = Split<axis = 0, num_outputs = 2>(d) }}",
        [v for v in VECTORS if v["x"].any()],
    ),
    Case(
        "pad_by_a_count",
        f"(float[n] x) => (float[k] y) <{ZERO}> "
        f"{{ {PICK}  c = Shape(p)  s = Concat<axis = 0>(zero, c)  y = Pad(x, s) }}",
        VECTORS,
    ),
    Case(
        "one_hot_of_a_fed_depth",
        "(int64[n] x, int64 d) => (float[n, k] y) <float[2] v = {0, 1}> { h = OneHot(x, d, v)  y = Neg(h) }",
        [{"x": i64(0, 2, 1), "d": np.int64(3)}, {"x": i64(4), "d": np.int64(6)}],
    ),
    Case(
        "the_k_largest",
        "(float[n] x, int64[1] k) => (float[m] y, int64[m2] i) { v, i = TopK(x, k)  y = Exp(v) }",
        [{"x": f32(3, 1, 2), "k": i64(2)}, {"x": f32(0.5), "k": i64(1)}, {"x": f32(1, 4, 2, 3), "k": i64(4)}],
    ),
    Case(
        "upsample_by_fed_sizes",
        "(float[1, 2, h, w] x, int64[4] s) => (float[1, 2, a, b] y) "
        '{ r = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(x,,, s)'
        "  y = Relu(r) }",
        [{"x": ramp(1, 2, 2, 3), "s": i64(1, 2, 4, 6)}, {"x": ramp(1, 2, 5, 1), "s": i64(1, 2, 5, 7)}],
    ),
    Case(
        "loop_that_appends",
        "(float[n] x, int64 trips) => (float[k] y) <bool go = {1}> { y = Loop(trips, go, x) <body = grow ("
        "int64 i, bool c, float[a] v) => (bool c2, float[b] w) { c2 = Identity(c)  w = Concat<axis = 0>(v, x) }> }",
        [
            {"x": ramp(3), "trips": np.int64(2)},
            {"x": ramp(3), "trips": np.int64(0)},
            {"x": ramp(1), "trips": np.int64(9)},
        ],
    ),
    Case(
        "loop_that_doubles_then_sums",
        f"(float[n] x, int64 trips) => (float[1] s) <bool go = {{1}}, {ZERO}> {{ y = Loop(trips, go, x) <body = grow ("
        "int64 i, bool c, float[a] v) => (bool c2, float[b] w) "
        "{ c2 = Identity(c)  t = Exp(v)  u = Tanh(t)  w = Concat<axis = 0>(v, u) }>  s = ReduceSum(y, zero) }",
        [
            {"x": ramp(2), "trips": np.int64(3)},
            {"x": ramp(5), "trips": np.int64(1)},
            {"x": ramp(2), "trips": np.int64(0)},
        ],
    ),
    Case(
        "if_with_branches_of_other_sizes",
        "(float[n] x, bool c) => (float[k] y) { z = If(c) <then_branch = a () => (float[p] t) "
        "{ t = Concat<axis = 0>(x, x) }, else_branch = b () => (float[q] e) { e = Relu(x) }>  y = Neg(z) }",
        [
            {"x": ramp(3), "c": np.array(True)},
            {"x": ramp(3), "c": np.array(False)},
            {"x": ramp(8), "c": np.array(True)},
        ],
    ),
    Case(
        "convolution_over_a_picked_signal",
        f"(float[n] x) => (float[1, 1, k] y) <{ZERO}, int64[3] s = {{1, 1, -1}}, float[1, 1, 3] w = {{1, 2, 3}}> "
        f"{{ {PICK}  r = Reshape(p, s)  y = Conv<pads = [1, 1]>(r, w) }}",
        [v for v in VECTORS if v["x"].any()],
    ),
    Case(
        "cumulated_and_cast",
        f"(float[n] x) => (int64[k] y) <{ZERO}, int64 axis = {{0}}> "
        f"{{ {PICK}  c = CumSum(p, axis)  y = Cast<to = 7>(c) }}",
        VECTORS,
    ),
]


def outputs_of(model: onnx.ModelProto, feeds: dict[str, Any]) -> dict[str, Array]:
    names = [output.name for output in model.graph.output]
    return dict(zip(names, ReferenceEvaluator(model).run(None, feeds), strict=True))


def check(case: Case, shapes: dict[str, Any] | None = None) -> None:
    model = onnx.parser.parse_model(HEAD + "g " + case.text)
    with magicmind.build(magicmind.parse(model), shapes=shapes) as built, built.session(threads=2) as session:
        for feeds in case.feeds:
            got, want = session.run({k: np.asarray(v) for k, v in feeds.items()}), outputs_of(model, feeds)
            assert list(got) == list(want)
            for name, array in want.items():
                assert (got[name].shape, got[name].dtype) == (array.shape, array.dtype), (name, feeds)
                np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-5, err_msg=str(feeds))


@pytest.mark.parametrize("case", DATA, ids=str)
def test_sizes_that_data_decide(case: Case) -> None:
    check(case)


def test_picked_sizes_that_do_not_fit_are_an_error() -> None:
    (case,) = [c for c in DATA if c.name == "picked_against_one_or_as_many"]
    with pytest.raises(magicmind.Error, match=r"Add_\d+\.operand0\.0 \(Expand\)"):
        check(Case(case.name, case.text, [{"x": f32(1, 2, 3), "c": i64(2)}]))


# ----------------------------------------------------------------------------------------- ranges of the inputs' dims

RANGED = [
    (
        Case(
            "every_dim_of_a_product",
            "(float[m, k] a, float[k, n] b, float[n] c) => (float[m, n] y) { p = MatMul(a, b)  y = Add(p, c) }",
            [
                {"a": ramp(m, k), "b": ramp(k, n), "c": ramp(n)}
                for m, k, n in ((1, 1, 1), (13, 7, 5), (2, 33, 17), (64, 16, 16))
            ],
        ),
        {"a": ("m=1..64", "k=1.."), "b": ("k=1..", "n=1.."), "c": ("n=1..",)},
    ),
    (
        Case(
            "every_dim_of_a_picture",
            "(float[n, c, h, w] x) => (float[n, c2, h2, w2] y) "
            "{ p = AveragePool<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>(x)  q = Relu(p)"
            "  y = Concat<axis = 1>(q, p) }",
            [{"x": ramp(*shape)} for shape in ((1, 1, 2, 2), (2, 3, 5, 7), (3, 17, 4, 31), (1, 16, 33, 1))],
        ),
        {"x": ("1..4", "1..32", "1..", "1..")},
    ),
    (
        Case(
            "sums_over_any_axis",
            "(float[a, b, c] x) => (float[a, c] y, float[b] z, float[a, b, c] s) "
            "<int64[1] one = {1}, int64[2] rest = {0, 2}> "
            "{ y = ReduceSum<keepdims = 0>(x, one)  z = ReduceMax<keepdims = 0>(x, rest)  s = Softmax<axis = 1>(x) }",
            [{"x": ramp(*shape)} for shape in ((1, 1, 1), (2, 3, 4), (5, 1, 16), (3, 16, 37))],
        ),
        {"x": ("1..9", "1..", "1..")},
    ),
    (
        Case(
            "split_heads_and_back",
            "(float[n, l, d] x) => (float[n, l, d] y) "
            "<int64[4] s = {0, 0, 2, -1}, int64[3] back = {0, 0, -1}> "
            "{ r = Reshape(x, s)  t = Transpose<perm = [0, 2, 1, 3]>(r)  e = Tanh(t)"
            "  u = Transpose<perm = [0, 2, 1, 3]>(e)  y = Reshape(u, back) }",
            [{"x": ramp(*shape)} for shape in ((1, 1, 8), (2, 5, 8), (7, 128, 8))],
        ),
        {"x": ("1..8", "1..128", 8)},
    ),
]


@pytest.mark.parametrize(("case", "shapes"), RANGED, ids=str)
def test_any_dim_of_any_input_may_be_a_range(case: Case, shapes: dict[str, Any]) -> None:
    check(case, shapes)


def convolutions() -> onnx.ModelProto:
    """Strided, grouped, dilated, pointwise and plain 3x3 layers over a picture of any size."""
    n = Net()
    x = n.block(n.input("x", ("n", 3, "h", "w")), 3, 32, strides=[2, 2])
    y = n.block(n.conv(x, 32, 32, group=32), 32, 48, 1)
    y = n.op("Add", n.conv(y, 48, 48), y)
    y = n.block(y, 48, 40, dilations=[2, 2])
    return n.model(n.op("Sigmoid", n.conv_transpose(y, 40, 5, 2, strides=[2, 2])))


@pytest.fixture(scope="module")
def pictures() -> Iterator[tuple[onnx.ModelProto, magicmind.Model]]:
    model = convolutions()
    with magicmind.build(magicmind.parse(model), shapes={"x": ("1..4", 3, "1..", "1..")}) as built:
        yield model, built


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1, 1), (1, 2, 3), (2, 17, 31), (1, 63, 14), (4, 29, 30), (1, 64, 96)], ids=str)
def test_convolutions_over_any_picture(
    pictures: tuple[onnx.ModelProto, magicmind.Model], size: tuple[int, int, int]
) -> None:
    model, built = pictures
    count, height, width = size
    feeds = {"x": np.random.default_rng(5).standard_normal((count, 3, height, width), dtype=np.float32)}
    with built.session(threads=2) as two, built.session(threads=1) as one:
        got = two.run(feeds)
        check_outputs(got, reference(model, feeds))
        for name, array in one.run(feeds).items():
            assert array.tobytes() == got[name].tobytes()


def resident_kib() -> int:
    (line,) = [t for t in Path("/proc/self/status").read_text().splitlines() if t.startswith("VmRSS:")]
    return int(line.split()[1])


def held(program: Any) -> int:
    """How many plans for shapes it keeps, nested graphs' stages included."""
    routines = [] if program.routine is None else [program.routine, *program.routine.bodies]
    return len(program._layouts) + sum(len(r.stages._cache) for r in routines)


@contextmanager
def no_compiler() -> Iterator[None]:
    """Makes use of the code generator an error."""
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "llvmlite"}
    sys.modules["llvmlite"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["llvmlite"]
        sys.modules.update(kept)


def test_five_hundred_shapes_leave_nothing_behind() -> None:
    n = Net()
    x = n.op("MaxPool", n.conv(n.input("x", (1, 3, "h", "w")), 3, 8), kernel_shape=[3, 3], pads=[1] * 4)
    graph = magicmind.parse(n.model(n.op("Softmax", x), n.op("ReduceMean", x)))
    rng = np.random.default_rng(2)
    sizes = [(1, 3, 1 + i % 25, 1 + i // 25) for i in rng.permutation(500)]
    with magicmind.build(graph) as built, no_compiler(), built.session(threads=1) as session:
        session.run({"x": np.zeros((1, 3, 40, 40), np.float32)})  # the largest first: memory is that of the largest
        for i, size in enumerate(sizes):
            session.run({"x": np.zeros(size, np.float32)})
            if i == 99:
                settled = resident_kib()
        assert resident_kib() - settled < 4096
        assert held(session.engine.program) <= 8


def test_five_hundred_lengths_of_data_leave_nothing_behind() -> None:
    (case,) = [c for c in DATA if c.name == "loop_that_doubles_then_sums"]
    model = onnx.parser.parse_model(HEAD + "g " + case.text)
    with magicmind.build(magicmind.parse(model)) as built, no_compiler(), built.session(threads=1) as session:
        for length in range(600, 0, -1):
            session.run({"x": np.zeros(length, np.float32), "trips": np.array(2)})
            if length == 500:
                settled = resident_kib()
        assert resident_kib() - settled < 4096
        assert held(session.engine.program) <= 32 * 2


# --------------------------------------------------------------------------------------------- sizes in the model

BAKED = [
    ("detection/rfb320_face/version-RFB-320.onnx", "input", r"Mul_221 .* \(constant in the model: 'Constant_220'\)"),
    ("segmentation/sinet_portrait/SINet.onnx", "data", r"Gemm_8 .* \(constant in the model: 'encoder.level2_0"),
    (
        "detection/fastestdet_coco/FastestDet.onnx",
        "input.1",
        r"Reshape_13 .* \(constant in the model: 'onnx::Reshape_439'",
    ),
]


@pytest.mark.parametrize(("file", "name", "message"), BAKED)
@pytest.mark.parametrize("size", [(1, 3, 480, 640), (1, 3, "200..400", "200..400")], ids=str)
def test_sizes_written_into_a_model_are_named(data: Path, file: str, name: str, message: str, size: Any) -> None:
    graph = magicmind.parse(data / file)
    with pytest.raises(magicmind.ShapeError, match=message) as raised:
        magicmind.build(graph, shapes={name: size})
    assert raised.value.hint is not None and "export with dynamic sizes" in raised.value.hint


# ------------------------------------------------------------------------------------------- ranges that begin at 0


def test_a_decoder_starts_with_an_empty_past() -> None:
    text = """g (float[b, t, 8] x, float[b, p, 8] past) => (y, keys) <float[1] half = {0.5}> {
        keys = Concat<axis=1>(past, x)
        turned = Transpose<perm=[0, 2, 1]>(keys)
        products = MatMul(x, turned)
        scaled = Mul(products, half)
        weights = Softmax<axis=-1>(scaled)
        y = MatMul(weights, keys)
    }"""
    proto = onnx.parser.parse_model(HEAD + text)
    shapes = {"x": ("b=0..4", "1..", 8), "past": ("b=0..4", "0..16", 8)}
    with magicmind.build(magicmind.parse(proto), shapes=shapes) as model, model.session(threads=1) as session:
        assert [i.shape for i in model.inputs] == [((0, 4), (1, None), 8), ((0, 4), (0, 16), 8)]
        for batch, new, old in ((1, 3, 0), (1, 1, 3), (2, 1, 16), (0, 2, 0), (0, 2, 5)):
            feeds = {"x": ramp(batch, new, 8) / 64, "past": ramp(batch, old, 8) / 64}
            check_outputs(session.run(feeds), reference(proto, feeds))


# ----------------------------------------------------------------------------------------------------- the segmenter

SIZES = [
    (16, 16), (17, 19), (23, 64), (31, 33), (37, 37), (48, 100), (53, 47), (61, 128), (64, 65), (67, 81),
    (79, 40), (83, 29), (96, 96), (97, 131), (101, 18), (113, 77), (120, 121), (127, 127), (128, 160), (139, 57),
]  # fmt: skip
"""Heights and widths: odd, prime, multiples of 16 and not."""


@pytest.mark.slow
def test_a_segmenter_takes_twenty_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    from segmenter_model import segmenter

    model = segmenter()
    rng = np.random.default_rng(1)
    shapes = {"data": ("1..4", 3, "16..", "16..")}
    with magicmind.build(magicmind.parse(model), shapes=shapes) as built, built.session(threads=2) as session:
        for i, (height, width) in enumerate(SIZES):
            feeds = {"data": rng.standard_normal((1 + i % 2, 3, height, width), dtype=np.float32)}
            got, want = session.run(feeds)["logits"], reference(model, feeds)["logits"]
            assert got.shape == want.shape == (1 + i % 2, 5, height, width)
            assert np.abs(got - want).max() <= 1e-4
