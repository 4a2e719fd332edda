"""Layers whose tensors outgrow the caches run picture by picture (docs/design/0016-picture-by-picture.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from magicmind.ir.types import TensorType, const_of, set_type, type_of
from magicmind.passes.edit import SOURCES, attribute, graph_of, insert_node, sources_of
from magicmind.passes.infra import Pass

WIDE_BYTES = 4 << 20
"""Layers are wide that read and write as much for all pictures: more than second-level caches keep."""
REPEATED_WEIGHTS = 1 / 8
"""Weights are read once for each picture: they may be this much of what a wide layer touches for one."""
MOST_BETWEEN = 6
"""Narrow layers between two wide ones that go with them, as gates of channels (squeeze and excitation) are."""
MOST_PARTS = 32

_SHARED = {
    ("magicmind", "Conv"): (1, 2),
    ("magicmind", "FirstConv"): (1, 2),
    ("magicmind", "SeparableConv"): (1, 2, 3, 4),
    ("magicmind", "Elementwise"): (),
    ("magicmind", "ByteTable"): (1,),
    ("magicmind", "ToBlocked"): (),
    ("magicmind", "ToPlain"): (),
    ("", "MaxPool"): (),
    ("", "AveragePool"): (),
    ("", "GlobalAveragePool"): (),
    ("", "GlobalMaxPool"): (),
    ("", "ReduceMean"): (1,),
    ("", "Concat"): (),
}
"""Operators that treat pictures one by one, with the inputs that belong to no picture."""


@dataclass(frozen=True)
class Layer:
    """A node that treats pictures one by one."""

    node: ir.Node
    pictures: int
    places: tuple[int, ...]
    """Of the inputs that have a part for every picture."""
    wide: bool

    @property
    def data(self) -> list[ir.Value]:
        """These inputs; runs before this one may have replaced them."""
        return [value for i in self.places if (value := self.node.inputs[i]) is not None]


class SplitBatch(Pass):
    """Runs neighbouring layers on wide tensors for one picture after the other.

    They are repeated on parts of their inputs, which are views, and write parts of their results. `value.meta["part"]`
    of such a result is (number, count); its tensor keeps its name (`value.meta["tensor"]`).
    """

    def call(self, model: ir.Model) -> bool:
        runs = list(_runs(model.graph))
        for run in runs:
            _split(run)
        return bool(runs)


def _runs(graph: ir.Graph) -> Iterator[list[Layer]]:
    """Neighbours that pass wide tensors on, with as many pictures each; what is between them included."""
    run: list[Layer] = []
    between: list[Layer] = []
    for node in graph:
        layer = _layer(node)
        fits = layer is not None and (not run or run[0].pictures == layer.pictures)
        if layer is not None and fits and layer.wide:
            run += [*between, layer]
            between = []
        elif layer is not None and fits and run and len(between) < MOST_BETWEEN:
            between.append(layer)
        else:
            if _passes_on(run):
                yield run
            run, between = [layer] if layer is not None and layer.wide else [], []
    if _passes_on(run):
        yield run


def _parts(pictures: int) -> int:
    """How many equal parts a batch is taken apart into."""
    return max(parts for parts in range(1, MOST_PARTS + 1) if pictures % parts == 0)


def _passes_on(run: Sequence[Layer]) -> bool:
    made = {layer.node.outputs[0] for layer in run}
    return any(value in made for layer in run for value in layer.data)


def _layer(node: ir.Node) -> Layer | None:
    """None for nodes that cannot be repeated picture by picture, or whose weights are too large for it."""
    shared = _SHARED.get((node.domain, node.op_type))
    types = [type_of(value) for value in node.outputs]
    if shared is None or len(types) != 1 or types[0] is None or not types[0].shape:
        return None
    pictures, rank = types[0].shape[0], len(types[0].shape)
    if not isinstance(pictures, int) or pictures < 1 or _parts(pictures) == 1:
        return None
    if node.op_type == "Concat" and attribute(node, "axis") % rank == 0:
        return None
    places: list[int] = []
    for i, value in enumerate(node.inputs):
        found = type_of(value) if value is not None and i not in shared else None
        if value is None or found is None or found.shape is None or len(found.shape) < rank or found.shape[0] == 1:
            continue
        if len(found.shape) > rank or found.shape[0] != pictures or const_of(value) is not None:
            return None
        places.append(i)
    moved = _bytes([value for i in places if (value := node.inputs[i]) is not None] + list(node.outputs))
    if not places or moved is None:
        return None
    weights = sum(array.nbytes for value in node.inputs if (array := const_of(value)) is not None)
    if weights > REPEATED_WEIGHTS * max(moved, WIDE_BYTES) / pictures:
        return None
    return Layer(node, pictures, tuple(places), moved >= WIDE_BYTES)


def _bytes(values: Sequence[ir.Value]) -> int | None:
    """None when sizes are known at run time only."""
    sizes = [None if (found := type_of(value)) is None else found.nbytes for value in values]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _split(run: Sequence[Layer]) -> None:
    """Repeats the nodes of a run for each part of the pictures, part after part, and joins what others read."""
    count = _parts(run[0].pictures)
    nodes = [layer.node for layer in run]
    made = {node.outputs[0] for node in nodes}
    outer = dict.fromkeys(value for layer in run for value in layer.data if value not in made)
    parts: list[dict[ir.Value, ir.Value]] = [{} for _ in range(count)]
    for value in outer:
        split = insert_node(
            nodes[0], "Split", [value], {"axis": 0, "num_outputs": count}, name=f"{value.name}.for.{nodes[0].name}",
            types=[_part_type(value, count)] * count,
        )  # fmt: skip
        for number, output in enumerate(split.outputs):
            output.name = f"{split.name}.{number}"
            output.meta.update({**value.meta, "tensor": ""})
            parts[number][value] = output
    for number in range(count):
        for node in nodes:
            parts[number][node.outputs[0]] = _repeat(node, parts[number], nodes[0], number, count)
    for node in nodes:
        _join(node, set(nodes), [part[node.outputs[0]] for part in parts])
    graph_of(nodes[0]).remove(nodes, safe=True)


def _repeat(node: ir.Node, part: dict[ir.Value, ir.Value], before: ir.Node, number: int, count: int) -> ir.Value:
    """The node once more, in front of `before`, on a part of its inputs."""
    inputs = [value if value is None else part.get(value, value) for value in node.inputs]
    new = ir.Node(node.domain, node.op_type, inputs, list(node.attributes.values()), name=f"{node.name}.{number}")
    graph_of(before).insert_before(before, new)
    new.metadata_props.update(node.metadata_props)
    new.metadata_props[SOURCES] = ",".join(sources_of(node))
    result = node.outputs[0]
    set_type(new.outputs[0], _part_type(result, count))
    new.outputs[0].name = f"{result.name}.{number}"
    new.outputs[0].meta.update({"tensor": result.name, **result.meta, "part": (number, count)})
    return new.outputs[0]


def _part_type(value: ir.Value, count: int) -> TensorType:
    found = type_of(value)
    assert found is not None and found.shape is not None
    return TensorType(found.dtype, (found.shape[0] // count, *found.shape[1:]))


def _join(node: ir.Node, run: set[ir.Node], parts: Sequence[ir.Value]) -> None:
    """Puts the parts together for the readers outside of the run, if there are any."""
    value = node.outputs[0]
    readers = [use for use in value.uses() if use.node not in run]
    if not readers and not value.is_graph_output():
        return
    graph = graph_of(node)
    whole = insert_node(
        node, "Concat", parts, {"axis": 0}, name=f"{node.name}.pictures", types=[type_of(value)]
    ).outputs[0]
    whole.meta.update({**value.meta, "tensor": ""})
    whole.name, value.name = value.name, None
    for use in readers:
        use.node.replace_input_with(use.idx, whole)
    for i, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[i] = whole


__all__ = ["SplitBatch"]
