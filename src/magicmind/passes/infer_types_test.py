"""Inference over whole graphs: symbols that turn out equal, all unsupported operators at once, real networks."""

from __future__ import annotations

import time
from pathlib import Path

import onnx
import pytest

import magicmind
from magicmind.ir.types import ranges_of, type_of

DATA = Path(__file__).parents[4] / "shared" / "data"


def parse(text: str, **options: object) -> magicmind.Graph:
    header = '<ir_version: 8, opset_import: ["" : 17, "test" : 1]>\n'
    return magicmind.parse(onnx.parser.parse_model(header + text), **options)


def shapes_of(graph: magicmind.Graph) -> dict[str, str]:
    return {v.name or "": str(type_of(v)) for v in (*graph.model.graph.inputs, *graph.model.graph.outputs)}


def test_two_names_of_one_dim_become_one() -> None:
    graph = parse("g (float[a, 3] x, float[b, 3] z) => (y) { y = Add(x, z) }")
    assert shapes_of(graph) == {"x": "float32[a, 3]", "z": "float32[a, 3]", "y": "float32[a, 3]"}


def test_equal_dims_after_strides_unify_their_symbols() -> None:
    graph = parse(
        """g (float[1, 2, h, 8] x, float[1, 2, k, 8] z) => (y) {
            p = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(x)
            q = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(z)
            y = Concat<axis=1>(p, q)
        }"""
    )
    assert shapes_of(graph)["y"] == "float32[1, 4, h//2, 4]"
    assert shapes_of(graph)["z"] == "float32[1, 2, h, 8]"


def test_two_names_each_of_two_dims_that_only_products_show_to_be_equal() -> None:
    """Tokens and their mask, exported with sizes of their own, meet once both are flat."""
    graph = parse(
        """g (float[a, b] x, float[c, d] z) => (y) <int64[1] flat = {-1}> {
            p = Reshape(x, flat)
            q = Reshape(z, flat)
            y = Add(p, q)
        }"""
    )
    assert shapes_of(graph) == {"x": "float32[a, b]", "z": "float32[a, b]", "y": "float32[a*b]"}


def test_an_open_dim_takes_the_number_it_must_have() -> None:
    graph = parse("g (float[n, k] x, float[5, 7] w) => (y) { y = MatMul(x, w) }")
    assert shapes_of(graph) == {"x": "float32[n, 5]", "w": "float32[5, 7]", "y": "float32[n, 7]"}
    assert ranges_of(graph.model) == {"n": (1, None)}


def test_an_open_dim_takes_the_number_that_another_one_multiplies() -> None:
    """A traced reshape keeps the batch open and the length of the example: t*n*32 == 7*n*32 holds for t=7 only."""
    text = """g (float[n, t, 32] x) => (y) <int64[1] a = {7}, int64[1] four = {4}, int64[1] eight = {8}> {
        swapped = Transpose<perm=[1, 0, 2]>(x)
        n = Shape<start=0, end=1>(x)
        heads = Mul(n, four)
        target = Concat<axis=0>(a, heads, eight)
        y = Reshape(swapped, target)
    }"""
    assert shapes_of(parse(text)) == {"x": "float32[n, 7, 32]", "y": "float32[7, 4*n, 8]"}
    with pytest.raises(magicmind.ShapeError, match="this holds for t=7 only"):
        parse(text, input_shapes={"x": ("1..", "t=1..8", 32)})
    with pytest.raises(magicmind.ShapeError, match=r"Concat|Reshape"):
        parse(text, input_shapes={"x": ("1..", 9, 32)})


def test_a_range_is_not_narrowed_silently() -> None:
    text = "g (float[n, k] x, float[5, 7] w) => (y) { product = MatMul(x, w)  y = Relu(product) }"
    with pytest.raises(magicmind.ShapeError, match="this holds for k=5 only"):
        parse(text, input_shapes={"x": (1, "k=1..8")})


def test_shape_arithmetic_is_followed() -> None:
    graph = parse(
        """g (float[n, 6, h, w] x) => (y)
        <int64[1] zero = {0}, int64[1] two = {2}, int64[1] rest = {-1}, int64 first = {0}, int64[1] six = {6}>
        {
            shape = Shape(x)
            batch = Gather(shape, first)
            batch1 = Unsqueeze(batch, zero)
            half = Div(six, two)
            target = Concat<axis=0>(batch1, half, two, rest)
            y = Reshape(x, target)
        }"""
    )
    assert shapes_of(graph)["y"] == "float32[n, 3, 2, h*w]"


def test_contents_of_matrices_and_of_three_operands_are_right() -> None:
    graph = parse(
        """g (float[24] x) => (y)
        <int64[2, 2] table = {2, 3, 1, 4}, int64[2] a = {1, 9}, int64[2] b = {5, 2}>
        {
            columns = ReduceProd<axes=[0], keepdims=0>(table)
            smallest = Min(columns, a, b)
            rows = Max(columns, smallest)
            y = Reshape(x, rows)
        }"""
    )
    assert shapes_of(graph)["y"] == "float32[2, 12]"


