"""The calls of a TorchScript program in its order, without running it: what can be said before any shape is known.

The methods are walked as `torchscript.Program` walks them, so a call has the label that the nodes made from it will
have. Of a branch both sides are listed, of a loop its body once; calls on constants alone are left out, as nothing is
made from them, and so are those that pass their input on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir
import torch

from magicmind.frontends.pytorch.arguments import Arguments
from magicmind.frontends.pytorch.dtypes import onnx_dtype
from magicmind.frontends.pytorch.torchscript import CALL_METHOD, Module, method_graph

_PASSED_ON = frozenset({"detach", "contiguous", "dropout", "feature_dropout", "alias", "requires_grad"})
_WHOLE = frozenset({"argmax", "argmin", "bincount", "count_nonzero", "nonzero", "searchsorted"})
_TRUTHS = frozenset(
    {
        "all", "any", "bitwise_not", "eq", "ge", "gt", "isfinite", "isinf", "isnan", "le", "logical_and", "logical_not",
        "logical_or", "logical_xor", "lt", "ne",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Data:
    """A tensor of the program. `origin` is an input's name, or a call's number and which of its results; None for
    tensors of the file."""

    dtype: onnx_ir.DataType
    origin: str | tuple[int, int] | None = None


@dataclass(frozen=True)
class Call:
    """One operator of the program. `kind` is its name without namespace, a convolution's says which one it is."""

    label: str
    kind: str
    inputs: tuple[Data, ...]
    """The tensors that it reads, in order."""
    outputs: tuple[Data, ...]


@dataclass(frozen=True)
class Listing:
    """The calls, and what the program returns; None among these is what the walk has lost sight of."""

    calls: list[Call]
    results: list[Data | None]


def calls_of(module: torch.jit.ScriptModule, arguments: Arguments) -> Listing:
    """The calls of `forward`."""
    given = {name: Data(t.dtype, name) for name, t in arguments.inputs.items()}
    values = [
        arguments.fixed[name] if name in arguments.fixed else _parts(arguments.names[name], given)
        for name in arguments.order
    ]
    walk = _Walk()
    result = walk.method(Module("", module), "forward", values)
    return Listing(walk.calls, [r if isinstance(r, Data) else None for r in _flat(result)])


def _parts(names: Any, given: dict[str, Data]) -> Any:
    if isinstance(names, dict):
        return {key: _parts(name, given) for key, name in names.items()}
    if isinstance(names, (list, tuple)):
        return [_parts(name, given) for name in names]
    return given[names]


class _Walk:
    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._path = ""

    def method(self, module: Module, name: str, args: Sequence[Any]) -> Any:
        graph = method_graph(module.script, name)
        before, self._path = self._path, module.path
        env = dict(zip([v.unique() for v in graph.inputs()], [module, *args], strict=False))
        self._block(graph, env)
        self._path = before
        results = [env.get(v.unique()) for v in graph.outputs()]
        return results[0] if results else None

    def _block(self, block: Any, env: dict[int, Any]) -> None:
        for node in block.nodes():
            args = [env.get(v.unique()) for v in node.inputs()]
            results = self._node(node, args, env)
            for value, result in zip(node.outputs(), results, strict=False):
                env[value.unique()] = result

    def _node(self, node: Any, args: list[Any], env: dict[int, Any]) -> Sequence[Any]:
        kind = node.kind()
        match kind:
            case "prim::Constant":
                return [node.output().toIValue() if node.hasAttributes() else None]
            case "prim::GetAttr":
                return [_attribute(args[0], node.s("name"))]
            case "prim::ListConstruct" | "prim::TupleConstruct":
                return [args]
            case "prim::TupleUnpack" | "prim::ListUnpack":
                found = args[0] if isinstance(args[0], (list, tuple)) else [args[0]] * node.outputsSize()
                return list(found)
            case "prim::If" | "prim::Loop":
                return self._nested(node, args, env)
        if kind == CALL_METHOD:
            return [self.method(args[0], node.s("name"), args[1:]) if isinstance(args[0], Module) else None]
        if not kind.startswith("aten::") or not any(isinstance(a, Data) for a in _flat(args)):
            return [None] * node.outputsSize()
        return self._call(node, args)

    def _nested(self, node: Any, args: list[Any], env: dict[int, Any]) -> Sequence[Any]:
        results: list[Any] = list(args[2:])
        for block in node.blocks():
            inner = dict(env) | dict(zip([v.unique() for v in block.inputs()], [None, *args[2:]], strict=False))
            self._block(block, inner)
            results = [inner.get(v.unique()) for v in block.outputs()]
        return results[1:] if node.kind() == "prim::Loop" else results

    def _call(self, node: Any, args: list[Any]) -> Sequence[Any]:
        stem = node.kind().partition("::")[2]
        kind = _kind(stem.strip("_"), args)
        types = [v.type() for v in node.outputs()]
        if not any("Tensor" in str(t) for t in types):
            return [None] * len(types)
        if kind in _PASSED_ON:
            return [args[0]] * len(types)
        inputs = tuple(found for a in _flat(args) if (found := _tensor(a)) is not None)
        dtype = _result(kind, args, [t.dtype for t in inputs])
        number, is_list = len(self.calls), str(types[0]).startswith("List")
        results = [Data(dtype, (number, i)) for i in range(_count(node) if is_list else len(types))]
        label = f"{self._path}.{stem}" if self._path else stem
        self.calls.append(Call(label, kind, inputs, tuple(results)))
        return [results] if is_list else results


