"""From the fused graph to the parts of an offline model: per target a plan, kernels, a program, one linked blob."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir

from magicmind.codegen.ir import Module
from magicmind.codegen.link import link
from magicmind.codegen.llvm import assembly, compile_object
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.team import compile_barrier, compile_team
from magicmind.debug import LOOP_NESTS, DebugSettings
from magicmind.ir.dims import Dim, evaluate, symbols_of
from magicmind.kernels.spec import symbol_for
from magicmind.lower.choice import Chooser
from magicmind.lower.lowering import Lowering
from magicmind.lower.plan import (
    HostStep,
    KernelSpec,
    Operand,
    Plan,
    Preparation,
    Ref,
    Step,
    Storage,
    assign_epochs,
)
from magicmind.lower.program import ENTRY, PREPARE_ENTRY, Tables, emit_program
from magicmind.modelfile.blob import Blob
from magicmind.modelfile.parts import TargetParts, WeightStore
from magicmind.runtime.memory import pack

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""
Objects = dict[tuple[Target, str], bytes]
"""Object files of kernels, by target and symbol (which names the whole spec)."""

_TEAM_EXPORTS = ("mm_team_call", "mm_team_worker")
# Below this much work a second thread costs more than it brings: waking one takes about 5 microseconds.
_ALONE_FLOPS, _ALONE_BYTES = 400_000, 200_000


def compile_target(
    model: ir.Model,
    target: Target,
    weights: WeightStore,
    progress: Progress,
    chooser: Chooser | None = None,
    known: Objects | None = None,
) -> TargetParts:
    """Lowers, generates and links the program of one target; packed constants go to `weights`.

    chooser: decides among candidate schedules. known: kernels compiled before; those compiled now are added.
    """
    known = {} if known is None else known
    plan = Lowering(model, target, weights, chooser=chooser).run()
    if chooser is not None:
        chooser.lowered([step.choice if isinstance(step, Step) else None for step in plan.steps])
    plans = {ENTRY: plan, **{f"mm_body_{i}": body.plan for i, body in enumerate(plan.bodies)}}
    steps = [step for each in plans.values() for step in each.steps if isinstance(step, Step)] + plan.prepare.steps
    objects = _compile_kernels(
        steps, [symbol_for(step.spec, step.spec.name) for step in steps], target, progress, known
    )
    texts = {}
    for entry, each in plans.items():
        epochs, tables = assign_epochs(each.steps), Tables.collect(each.steps)
        symbols = [symbol_for(s.spec, s.spec.name) if isinstance(s, Step) else "" for s in each.steps]
        objects.append(compile_object(emit_program(each.steps, symbols, epochs, tables, target, entry), target))
        texts[entry] = plan_json(each, epochs, tables)
    if plan.prepare.steps:
        objects.append(_compile_preparation(plan.prepare, target))
        texts[ENTRY]["prepare"] = preparation_json(plan.prepare)
    objects.append(compile_barrier(target))
    bodies = [{**texts[f"mm_body_{i}"], "entry": f"mm_body_{i}", "given": b.given} for i, b in enumerate(plan.bodies)]
    return TargetParts(
        name=target.name,
        machine=target.triple.partition("-")[0],
        requires=target.requires,
        plan={**texts[ENTRY], "bodies": bodies} if bodies else texts[ENTRY],
        code=link(objects, [*plans, *([PREPARE_ENTRY] if plan.prepare.steps else [])]),
        team=_team_blob(target),
        tensors=inner_json(plan, Tables.collect(plan.steps)),
    )


def _compile_preparation(prepare: Preparation, target: Target) -> bytes:
    symbols = [symbol_for(step.spec, step.spec.name) for step in prepare.steps]
    epochs, tables = assign_epochs(prepare.steps), Tables.collect(prepare.steps)
    return compile_object(emit_program(prepare.steps, symbols, epochs, tables, target, PREPARE_ENTRY), target)


def preparation_json(prepare: Preparation) -> dict[str, Any]:
    """What is made at load, as docs/design/0001-architecture.md lays it down."""
    epochs, tables = assign_epochs(prepare.steps), Tables.collect(prepare.steps)
    return {
        "bytes": prepare.bytes,
        "scratch": prepare.scratch,
        "slots": [_slot(ref, {}) for ref in tables.slots],
        "steps": [_step(step, epoch, {}) for step, epoch in zip(prepare.steps, epochs, strict=True)],
    }


@functools.cache
def _team_blob(target: Target) -> Blob:
    """The same in every model for one target."""
    return link([compile_team(target)], _TEAM_EXPORTS)


def _compile_kernels(
    steps: Sequence[Step], symbols: Sequence[str], target: Target, progress: Progress, known: Objects
) -> list[bytes]:
    specs: dict[str, KernelSpec] = dict(zip(symbols, (step.spec for step in steps), strict=True))
    debug = DebugSettings.current()
    objects = []
    for done, (symbol, spec) in enumerate(specs.items()):
        if (target, symbol) not in known:
            progress(f"{target.name}: {spec.name}", done, len(specs))
            kernel = spec.build(target, symbol)
            module = kernel.finish()
            _show(debug, symbol, target, "\n".join(kernel.nest), module)
            known[target, symbol] = compile_object(module, target)
        objects.append(known[target, symbol])
    progress(f"{target.name}: linking", len(specs), len(specs))
    return objects


def _show(debug: DebugSettings, symbol: str, target: Target, nest: str, module: Module) -> None:
    """Prints and dumps a kernel's loop nest, LLVM IR and assembly as far as the settings ask for them."""
    texts: dict[str, Callable[[], str]] = {
        "nest.txt": lambda: nest,
        "ll": lambda: str(module),
        "s": lambda: assembly(module, target),
    }
    for level, (suffix, text) in enumerate(texts.items(), LOOP_NESTS):
        if debug.level >= level:
            debug.say(level, f"{symbol} ({target.name})\n{text()}")
        if debug.dump is not None:
            folder = debug.dump / f"kernels-{target.name}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{symbol}.{suffix}").write_text(text())


