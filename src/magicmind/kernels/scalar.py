"""Scalar programs as vector code: one table from operator names to functions on `Vec`.

Meaning is that of `ir/scalar_ops.py` (ONNX's, with numpy's NaN rules). float16 and smaller floats are storage formats:
converted to float32 where memory is read and back where it is written (`load_value`, `store_value`); a program computes
in float32. Integers of 2 and 4 bits are bytes likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from onnx_ir import DataType

from magicmind.codegen import ir, narrow
from magicmind.codegen import math as vm
from magicmind.codegen.builder import Index, Kernel, Pointer
from magicmind.codegen.half import bfloat_to_float, float_to_bfloat, float_to_half, half_to_float
from magicmind.codegen.saturate import packs, round_to_bytes
from magicmind.codegen.values import ITEMSIZE, NARROW, UNSIGNED, Vec
from magicmind.ir.scalar import Argument, ScalarProgram, Statement, Var

KERNEL_DTYPES: dict[DataType, str] = {
    DataType.FLOAT: "f32",
    DataType.DOUBLE: "f64",
    DataType.FLOAT16: "f16",
    DataType.BFLOAT16: "bf16",
    DataType.INT64: "i64",
    DataType.INT32: "i32",
    DataType.INT16: "i16",
    DataType.INT8: "i8",
    DataType.UINT64: "u64",
    DataType.UINT32: "u32",
    DataType.UINT16: "u16",
    DataType.UINT8: "u8",
    DataType.BOOL: "bool",
    DataType.FLOAT8E4M3FN: "f8e4m3fn",
    DataType.FLOAT8E4M3FNUZ: "f8e4m3fnuz",
    DataType.FLOAT8E5M2: "f8e5m2",
    DataType.FLOAT8E5M2FNUZ: "f8e5m2fnuz",
    DataType.FLOAT8E8M0: "f8e8m0",
    DataType.FLOAT6E2M3: "f6e2m3",
    DataType.FLOAT6E3M2: "f6e3m2",
    DataType.FLOAT4E2M1: "f4e2m1",
    DataType.INT4: "i4",
    DataType.UINT4: "u4",
    DataType.INT2: "i2",
    DataType.UINT2: "u2",
}
"""Element types of generated code, by the graph's."""


def compute_dtype(dtype: str) -> str:
    """The type of a value in registers: float16, bfloat16 and smaller floats are computed in float32."""
    return "f32" if dtype in ("f16", "bf16") else narrow.compute_dtype(dtype) or dtype


def load_value(p: Pointer, lanes: int = 1, at: Index = 0, mask: Vec | None = None) -> Vec:
    """`lanes` elements as computed with; lanes where `mask` is false are zero."""
    if p.dtype in NARROW:
        return narrow.decode(p.cast("u8").load(lanes, at, mask), p.dtype)
    if p.dtype == "bf16":
        return bfloat_to_float(p.cast("u16").load(lanes, at, mask))
    if p.dtype != "f16":
        return p.load(lanes, at, mask)
    return half_to_float(p.cast("u16").load(lanes, at, mask))


def store_value(p: Pointer, value: Vec, at: Index = 0, mask: Vec | None = None) -> None:
    """Stores what `load_value` gives; the dtypes must agree."""
    if p.dtype in NARROW:
        p.cast("u8").store(narrow.encode(value, p.dtype), at, mask)
    elif p.dtype == "bf16":
        p.cast("u16").store(float_to_bfloat(value), at, mask)
    elif p.dtype != "f16":
        p.store(value, at, mask)
    else:
        p.cast("u16").store(float_to_half(value), at, mask)


