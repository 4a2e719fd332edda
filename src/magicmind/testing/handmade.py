"""A model made by hand, without the compiler: for tests of linking, files and the run time."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from llvmlite import binding

from magicmind.codegen.link import link
from magicmind.codegen.llvm import target_machine
from magicmind.codegen.target import TARGETS, Target
from magicmind.codegen.team import compile_barrier, compile_team
from magicmind.modelfile import abi
from magicmind.modelfile.parts import ModelParts, TargetParts, WeightStore
from magicmind.tensorinfo import TensorInfo

# Two epochs: t[i] = x[i] + w[0] in the arena, then y[i] = 2 * t[n-1-i]: threads read what others wrote.
PROGRAM = """
declare hidden void @mm_barrier(ptr)
define hidden void @mm_program(ptr %ctx, i64 %tid) {
entry:
  %slots = load ptr, ptr %ctx
  %dims.ptr = getelementptr i64, ptr %ctx, i64 1
  %dims = load ptr, ptr %dims.ptr
  %threads.ptr = getelementptr i64, ptr %ctx, i64 2
  %threads = load i64, ptr %threads.ptr
  %n = load i64, ptr %dims
  %y.ptr = getelementptr ptr, ptr %slots, i64 1
  %w.ptr = getelementptr ptr, ptr %slots, i64 2
  %t.ptr = getelementptr ptr, ptr %slots, i64 3
  %x = load ptr, ptr %slots
  %y = load ptr, ptr %y.ptr
  %w = load ptr, ptr %w.ptr
  %t = load ptr, ptr %t.ptr
  %stop.ptr = getelementptr i64, ptr %ctx, i64 4
  %stop = load i64, ptr %stop.ptr
  %bias = load float, ptr %w
  %more = icmp slt i64 %tid, %n
  br i1 %more, label %add, label %meet
add:
  %i = phi i64 [ %tid, %entry ], [ %i.next, %add ]
  %xi.ptr = getelementptr float, ptr %x, i64 %i
  %xi = load float, ptr %xi.ptr
  %ti = fadd float %xi, %bias
  %ti.ptr = getelementptr float, ptr %t, i64 %i
  store float %ti, ptr %ti.ptr
  %i.next = add i64 %i, %threads
  %again = icmp slt i64 %i.next, %n
  br i1 %again, label %add, label %meet
meet:
  call void @mm_barrier(ptr %ctx)
  br i1 %more, label %twice, label %done
twice:
  %j = phi i64 [ %tid, %meet ], [ %j.next, %twice ]
  %last = sub i64 %n, 1
  %mirror = sub i64 %last, %j
  %tj.ptr = getelementptr float, ptr %t, i64 %mirror
  %tj = load float, ptr %tj.ptr
  %yj = fmul float %tj, 2.0
  %yj.ptr = getelementptr float, ptr %y, i64 %j
  store float %yj, ptr %yj.ptr
  %j.next = add i64 %j, %threads
  %once.more = icmp slt i64 %j.next, %n
  br i1 %once.more, label %twice, label %done
done:
  ret void
}
"""

# Spins until the stop flag is set, on all threads.
ENDLESS = """
define hidden void @mm_program(ptr %ctx, i64 %tid) {
entry:
  %stop.ptr = getelementptr i64, ptr %ctx, i64 4
  br label %spin
spin:
  %stop = load atomic i64, ptr %stop.ptr monotonic, align 8
  %zero = icmp eq i64 %stop, 0
  br i1 %zero, label %spin, label %done
done:
  ret void
}
"""


def machine_target() -> Target:
    """The least demanding target that runs here."""
    return TARGETS["aarch64" if platform.machine() == "aarch64" else "x86-64-v2"]


def assemble(text: str, target: Target) -> bytes:
    """Object from IR text."""
    module = binding.parse_assembly(f'target triple = "{target.triple}"\n{text}')
    module.verify()
    return bytes(target_machine(target).emit_object(module))


def plan(fixed: int | None = None) -> dict[str, Any]:
    """The plan of PROGRAM: N in 0..100000, or one fixed size."""
    n: int | str = "N" if fixed is None else fixed
    size: int | str = "4*N" if fixed is None else 4 * fixed
    return {
        "symbols": {"N": [0, 100000]} if fixed is None else {},
        "inputs": [{"name": "x", "dtype": "float32", "shape": [n]}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": [n]}],
        "dims": [n],
        "buffers": [{"bytes": size, "first": 0, "last": 1}],
        "slots": [
            {"kind": "input", "index": 0},
            {"kind": "output", "index": 0},
            {"kind": "weight", "offset": 0},
            {"kind": "arena", "buffer": 0, "offset": 0},
        ],
        "arena": None if fixed is None else -(-4 * fixed // 64) * 64,
        "offsets": None if fixed is None else [0],
        "scratch": 0,
        "steps": [{"node": "twice", "op": "Mul", "kernel": "twice", "flops": 2, "bytes": 8, "epoch": 0}],
    }


def target_parts(target: Target, program: str = PROGRAM, fixed: int | None = None) -> TargetParts:
    """The handmade program for one target."""
    return TargetParts(
        name=target.name,
        machine="x86_64" if target.is_x86 else "aarch64",
        requires=target.requires,
        plan=plan(fixed),
        code=link([assemble(program, target), compile_barrier(target)], [abi.PROGRAM_SYMBOL]),
        team=link([compile_team(target)], [abi.TEAM_CALL_SYMBOL, abi.TEAM_WORKER_SYMBOL]),
    )


def model_parts(
    program: str = PROGRAM, fixed: int | None = None, targets: tuple[Target, ...] | None = None
) -> ModelParts:
    """y = 2 * reversed(x + 3), as a whole model for the given targets (default: one that runs here)."""
    weights = WeightStore()
    weights.add(np.full(16, 3, np.float32))
    dim: int | tuple[int, int | None] = (0, 100000) if fixed is None else fixed
    return ModelParts(
        inputs=(TensorInfo("x", np.dtype(np.float32), (dim,)),),
        outputs=(TensorInfo("y", np.dtype(np.float32), (dim,)),),
        precision="force_float32",
        graph=b"the graph",
        targets=tuple(target_parts(t, program, fixed) for t in targets or (machine_target(),)),
        weights=weights,
    )
