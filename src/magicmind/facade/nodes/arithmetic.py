"""Nodes that compute element by element, compare, or reduce."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from magicmind.facade.nodes.row import Call, Emit, Emitter, Row, Value, op
from magicmind.facade.status import Refused


def _kinds(table: Mapping[str, str], *operands: str, kind: str = "kind") -> Emit:
    """The operator that an enumeration names."""

    def emit(e: Emitter, c: Call) -> Value:
        word = c.word(kind)
        if word not in table:
            raise Refused(f"{kind} {word!r} is not known", hint=f"known: {', '.join(table)}")
        return e.op(table[word], *(c[name] for name in operands))

    return emit


_ACTIVATIONS = {"RELU": "Relu", "SIGMOID": "Sigmoid", "TANH": "Tanh"}
_LOGIC = {
    "LT": "Less", "LE": "LessOrEqual", "GT": "Greater", "GE": "GreaterOrEqual", "EQ": "Equal", "AND": "And",
    "OR": "Or", "XOR": "Xor",
}  # fmt: skip


def _logic(e: Emitter, c: Call) -> Value:
    kind = c.word("kind")
    if kind == "NE":
        return e.op("Not", e.op("Equal", c["a"], c["b"]))
    if kind == "NOT":
        return e.op("Not", c["a"])
    found: Value = _kinds(_LOGIC, "a", "b")(e, c)
    return found


_REDUCE = {
    "ADD": "ReduceSum", "MEAN": "ReduceMean", "MAX": "ReduceMax", "MIN": "ReduceMin", "MUL": "ReduceProd",
    "AND": "ReduceMin", "OR": "ReduceMax", "NORM1": "ReduceL1", "NORM2": "ReduceL2", "SUMSQ": "ReduceSumSquare",
}  # fmt: skip


def _reduce(e: Emitter, c: Call) -> Value:
    kind = c.word("kind")
    if kind not in _REDUCE:
        raise Refused(f"kind {kind!r} is not known", hint=f"known: {', '.join(_REDUCE)}")
    return e.op(_REDUCE[kind], c["input"], c.i64("axis"), keepdims=int(bool(c["keep_dims"])))


def _std(e: Emitter, c: Call) -> Value:
    """Of all elements, or with `set_unbiased` of a sample: divided by one less."""
    axis, keep = c.i64("axis"), int(c.setting("keep_dims", bool))
    centred = e.op("Sub", c["input"], e.op("ReduceMean", c["input"], axis, keepdims=1))
    squares = e.op("Mul", centred, centred)
    if not c.setting("unbiased", bool):
        return e.op("Sqrt", e.op("ReduceMean", squares, axis, keepdims=keep))
    count = e.op("ReduceProd", e.op("Gather", e.op("Shape", c["input"]), axis, axis=0), keepdims=0)
    less = e.cast_like(e.op("Sub", count, e.const(1, np.int64)), c["input"])
    return e.op("Sqrt", e.op("Div", e.op("ReduceSum", squares, axis, keepdims=keep), less))


def _arg(operator: str) -> Emit:
    return lambda e, c: e.op(
        operator, c["input"], axis=c.number("axis"), keepdims=int(c.setting("keep_dims", bool)),
        select_last_index=int(c.setting("select_last_index", bool)),
    )  # fmt: skip


def _top_k(e: Emitter, c: Call) -> Any:
    flags: dict[str, Any] = {name: int(c.setting(name, bool)) for name in ("largest", "sorted")}
    return e.ops("TopK", c["input"], c.i64("k"), count=2, axis=c.setting("axis", int), **flags)


def _floor_div(e: Emitter, c: Call) -> Value:
    whole = not e.type(c["a"]).dtype.is_floating_point()
    if whole:
        remainder = e.op("Mod", c["a"], c["b"])
        return e.op("Div", e.op("Sub", c["a"], remainder), c["b"])
    return e.op("Floor", e.op("Div", c["a"], c["b"]))


def _floor_mod(e: Emitter, c: Call) -> Value:
    return e.op("Sub", c["a"], e.op("Mul", _floor_div(e, c), c["b"]))


def _squared_difference(e: Emitter, c: Call) -> Value:
    difference = e.op("Sub", c["a"], c["b"])
    return e.op("Mul", difference, difference)


def _log(e: Emitter, c: Call) -> Value:
    base = {"LOG_E": None, "LOG_2": 2.0, "LOG_10": 10.0}[c.word("kind")]
    found = e.op("Log", c["input"])
    return found if base is None else e.op("Div", found, e.scalar(float(np.log(base)), c["input"]))


def _is_finite(e: Emitter, c: Call) -> Value:
    return e.op("Not", e.op("Or", e.op("IsNaN", c["input"]), e.op("IsInf", c["input"])))


def _clip(e: Emitter, c: Call) -> Value:
    return e.op("Clip", c["input"], *(None if c[n] is None else c.scalar(n) for n in ("min", "max")))


def _threshold(e: Emitter, c: Call) -> Value:
    """1 where the input is above the threshold, or with `set_is_const_right_value(False)` the input; else 0."""
    limit = e.scalar(c.setting("threshold", float), c["input"])
    above = e.op("Greater", c["input"], limit)
    if c.setting("is_const_right_value", bool):
        return e.cast_like(above, c["input"])
    return e.op("Where", above, c["input"], e.scalar(0, c["input"]))


def _leaky_relu(e: Emitter, c: Call) -> Value:
    return e.op("LeakyRelu", c["input"], alpha=c.setting("negative_slope", float))


def _tril(e: Emitter, c: Call) -> Value:
    diagonal = 0 if c["diagonal"] is None else c.number("diagonal")
    return e.op("Trilu", c["input"], e.const(diagonal, np.int64), upper=0)


def _axis(operator: str) -> Emit:
    return lambda e, c: e.op(operator, c["input"], axis=c.number("axis"))


ROWS: Sequence[Row] = (
    Row("logic", "a b? .kind", _logic),
    Row("reduce", "input .axis .kind .keep_dims", _reduce),
    Row("activation", "input .activation_type", _kinds(_ACTIVATIONS, "input", kind="activation_type")),
    Row("elementwise", "a b .kind", _kinds({"ADD": "Add", "SUB": "Sub", "MUL": "Mul"}, "a", "b")),
    *(Row(name, "a b", op(operator)) for name, operator in (
        ("div", "Div"), ("maximum", "Max"), ("minimum", "Min"), ("pow", "Pow"),
    )),
    Row("floor_div", "a b", _floor_div),
    Row("floor_mod", "a b", _floor_mod),
    Row("squared_difference", "a b", _squared_difference),
    *(Row(name, "input", op(operator)) for name, operator in (
        ("abs", "Abs"), ("cos", "Cos"), ("sin", "Sin"), ("erf", "Erf"), ("exp", "Exp"), ("floor", "Floor"),
        ("sqrt", "Sqrt"), ("sign", "Sign"), ("softplus", "Softplus"), ("softsign", "Softsign"), ("clone", "Identity"),
    )),
    Row("square", "input", lambda e, c: e.op("Mul", c["input"], c["input"])),
    Row("rsqrt", "input", lambda e, c: e.op("Reciprocal", e.op("Sqrt", c["input"]))),
    Row("is_finite", "input", _is_finite),
    Row("log", "input .kind", _log),
    Row("elu", "input", lambda e, c: e.op("Elu", c["input"], alpha=c.setting("alpha", float)), {"alpha": 1.0}),
    Row("selu", "input", op("Selu")),
    Row("leaky_relu", "input", _leaky_relu, {"negative_slope": 0.01}),
    Row("tril", "input .diagonal?", _tril),
    Row("softmax", "input .axis", _axis("Softmax")),
    Row("log_softmax", "input .axis", _axis("LogSoftmax")),
    Row("std", "input .axis", _std, {"keep_dims": False, "unbiased": False}),
    Row("arg_max", "input .axis", _arg("ArgMax"), {"keep_dims": False, "select_last_index": False}),
    Row("arg_min", "input .axis", _arg("ArgMin"), {"keep_dims": False, "select_last_index": False}),
    Row("top_k", "input .k", _top_k, {"axis": -1, "largest": True, "sorted": True}, results=2),
    Row("threshold", "input", _threshold, {"threshold": 0.0, "is_const_right_value": True}),
    Row("clip", "input min? max?", _clip),
)  # fmt: skip
