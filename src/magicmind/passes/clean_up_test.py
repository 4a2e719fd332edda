"""The passes that tidy: RemoveIdentity, MergeCommon, RemoveDead, FoldConstants, merging of reshapes and transposes."""

from __future__ import annotations

import onnx
import onnx.parser
import onnx_ir
import pytest

import magicmind
from magicmind.ir.types import type_of
from magicmind.ops.registry import contents_of
from magicmind.passes.determinism import is_deterministic
from magicmind.passes.fold_constants import FoldConstants
from magicmind.passes.merge_common import MergeCommon
from magicmind.passes.merge_reshapes import MergeReshapes
from magicmind.passes.merge_transposes import MergeTransposes, TransposeToReshape
from magicmind.passes.remove_dead import RemoveDead
from magicmind.passes.remove_identity import RemoveIdentity
from magicmind.testing.check_pass import check_declined, check_pass

HEAD = "(float[N,2,4] x) => (float[N,2,4] y)"
RELU = f"{HEAD} {{ y = Relu(x) }}"


@pytest.mark.parametrize(
    "node",
    [
        "Identity(x)",
        "Dropout(x)",
        "Cast<to=1>(x)",
        "Transpose<perm=[0,1,2]>(x)",
        "Concat<axis=1>(x)",
        "Max(x)",
        "Pad(x, zeros)",
        "Slice(x, zero, four, two)",
        "Reshape(x, same)",
        "Split<axis=1, num_outputs=1>(x)",
    ],
)
def test_do_nothing_nodes_go(node: str) -> None:
    constants = (
        "<int64[6] zeros = {0,0,0,0,0,0}, int64[1] zero = {0}, int64[1] four = {4}, int64[1] two = {2},"
        "int64[3] same = {0, 2, 4}>"
    )
    check_pass(RemoveIdentity(), f"{HEAD} {constants} {{ t = {node}  y = Relu(t) }}", RELU)


def test_an_output_keeps_its_name_when_its_node_goes() -> None:
    check_pass(RemoveIdentity(), f"{HEAD} {{ t = Relu(x)  y = Identity(t) }}", RELU)


def test_an_identity_from_input_to_output_stays() -> None:
    check_declined(RemoveIdentity(), f"{HEAD} {{ y = Identity(x) }}", "lose its name")


def test_a_reversing_slice_keeps_the_shape_and_stays() -> None:
    constants = "<int64[1] a = {-1}, int64[1] b = {-9}, int64[1] two = {2}>"
    text = f"{HEAD} {constants} {{ t = Slice(x, a, b, two, a)  y = Relu(t) }}"
    check_declined(RemoveIdentity(), text, "a step is negative")


def test_equal_nodes_and_constants_merge() -> None:
    check_pass(
        MergeCommon(),
        f"{HEAD} <float[1] a = {{2.0}}, float[1] b = {{2.0}}> {{ p = Mul(x, a)  q = Mul(x, b)  y = Add(p, q) }}",
        f"{HEAD} <float[1] a = {{2.0}}> {{ p = Mul(x, a)  y = Add(p, p) }}",
    )


