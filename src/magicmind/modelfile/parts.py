"""What an offline model is made of, as the compiler hands it to the writer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from magicmind.modelfile.blob import Blob
from magicmind.tensorinfo import TensorInfo

WEIGHT_ALIGNMENT = 64


class WeightStore:
    """Packed weights of all targets. Equal bytes are kept once, so targets whose packing agrees share them."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, memoryview]] = []
        self._known: dict[tuple[bytes, int], int] = {}
        self.size = 0

    def add(self, data: np.ndarray[Any, np.dtype[Any]] | bytes) -> int:
        """Keeps the bytes (C order) and returns their offset, a multiple of 64. The array must not change later."""
        view = memoryview(data) if isinstance(data, bytes) else _raw(data).data
        key = (hashlib.sha256(view).digest(), view.nbytes)
        if key not in self._known:
            offset = -(-self.size // WEIGHT_ALIGNMENT) * WEIGHT_ALIGNMENT
            self._known[key] = offset
            self._entries.append((offset, view))
            self.size = offset + view.nbytes
        return self._known[key]

    def chunks(self) -> Iterator[memoryview]:
        """The section's bytes in order, padding included."""
        end = 0
        for offset, view in self._entries:
            if offset > end:
                yield memoryview(bytes(offset - end))
            yield view
            end = offset + view.nbytes


def _raw(array: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


@dataclass(frozen=True)
class TargetParts:
    """Code for one target. `code` exports `mm_program`; `team` exports `mm_team_call` and `mm_team_worker`.

    `requires`: CPU features in LLVM's names that must be present. `plan`: the JSON of docs/design/0001.
    """

    name: str
    machine: str  # "x86_64" or "aarch64", as platform.machine() has it
    requires: tuple[str, ...]
    plan: Mapping[str, Any]
    code: Blob
    team: Blob
    tensors: Sequence[Mapping[str, Any]] = ()
    """Those inside the network, and where they lie after which step: docs/design/0003, "Inner tensors"."""


@dataclass(frozen=True)
class ModelParts:
    """A whole model. `targets`: the one to prefer first. `info`: more entries for the manifest (JSON values)."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    precision: str
    graph: bytes
    targets: tuple[TargetParts, ...]
    weights: WeightStore
    ranges: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
