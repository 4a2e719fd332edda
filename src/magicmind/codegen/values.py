"""Values of generated code that read like arithmetic: `Int` (64-bit index), `Vec` (vector or scalar of any type).

A Python int is a constant; an `Int` is known at run time. Both go through the same expressions: Python folds the
constants before LLVM sees them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicmind.codegen import ir

if TYPE_CHECKING:
    from magicmind.codegen.builder import Kernel

I1, I8, I16, I32, I64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))
F16, F32, F64 = ir.HalfType(), ir.FloatType(), ir.DoubleType()
PTR = ir.PointerType()

ELEMENT: dict[str, ir.Type] = {
    "f32": F32,
    "f64": F64,
    "f16": F16,
    "bf16": I16,
    "i64": I64,
    "i32": I32,
    "i16": I16,
    "i8": I8,
    "u64": I64,
    "u32": I32,
    "u16": I16,
    "u8": I8,
    "bool": I8,
}
"""LLVM type of one element in memory, by our dtype name."""

ITEMSIZE = {"f32": 4, "f64": 8, "f16": 2, "i64": 8, "i32": 4, "i16": 2, "i8": 1, "u64": 8, "u32": 4, "u16": 2, "u8": 1}
ITEMSIZE["bool"] = 1
ITEMSIZE["bf16"] = 2  # a storage format: bits in memory, float32 in registers (`kernels/scalar.py`)
NARROW = frozenset(
    {"f8e4m3fn", "f8e4m3fnuz", "f8e5m2", "f8e5m2fnuz", "f8e8m0", "f6e2m3", "f6e3m2", "f4e2m1", "i4", "u4", "i2", "u2"}
)
"""Storage formats of a byte (`codegen/narrow.py`)."""
ELEMENT |= dict.fromkeys(NARROW, I8)
ITEMSIZE |= dict.fromkeys(NARROW, 1)
FLOATS = frozenset({"f16", "f32", "f64"})
UNSIGNED = frozenset({"u8", "u16", "u32", "u64", "bool"})


class Int:
    """A 64-bit signed index computed at run time."""

    __slots__ = ("k", "value")

    def __init__(self, k: Kernel, value: ir.Value) -> None:
        self.k = k
        self.value = value

    def _op(self, name: str, a: Index, b: Index) -> Int:
        return Int(self.k, getattr(self.k.b, name)(self.k.i64(a), self.k.i64(b)))

    def __add__(self, other: Index) -> Int:
        return self if isinstance(other, int) and other == 0 else self._op("add", self, other)

    __radd__ = __add__

    def __sub__(self, other: Index) -> Int:
        return self if isinstance(other, int) and other == 0 else self._op("sub", self, other)

    def __rsub__(self, other: Index) -> Int:
        return self._op("sub", other, self)

    def __mul__(self, other: Index) -> Index:
        if isinstance(other, int) and other in (0, 1):
            return self if other else 0
        return self._op("mul", self, other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Index) -> Int:
        """Quotient of two non-negative numbers."""
        return self if isinstance(other, int) and other == 1 else self._op("udiv", self, other)

    def __rfloordiv__(self, other: Index) -> Int:
        return self._op("udiv", other, self)

    def __mod__(self, other: Index) -> Index:
        """Remainder of two non-negative numbers."""
        return 0 if isinstance(other, int) and other == 1 else self._op("urem", self, other)

    def __rmod__(self, other: Index) -> Int:
        return self._op("urem", other, self)


Index = int | Int


class Vec:
    """A vector of `lanes` elements of `dtype`; `lanes == 1` is a scalar. Booleans are i1 here and bytes in memory."""

    __slots__ = ("dtype", "k", "lanes", "value")

    def __init__(self, k: Kernel, value: ir.Value, dtype: str, lanes: int) -> None:
        self.k = k
        self.value = value
        self.dtype = dtype
        self.lanes = lanes

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    def _arith(self, float_op: str, int_op: str, a: Any, b: Any) -> Vec:
        a, b = self.k.like(a, self), self.k.like(b, self)
        name = float_op if self.is_float else int_op
        return Vec(self.k, getattr(self.k.b, name)(a.value, b.value), self.dtype, self.lanes)

    def __add__(self, other: Any) -> Vec:
        return self._arith("fadd", "add", self, other)

    def __radd__(self, other: Any) -> Vec:
        return self._arith("fadd", "add", other, self)

    def __sub__(self, other: Any) -> Vec:
        return self._arith("fsub", "sub", self, other)

    def __rsub__(self, other: Any) -> Vec:
        return self._arith("fsub", "sub", other, self)

    def __mul__(self, other: Any) -> Vec:
        return self._arith("fmul", "mul", self, other)

    def __rmul__(self, other: Any) -> Vec:
        return self._arith("fmul", "mul", other, self)

    def __truediv__(self, other: Any) -> Vec:
        return self._arith("fdiv", "udiv" if self.dtype in UNSIGNED else "sdiv", self, other)

    def __rtruediv__(self, other: Any) -> Vec:
        return self._arith("fdiv", "udiv" if self.dtype in UNSIGNED else "sdiv", other, self)

    def __neg__(self) -> Vec:
        if self.is_float:
            return Vec(self.k, self.k.b.fneg(self.value), self.dtype, self.lanes)
        return 0 - self

    def __and__(self, other: Any) -> Vec:
        return self._bits("and_", other)

    def __or__(self, other: Any) -> Vec:
        return self._bits("or_", other)

    def __xor__(self, other: Any) -> Vec:
        return self._bits("xor", other)

    def __lshift__(self, other: Any) -> Vec:
        return self._bits("shl", other)

    def __rshift__(self, other: Any) -> Vec:
        """Arithmetic for signed, logical for unsigned elements."""
        return self._bits("lshr" if self.dtype in UNSIGNED else "ashr", other)

    def _bits(self, op: str, other: Any) -> Vec:
        other = self.k.like(other, self)
        return Vec(self.k, getattr(self.k.b, op)(self.value, other.value), self.dtype, self.lanes)

    def compare(self, op: str, other: Any) -> Vec:
        """Lane mask of `self op other`, op one of < <= > >= == !=; NaN compares false except for !=."""
        other = self.k.like(other, self)
        b = self.k.b
        if self.is_float:
            ordered = b.fcmp_unordered if op == "!=" else b.fcmp_ordered
            result = ordered(op, self.value, other.value)
        elif self.dtype in UNSIGNED:
            result = b.icmp_unsigned(op, self.value, other.value)
        else:
            result = b.icmp_signed(op, self.value, other.value)
        return Vec(self.k, result, "bool", self.lanes)
