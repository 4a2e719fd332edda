"""What a deployed network's ends are: layouts, dtypes and the normalisation of pixels, put around the parsed graph.

Not passes of the pipeline: whoever builds asks for them, on a copy of the graph, before it is built. The network inside
stays as it is; the optimising passes fold or fuse what is put in front.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir
from onnx_ir import DataType

from magicmind.errors import ShapeError
from magicmind.ir.evaluate import OPSET
from magicmind.ir.types import TensorType, const_of, set_type, type_of
from magicmind.ops.emitter import Emitter, Value
from magicmind.passes.edit import add_constant, graphs_of, is_op
from magicmind.passes.infer_types import type_node

__all__ = [
    "cast_input", "cast_output", "lay_out_input", "lay_out_output", "layout_order", "narrow_floats",
    "normalise_input", "reverse_input_channels",
]  # fmt: skip

Change = Callable[[Emitter, Value], Value]


def layout_order(source: str, target: str) -> list[int]:
    """The axes of `source` in the order of `target`: [0, 2, 3, 1] for NCHW, NHWC.  Raises ShapeError."""
    if sorted(source) != sorted(target):
        raise ShapeError(f"{source} and {target} have different axes")
    return [source.index(axis) for axis in target]


def cast_input(model: onnx_ir.Model, number: int, dtype: DataType) -> None:
    """Feeds an input with another dtype, which is converted by value."""
    t = _type(model.graph.inputs[number])
    _replace_input(model, number, TensorType(dtype, t.shape), lambda e, x: e.cast(x, t.dtype))


def lay_out_input(model: onnx_ir.Model, number: int, order: Sequence[int]) -> None:
    """Feeds an input with its axes in another order: `order` names the present ones, [0, 2, 3, 1] for NHWC."""
    t = _type(model.graph.inputs[number])
    outside = TensorType(t.dtype, tuple(t.dims[i] for i in _checked(order, t, model.graph.inputs[number])))
    _replace_input(model, number, outside, lambda e, x: e.op("Transpose", x, perm=_inverse(order)))


def normalise_input(
    model: onnx_ir.Model, number: int, mean: Sequence[float], variance: Sequence[float], axis: int = 1
) -> None:
    """Feeds an input with uint8 that become (x - mean) / sqrt(variance) per channel of `axis`.

    Raises ShapeError for other than one number, or one per channel, and for variances that are not positive.
    """
    value = model.graph.inputs[number]
    t = _type(value)
    channels = t.dims[axis] if axis < t.rank else None
    if axis >= t.rank or {len(mean), len(variance)} - {1, channels} or not all(v > 0.0 for v in variance):
        raise ShapeError(
            f"input {value.name} {t}: means {list(mean)} and variances {list(variance)} are not one per channel, "
            "variances above zero"
        )
    shape = [-1] + [1] * (t.rank - axis - 1)
    scale = 1.0 / np.sqrt(np.asarray(variance, np.float64))
    shift = -np.asarray(mean, np.float64) * scale

    def change(e: Emitter, x: Value) -> Value:
        pixels = e.cast(x, DataType.FLOAT)
        scaled = e.op("Mul", pixels, e.const(scale.reshape(shape), np.float32))
        return e.cast(e.op("Add", scaled, e.const(shift.reshape(shape), np.float32)), t.dtype)

    _replace_input(model, number, TensorType(DataType.UINT8, t.shape), change)


def reverse_input_channels(model: onnx_ir.Model, number: int, axis: int = 1) -> None:
    """Feeds an input with its channels in reverse (RGB for BGR): in the weights of the convolutions that read it."""
    value = model.graph.inputs[number]
    readers = [use.node for use in value.uses()]
    if axis == 1 and readers and all(_takes_reversed(node) for node in readers) and not value.is_graph_output():
        for node in readers:
            weights = const_of(node.inputs[1])
            assert weights is not None
            flipped = add_constant(model.graph, np.ascontiguousarray(weights[:, ::-1]), f"{node.name}.reversed")
            node.replace_input_with(1, flipped)
        return
    size = _type(value).dims[axis]
    if not isinstance(size, int):
        raise ShapeError(f"input {value.name} has an unknown number of channels")
    _replace_input(
        model, number, _type(value), lambda e, x: e.op("Gather", x, e.ints(*reversed(range(size))), axis=axis)
    )


def _takes_reversed(node: onnx_ir.Node) -> bool:
    """A convolution over all channels with constant weights."""
    group = node.attributes.get("group")
    return is_op(node, "Conv") and const_of(node.inputs[1]) is not None and (group is None or group.as_int() == 1)


def lay_out_output(model: onnx_ir.Model, number: int, order: Sequence[int]) -> None:
    """Delivers an output with its axes in another order."""
    value = model.graph.outputs[number]
    _checked(order, _type(value), value)
    _replace_output(model, number, lambda e, x: e.op("Transpose", x, perm=list(order)))


def cast_output(model: onnx_ir.Model, number: int, dtype: DataType) -> None:
    """Delivers an output with another dtype."""
    if _type(model.graph.outputs[number]).dtype != dtype:
        _replace_output(model, number, lambda e, x: e.cast(x, dtype))


def narrow_floats(model: onnx_ir.Model) -> None:
    """Computes in float32 what the network computes in float64."""
    for graph in graphs_of(model):
        for value in (*graph.inputs, *graph.initializers.values()):
            t = type_of(value)
            if t is not None and t.dtype == DataType.DOUBLE:
                array = const_of(value)
                if array is not None:
                    value.const_value = onnx_ir.Tensor(array.astype(np.float32), name=value.name)
                set_type(value, TensorType(DataType.FLOAT, t.shape))
        for node in graph:
            _narrow_attributes(node)


def _narrow_attributes(node: onnx_ir.Node) -> None:
    for name, attr in list(node.attributes.items()):
        if name in ("to", "dtype") and attr.type == onnx_ir.AttributeType.INT and attr.value == DataType.DOUBLE:
            node.attributes[name] = onnx_ir.AttrInt64(name, int(DataType.FLOAT))
        elif attr.type == onnx_ir.AttributeType.TENSOR and attr.as_tensor().dtype == DataType.DOUBLE:
            narrow = attr.as_tensor().numpy().astype(np.float32)
            node.attributes[name] = onnx_ir.AttrTensor(name, onnx_ir.Tensor(narrow))


# ----------------------------------------------------------------------------------------------------------- the edits


def _type(value: onnx_ir.Value) -> TensorType:
    t = type_of(value)
    if t is None or t.shape is None:
        raise ShapeError(f"{value.name} has no shape yet")
    return t


def _checked(order: Sequence[int], t: TensorType, value: onnx_ir.Value) -> Sequence[int]:
    if sorted(order) != list(range(t.rank)):
        raise ShapeError(f"{value.name} is {t}; the layout asked for has {len(order)} axes")
    return order


def _inverse(order: Sequence[int]) -> list[int]:
    return [list(order).index(i) for i in range(len(order))]


def _replace_input(model: onnx_ir.Model, number: int, outside: TensorType, change: Change) -> None:
    """A new input of the old one's name; what read the old one reads what `change` makes of the new one."""
    graph = model.graph
    old = graph.inputs[number]
    name = old.name or ""
    scope = _scope(graph, name)
    old.name = f"{scope}.inside"
    new = Value(name=name)
    set_type(new, outside)
    graph.inputs[number] = new
    emitter = Emitter(scope, graph.opset_imports.get("", OPSET), type_node)
    result = change(emitter, new)
    if result is not new and result.producer() is not None:
        result.name = f"{scope}.inside"
    onnx_ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
    for value in emitter.constants:
        graph.register_initializer(value)
    if len(graph):
        graph.insert_before(graph[0], emitter.nodes)
    else:
        graph.extend(emitter.nodes)


def _replace_output(model: onnx_ir.Model, number: int, change: Change) -> None:
    """What `change` makes of an output takes its place and name."""
    graph = model.graph
    old = graph.outputs[number]
    name = old.name or ""
    scope = _scope(graph, name)
    emitter = Emitter(scope, graph.opset_imports.get("", OPSET), type_node)
    if not old.is_graph_input():
        old.name = f"{scope}.inside"
    result = change(emitter, old)
    result.name = name
    graph.outputs[number] = result
    for value in emitter.constants:
        graph.register_initializer(value)
    graph.extend(emitter.nodes)


def _scope(graph: onnx_ir.Graph, name: str) -> str:
    """What the names of new nodes begin with: no node is called so yet."""
    taken, scope, number = {node.name or "" for node in graph}, f"{name}/end", 1
    while any(text.startswith(scope) for text in taken):
        number += 1
        scope = f"{name}/end{number}"
    return scope
