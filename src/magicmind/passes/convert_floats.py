"""float16 for the whole graph: which values and weights are stored in it, and what stays float32.

It runs once everything is fused. Products (Conv, MatMul) and scalar programs read and write any float type, so no
conversion is a pass over memory: their programs get the casts. The operators between them are of one type, so values
that such an operator connects form a group; a group is float32 when one of its values has to be, else float16.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import inf

import numpy as np
import onnx_ir
from onnx_ir import DataType

from magicmind.ir.scalar import Var, single
from magicmind.ir.types import TensorType, const_of, dtype_of, set_type, type_of
from magicmind.ops.registry import LATE_KEY, HalfRule, lookup
from magicmind.passes.edit import DOMAIN, add_constant, graph_of, is_op, sources_of
from magicmind.passes.fuse_elementwise import program_of
from magicmind.passes.infra import Pass, Runner, Stage
from magicmind.passes.pipeline import layout_stages, stages
from magicmind.passes.remove_dead import RemoveDead

__all__ = ["LARGEST", "ConvertFloats", "Exceeds", "half"]

LARGEST = 65504.0
"""The largest finite float16."""

_FEW = 1024
"""Elements up to which a constant operand of a program stays float32: rounding it saves nothing."""

_WHOLE = frozenset({DataType.INT32, DataType.INT64, DataType.UINT32, DataType.UINT64})
"""Types of positions and sizes. Made into floats they can need more than the 11 bits that float16 has."""

EPILOGUE_OPERANDS = {"Conv": 3, "MatMul": 3}
"""The number of the first operand of the epilogue among the inputs."""

_NOTHING = single("Identity", Var("acc"))

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exceeds:
    """A tensor, or constant, that float16 cannot hold: it stays float32. `node` makes it, or reads the constant."""

    tensor: str
    node: str
    magnitude: float

    def __str__(self) -> str:
        return f"{self.tensor} of {self.node}: {self.magnitude:.6g} is beyond float16's {LARGEST:.0f}; kept in float32"


def half(
    model: onnx_ir.Model, keep: Collection[str] = (), magnitudes: Mapping[str, float] | None = None
) -> list[Exceeds]:
    """Makes a fused graph float16, in place; the arguments and the result are those of `ConvertFloats`."""
    convert = ConvertFloats(keep, magnitudes or {})
    Runner().run([Stage("convert floats", passes=[convert, RemoveDead()])], model, [*stages(), *layout_stages()])
    return convert.exceeds


class ConvertFloats(Pass):
    """float32 values and weights become float16, inputs and outputs of the graph stay.

    keep: names of nodes, of the fused graph or of the source, that stay float32 with all they read and write.
    magnitudes: the largest magnitude that each tensor had on calibration data; those beyond float16 stay float32.
    """

    def __init__(self, keep: Collection[str] = (), magnitudes: Mapping[str, float] | None = None) -> None:
        self.keep = frozenset(keep)
        self.magnitudes = magnitudes or {}
        self.exceeds: list[Exceeds] = []
        """What was kept in float32 by the latest call because of its range, also written to the log."""

    def call(self, model: onnx_ir.Model) -> bool:
        self.exceeds = []
        self._constants: dict[onnx_ir.Value, onnx_ir.Value | None] = {}
        groups = self._grouped(model.graph)
        modified = False
        # A dtype is read from the groups until all nodes have been converted.
        for node in list(model.graph):
            modified |= self._convert(node, groups)
        for node in model.graph:
            for value in node.outputs:
                if groups.is_half(value):
                    _retype(value, DataType.FLOAT16)
                    modified = True
        for found in self.exceeds:
            _log.warning("%s", found)
        return modified

    # -- what is float16 ---------------------------------------------------------------------------------------------

    def _rule(self, node: onnx_ir.Node) -> HalfRule | None:
        """What may be float16 of a node; None for one that stays as it is."""
        op = lookup(node.domain, node.op_type)
        if op is None or op.half_rule is None or LATE_KEY in node.metadata_props:
            return None
        return None if self.keep and not self.keep.isdisjoint((node.name, *sources_of(node))) else op.half_rule

    def _grouped(self, graph: onnx_ir.Graph) -> _Groups:
        groups = _Groups()
        for value in (*graph.inputs, *graph.outputs):
            groups.fix(value)
        for nested in graph.subgraphs():
            for node in nested:
                for read in filter(None, node.inputs):
                    groups.fix(read)
        for node in graph:
            self._add(node, groups)
            for value in node.outputs:
                magnitude = self.magnitudes.get(value.name or "", 0.0)
                if _is_float(value) and magnitude > LARGEST:
                    groups.fix(value)
                    self.exceeds.append(Exceeds(value.name or "", node.name or "", magnitude))
        return groups

    def _add(self, node: onnx_ir.Node, groups: _Groups) -> None:
        """Joins what must have one type and fixes what must be float32."""
        rule = self._rule(node)
        data = [] if rule is None else [value for _, value in _data_of(node, rule)]
        outputs = [value for value in node.outputs if _is_float(value)]
        free = [] if rule is None or _needs_range(node) or _overflow(data) else outputs[: rule.results]
        for value in filter(None, node.inputs):
            if value not in data:
                groups.fix(value)
        for value in outputs:
            if value not in free:
                groups.fix(value)
        variable = [value for value in data if const_of(value) is None]
        if rule is not None and not rule.own_result:
            groups.join([*variable, *free])
        elif is_op(node, "MatMul", domain=DOMAIN):
            groups.join([value for value in variable if value in node.inputs[:2]])  # two factors have one type

    # -- converting --------------------------------------------------------------------------------------------------

    def _convert(self, node: onnx_ir.Node, groups: _Groups) -> bool:
        rule = self._rule(node)
        if rule is None:
            return False
        weights = [self._convert_constant(node, i) for i in rule.weights]
        if rule.own_result:
            return self._convert_program(node, groups) or any(weights)
        data = list(_data_of(node, rule))
        if not any(groups.is_half(value) for value in (*node.outputs, *(v for _, v in data))):
            return any(weights)
        return any([*weights, *(self._convert_constant(node, i) for i, _ in data)])

    def _convert_program(self, node: onnx_ir.Node, groups: _Groups) -> bool:
        """Casts what the program reads to float32 and its result to float16."""
        elementwise = is_op(node, "Elementwise", domain=DOMAIN)
        name, first = ("program", 0) if elementwise else ("epilogue", EPILOGUE_OPERANDS[node.op_type])
        program = before = program_of(node, name) if name in node.attributes else _NOTHING
        for i, value in enumerate(node.inputs[first:]):
            stored = elementwise and value is not None and _is_table(value) and self._convert_constant(node, first + i)
            if stored or (value is not None and groups.is_half(value)):
                program = program.compose(single("Cast", Var(f"x{i}"), DataType.FLOAT), f"x{i}")
        if groups.is_half(node.outputs[0]):
            program = single("Cast", Var("result"), DataType.FLOAT16).compose(program, "result").simplified()
        if program == before:
            return False
        node.attributes[name] = onnx_ir.AttrStrings(name, program.to_strings())
        return True

    def _convert_constant(self, node: onnx_ir.Node, i: int) -> bool:
        """Puts the float16 form of a constant in its place, where float16 holds all of it."""
        value = node.inputs[i] if i < len(node.inputs) else None
        if value is None or not _is_float(value) or const_of(value) is None:
            return False
        if value not in self._constants:
            self._constants[value] = self._in_half(node, value)
        converted = self._constants[value]
        if converted is None:
            return False
        node.replace_input_with(i, converted)
        return True

    def _in_half(self, node: onnx_ir.Node, value: onnx_ir.Value) -> onnx_ir.Value | None:
        magnitude = _magnitude(value)
        if magnitude > LARGEST:
            self.exceeds.append(Exceeds(value.name or "", node.name or "", magnitude))
            return None
        array = np.asarray(const_of(value))
        return add_constant(graph_of(node), array.astype(np.float16), f"{value.name}.half")


class _Groups:
    """Values that have one type, as a union-find; a group with a fixed value is float32."""

    def __init__(self) -> None:
        self._parent: dict[onnx_ir.Value, onnx_ir.Value] = {}
        self._fixed: set[onnx_ir.Value] = set()

    def _root(self, value: onnx_ir.Value) -> onnx_ir.Value:
        path = []
        while (parent := self._parent.setdefault(value, value)) is not value:
            path.append(value)
            value = parent
        for passed in path:
            self._parent[passed] = value
        return value

    def fix(self, value: onnx_ir.Value) -> None:
        self._fixed.add(self._root(value))

    def join(self, values: Collection[onnx_ir.Value]) -> None:
        roots = [self._root(value) for value in values]
        for root in roots[1:]:
            if root is not (first := self._root(roots[0])):
                self._parent[root] = first
                if root in self._fixed:
                    self._fixed.add(first)

    def is_half(self, value: onnx_ir.Value) -> bool:
        """Whether a value becomes float16; constants are looked at one by one."""
        return _is_float(value) and const_of(value) is None and self._root(value) not in self._fixed


def _is_float(value: onnx_ir.Value | None) -> bool:
    """Whether a value is a float32 tensor."""
    return value is not None and dtype_of(value) == DataType.FLOAT and type_of(value) is not None


def _data_of(node: onnx_ir.Node, rule: HalfRule) -> Iterator[tuple[int, onnx_ir.Value]]:
    """The float inputs, with their numbers, that need not be float32."""
    for i, value in enumerate(node.inputs):
        if value is not None and _is_float(value) and (rule.data is None or i in rule.data):
            yield i, value


def _magnitude(value: onnx_ir.Value) -> float:
    """The largest finite magnitude of a constant: infinities are the same in float16."""
    array = np.asarray(const_of(value))
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def _overflow(data: list[onnx_ir.Value]) -> bool:
    """Whether a constant among the data, which takes the type of the result, is beyond float16."""
    return any(const_of(value) is not None and _magnitude(value) > LARGEST for value in data)


def _is_table(value: onnx_ir.Value) -> bool:
    """Whether a value is a constant that is worth storing in float16."""
    array = const_of(value)
    return array is not None and array.size > _FEW


def _needs_range(node: onnx_ir.Node) -> bool:
    """Whether a program reads whole numbers that may be positions or sizes, or has a number beyond float16."""
    if not is_op(node, "Elementwise", domain=DOMAIN):
        return False
    literals = [a for s in program_of(node).statements for a in s.args if isinstance(a, (int, float))]
    return any(LARGEST < abs(number) < inf for number in literals) or any(
        value is not None and dtype_of(value) in _WHOLE for value in node.inputs
    )


def _retype(value: onnx_ir.Value, dtype: DataType) -> None:
    found = type_of(value)
    assert found is not None
    set_type(value, TensorType(dtype, found.shape))
