"""The vocabulary kernels are written in: loops, branches, register tiles, vectors, masks, memory.

A `Kernel` is one function under construction. It owns control flow and memory access; element-wise mathematics is in
`codegen/math.py`, what differs between machines in `Target`. Every loop is recorded in `k.nest`, a printable loop nest.

Function signature (docs/design/0001-architecture.md):
`void f(ptr..., i64 params..., i64 tid, i64 nthreads, ptr scratch)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from magicmind.codegen import ir
from magicmind.codegen.target import Target
from magicmind.codegen.values import ELEMENT, FLOATS, I1, I8, I32, I64, ITEMSIZE, PTR, UNSIGNED, Index, Int, Vec


@dataclass(frozen=True)
class Param:
    """A size known only at run time: the kernel's i64 argument number `index`."""

    index: int

    def __str__(self) -> str:
        return f"p{self.index}"


Size = int | Param


@lru_cache(maxsize=1024)
def _mask(picks: tuple[int, ...]) -> ir.Constant:
    """The lanes of a shuffle: kernels ask for the same few thousands of times."""
    return ir.Constant(ir.VectorType(I32, len(picks)), f"<{', '.join(f'i32 {i}' for i in picks)}>")


@dataclass(frozen=True)
class Pointer:
    """A typed address in generated code."""

    k: Kernel
    value: ir.Value
    dtype: str

    def offset(self, elements: Index) -> Pointer:
        """The address `elements` further on."""
        if isinstance(elements, int) and elements == 0:
            return self
        b = self.k.b
        return Pointer(self.k, b.gep(self.value, self.k.i64(elements), ELEMENT[self.dtype]), self.dtype)

    def cast(self, dtype: str) -> Pointer:
        return Pointer(self.k, self.value, dtype)

    def load(self, lanes: int = 1, at: Index = 0, mask: Vec | None = None) -> Vec:
        """`lanes` consecutive elements; lanes where `mask` is false are zero and not touched."""
        return self.k.load(self.offset(at), lanes, mask)

    def store(self, value: Vec, at: Index = 0, mask: Vec | None = None) -> None:
        self.k.store(self.offset(at), value, mask)


class Tile:
    """Registers indexed like an array; stack slots that LLVM promotes to registers."""

    def __init__(self, k: Kernel, name: str, shape: tuple[int, ...], dtype: str, lanes: int) -> None:
        self.k, self.dtype, self.lanes = k, dtype, lanes
        self.slots = {index: k.alloca(k.vector_type(dtype, lanes), name) for index in _indices(shape)}

    def __getitem__(self, index: tuple[int, ...]) -> Vec:
        return Vec(
            self.k,
            self.k.b.load(self.slots[index], typ=self.k.vector_type(self.dtype, self.lanes)),
            self.dtype,
            self.lanes,
        )

    def __setitem__(self, index: tuple[int, ...], value: Vec) -> None:
        self.k.b.store(value.value, self.slots[index])

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return iter(self.slots)

    def fill(self, value: Vec) -> None:
        for index in self:
            self[index] = value


