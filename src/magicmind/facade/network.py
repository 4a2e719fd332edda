"""Networks as programs hold them: parsed from a file or built node by node, changed, and at last built into a Model.

A Network keeps what it was told; `realise.py` makes a graph of that whenever somebody looks. Tensors and nodes are
small handles: their keys say what they mean, whichever shapes the inputs have by then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from magicmind.errors import Error
from magicmind.facade.dims import Dims
from magicmind.facade.enums import DataType
from magicmind.facade.naming import MAIN, Numbered, type_of_kind
from magicmind.facade.nodes import ROWS, Row
from magicmind.facade.nodes.plugin import plugin_row
from magicmind.facade.status import Code, Refused, guarded, or_none

if TYPE_CHECKING:
    from magicmind.facade.calibrator import Calibration
    from magicmind.facade.realise import File, Key, Realised, Shapes, Wishes
    from magicmind.ir.types import TensorType


@dataclass(frozen=True)
class ParsedNode:
    """A node of the file: what it reads (None: a constant) and makes, with types where these are known early."""

    name: str
    kind: str
    inputs: Sequence[tuple[Key | None, DataType | None]]
    outputs: Sequence[tuple[Key, DataType | None]]
    call: int | None = None
    """Its number among the calls that were listed before there were shapes."""


@dataclass(frozen=True)
class Parsed:
    """A file that was read. `nodes` None: what the graph's own nodes are."""

    graph: File
    own_names: Sequence[str]
    shown_names: Sequence[str]
    types: Sequence[TensorType]
    outputs: Sequence[tuple[str, Key]]
    nodes: Sequence[ParsedNode] | None = None
    labels: Sequence[str] = ()
    is_onnx: bool = False
    """Whether its nodes are named after their operators."""


@dataclass
class _Input:
    """An input: its names, its declared type, and what the program set."""

    own_name: str
    shown_name: str
    dtype: DataType
    dims: list[int] | None
    wanted: DataType | None = None


class ITensor:
    """A tensor of a network."""

    def __init__(self, network: Network, key: Key, name: str, dtype: DataType | None = None) -> None:
        self.network, self.key, self.name = network, key, name
        self._dtype = dtype  # what is known of it before shapes are

    def get_tensor_name(self) -> str:
        """The name."""
        return self.network.name_of(self)

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
    """A node of a network: of the file, or one that was added; these have the setters of their kind too."""

    def __init__(self, network: Network, name: str, node_type: str, operands: Sequence[ITensor | None]) -> None:
        self.network, self.name, self.node_type = network, name, node_type
        self.operands: list[ITensor | None] = list(operands)
        self.results: list[ITensor] = []
        self.precisions: dict[tuple[str, int], DataType] = {}
        self.settings: dict[str, Any] = {}
        self.row: Row | None = None
        self.number = -1  # among the added nodes
        self.call: int | None = None  # among the calls of the file
        self.arguments: dict[str, Any] = {}  # of an added node: its operands by name

    def get_node_name(self) -> str:
        """The name."""
        return self.name

    @guarded
    def set_node_name(self, name: str) -> None:
        """Names an added node, `main/<name>`."""
        if self.row is None:
            raise Refused(f"{self.name} is named by its file")
        self.network.require_open()
        self.name = f"{MAIN}/{name}"
        self.network.touch()

    def get_node_type(self) -> str:
        """`IConvNode` and the like."""
        return self.node_type

    def get_input_count(self) -> int:
        """The number of inputs."""
        return len(self.operands)

    def get_output_count(self) -> int:
        """The number of outputs."""
        return len(self.results)

    @or_none
    def get_input(self, i: int) -> ITensor:
        """One input."""
        found = self.operands[_index(i, len(self.operands), "input", self.name)]
        if found is None:
            raise Refused(f"input {i} of {self.name} is not connected", Code.NOT_FOUND)
        return found

    @or_none
    def get_output(self, i: int) -> ITensor:
        """One output."""
        return self.results[_index(i, len(self.results), "output", self.name)]

    @guarded
    def set_precision(self, i: int, data_type: DataType) -> None:
        """The type that the node computes with, for its i-th input; overrides the precision mode."""
        self._set_type("input", i, len(self.operands), data_type)

    @guarded
    def set_output_type(self, i: int, data_type: DataType) -> None:
        """The type that the node gives its i-th output; overrides the precision mode."""
        self._set_type("output", i, len(self.results), data_type)

    def _set_type(self, which: str, i: int, count: int, data_type: DataType) -> None:
        self.network.require_open()
        _index(i, count, which, self.name)
        if not isinstance(data_type, DataType):
            raise Refused(f"{self.name}: the precision is a DataType, not {data_type!r:.60}")
        self.precisions[which, i] = data_type

    @guarded
    def update_input(self, i: int, tensor: ITensor | INode) -> None:
        """Connects the i-th input to another tensor."""
        self.network.require_open()
        new = self.network.tensor(tensor)
        self.operands[_index(i, len(self.operands), "input", self.name)] = new
        if self.row is None:
            self.network.rewired[self.results[0].key, i] = new.key
        self.network.touch()

    @guarded
    def set_attr(self, name: str, value: Any) -> None:
        """Sets an attribute of a plugin's node."""
        if self.row is None or name not in self.row.setters:
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

    def __repr__(self) -> str:
        return f"{self.node_type}({self.name!r})"


