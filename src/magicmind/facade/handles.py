"""Tensors and nodes as programs hold them: small handles whose keys say what they mean, whichever shapes the inputs
have by then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from magicmind.facade.dims import Dims
from magicmind.facade.enums import DataType
from magicmind.facade.naming import MAIN
from magicmind.facade.nodes import Row
from magicmind.facade.quantities import uniform_of, uniform_quant_param_to_range
from magicmind.facade.status import Code, Refused, guarded, or_none

if TYPE_CHECKING:
    from magicmind.facade.network import Network
    from magicmind.facade.realise import Key, Realised
    from magicmind.facade.scope import Scope
    from magicmind.ops.emitter import Emitter


class ITensor:
    """A tensor of a network, or of a body in it."""

    def __init__(self, scope: Scope, key: Key, name: str, dtype: DataType | None = None) -> None:
        self.scope, self.key, self.name = scope, key, name
        self._dtype = dtype  # what is known of it before shapes are

    @property
    def network(self) -> Network:
        """The network that it belongs to."""
        return self.scope.network

    def get_tensor_name(self) -> str:
        """The name."""
        return self.network.name_of(self)

    @guarded
    def set_tensor_name(self, name: str) -> None:
        """Gives the tensor a name of its own: what the built model calls it, and what `custom_ranges` may say of it."""
        self.network.set_name(self, name)

    @guarded
    def set_dynamic_range(self, value: Any, per_axis: bool = False) -> None:
        """Sets the range that quantisation gives the tensor: a Range or (min, max); before what calibration found."""
        self.network.set_range(self, [value])

    @guarded
    def set_dynamic_range_per_axis(self, values: Sequence[Any], per_axis: bool = True) -> None:
        """As `set_dynamic_range` with a range per channel: the tensor gets the smallest that holds them all."""
        self.network.set_range(self, values)

    def get_dimension(self) -> Dims:
        """The shape; no dims while nothing is known of it."""
        return self.network.dims_of(self)

    def get_data_type(self) -> DataType:
        """The type."""
        return self.network.dtype_of(self, self._dtype)

    @guarded
    def set_dimension(self, dims: Dims) -> None:
        """Sets the shape of an input; all that depends on it follows."""
        self.network.set_dims(self, dims)

    @guarded
    def set_data_type(self, data_type: DataType) -> None:
        """Sets the type that the built model has for an input or output, which is converted inside."""
        self.network.set_dtype(self, data_type)

    @or_none
    def get_producer(self) -> INode | None:
        """The node that makes the tensor; None for an input."""
        nodes = self.network.get_all_nodes_in_network()
        return next((n for n in nodes if any(t.key == self.key for t in n.results)), None)

    @or_none
    def get_consumers(self) -> list[INode]:
        """The nodes that read the tensor."""
        nodes = self.network.get_all_nodes_in_network()
        return [n for n in nodes if any(t is not None and t.key == self.key for t in n.operands)]

    def __repr__(self) -> str:
        return f"ITensor({self.name!r})"


class INode:
    """A node of a network: of the file, or one that was added (`AddedNode`)."""

    def __init__(self, scope: Scope, name: str, node_type: str, operands: Sequence[ITensor | None]) -> None:
        self.scope, self.name, self.node_type = scope, name, node_type
        self.operands: list[ITensor | None] = list(operands)
        self.results: list[ITensor] = []
        self.precisions: dict[tuple[str, int], DataType] = {}
        self.call: int | None = None  # among the calls of the file

    @property
    def network(self) -> Network:
        """The network that it belongs to."""
        return self.scope.network

    def get_node_name(self) -> str:
        """The name."""
        return self.name

    @guarded
    def set_node_name(self, name: str) -> None:
        """Names an added node, `main/<name>`."""
        self._rename(name)

    def _rename(self, name: str) -> None:
        raise Refused(f"{self.name} is named by its file")

    def get_node_type(self) -> str:
        """`IConvNode` and the like."""
        return self.node_type

    def get_input_count(self) -> int:
        """The number of inputs."""
        return len(self.operands)

    def get_output_count(self) -> int:
        """The number of outputs."""
        return len(self.results)

    def reads(self) -> list[ITensor]:
        """The tensors that have to be there before the node is."""
        return [t for t in self.operands if t is not None]

    @or_none
    def get_precursors(self) -> list[INode]:
        """The nodes whose results this one reads, each once, in the order of its inputs."""
        return _each_once(tensor.get_producer() for tensor in self.reads())

    @or_none
    def get_successors(self) -> list[INode]:
        """The nodes that read this one's results."""
        return _each_once(node for tensor in self.results for node in tensor.get_consumers() or ())

    @or_none
    def get_input(self, i: int) -> ITensor:
        """One input."""
        found = self.operands[index_of(i, len(self.operands), "input", self.name)]
        if found is None:
            raise Refused(f"input {i} of {self.name} is not connected", Code.NOT_FOUND)
        return found

    @or_none
    def get_output(self, i: int) -> ITensor:
        """One output."""
        return self.results[index_of(i, len(self.results), "output", self.name)]

    @guarded
    def set_precision(self, i: int, data_type: DataType) -> None:
        """The type that the node computes with, for its i-th input; overrides the precision mode."""
        self._set_type("input", i, len(self.operands), data_type)

    @guarded
    def set_output_type(self, i: int, data_type: DataType) -> None:
        """The type that the node gives its i-th output; overrides the precision mode."""
        self._set_type("output", i, len(self.results), data_type)

    @guarded
    def set_precision_with_normal_param(self, i: int, data_type: DataType, param: Any, per_axis: bool = False) -> None:
        """As `set_precision` with an integer type, and the numbers that its integers stand for."""
        self._set_quantised(i, data_type, [param])

    @guarded
    def set_precision_with_normal_param_per_axis(
        self, i: int, data_type: DataType, params: Sequence[Any], per_axis: bool = True
    ) -> None:
        """As `set_precision_with_normal_param` with a form for every channel."""
        self._set_quantised(i, data_type, params)

    def _set_quantised(self, i: int, data_type: DataType, params: Sequence[Any]) -> None:
        bits = {DataType.QINT8: 8, DataType.INT8: 8, DataType.QINT16: 16, DataType.INT16: 16}.get(data_type)
        if bits is None:
            raise Refused(f"{self.name}: {data_type!r:.60} is none of QINT8 and QINT16")
        tensor = self.operands[index_of(i, len(self.operands), "input", self.name)]
        if tensor is None:
            raise Refused(f"input {i} of {self.name} is not connected", Code.NOT_FOUND)
        self.network.set_range(tensor, [uniform_quant_param_to_range(uniform_of(p), bits) for p in params])
        self._set_type("input", i, len(self.operands), data_type)

    def _set_type(self, which: str, i: int, count: int, data_type: DataType) -> None:
        self.network.require_open()
        index_of(i, count, which, self.name)
        if not isinstance(data_type, DataType) or data_type is DataType.TENSORLIST:
            raise Refused(f"{self.name}: the precision is a DataType of tensors, not {data_type!r:.60}")
        self.precisions[which, i] = data_type

    @guarded
    def update_input(self, i: int, tensor: ITensor | INode) -> None:
        """Connects the i-th input to another tensor."""
        self.network.require_open()
        new = self.scope.tensor(tensor)
        self.operands[index_of(i, len(self.operands), "input", self.name)] = new
        self._rewire(i, new)
        self.network.touch()

    def _rewire(self, i: int, new: ITensor) -> None:
        self.network.rewired[self.results[0].key, i] = new.key

    def __repr__(self) -> str:
        return f"{self.node_type}({self.name!r})"


