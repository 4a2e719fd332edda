"""The operator registry: one `Op` per operator gathers its type rule, shape data, reference and lowering.

    relu = Op("Relu")

    @relu.infer
    def infer(node: NodeView) -> list[TensorType]: ...

What a rule sees of its node is a `NodeView`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

import numpy as np
import onnx_ir

from magicmind.errors import ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.ir.dims import DATA_PREFIX, Dim, symbol
from magicmind.ir.types import Shape, TensorType, ValueType, const_of, set_value_type, type_of, value_type_of

if TYPE_CHECKING:
    from magicmind.lower.lowering import Lowering
    from magicmind.ops.expansion import Expansion

Array: TypeAlias = np.ndarray[Any, Any]
InferRule: TypeAlias = "Callable[[NodeView], Sequence[ValueType]]"
DataRule: TypeAlias = "Callable[[NodeView], Sequence[Array | None]]"
ReferenceRule: TypeAlias = Callable[[onnx_ir.Node, Sequence["Array | None"]], Sequence[Array]]
LowerRule: TypeAlias = "Callable[[Lowering, onnx_ir.Node], None]"
ExpandRule: TypeAlias = "Callable[[Expansion], Sequence[onnx_ir.Value] | None]"
T = TypeVar("T")
Rule = TypeVar("Rule", bound="InferRule")

REGISTRY: dict[tuple[str, str], Op] = {}

MORE: list[Callable[[str, str], Op | None]] = []
"""Where `lookup` asks for what is not in the registry: `ops/plugins.py` has the operators that users bring."""


@dataclass(frozen=True)
class HalfRule:
    """Which element types the kernels of an operator take when a network is stored in float16.

    data: the inputs that have the type of the float outputs (None: all that are float); `own_result`: they may differ
    from it, and from one another, in being float16 or float32. weights: constants that may be float16 whatever the data
    is. results: how many of the outputs, the others stay float32 as every other float input does (None: all).
    """

    data: tuple[int, ...] | None = None
    weights: tuple[int, ...] = ()
    own_result: bool = False
    results: int | None = None


DATA_KEY = "magicmind.data"  # where the symbolic contents of a small integer tensor lie in `value.meta`
LATE_KEY = "magicmind.late"  # in a node's metadata: its shape is computed at run time, so its host function runs
MAX_DATA = 1024  # elements; shapes and index lists are far smaller


class Op:
    """An operator of `domain`; constructing one registers it, unless told not to.

    Each rule is set once, by the decorator of its name:
      `infer`:     node view -> types of all outputs
      `data`:      node view -> contents of all outputs (object arrays of dims), None where unknown
      `reference`: (node, input arrays) -> output arrays, by numpy
      `lower`:     (lowering, node) -> None
      `host`:      the numpy function of the run time that computes it where kernels do not
      `half`:      what its kernels read and write in float16; without it, the operator keeps to float32
      `expand`:    (expansion) -> values that take the place of the outputs, None to decline; an operator with this
                   rule needs no `infer`
    """

    def __init__(self, name: str, domain: str = "", *, register: bool = True) -> None:
        self.name = name
        self.domain = domain
        self.infer_rule: InferRule | None = None
        self.data_rule: DataRule | None = None
        self.reference_rule: ReferenceRule | None = None
        self.lower_rule: LowerRule | None = None
        self.host_name: str | None = None
        self.late_rule: InferRule | None = None
        self.expand_rule: ExpandRule | None = None
        self.half_rule: HalfRule | None = None
        if register:
            assert (domain, name) not in REGISTRY, f"{domain}.{name} is registered twice"
            REGISTRY[domain, name] = self

    def infer(self, rule: Rule) -> Rule:
        """Sets the type rule."""
        self.infer_rule = rule
        return rule

    def data(self, rule: DataRule) -> DataRule:
        """Sets the rule for symbolic contents."""
        self.data_rule = rule
        return rule

    def reference(self, rule: ReferenceRule) -> ReferenceRule:
        """Sets the numpy reference; ONNX operators need none, `reference.py` has onnx's own evaluator."""
        self.reference_rule = rule
        return rule

    def lower(self, rule: LowerRule) -> LowerRule:
        """Sets the lowering."""
        self.lower_rule = rule
        return rule

    def host(self, name: str | None = None) -> Op:
        """Names the function in `runtime/host/` that computes nodes without kernels; None: the operator's name."""
        self.host_name = name or (f"{self.domain}.{self.name}" if self.domain else self.name)
        return self

    def half(
        self, *data: int, weights: tuple[int, ...] = (), own_result: bool = False, results: int | None = None
    ) -> Op:
        """Says that its kernels take float16 (`HalfRule`); no `data` means all float inputs."""
        self.half_rule = HalfRule(data or None, weights, own_result, results)
        return self

    def late(self, rule: InferRule) -> InferRule:
        """Sets the type rule for nodes that `infer` refuses because a shape is computed at run time; they run as host
        steps."""
        self.late_rule = rule
        self.host()
        return rule

    def expand(self, rule: ExpandRule) -> ExpandRule:
        """Sets the rule that writes a node as simpler ones."""
        self.expand_rule = rule
        return rule


