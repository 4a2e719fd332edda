"""Operators that work element by element, with numpy broadcasting: unary, binary, variadic, Where, Clip, Cast.

One table: name -> (inputs, output dtype).  Their scalar meaning is in `ir/scalar_ops.py`.  Shape arithmetic that
exporters write with them (`Div(Shape(x), 2)`) is followed symbolically.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir

from magicmind.errors import ModelFormatError, ShapeError
from magicmind.ir.dims import Dim, bounds, dim_max, dim_min, exact_div
from magicmind.ir.evaluate import evaluate_op
from magicmind.ir.narrow import NARROW, cast_narrow
from magicmind.ir.scalar import Var, single
from magicmind.ir.types import TensorType, dtype_name
from magicmind.ops.registry import Array, NodeView, Op
from magicmind.ops.shapes import FLOATS, broadcast, need_float, need_same_dtype

BOOL = onnx_ir.DataType.BOOL

FLOAT_UNARY = [
    "Sqrt",
    "Exp",
    "Log",
    "Erf",
    "Floor",
    "Ceil",
    "Round",
    "Reciprocal",
    "Sin",
    "Cos",
    "Tan",
    "Asin",
    "Acos",
    "Atan",
    "Sinh",
    "Cosh",
    "Tanh",
    "Asinh",
    "Acosh",
    "Atanh",
    "LeakyRelu",
    "ThresholdedRelu",
    "Elu",
    "Celu",
    "Selu",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Swish",
    "Softplus",
    "Softsign",
    "Mish",
    "Gelu",
]
ANY_UNARY = ["Neg", "Abs", "Sign", "Relu", "Shrink", "Identity", "BitwiseNot"]
TEST_UNARY = ["IsNaN", "IsInf"]
SAME_BINARY = ["Add", "Sub", "Mul", "Div", "Pow", "Mod", "PRelu", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift"]
COMPARE = ["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"]
LOGIC = ["And", "Or", "Xor"]
VARIADIC = ["Max", "Min", "Sum", "Mean"]

table = {name: Op(name) for name in (*FLOAT_UNARY, *ANY_UNARY, *TEST_UNARY, *SAME_BINARY, *COMPARE, *LOGIC, *VARIADIC)}
not_ = Op("Not")
where = Op("Where")
clip = Op("Clip")
cast = Op("Cast")
cast_like = Op("CastLike")


def infer_float_unary(node: NodeView) -> list[TensorType]:
    """Floats of the same shape."""
    return [need_float(node.input(0))]


def infer_any_unary(node: NodeView) -> list[TensorType]:
    """Same dtype, same shape."""
    return [node.input(0)]


def infer_test(node: NodeView) -> list[TensorType]:
    """bool of the same shape."""
    return [TensorType(BOOL, need_float(node.input(0)).shape)]


def infer_binary(node: NodeView) -> list[TensorType]:
    """The broadcast shape; dtype of the first input, which only Pow lets the second differ from."""
    a, b = node.input(0), node.input(1)
    if node.op_type != "Pow":
        need_same_dtype(a, b)
    shape = broadcast(a.dims, b.dims)
    if node.op_type == "PRelu" and shape != a.dims:
        raise ShapeError("slope is larger than the input")
    return [TensorType(a.dtype, shape)]


def infer_compare(node: NodeView) -> list[TensorType]:
    """bool of the broadcast shape."""
    a, b = node.input(0), node.input(1)
    need_same_dtype(a, b)
    return [TensorType(BOOL, broadcast(a.dims, b.dims))]


def infer_logic(node: NodeView) -> list[TensorType]:
    """bool in, bool out."""
    for t in node.inputs:
        if t.dtype != BOOL:
            raise ShapeError(f"inputs must be bool, one is {dtype_name(t.dtype)}")
    return infer_compare(node)


def infer_variadic(node: NodeView) -> list[TensorType]:
    """One or more inputs of one dtype; the shape all broadcast to."""
    if not node.inputs:
        raise ModelFormatError("at least one input is needed")
    return [TensorType(need_same_dtype(*node.inputs), broadcast(*(t.dims for t in node.inputs)))]


_RULES = (
    (FLOAT_UNARY, infer_float_unary),
    (ANY_UNARY, infer_any_unary),
    (TEST_UNARY, infer_test),
    (SAME_BINARY, infer_binary),
    (COMPARE, infer_compare),
    (LOGIC, infer_logic),
    (VARIADIC, infer_variadic),
)
for _names, _rule in _RULES:
    for _name in _names:
        table[_name].infer(_rule)


@not_.infer
def infer_not(node: NodeView) -> list[TensorType]:
    """bool in, bool out."""
    x = node.input(0)
    if x.dtype != BOOL:
        raise ShapeError(f"the input must be bool, not {dtype_name(x.dtype)}")
    return [x]


@where.infer
def infer_where(node: NodeView) -> list[TensorType]:
    """A bool condition selects from two tensors of one dtype; all three broadcast."""
    condition, a, b = node.input(0), node.input(1), node.input(2)
    if condition.dtype != BOOL:
        raise ShapeError(f"the condition must be bool, not {dtype_name(condition.dtype)}")
    return [TensorType(need_same_dtype(a, b), broadcast(condition.dims, a.dims, b.dims))]


@clip.infer
def infer_clip(node: NodeView) -> list[TensorType]:
    """Limits are scalars of the input's dtype."""
    x = node.input(0)
    for i in (1, 2):
        if node.has(i):
            need_same_dtype(x, node.input(i))
            if node.input(i).size != 1:
                raise ShapeError(f"input {i} must be a scalar")
    return [x]


