"""From the fused graph to a `Plan`: every node's operator adds its kernel calls; memory is named, not yet placed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import ITEMSIZE
from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.bodies import bodies_of
from magicmind.ir.dims import DATA_PREFIX, Dim, ceildiv, dim_max, symbols_of
from magicmind.ir.scalar import Var, single
from magicmind.ir.types import const_of, dtype_of, ranges_of, shape_of
from magicmind.kernels.elementwise import Elementwise
from magicmind.kernels.elementwise import Operand as Broadcast
from magicmind.kernels.move import BY_SIZE, Copy
from magicmind.kernels.scalar import KERNEL_DTYPES
from magicmind.lower.choice import Chooser
from magicmind.lower.host import CAPTURES, attributes_json, body_plan, numpy_name, string_constant
from magicmind.lower.narrow import refuse_arithmetic
from magicmind.lower.placement import concat_places
from magicmind.lower.plan import (
    BodyPlan,
    HostStep,
    Inner,
    KernelSpec,
    Operand,
    Params,
    Plan,
    Preparation,
    Ref,
    Step,
    Storage,
)
from magicmind.modelfile.parts import WeightStore
from magicmind.ops.registry import LATE_KEY, Op, lookup

T = TypeVar("T")


class Lowering:
    """What an operator's `lower` function talks to."""

    def __init__(
        self,
        model: ir.Model,
        target: Target,
        weights: WeightStore,
        bodies: list[BodyPlan] | None = None,
        chooser: Chooser | None = None,
        prepare: Preparation | None = None,
    ) -> None:
        """`bodies`: where the plans of nested graphs go, when `model` is one itself; `prepare`: likewise, what is made
        at load. `chooser`: default cost model."""
        self.model, self.target = model, target
        self._chooser = chooser or Chooser()
        self._choice: str | None = None
        self._weights = weights
        graph = model.graph
        self.plan = Plan(
            symbols=dict(ranges_of(model)),
            inputs=[self._describe(v) for v in graph.inputs],
            outputs=[self._describe(v) for v in graph.outputs],
            bodies=[] if bodies is None else bodies,
            prepare=Preparation() if prepare is None else prepare,
        )
        self._objects: dict[ir.Value, int] = {}
        self._refs: dict[ir.Value, Ref] = {}
        self._constants: dict[int, Storage] = {}
        self._order = {node: i for i, node in enumerate(graph)}
        self._outputs = set(graph.outputs)
        self._sharing: dict[Storage, list[ir.Value]] = {}
        self._node: ir.Node | None = None
        for i, value in enumerate(graph.inputs):
            if self._has_kernels(value):
                self._bind(value, Ref(Storage("input", self.nbytes(value), i)))
            else:
                self.plan.inputs[i]["object"] = self._object(value)
        self._results = [
            Ref(Storage("output", self.nbytes(value) if self._has_kernels(value) else 0, i))
            for i, value in enumerate(graph.outputs)
        ]
        for value, ref in zip(graph.outputs, self._results, strict=True):
            if value not in self._refs and value not in self._objects and value.producer() is not None:
                self._bind(value, ref)

    def run(self) -> Plan:
        """Lowers every node.

        Raises UnsupportedOperatorError listing all nodes whose operator has no kernel.
        """
        nodes = list(self.model.graph)
        missing = [
            n for n in nodes if (op := lookup(n.domain, n.op_type)) is None or not (op.lower_rule or op.host_name)
        ]
        for node in missing:
            refuse_arithmetic(node)
        if missing:
            listing = "\n".join(f"  {self.describe_node(n)}" for n in missing)
            raise UnsupportedOperatorError(f"no kernel for {len(missing)} node(s):\n{listing}")
        self._place_concats()
        refused: list[UnsupportedOperatorError] = []
        for node in nodes:
            self._node, self._choice = node, None
            op = lookup(node.domain, node.op_type)
            assert op is not None
            try:
                self._lower(op, node)
            except UnsupportedOperatorError as error:
                refused.append(error)
            else:
                self._note_results(node)
        if len(refused) == 1:
            raise refused[0]
        if refused:
            listing = "\n".join(f"  {error}" for error in refused)
            raise UnsupportedOperatorError(f"{len(refused)} nodes are not supported:\n{listing}")
        self._copy_results()
        self._drop_unread()
        return self.plan

    def _place_concats(self) -> None:
        """Gives the parts of a concatenation their place in its result, where that is one run of memory."""
        for part, result, elements in concat_places(self.model.graph, self.physical_shape):
            if part not in self._refs and self._has_kernels(part) and self._has_kernels(result):
                self._bind(part, self.ref(result).offset_bytes(elements * ITEMSIZE[self.dtype(part)]))

    def _lower(self, op: Op, node: ir.Node) -> None:
        """By kernels where there are any for these types and attributes, else by the host function."""
        refuse_arithmetic(node)
        done = len(self.plan.steps)
        kernels = op.lower_rule is not None and LATE_KEY not in node.metadata_props
        if op.lower_rule is not None and kernels and (op.host_name is None or self._may_lower(node)):
            bound = set(self._refs)
            try:
                op.lower_rule(self, node)
                return
            except UnsupportedOperatorError:
                if op.host_name is None:
                    raise
                self._undo(done, bound)
        assert op.host_name is not None
        self.host_call(node, op.host_name)

    def _note_results(self, node: ir.Node) -> None:
        """Remembers where the node's results lie after the steps so far: later ones may use their memory again."""
        sources = node.metadata_props.get("magicmind.sources", node.name or "")
        for value in node.outputs:
            ref, name = self._refs.get(value), value.meta.get("tensor", value.name)
            if ref is None or not name or not self._has_kernels(value):
                continue
            made = ref.storage.kind == "object"  # by a host step, which is the node's last
            number = len(self.plan.steps) - 1 if made else ref.storage.last
            if number < 0:  # nothing has been written: a constant, or a view of an input
                continue
            self.plan.inner.append(
                Inner(name, sources, node.op_type, numpy_name(value), self.shape(value), self.layout(value), ref,
                      self.plan.steps[number], value.meta.get("part", (0, 1)))
            )  # fmt: skip

    def _may_lower(self, node: ir.Node) -> bool:
        """Whether kernels have a chance: all values are tensors of types that kernels know."""
        values = [v for v in (*node.inputs, *node.outputs) if v is not None and (v.name or v.uses())]
        return all(self._has_kernels(v) for v in values)

    def _undo(self, steps: int, bound: set[ir.Value]) -> None:
        """Takes back what a lowering did before it declined."""
        removed = {ref.storage for step in self.plan.steps[steps:] for ref in step.refs}
        del self.plan.steps[steps:]
        for storage in removed:
            users = [i for i, step in enumerate(self.plan.steps) if any(ref.storage is storage for ref in step.refs)]
            storage.first, storage.last = (users[0], users[-1]) if users else (-1, -1)
        for value in set(self._refs) - bound:
            ref = self._refs.pop(value)
            if value in self._sharing.get(ref.storage, ()):
                self._sharing[ref.storage].remove(value)

    def _copy_results(self) -> None:
        """Outputs that no node writes: inputs, constants, and values that the graph lists twice."""
        for i, (value, result) in enumerate(zip(self.model.graph.outputs, self._results, strict=True)):
            if value in self._objects:
                self.plan.outputs[i]["object"] = self._objects[value]
                continue
            source = self.ref(value)
            if source == result:
                continue
            params, itemsize = Params(), ITEMSIZE[self.dtype(value)]
            count = math.prod(self.shape(value))
            copy = Copy((params.size(count),), (1,), (1,), BY_SIZE[itemsize])
            moved = 2 * itemsize * count
            self._add(Step(value.name or "", "Identity", copy, (source, result), 1, tuple(params.values), 0, moved))

    def _drop_unread(self) -> None:
        """Removes kernel calls whose results nothing reads: sizes that went into other kernels as run-time values."""
        read: set[Storage] = set()
        kept: list[Step | HostStep] = []
        for step in reversed(self.plan.steps):
            if isinstance(step, HostStep):
                read |= {ref.storage for ref in step.refs}
            elif all(ref.storage.kind == "arena" and ref.storage not in read for ref in step.writes):
                continue
            else:
                read |= {ref.storage for ref in step.reads}
            kept.append(step)
        if len(kept) == len(self.plan.steps):
            return
        for step in self.plan.steps:
            for ref in step.refs:
                ref.storage.first = ref.storage.last = -1
        self.plan.steps = []
        for step in reversed(kept):
            self._add(step)

    def describe_node(self, node: ir.Node) -> str:
        """Name, operator, input types: for errors."""
        types = ", ".join("-" if v is None else f"{v.dtype}{v.shape}" for v in node.inputs)
        return f"{node.name} ({node.op_type}): {types}"

    # -- values ------------------------------------------------------------------------------------------------------

    def shape(self, value: ir.Value) -> tuple[Dim, ...]:
        """Logical shape."""
        shape = shape_of(value)
        assert shape is not None, f"{value.name} has no shape"
        return shape

    def dtype(self, value: ir.Value) -> str:
        """Element type by its kernel name."""
        dtype = dtype_of(value)
        if dtype not in KERNEL_DTYPES:
            where = self.describe_node(self._node) if self._node is not None else f"graph value {value.name}"
            raise UnsupportedOperatorError(f"{where}: element type {dtype} has no kernels")
        return KERNEL_DTYPES[dtype]

    def layout(self, value: ir.Value) -> str:
        """`plain` or `blocked`."""
        return str(value.meta.get("layout", "plain"))

    def physical_shape(self, value: ir.Value) -> tuple[Dim, ...]:
        """Extents in memory: as `shape`, or [N, ceil(C/16), spatial..., 16] when blocked."""
        shape = self.shape(value)
        if self.layout(value) == "plain":
            return shape
        return (shape[0], ceildiv(shape[1], BLOCK), *shape[2:], BLOCK)

    def nbytes(self, value: ir.Value) -> Dim:
        return math.prod(self.physical_shape(value), start=ITEMSIZE[self.dtype(value)])

    def const(self, value: ir.Value | None) -> np.ndarray | None:
        """The constant's array, or None."""
        return None if value is None else const_of(value)

    def ref(self, value: ir.Value) -> Ref:
        """Where the value lives; first use gives it memory."""
        if value in self._refs:
            return self._refs[value]
        array = self.const(value)
        if array is not None:
            ref = self.weight(array)
            self._refs[value] = ref
            return ref
        return self._bind(value, Ref(Storage("arena", self.nbytes(value))))

    def _bind(self, value: ir.Value, ref: Ref) -> Ref:
        self._refs[value] = ref
        self._sharing.setdefault(ref.storage, []).append(value)
        return ref

    def weight(self, array: np.ndarray) -> Ref:
        """A constant in the weights section; equal contents share one place."""
        offset = self._weights.add(np.ascontiguousarray(array))
        if offset not in self._constants:
            self._constants[offset] = Storage("weight", array.nbytes, offset)
        return Ref(self._constants[offset])

    def prepared(
        self, node: ir.Node, spec: KernelSpec, refs: Sequence[Ref], nbytes: int, *, flops: int = 0, scratch: int = 0
    ) -> Ref:
        """What a kernel without run-time sizes makes of weights (or of what is prepared), once when a model is loaded.

        The result, `nbytes` bytes, is the kernel's last argument; all calls of all engines of a model read it.
        """
        assert all(ref.storage.kind in ("weight", "prepared") for ref in refs)
        moved = nbytes + sum(ref.storage.bytes for ref in refs if isinstance(ref.storage.bytes, int))
        sources = node.metadata_props.get("magicmind.sources", node.name or "")
        step = Step(sources, node.op_type, spec, tuple(refs), 0, (), flops, moved)
        return self.plan.prepare.add(step, nbytes, scratch)

    def widened(self, node: ir.Node, array: np.ndarray) -> Ref:
        """A constant as float32 in memory and as float16 in the file; its numbers must be float16's."""
        p = self.params()
        cast = single("Cast", Var("x0"), ir.DataType.FLOAT)
        spec = Elementwise(cast, (Broadcast("f16", (True,)),), "f32", (p.size(array.size),))
        return self.prepared(node, spec, [self.weight(array.astype(np.float16))], array.size * ITEMSIZE["f32"])

    def temp(self, nbytes: Dim) -> Ref:
        """Memory for this node only."""
        return Ref(Storage("arena", nbytes))

    def alias(self, value: ir.Value, ref: Ref) -> bool:
        """Makes `value` a view of existing memory. Refused (False) when it has a place already: the user's memory for a
        graph output, or its part of a concatenation."""
        if value in self._outputs or value in self._refs:
            return False
        self._bind(value, ref)
        return True

    def reuse(self, out: ir.Value, source: ir.Value) -> bool:
        """Lets `out` take the memory of `source` when that dies at this node and has the same size."""
        ref = self._refs.get(source)
        if ref is None or out in self._refs or ref.storage.kind != "arena":
            return False
        if self.nbytes(out) != ref.storage.bytes or not self._dies_here(ref.storage):
            return False
        self._bind(out, ref)
        return True

    def overlap(self, a: ir.Value, b: ir.Value) -> bool:
        """Whether two values lie in the same memory: what writes one then changes the other."""
        first, second = self._refs.get(a), self._refs.get(b)
        return first is not None and second is not None and first.storage is second.storage

    def _dies_here(self, storage: Storage) -> bool:
        assert self._node is not None
        now = self._order[self._node]
        return all(
            value not in self._outputs and all(self._order[user.node] <= now for user in value.uses())
            for value in self._sharing[storage]
        )

    # -- host steps --------------------------------------------------------------------------------------------------

    def host_call(self, node: ir.Node, function: str) -> None:
        """Adds a call of the host function: inputs, outputs, attributes and nested graphs are those of the node."""
        attributes = attributes_json(node)
        for name, (model, captures) in bodies_of(node).items():
            attributes[name] = {"body": self._body(model, captures)}
            attributes[CAPTURES] = captures
        inputs = tuple(None if v is None else self._operand(v) for v in node.inputs)
        outputs = tuple(self._result(v) for v in node.outputs)
        sources = node.metadata_props.get("magicmind.sources", node.name or "")
        moved = sum(self.nbytes(v) for v in node.inputs if v is not None and self._has_kernels(v))
        self._add(HostStep(sources, node.op_type, function, attributes, inputs, outputs, bytes=moved))

    def _body(self, model: ir.Model, captures: int) -> int:
        """The number of a nested graph's plan."""
        plan = Lowering(model, self.target, self._weights, self.plan.bodies, self._chooser, self.plan.prepare).run()
        self.plan.bodies.append(body_plan(model.graph, plan, captures))
        return len(self.plan.bodies) - 1

    def _has_kernels(self, value: ir.Value) -> bool:
        tensor = isinstance(value.type, ir.TensorType) and value.dtype in KERNEL_DTYPES
        return tensor and (shape_of(value) is not None or value.const_value is not None)

    def _object(self, value: ir.Value) -> int:
        """Makes `value` an object; its number."""
        self._objects[value] = self.plan.objects
        self.plan.objects += 1
        return self._objects[value]

    def _operand(self, value: ir.Value) -> Operand:
        shape, dtype = shape_of(value) if isinstance(value.type, ir.TensorType) else None, numpy_name(value)
        if value in self._objects:
            return Operand(Ref(Storage("object", 0, self._objects[value])), dtype, shape, whole=True)
        strings = string_constant(value)
        if strings is not None:
            return Operand(Ref(Storage("object", 0)), dtype, shape, strings=strings)
        return Operand(self.ref(value), dtype, shape)

    def _result(self, value: ir.Value) -> Operand | None:
        if not value.name and not value.uses():
            return None
        dtype, tensor = numpy_name(value), isinstance(value.type, ir.TensorType)
        ref = Ref(Storage("object", 0, self._object(value)))
        if self._has_kernels(value):
            self._bind(value, ref)
        return Operand(ref, dtype, shape_of(value) if tensor else None, whole=True)

    # -- calls -------------------------------------------------------------------------------------------------------

    def params(self) -> Params:
        return Params()

    def choose(self, candidates: Sequence[T], params: Params, *facts: object) -> T:
        """The schedule of the next call: one of the candidates, of which the cost model would take the first.

        `facts`: all that the speed depends on; their run-time sizes are those of `params`.
        """
        self._choice = " ".join(map(str, [*facts, *params.values]))
        return self._chooser.pick(self._choice, candidates)

    def call(
        self,
        node: ir.Node,
        spec: KernelSpec,
        refs: Sequence[Ref],
        params: Params,
        *,
        outputs: int = 1,
        flops: Dim = 0,
        bytes: Dim = 0,
        scratch: Dim = 0,
        repeat: Dim | None = None,
    ) -> None:
        """Adds one kernel call; the last `outputs` refs are written. `scratch` is bytes per thread.

        `repeat`: so many calls with barriers between; the kernel's last size is the number of the call.
        A call that only writes tensors without elements is left out, so no kernel has to expect a size of 0.
        """
        if all(ref.storage.bytes == 0 for ref in refs[len(refs) - outputs :]):
            return
        sources = node.metadata_props.get("magicmind.sources", node.name or "")
        choice, self._choice = self._choice, None
        sizes = tuple(params.values)
        self._add(Step(sources, node.op_type, spec, tuple(refs), outputs, sizes, flops, bytes, repeat, choice))
        if any(name.startswith(DATA_PREFIX) for name in symbols_of(scratch)):
            self.plan.late_scratch.append(scratch)
        elif isinstance(scratch, int) and isinstance(self.plan.scratch, int):
            self.plan.scratch = max(scratch, self.plan.scratch)
        else:
            self.plan.scratch = dim_max(scratch, self.plan.scratch)

    def _add(self, step: Step | HostStep) -> None:
        index = len(self.plan.steps)
        for ref in step.refs:
            storage = ref.storage
            storage.first = index if storage.first < 0 else storage.first
            storage.last = index
        self.plan.steps.append(step)

    def _describe(self, value: ir.Value) -> dict[str, object]:
        shape = shape_of(value) if isinstance(value.type, ir.TensorType) else None
        dims = None if shape is None else [d if isinstance(d, int) else str(d) for d in shape]
        return {"name": value.name, "dtype": numpy_name(value), "shape": dims}
