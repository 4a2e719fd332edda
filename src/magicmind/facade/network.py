"""Networks as programs hold them: parsed from a file or built node by node, changed, and at last built into a Model.

A Network keeps what it was told; `realise.py` makes a graph of that whenever somebody looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from magicmind.errors import Error
from magicmind.facade.dims import Dims, checked
from magicmind.facade.enums import DataType
from magicmind.facade.handles import AddedNode, INode, ITensor, index_of
from magicmind.facade.naming import MAIN, Numbered, type_of_kind
from magicmind.facade.parsed import Parsed, ParsedNode, tensor_name
from magicmind.facade.quantities import range_of
from magicmind.facade.scope import Scope
from magicmind.facade.status import LOG, Code, Refused, guarded, or_none

if TYPE_CHECKING:
    import onnx_ir

    from magicmind.facade.calibrator import Calibration
    from magicmind.facade.realise import Key, Realised, Shapes, Wishes
    from magicmind.ir.types import TensorType


@dataclass
class _Input:
    """An input: its names, its declared type, and what the program set."""

    own_name: str
    shown_name: str
    dtype: DataType
    dims: list[int] | None
    wanted: DataType | None = None


@dataclass
class _State:
    """Whether the network may still change, and what was made of it last."""

    built: bool = False
    realised: Realised | Error | None = None
    base: tuple[Shapes, onnx_ir.Model] | None = None
    """The file's graph for shapes that somebody looked at: nodes are added more often than shapes change."""
    count: int = 0
    """Of the nodes that were added, those in bodies too."""
    tensors: dict[Key, ITensor] = field(default_factory=dict)