def emit_program(k: Kernel, program: ScalarProgram, values: Mapping[str, Vec], *, fits: bool = False) -> Vec:
    """The result of `program` on one vector of elements.

    `values` holds every input of the program, as computed with (no f16); scalars (one lane) are broadcast where they
    meet vectors. The result has the lanes of the widest value. Rounding to float16 at the end is left to the store.
    `fits`: what `Quantise` rounds at the end is no NaN and within an int32.
    """
    lanes = max((v.lanes for v in values.values()), default=1)
    known = dict(values)
    *statements, last = program.statements
    for statement in statements:
        known[statement.target] = _emit(k, statement, known)
    if last.op == "Cast" and last.args[1] == DataType.FLOAT16:
        return k.broadcast(k.convert(known[next(iter(last.uses()))], "f32"), lanes)
    if last.op == "Quantise" and fits:
        (x,) = (known[name] for name in last.uses())
        return k.broadcast(_quantise(x, *_literals(last), fits=True), lanes)
    return k.broadcast(_emit(k, last, known), lanes)


def is_exact(program: ScalarProgram | None) -> bool:
    """Whether the program's result is quantised: every target must then give the same bits (`Kernel.contract`)."""
    return program is not None and any(s.op == "Quantise" for s in program.statements)


def gives_bytes(program: ScalarProgram) -> bool:
    """Whether the program ends with rounding to bytes."""
    last = program.statements[-1]
    return last.op == "Quantise" and last.args[2] in (DataType.UINT8, DataType.INT8)


def _emit(k: Kernel, statement: Statement, known: Mapping[str, Vec]) -> Vec:
    operands = [_operand(k, statement, i, a, known) for i, a in enumerate(statement.operands)]
    lanes = max(v.lanes for v in operands)
    return _TABLE[statement.op](*(k.broadcast(v, lanes) for v in operands), *_literals(statement))


def _operand(k: Kernel, statement: Statement, index: int, argument: Argument, known: Mapping[str, Vec]) -> Vec:
    if isinstance(argument, Var):
        return known[argument.name]
    assert isinstance(argument, (bool, int, float))
    dtype = _group_dtype(statement, known) if index in statement.row.group else "bool"
    if dtype not in ("f32", "f64"):
        argument = _integer_literal(argument, dtype)
    return k.const(argument, dtype)


def _integer_literal(argument: float, dtype: str) -> int:
    """A literal such as Clip's inf, brought into the range of an integer type."""
    if dtype == "bool" or argument != argument:
        return int(argument == argument and bool(argument))
    bits = 8 * ITEMSIZE[dtype]
    low, high = (0, 2**bits - 1) if dtype in UNSIGNED else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return int(min(max(argument, low), high))


def _group_dtype(statement: Statement, known: Mapping[str, Vec]) -> str:
    """The dtype that the operands of a statement share; literals take it."""
    group = [statement.args[i] for i in statement.row.group]
    for argument in group:
        if isinstance(argument, Var):
            return known[argument.name].dtype
    if all(isinstance(a, bool) for a in group):
        return "bool"
    return "f32" if any(isinstance(a, float) for a in group) else "i64"


def _literals(statement: Statement) -> list[Any]:
    """Attribute arguments. Pow also gets its exponent where that is a literal."""
    literals: list[Any] = list(statement.literals)
    if statement.op == "Pow" and not isinstance(statement.args[1], Var):
        literals.append(statement.args[1])
    return literals


# -- operators ---------------------------------------------------------------------------------------------------------


def _float_only(function: Callable[[Vec], Vec]) -> Callable[[Vec], Vec]:
    """Rounding leaves integers as they are."""
    return lambda x: function(x) if x.is_float else x


def _divide(a: Vec, b: Vec) -> Vec:
    """Integers truncate; x / 0 = 0 and min / -1 = min where the instruction would trap."""
    if a.is_float:
        return a / b
    zero, k = b.compare("==", 0), a.k
    if a.dtype in UNSIGNED:
        return k.select(zero, 0 * a, a / k.select(zero, 0 * b + 1, b))
    minus = b.compare("==", -1)
    quotient = a / k.select(zero | minus, 0 * b + 1, b)
    return k.select(zero, 0 * a, k.select(minus, -a, quotient))