@cast.infer
def infer_cast(node: NodeView) -> list[TensorType]:
    """The dtype `to`, same shape."""
    need_round_mode(node)
    return [TensorType(cast_target(node), node.input(0).shape)]


@cast_like.infer
def infer_cast_like(node: NodeView) -> list[TensorType]:
    """The dtype of the second input, the shape of the first."""
    need_round_mode(node)
    return [TensorType(node.input(1).dtype, node.input(0).shape)]


def need_round_mode(node: NodeView) -> None:
    """Raises ModelFormatError for a `round_mode` that ONNX does not have."""
    if (mode := node.attr("round_mode", "up")) not in ("up", "down", "nearest"):
        raise ModelFormatError(f"attribute 'round_mode' is {mode!r}", hint="up, down or nearest")


def cast_target(node: NodeView) -> onnx_ir.DataType:
    """The attribute `to`.  Raises ModelFormatError when absent or no dtype."""
    code = node.attr("to", 0)
    try:
        return onnx_ir.DataType(code)
    except ValueError:
        code = 0
    if not code:
        raise ModelFormatError(f"attribute 'to' is {node.attr('to', 0)}; a dtype is needed")
    return onnx_ir.DataType(code)


# ------------------------------------------------------------------------------------------------ symbolic contents


def data_binary(node: NodeView) -> list[Array | None]:
    """Arithmetic on dims; None where a quotient is not known to be a whole number."""
    a, b = node.data(0), node.data(1)
    if a is None or b is None or len(node.node.inputs) > 2:
        return [None]
    exact = node.input(0).dtype in FLOATS
    towards_zero = node.op_type == "Div" or node.attr("fmod", 0) == 1
    combine = np.frompyfunc(lambda x, y: _combine(node.op_type, x, y, exact, towards_zero), 2, 1)
    with np.errstate(invalid="ignore"):  # bounds of dims are infinite at times, numpy reads the CPU's flags
        result = np.asarray(combine(a, b), object)
    return [None if any(d is None for d in result.flat) else result]


def _combine(op: str, a: Dim, b: Dim, exact: bool, towards_zero: bool) -> Any:
    if op == "Div" and exact:
        return exact_div(a, b)
    if op not in ("Div", "Mod"):
        return _COMBINE[op](a, b)
    if bounds(b, {})[0] <= 0:
        return exact_div(a, b) if op == "Div" and b != 0 else None  # of no remainder no rounding depends on signs
    if bounds(a, {})[0] >= 0 or not towards_zero:
        return _COMBINE[op](a, b)
    # Dims round down, ONNX's quotient towards zero. Of the two parts at most one is not 0.
    quotient = dim_max(a, 0) // b - dim_max(0 - a, 0) // b
    return quotient if op == "Div" else a - quotient * b


_COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a // b,
    "Mod": lambda a, b: a % b,
    "Max": dim_max,
    "Min": dim_min,
}
for _name in _COMBINE:
    table[_name].data(data_binary)


def data_same(node: NodeView) -> list[Array | None]:
    """The contents of input 0: identities, and roundings of what is whole already."""
    return [node.data(0)]


for _name in ("Identity", "Floor", "Ceil", "Round"):
    table[_name].data(data_same)


@table["Neg"].data
def data_negative(node: NodeView) -> list[Array | None]:
    """As `0 - x`."""
    found = node.data(0)
    return [None if found is None else np.asarray(0 - found, object)]


@cast.data
def data_cast(node: NodeView) -> list[Array | None]:
    """Numbers stay what they are; to bool they do not."""
    return [None if cast_target(node) == BOOL else node.data(0)]


@table["Equal"].data
def data_equal(node: NodeView) -> list[Array | None]:
    """Known where every pair is provably equal or provably not, as in `Equal(shape, -1)`."""
    a, b = node.data(0), node.data(1)
    if a is None or b is None:
        return [None]
    result = np.asarray(np.frompyfunc(_equal, 2, 1)(a, b), object)
    return [None if any(d is None for d in result.flat) else result.astype(bool)]


def _equal(a: Dim, b: Dim) -> bool | None:
    low, high = bounds(a - b, {})
    if low > 0 or (high is not None and high < 0):
        return False
    return True if a == b else None


@where.data
def data_where(node: NodeView) -> list[Array | None]:
    """Selection by a known condition."""
    condition, a, b = node.const(0), node.data(1), node.data(2)
    if condition is None or a is None or b is None:
        return [None]
    return [np.where(condition, a, b)]


# ------------------------------------------------------------------------------------------------------- reference


@cast.reference
@cast_like.reference
def reference_cast(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """Casts to narrow types by ONNX's tables, which onnx's evaluator follows in part; the other ones by that."""
    view, x = NodeView(node), np.asarray(arrays[0])
    to = cast_target(view) if node.op_type == "Cast" else onnx_ir.DataType.from_numpy(np.asarray(arrays[1]).dtype)
    if to in NARROW:
        return [cast_narrow(x, to, bool(view.attr("saturate", 1)), view.attr("round_mode", "up"))]
    return evaluate_op("Cast", [x], {"to": int(to)})


@table["Gelu"].reference
def reference_gelu(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """By its scalar program; onnx's evaluator has none."""
    approximate = NodeView(node).attr("approximate", "none")
    return [single("Gelu", Var("x0"), approximate).evaluate({"x0": np.asarray(arrays[0])})]