class Network(Scope):
    """Empty until a Parser fills it, or inputs and nodes are added."""

    def __init__(self) -> None:
        super().__init__()
        self._parsed: Parsed | None = None
        self._inputs: list[_Input] = []
        self._outputs: list[tuple[str, ITensor]] = []
        self._output_types: dict[Key, DataType] = {}
        self._ranges: dict[Key, tuple[float, float]] = {}
        self._nodes: list[INode] | None = []  # of the file; None until somebody asks
        self._numbers = Numbered()
        self.rewired: dict[tuple[Key, int], Key] = {}
        self.calibration: Calibration | None = None
        self._state = _State()

    @property
    def network(self) -> Network:
        """Itself."""
        return self

    @property
    def tensors(self) -> dict[Key, ITensor]:
        """The one handle of each tensor that was asked for."""
        return self._state.tensors

    def next_node(self, kind: str) -> tuple[str, int]:
        """The name of the next node of a kind, and its number among all that are added."""
        self._state.count += 1
        return self._numbers.name(kind), self._state.count - 1

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
        if self._inputs or self.added or self._parsed is not None:
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
        self._outputs = [(name, self.handle(key, name)) for name, key in parsed.outputs]

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
        if not isinstance(data_type, DataType) or data_type is DataType.TENSORLIST:
            raise Refused(f"an input has a DataType of tensors, not {data_type!r:.60}")
        name = f"{MAIN}/arg-{len(self._inputs)}"
        self._inputs.append(_Input(name, name, data_type, None if dims is None else checked(dims)))
        self.touch()
        return self.handle(("input", len(self._inputs) - 1), name)

    @guarded
    def remove_input(self, tensor: ITensor) -> None:
        """Takes out an input that nothing reads; those behind it move up."""
        self.require_open()
        found = self.tensor(tensor)
        if found.key[0] != "input":
            raise Refused(f"{found.name} is no input", Code.NOT_FOUND)
        self._require_unused(found)
        index = found.key[1]
        del self._inputs[index]

        def moved(key: Key) -> Key:
            behind = key[0] == "input" and key[1] > index
            return ("input", key[1] - 1) if behind else key

        tensors = [t for t in self.tensors.values() if t is not found]
        for t in tensors:
            t.key = moved(t.key)
        found.key = ("removed",)
        self._state.tensors = {t.key: t for t in tensors}
        self.rewired = {where: moved(key) for where, key in self.rewired.items()}
        self._ranges = {moved(key): ends for key, ends in self._ranges.items() if key != ("input", index)}
        self._state.base = None
        self.touch()

    def _require_unused(self, tensor: ITensor) -> None:
        """Raises Refused for a tensor that something reads."""
        nodes = self.get_all_nodes_in_network()
        if self._nodes is None:
            raise Refused("what reads a tensor is not known yet", hint="set_dimension gives the inputs shapes")
        readers = [node.name for node in nodes if any(t is tensor for t in node.reads())]
        if any(t is tensor for _, t in self._outputs):
            readers.append("the network, as an output")
        if readers:
            raise Refused(f"{tensor.name} is read by {readers[0]}", Code.FAILED_PRECONDITION, hint="remove that first")

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
        i = index_of(i, len(self._inputs), "input", "the network")
        return self.handle(("input", i), self._inputs[i].shown_name)

    @or_none
    def get_output(self, i: int) -> ITensor:
        """One output."""
        return self._outputs[index_of(i, len(self._outputs), "output", "the network")][1]

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
        return [*(self._nodes or ()), *self.added]

    def find_node_by_name(self, name: str) -> INode | None:
        """The node of this name; `add` is `main/add` too."""
        if not isinstance(name, str):
            return None
        wanted = (name, f"{MAIN}/{name}")
        return next((node for node in self.get_all_nodes_in_network() if node.name in wanted), None)

    def find_nodes_by_node_type(self, node_type: str) -> list[INode]:
        """The nodes of a type, `IConvNode`."""
        wanted = node_type if isinstance(node_type, str) else None
        return [node for node in self.get_all_nodes_in_network() if node.node_type == wanted]

    @guarded
    def remove_node(self, node: INode) -> None:
        """Takes out a node whose results nothing reads."""
        self.require_open()
        if not isinstance(node, INode) or not any(n is node for n in self.get_all_nodes_in_network()):
            raise Refused(f"{node!r:.60} is no node of the network", Code.NOT_FOUND)
        for tensor in node.results:
            self._require_unused(tensor)
        if isinstance(node, AddedNode):
            self.added.remove(node)
        elif self._nodes is not None:  # of the file: nothing reads it, so that it is not built
            self._nodes.remove(node)
        self.touch()

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
        names = [key[1] if key[0] == "value" else f"{info.name}.in{i}" for i, (key, _) in enumerate(info.inputs)]
        reads = [self.handle(key, name, dtype) for name, (key, dtype) in zip(names, info.inputs, strict=True)]
        node = INode(self, info.name, type_of_kind(info.kind), reads)
        node.results = [self.handle(key, tensor_name(info, i), t) for i, (key, t) in enumerate(info.outputs)]
        node.call = info.call
        return node

    # --------------------------------------------------------------------------------------------- types of the tensors

    def set_dims(self, tensor: ITensor, dims: Any) -> None:
        """The shape of an input.  Raises Refused."""
        self.require_open()
        if tensor.key[0] != "input":
            raise Refused(f"{tensor.name} is no input: its shape follows from theirs")
        found, wanted = self._inputs[tensor.key[1]], checked(dims)
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

    def set_name(self, tensor: ITensor, name: Any) -> None:
        """Another name for a tensor.  Raises Refused."""
        self.require_open()
        if not isinstance(name, str) or not name or not name.isprintable():
            raise Refused(f"{tensor.name}: a name is a text of printable characters, not {name!r:.60}")
        taken = {self.name_of(t) for t in self.tensors.values() if t is not tensor}
        if name in taken:
            raise Refused(f"{tensor.name}: another tensor is called {name!r}", Code.ALREADY_EXISTS)
        if tensor.key[0] == "input":
            self._inputs[tensor.key[1]].shown_name = name
        self._outputs = [(name if t is tensor else n, t) for n, t in self._outputs]
        tensor.name = name
        self.touch()

    def set_range(self, tensor: ITensor, ranges: Any) -> None:
        """The range of a tensor's values: the smallest that holds all of these.  Raises Refused."""
        self.require_open()
        found = [range_of(r, tensor.name) for r in ranges]
        if not found:
            raise Refused(f"{tensor.name}: no range is given")
        self._ranges[tensor.key] = min(r.min for r in found), max(r.max for r in found)

    @property
    def ranges(self) -> dict[str, list[float]]:
        """The ranges that programs set, by the names of the tensors."""
        return {self.name_of(self.tensors[key]): list(ends) for key, ends in self._ranges.items()}

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
        """The graph for the shapes as they are now, as far as it can be made; None while there is none."""
        if self._state.realised is None:
            from magicmind.facade.realise import Realised, base_of

            wishes, shapes = self._wishes(), self.shapes()
            try:
                if self._state.base is None or self._state.base[0] != shapes:
                    self._state.base = shapes, base_of(wishes, shapes, lenient=True)
                self._state.realised = Realised(wishes, self._state.base[1].clone(), lenient=True)
            except Error as error:
                LOG.debug("the network as it is", exc_info=error)
                self._state.realised = error
        return None if isinstance(self._state.realised, Error) else self._state.realised

    def shapes(self) -> Shapes:
        """The shapes of the inputs as they are now, by the file's names; any size where one is open."""
        return {
            i.own_name: [d if d >= 0 else "1.." for d in i.dims] for i in self._inputs if i.dims is not None
        }  # fmt: skip

    def realise(self, shapes: Shapes) -> Realised:
        """The graph for these shapes.  Raises Error."""
        from magicmind.facade.realise import Realised, base_of

        if not self._outputs:
            raise Refused("the network has no outputs", hint="mark_output makes a tensor one")
        wishes = self._wishes()
        return Realised(wishes, base_of(wishes, shapes))

    def _wishes(self) -> Wishes:
        from magicmind.facade.onnx_types import tensor_type
        from magicmind.facade.realise import Wishes

        return Wishes(
            file=None if self._parsed is None else self._parsed.graph,
            own_names=[i.own_name for i in self._inputs],
            types=[tensor_type(i.dtype, i.dims) for i in self._inputs],
            shown_names=[i.shown_name for i in self._inputs],
            added=self.added,
            outputs=[(name, t.key) for name, t in self._outputs],
            rewired=self.rewired,
            labels=() if self._parsed is None else self._parsed.labels,
            names=self._inner_names(),
        )

    def _inner_names(self) -> dict[Key, str]:
        """The names that programs see of tensors that are neither inputs nor outputs of the file."""
        listed = () if self._parsed is None else self._parsed.nodes or ()
        found = {key: tensor_name(node, i) for node in listed for i, (key, _) in enumerate(node.outputs) if key}
        found |= {key: tensor.name for key, tensor in self.tensors.items()}
        return {key: name for key, name in found.items() if key[0] in ("call", "added", "value")}

    def nodes_with_precision(self) -> list[INode]:
        """The nodes whose precision was set."""
        return [node for node in (*(self._nodes or ()), *self.added) if node.precisions]

    @property
    def inputs(self) -> Sequence[_Input]:
        """The inputs with what was set."""
        return self._inputs

    def output_type(self, i: int) -> DataType | None:
        """The type that was set for an output."""
        return self._output_types.get(self._outputs[i][1].key)