def plan_json(plan: Plan, epochs: Sequence[int], tables: Tables) -> dict[str, Any]:
    """The plan as docs/design/0001-architecture.md, "Kernels and the plan", lays it down."""
    buffers = list(dict.fromkeys(ref.storage for ref in tables.slots if ref.storage.kind == "arena"))
    number = {storage: i for i, storage in enumerate(buffers)}
    firsts, lasts = [epochs[s.first] for s in buffers], [epochs[s.last] for s in buffers]
    staged = plan.objects > 0
    fixed = not staged and all(isinstance(s.bytes, int) for s in buffers)
    offsets: list[int] | None = None
    arena: int | None = None
    if fixed:
        sizes = [evaluate(s.bytes, {}) for s in buffers]
        offsets, arena = pack(sizes, firsts, lasts)
    late: dict[str, Any] = {"objects": plan.objects, "late_scratch": list(map(_text, plan.late_scratch))}
    slot_of = {ref: i for i, ref in enumerate(tables.slots)}
    return {
        **(late if staged else {}),
        "symbols": {name: list(span) for name, span in plan.symbols.items()},
        "inputs": plan.inputs,
        "outputs": plan.outputs,
        "dims": [_text(dim) for dim in tables.dims],
        "buffers": [
            {"bytes": _text(s.bytes), "first": first, "last": last}
            for s, first, last in zip(buffers, firsts, lasts, strict=True)
        ],
        "slots": [_slot(ref, number) for ref in tables.slots],
        "arena": arena,
        "offsets": offsets,
        "scratch": _text(plan.scratch),
        "steps": [_step(step, epoch, slot_of) for step, epoch in zip(plan.steps, epochs, strict=True)],
        "threads_hint": _threads_hint(plan),
    }


def inner_json(plan: Plan, tables: Tables) -> list[dict[str, Any]]:
    """The tensors inside the network that some step has at hand, in the order in which they are finished."""
    slots = {ref: i for i, ref in enumerate(tables.slots)}
    steps = {id(step): i for i, step in enumerate(plan.steps)}
    found = []
    for inner in plan.inner:
        step, whole = steps.get(id(inner.after)), inner.ref.storage.kind == "object" and inner.ref.offset == 0
        if step is None or (not whole and inner.ref not in slots):  # nothing reads it
            continue
        place = {"object": inner.ref.storage.index} if whole else {"slot": slots[inner.ref]}
        found.append({
            **place, "step": step, "name": inner.name, "node": inner.node, "op": inner.op, "dtype": inner.dtype,
            "shape": list(map(_text, inner.shape)), "blocks": BLOCK if inner.layout == "blocked" else 0,
            "part": list(inner.part),
        })  # fmt: skip
    return sorted(found, key=lambda item: item["step"])


def _slot(ref: Ref, number: dict[Storage, int]) -> dict[str, Any]:
    storage = ref.storage
    if storage.kind == "arena":
        return {"kind": "arena", "buffer": number[storage], "offset": _text(ref.offset)}
    if storage.kind in ("weight", "prepared"):
        assert isinstance(ref.offset, int)
        return {"kind": storage.kind, "offset": storage.index + ref.offset}
    return {"kind": storage.kind, "index": storage.index, "offset": _text(ref.offset)}


def _step(step: Step | HostStep, epoch: int, slot_of: dict[Ref, int]) -> dict[str, Any]:
    return {
        "node": step.node,
        "op": step.op,
        "kernel": step.spec.name if isinstance(step, Step) else f"host {step.function}",
        "flops": _text(step.flops),
        "bytes": _text(step.bytes),
        "epoch": epoch,
        **({"host": _host(step, slot_of)} if isinstance(step, HostStep) else {}),
    }


def _host(step: HostStep, slot_of: dict[Ref, int]) -> dict[str, Any]:
    return {
        "function": step.function,
        "attributes": step.attributes,
        "inputs": [None if x is None else _operand(x, slot_of) for x in step.inputs],
        "outputs": [None if x is None else _operand(x, slot_of) for x in step.outputs],
    }


def _operand(operand: Operand, slot_of: dict[Ref, int]) -> dict[str, Any]:
    shape = None if operand.shape is None else list(map(_text, operand.shape))
    if operand.strings is not None:
        return {"strings": operand.strings, "shape": shape}
    place = {"object": operand.ref.storage.index} if operand.whole else {"slot": slot_of[operand.ref]}
    return {**place, "dtype": operand.dtype, "shape": shape}


def _threads_hint(plan: Plan) -> int:
    """1 when the whole network, at its largest shape, is too small to be worth waking a second thread; else 0."""
    largest = {name: high for name, (_, high) in plan.symbols.items()}
    used = frozenset[str]().union(*(symbols_of(d) for step in plan.steps for d in (step.flops, step.bytes)))
    if any(largest.get(name) is None for name in used):
        return 0
    values = {name: high for name, high in largest.items() if high is not None}
    flops = sum(evaluate(step.flops, values) for step in plan.steps)
    moved = sum(evaluate(step.bytes, values) for step in plan.steps)
    return 1 if flops < _ALONE_FLOPS and moved < _ALONE_BYTES else 0


def _text(dim: Dim) -> int | str:
    return dim if isinstance(dim, int) else str(dim)