def test_constant_chains_of_floats_are_evaluated() -> None:
    graph = parse(
        """g (float[1, 2, 5, 7] x) => (y)
        <int64[1] end = {4}, int64[1] start = {2}, float[2] factor = {1.5, 2.5}>
        {
            shape = Shape(x)
            spatial = Slice(shape, start, end)
            head = Shape<start=0, end=2>(x)
            float_sizes = Cast<to=1>(spatial)
            scaled = Mul(float_sizes, factor)
            rounded = Floor(scaled)
            sizes = Cast<to=7>(rounded)
            all = Concat<axis=0>(head, sizes)
            y = Resize(x, , , all)
        }"""
    )
    assert shapes_of(graph)["y"] == "float32[1, 2, 7, 17]"


def test_all_unsupported_operators_in_one_error() -> None:
    with pytest.raises(magicmind.UnsupportedOperatorError) as caught:
        parse(
            """g (float[n, 3] x) => (y) {
                i = test.First(x)
                a = Relu(x)
                b = test.Second(a)
                c = Relu(b)
                y = test.Third(c)
            }""",
        )
    text = str(caught.value)
    assert "3 nodes are not supported" in text
    assert "First_0 (test.First) with inputs float32[n, 3]" in text
    assert "Second_2 (test.Second) with inputs float32[n, 3]" in text
    assert "Third_4 (test.Third) with inputs ?" in text


def test_a_shape_from_run_time_data_has_its_rank() -> None:
    graph = parse("g (float[2, 3] x, int64[2] t) => (y) { y = Reshape(x, t) }")
    assert shapes_of(graph)["y"] == "float32[any_y_0, any_y_1]"


def test_a_rank_from_run_time_data_is_listed_with_its_reason() -> None:
    with pytest.raises(magicmind.UnsupportedOperatorError, match=r"Reshape_0 .*not even the rank"):
        parse("g (float[2, 3] x, int64[n] t) => (y) { y = Reshape(x, t) }")


def test_inferring_again_changes_nothing() -> None:
    from magicmind.passes.infer_types import infer_types

    graph = parse("g (float[n, 3] x) => (y) { y = Relu(x) }")
    assert not infer_types(graph.model)


def test_a_size_is_not_fixed_to_one_of_many_that_would_do() -> None:
    text = """g (float[1, 4, H, 8] x) => (y) <float[4] scales = {1, 1, 2, 1}> {
        half = AveragePool <kernel_shape = [3, 1], strides = [2, 1], pads = [1, 0, 1, 0]> (x)
        double = Resize <mode = "nearest"> (half, , scales)
        [the_skip] y = Concat <axis = 1> (double, x)
    }"""
    condition = r"the_skip \(Concat\).*\n?.*have to be equal; they are for H = 2, 4, 6, ..., not for 1, 3, 5"
    with pytest.raises(magicmind.ShapeError, match=condition):
        parse(text)
    assert parse(text, input_shapes={"x": (1, 4, 6, 8)}).outputs[0].shape == (1, 8, 6, 8)
    with pytest.raises(magicmind.ShapeError, match="the_skip"):
        parse(text, input_shapes={"x": (1, 4, 7, 8)})


POSITIONS = """g (float[N, S, 4] x) => (y) <int64[3] sizes = {1, 9, 4}, int64[1] start = {0}, int64[1] axis = {1}> {
    table = ConstantOfShape (sizes)
    shape = Shape <start = 1, end = 2> (x)
    positions = Slice (table, start, shape, axis)
    y = Add (x, positions)
}"""


def test_a_table_of_positions_limits_an_open_length() -> None:
    assert parse(POSITIONS).inputs[0].shape == ((1, None), (1, 9), 4)
    assert parse(POSITIONS, input_shapes={"x": ("1..4", "2..9", 4)}).inputs[0].shape == ((1, 4), (2, 9), 4)
    with pytest.raises(magicmind.ShapeError, match=r"they are for .* = 1\.\.9"):
        parse(POSITIONS, input_shapes={"x": ("1..4", "2..10", 4)})


def test_a_second_table_limits_a_length_further() -> None:
    """What the first one found is no range that the user gave."""
    second = """sizes7 = Constant <value_ints = [1, 7, 4]> ()
    table7 = ConstantOfShape (sizes7)
    positions7 = Slice (table7, start, shape, axis)
    z = Add (x, positions7)
}"""
    text = POSITIONS.replace("=> (y)", "=> (y, z)").rstrip("}") + second
    graph = parse(text)
    assert graph.inputs[0].shape == ((1, None), (1, 7), 4)
    with pytest.raises(magicmind.ShapeError, match=r"they are for .* = 1\.\.7"):
        parse(text, input_shapes={"x": ("1..4", "2..8", 4)})
    with pytest.raises(magicmind.ShapeError, match=r"they are for .* = 1\.\.7"):
        graph.with_shapes({"x": ("1..4", "2..8", 4)})