def test_sizes_that_only_a_merged_node_named_take_the_name_of_the_other() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (int64[1, A] a, int64[B] b) {
        a = NonZero (x)
        again = NonZero (x)
        shape = Shape (again)
        flat = Constant <value_ints = [-1]> ()
        b = Reshape (again, flat)
    }"""
    model = magicmind.parse(onnx.parser.parse_model(text)).model
    assert MergeCommon().call(model)
    values = {output.name: output for node in model.graph for output in node.outputs}
    types = {name: str(type_of(value)) for name, value in values.items()}
    assert types["b"] == "int64[any_a_1]"
    contents = contents_of(values["shape"])
    assert contents is not None
    assert list(map(str, contents)) == ["1", "any_a_1"]


def test_random_nodes_are_not_common() -> None:
    assert not is_deterministic(onnx_ir.Node("", "RandomNormal", []))


def test_nodes_with_other_attributes_do_not_merge() -> None:
    text = f"{HEAD} {{ p = LeakyRelu<alpha=0.1>(x)  q = LeakyRelu<alpha=0.2>(x)  y = Add(p, q) }}"
    check_declined(MergeCommon(), text)


def test_what_nothing_reads_goes() -> None:
    model = check_pass(
        RemoveDead(), f"{HEAD} <float[1] a = {{2.0}}> {{ t = Mul(x, a)  u = Exp(t)  y = Relu(x) }}", RELU
    )
    assert not model.graph.initializers


def test_constants_fold() -> None:
    check_pass(
        FoldConstants(),
        f"{HEAD} <float[1] a = {{2.0}}>{{ b = Exp(a)  c = Constant<value_float=1.0>()  d = Mul(b, c)  y = Mul(x, d) }}",
        f"{HEAD} <float[1] d = {{7.389056}}> {{ y = Mul(x, d) }}",
    )


def test_shape_arithmetic_folds_where_dims_are_numbers() -> None:
    check_pass(
        FoldConstants(),
        f"{HEAD} <int64 two = {{2}}, int64[1] zero = {{0}}, int64[1] minus = {{-1}}>"
        "{ s = Shape(x)  d = Gather(s, two)  e = Unsqueeze(d, zero)  t = Concat<axis=0>(minus, e)  r = Reshape(x, t)"
        "  q = Shape(x)  y = Reshape(r, q) }",
        f"{HEAD} <int64[2] t = {{-1, 4}}> {{ r = Reshape(x, t)  s = Shape(x)  y = Reshape(r, s) }}",
    )


def test_what_the_reference_cannot_compute_is_left_to_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise IndexError("out of its depth")

    monkeypatch.setattr("onnx.reference.ReferenceEvaluator.run", fails)
    text = "(float[2] x) => (float[2] y) <float[2] a = {1, -2}> { b = Softsign(a)  y = Add(x, b) }"
    check_declined(FoldConstants(), text, "onnx's reference of Softsign fails: out of its depth")


def test_a_constant_that_would_grow_stays() -> None:
    text = "(float[1] x) => (y) <int64[2] s = {2000, 2000}, float[1] k = {1.0}> { t = Expand(k, s)  y = Mul(t, x) }"
    check_declined(FoldConstants(), text, "would take 16000000 bytes")


def test_reshapes_merge_and_keep_a_symbolic_dim() -> None:
    check_pass(
        MergeReshapes(),
        "(float[N,2,4] x) => (y) <int64[2] a = {-1, 4}, int64[2] b = {-1, 8}> { t = Reshape(x, a)  y = Reshape(t, b) }",
        "(float[N,2,4] x) => (y) <int64[2] b = {0, 8}> { y = Reshape(x, b) }",
    )


def test_flatten_of_a_squeeze_is_one_reshape() -> None:
    check_pass(
        MergeReshapes(),
        "(float[N,8,1,1] x) => (y) <int64[1] a = {3}> { t = Squeeze(x, a)  y = Flatten(t) }",
        "(float[N,8,1,1] x) => (y) <int64[2] b = {0, 8}> { y = Reshape(x, b) }",
    )


def test_transposes_compose() -> None:
    check_pass(
        MergeTransposes(),
        "(float[2,3,4] x) => (y) { t = Transpose<perm=[1,2,0]>(x)  y = Transpose<perm=[0,2,1]>(t) }",
        "(float[2,3,4] x) => (y) { y = Transpose<perm=[1,0,2]>(x) }",
    )


def test_a_transpose_of_ones_is_a_reshape() -> None:
    check_pass(
        TransposeToReshape(),
        "(float[N,8,1,1] x) => (y) { y = Transpose<perm=[0,2,3,1]>(x) }",
        "(float[N,8,1,1] x) => (y) <int64[4] s = {0, 1, 1, 8}> { y = Reshape(x, s) }",
    )
    check_declined(TransposeToReshape(), "(float[N,8] x) => (y) { y = Transpose<perm=[1,0]>(x) }", "moves data")