def _index(i: Any, count: int, what: str, name: str) -> int:
    if not isinstance(i, int) or not 0 <= i < count:
        raise Refused(f"{name} has no {what} {i!r}: it has {count}", Code.OUT_OF_RANGE)
    return i


@dataclass
class _State:
    """Whether the network may still change, and what was made of it last."""

    built: bool = False
    realised: Realised | Error | None = None
    tensors: dict[Key, ITensor] = field(default_factory=dict)


class Network:
    """Empty until a Parser fills it, or inputs and nodes are added."""

    def __init__(self) -> None:
        self._parsed: Parsed | None = None
        self._inputs: list[_Input] = []
        self._outputs: list[tuple[str, ITensor]] = []
        self._output_types: dict[Key, DataType] = {}
        self._nodes: list[INode] | None = []  # of the file; None until somebody asks
        self._added: list[INode] = []
        self._numbers = Numbered()
        self.rewired: dict[tuple[Key, int], Key] = {}
        self.calibration: Calibration | None = None
        self._state = _State()

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The methods `add_i_<row>_node`, which the table below makes."""

    # ------------------------------------------------------------------------------------------------------- filling

    def require_open(self) -> None:
        """Raises Refused once a model has been built."""
        if self._state.built:
            raise Refused(
                "the network was built into a model and cannot change any more",
                Code.FAILED_PRECONDITION,
                hint="make a new Network and parse again",
            )

    def require_empty(self) -> None:
        """Raises Refused unless nothing is in the network yet."""
        self.require_open()
        if self._inputs or self._added or self._parsed is not None:
            raise Refused(
                "the network is not empty", Code.FAILED_PRECONDITION, hint="parse into a new Network for each file"
            )

    def fill(self, parsed: Parsed, numbers: Numbered) -> None:
        """Takes what a parser read."""
        from magicmind.facade.onnx_types import data_type

        self._parsed, self._numbers = parsed, numbers
        self._nodes = None
        for own, shown, t in zip(parsed.own_names, parsed.shown_names, parsed.types, strict=True):
            dims = None if t.shape is None else [d if isinstance(d, int) else -1 for d in t.shape]
            self._inputs.append(_Input(own, shown, data_type(t.dtype), dims))
        self._outputs = [(name, self._handle(key, name)) for name, key in parsed.outputs]

    def touch(self) -> None:
        """Forgets what was made of the network: something has changed."""
        self._state.realised = None

    def close(self) -> None:
        """A model was built."""
        self._state.built = True

    @or_none
    def add_input(self, data_type: DataType, dims: Dims | None = None) -> ITensor:
        """A new input; without dims its rank is open until set_dimension."""
        self.require_open()
        if not isinstance(data_type, DataType):
            raise Refused(f"an input has a DataType, not {data_type!r:.60}")
        name = f"{MAIN}/arg-{len(self._inputs)}"
        self._inputs.append(_Input(name, name, data_type, None if dims is None else _checked(dims)))
        self.touch()
        return self._handle(("input", len(self._inputs) - 1), name)

    # ------------------------------------------------------------------------------------------------ inputs, outputs

    def get_input_count(self) -> int:
        """The number of inputs."""
        return len(self._inputs)

    def get_output_count(self) -> int:
        """The number of outputs."""
        return len(self._outputs)

    @or_none
    def get_input(self, i: int) -> ITensor:
        """One input."""
        i = _index(i, len(self._inputs), "input", "the network")
        return self._handle(("input", i), self._inputs[i].shown_name)

    @or_none
    def get_output(self, i: int) -> ITensor:
        """One output."""
        return self._outputs[_index(i, len(self._outputs), "output", "the network")][1]

    @guarded
    def mark_output(self, tensor: ITensor | INode) -> None:
        """Appends an output."""
        self.require_open()
        found = self.tensor(tensor)
        if any(t is found for _, t in self._outputs):
            raise Refused(f"{found.name} is an output already", Code.ALREADY_EXISTS)
        self._outputs.append((found.name, found))
        self.touch()

    @guarded
    def unmark_output(self, tensor: ITensor | INode) -> None:
        """Takes a tensor out of the outputs."""
        self.require_open()
        found = self.tensor(tensor)
        left = [(name, t) for name, t in self._outputs if t is not found]
        if len(left) == len(self._outputs):
            raise Refused(f"{found.name} is no output", Code.NOT_FOUND)
        self._outputs = left
        self.touch()

    # --------------------------------------------------------------------------------------------------------- nodes

    def get_all_nodes_in_network(self) -> list[INode]:
        """The file's nodes in order, then those that were added."""
        if self._nodes is None:
            self._nodes = self._listed()
        return [*(self._nodes or ()), *self._added]

    def find_node_by_name(self, name: str) -> INode | None:
        """The node of this name; `add` is `main/add` too."""
        wanted = (name, f"{MAIN}/{name}")
        return next((node for node in self.get_all_nodes_in_network() if node.name in wanted), None)

    def _listed(self) -> list[INode] | None:
        assert self._parsed is not None
        found = self._parsed.nodes
        if found is None:
            from magicmind.facade.listing import graph_nodes

            realised = self._current()
            if realised is None:
                return None  # until the inputs have shapes
            names = [i.shown_name for i in self._inputs]
            found = graph_nodes(realised.model.graph, names, by_operator=self._parsed.is_onnx)
        return [self._parsed_node(node) for node in found]

    def _parsed_node(self, info: ParsedNode) -> INode:
        constants = (
            ITensor(self, ("constant", info.name, i), f"{info.name}.const{i}", dtype) if key is None else
            self._handle(key, f"{info.name}.in{i}", dtype)
            for i, (key, dtype) in enumerate(info.inputs)
        )  # fmt: skip
        node = INode(self, info.name, type_of_kind(info.kind), list(constants))
        node.results = [self._handle(key, f"{info.name}:{i}", t) for i, (key, t) in enumerate(info.outputs)]
        node.call = info.call
        return node

    def add_node(self, row: Row, operands: Mapping[str, Any]) -> INode:
        """A new node of a kind of the table.  Raises Refused for operands that it cannot have."""
        self.require_open()
        node = INode(self, self._numbers.name(row.name), row.node_type, [])
        node.row, node.number = row, len(self._added)
        node.arguments = {name: self._operand(row, name, value) for name, value in operands.items()}
        node.operands = [t for value in node.arguments.values() for t in _tensors(value)]
        count = row.count(node.arguments)
        node.results = [self._handle(("added", node.number, i), f"{node.name}:{i}") for i in range(count)]
        self._added.append(node)
        self.touch()
        return node

    @or_none
    def add_i_plugin_node(
        self, name: str, inputs: Mapping[str, Any], attributes: Mapping[str, Any] | None = None
    ) -> INode:
        """A node of an operator that `magicmind.plugin` knows: tensors, or lists of them, and attributes by name."""
        return self.add_node(*plugin_row(name, inputs, attributes or {}))

    def _operand(self, row: Row, name: str, value: Any) -> Any:
        """Nodes stand for their first result, tensors of other networks are refused."""
        if isinstance(value, (list, tuple)):
            return [self._operand(row, name, v) for v in value]
        return self.tensor(value) if isinstance(value, (ITensor, INode)) else value

    def tensor(self, value: Any) -> ITensor:
        """The tensor that a program passed.  Raises Refused for what is none of this network."""
        if isinstance(value, INode) and value.results:
            value = value.results[0]
        if not isinstance(value, ITensor):
            raise Refused(f"a tensor of the network is wanted, not {type(value).__name__}")
        if value.network is not self:
            raise Refused(f"{value.name} belongs to another network")
        return value

    def _handle(self, key: Key, name: str, dtype: DataType | None = None) -> ITensor:
        """The one handle of a tensor."""
        return self._state.tensors.setdefault(key, ITensor(self, key, name, dtype))

    # --------------------------------------------------------------------------------------------- types of the tensors

    def set_dims(self, tensor: ITensor, dims: Any) -> None:
        """The shape of an input.  Raises Refused."""
        self.require_open()
        if tensor.key[0] != "input":
            raise Refused(f"{tensor.name} is no input: its shape follows from theirs")
        found, wanted = self._inputs[tensor.key[1]], _checked(dims)
        if found.dims is not None and len(found.dims) != len(wanted) and self._parsed is not None:
            raise Refused(f"input {tensor.name} has {len(found.dims)} dims in the file; {wanted} has {len(wanted)}")
        found.dims = wanted
        self.touch()

    def set_dtype(self, tensor: ITensor, data_type: Any) -> None:
        """The type of an input or output of the built model.  Raises Refused."""
        self.require_open()
        if not isinstance(data_type, DataType) or data_type is DataType.TENSORLIST:
            raise Refused(f"{tensor.name}: {data_type!r:.60} is no DataType of tensors")
        if tensor.key[0] == "input":
            self._inputs[tensor.key[1]].wanted = data_type
        elif any(t is tensor for _, t in self._outputs):
            self._output_types[tensor.key] = data_type
        else:
            raise Refused(f"{tensor.name} is neither an input nor an output: its type follows from theirs")

    def name_of(self, tensor: ITensor) -> str:
        """The name that the built model has for it, where it is an input or output."""
        return next((name for name, t in self._outputs if t is tensor), tensor.name)

    def dims_of(self, tensor: ITensor) -> Dims:
        """What is known of the shape."""
        if tensor.key[0] == "input":
            return Dims(self._inputs[tensor.key[1]].dims or ())
        t = self._type(tensor)
        return Dims([d if isinstance(d, int) else -1 for d in t.shape] if t is not None and t.shape is not None else ())

    def dtype_of(self, tensor: ITensor, early: DataType | None) -> DataType:
        """The type: what was set, what the graph says, or what the file said before there were shapes."""
        if tensor.key[0] == "input":
            found = self._inputs[tensor.key[1]]
            return found.wanted or found.dtype
        if tensor.key in self._output_types:
            return self._output_types[tensor.key]
        t = None if early is not None else self._type(tensor)
        if t is None:
            return early or DataType.FLOAT32
        from magicmind.facade.onnx_types import data_type

        return data_type(t.dtype)

    def _type(self, tensor: ITensor) -> TensorType | None:
        realised = self._current()
        try:
            return None if realised is None else realised.type(tensor.key)
        except Error:
            return None

    # --------------------------------------------------------------------------------------------------------- graphs

    def _current(self) -> Realised | None:
        """The graph for the shapes as they are now; None while it cannot be made."""
        if self._state.realised is None:
            try:
                self._state.realised = self.realise(self.shapes())
            except Error as error:
                self._state.realised = error
        return None if isinstance(self._state.realised, Error) else self._state.realised

    def shapes(self) -> Shapes:
        """The shapes of the inputs as they are now, by the file's names; any size where one is open."""
        return {
            i.own_name: [d if d >= 0 else "1.." for d in i.dims] for i in self._inputs if i.dims is not None
        }  # fmt: skip

    def realise(self, shapes: Shapes) -> Realised:
        """The graph for these shapes.  Raises Error."""
        from magicmind.facade.realise import Realised

        return Realised(self._wishes(), shapes)

    def _wishes(self) -> Wishes:
        from magicmind.facade.onnx_types import tensor_type
        from magicmind.facade.realise import Added, Wishes

        return Wishes(
            file=None if self._parsed is None else self._parsed.graph,
            own_names=[i.own_name for i in self._inputs],
            types=[tensor_type(i.dtype, i.dims) for i in self._inputs],
            shown_names=[i.shown_name for i in self._inputs],
            added=[Added(node.name, _emission(node)) for node in self._added],
            outputs=[(name, t.key) for name, t in self._outputs],
            rewired=self.rewired,
            labels=() if self._parsed is None else self._parsed.labels,
        )

    def nodes_with_precision(self) -> list[INode]:
        """The nodes whose precision was set."""
        return [node for node in (*(self._nodes or ()), *self._added) if node.precisions]

    @property
    def inputs(self) -> Sequence[_Input]:
        """The inputs with what was set."""
        return self._inputs

    def output_type(self, i: int) -> DataType | None:
        """The type that was set for an output."""
        return self._output_types.get(self._outputs[i][1].key)