def _each_once(nodes: Iterable[INode | None]) -> list[INode]:
    return list(dict.fromkeys(node for node in nodes if node is not None))


@dataclass(frozen=True)
class Slot:
    """Stands for the i-th tensor among a node's operands."""

    i: int


class AddedNode(INode):
    """A node that the program added: emitted by the row of its kind, whose settings are its setters."""

    def __init__(self, scope: Scope, row: Row, name: str, number: int, arguments: Mapping[str, Any]) -> None:
        super().__init__(scope, name, row.node_type, [])
        self.row, self.number = row, number
        self.settings: dict[str, Any] = {}
        self.arguments = {name: self._slots(value) for name, value in arguments.items()}
        self._make(row.count(arguments))

    def _slots(self, value: Any) -> Any:
        """The value with its tensors among the operands."""
        if isinstance(value, list):
            return [self._slots(v) for v in value]
        if not isinstance(value, ITensor):
            return value
        self.operands.append(value)
        return Slot(len(self.operands) - 1)

    def _make(self, count: int) -> None:
        """Handles of so many results."""
        for i in range(len(self.results), count):
            self.results.append(self.scope.handle(("added", self.number, i), f"{self.name}:{i}"))

    def _rename(self, name: str) -> None:
        self.network.require_open()
        if not isinstance(name, str) or not name or not name.isprintable():
            raise Refused(f"{self.name}: a name is a text of printable characters, not {name!r:.60}")
        self.name = f"{MAIN}/{name}"
        self.network.touch()

    def _rewire(self, i: int, new: ITensor) -> None:
        """The operands are what is emitted."""

    def emit(self, emitter: Emitter, graph: Realised) -> Sequence[Any]:
        """The values of the results, for the settings as they are now."""

        def resolved(argument: Any) -> Any:
            if isinstance(argument, list):
                return [resolved(a) for a in argument]
            if not isinstance(argument, Slot):
                return argument
            tensor = self.operands[argument.i]
            assert tensor is not None
            return graph.value(tensor.key)

        return self.row.run(emitter, {name: resolved(a) for name, a in self.arguments.items()}, self.settings)

    # -------------------------------------------------------------------------------------------------------- setters

    @guarded
    def set_attr(self, name: str, value: Any) -> None:
        """Sets an attribute of a plugin's node."""
        if name not in self.row.setters:
            raise Refused(f"{self.name} has no attribute {name!r}")
        return self._set(name, [value])  # type: ignore[return-value]

    def __getattr__(self, name: str) -> Any:
        row = self.__dict__.get("row")
        setting = name.removeprefix("set_")
        if row is None or setting == name or setting not in row.setters:
            raise AttributeError(f"{type(self).__name__} {self.__dict__.get('name')} has no {name}")

        def setter(*values: Any) -> Any:
            return self._set(setting, values)

        return setter

    @guarded
    def _set(self, setting: str, values: Sequence[Any]) -> None:
        self.network.require_open()
        if not values:
            raise Refused(f"{self.name}: set_{setting} needs a value")
        self.settings[setting] = values[0] if len(values) == 1 else list(values)
        self.network.touch()


def index_of(i: Any, count: int, what: str, name: str) -> int:
    """The number.  Raises Refused for what is none, or too large."""
    if not isinstance(i, int) or not 0 <= i < count:
        raise Refused(f"{name} has no {what} {i!r}: it has {count}", Code.OUT_OF_RANGE)
    return i
