"""The sizes of a plan with host steps, evaluated in stages as the symbols become known.

Stage 0 knows the symbols of the inputs; every host step that makes a tensor of unforeseen size begins another stage.
A text belongs to the first stage that knows all of its symbols.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from magicmind.errors import ShapeError
from magicmind.runtime.memory import pack
from magicmind.runtime.shapes import Evaluate, Shape, compile_texts

_CACHED = 32
Text = int | str


@dataclass
class Sizes:
    """What one stage comes to. Keys are the plan's own numbers: of dims, slots, outputs, (step, operand), steps."""

    dims: dict[int, int] = field(default_factory=dict)
    slot_offsets: dict[int, int] = field(default_factory=dict)
    outputs: dict[int, Shape] = field(default_factory=dict)
    operands: dict[tuple[int, int], Shape] = field(default_factory=dict)
    flops: dict[int, int] = field(default_factory=dict)
    bytes: dict[int, int] = field(default_factory=dict)
    buffers: dict[int, int] = field(default_factory=dict)
    """Offset of each buffer in the stage's own arena."""
    arena_bytes: int = 0
    scratch: int = 0


@lru_cache(maxsize=4096)
def names_in(text: Text) -> frozenset[str]:
    """The symbols of a plan's text."""
    if isinstance(text, int):
        return frozenset()
    tree = ast.walk(ast.parse(text, mode="eval"))
    return frozenset(n.id for n in tree if isinstance(n, ast.Name) and n.id not in ("min", "max"))


class Stages:
    """Which symbols a plan's stages know, and their sizes for given values."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._plan = plan
        ranges: Mapping[str, Any] = plan["symbols"]
        known = [name for name in ranges if name in plan.get("given", ())]
        known += [d for item in plan["inputs"] for d in item["shape"] or () if d in ranges and d not in known]
        known = list(dict.fromkeys(known))
        self.symbols = [known]  # by stage: all symbols known, in the order of their binding
        self.begins: dict[int, int] = {}  # host step -> the stage that follows it
        for number, step in enumerate(plan["steps"]):
            new = [d for out in _outputs(step) for d in out["shape"] or () if d in ranges and d not in known]
            if new:
                known = list(dict.fromkeys([*known, *new]))
                self.begins[number] = len(self.symbols)
                self.symbols.append(known)
        self._parts = [_Part() for _ in self.symbols]
        self._distribute(plan)
        self._evaluate: list[Evaluate] = [
            compile_texts(p.texts, names) for p, names in zip(self._parts, self.symbols, strict=True)
        ]
        self._cache: dict[tuple[int, tuple[int, ...]], Sizes] = {}

    def _distribute(self, plan: Mapping[str, Any]) -> None:
        groups: list[tuple[str, Any, Sequence[Text]]] = [("scratch", 0, [plan["scratch"]])]
        groups += [("scratch", 0, [text]) for text in plan.get("late_scratch", ())]
        groups += [("dims", i, [text]) for i, text in enumerate(plan["dims"])]
        groups += [("slot_offsets", i, [slot.get("offset", 0)]) for i, slot in enumerate(plan["slots"])]
        groups += [("buffers", i, [buffer["bytes"]]) for i, buffer in enumerate(plan["buffers"])]
        groups += [("outputs", i, o["shape"]) for i, o in enumerate(plan["outputs"]) if "object" not in o]
        for number, step in enumerate(plan["steps"]):
            groups += [("flops", number, [step.get("flops", 0)]), ("bytes", number, [step.get("bytes", 0)])]
            for i, operand in enumerate(step["host"]["inputs"] if "host" in step else ()):
                if operand is not None and "slot" in operand:
                    groups.append(("operands", (number, i), operand["shape"]))
        for kind, key, texts in groups:
            self._parts[self._stage_of(texts)].add(kind, key, texts)

    def _stage_of(self, texts: Sequence[Text]) -> int:
        needed = frozenset[str]().union(*map(names_in, texts))
        for stage, names in enumerate(self.symbols):
            if needed <= set(names):
                return stage
        return len(self.symbols) - 1  # an unknown symbol: reading the texts refuses it

    def sizes(self, stage: int, values: Mapping[str, int]) -> Sizes:
        """The sizes of a stage, from a cache of the last few. Raises ShapeError for a size below 0."""
        numbers = tuple(values[name] for name in self.symbols[stage])
        key = (stage, numbers)
        found = self._cache.pop(key, None)
        if found is None:
            found = self._sized(stage, numbers)
        self._cache[key] = found
        while len(self._cache) > _CACHED:
            self._cache.pop(next(iter(self._cache)), None)
        return found

    def _sized(self, stage: int, numbers: tuple[int, ...]) -> Sizes:
        part = self._parts[stage]
        try:
            values = self._evaluate[stage](*numbers)
        except ZeroDivisionError as error:
            raise ShapeError(f"a size of the plan divides by zero for {self._named(stage, numbers)}") from error
        found, at = Sizes(), 0
        lengths: dict[int, int] = {}
        for kind, key, count in part.layout:
            group = values[at : at + count]
            at += count
            if kind not in ("flops", "bytes", "dims") and any(not 0 <= v < 1 << 62 for v in group):
                raise ShapeError(f"a size of the plan is negative or beyond memory for {self._named(stage, numbers)}")
            if kind == "scratch":
                found.scratch = max(found.scratch, group[0])
            elif kind == "buffers":
                lengths[key] = group[0]
            else:
                getattr(found, kind)[key] = group if kind in ("outputs", "operands") else group[0]
        buffers = self._plan["buffers"]
        firsts, lasts = [buffers[i]["first"] for i in lengths], [buffers[i]["last"] for i in lengths]
        offsets, found.arena_bytes = pack(list(lengths.values()), firsts, lasts)
        found.buffers = dict(zip(lengths, offsets, strict=True))
        return found

    def _named(self, stage: int, numbers: Sequence[int]) -> str:
        return ", ".join(f"{n}={v}" for n, v in zip(self.symbols[stage], numbers, strict=True)) or "its shapes"


class _Part:
    """The texts of one stage and what they are for."""

    def __init__(self) -> None:
        self.texts: list[Text] = []
        self.layout: list[tuple[str, Any, int]] = []

    def add(self, kind: str, key: Any, texts: Sequence[Text]) -> None:
        self.layout.append((kind, key, len(texts)))
        self.texts += texts


def _outputs(step: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    outputs: Sequence[Mapping[str, Any]] = step["host"]["outputs"] if "host" in step else ()
    return [out for out in outputs if out is not None and out["shape"] is not None]