def _modulo(a: Vec, b: Vec, fmod: int) -> Vec:
    """fmod: the sign of the dividend; else that of the divisor, as Python's. Integers modulo 0 give 0."""
    remainder = _float_remainder(a, b) if a.is_float else a - _divide(a, b) * b
    k = a.k
    if not a.is_float:
        remainder = k.select(b.compare("==", 0), 0 * a, remainder)
    if fmod or a.dtype in UNSIGNED:
        return remainder
    crossed = remainder.compare("!=", 0) & (remainder.compare("<", 0) ^ b.compare("<", 0))
    result = k.select(crossed, remainder + b, remainder)
    return k.select(result.compare("==", 0), vm.copy_sign(result, b), result) if a.is_float else result


def _float_remainder(a: Vec, b: Vec) -> Vec:
    """a - b trunc(a / b), exact while the quotient is below 2^53 (f32) and exactly representable otherwise."""
    k = a.k
    x, y = k.convert(a, "f64"), vm.absolute(k.convert(b, "f64"))
    quotient = vm.truncate(vm.absolute(x) / y)
    rest = k.fma(-quotient, y, vm.absolute(x)) if k.contract else vm.absolute(x) - quotient * y
    # The division may round up to the next whole number.
    rest = k.select(rest.compare("<", 0.0), rest + y, rest)
    rest = k.select(rest.compare(">=", y), rest - y, rest)
    rest = k.select(y.compare("==", float("inf")) & vm.absolute(x).compare("<", float("inf")), vm.absolute(x), rest)
    return k.convert(vm.copy_sign(rest, x), a.dtype)


def _power(a: Vec, b: Vec, exponent: float | None = None) -> Vec:
    k = a.k
    if exponent is not None:
        if a.is_float and exponent in (0.5, -0.5):
            root = vm.sqrt(a + 0.0)  # pow(-0, 0.5) is +0
            root = k.select(a.compare("==", -vm.INF), k.const(vm.INF, a.dtype, a.lanes), root)
            return root if exponent > 0 else 1.0 / root
        if float(exponent).is_integer() and (0 if not a.is_float else -4) <= exponent <= (64 if not a.is_float else 4):
            return vm.whole_power(a, int(exponent))
    if a.is_float:
        return vm.power(a, k.convert(b, a.dtype))
    if b.is_float:
        wide = vm.power(k.convert(a, "f64"), k.convert(b, "f64"))
        return k.convert(wide, a.dtype)
    return _integer_power(a, k.convert(b, a.dtype))


def _integer_power(a: Vec, b: Vec) -> Vec:
    """Wraps; a negative exponent truncates 1 / a^|b| (0 for base 0)."""
    k = a.k
    state = k.tile("power", 3, dtype=a.dtype, lanes=a.lanes)  # result, square, what is left of the exponent
    state[(0,)], state[(1,)] = 0 * a + 1, a
    state[(2,)] = b if a.dtype in UNSIGNED else k.select(b.compare("<", 0), 0 * b, b)
    with k.loop("bit", 0, 8 * ITEMSIZE[a.dtype]):
        odd = (state[(2,)] & 1).compare("!=", 0)
        state[(0,)] = k.select(odd, state[(0,)] * state[(1,)], state[(0,)])
        state[(1,)] = state[(1,)] * state[(1,)]
        state[(2,)] = state[(2,)] >> 1
    if a.dtype in UNSIGNED:
        return state[(0,)]
    sign = k.select((b & 1).compare("!=", 0), a, a * a)
    inverse = k.select(a.compare("==", 1) | a.compare("==", -1), sign, 0 * a)
    return k.select(b.compare("<", 0), inverse, state[(0,)])


def _maximum(a: Vec, b: Vec) -> Vec:
    """NaN when either is."""
    k = a.k
    return a | b if a.dtype == "bool" else _keep_nan(k.max(a, b), b)


def _minimum(a: Vec, b: Vec) -> Vec:
    k = a.k
    return a & b if a.dtype == "bool" else _keep_nan(k.min(a, b), b)


