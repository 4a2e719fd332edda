"""Operators written as simpler ones: by a rule of ours (`Op.expand`), or by the function body that ONNX defines.

Type inference makes an `Expansion`, reads the types of the results and throws it away; the pass `expand_operators` puts
it in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import onnx
import onnx_ir

from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.function_body import body_of, has_body
from magicmind.ops.emitter import Emitter, TypeNode, Value
from magicmind.ops.registry import NodeView, lookup

__all__ = ["Expansion", "Value", "can_expand", "expand_node", "inline_body"]


class Expansion(Emitter):
    """The nodes that stand for `node`."""

    def __init__(self, node: onnx_ir.Node, opset: int, type_node: TypeNode) -> None:
        super().__init__(node.name or "", opset, type_node)
        self.node = node
        self.view = NodeView(node, opset)
        self.results: Sequence[Value] = ()

    def has(self, i: int) -> bool:
        """Whether input `i` is given."""
        return self.view.has(i)

    def input(self, i: int) -> Value:
        """Input `i`, which must be given."""
        self.view.input(i)
        value = self.view.value(i)
        assert value is not None
        return value

    def optional(self, i: int) -> Value | None:
        """Input `i`, or None when absent."""
        return self.input(i) if self.has(i) else None

    def discard(self) -> None:
        """Detaches the nodes from the values they read."""
        for node in self.nodes:
            for i in range(len(node.inputs)):
                node.replace_input_with(i, None)


def can_expand(node: onnx_ir.Node, opset: int) -> bool:
    """Whether there is a rule or a function body for the node's operator."""
    op = lookup(node.domain, node.op_type)
    if op is not None and op.expand_rule is not None:
        return True
    return (op is None or op.infer_rule is None) and has_body(node, opset)


def expand_node(node: onnx_ir.Node, opset: int, type_node: TypeNode) -> Expansion | None:
    """The node written as others; None where its rule declines, or asks for what only the run time knows and the
    operator has a second choice (`Op.late`)."""
    expansion = Expansion(node, opset, type_node)
    op = lookup(node.domain, node.op_type)
    rule = inline_body if op is None or op.expand_rule is None else op.expand_rule
    try:
        results = rule(expansion)
    except UnsupportedOperatorError:
        expansion.discard()
        if op is None or op.late_rule is None:
            raise
        return None
    except BaseException:
        expansion.discard()
        raise
    if results is None:
        expansion.discard()
        return None
    expansion.results = results
    return expansion


def inline_body(e: Expansion) -> list[Value]:
    """The function body of ONNX, with the node's inputs and attributes in place."""
    body = body_of(e.node, e.opset)
    known: dict[str, Value | None] = {"": None, **_captured(e.node)}
    for i, name in enumerate(body.inputs):
        known[name] = e.view.value(i)
    for proto in body.nodes:
        alone = onnx.NodeProto(op_type=proto.op_type, domain=proto.domain, attribute=proto.attribute)
        node = cast(onnx_ir.Node, onnx_ir.from_proto(alone))
        if any(a.type in (onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS) for a in node.attributes.values()):
            raise UnsupportedOperatorError("its definition branches at run time")
        inputs = [known[name] for name in proto.input]
        outputs = e.add(proto.domain, proto.op_type, inputs, list(node.attributes.values()), len(proto.output))
        known.update(zip(proto.output, outputs, strict=True))
    # A body leaves out what the node does not ask for; the first result stands in where nobody looks.
    results = [known.get(name) for name in body.outputs[: len(e.node.outputs)]]
    return [value or filler for filler in results[:1] if filler is not None for value in results]


def _captured(node: onnx_ir.Node) -> dict[str, Value]:
    """What the graphs among the node's attributes read, by name: a body that takes them in reads it too."""
    graphs = [a.as_graph() for a in node.attributes.values() if a.type == onnx_ir.AttributeType.GRAPH]
    read = [v for graph in graphs for n in graph.all_nodes() for v in n.inputs if v is not None]
    return {v.name: v for v in read if v.name}
