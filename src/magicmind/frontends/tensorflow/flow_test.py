"""Control flow of both kinds, on graphs made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import magicmind
from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.testing.tensorflow import GraphBuilder, f32

Array = np.ndarray[Any, Any]

INT = np.dtype(np.int32)
FLOAT = np.dtype(np.float32)


def ops(b: GraphBuilder, outputs: list[str], **options: Any) -> list[str]:
    """All operators but the copies that give an output its name."""
    return [n.op_type for n in b.graph(outputs, **options).model.graph if n.op_type != "Identity"]


def switch(b: GraphBuilder, predicate: str) -> None:
    """y = x * 2 if the predicate holds, else x + 1."""
    b.node("Switch", "s", "x", predicate)
    b.node("Mul", "then", "s:1", np.float32(2))
    b.node("Add", "other", "s", np.float32(1))
    b.node("Merge", "y", "other", "then", N=2)


@pytest.mark.parametrize("training", [True, False])
def test_a_constant_switch_leaves_one_side(training: bool) -> None:
    b = GraphBuilder()
    b.placeholder("x", [-1])
    b.const("training", training)
    b.node("Identity", "p", "training")
    switch(b, "p")
    assert ops(b, ["y"]) == (["Mul"] if training else ["Add"])


def test_the_dead_side_may_hold_unknown_operators() -> None:
    b = GraphBuilder()
    b.placeholder("x", [-1])
    b.node("LogicalNot", "p", np.bool_(False))
    b.node("Switch", "s", "x", "p")
    b.node("NobodyKnows", "dead", "s")
    b.node("Relu", "live", "s:1")
    b.node("Merge", "y", "dead", "live", N=2)
    assert ops(b, ["y"]) == ["Relu"]


def test_a_switch_that_depends_on_data_is_an_if() -> None:
    b = GraphBuilder()
    b.placeholder("x", [-1])
    b.node("Sum", "sum", "x", np.int32(0))
    b.node("Greater", "p", "sum", np.float32(0))
    switch(b, "p")
    b.node("Neg", "z", "y")
    assert "If" in ops(b, ["z"])
    assert b.run(["z"], x=f32([1, 2]))[0].tolist() == [-2, -4]
    assert b.run(["z"], x=f32([1, -2]))[0].tolist() == [-2, 1]


def test_conditions_inside_conditions() -> None:
    """x > 0: (x > 1: 10, else x) else -x."""
    b = GraphBuilder()
    b.placeholder("x", [])
    b.node("Greater", "p", "x", np.float32(0))
    b.node("Switch", "s", "x", "p")
    b.node("Greater", "q", "s:1", np.float32(1))
    b.node("Switch", "t", "s:1", "q")
    b.node("Mul", "ten", "t:1", np.float32(0))
    b.node("Add", "ten_more", "ten", np.float32(10))
    b.node("Merge", "inner", "t", "ten_more", N=2)
    b.node("Neg", "minus", "s")
    b.node("Merge", "y", "minus", "inner", N=2)
    for x, expected in ((3.0, 10.0), (0.5, 0.5), (-2.0, 2.0)):
        assert b.run(["y"], x=np.array(x, np.float32))[0] == expected


def loop(b: GraphBuilder, turns: Any) -> None:
    """i, y = 0, x; while i < turns: i, y = i + 1, y * w + i."""
    frame = {"frame_name": "f", "is_constant": False}
    b.node("Enter", "i0", np.int32(0), **frame)
    b.node("Enter", "y0", "x", **frame)
    b.node("Enter", "limit", turns, frame_name="f", is_constant=True)
    b.node("Enter", "w", f32([2, 3]), frame_name="f", is_constant=True)
    b.node("Merge", "i", "i0", "i_next", N=2)
    b.node("Merge", "y", "y0", "y_next", N=2)
    b.node("Less", "again", "i", "limit")
    b.node("LoopCond", "cond", "again")
    b.node("Switch", "i_s", "i", "cond")
    b.node("Switch", "y_s", "y", "cond")
    b.node("Identity", "i_in", "i_s:1")
    b.node("Add", "i_more", "i_in", np.int32(1))
    b.node("Cast", "i_float", "i_in", SrcT=INT, DstT=FLOAT)
    b.node("Mul", "y_times", "y_s:1", "w")
    b.node("Add", "y_more", "y_times", "i_float")
    b.node("NextIteration", "i_next", "i_more")
    b.node("NextIteration", "y_next", "y_more")
    b.node("Exit", "y_left", "y_s")
    b.node("Exit", "i_left", "i_s")


def test_an_old_loop() -> None:
    b = GraphBuilder()
    b.placeholder("x", [-1, 2])
    b.placeholder("n", [], np.int32)
    loop(b, "n")
    for turns in (0, 3):
        x = f32([[1, 2], [3, 4]])
        y, count = b.run(["y_left", "i_left"], x=x, n=np.array(turns, np.int32))
        expected = x
        for i in range(turns):
            expected = expected * f32([2, 3]) + i
        np.testing.assert_allclose(y, expected)
        assert count == turns


def test_what_a_loop_does_not_change_is_not_carried() -> None:
    b = GraphBuilder()
    b.placeholder("x", [-1, 2])
    loop(b, np.int32(3))
    node = next(n for n in b.graph(["y_left"]).model.graph if n.op_type == "Loop")
    assert len(node.outputs) == 2


def array_loop(b: GraphBuilder) -> None:
    """The running sums of the rows of x [T, N], by TensorArrays, as dynamic_rnn writes them."""
    frame = {"frame_name": "f", "is_constant": False}
    b.node("TensorArrayV3", "source", np.int32(3), dtype=FLOAT)
    b.node("TensorArrayScatterV3", "filled", "source", np.arange(3, dtype=np.int32), "x", "source:1")
    b.node("TensorArrayV3", "target", np.int32(3), dtype=FLOAT)
    b.node("Enter", "i0", np.int32(0), **frame)
    b.node("Enter", "sum0", np.zeros(2, np.float32), **frame)
    b.node("Enter", "flow0", "target:1", **frame)
    for name, value in (("read", "source"), ("read_flow", "filled"), ("write", "target")):
        b.node("Enter", name, value, frame_name="f", is_constant=True)
    for name in ("i", "sum", "flow"):
        b.node("Merge", name, f"{name}0", f"{name}_next", N=2)
    b.node("Less", "again", "i", np.int32(3))
    b.node("LoopCond", "cond", "again")
    for name in ("i", "sum", "flow"):
        b.node("Switch", f"{name}_s", name, "cond")
    b.node("TensorArrayReadV3", "row", "read", "i_s:1", "read_flow", dtype=FLOAT)
    b.node("Add", "sum_more", "sum_s:1", "row")
    b.node("TensorArrayWriteV3", "written", "write", "i_s:1", "sum_more", "flow_s:1")
    b.node("Add", "i_more", "i_s:1", np.int32(1))
    for name, value in (("i", "i_more"), ("sum", "sum_more"), ("flow", "written")):
        b.node("NextIteration", f"{name}_next", value)
    b.node("Exit", "flow_left", "flow_s")
    b.node("TensorArraySizeV3", "size", "target", "flow_left")
    b.node("TensorArrayGatherV3", "y", "target", np.arange(3, dtype=np.int32), "flow_left")


def test_tensor_arrays_whose_shape_only_the_loop_tells() -> None:
    b, x = GraphBuilder(), np.arange(6, dtype=np.float32).reshape(3, 2)
    b.placeholder("x", [3, 2])
    array_loop(b)
    y, size = b.run(["y", "size"], x=x)
    np.testing.assert_array_equal(y, x.cumsum(0))
    assert size == 3


@pytest.mark.parametrize("name", ["i0", "i", "again", "cond", "y_s", "y_next", "y_left"])
def test_a_loop_that_lacks_an_input(name: str) -> None:
    b = GraphBuilder()
    b.placeholder("x", [-1, 2])
    loop(b, np.int32(3))
    del next(node for node in b.message.node if node.name == name).input[:]
    with pytest.raises(magicmind.Error, match=f"(?s){name}.*input"):
        b.graph(["y_left"])


def test_a_list_is_no_output() -> None:
    b = GraphBuilder()
    b.node("TensorArrayV3", "list", np.int32(3), dtype=FLOAT)
    with pytest.raises(ModelFormatError, match="'list' is a list of tensors"):
        b.graph(["list"])


def test_a_variable_that_only_the_condition_reads_has_no_switch() -> None:
    """go = True; while go: x, go = x * 2, x < 10."""
    b = GraphBuilder()
    b.placeholder("x", [])
    for name, start in (("go", np.bool_(True)), ("y", "x")):
        b.node("Enter", f"{name}0", start, frame_name="f", is_constant=False)
        b.node("Merge", name, f"{name}0", f"{name}_next", N=2)
    b.node("LoopCond", "cond", "go")
    b.node("Switch", "y_s", "y", "cond")
    b.node("Mul", "y_more", "y_s:1", np.float32(2))
    b.node("Less", "again", "y_s:1", np.float32(10))
    b.node("NextIteration", "y_next", "y_more")
    b.node("NextIteration", "go_next", "again")
    b.node("Exit", "left", "y_s")
    assert b.run(["left"], x=np.array(3, np.float32))[0] == 24
    assert b.run(["left"], x=np.array(11, np.float32))[0] == 22


def test_what_only_turns_read_is_converted_before_the_loop() -> None:
    """The node behind an Enter of the body stands behind the Exit in the file."""
    b = GraphBuilder()
    b.placeholder("x", [-1, 2])
    frame = {"frame_name": "f", "is_constant": False}
    b.node("Enter", "y0", "x", **frame)
    b.node("Merge", "y", "y0", "y_next", N=2)
    b.node("Sum", "total", "y", np.array([0, 1], np.int32))
    b.node("Less", "again", "total", np.float32(100))
    b.node("LoopCond", "cond", "again")
    b.node("Switch", "y_s", "y", "cond")
    b.node("Exit", "y_left", "y_s")
    b.node("Enter", "w", "factor", frame_name="f", is_constant=True)
    b.node("Mul", "y_times", "y_s:1", "w")
    b.node("NextIteration", "y_next", "y_times")
    b.node("Max", "factor", "x", np.int32(0))
    assert b.run(["y_left"], x=f32([[1, 2], [3, 4]]))[0].tolist() == [[9, 32], [27, 64]]


# ----------------------------------------------------------------------------------------------------------- functions


def test_functions_are_written_out() -> None:
    b = GraphBuilder()
    b.placeholder("x", [-1, 4])
    inner = b.function("halves", ["v"], {"low": "cut:output:0", "high": "twice:z:0"})
    inner.node("Split", "cut", inner.const("axis", np.int32(1)) + ":output:0", "v", num_split=2)
    inner.node("Add", "twice", "cut:output:1", "cut:output:1")
    b.node("PartitionedCall", "call", "x", f=b"halves")
    low, high = b.run(["call", "call:1"], x=f32([[1, 2, 3, 4]]))
    assert (low.tolist(), high.tolist()) == ([[1, 2]], [[6, 8]])


def test_functions_that_call_themselves_end() -> None:
    b = GraphBuilder()
    b.placeholder("x", [-1])
    b.function("again", ["v"], {"r": "c:output:0"}).node("PartitionedCall", "c", "v", f=b"again")
    b.node("PartitionedCall", "call", "x", f=b"again")
    with pytest.raises(UnsupportedOperatorError, match="more than 64 deep: 'again'"):
        b.graph(["call"])


def test_a_loop_of_functions_with_a_list() -> None:
    """[x, 2 x, 4 x] by a TensorList whose element shape is open."""
    b = GraphBuilder()
    b.placeholder("x", [-1])
    test = b.function("test", ["i", "v", "l"], {"r": "less:z:0"})
    test.node("Less", "less", "i", test.const("three", np.int32(3)) + ":output:0")
    body = b.function("body", ["i", "v", "l"], {"i_": "add:z:0", "v_": "double:z:0", "l_": "set:output_handle:0"})
    body.node("Add", "add", "i", body.const("one", np.int32(1)) + ":output:0")
    body.node("Add", "double", "v", "v")
    body.node("TensorListSetItem", "set", "l", "i", "v", element_dtype=FLOAT)
    b.node("TensorListReserve", "list", np.int32(-1), np.int32(3), element_dtype=FLOAT)
    b.node("StatelessWhile", "loop", np.int32(0), "x", "list", cond=b"test", body=b"body")
    b.node("TensorListStack", "y", "loop:2", np.int32(-1), element_dtype=FLOAT)
    assert b.run(["y"], x=f32([1, 3]))[0].tolist() == [[1, 3], [2, 6], [4, 12]]


@pytest.mark.parametrize("size", [0, 2, 5])
def test_a_list_that_grows(size: int) -> None:
    """n times x by tf.TensorArray(size=..., dynamic_size=True)."""
    b = GraphBuilder()
    b.placeholder("x", [2])
    b.placeholder("n", [], np.int32)
    test = b.function("test", ["i", "n", "v", "l"], {"r": "less:z:0"})
    test.node("Less", "less", "i", "n")
    body = b.function(
        "body", ["i", "n", "v", "l"], {"i_": "add:z:0", "n_": "n", "v_": "v", "l_": "set:output_handle:0"}
    )
    body.node("Add", "add", "i", body.const("one", np.int32(1)) + ":output:0")
    body.node("TensorListSetItem", "set", "l", "i", "v", element_dtype=FLOAT, resize_if_index_out_of_bounds=True)
    b.node("TensorListReserve", "list", np.int32(-1), np.int32(size), element_dtype=FLOAT)
    b.node("StatelessWhile", "loop", np.int32(0), "n", "x", "list", cond=b"test", body=b"body")
    b.node("TensorListStack", "y", "loop:3", np.int32(-1), element_dtype=FLOAT)
    found = b.run(["y"], x=f32([1, 3]), n=np.array(3, np.int32))[0]
    assert found.tolist() == [[1, 3]] * 3 + [[0, 0]] * (size - 3)


def test_an_if_of_functions() -> None:
    b = GraphBuilder()
    b.placeholder("x", [])
    b.function("then", ["v"], {"r": "n:y:0"}).node("Neg", "n", "v")
    b.function("other", ["v"], {"r": "e:y:0"}).node("Exp", "e", "v")
    b.node("Less", "p", "x", np.float32(0))
    b.node("If", "y", "p", "x", then_branch=b"then", else_branch=b"other")
    assert b.run(["y"], x=np.array(-2, np.float32))[0] == 2
    assert b.run(["y"], x=np.array(0, np.float32))[0] == 1


def test_a_function_that_is_not_there() -> None:
    b = GraphBuilder()
    b.placeholder("x", [-1])
    b.node("PartitionedCall", "call", "x", f=b"gone")
    with pytest.raises(ModelFormatError, match=r"call \(TensorFlow PartitionedCall\): calls the function 'gone'"):
        b.graph(["call"])


def test_a_branch_inside_a_branch_returns_what_the_outer_one_made() -> None:
    """x > 0: (x > 1: 2 x else 2 x + 1) else x."""
    b = GraphBuilder()
    b.placeholder("x", [])
    inner = {"p": "greater:z:0", "double": "add:z:0"}
    then = b.function("then", ["v"], {"r": "nested:output:0"})
    then.node("Greater", "greater", "v", then.const("one", np.float32(1)) + ":output:0")
    then.node("Add", "add", "v", "v")
    then.node("If", "nested", inner["p"], inner["double"], then_branch=b"same", else_branch=b"more")
    b.function("same", ["v"], {"r": "copy:output:0"}).node("Identity", "copy", "v")
    more = b.function("more", ["v"], {"r": "add:z:0"})
    more.node("Add", "add", "v", more.const("one", np.float32(1)) + ":output:0")
    b.function("other", ["v"], {"r": "copy:output:0"}).node("Identity", "copy", "v")
    b.node("Greater", "p", "x", np.float32(0))
    b.node("If", "y", "p", "x", then_branch=b"then", else_branch=b"other")
    for x, expected in ((3.0, 6.0), (0.5, 2.0), (-2.0, -2.0)):
        assert b.run(["y"], x=np.array(x, np.float32))[0] == expected


# ------------------------------------------------------------------------------------------ sizes that only data tells


def test_a_size_that_data_tells_is_what_the_network_makes_of_it() -> None:
    """All of x where a mask of ones says so, which is then reshaped to what x was: tf.repeat is written like that."""
    b = GraphBuilder()
    b.placeholder("x", [-1, 2])
    b.node("Reshape", "flat", "x", np.array([-1], np.int32))
    b.node("GreaterEqual", "mask", "flat", np.float32(0))
    b.node("Where", "where", "mask")
    b.node("Squeeze", "rows", "where", squeeze_dims=[1])
    b.node("GatherV2", "taken", "flat", "rows", np.int32(0))
    b.node("Shape", "shape", "x", out_type=INT)
    b.node("Reshape", "y", "taken", "shape")
    assert b.run(["y"], x=f32([[1, 2], [3, 4]]))[0].tolist() == [[1, 2], [3, 4]]
    with pytest.raises(magicmind.Error, match="where"):
        b.run(["y"], x=f32([[1, 2], [-3, 4]]))


def test_a_size_that_no_turn_changes_although_none_says_so() -> None:
    """What a turn masks and gathers fits the reshaping into pairs only if it stays as long as it was."""
    b = GraphBuilder()
    b.placeholder("x", [4])
    test = b.function("test", ["i", "v"], {"r": "less:z:0"})
    test.node("Less", "less", "i", test.const("three", np.int32(3)) + ":output:0")
    body = b.function("body", ["i", "v"], {"i_": "add:z:0", "v_": "more:z:0"})
    body.node("Add", "add", "i", body.const("one", np.int32(1)) + ":output:0")
    body.node("Reshape", "pairs", "v", body.const("two", np.array([2, 2], np.int32)) + ":output:0")
    body.node("Max", "top", "pairs:output:0", body.const("axis", np.int32(1)) + ":output:0")
    body.node("Max", "all", "top:output:0", body.const("zero", np.int32(0)) + ":output:0")
    body.node("Less", "small", "v", body.const("far", np.float32(1e9)) + ":output:0")
    body.node("Where", "where", "small:z:0")
    body.node("Squeeze", "rows", "where:index:0", squeeze_dims=[1])
    body.node("GatherV2", "kept", "v", "rows:output:0", "zero:output:0")
    body.node("Add", "more", "kept:output:0", "all:output:0")
    b.node("StatelessWhile", "loop", np.int32(0), "x", cond=b"test", body=b"body")
    assert b.run(["loop:1"], x=f32([1, 2, 3, 0]))[0].tolist() == [22, 23, 24, 21]


def test_a_part_of_known_size_from_where_data_says() -> None:
    b, x = GraphBuilder(), np.arange(30, dtype=np.float32).reshape(5, 6)
    b.placeholder("x", [5, 6])
    b.placeholder("at", [], np.int32)
    b.node("Pack", "begin", "at", np.int32(1), axis=0, N=2)
    b.node("Slice", "part", "x", "begin", np.array([2, 4], np.int32))
    b.node("Split", "y", np.int32(1), "part", num_split=4)
    assert b.graph(["part"]).outputs[0].shape == (2, 4)
    np.testing.assert_array_equal(b.run(["y:2"], x=x, at=np.array(3, np.int32))[0], x[3:5, 3:4])