def _indices(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    result: list[tuple[int, ...]] = [()]
    for extent in shape:
        result = [(*prefix, i) for prefix in result for i in range(extent)]
    return result


class Kernel:
    """One kernel function under construction, in a module of its own."""

    def __init__(
        self, name: str, target: Target, pointers: Sequence[str], params: int = 0, *, contract: bool = True
    ) -> None:
        """`pointers` are the dtypes of the pointer arguments; `params` is the number of run-time sizes.

        `contract`: whether `fma` may round once. Kernels whose results are quantised say no: then every target gives
        the same bits.
        """
        self.name, self.target = name, target
        self.contract = contract and target.fma
        self.module = ir.Module(name)
        self.module.triple = target.triple
        kind = ir.FunctionType(ir.VoidType(), [PTR] * len(pointers) + [I64] * (params + 2) + [PTR])
        self.function = ir.Function(self.module, kind, name)
        self.function.attributes.add("nounwind")
        # Or LLVM turns fill and copy loops into calls of memset and memcpy.
        self.function.attributes.add('"no-builtins"')
        if target.is_x86:  # registers that are spilled would cross cache lines: the stack is aligned to 16 bytes
            self.function.attributes.add('"stackrealign"')
        self._entry = self.function.append_basic_block("entry")
        body = self.function.append_basic_block("body")
        self._allocas = ir.IRBuilder(self._entry)
        self.b = ir.IRBuilder(body)
        self._body = body
        args = list(self.function.args)
        self.pointers = [Pointer(self, a, d) for a, d in zip(args, pointers, strict=False)]
        self.params = [Int(self, a) for a in args[len(pointers) : len(pointers) + params]]
        self.tid, self.nthreads = Int(self, args[-3]), Int(self, args[-2])
        self.scratch = Pointer(self, args[-1], "f32")
        self.nest: list[str] = []
        self._depth = 0

    def finish(self) -> ir.Module:
        """Closes the function and returns its module."""
        self.b.ret_void()
        self._allocas.branch(self._body)
        return self.module

    def note(self, text: str) -> None:
        """Adds a line to the printed loop nest."""
        self.nest.append("  " * self._depth + text)

    # -- constants and conversions -------------------------------------------------------------------------------

    def size(self, size: Size) -> Index:
        """A spec's size as an index: a constant stays a Python int."""
        return self.params[size.index] if isinstance(size, Param) else size

    def i64(self, x: Index | ir.Value) -> ir.Value:
        if isinstance(x, int):
            return ir.Constant(I64, x)
        return x.value if isinstance(x, Int) else x

    def vector_type(self, dtype: str, lanes: int) -> ir.Type:
        return ELEMENT[dtype] if lanes == 1 else ir.VectorType(ELEMENT[dtype], lanes)

    def const(self, value: float | int | bool, dtype: str, lanes: int = 1) -> Vec:
        """A constant in every lane."""
        element = I1 if dtype == "bool" else ELEMENT[dtype]
        number: float | int = float(value) if dtype in FLOATS else int(bool(value)) if dtype == "bool" else int(value)
        one = ir.Constant(element, number)
        if lanes == 1:
            return Vec(self, one, dtype, 1)
        return Vec(self, ir.Constant(ir.VectorType(element, lanes), f"splat ({one.typed})"), dtype, lanes)

    def like(self, x: Any, other: Vec) -> Vec:
        """`x` (number, scalar or vector) with the dtype and lanes of `other`."""
        if not isinstance(x, Vec):
            return self.const(x, other.dtype, other.lanes)
        return self.broadcast(x, other.lanes) if x.lanes != other.lanes else x

    def broadcast(self, x: Vec, lanes: int) -> Vec:
        if x.lanes == lanes:
            return x
        kind = ir.VectorType(x.value.type, lanes)
        nothing = ir.Constant(kind, "poison")
        zero = ir.Constant(ir.VectorType(I32, lanes), None)
        one = self.b.insert_element(nothing, x.value, ir.Constant(I32, 0))
        return Vec(self, self.b.shuffle_vector(one, nothing, zero), x.dtype, lanes)

    def iota(self, lanes: int, dtype: str = "i64") -> Vec:
        """0, 1, 2, ... in the lanes."""
        kind = ELEMENT[dtype]
        return Vec(
            self, ir.Constant(ir.VectorType(kind, lanes), [ir.Constant(kind, i) for i in range(lanes)]), dtype, lanes
        )

    def shuffle(self, a: Vec, b: Vec, picks: Sequence[int]) -> Vec:
        """Lanes `picks` of the concatenation of a and b."""
        return Vec(self, self.b.shuffle_vector(a.value, b.value, _mask(tuple(picks))), a.dtype, len(picks))

    def concatenate(self, parts: Sequence[Vec]) -> Vec:
        """The lanes of 1, 2, 4, ... vectors of one size, one after the other."""
        while len(parts) > 1:
            lanes = range(2 * parts[0].lanes)
            parts = [self.shuffle(x, y, lanes) for x, y in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    def repeat(self, x: Vec, times: int) -> Vec:
        """The lanes of x so many times over."""
        return x if times == 1 else self.shuffle(x, x, [*range(x.lanes)] * times)

    def lane(self, x: Vec, i: int) -> Vec:
        """One lane as a scalar."""
        return Vec(self, self.b.extract_element(x.value, ir.Constant(I32, i)), x.dtype, 1)

    def number(self, x: Index, dtype: str = "i64") -> Vec:
        """An index as a scalar value."""
        value = Vec(self, self.i64(x), "i64", 1)
        return value if dtype == "i64" else self.convert(value, dtype)

    def index(self, x: Vec) -> Int:
        """A scalar integer value as an index."""
        return Int(self, self.convert(x, "i64").value)

    def convert(self, x: Vec, dtype: str) -> Vec:
        """Value conversion like a C cast (float to int truncates and saturates; NaN gives 0)."""
        if dtype == x.dtype:
            return x
        if dtype == "bool":
            return x.compare("!=", 0)
        b = self.b
        element = ELEMENT[dtype]
        to = element if x.lanes == 1 else ir.VectorType(element, x.lanes)
        unsigned = x.dtype in UNSIGNED
        if x.is_float and dtype in FLOATS:
            wider = ITEMSIZE[dtype] > ITEMSIZE[x.dtype]
            value = b.fpext(x.value, to) if wider else b.fptrunc(x.value, to)
        elif x.dtype == "f32" and dtype == "i32":
            value = self._to_int32(x).value
        elif x.is_float:
            value = self.intrinsic(
                f"llvm.fpto{'u' if dtype in UNSIGNED else 's'}i.sat", to, [x.value], [to, x.value.type]
            )
        elif dtype in FLOATS:
            value = b.uitofp(x.value, to) if unsigned else b.sitofp(x.value, to)
        elif x.dtype == "bool" or ITEMSIZE[dtype] > ITEMSIZE[x.dtype]:
            value = b.zext(x.value, to) if unsigned else b.sext(x.value, to)
        elif ITEMSIZE[dtype] < ITEMSIZE[x.dtype]:
            value = b.trunc(x.value, to)
        else:
            value = x.value
        return Vec(self, value, dtype, x.lanes)

    def _to_int32(self, x: Vec) -> Vec:
        """Truncates and saturates; LLVM's own way takes the elements one by one."""
        to = I32 if x.lanes == 1 else ir.VectorType(I32, x.lanes)
        inside = self.min(self.max(x, -(2.0**31)), 2.0**31 - 128)  # the largest float32 below 2^31
        value = Vec(self, self.b.fptosi(inside.value, to), "i32", x.lanes)
        value = self.select(x.compare(">=", 2.0**31), self.const(2**31 - 1, "i32", x.lanes), value)
        return self.select(x.compare("!=", x), self.const(0, "i32", x.lanes), value)

    def bitcast(self, x: Vec, dtype: str) -> Vec:
        return Vec(self, self.b.bitcast(x.value, self.vector_type(dtype, x.lanes)), dtype, x.lanes)

    def intrinsic(
        self, name: str, result: ir.Type, args: Sequence[ir.Value], overloads: Sequence[ir.Type] = ()
    ) -> ir.Value:
        """Calls an LLVM intrinsic; `overloads` are the types its mangled name carries."""
        full = ".".join([name, *map(_mangle, overloads)])
        function = self.module.globals.get(full)
        if function is None:
            function = ir.Function(self.module, ir.FunctionType(result, [a.type for a in args]), full)
        return self.b.call(function, args)

    # -- arithmetic ------------------------------------------------------------------------------------------------

    def fma(self, a: Vec, b: Vec, c: Vec, *, exact: bool = False) -> Vec:
        """a * b + c, in one rounding where the target and the kernel have it (without FMA, LLVM would call libm).

        `exact`: the result needs no rounding, so that contracting it changes nothing.
        """
        if not (self.contract or (exact and self.target.fma)):
            return a * b + c
        a, b = self.like(a, c), self.like(b, c)
        return Vec(
            self,
            self.intrinsic("llvm.fma", c.value.type, [a.value, b.value, c.value], [c.value.type]),
            c.dtype,
            c.lanes,
        )

    def select(self, mask: Vec, a: Vec, b: Any) -> Vec:
        b = self.like(b, a)
        return Vec(self, self.b.select(mask.value, a.value, b.value), a.dtype, a.lanes)

    def max(self, a: Vec, b: Any) -> Vec:
        """Larger of two; a NaN in `a` is kept (`b` is usually a constant)."""
        b = self.like(b, a)
        return self.select(b.compare(">", a), b, a)

    def min(self, a: Vec, b: Any) -> Vec:
        """Smaller of two; a NaN in `a` is kept."""
        b = self.like(b, a)
        return self.select(b.compare("<", a), b, a)

    def index_min(self, a: Index, b: Index) -> Index:
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b)
        return Int(self, self.b.select(self.b.icmp_signed("<", self.i64(a), self.i64(b)), self.i64(a), self.i64(b)))

    def index_max(self, a: Index, b: Index) -> Index:
        if isinstance(a, int) and isinstance(b, int):
            return max(a, b)
        return Int(self, self.b.select(self.b.icmp_signed(">", self.i64(a), self.i64(b)), self.i64(a), self.i64(b)))

    def index_select(self, condition: ir.Value | bool, a: Index, b: Index) -> Index:
        """a where the condition holds, else b."""
        if isinstance(condition, bool):
            return a if condition else b
        return Int(self, self.b.select(condition, self.i64(a), self.i64(b)))

    def ceildiv(self, a: Index, b: Index) -> Index:
        return (a + (b - 1)) // b

    # -- memory ----------------------------------------------------------------------------------------------------

    def alloca(self, kind: ir.Type, name: str = "") -> ir.Value:
        return self._allocas.alloca(kind, name=name)

    def tile(self, name: str, *shape: int, dtype: str = "f32", lanes: int = 16) -> Tile:
        """A register tile; `tile[i, j]` reads and writes one register."""
        self.note(f"registers {name}{list(shape)} of {dtype}x{lanes}")
        return Tile(self, name, shape, dtype, lanes)

    def load(self, p: Pointer, lanes: int = 1, mask: Vec | None = None) -> Vec:
        kind, align = self.vector_type(p.dtype, lanes), ITEMSIZE[p.dtype]
        if mask is None:
            value = self.b.load(p.value, typ=kind, align=align)
        else:
            zero = ir.Constant(kind, None)
            value = self.intrinsic(
                "llvm.masked.load", kind, [p.value, ir.Constant(I32, align), mask.value, zero], [kind, PTR]
            )
        if p.dtype == "bool":
            value = self.b.icmp_unsigned("!=", value, ir.Constant(kind, None))
        return Vec(self, value, p.dtype, lanes)

    def store(self, p: Pointer, x: Vec, mask: Vec | None = None) -> None:
        value, align = x.value, ITEMSIZE[p.dtype]
        if p.dtype == "bool":
            value = self.b.zext(value, self.vector_type("bool", x.lanes))
        if mask is None:
            self.b.store(value, p.value, align=align)
        else:
            self.intrinsic(
                "llvm.masked.store",
                ir.VoidType(),
                [value, p.value, ir.Constant(I32, align), mask.value],
                [value.type, PTR],
            )

    def first_lanes(self, count: Index, lanes: int) -> Vec | None:
        """Mask of the first `count` lanes; None when all are known to be in."""
        if isinstance(count, int) and count >= lanes:
            return None
        limit = self.broadcast(Vec(self, self.i64(count), "i64", 1), lanes)
        return self.iota(lanes).compare("<", limit)

    def prefetch(self, p: Pointer, level: int = 2) -> None:
        """Asks for a cache line; level 1 to 3 counts from the nearest cache."""
        args = [p.value, *(ir.Constant(I32, n) for n in (0, 4 - level, 1))]
        self.intrinsic("llvm.prefetch", ir.VoidType(), args, [PTR])

    # -- control flow ----------------------------------------------------------------------------------------------

    @contextmanager
    def loop(self, name: str, start: Index, stop: Index, step: Index = 1) -> Iterator[Index]:
        """`for name in start..stop step step`. A loop known to run once is no loop: its index is the constant."""
        self.note(f"for {name} in {_text(start)}..{_text(stop)} step {_text(step)}")
        self._depth += 1
        if isinstance(start, int) and isinstance(stop, int) and isinstance(step, int) and start < stop <= start + step:
            yield start
        else:
            yield from self._loop(name, start, stop, step)
        self._depth -= 1

    def _loop(self, name: str, start: Index, stop: Index, step: Index) -> Iterator[Index]:
        f, b = self.function, self.b
        head, body, done = (f.append_basic_block(f"{name}.{part}") for part in ("head", "body", "done"))
        before = b.block
        stop_value = self.i64(stop)
        b.branch(head)
        b.position_at_end(head)
        i = b.phi(I64, name)
        i.add_incoming(self.i64(start), before)
        b.cbranch(b.icmp_signed("<", i, stop_value), body, done)
        b.position_at_end(body)
        yield Int(self, i)
        i.add_incoming(b.add(i, self.i64(step), ("nsw",)), b.block)
        b.branch(head)
        b.position_at_end(done)

    def opaque(self, value: int) -> Int:
        """The constant as a run-time value that LLVM cannot see through: a loop up to it keeps the shape it was given.

        (LLVM unrolls short constant loops completely and then spills the register tile.)
        """
        same = ir.InlineAsm(ir.FunctionType(I64, [I64]), "", "=r,0")
        return Int(self, self.b.call(same, [ir.Constant(I64, value)]))

    def unroll(self, name: str, count: int) -> range:
        """A loop written out `count` times."""
        self.note(f"  unroll {name} x{count}")
        return range(count)

    def less(self, a: Index, b: Index) -> ir.Value | bool:
        if isinstance(a, int) and isinstance(b, int):
            return a < b
        return self.b.icmp_signed("<", self.i64(a), self.i64(b))

    def equal(self, a: Index, b: Index) -> ir.Value | bool:
        if isinstance(a, int) and isinstance(b, int):
            return a == b
        return self.b.icmp_signed("==", self.i64(a), self.i64(b))

    @contextmanager
    def when(self, condition: ir.Value | Vec | bool) -> Iterator[None]:
        """Runs the block where the condition holds."""
        value = condition.value if isinstance(condition, Vec) else condition
        if isinstance(value, bool):
            value = ir.Constant(I1, int(value))
        then, done = self.function.append_basic_block("then"), self.function.append_basic_block("endif")
        self.b.cbranch(value, then, done)
        self.b.position_at_end(then)
        self._depth += 1
        yield
        self._depth -= 1
        self.b.branch(done)
        self.b.position_at_end(done)

    def thread_range(self, total: Index) -> tuple[Index, Index]:
        """This thread's contiguous share [first, last) of `total` items; thread 0 gets the larger one."""
        n = self.nthreads
        return (total * self.tid + (n - 1)) // n, (total * (self.tid + 1) + (n - 1)) // n

    def variable(self, value: Index, name: str = "var") -> Variable:
        """A mutable index."""
        return Variable(self, value, name)


class Variable:
    """A 64-bit variable in a stack slot."""

    def __init__(self, k: Kernel, value: Index, name: str) -> None:
        self.k, self.slot = k, k.alloca(I64, name)
        self.set(value)

    def get(self) -> Int:
        return Int(self.k, self.k.b.load(self.slot, typ=I64))

    def set(self, value: Index) -> None:
        self.k.b.store(self.k.i64(value), self.slot)


def _mangle(kind: ir.Type) -> str:
    if isinstance(kind, ir.PointerType):
        return "p0"
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{_mangle(kind.element)}"
    names: dict[ir.Type, str] = {ir.HalfType(): "f16", ir.FloatType(): "f32", ir.DoubleType(): "f64"}
    return names.get(kind, kind.text)


def _text(x: Index) -> str:
    return str(x) if isinstance(x, int) else "?"


__all__ = ["I8", "Index", "Int", "Kernel", "Param", "Pointer", "Size", "Tile", "Variable", "Vec"]
