"""LLVM as a function: a module and a target in, an object file out."""

from __future__ import annotations

import functools
import threading

import llvmlite
from llvmlite import binding

from magicmind.codegen.ir import Module
from magicmind.codegen.object_cache import find_or_make, key_of
from magicmind.codegen.target import Target
from magicmind.errors import CompileError

_lock = threading.Lock()
_COMPILER = f"llvmlite {llvmlite.__version__} LLVM {binding.llvm_version_info} passes 2"
"""Decides objects along with their text and target; the last number grows with every change of how they are made."""


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


_shared_machine = functools.cache(target_machine)  # used under the lock only


def _optimised(text: str, name: str, target: Target, passes: bool) -> binding.ModuleRef:
    """Parses, verifies and, if asked for, optimises.

    The passes are those that make functions simpler: stack slots become registers, invariants leave loops, equal
    expressions meet. Kernels are written as vectors with their loops unrolled as they want them, so LLVM's later
    stage (vectorising, unrolling, inlining) is left out: it took a third of the time and changed nothing.
    """
    try:
        parsed = binding.parse_assembly(text)
        parsed.verify()
    except RuntimeError as error:
        raise CompileError(f"{name}: LLVM refused the generated code: {error}") from error
    if passes:
        machine = _shared_machine(target)
        parsed.data_layout = str(machine.target_data)
        tuning = binding.create_pipeline_tuning_options(speed_level=1)
        tuning.loop_vectorization = tuning.slp_vectorization = False
        tuning.loop_unrolling = tuning.loop_interleaving = False
        builder = binding.create_pass_builder(machine, tuning)
        manager = builder.getFunctionPassManager()
        for function in parsed.functions:
            if not function.is_declaration:
                manager.run(function, builder)
    return parsed


def compile_object(module: Module, target: Target) -> bytes:
    """ELF relocatable object of the module."""
    return compile_text(str(module), module.name, target)


def compile_text(text: str, name: str, target: Target, *, passes: bool = True) -> bytes:
    """The same of a module as text; one that was compiled before comes from `object_cache`."""

    def compile_now() -> bytes:
        with _lock:
            return bytes(_shared_machine(target).emit_object(_optimised(text, name, target, passes)))

    features = ",".join(target.features)
    key = key_of([text, target.triple, target.cpu, features, _COMPILER, "passes" if passes else "as it is"])
    return find_or_make(key, compile_now)


def assembly(module: Module, target: Target) -> str:
    """The module as assembly text, for dumps and tests."""
    with _lock:
        return str(_shared_machine(target).emit_assembly(_optimised(str(module), module.name, target, passes=True)))
