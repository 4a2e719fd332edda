"""Which nodes give equal outputs for equal inputs."""

from __future__ import annotations

import onnx_ir

_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)
_GRAPH_ATTRIBUTES = (onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS)


def is_deterministic(node: onnx_ir.Node) -> bool:
    """Whether equal inputs give equal outputs, for all that is known: nested graphs are not looked into."""
    if node.op_type == "Dropout" and len(node.inputs) > 2:  # in training it draws
        return False
    return node.op_type not in _RANDOM and all(a.type not in _GRAPH_ATTRIBUTES for a in node.attributes.values())
