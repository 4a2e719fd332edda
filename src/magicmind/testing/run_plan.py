"""Lowers a small graph and runs its kernel calls one by one on numpy memory: for tests of lowerings."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from magicmind.codegen.target import find_target
from magicmind.ir.dims import evaluate
from magicmind.ir.types import dtype_of, shape_of
from magicmind.lower.lowering import Lowering
from magicmind.lower.native import load_kernel
from magicmind.lower.plan import Ref, Step, Storage
from magicmind.modelfile.parts import WeightStore

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
_GUARD = 256
_PATTERN = 0xA5


def run_plan(
    model: ir.Model, feeds: Mapping[str, Array], target: str = "native", nthreads: int = 1
) -> tuple[dict[str, Array], list[str]]:
    """(outputs by name, names of the kernels called). Symbols take their values from the feeds' shapes."""
    weights = WeightStore()
    plan = Lowering(model, find_target(target), weights).run()
    values = _symbol_values(model, feeds)
    memory = _Memory(model, feeds, values, b"".join(bytes(c) for c in weights.chunks()))
    scratch = np.zeros(max(evaluate(plan.scratch, values), plan.prepare.scratch) + 64, np.uint8)
    machine = find_target(target)
    for step in [*plan.prepare.steps, *plan.steps]:
        assert isinstance(step, Step), f"{step.node}: host steps need the run time"
        kernel = load_kernel(cast(Hashable, step.spec), machine)
        sizes = [evaluate(d, values) for d in step.params]
        function = kernel.function(len(step.refs), len(sizes) + (step.repeat is not None))
        pointers = [memory.address(ref) for ref in step.refs]
        work = int(scratch.ctypes.data)
        turns: list[tuple[int, ...]] = (
            [()] if step.repeat is None else [(i,) for i in range(evaluate(step.repeat, values))]
        )
        for turn in turns:
            for tid in range(nthreads):
                function(*pointers, *sizes, *turn, tid, nthreads, work + -work % 64)
        memory.check(step.spec.name)
    return memory.outputs(), [step.spec.name for step in plan.steps if isinstance(step, Step)]


def _symbol_values(model: ir.Model, feeds: Mapping[str, Array]) -> dict[str, int]:
    values: dict[str, int] = {}
    for value in model.graph.inputs:
        dims = shape_of(value)
        assert dims is not None and value.name is not None
        for dim, size in zip(dims, feeds[value.name].shape, strict=True):
            if not isinstance(dim, int):
                values[str(dim)] = size
    return values


class _Memory:
    """One guarded byte array per storage. Fresh memory holds garbage, as an arena does."""

    def __init__(self, model: ir.Model, feeds: Mapping[str, Array], values: dict[str, int], weights: bytes) -> None:
        self.model, self.values = model, values
        self.weights = _guarded(np.frombuffer(weights, np.uint8))
        self.inputs = [
            _guarded(np.ascontiguousarray(feeds[str(v.name)]).reshape(-1).view(np.uint8)) for v in model.graph.inputs
        ]
        self.others: dict[Any, Bytes] = {}

    def address(self, ref: Ref) -> int:
        offset = evaluate(ref.offset, self.values) + (ref.storage.index if ref.storage.kind == "weight" else 0)
        return int(self.bytes(ref.storage).ctypes.data) + _GUARD + offset

    def bytes(self, storage: Storage) -> Bytes:
        if storage.kind == "weight":
            return self.weights
        if storage.kind == "input":
            return self.inputs[storage.index]
        key = storage.index if storage.kind == "output" else storage
        if key not in self.others:
            self.others[key] = _guarded(np.full(evaluate(storage.bytes, self.values), 0x7B, np.uint8))
        return self.others[key]

    def check(self, what: str) -> None:
        """Raises AssertionError when a guard zone changed."""
        for data in (self.weights, *self.inputs, *self.others.values()):
            intact = (data[:_GUARD] == _PATTERN).all() and (data[-_GUARD:] == _PATTERN).all()
            assert intact, f"{what} wrote outside of its memory"

    def outputs(self) -> dict[str, Array]:
        result = {}
        for i, value in enumerate(self.model.graph.outputs):
            dims, dtype = shape_of(value), dtype_of(value)
            assert dims is not None and dtype is not None
            data = self.others[i][_GUARD:-_GUARD] if i in self.others else np.zeros(0, np.uint8)
            result[str(value.name)] = data.view(dtype.numpy()).reshape([evaluate(d, self.values) for d in dims])
        return result


def _guarded(data: Bytes) -> Bytes:
    """A copy between two zones of a pattern, 8 bytes beyond a multiple of 64 as users' memory may lie."""
    room = np.full(data.size + 2 * _GUARD + 64, _PATTERN, np.uint8)
    start = (8 - int(room.ctypes.data)) % 64
    result = room[start : start + data.size + 2 * _GUARD]
    result[_GUARD : _GUARD + data.size] = data
    return result
