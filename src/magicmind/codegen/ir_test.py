"""LLVM IR as text: how constants are spelt, and that LLVM reads what the builder writes."""

from __future__ import annotations

import math

import pytest

from magicmind.codegen import ir
from magicmind.codegen.llvm import assembly
from magicmind.codegen.target import TARGETS

I1, I32, I64, PTR = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.PointerType()


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (I32, -7, "i32 -7"),
        (I1, True, "i1 true"),
        (ir.FloatType(), 0.1, "float 0x3fb99999a0000000"),  # rounded to float32 first
        (ir.FloatType(), -math.inf, "float 0xfff0000000000000"),
        (ir.DoubleType(), 0.1, "double 0x3fb999999999999a"),
        (ir.HalfType(), 0.1, "half 0xH2E66"),
        (ir.VectorType(I32, 4), None, "<4 x i32> zeroinitializer"),
        (ir.VectorType(I32, 2), [ir.Constant(I32, 3), ir.Constant(I32, 4)], "<2 x i32> <i32 3, i32 4>"),
        (ir.VectorType(I32, 8), "poison", "<8 x i32> poison"),
    ],
)
def test_constants(kind: ir.Type, value: float | None, text: str) -> None:
    assert ir.Constant(kind, value).typed == text


def test_types_are_equal_by_what_they_are() -> None:
    assert ir.VectorType(I32, 4) == ir.VectorType(ir.IntType(32), 4) != ir.VectorType(I32, 8)
    assert str(ir.FunctionType(ir.VoidType(), [PTR, I64])) == "void (ptr, i64)"


def test_llvm_reads_loops_switches_likely_branches_calls_and_assembly() -> None:
    module = ir.Module("made")
    target = TARGETS["x86-64-v3"]
    module.triple = target.triple
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [PTR, I64]), "made")
    function.attributes |= {"nounwind", '"no-builtins"'}
    other = ir.Function(module, ir.FunctionType(ir.VoidType(), [PTR]), "other")
    place, count = function.args
    entry, head, body, done = map(function.append_basic_block, ("entry", "a loop x4.head", "body", "done"))
    b = ir.IRBuilder(entry)
    b.branch(head)
    b.position_at_end(head)
    i = b.phi(I64, "i")
    i.add_incoming(ir.Constant(I64, 0), entry)
    b.cbranch(b.icmp_signed("<", i, count), body, done)
    b.position_at_end(body)
    with b.if_then(b.icmp_unsigned(">", i, ir.Constant(I64, 5)), likely=False):
        b.call(other, [place])
    b.store(b.load(b.gep(place, i, I64), I64, 8), place, 8)
    i.add_incoming(b.add(i, ir.Constant(I64, 1), ("nsw",)), b.block)
    b.branch(head)
    b.position_at_end(done)
    same = ir.InlineAsm(ir.FunctionType(I64, [I64]), "", "=r,0")
    last, third = map(function.append_basic_block, ("last", "third"))
    switch = b.switch(b.call(same, [count]), last)
    switch.add_case(ir.Constant(I64, 3), third)
    for block in (last, third):
        b.position_at_end(block)
        b.ret_void()
    assert '!0 = !{!"branch_weights", i32 1, i32 99}' in str(module)
    assert "other" in assembly(module, target)
