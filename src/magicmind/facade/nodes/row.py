"""A row of the table of nodes, and what its operators are emitted with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from magicmind.facade.dims import Dims
from magicmind.facade.naming import type_of_kind
from magicmind.facade.status import Refused

if TYPE_CHECKING:
    from magicmind.ops.emitter import Emitter, Value
else:
    Emitter = Value = Any

Arguments: TypeAlias = Mapping[str, Any]
Emit: TypeAlias = Callable[["Emitter", "Call"], Any]


@dataclass(frozen=True)
class Row:
    """One kind of node."""

    name: str
    operands: str
    emit: Emit
    setters: Mapping[str, Any] = field(default_factory=dict)
    results: int | Callable[[Arguments], int] = 1
    doc: str = ""

    @property
    def node_type(self) -> str:
        """`IConvNode`."""
        return type_of_kind(self.name)

    @property
    def names(self) -> list[str]:
        """The operands by name."""
        return [word.strip(".?*") for word in self.operands.split()]

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The operands of a call by name.  Raises Refused for missing, surplus and wrong ones."""
        words, names = self.operands.split(), self.names
        unknown = [name for name in kwargs if name not in names] + [
            name for name in kwargs if name in names[: len(args)]
        ]
        if len(args) > len(names) or unknown:
            raise Refused(f"add_i_{self.name}_node takes ({', '.join(names)}), not {len(args)} and {list(kwargs)}")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        return {name: self._checked(word, name, given.get(name)) for word, name in zip(words, names, strict=True)}

    def _checked(self, word: str, name: str, value: Any) -> Any:
        if value is None and not word.endswith("?"):
            raise Refused(f"add_i_{self.name}_node: {name} is missing")
        if word.startswith(".") or value is None:
            return value
        if ("*" in word) != isinstance(value, (list, tuple)) or isinstance(value, (int, float, str, bool)):
            raise Refused(f"add_i_{self.name}_node: {name} is a {'list of tensors' if '*' in word else 'tensor'}")
        return value

    def count(self, arguments: Arguments) -> int:
        """The number of results."""
        return self.results if isinstance(self.results, int) else self.results(arguments)

    def run(self, emitter: Emitter, arguments: Arguments, settings: Mapping[str, Any]) -> Sequence[Value]:
        """Emits the operators; the results."""
        made = self.emit(emitter, Call(emitter, arguments, {**self.setters, **settings}))
        return made if isinstance(made, (list, tuple)) else [made]


@dataclass(frozen=True)
class Call:
    """The operands and settings of one node while it is emitted."""

    emitter: Emitter
    arguments: Arguments
    settings: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        """An operand."""
        return self.arguments[name]

    def numbers(self, name: str) -> list[int]:
        """The contents of an operand that has to be known while the network is built."""
        return self.contents(self.arguments[name], name)

    def contents(self, value: Any, name: str) -> list[int]:
        """As `numbers`, of one of several."""
        if value is None or isinstance(value, (int, float, list, tuple, Dims, np.ndarray)):
            return (
                [] if value is None else [int(v) for v in np.ravel(list(value) if isinstance(value, Dims) else value)]
            )
        from magicmind.ops.registry import contents_of

        found = contents_of(value)
        if found is None or not all(isinstance(v, (int, float, np.number)) for v in found.flat):
            raise Refused(f"{name} has to be a constant")
        return [int(v) for v in found.flat]

    def number(self, name: str, setting: str | None = None) -> int:
        """The only element of such an operand, or what its setter says instead."""
        given = None if setting is None else self.settings[setting]
        found = self.numbers(name) if given is None else [int(given)]
        if len(found) != 1:
            raise Refused(f"{name} has {len(found)} elements; one is wanted")
        return found[0]

    def word(self, name: str) -> str:
        """The name of an enumeration's member that is an operand."""
        return str(plain(self.arguments[name]))

    def i64(self, name: str) -> Value:
        """An operand of whole numbers as ONNX wants them: int64, a vector."""
        return self.vector(self.arguments[name])

    def vector(self, value: Any, dtype: Any = np.int64) -> Value:
        """Numbers as a vector, whole ones as int64."""
        e = self.emitter
        if value is None or isinstance(value, (int, float, list, tuple, Dims, np.ndarray)):
            return e.const(np.asarray(list(value) if isinstance(value, Dims) else value, dtype).reshape(-1))
        value = e.cast(value, graph_type("INT64")) if dtype is np.int64 else value
        return e.reshape(value, -1) if e.rank(value) != 1 else value

    def scalar(self, name: str) -> Value:
        """A tensor of one element as one of rank 0."""
        e, value = self.emitter, self.arguments[name]
        if isinstance(value, (int, float)):
            return e.const(value, np.float32)
        return e.op("Squeeze", value) if e.rank(value) else value

    def setting(self, name: str, kind: Callable[[Any], Any] = lambda v: v) -> Any:
        """A setting."""
        try:
            return kind(self.settings[name])
        except (TypeError, ValueError):
            raise Refused(f"set_{name}({self.settings[name]!r}) has no meaning") from None

    def ints(self, name: str, count: int) -> list[int]:
        """A setting of one number per axis; one alone counts for all."""
        value = self.settings[name]
        found = [int(v) for v in np.ravel(value)] if not isinstance(value, Dims) else value.GetDims()
        return found * count if len(found) == 1 else found


def graph_type(name: str) -> Any:
    import onnx_ir

    return onnx_ir.DataType[name]


def plain(value: Any) -> Any:
    """Enumerations by name, everything else as it is."""
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value.name if isinstance(value, Enum) else value


def op(operator: str, **attributes: Any) -> Emit:
    """One operator on all operands."""
    return lambda e, c: e.op(operator, *c.arguments.values(), **attributes)


__all__ = ["Arguments", "Call", "Emit", "Emitter", "Row", "Value", "graph_type", "op", "plain"]
