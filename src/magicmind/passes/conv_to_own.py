"""Conv becomes magicmind.Conv, which can carry an epilogue; every attribute is written out."""

from __future__ import annotations

import onnx_ir

from magicmind.passes.edit import DOMAIN, attribute, replace_node
from magicmind.passes.infra import Decline, Rewrite
from magicmind.passes.resolve_auto_pad import kernel_shape


class ConvToOwn(Rewrite[tuple[int, ...]]):
    """Conv becomes magicmind.Conv with explicit attributes."""

    roots = frozenset({"Conv"})

    def match(self, node: onnx_ir.Node) -> tuple[int, ...] | Decline:
        if attribute(node, "auto_pad", "NOTSET") != "NOTSET":
            return Decline("auto_pad is not resolved")
        kernel = kernel_shape(node)
        return Decline("the kernel's size is not known") if kernel is None else kernel

    def rewrite(self, node: onnx_ir.Node, found: tuple[int, ...]) -> None:
        rank = len(found)
        attributes = {
            "kernel_shape": found,
            "strides": attribute(node, "strides", (1,) * rank),
            "pads": attribute(node, "pads", (0,) * (2 * rank)),
            "dilations": attribute(node, "dilations", (1,) * rank),
            "group": attribute(node, "group", 1),
            "exact": attribute(node, "exact"),  # no transform that rounds
        }
        replace_node(node, "Conv", node.inputs, attributes, domain=DOMAIN)
