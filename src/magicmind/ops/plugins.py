"""The operators of `magicmind.plugin` as the compiler sees them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir

from magicmind.errors import Error
from magicmind.ir.types import TensorType
from magicmind.ops.registry import MORE, NodeView, Op
from magicmind.plugin import GROUPS, PLUGINS, Plugin, PluginError, TensorSpec

if TYPE_CHECKING:
    from magicmind.lower.lowering import Lowering


def _find(domain: str, name: str) -> Op | None:
    plugin = PLUGINS.get((domain, name))
    return None if plugin is None else _operator(plugin)


MORE.append(_find)


@cache
def _operator(plugin: Plugin) -> Op:
    op = Op(plugin.name, plugin.domain, register=False)
    op.infer(lambda node: _infer(plugin, node))
    if plugin.compute is not None:
        op.host(plugin.function)
    if plugin.kernel is not None:
        op.lower(lambda low, node: _lower(plugin, low, node))
    return op


def _infer(plugin: Plugin, node: NodeView) -> Sequence[TensorType]:
    """What the user's rule says. Raises PluginError for a rule that fails or says too little."""
    specs = [_spec(node.input(i)) if node.has(i) else None for i in range(len(node.node.inputs))]
    arguments = plugin.arguments(specs, node.ints_attr(GROUPS))
    settings = plugin.settings({name: _value(attr) for name, attr in node.node.attributes.items()})
    try:
        found = plugin.types(*arguments, **settings)
    except Error:
        raise
    except Exception as error:  # whatever the user's function raises
        raise PluginError(f"the types of {plugin.full_name}: {type(error).__name__}: {error}") from error
    results = list(found) if isinstance(found, (list, tuple)) else [found]
    if len(results) < node.num_outputs or not all(isinstance(result, TensorSpec) for result in results):
        raise PluginError(f"the types of {plugin.full_name} are {results!r}; {node.num_outputs} TensorSpecs are needed")
    return [_type(node, i, result) for i, result in enumerate(results)]


def _spec(t: TensorType) -> TensorSpec:
    dtype = np.dtype(object) if t.dtype == onnx_ir.DataType.STRING else np.dtype(t.dtype.numpy())
    return TensorSpec(dtype, t.dims)


def _type(node: NodeView, output: int, spec: TensorSpec) -> TensorType:
    dtype = np.dtype(spec.dtype)
    if output >= node.num_outputs:
        shape = tuple(0 if dim is None else dim for dim in spec.shape)  # nobody reads it
    else:
        shape = tuple(node.unknown(output, axis) if dim is None else dim for axis, dim in enumerate(spec.shape))
    if dtype.kind == "O":
        return TensorType(onnx_ir.DataType.STRING, shape)
    return TensorType(onnx_ir.DataType.from_numpy(dtype), shape)


def _value(attr: onnx_ir.Attr) -> Any:
    return attr.as_tensor().numpy() if attr.type == onnx_ir.AttributeType.TENSOR else attr.value


def _lower(plugin: Plugin, low: Lowering, node: onnx_ir.Node) -> None:
    assert plugin.kernel is not None
    try:
        plugin.kernel(low, node)
    except Error:
        raise
    except Exception as error:  # whatever the user's function raises
        raise PluginError(f"the kernel of {plugin.full_name}: {type(error).__name__}: {error}") from error
