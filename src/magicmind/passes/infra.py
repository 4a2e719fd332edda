"""What a pass is, and how a list of them runs.

A pass is an object with `call(model) -> bool`: it edits the model in place and says honestly whether it did. Most are a
`Rewrite`: for nodes of some operators, `match` returns what it found or a `Decline` with the reason, and `rewrite` acts
on it.
The runner adds timing, dumps, skipping, stopping and checks (`debug.DebugSettings`).
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

import onnx_ir

from magicmind.debug import PASSES, PHASES, DebugSettings, graph_text
from magicmind.errors import CompileError, Error
from magicmind.passes.edit import graphs_of
from magicmind.passes.verify import verify

__all__ = ["Decline", "Pass", "Record", "Rewrite", "Runner", "Stage"]

M = TypeVar("M")

_MAX_ROUNDS = 50  # far above what any model needs; reaching it means that two passes undo one another


class Pass(ABC):
    """One transformation. `name` is the class name in snake_case, a verb phrase."""

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in cls.__dict__:
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    @abstractmethod
    def call(self, model: onnx_ir.Model) -> bool:
        """Edits `model` in place; True when anything changed."""

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (type(self).__doc__ or "").strip().partition("\n")[0]


@dataclass(frozen=True)
class Decline:
    """Why a rewrite does not apply to a node it was meant for."""

    reason: str


class Rewrite(Pass, Generic[M]):
    """A rule tried once at every node whose operator is in `roots` ("Conv", or "magicmind.Conv")."""

    roots: ClassVar[frozenset[str]]

    def __init__(self) -> None:
        self.declined: dict[str, str] = {}  # node name -> reason, of the latest call

    @abstractmethod
    def match(self, node: onnx_ir.Node) -> M | Decline:
        """What `rewrite` needs, or why not."""

    @abstractmethod
    def rewrite(self, node: onnx_ir.Node, found: M) -> None:
        """Replaces the matched nodes."""

    def call(self, model: onnx_ir.Model) -> bool:
        self.declined = {}
        modified = False
        for graph in list(graphs_of(model)):
            for node in list(graph):
                if node.graph is graph and _spelling(node) in self.roots:
                    modified |= self._try(node)
        return modified

    def _try(self, node: onnx_ir.Node) -> bool:
        found = self.match(node)
        if isinstance(found, Decline):
            self.declined[node.name or ""] = found.reason
            return False
        self.rewrite(node, found)
        return True


def _spelling(node: onnx_ir.Node) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


@dataclass(frozen=True)
class Stage:
    """Passes in order; `until_stable` repeats the list until a whole round changes nothing."""

    name: str
    passes: Sequence[Pass]
    until_stable: bool = False


@dataclass
class Record:
    """What one execution of a pass did."""

    stage: str
    pass_name: str
    modified: bool
    seconds: float
    nodes_before: int
    nodes_after: int


@dataclass
class Runner:
    """Runs stages on a model, in place. `compare` checks that numbers did not change (level 2 of MAGICMIND_CHECK)."""

    settings: DebugSettings = field(default_factory=DebugSettings.current)
    compare: Callable[[onnx_ir.Model, onnx_ir.Model], None] | None = None
    records: list[Record] = field(default_factory=list)

    def run(self, stages: Sequence[Stage], model: onnx_ir.Model, elsewhere: Sequence[Stage] = ()) -> None:
        """`elsewhere`: stages of other runs, whose passes the settings may name too."""
        self.settings.require_known({p.name for stage in (*stages, *elsewhere) for p in stage.passes})
        for stage in stages:
            began = time.perf_counter()
            finished = self._run_stage(stage, model)
            self._say_declined(stage)
            self.settings.say(PHASES, f"{stage.name}: {model.graph.num_nodes()} nodes, {_since(began)}")
            if not finished:
                return

    def _run_stage(self, stage: Stage, model: onnx_ir.Model) -> bool:
        """False when MAGICMIND_STOP ended the run."""
        for _ in range(_MAX_ROUNDS if stage.until_stable else 1):
            modified = False
            for pass_ in stage.passes:
                if pass_.name not in self.settings.skip:
                    modified |= self._run_pass(stage, pass_, model)
                if pass_.name == self.settings.stop:
                    return False
            if not modified:
                return True
        if stage.until_stable:
            repeating = sorted({r.pass_name for r in self.records[-len(stage.passes) :] if r.modified})
            raise CompileError(f"stage {stage.name} does not settle: {', '.join(repeating)} keep changing the graph")
        return True

    def _say_declined(self, stage: Stage) -> None:
        """Why rules left nodes alone in the stage's last round: a line per reason, and every node in the dump."""
        tables = {p.name: p.declined for p in stage.passes if isinstance(p, Rewrite) and p.declined}
        for name, declined in tables.items():
            for line in _by_reason(declined):
                self.settings.say(PASSES, f"  {stage.name}/{name} left {line}")
        dumped = [(name, table) for name, table in tables.items() if self.settings.wants_dump(name)]
        if dumped:
            lines = [f"{name}\t{node}\t{why}\n" for name, table in dumped for node, why in table.items()]
            self.settings.write_dump(len(self.records), stage.name.replace(" ", "_"), "declined", "".join(lines))

    def _run_pass(self, stage: Stage, pass_: Pass, model: onnx_ir.Model) -> bool:
        number = len(self.records)
        dump = self.settings.wants_dump(pass_.name)
        before = model.clone() if self.settings.check else None
        if dump:
            self.settings.write_dump(number, pass_.name, "before", graph_text(model))
        nodes, began = model.graph.num_nodes(), time.perf_counter()
        try:
            modified = pass_.call(model)
        except Error as error:
            error.add_note(self._where(stage, pass_))
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError) as error:
            raise CompileError(f"{self._where(stage, pass_)} failed: {type(error).__name__}: {error}") from error
        record = Record(stage.name, pass_.name, modified, time.perf_counter() - began, nodes, model.graph.num_nodes())
        if dump:
            self.settings.write_dump(number, pass_.name, "after", graph_text(model))
        if before is not None:
            self._check(stage, pass_, before, model, modified)
        self.records.append(record)
        changed = f"{nodes} -> {record.nodes_after} nodes" if modified else "no change"
        self.settings.say(PASSES, f"  {stage.name}/{pass_.name}: {changed}, {record.seconds * 1e3:.1f} ms")
        return modified

    def _check(self, stage: Stage, pass_: Pass, before: onnx_ir.Model, after: onnx_ir.Model, modified: bool) -> None:
        problems = verify(after)
        if not modified and graph_text(before) != graph_text(after):
            problems.append("the pass changed the graph and reports that it did not")
        if problems:
            raise CompileError(f"{self._where(stage, pass_)} left a bad graph: " + "; ".join(problems[:10]))
        if modified and self.settings.check >= 2 and self.compare is not None:
            try:
                self.compare(before, after)
            except Error as error:
                error.add_note(self._where(stage, pass_))
                raise

    def _where(self, stage: Stage, pass_: Pass) -> str:
        ran = ", ".join(r.pass_name for r in self.records if r.modified) or "none"
        return f"pass {pass_.name} of stage {stage.name} (passes that changed the graph before it: {ran})"


def _by_reason(declined: Mapping[str, str]) -> list[str]:
    """`12 nodes (conv1, conv2, ...): the input is no Pad`, the reasons in order of first appearance."""
    groups: dict[str, list[str]] = {}
    for node, reason in declined.items():
        groups.setdefault(reason, []).append(node)
    lines = []
    for reason, nodes in groups.items():
        some = ", ".join(nodes[:2]) + (", ..." if len(nodes) > 2 else "")
        lines.append(f"{len(nodes)} node{'s' if len(nodes) > 1 else ''} ({some}): {reason}")
    return lines


def _since(began: float) -> str:
    return f"{(time.perf_counter() - began) * 1e3:.0f} ms"