def _keep_nan(result: Vec, b: Vec) -> Vec:
    """`Kernel.max` and `min` keep a NaN in their first operand only."""
    constant = isinstance(b.value, ir.Constant)
    return result if constant or not b.is_float else b.k.select(b.compare("!=", b), b, result)


def _sign(x: Vec) -> Vec:
    k, one = x.k, x.k.const(1, x.dtype, x.lanes)
    if x.dtype in UNSIGNED:
        return k.select(x.compare("!=", 0), one, 0)
    zero = x if x.is_float else 0 * x  # keeps NaN
    return k.select(x.compare("<", 0), -one, k.select(x.compare(">", 0), one, zero))


def _relu(x: Vec) -> Vec:
    return x if x.dtype in UNSIGNED else x.k.max(x, 0)


def _prelu(x: Vec, slope: Vec) -> Vec:
    return x.k.select(x.compare("<", 0), x * slope, x)


def _leaky_relu(x: Vec, alpha: float) -> Vec:
    return x.k.select(x.compare("<", 0), x * alpha, x)


def _thresholded_relu(x: Vec, alpha: float) -> Vec:
    return x.k.select(x.compare(">", alpha), x, 0)


def _elu(x: Vec, alpha: float) -> Vec:
    return x.k.select(x.compare("<", 0), vm.expm1(x) * alpha, x)


def _celu(x: Vec, alpha: float) -> Vec:
    return x.k.select(x.compare("<=", 0), x.k.min(vm.expm1(x / alpha) * alpha, 0), x)


def _selu(x: Vec, alpha: float, gamma: float) -> Vec:
    return _elu(x, alpha) * gamma


def _hard_sigmoid(x: Vec, alpha: float, beta: float) -> Vec:
    return x.k.min(x.k.max(x * alpha + beta, 0), 1)


def _hard_swish(x: Vec) -> Vec:
    return x * x.k.min(x.k.max(x * (1 / 6) + 0.5, 0), 1)


def _swish(x: Vec, alpha: float) -> Vec:
    return x * vm.sigmoid(x if alpha == 1 else x * alpha)


def _softsign(x: Vec) -> Vec:
    return x / (vm.absolute(x) + 1)


def _gelu(x: Vec, approximate: str) -> Vec:
    return vm.gelu_tanh(x) if approximate == "tanh" else vm.gelu(x)


def _shrink(x: Vec, lambd: float, bias: float) -> Vec:
    k = x.k
    above = k.select(x.compare(">", lambd), x - bias, 0)
    return k.select(x.compare("<", -lambd), x + bias, above)


def _clip(x: Vec, low: Vec, high: Vec) -> Vec:
    return _minimum(_maximum(x, low), high)


def _is_inf(x: Vec, negative: int, positive: int) -> Vec:
    k = x.k
    result = k.const(False, "bool", x.lanes)
    for wanted, bound in ((negative, -vm.INF), (positive, vm.INF)):
        if wanted:
            result = result | x.compare("==", bound)
    return result


def _shift(a: Vec, b: Vec, direction: str) -> Vec:
    """Shifting by the width or more, or by less than 0, gives 0, or all sign bits when a signed number goes right."""
    bits = 8 * ITEMSIZE[a.dtype]
    inside = b.compare("<", bits)
    if b.dtype not in UNSIGNED:
        inside = inside & b.compare(">=", 0)
    if direction == "RIGHT" and a.dtype not in UNSIGNED:
        return a >> a.k.select(inside, b, bits - 1)
    safe = a.k.select(inside, b, 0)
    return a.k.select(inside, a << safe if direction == "LEFT" else a >> safe, 0)


def _cast(x: Vec, to: DataType, saturate: int = 1, round_mode: str = "up") -> Vec:
    """float16, bfloat16 and smaller floats round, then go on as float32."""
    if KERNEL_DTYPES[to] in NARROW:
        return narrow.round_to(x, KERNEL_DTYPES[to], bool(saturate), round_mode)
    if to == DataType.BFLOAT16:
        return bfloat_to_float(float_to_bfloat(x.k.convert(x, "f32")))
    if to == DataType.FLOAT16:
        return half_to_float(float_to_half(x.k.convert(x, "f32")))
    return x.k.convert(x, KERNEL_DTYPES[to])


