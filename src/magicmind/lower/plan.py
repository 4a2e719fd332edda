"""The plan: what the run time needs to know about one target's program. Plain data, written as JSON.

Contract: docs/design/0001-architecture.md, "Kernels and the plan".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from magicmind.codegen.builder import Kernel, Param
from magicmind.codegen.target import Target
from magicmind.ir.dims import Dim
from magicmind.modelfile.parts import WEIGHT_ALIGNMENT


class KernelSpec(Protocol):
    """A kernel before its code exists; hashable, so that equal specs share one function."""

    @property
    def name(self) -> str:
        """Family and sizes, readable in profiles."""
        ...

    def build(self, target: Target, symbol: str) -> Kernel:
        """Emits the function `symbol`."""
        ...


@dataclass(eq=False)
class Storage:
    """A piece of memory: a graph input or output, a packed constant, or a buffer of the arena."""

    kind: str
    """`input`, `output`, `weight`, `arena`, `prepared`: made from weights at load, or `object`: what a host step made.
    """
    bytes: Dim
    index: int = 0
    """Input, output or object number, or the byte offset of a constant or of what is prepared."""
    first: int = -1
    last: int = -1
    """First and last step that touches it (arena only)."""


@dataclass(frozen=True)
class Ref:
    """An address: `offset` bytes into a storage."""

    storage: Storage
    offset: Dim = 0

    def offset_bytes(self, offset: Dim) -> Ref:
        return Ref(self.storage, self.offset + offset)


class Params:
    """Collects the run-time sizes of one kernel call: ints stay ints, expressions become `Param(i)`."""

    def __init__(self) -> None:
        self.values: list[Dim] = []

    def size(self, dim: Dim) -> int | Param:
        if isinstance(dim, int):
            return dim
        if dim not in self.values:
            self.values.append(dim)
        return Param(self.values.index(dim))


@dataclass(frozen=True)
class Step:
    """One kernel call. The last `outputs` refs are written, the others read."""

    node: str
    op: str
    spec: KernelSpec
    refs: tuple[Ref, ...]
    outputs: int
    params: tuple[Dim, ...]
    flops: Dim
    bytes: Dim
    repeat: Dim | None = None
    """The call is made this often, barriers between; the number of the call is the kernel's last size."""
    choice: str | None = None
    """Key of the choice (`lower/choice.py`) that the spec came from."""

    @property
    def reads(self) -> tuple[Ref, ...]:
        return self.refs[: len(self.refs) - self.outputs]

    @property
    def writes(self) -> tuple[Ref, ...]:
        return self.refs[len(self.refs) - self.outputs :]


@dataclass(frozen=True)
class Operand:
    """A tensor or object that a host step reads or writes. `shape` None: no tensor, or of unknown rank."""

    ref: Ref
    dtype: str
    shape: tuple[Dim, ...] | None
    whole: bool = False
    """The object itself rather than the memory at `ref`."""
    strings: tuple[str, ...] | None = None
    """The elements of a constant of strings, which lies in no memory."""


@dataclass(frozen=True, eq=False)
class HostStep:
    """A call of a host function (`runtime/host/`). It writes objects only, never memory that kernels own."""

    node: str
    op: str
    function: str
    attributes: Mapping[str, Any]
    inputs: tuple[Operand | None, ...]
    outputs: tuple[Operand | None, ...]
    flops: Dim = 0
    bytes: Dim = 0

    @property
    def refs(self) -> tuple[Ref, ...]:
        """The memory it reads."""
        return tuple(x.ref for x in self.inputs if x is not None and not x.whole and x.strings is None)


@dataclass(frozen=True, eq=False)
class Inner:
    """A tensor inside the network: where it lies as soon as a step has ended, until the next begins."""

    name: str
    node: str
    op: str
    dtype: str
    shape: tuple[Dim, ...]
    layout: str
    ref: Ref
    after: Step | HostStep
    part: tuple[int, int] = (0, 1)
    """(number, count): the tensor is that part of the one of its name, along the first axis."""


@dataclass
class Preparation:
    """What is made from weights once, before the first call: kernel calls without run-time sizes.

    Nested graphs share it. Equal kernels on equal weights are called once.
    """

    steps: list[Step] = field(default_factory=list)
    bytes: int = 0
    """Of the memory they write, which stays as long as the model."""
    scratch: int = 0
    known: dict[tuple[KernelSpec, tuple[Ref, ...]], Ref] = field(default_factory=dict)

    def add(self, step: Step, nbytes: int, scratch: int) -> Ref:
        """Where the result of a kernel call lies; `step` is without it."""
        key = (step.spec, step.refs)
        if key not in self.known:
            offset = -(-self.bytes // WEIGHT_ALIGNMENT) * WEIGHT_ALIGNMENT
            ref = self.known[key] = Ref(Storage("prepared", nbytes, offset))
            self.steps.append(replace(step, refs=(*step.refs, ref), outputs=1))
            self.bytes, self.scratch = offset + nbytes, max(self.scratch, scratch)
        return self.known[key]


@dataclass
class BodyPlan:
    """The plan of a nested graph. `given`: symbols whose values the enclosing graph hands down."""

    plan: Plan
    given: tuple[str, ...]


@dataclass
class Plan:
    """Steps in order with everything they touch, for one target."""

    symbols: dict[str, tuple[int, int | None]]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    steps: list[Step | HostStep] = field(default_factory=list)
    scratch: Dim = 0
    objects: int = 0
    """How many objects host steps make."""
    late_scratch: list[Dim] = field(default_factory=list)
    """Scratch sizes that depend on data."""
    bodies: list[BodyPlan] = field(default_factory=list)
    """Nested graphs, those of nested graphs included (they share the list)."""
    prepare: Preparation = field(default_factory=Preparation)
    inner: list[Inner] = field(default_factory=list)
    """What nodes make, for runs that are watched (`runtime/watched.py`)."""


def assign_epochs(steps: Sequence[Step | HostStep]) -> list[int]:
    """Epoch of each step: a barrier stands between epochs, none within.

    A step joins the epoch of the one before unless it reads what that epoch wrote, or writes what it read or wrote.
    Two writes to different offsets of one storage are parts of a concatenation and do not meet. A host step has an
    epoch of its own.
    """
    epochs: list[int] = []
    alone = False
    reads: set[Storage] = set()
    writes: set[Ref] = set()
    for step in steps:
        if alone or isinstance(step, HostStep):
            alone = isinstance(step, HostStep)
            reads, writes = set(), set()
            epochs.append(epochs[-1] + 1 if epochs else 0)
            if isinstance(step, Step):
                reads, writes = {ref.storage for ref in step.reads}, set(step.writes)
            continue
        written = {ref.storage for ref in writes}
        clash = (
            any(ref.storage in written for ref in step.reads)
            or any(ref.storage in reads for ref in step.writes)
            or any(ref in writes for ref in step.writes)
        )
        if clash:
            reads, writes = set(), set()
        epochs.append((epochs[-1] if epochs else 0) + (1 if clash else 0))
        reads |= {ref.storage for ref in step.reads}
        writes |= set(step.writes)
    return epochs
