"""The arguments of a TorchScript program's `forward`: which inputs of the graph they are made of.

A tensor or number is an input by its name; a tuple `pair` of two tensors is the inputs `pair_0` and `pair_1`, a dict
`batch` with the key `mask` the input `batch_mask`. How many tensors a list has, and which keys a dict, the file says by
what it takes out of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.frontends.pytorch.dtypes import onnx_dtype
from magicmind.ir.types import TensorType

_SCALARS = {"int": torch.int64, "float": torch.float32, "bool": torch.bool}
_POSITIONS = {"aten::embedding": 1, "aten::index_select": 2, "aten::gather": 2, "aten::one_hot": 0}
_PASS_ON = {"aten::view", "aten::reshape", "aten::contiguous", "aten::unsqueeze", "aten::slice", "aten::detach"}


def arguments_of(module: torch.jit.ScriptModule) -> list[Any]:
    """The arguments of forward, without the module itself. Raises ModelFormatError for a script that lacks it."""
    if not module._c._has_method("forward"):
        methods = ", ".join(module._c._method_names()) or "none"
        raise ModelFormatError("the script has no method `forward`", hint=f"its methods: {methods}")
    return list(module._c._get_method("forward").schema.arguments[1:])


class Arguments:
    """What users feed of them: `inputs` has their types, `names` says for each argument which inputs make it up."""

    def __init__(
        self, module: torch.jit.ScriptModule, dtypes: Mapping[str, torch.dtype], constants: Mapping[str, Any]
    ) -> None:
        self.inputs: dict[str, TensorType] = {}
        self.names: dict[str, Any] = {}
        self.fixed = dict(constants)
        self._dtypes = dtypes
        arguments = arguments_of(module)
        self.order = [a.name for a in arguments]
        values = list(module.inlined_graph.inputs())[1:] if arguments else []
        for argument, value in zip(arguments, values, strict=True):
            name = argument.name
            if name in constants:
                continue
            if argument.has_default_value() and name not in dtypes:
                self.fixed[name] = argument.default_value  # optional ones keep their default
                continue
            self.names[name] = self._parts(name, argument.type, [value])

    def _parts(self, name: str, kind: Any, values: list[Any]) -> Any:
        """The name of an input, or a tuple, list or dict of such; `values`: where the program has it."""
        text = str(kind)
        if text in _SCALARS:
            self.inputs[name] = TensorType(onnx_dtype(_SCALARS[text]), ())
            return name
        if text in ("Tensor", "Optional[Tensor]"):
            default = torch.int64 if any(_holds_positions(v) for v in values) else torch.float32
            self.inputs[name] = TensorType(onnx_dtype(self._dtypes.get(name, default)), None)
            return name
        if isinstance(kind, torch.TupleType):
            return tuple(self._parts(f"{name}_{i}", e, _taken(values, i)) for i, e in enumerate(kind.elements()))
        if isinstance(kind, torch.ListType) and (count := _length(values)):
            return [self._parts(f"{name}_{i}", kind.getElementType(), _taken(values, i)) for i in range(count)]
        if isinstance(kind, torch.DictType) and (keys := _keys(values)):
            return {key: self._parts(f"{name}_{key}", kind.getValueType(), _taken(values, key)) for key in keys}
        raise UnsupportedOperatorError(
            f"forward's argument {name!r} is a {text}, of which the program does not tell the parts",
            hint=f"fix it, as in constants={{{name!r}: ...}}",
        )


def _uses(values: list[Any], *kinds: str) -> list[Any]:
    return [use.user for v in values for use in v.uses() if use.user.kind() in kinds and use.offset == 0]


def _index(node: Any) -> Any:
    """The constant position or key that a node takes out; None if it is none."""
    return list(node.inputs())[1].toIValue()


def _length(values: list[Any]) -> int:
    """How many elements the program takes out of a list; 0 if it does not say."""
    unpacked = [n.outputsSize() for n in _uses(values, "prim::ListUnpack")]
    positions = [_index(n) for n in _uses(values, "aten::__getitem__")]
    if any(not isinstance(p, int) for p in positions):
        return 0
    return max([*unpacked, *(p + 1 if p >= 0 else -p for p in positions)], default=0)


def _keys(values: list[Any]) -> list[str]:
    """The keys that the program asks of a dict."""
    return list(dict.fromkeys(_index(n) for n in _uses(values, "aten::__getitem__")))


def _taken(values: list[Any], at: Any) -> list[Any]:
    """Where the program has one element of a tuple, list or dict."""
    found = []
    for node in _uses(values, "prim::ListUnpack", "prim::TupleUnpack"):
        found += list(node.outputs())[at : at + 1] if isinstance(at, int) else []
    found += [n.output() for n in _uses(values, "aten::__getitem__", "prim::TupleIndex") if _index(n) == at]
    return found


def _holds_positions(value: Any) -> bool:
    """Whether a tensor ends up, as it is, where an operator wants positions."""
    found, seen = [value], set()
    while found:
        for use in found.pop().uses():
            kind = use.user.kind()
            if _POSITIONS.get(kind) == use.offset:
                return True
            if kind in _PASS_ON and use.offset == 0 and use.user.output().debugName() not in seen:
                seen.add(use.user.output().debugName())
                found.append(use.user.output())
    return False
