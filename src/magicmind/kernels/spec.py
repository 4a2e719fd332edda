"""What all kernel specs share: counting run-time sizes, unique names."""

from __future__ import annotations

import hashlib

from magicmind.codegen.builder import Param


def count_params(spec: object) -> int:
    """Number of run-time sizes a spec refers to, nested dataclasses included (the highest `Param` index + 1)."""
    highest = 0
    for value in vars(spec).values():
        if isinstance(value, Param):
            highest = max(highest, value.index + 1)
        elif isinstance(value, tuple):
            highest = max([highest, *(v.index + 1 for v in value if isinstance(v, Param))])
        elif hasattr(value, "__dataclass_fields__"):
            highest = max(highest, count_params(value))
    return highest


def symbol_for(spec: object, name: str) -> str:
    """A unique function name: the readable one and a hash of the whole spec."""
    return f"{name}_{hashlib.sha256(repr(spec).encode()).hexdigest()[:10]}"
