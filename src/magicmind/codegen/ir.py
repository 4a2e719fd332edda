"""LLVM IR, written as text line by line while it is built.

Names and signatures are those of llvmlite's `ir`, as far as generated code needs them. Its values keep their operands
and print themselves at the end; ours are text from the start, since nothing here looks back at an instruction: half
the time of building a network whose kernels are known went there.

Source: LLVM Language Reference Manual (LLVM 20).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class Type:
    """A type by its text."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Type) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


class IntType(Type):
    __slots__ = ("width",)

    def __init__(self, width: int) -> None:
        super().__init__(f"i{width}")
        self.width = width


class HalfType(Type):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("half")


class FloatType(Type):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("float")


class DoubleType(Type):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("double")


class VoidType(Type):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("void")


class PointerType(Type):
    """An address of anything."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("ptr")


class VectorType(Type):
    __slots__ = ("count", "element")

    def __init__(self, element: Type, count: int) -> None:
        super().__init__(f"<{count} x {element.text}>")
        self.element, self.count = element, count


class ArrayType(Type):
    __slots__ = ()

    def __init__(self, element: Type, count: int) -> None:
        super().__init__(f"[{count} x {element.text}]")


class FunctionType(Type):
    __slots__ = ("args", "result")

    def __init__(self, result: Type, args: Sequence[Type]) -> None:
        super().__init__(f"{result.text} ({', '.join(a.text for a in args)})")
        self.result, self.args = result, tuple(args)


_NOT_IN_NAMES = re.compile(r"[^\w.]")
_I1, _PTR, _VOID = IntType(1), PointerType(), VoidType()


class Value:
    """An operand: its type and how it is written."""

    __slots__ = ("text", "type")

    def __init__(self, kind: Type, text: str) -> None:
        self.type, self.text = kind, text

    @property
    def typed(self) -> str:
        return f"{self.type.text} {self.text}"


class Constant(Value):
    """A number, or a text as LLVM spells it; None is zero in every lane, a list has a constant for each."""

    __slots__ = ()

    def __init__(self, kind: Type, value: float | str | Sequence[Constant] | None) -> None:
        super().__init__(kind, _constant_text(kind, value))


def _constant_text(kind: Type, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or "zeroinitializer"
    if isinstance(kind, VectorType):
        return f"<{', '.join(c.typed for c in value)}>"
    if isinstance(kind, IntType):
        return ("true" if value else "false") if kind.width == 1 else str(int(value))
    if isinstance(kind, HalfType):
        return f"0xH{struct.unpack('<H', struct.pack('<e', value))[0]:04X}"
    if isinstance(kind, FloatType):  # written as the double of the same value
        value = struct.unpack("<f", struct.pack("<f", value))[0]
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016x}"


class InlineAsm(Value):
    """Assembly in the place of a function."""

    __slots__ = ("kind",)

    def __init__(self, kind: FunctionType, assembly: str, constraints: str) -> None:
        super().__init__(_PTR, f'asm "{assembly}", "{constraints}"')
        self.kind = kind


class Module:
    """Functions in the order in which they were made."""

    def __init__(self, name: str) -> None:
        self.name, self.triple = name, ""
        self.globals: dict[str, Function] = {}
        self._metadata: dict[str, str] = {}

    def metadata(self, text: str) -> str:
        """The name of a node of metadata."""
        return self._metadata.setdefault(text, f"!{len(self._metadata)}")

    def __str__(self) -> str:
        head = f'target triple = "{self.triple}"'
        nodes = (f"{name} = {text}" for text, name in self._metadata.items())
        return "\n".join([head, *map(str, self.globals.values()), *nodes, ""])


class Function(Value):
    """A function; without blocks a declaration."""

    __slots__ = ("_names", "args", "attributes", "blocks", "kind", "module", "name")

    def __init__(self, module: Module, kind: FunctionType, name: str) -> None:
        super().__init__(_PTR, f'@"{name}"')
        self.module, self.kind, self.name = module, kind, name
        self.args = [Value(a, f"%a{i}") for i, a in enumerate(kind.args)]
        self.attributes: set[str] = set()
        self.blocks: list[Block] = []
        self._names = 0
        module.globals[name] = self

    def next_name(self) -> str:
        """For a value that nobody named."""
        self._names += 1
        return f"%v{self._names}"

    def new_name(self, name: str) -> str:
        """One that no value and no block of this function has."""
        self._names += 1
        return f"%{_NOT_IN_NAMES.sub('_', name)}.{self._names}"

    def append_basic_block(self, name: str) -> Block:
        block = Block(self, self.new_name(name)[1:])
        self.blocks.append(block)
        return block

    def __str__(self) -> str:
        attributes = " ".join(sorted(self.attributes))
        if not self.blocks:
            args = ", ".join(a.text for a in self.kind.args)
            return f"declare {self.kind.result} {self.text}({args}) {attributes}"
        lines = [f"define {self.kind.result} {self.text}({', '.join(a.typed for a in self.args)}) {attributes} {{"]
        for block in self.blocks:
            lines.append(f"{block.name}:")
            lines += map(str, block.lines)  # what is not finished before the end stands there as an object
        return "\n".join([*lines, "}"])


class Block:
    """Instructions from a label to a branch."""

    __slots__ = ("function", "lines", "name")

    def __init__(self, function: Function, name: str) -> None:
        self.function, self.name = function, name
        self.lines: list[str | Phi | Switch] = []

    @property
    def label(self) -> str:
        return f"label %{self.name}"


class Phi(Value):
    """A value that depends on the block before."""

    __slots__ = ("_incoming",)

    def __init__(self, kind: Type, text: str) -> None:
        super().__init__(kind, text)
        self._incoming: list[str] = []

    def add_incoming(self, value: Value, block: Block) -> None:
        self._incoming.append(f"[{value.text}, %{block.name}]")

    def __str__(self) -> str:
        return f"{self.text} = phi {self.type.text} {', '.join(self._incoming)}"


class Switch:
    """A branch that depends on a number."""

    __slots__ = ("_cases", "_head")

    def __init__(self, value: Value, default: Block) -> None:
        self._head = f"switch {value.typed}, {default.label}"
        self._cases: list[str] = []

    def add_case(self, value: Constant, block: Block) -> None:
        self._cases.append(f"{value.typed}, {block.label}")

    def __str__(self) -> str:
        return f"{self._head} [{' '.join(self._cases)}]"


_SIGNED = {"==": "eq", "!=": "ne", "<": "slt", "<=": "sle", ">": "sgt", ">=": "sge"}
_UNSIGNED = {"==": "eq", "!=": "ne", "<": "ult", "<=": "ule", ">": "ugt", ">=": "uge"}
_ORDERED = {"==": "oeq", "!=": "one", "<": "olt", "<=": "ole", ">": "ogt", ">=": "oge"}
_UNORDERED = {"==": "ueq", "!=": "une", "<": "ult", "<=": "ule", ">": "ugt", ">=": "uge"}


class IRBuilder:
    """Appends instructions to a block."""

    def __init__(self, block: Block) -> None:
        self.position_at_end(block)

    def position_at_end(self, block: Block) -> None:
        self.block, self._function = block, block.function
        self._append = block.lines.append

    def _value(self, kind: Type, text: str) -> Value:
        name = self._function.next_name()
        self._append(f"{name} = {text}")
        return Value(kind, name)

    # -- arithmetic ------------------------------------------------------------------------------------------------

    def _binary(self, op: str, a: Value, b: Value) -> Value:
        return self._value(a.type, f"{op} {a.type.text} {a.text}, {b.text}")

    def add(self, a: Value, b: Value, flags: Sequence[str] = ()) -> Value:
        return self._binary(" ".join(["add", *flags]), a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self._binary("sub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self._binary("mul", a, b)

    def udiv(self, a: Value, b: Value) -> Value:
        return self._binary("udiv", a, b)

    def sdiv(self, a: Value, b: Value) -> Value:
        return self._binary("sdiv", a, b)

    def urem(self, a: Value, b: Value) -> Value:
        return self._binary("urem", a, b)

    def shl(self, a: Value, b: Value) -> Value:
        return self._binary("shl", a, b)

    def lshr(self, a: Value, b: Value) -> Value:
        return self._binary("lshr", a, b)

    def ashr(self, a: Value, b: Value) -> Value:
        return self._binary("ashr", a, b)

    def and_(self, a: Value, b: Value) -> Value:
        return self._binary("and", a, b)

    def or_(self, a: Value, b: Value) -> Value:
        return self._binary("or", a, b)

    def xor(self, a: Value, b: Value) -> Value:
        return self._binary("xor", a, b)

    def fadd(self, a: Value, b: Value) -> Value:
        return self._binary("fadd", a, b)

    def fsub(self, a: Value, b: Value) -> Value:
        return self._binary("fsub", a, b)

    def fmul(self, a: Value, b: Value) -> Value:
        return self._binary("fmul", a, b)

    def fdiv(self, a: Value, b: Value) -> Value:
        return self._binary("fdiv", a, b)

    def fneg(self, x: Value) -> Value:
        return self._value(x.type, f"fneg {x.typed}")

    def not_(self, x: Value) -> Value:
        """Of a truth value."""
        return self._value(x.type, f"xor {x.typed}, true")

    # -- comparisons -----------------------------------------------------------------------------------------------

    def _compare(self, op: str, a: Value, b: Value) -> Value:
        kind = VectorType(_I1, a.type.count) if isinstance(a.type, VectorType) else _I1
        return self._value(kind, f"{op} {a.type.text} {a.text}, {b.text}")

    def icmp_signed(self, op: str, a: Value, b: Value) -> Value:
        return self._compare(f"icmp {_SIGNED[op]}", a, b)

    def icmp_unsigned(self, op: str, a: Value, b: Value) -> Value:
        return self._compare(f"icmp {_UNSIGNED[op]}", a, b)

    def fcmp_ordered(self, op: str, a: Value, b: Value) -> Value:
        """False where one is NaN."""
        return self._compare(f"fcmp {_ORDERED[op]}", a, b)

    def fcmp_unordered(self, op: str, a: Value, b: Value) -> Value:
        """True where one is NaN."""
        return self._compare(f"fcmp {_UNORDERED[op]}", a, b)

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        return self._value(a.type, f"select {condition.typed}, {a.typed}, {b.typed}")

    # -- conversions -----------------------------------------------------------------------------------------------

    def _convert(self, op: str, x: Value, to: Type) -> Value:
        return x if x.type == to else self._value(to, f"{op} {x.typed} to {to.text}")

    def zext(self, x: Value, to: Type) -> Value:
        return self._convert("zext", x, to)

    def sext(self, x: Value, to: Type) -> Value:
        return self._convert("sext", x, to)

    def trunc(self, x: Value, to: Type) -> Value:
        return self._convert("trunc", x, to)

    def fpext(self, x: Value, to: Type) -> Value:
        return self._convert("fpext", x, to)

    def fptrunc(self, x: Value, to: Type) -> Value:
        return self._convert("fptrunc", x, to)

    def fptosi(self, x: Value, to: Type) -> Value:
        return self._convert("fptosi", x, to)

    def sitofp(self, x: Value, to: Type) -> Value:
        return self._convert("sitofp", x, to)

    def uitofp(self, x: Value, to: Type) -> Value:
        return self._convert("uitofp", x, to)

    def bitcast(self, x: Value, to: Type) -> Value:
        return self._convert("bitcast", x, to)

    def ptrtoint(self, x: Value, to: Type) -> Value:
        return self._convert("ptrtoint", x, to)

    # -- vectors ---------------------------------------------------------------------------------------------------

    def insert_element(self, vector: Value, element: Value, at: Value) -> Value:
        return self._value(vector.type, f"insertelement {vector.typed}, {element.typed}, {at.typed}")

    def extract_element(self, vector: Value, at: Value) -> Value:
        assert isinstance(vector.type, VectorType)
        return self._value(vector.type.element, f"extractelement {vector.typed}, {at.typed}")

    def shuffle_vector(self, a: Value, b: Value, picks: Value) -> Value:
        assert isinstance(a.type, VectorType) and isinstance(picks.type, VectorType)
        kind = VectorType(a.type.element, picks.type.count)
        return self._value(kind, f"shufflevector {a.typed}, {b.typed}, {picks.typed}")

    # -- memory ----------------------------------------------------------------------------------------------------

    def alloca(self, kind: Type, name: str = "slot") -> Value:
        place = self._function.new_name(name)
        self._append(f"{place} = alloca {kind.text}")
        return Value(_PTR, place)

    def load(self, p: Value, typ: Type, align: int | None = None) -> Value:
        return self._value(typ, f"load {typ.text}, ptr {p.text}{_aligned(align)}")

    def store(self, value: Value, p: Value, align: int | None = None) -> None:
        self._append(f"store {value.typed}, ptr {p.text}{_aligned(align)}")

    def gep(self, p: Value, index: Value, source_etype: Type) -> Value:
        """The address of element `index` of what lies at p, in bounds."""
        return self._value(_PTR, f"getelementptr inbounds {source_etype.text}, ptr {p.text}, {index.typed}")

    # -- control flow ----------------------------------------------------------------------------------------------

    def call(self, function: Value, args: Sequence[Value], kind: FunctionType | None = None) -> Value:
        """A function or assembly, or an address of the type `kind`."""
        kind = function.kind if isinstance(function, (Function, InlineAsm)) else kind
        assert kind is not None
        text = f"call {kind.result.text} {function.text}({', '.join(a.typed for a in args)})"
        if kind.result == _VOID:
            self._append(text)
            return Value(_VOID, "")
        return self._value(kind.result, text)

    def phi(self, kind: Type, name: str) -> Phi:
        phi = Phi(kind, self._function.new_name(name))
        self._append(phi)
        return phi

    def branch(self, to: Block) -> None:
        self._append(f"br {to.label}")

    def cbranch(self, condition: Value, then: Block, other: Block) -> None:
        self._append(f"br {condition.typed}, {then.label}, {other.label}")

    def switch(self, value: Value, default: Block) -> Switch:
        switch = Switch(value, default)
        self._append(switch)
        return switch

    @contextmanager
    def if_then(self, condition: Value, *, likely: bool) -> Iterator[None]:
        """Instructions for where the condition holds, which is likely or not."""
        then, after = (self._function.append_basic_block(name) for name in ("if", "endif"))
        weights = (99, 1) if likely else (1, 99)
        node = self._function.module.metadata(f'!{{!"branch_weights", i32 {weights[0]}, i32 {weights[1]}}}')
        self._append(f"br {condition.typed}, {then.label}, {after.label}, !prof {node}")
        self.position_at_end(then)
        yield
        self.branch(after)
        self.position_at_end(after)

    def ret_void(self) -> None:
        self._append("ret void")


def _aligned(align: int | None) -> str:
    return "" if align is None else f", align {align}"
