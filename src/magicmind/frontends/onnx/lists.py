"""Lists of tensors whose every element is known when the file is read: what is taken from them is found directly.

Lists are work for host functions, and their elements lose their shapes. PyTorch's older exporter makes them of
tensor_split, unbind and the like, which fill a list in a loop whose number of rounds is a constant: such loops are
written out, round after round, and after that nothing is left of the list.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import onnx_ir

from magicmind.errors import Error
from magicmind.frontends.onnx.upgrade import new_constant
from magicmind.ir.evaluate import Array, evaluate_node
from magicmind.ir.types import const_of
from magicmind.passes.determinism import is_deterministic
from magicmind.passes.edit import forward, graph_of, insert_node, is_op, replace_node
from magicmind.passes.splice import discard, names_of, splice

_MOST_ROUNDS = 64  # of a loop that is written out
_MOST_NODES = 2000  # that it may become
_MOST_STEPS = 50  # of arithmetic between a constant and a loop's number of rounds
_MOST_ELEMENTS = 1024  # of what is computed here: sizes and positions are far fewer
_MAKERS = ("SequenceEmpty", "SequenceConstruct", "SequenceInsert", "SequenceErase", "SplitToSequence", "Identity")
_READERS = ("SequenceAt", "SequenceLength", "ConcatFromSequence")


def resolve_lists(graph: onnx_ir.Graph) -> None:
    """Writes out the loops of a graph that fill lists, and replaces what reads lists of known elements."""
    waiting = deque(graph)
    if not any(is_op(node, *_READERS) for node in waiting):
        return
    taken = names_of(graph)
    while waiting:
        node = waiting.popleft()
        if is_op(node, "Loop"):
            waiting.extendleft(reversed(_unrolled(node, taken)))
        elif is_op(node, *_READERS):
            _read(node)
    for node in reversed(list(graph)):
        if is_op(node, *_MAKERS) and not any(v.uses() or v.is_graph_output() for v in node.outputs):
            graph.remove(node, safe=True)


# ---------------------------------------------------------------------------------------------------------------- loops


def _unrolled(node: onnx_ir.Node, taken: set[str]) -> list[onnx_ir.Node]:
    """The nodes that a loop became if it fills a list in a known number of rounds; none for any other, which stays."""
    body, carried = node.attributes["body"].as_graph(), list(node.inputs[2:])
    rounds = _rounds(node, body)
    if rounds is None or rounds * len(body) > _MOST_NODES or len(body.outputs) != 1 + len(carried):
        return []
    if all(_elements(value) is None for value in carried):
        return []
    flag = new_constant(node, "goes_on", np.array(True))
    nodes: list[onnx_ir.Node] = []
    for i in range(rounds):
        copy = body.clone(allow_outer_scope_values=True)
        values = [new_constant(node, f"round{i}", np.array(i, np.int64)), flag, *carried]
        for inside, outside in zip(copy.inputs, values, strict=True):
            if outside is not None:
                inside.replace_all_uses_with(outside, replace_graph_outputs=True)
        for inner in copy:
            inner.name = f"{inner.name}.round{i}" if rounds > 1 else inner.name
        nodes += copy
        carried = list(splice(node, copy, taken)[1:])
    for output, value in zip(node.outputs, carried, strict=True):
        passed = insert_node(node, "Identity", [value], name=f"{node.name}.{output.name}").outputs[0]
        name, output.name = output.name, None
        output.replace_all_uses_with(passed, replace_graph_outputs=True)
        passed.name = name
    graph_of(node).remove(node, safe=True)
    discard(body)
    return nodes


def _rounds(node: onnx_ir.Node, body: onnx_ir.Graph) -> int | None:
    """How often a loop runs, when that is a small number that does not depend on what it computes."""
    count = _number(node.inputs[0])
    goes_on = body.outputs[0] if body.outputs else None
    while goes_on is not None and is_op(goes_on.producer(), "Identity"):
        goes_on = goes_on.producer().inputs[0]  # type: ignore[union-attr]
    begins = node.inputs[1] is None or _number(node.inputs[1])
    forever = goes_on is not None and (goes_on is body.inputs[1] or _number(goes_on))
    return count if count is not None and 0 <= count <= _MOST_ROUNDS and begins and forever else None


# ---------------------------------------------------------------------------------------------------------------- lists


def _elements(value: onnx_ir.Value | None) -> list[onnx_ir.Value] | None:
    """The tensors of a list, where each is known."""
    steps: list[onnx_ir.Node] = []
    found: list[onnx_ir.Value] | None = None
    while found is None:
        node = None if value is None else value.producer()
        if node is None or node.domain or node.op_type not in _MAKERS:
            return None
        match node.op_type:
            case "SequenceEmpty":
                found = []
            case "SequenceConstruct":
                found = [v for v in node.inputs if v is not None]
            case "SplitToSequence":
                found = _parts(node)
                if found is None:
                    return None
            case _:
                steps.append(node)
                value = node.inputs[0]
    return found if all(_step(node, found) for node in reversed(steps)) else None


def _step(node: onnx_ir.Node, elements: list[onnx_ir.Value]) -> bool:
    """Does to the elements what the node does to the list; False where that is not known, or is wrong."""
    if node.op_type == "Identity":
        return True
    at = 1 if node.op_type == "SequenceErase" else 2
    given = node.inputs[at] if len(node.inputs) > at else None
    last = len(elements) - 1 if node.op_type == "SequenceErase" else len(elements)
    place = last if given is None else _place(given, len(elements))
    if place is None or not 0 <= place <= last:
        return False
    if node.op_type == "SequenceErase":
        del elements[place]
        return True
    element = node.inputs[1]
    if element is not None:
        elements.insert(place, element)
    return element is not None


def _place(value: onnx_ir.Value | None, count: int) -> int | None:
    number = _number(value)
    return number + count if number is not None and number < 0 else number


def _parts(node: onnx_ir.Node) -> list[onnx_ir.Value] | None:
    """The parts of a tensor that is cut at known places: outputs of a Split that is made when first asked for."""
    made = node.meta.get(__name__)
    sizes = _known(node.inputs[1]) if len(node.inputs) > 1 else None
    if made is None and sizes is not None and sizes.ndim == 1 and sizes.size:
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        kinds = (None,) * sizes.size
        name = f"{node.name}.parts"
        made = insert_node(node, "Split", node.inputs[:2], {"axis": axis}, name=name, types=kinds).outputs
        for i, part in enumerate(made):
            part.name = f"{name}{i}"
        node.meta[__name__] = made
    return None if made is None else list(made)


def _read(node: onnx_ir.Node) -> None:
    """Puts the element, the number or the joined elements in the place of a node that reads a list."""
    elements = _elements(node.inputs[0])
    if elements is None:
        return
    if node.op_type == "SequenceLength":
        replace_node(node, "Identity", [new_constant(node, "length", np.array(len(elements), np.int64))])
    elif node.op_type == "SequenceAt":
        place = _place(node.inputs[1], len(elements))
        if place is not None and 0 <= place < len(elements) and not forward(node, elements[place]):
            replace_node(node, "Identity", [elements[place]])
    elif elements:
        axis = node.attributes["axis"].as_int()
        if "new_axis" in node.attributes and node.attributes["new_axis"].as_int():
            new = new_constant(node, "axis", np.array([axis]))
            stacked = (
                insert_node(node, "Unsqueeze", [v, new], name=f"{node.name}.{i}") for i, v in enumerate(elements)
            )
            elements = [made.outputs[0] for made in stacked]
        replace_node(node, "Concat", elements, {"axis": axis})


# ------------------------------------------------------------------------------------------------------------ constants


def _number(value: onnx_ir.Value | None) -> int | None:
    """The one element of a known tensor."""
    found = _known(value)
    return int(found.reshape(-1)[0]) if found is not None and found.size == 1 else None


def _known(value: onnx_ir.Value | None, steps: int = _MOST_STEPS) -> Array | None:
    """The elements of a small tensor that constants alone make."""
    found = const_of(value)
    node = None if value is None else value.producer()
    if found is not None or node is None or node.domain or not steps or not is_deterministic(node) or not node.inputs:
        return found
    if node.op_type == "Shape":
        shape = _constant_shape(node.inputs[0])
        return None if shape is None else np.array(shape[slice(*_bounds(node))], np.int64)
    inputs = [None if v is None else _known(v, steps - 1) for v in node.inputs]
    given = zip(inputs, node.inputs, strict=True)
    if any(v is not None if a is None else a.size > _MOST_ELEMENTS for a, v in given):
        return None
    try:
        return evaluate_node(node, inputs)[node.outputs.index(value)]
    except Error:
        return None


def _constant_shape(value: onnx_ir.Value | None) -> tuple[int, ...] | None:
    constant = const_of(value)
    return None if constant is None else constant.shape


def _bounds(node: onnx_ir.Node) -> tuple[int | None, int | None]:
    start, end = (node.attributes[k].as_int() if k in node.attributes else None for k in ("start", "end"))
    return start, end
