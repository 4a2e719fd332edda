"""Nested graphs of a node once they are models of their own: kept beside the node, not as attributes."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir

_KEY = "magicmind.bodies"


def bodies_of(node: onnx_ir.Node) -> dict[str, tuple[onnx_ir.Model, int]]:
    """By attribute: (model, how many of its first inputs are values captured from outside)."""
    found: dict[str, tuple[onnx_ir.Model, int]] = node.meta.get(_KEY, {})
    return found


def set_bodies(node: onnx_ir.Node, bodies: Mapping[str, tuple[onnx_ir.Model, int]]) -> None:
    """Records the models that stand for the node's nested graphs."""
    node.meta[_KEY] = dict(bodies)