LAST = """g (float[N, S] x) => (y) <int64[1] all = {9}, int64[1] axis = {0}> {
    table = ConstantOfShape (all)
    shape = Shape <start = 1, end = 2> (x)
    start = Sub (all, shape)
    last = Slice (table, start, all, axis)
    y = Add (x, last)
}"""


def test_the_end_of_a_table_limits_an_open_length() -> None:
    """A place of unknown sign counts from the end where it is below 0, which is followed and found not to happen."""
    assert parse(LAST).inputs[0].shape == ((1, None), (1, 9))


def test_axes_that_are_not_cut_keep_their_sizes_whatever_the_cut() -> None:
    text = "g (float[N, 3, 8] x, int64[1] a, int64[1] b) => (y) <int64[1] axis = {2}> { y = Slice (x, a, b, axis) }"
    assert shapes_of(parse(text))["y"].startswith("float32[N, 3, any_")


def test_padding_to_whole_windows_as_the_older_exporter_of_pytorch_writes_it() -> None:
    """Amounts in pairs from the last axis on are turned around; then the padded picture is rolled and taken apart."""
    graph = parse(
        """g (float[N, H, 3] x) => (y, z) <int64[1] four = {4}, int64[1] axis = {1}, int64[1] zero = {0},
            int64[1] two = {2}, int64[1] back = {-1}, int64[1] far = {-9223372036854775807}, int64[2] pairs = {-1, 2},
            int64[1] flat = {-1}, int64[1] end = {9223372036854775807}> {
            size = Shape <start = 1, end = 2> (x)
            opposite = Neg (size)
            missing = Mod (opposite, four)
            amounts = Concat <axis = 0> (zero, zero, zero, missing, zero, zero)
            table = Reshape (amounts, pairs)
            turned = Slice (table, back, far, zero, back)
            sides = Transpose <perm = [1, 0]> (turned)
            pads = Reshape (sides, flat)
            y = Pad (x, pads)
            right = Slice (y, two, end, axis)
            left = Slice (y, zero, two, axis)
            rolled = Concat <axis = 1> (right, left)
            z = Add (rolled, y)
        }"""
    )
    assert shapes_of(graph)["y"] == shapes_of(graph)["z"] == "float32[N, -4*((-H)//4), 3]"


def test_a_batch_is_how_often_windows_are_in_all_of_them() -> None:
    """Also where no windows are possible as far as shapes tell: nobody divides by 0."""
    graph = parse(
        """g (float[N, H] x) => (y) <int64[1] two = {2}> {
            batch = Shape <end = 1> (x)
            height = Shape <start = 1> (x)
            windows = Div (height, two)
            all = Mul (batch, windows)
            images = Div (all, windows)
            y = ConstantOfShape (images)
        }"""
    )
    assert shapes_of(graph)["y"] == "float32[N]"


def test_what_drops_the_last_of_its_windows_needs_one() -> None:
    graph = parse(
        """g (float[1, 1, S] x) => (y) <int64[1] start = {0}, int64[1] end = {-1}, int64[1] axis = {2}> {
            narrow = AveragePool <kernel_shape = [2], strides = [2]> (x)
            wide = AveragePool <kernel_shape = [4], strides = [2]> (x)
            but_last = Slice (narrow, start, end, axis)
            y = Add (wide, but_last)
        }"""
    )
    assert graph.inputs[0].shape == (1, 1, (2, None))


NETWORKS = {
    "detection/rfb320_face/version-RFB-320.onnx": ((1, 4420, 2), (1, 4420, 4)),
    "detection/rfb320_face/version-slim-320.onnx": ((1, 4420, 2), (1, 4420, 4)),
    "detection/fastestdet_coco/FastestDet.onnx": ((1, 85, 22, 22),),
    "segmentation/sinet_portrait/SINet.onnx": ((1, 2, 320, 320),),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_real_networks_are_typed_completely(name: str) -> None:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    began = time.process_time()
    graph = magicmind.parse(path)
    assert time.process_time() - began < 1.0  # about 0.03 s on an idle core
    assert tuple(o.shape for o in graph.outputs) == NETWORKS[name]
    for node in graph.model.graph:
        assert all(type_of(v) is not None and v.shape is not None for v in node.outputs if v.name), node.name


@pytest.mark.parametrize("name", ["version-RFB-320", "version-slim-320"])
def test_real_detectors_with_a_mutable_batch(name: str) -> None:
    path = DATA / "detection" / "rfb320_face" / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    graph = magicmind.parse(path, input_shapes=[("1..64", 3, 240, 320)])
    assert [o.shape for o in graph.outputs] == [((1, 64), 4420, 2), ((1, 64), 4420, 4)]