def lookup(domain: str, name: str) -> Op | None:
    """The operator, or None when there is no such one."""
    found = REGISTRY.get((domain, name))
    return found or next((op for find in MORE if (op := find(domain, name)) is not None), None)


class NodeView:
    """A node as its rules see it: types, attributes, constants and symbolic contents of its inputs.

    `opset` is the version of the node's operator set.  Inputs beyond the last one count as absent.
    """

    __slots__ = ("_walk", "node", "opset")

    def __init__(self, node: onnx_ir.Node, opset: int = 0, walk: Callable[[onnx_ir.Graph], None] | None = None) -> None:
        self.node = node
        self.opset = opset
        self._walk = walk

    @property
    def name(self) -> str:
        """The node's name in the user's file."""
        return self.node.name or self.node.op_type

    @property
    def op_type(self) -> str:
        """The operator's name."""
        return self.node.op_type

    @property
    def num_outputs(self) -> int:
        """How many outputs the node lists, unused ones included."""
        return len(self.node.outputs)

    # ------------------------------------------------------------------------------------------------------- inputs

    def value(self, i: int) -> onnx_ir.Value | None:
        """Input `i`, or None when absent."""
        inputs = self.node.inputs
        return inputs[i] if i < len(inputs) else None

    def has(self, i: int) -> bool:
        """Whether input `i` is given."""
        return self.value(i) is not None

    @property
    def inputs(self) -> list[TensorType]:
        """The types of all given inputs, in order."""
        return [self.input(i) for i in range(len(self.node.inputs)) if self.has(i)]

    def input(self, i: int) -> TensorType:
        """The type of input `i`, with a known rank.  Raises ModelFormatError when it is absent.

        Raises UnsupportedOperatorError when the rank depends on run-time data.
        """
        value = self.value(i)
        if value is None:
            raise ModelFormatError(f"input {i} is missing")
        found = type_of(value)
        if found is None or found.shape is None:
            raise UnsupportedOperatorError(f"the rank of input {i} ({value.name!r}) is only known at run time")
        return found

    def value_type(self, i: int) -> ValueType:
        """The type of input `i`, which may be no tensor.  Raises ModelFormatError when it is absent."""
        value = self.value(i)
        found = None if value is None else value_type_of(value)
        if found is None:
            raise ModelFormatError(f"input {i} is missing")
        return found

    def unknown(self, output: int, axis: int = 0) -> Dim:
        """A new symbol (>= 0) for a size of an output that only the data tells."""
        return symbol(data_symbol(self.node.outputs[output], axis))

    def body(self, name: str, types: Sequence[ValueType] = ()) -> list[ValueType]:
        """The types of a nested graph's outputs, given those of its inputs.

        Raises ModelFormatError when it is missing or has another number of inputs.
        """
        attr = self.node.attributes.get(name)
        if attr is None or attr.type != onnx_ir.AttributeType.GRAPH or self._walk is None:
            raise ModelFormatError(f"the nested graph {name!r} is missing")
        graph = attr.as_graph()
        if len(graph.inputs) != len(types):
            raise ModelFormatError(f"{name} has {len(graph.inputs)} inputs; {len(types)} are expected")
        for value, t in zip(graph.inputs, types, strict=True):
            set_value_type(value, t)
            set_data(value, None)
        self._walk(graph)
        found = [value_type_of(value) for value in graph.outputs]
        if any(t is None for t in found):
            raise UnsupportedOperatorError(f"{name} holds operators that are not supported")
        return [t for t in found if t is not None]

    def shape(self, i: int) -> Shape:
        """The shape of input `i`."""
        return self.input(i).dims

    def const(self, i: int) -> Array | None:
        """The array of input `i` when it is known now, else None."""
        value = self.value(i)
        found = None if value is None else contents_of(value)
        if found is None or found.dtype != object:
            return found
        return found.astype(self.input(i).dtype.numpy()) if all(isinstance(d, int) for d in found.flat) else None

    def data(self, i: int) -> Array | None:
        """The contents of a small integer input `i` as an object array of dims (int or Expr), else None."""
        value = self.value(i)
        return None if value is None else data_of(value)

    def dims(self, i: int) -> list[Dim] | None:
        """`data(i)` as a flat list."""
        data = self.data(i)
        return None if data is None else list(data.flat)

    def ints(self, i: int) -> list[int] | None:
        """The integers of input `i`, flat, when all are known now."""
        found = self.dims(i)
        if found is None:
            return None
        return [d for d in found if isinstance(d, int)] if all(isinstance(d, int) for d in found) else None

    def need_ints(self, i: int, what: str) -> list[int]:
        """`ints(i)`; raises UnsupportedOperatorError when they depend on run-time data."""
        found = self.ints(i)
        if found is None:
            raise UnsupportedOperatorError(f"{what} (input {i}) is computed at run time; it must be a constant")
        return found

    # --------------------------------------------------------------------------------------------------- attributes

    @overload
    def attr(self, name: str) -> Any: ...
    @overload
    def attr(self, name: str, default: T) -> T: ...
    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute's value (int, float, str, list of them, tensor), `default` when absent.

        Raises ModelFormatError when its type is not the default's.
        """
        attr = self.node.attributes.get(name)
        if attr is None:
            return default
        value = attr.value
        if default is not None and not _same_kind(value, default):
            raise ModelFormatError(f"attribute {name!r} is {value!r}; expected {type(default).__name__}")
        return list(value) if isinstance(value, tuple) else value

    def ints_attr(self, name: str) -> list[int] | None:
        """An attribute that lists integers, None when absent.  Raises ModelFormatError for another type."""
        attr = self.node.attributes.get(name)
        if attr is None:
            return None
        if attr.type != onnx_ir.AttributeType.INTS:
            raise ModelFormatError(f"attribute {name!r} is {attr.value!r}; expected a list of integers")
        return list(attr.as_ints())

    def axis(self, default: int, rank: int, *, inclusive: bool = False) -> int:
        """The attribute `axis`, made non-negative.  `inclusive` allows `rank` itself."""
        return normalise_axis(self.attr("axis", default), rank, inclusive=inclusive)


def data_symbol(value: onnx_ir.Value, axis: int) -> str:
    """The name of the symbol for an axis of a value whose size only the data tells."""
    return f"{DATA_PREFIX}{re.sub(r'[^0-9A-Za-z_]', '_', value.name or '')}_{axis}"


def data_symbol_names(value: onnx_ir.Value) -> frozenset[str]:
    """All such names that the value may have."""
    rank = 0 if value.shape is None else value.shape.rank()
    return frozenset(data_symbol(value, axis) for axis in range(rank))


def normalise_axis(axis: int, rank: int, *, inclusive: bool = False) -> int:
    """`axis` counted from the front.  Raises ShapeError outside -rank..rank-1 (..rank when `inclusive`)."""
    if not -rank <= axis < rank + inclusive:
        raise ShapeError(f"axis {axis} does not exist in a tensor of rank {rank}")
    return axis + rank if axis < 0 else axis


def contents_of(value: onnx_ir.Value) -> Array | None:
    """What is known of a value's elements: a constant, or what inference recorded (object arrays hold dims)."""
    found = value.meta.get(DATA_KEY)
    return const_of(value) if found is None else found


