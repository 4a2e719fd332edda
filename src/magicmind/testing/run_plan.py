"""Lowers a small graph and runs its kernel calls one by one on numpy memory: for tests of lowerings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from magicmind.codegen.target import find_target
from magicmind.ir.dims import evaluate
from magicmind.ir.types import dtype_of, shape_of
from magicmind.lower.lowering import Lowering
from magicmind.lower.plan import Ref, Storage
from magicmind.modelfile.parts import WeightStore
from magicmind.testing.run_kernel import run_kernel

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


def run_plan(
    model: ir.Model, feeds: Mapping[str, Array], target: str = "native", nthreads: int = 1
) -> tuple[dict[str, Array], list[str]]:
    """(outputs by name, names of the kernels called). Symbols take their values from the feeds' shapes."""
    weights = WeightStore()
    plan = Lowering(model, find_target(target), weights).run()
    values = _symbol_values(model, feeds)
    memory = _Memory(model, feeds, values, b"".join(bytes(c) for c in weights.chunks()))
    for step in plan.steps:
        arrays: dict[Ref, Bytes] = {ref: memory.view(ref) for ref in step.refs}
        params = [evaluate(d, values) for d in step.params]
        copies = {ref: array.copy() for ref, array in arrays.items()}
        run_kernel(step.spec, [copies[r] for r in step.refs], params, target, nthreads, evaluate(plan.scratch, values))
        for ref in step.writes:
            arrays[ref][...] = copies[ref]
    return memory.outputs(), [step.spec.name for step in plan.steps]


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
    """One byte array per storage. Fresh memory holds garbage, as an arena does."""

    def __init__(self, model: ir.Model, feeds: Mapping[str, Array], values: dict[str, int], weights: bytes) -> None:
        self.model, self.values = model, values
        self.weights = np.frombuffer(weights, np.uint8).copy()
        self.inputs = [np.ascontiguousarray(feeds[str(v.name)]).reshape(-1).view(np.uint8) for v in model.graph.inputs]
        self.others: dict[Any, Bytes] = {}

    def view(self, ref: Ref) -> Bytes:
        return self.bytes(ref.storage)[evaluate(ref.offset, self.values) :]

    def bytes(self, storage: Storage) -> Bytes:
        if storage.kind == "weight":
            return self.weights[storage.index :]
        if storage.kind == "input":
            return self.inputs[storage.index]
        key = storage.index if storage.kind == "output" else storage
        if key not in self.others:
            self.others[key] = np.full(evaluate(storage.bytes, self.values), 0x7B, np.uint8)
        return self.others[key]

    def outputs(self) -> dict[str, Array]:
        result = {}
        for i, value in enumerate(self.model.graph.outputs):
            dims, dtype = shape_of(value), dtype_of(value)
            assert dims is not None and dtype is not None
            data = self.others.get(i, np.zeros(0, np.uint8))
            result[str(value.name)] = data.view(dtype.numpy()).reshape([evaluate(d, self.values) for d in dims])
        return result
