"""The modes, per model and per layer, and the plan: which precision every node gets.

| mode | products | all else |
|---|---|---|
| force_float32, force_float16 | float | float32, float16 |
| qint8_mixed_float32, qint8_mixed_float16 | 8-bit integers | float32, float16 |
| qint16_mixed_float32, qint16_mixed_float16 | 16-bit integers | float32, float16 |

`computation_preference` decides about layers that no override names:
* auto: all products but the two of an attention (next to a Softmax), which are one kernel in float;
* fast: these too;
* high_precision: the first and the last product of every path stay float as well, where errors show most.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import onnx_ir

from magicmind.errors import PrecisionError
from magicmind.passes.edit import is_op, sources_of
from magicmind.quant.kinds import ELEMENTWISE, activations, is_mover, is_product

PREFERENCES = ("auto", "fast", "high_precision")


@dataclass(frozen=True)
class Mode:
    """A precision mode. `bits`: of products' operands, 0 for floats; `floats`: what everything else is."""

    name: str
    bits: int
    floats: str

    @property
    def unquantised(self) -> Mode:
        """The mode of a layer that is kept out of the integers."""
        return MODES[f"force_{self.floats}"]


MODES = {
    mode.name: mode
    for mode in (
        Mode("force_float32", 0, "float32"),
        Mode("force_float16", 0, "float16"),
        Mode("qint8_mixed_float16", 8, "float16"),
        Mode("qint8_mixed_float32", 8, "float32"),
        Mode("qint16_mixed_float16", 16, "float16"),
        Mode("qint16_mixed_float32", 16, "float32"),
    )
}


def mode_of(text: object) -> Mode:
    """The mode of this name; `forced_float32` is `force_float32`. Raises PrecisionError for an unknown one."""
    name = f"force_{text.removeprefix('forced_')}" if isinstance(text, str) and text.startswith("forced_") else text
    if not isinstance(name, str) or name not in MODES:
        raise PrecisionError(f"precision {text!r} is not supported", hint=f"supported: {', '.join(MODES)}")
    return MODES[name]


@dataclass(frozen=True)
class PrecisionPlan:
    """Which mode every node of a simplified graph gets."""

    mode: Mode
    preference: str = "auto"
    modes: Mapping[str, Mode] = field(default_factory=dict)
    """By node name, where it is not `mode`."""

    def __post_init__(self) -> None:
        if self.preference not in PREFERENCES:
            hint = f"one of {', '.join(PREFERENCES)}"
            raise PrecisionError(f"computation_preference {self.preference!r} is not supported", hint=hint)

    @classmethod
    def of(
        cls,
        model: onnx_ir.Model,
        mode: Mode,
        layers: Mapping[str, str] | None = None,
        preference: str = "auto",
        known: Iterable[str] = (),
    ) -> PrecisionPlan:
        """Overrides name a layer of the user's file, or match several (`*`, `?`, `[...]`); an exact name counts most,
        then the last pattern. `known`: names of the source's nodes, some of which simplification removed.

        Raises PrecisionError for an unknown mode or preference, or an override that fits no layer.
        """
        wanted = {pattern: mode_of(text) for pattern, text in (layers or {}).items()}
        names = {node.name or "": {node.name or "", *sources_of(node)} for node in model.graph}
        _require_known(wanted, set().union(*names.values(), known))
        modes = {node.name or "": mode.unquantised for node in _kept(model.graph, preference)} if mode.bits else {}
        for name, also in names.items():
            found = _override(wanted, also)
            if found is not None:
                modes[name] = found
        return cls(mode, preference, {name: m for name, m in modes.items() if m != mode})

    def of_node(self, node: onnx_ir.Node) -> Mode:
        """The mode of a node."""
        return self.modes.get(node.name or "", self.mode)

    def floats(self, names: Iterable[str]) -> str:
        """What is not integers of a node that these ones were fused into: as those of them say that have a mode of
        their own, float32 if one of these asks for it; a convolution's counts for the activation fused into it."""
        found = {self.modes[name].floats for name in names if name in self.modes} or {self.mode.floats}
        return "float16" if found == {"float16"} else "float32"

    def bits(self, node: onnx_ir.Node) -> int:
        """8 or 16 where the node is a product that runs on integers, else 0."""
        return self.of_node(node).bits if is_product(node) and activations(node) else 0

    def without(self, names: Iterable[str]) -> PrecisionPlan:
        """The plan that keeps these nodes out of the integers."""
        kept = {name: self.modes.get(name, self.mode).unquantised for name in names}
        return PrecisionPlan(self.mode, self.preference, {**self.modes, **kept})

    @property
    def quantises(self) -> bool:
        """Whether any node may run on integers."""
        return self.mode.bits > 0 or any(mode.bits for mode in self.modes.values())

    @property
    def halves(self) -> bool:
        """Whether any node may be in float16."""
        return any(mode.floats == "float16" for mode in (self.mode, *self.modes.values()))


def _require_known(patterns: Iterable[str], known: set[str]) -> None:
    for pattern in patterns:
        if any(fnmatchcase(name, pattern) or name == pattern for name in known):
            continue
        near = difflib.get_close_matches(pattern, sorted(known), n=5, cutoff=0.4)
        hint = f"close: {', '.join(near)}" if near else "patterns are those of file names: conv*, block?/*"
        raise PrecisionError(f"the network has no layer {pattern!r}", hint=hint)


def _override(wanted: Mapping[str, Mode], names: set[str]) -> Mode | None:
    """The mode of the exact name, else of the last pattern that fits."""
    exact = [mode for pattern, mode in wanted.items() if pattern in names]
    fitting = [mode for pattern, mode in wanted.items() if any(fnmatchcase(name, pattern) for name in names)]
    found = exact or fitting
    return found[-1] if found else None


def _kept(graph: onnx_ir.Graph, preference: str) -> Iterator[onnx_ir.Node]:
    """Products that stay floats without being named."""
    products = [node for node in graph if is_product(node) and activations(node)]
    if preference != "fast":
        yield from (node for node in products if _next_to_softmax(node))
    if preference == "high_precision":
        yield from (n for n in products if not _reaches_product(n, forward=False))
        yield from (n for n in products if not _reaches_product(n, forward=True))


def _next_to_softmax(node: onnx_ir.Node) -> bool:
    """A product of two computed factors that makes scores or takes the weights: attention."""
    if len(activations(node)) < 2:
        return False
    before = any(_leads(value.producer(), forward=False) for value in activations(node))
    return before or any(_leads(use.node, forward=True) for use in node.outputs[0].uses())


def _leads(node: onnx_ir.Node | None, *, forward: bool, steps: int = 6) -> bool:
    """Whether elementwise operators and movers alone lie between here and a Softmax."""
    while node is not None and steps:
        if is_op(node, "Softmax"):
            return True
        if not (node.op_type in ELEMENTWISE or is_mover(node)):
            return False
        node = next(iter(node.successors() if forward else node.predecessors()), None)
        steps -= 1
    return False


def _reaches_product(node: onnx_ir.Node, *, forward: bool) -> bool:
    """Whether another product comes after (or before) this one on any path."""
    seen, front = {node}, [node]
    while front:
        current = front.pop()
        for other in current.successors() if forward else current.predecessors():
            if other in seen:
                continue
            if is_product(other) and activations(other):
                return True
            seen.add(other)
            front.append(other)
    return False
