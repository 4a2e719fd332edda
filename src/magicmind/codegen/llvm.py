"""LLVM as a function: a module and a target in, an object file out."""

from __future__ import annotations

import functools
import threading

from llvmlite import binding, ir

from magicmind.codegen.target import Target
from magicmind.errors import CompileError

_lock = threading.Lock()


@functools.cache
def _initialize() -> None:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()


def target_machine(target: Target) -> binding.TargetMachine:
    """Position-independent code, small code model (design: linked flat, mapped anywhere)."""
    _initialize()
    llvm_target = binding.Target.from_triple(target.triple)
    return llvm_target.create_target_machine(
        cpu=target.cpu, features=",".join(target.features), opt=3, reloc="pic", codemodel="small"
    )


def optimize(module: ir.Module, target: Target) -> tuple[binding.ModuleRef, binding.TargetMachine]:
    """Parses and optimises. Vectorising and unrolling are switched off: kernels say what they want."""
    with _lock:
        machine = target_machine(target)
        try:
            parsed = binding.parse_assembly(str(module))
            parsed.verify()
        except RuntimeError as error:
            raise CompileError(f"{module.name}: LLVM refused the generated code: {error}") from error
        parsed.data_layout = str(machine.target_data)
        tuning = binding.create_pipeline_tuning_options(speed_level=2)
        tuning.loop_vectorization = tuning.slp_vectorization = False
        tuning.loop_unrolling = tuning.loop_interleaving = False
        builder = binding.create_pass_builder(machine, tuning)
        builder.getModulePassManager().run(parsed, builder)
        return parsed, machine


def compile_object(module: ir.Module, target: Target) -> bytes:
    """ELF relocatable object of the module."""
    parsed, machine = optimize(module, target)
    with _lock:
        return bytes(machine.emit_object(parsed))


def assembly(module: ir.Module, target: Target) -> str:
    """The same as text, for dumps and tests."""
    parsed, machine = optimize(module, target)
    with _lock:
        return str(machine.emit_assembly(parsed))
