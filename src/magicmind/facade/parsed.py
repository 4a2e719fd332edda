"""What a parser leaves in a Network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from magicmind.facade.enums import DataType
    from magicmind.facade.realise import File, Key
    from magicmind.ir.types import TensorType


@dataclass(frozen=True)
class ParsedNode:
    """A node of the file: what it reads and makes, with types where these are known early."""

    name: str
    kind: str
    inputs: Sequence[tuple[Key, DataType | None]]
    outputs: Sequence[tuple[Key, DataType | None]]
    call: int | None = None
    """Its number among the calls that were listed before there were shapes."""


def tensor_name(node: ParsedNode, i: int) -> str:
    """The name of a node's i-th result: the file's where it has one."""
    key = node.outputs[i][0]
    return str(key[1]) if key and key[0] == "value" else f"{node.name}:{i}"


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