_MAGIC = 1.5 * 2.0**23
"""Added to a float32 below 2^22 in magnitude it rounds half to even and leaves the whole number in the last bits."""
_MAGIC_BITS = 0x4B400000


def _quantise(x: Vec, zero: int, to: DataType, *, fits: bool = False) -> Vec:
    """round(x) + zero, saturated, the same bits on every target; a NaN becomes the lowest number."""
    k, dtype = x.k, KERNEL_DTYPES[to]
    bits = 8 * ITEMSIZE[dtype]
    low = 0 if dtype in UNSIGNED else -(2 ** (bits - 1))
    x = k.convert(x, "f32")
    if bits == 8 and packs(k.target, x.lanes):
        return round_to_bytes(x, zero, dtype, fits=fits)
    lowest, highest = (k.const(float(bound - zero), "f32", x.lanes) for bound in (low, low + 2**bits - 1))
    x = k.select(x.compare(">", lowest), x, lowest)  # not `max`, which keeps a NaN
    x = k.select(x.compare("<", highest), x, highest)
    return k.convert(k.bitcast(x + _MAGIC, "i32") - (_MAGIC_BITS - zero), dtype)


def _comparison(op: str) -> Callable[[Vec, Vec], Vec]:
    return lambda a, b: a.compare(op, b)


_TABLE: dict[str, Callable[..., Vec]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": _divide,
    "Pow": _power,
    "Mod": _modulo,
    "Min": _minimum,
    "Max": _maximum,
    "Neg": lambda x: -x,
    "Abs": vm.absolute,
    "Sign": _sign,
    "Reciprocal": lambda x: 1.0 / x,
    "Sqrt": vm.sqrt,
    "Exp": vm.exp,
    "Log": vm.log,
    "Erf": vm.erf,
    "Floor": _float_only(vm.floor),
    "Ceil": _float_only(vm.ceil),
    "Round": _float_only(vm.round_even),
    "Sin": vm.sin,
    "Cos": vm.cos,
    "Tan": vm.tan,
    "Asin": vm.asin,
    "Acos": vm.acos,
    "Atan": vm.atan,
    "Sinh": vm.sinh,
    "Cosh": vm.cosh,
    "Tanh": vm.tanh,
    "Asinh": vm.asinh,
    "Acosh": vm.acosh,
    "Atanh": vm.atanh,
    "Relu": _relu,
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "ThresholdedRelu": _thresholded_relu,
    "Elu": _elu,
    "Celu": _celu,
    "Selu": _selu,
    "Sigmoid": vm.sigmoid,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Swish": _swish,
    "Softplus": vm.softplus,
    "Softsign": _softsign,
    "Mish": vm.mish,
    "Gelu": _gelu,
    "Shrink": _shrink,
    "Clip": _clip,
    "Where": lambda c, a, b: a.k.select(c, a, b),
    "Equal": _comparison("=="),
    "Less": _comparison("<"),
    "Greater": _comparison(">"),
    "LessOrEqual": _comparison("<="),
    "GreaterOrEqual": _comparison(">="),
    "IsNaN": lambda x: x.compare("!=", x),
    "IsInf": _is_inf,
    "And": lambda a, b: a & b,
    "Or": lambda a, b: a | b,
    "Xor": lambda a, b: a ^ b,
    "Not": lambda x: x ^ 1,
    "BitwiseAnd": lambda a, b: a & b,
    "BitwiseOr": lambda a, b: a | b,
    "BitwiseXor": lambda a, b: a ^ b,
    "BitwiseNot": lambda x: x ^ -1,
    "BitShift": _shift,
    "Cast": _cast,
    "NarrowCast": lambda x, saturate, round_mode, to: _cast(x, to, saturate, round_mode),
    "Quantise": _quantise,
    "Identity": lambda x: x,
}
