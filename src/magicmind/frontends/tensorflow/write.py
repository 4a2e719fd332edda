"""Writes GraphDefs: networks that are made here, for tests and with random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from magicmind.frontends.tensorflow import schema

_TYPES = {
    np.dtype(np.float32): "DT_FLOAT", np.dtype(np.float64): "DT_DOUBLE", np.dtype(np.int32): "DT_INT32",
    np.dtype(np.int64): "DT_INT64", np.dtype(np.bool_): "DT_BOOL", np.dtype(np.uint8): "DT_UINT8",
    np.dtype(np.int8): "DT_INT8", np.dtype(object): "DT_STRING",
}  # fmt: skip


class GraphWriter:
    """A GraphDef that grows node by node; arrays among the inputs become Const nodes.

    Attributes: bool, int, float, text, a numpy dtype for a type, a tuple for a shape, a list of numbers or texts, the
    name of a function as bytes.
    """

    def __init__(self) -> None:
        self.message = schema.GraphDef()
        self.message.versions.producer = 1000
        self._nodes: Any = self.message.node

    def placeholder(self, name: str, shape: Sequence[int] | None, dtype: Any = np.float32) -> str:
        """An input; -1 is a size that is not known, None an unknown rank."""
        attributes: dict[str, Any] = {"dtype": np.dtype(dtype)}
        if shape is not None:
            attributes["shape"] = tuple(shape)
        return self.node("Placeholder", name, **attributes)

    def const(self, name: str, array: Any) -> str:
        """A constant."""
        data = np.asarray(array)
        node = self._nodes.add(name=name, op="Const")
        kind = schema.DATA_TYPES[_TYPES[data.dtype]].number
        node.attr.add(key="dtype").value.type = kind
        tensor = node.attr.add(key="value").value.tensor
        tensor.dtype = kind
        for size in data.shape:
            tensor.tensor_shape.dim.add(size=size)
        if data.dtype == object:
            tensor.string_val.extend(data.reshape(-1).tolist())
        else:
            tensor.tensor_content = data.tobytes()
        return name

    def node(self, op: str, name: str, *inputs: Any, **attributes: Any) -> str:
        """A node; its name."""
        names = [x if isinstance(x, str) else self.const(f"{name}/const{i}", x) for i, x in enumerate(inputs)]
        node = self._nodes.add(name=name, op=op, input=names)
        for key, value in attributes.items():
            _set(node.attr.add(key=key).value, value)
        return name

    def function(self, name: str, arguments: Sequence[str], results: Mapping[str, str]) -> Self:
        """A function of the library; its nodes refer to each other as `node:output:0`."""
        found = self.message.library.function.add()
        found.signature.name = name
        for argument in arguments:
            found.signature.input_arg.add(name=argument)
        for result, ref in results.items():
            found.signature.output_arg.add(name=result)
            found.ret.add(key=result, value=ref)
        inner = type(self)()
        inner._nodes = found.node_def
        return inner

    def save(self, path: Path) -> Path:
        """Writes the file."""
        path.write_bytes(self.message.SerializeToString())
        return path


def _set(target: Any, value: Any) -> None:
    if isinstance(value, bool):
        target.b = value
    elif isinstance(value, int):
        target.i = value
    elif isinstance(value, float):
        target.f = value
    elif isinstance(value, np.dtype):
        target.type = schema.DATA_TYPES[_TYPES[value]].number
    elif isinstance(value, bytes):
        target.func.name = value.decode()
    elif isinstance(value, str):
        target.s = value.encode()
    elif isinstance(value, tuple):
        target.shape.SetInParent()
        for size in value:
            target.shape.dim.add(size=size)
    else:
        _list(target.list, value)


def _list(target: Any, values: Sequence[Any]) -> None:
    target.SetInParent()
    if all(isinstance(v, int) for v in values):
        target.i.extend(values)
    elif all(isinstance(v, float) for v in values):
        target.f.extend(values)
    else:
        target.s.extend(v.encode() for v in values)