def _tensor(value: Any) -> Data | None:
    """What a call reads."""
    if isinstance(value, torch.Tensor):
        return Data(onnx_dtype(value.dtype))
    return value if isinstance(value, Data) else None


def _attribute(owner: Any, name: str) -> Any:
    if not isinstance(owner, Module):
        return None
    found = getattr(owner.script, name, None)
    return Module(owner.child(name), found) if isinstance(found, torch.jit.ScriptModule) else found


def _flat(values: Any) -> Iterator[Any]:
    if isinstance(values, (list, tuple)):
        for value in values:
            yield from _flat(value)
    elif isinstance(values, dict):
        yield from _flat(list(values.values()))
    else:
        yield values


def _count(node: Any) -> int:
    """How many tensors the program takes out of a list."""
    users = [use.user for use in node.output().uses()]
    return max([user.outputsSize() for user in users if user.kind() == "prim::ListUnpack"], default=1)


def _kind(stem: str, args: Sequence[Any]) -> str:
    """`conv2d`, `conv_depthwise2d` or `conv_transpose2d` for the operator that does them all."""
    weight = args[1] if len(args) > 1 else None
    if stem not in ("convolution", "conv1d", "conv2d", "conv3d") or not isinstance(weight, torch.Tensor):
        return stem
    axes = weight.ndim - 2
    if stem == "convolution" and len(args) > 6 and args[6] is True:
        return f"conv_transpose{axes}d"
    groups = args[8] if stem == "convolution" and len(args) > 8 else args[6] if len(args) > 6 else 1
    depthwise = isinstance(groups, int) and groups > 1 and weight.shape[1] == 1
    return f"conv_depthwise{axes}d" if depthwise else f"conv{axes}d"


def _result(kind: str, args: Sequence[Any], inputs: Sequence[onnx_ir.DataType]) -> onnx_ir.DataType:
    if kind in _TRUTHS:
        return onnx_ir.DataType.BOOL
    if kind in _WHOLE:
        return onnx_ir.DataType.INT64
    if kind in ("to", "type_as"):
        wanted = [a for a in args[1:] if isinstance(a, (int, Data)) and not isinstance(a, bool)]
        if wanted and isinstance(wanted[0], Data):
            return wanted[0].dtype
        numbers = [a for a in wanted if isinstance(a, int)]
        return onnx_dtype(_DTYPES.get(numbers[0], torch.float32)) if numbers else inputs[0]
    return next((t for t in inputs if t.is_floating_point()), inputs[0])


_DTYPES = {
    0: torch.uint8, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.int64, 5: torch.float16, 6: torch.float32,
    7: torch.float64, 11: torch.bool,
}  # fmt: skip
"""The numbers that TorchScript writes dtypes as."""
