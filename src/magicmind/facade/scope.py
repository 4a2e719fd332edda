"""Where nodes are added: a network, or the body of a branch or a loop in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from magicmind.facade.enums import DataType
from magicmind.facade.handles import AddedNode, INode, ITensor
from magicmind.facade.nodes import ROWS, Row
from magicmind.facade.nodes.plugin import plugin_row
from magicmind.facade.status import Refused, or_none

if TYPE_CHECKING:
    from magicmind.facade.control import IfNode, WhileNode
    from magicmind.facade.network import Network
    from magicmind.facade.realise import Key


class Scope:
    """The methods `add_i_<row>_node`, made of the table of nodes. Nodes of a body may read what is around it."""

    def __init__(self, parent: Scope | None = None) -> None:
        self.parent = parent
        self.added: list[AddedNode] = []

    @property
    def network(self) -> Network:
        """The network that all of this is in."""
        assert self.parent is not None, "a network is its own"
        return self.parent.network

    def add_node(self, row: Row, operands: Mapping[str, Any]) -> AddedNode:
        """A new node of a kind of the table.  Raises Refused for operands that it cannot have."""
        self.network.require_open()
        arguments = {name: self._operand(value) for name, value in operands.items()}
        return self._append(AddedNode(self, row, *self.network.next_node(row.name), arguments))

    def _append(self, node: AddedNode) -> AddedNode:
        self.added.append(node)
        self.network.touch()
        return node

    @or_none
    def add_i_plugin_node(
        self, name: str, inputs: Mapping[str, Any], attributes: Mapping[str, Any] | None = None
    ) -> AddedNode:
        """A node of an operator that `magicmind.plugin` knows: tensors, or lists of them, and attributes by name."""
        return self.add_node(*plugin_row(name, inputs, attributes or {}))

    @or_none
    def add_i_if_node(self, cond: ITensor | INode) -> IfNode:
        """A branch: `create_then_body`, `create_else_body`; what the bodies give as outputs is the node's."""
        from magicmind.facade.control import IfNode

        self.network.require_open()
        node = IfNode(self, *self.network.next_node("if"), self.tensor(cond))
        self._append(node)
        return node

    @or_none
    def add_i_while_node(self, cond: ITensor | INode) -> WhileNode:
        """A loop: `create_loop_body`; it ends when the body's recurrence tensor that began as `cond` is false."""
        from magicmind.facade.control import WhileNode

        self.network.require_open()
        node = WhileNode(self, *self.network.next_node("while"), self.tensor(cond))
        self._append(node)
        return node

    def __getattr__(self, name: str) -> Any:
        """The methods of the table in other spellings: `add_i_topk_node`, `add_i_conv_2d_node`."""
        spelled = name.replace("_", "")
        found = _SPELLED.get(spelled) if name.startswith("add_i_") else None
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        return getattr(self, found)

    def _operand(self, value: Any) -> Any:
        """Nodes stand for their first result, tensors of other networks are refused."""
        if isinstance(value, (list, tuple)):
            return [self._operand(v) for v in value]
        return self.tensor(value) if isinstance(value, (ITensor, INode)) else value

    def tensor(self, value: Any) -> ITensor:
        """The tensor that a program passed.  Raises Refused for what cannot be read here."""
        if isinstance(value, INode) and value.results:
            value = value.results[0]
        if not isinstance(value, ITensor):
            raise Refused(f"a tensor of the network is wanted, not {type(value).__name__}")
        if value.network is not self.network:
            raise Refused(f"{value.name} belongs to another network")
        around: Scope | None = self
        while around is not None:
            if value.scope is around:
                return value
            around = around.parent
        raise Refused(f"{value.name} is inside a body: what leaves a body is an output of its node")

    def handle(self, key: Key, name: str, dtype: DataType | None = None) -> ITensor:
        """The one handle of a tensor."""
        return self.network.tensors.setdefault(key, ITensor(self, key, name, dtype))


def _method(row: Row) -> Any:
    @or_none
    def add(self: Scope, *args: Any, **kwargs: Any) -> AddedNode:
        return self.add_node(row, row.bind(args, kwargs))

    add.__name__ = add.__qualname__ = f"add_i_{row.name}_node"
    add.__doc__ = row.doc
    return add


for _row in ROWS:
    setattr(Scope, f"add_i_{_row.name}_node", _method(_row))
_SPELLED = {name.replace("_", ""): name for name in dir(Scope) if name.startswith("add_i_")}