def _checked(dims: Any) -> list[int]:
    """The sizes.  Raises Refused."""
    found = dims if isinstance(dims, Dims) else Dims(dims)
    if found.problem:
        raise Refused(found.problem)
    return found.GetDims()


def _tensors(value: Any) -> list[ITensor]:
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, ITensor)]


def _emission(node: INode) -> Callable[..., Any]:
    """What makes the node's results; its settings are read when it is called."""
    row = node.row
    assert row is not None
    arguments: Mapping[str, Any] = node.arguments

    def emit(emitter: Any, value: Callable[[Key], Any]) -> Any:
        def resolved(argument: Any) -> Any:
            if isinstance(argument, list):
                return [resolved(a) for a in argument]
            return value(argument.key) if isinstance(argument, ITensor) else argument

        return row.run(emitter, {name: resolved(a) for name, a in arguments.items()}, node.settings)

    return emit


def _method(row: Row) -> Any:
    @or_none
    def add(self: Network, *args: Any, **kwargs: Any) -> INode:
        return self.add_node(row, row.bind(args, kwargs))

    add.__name__ = add.__qualname__ = f"add_i_{row.name}_node"
    add.__doc__ = row.doc
    return add


for _row in ROWS:
    setattr(Network, f"add_i_{_row.name}_node", _method(_row))