def data_of(value: onnx_ir.Value) -> Array | None:
    """The contents of a small tensor of whole numbers as an object array of dims, when known."""
    found = contents_of(value)
    if found is None or found.dtype == object:
        return found
    if found.size > MAX_DATA or found.dtype.kind not in "iuf":
        return None
    if found.dtype.kind == "f":
        whole = np.asarray(np.rint(found))  # of a scalar it makes no array
        return (
            whole.astype(np.int64).astype(object)
            if np.abs(found.astype(np.float64)).max(initial=0) < 2**31 and (whole == found).all()
            else None
        )
    return found.astype(object)


def _in_order(node: onnx_ir.Node) -> Sequence[onnx_ir.Value | None]:
    """The inputs whose elements, one after the other, are the node's; none where it does more than that."""
    if node.domain or node.op_type not in ("Concat", "Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"):
        return ()
    if node.op_type != "Concat":
        return node.inputs[:1]
    axis = node.attributes.get("axis")
    return node.inputs if axis is not None and axis.as_int() == 0 else ()


def elements_of(value: onnx_ir.Value) -> list[Dim | None] | None:
    """As `data_of`, flat and one by one: None for each number that is not known, None as a whole for an open count.

    Sizes are often put together of some that are known and some that only the run tells.
    """
    found, node, t = data_of(value), value.producer(), type_of(value)
    if found is not None:
        return list(found.flat)
    if t is None or not isinstance(t.size, int) or t.size > MAX_DATA:
        return None
    inputs = () if node is None else _in_order(node)
    if inputs:
        parts = [None if v is None else elements_of(v) for v in inputs]
        return [d for part in parts if part is not None for d in part] if None not in parts else None
    return [None] * t.size


def set_data(value: onnx_ir.Value, data: Array | None) -> None:
    """Records the contents of `value`; None forgets them."""
    if data is not None:
        value.meta[DATA_KEY] = data
    elif DATA_KEY in value.meta:
        del value.meta[DATA_KEY]


def _same_kind(value: object, default: object) -> bool:
    if isinstance(default, float):
        return isinstance(value, (int, float))
    if isinstance(default, (list, tuple)):
        return isinstance(value, (list, tuple))
    return isinstance(value, type(default))
