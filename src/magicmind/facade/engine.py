"""Engines and contexts: a model at work."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from magicmind.facade.device import Queue
from magicmind.facade.dims import Dims, checked
from magicmind.facade.dumps import ContextDumpInfo, Dump
from magicmind.facade.status import Code, Refused, Status, guarded, or_none
from magicmind.facade.tensor import Array, Tensor, without_ones
from magicmind.runtime import Engine as CoreEngine
from magicmind.runtime.program import Layout
from magicmind.tensorinfo import TensorInfo

if TYPE_CHECKING:
    from magicmind.remote.models import RemoteEngine

Spec = tuple[str, np.dtype[Any], tuple[int, ...]]


def reported(info: TensorInfo) -> tuple[int, ...]:
    """The dims of an input or output, -1 where a size may change."""
    return tuple(d if isinstance(d, int) else -1 for d in info.shape)


class Engine:
    """Made by `Model.create_i_engine`."""

    def __init__(self, core: CoreEngine | RemoteEngine) -> None:
        self._core = core

    @or_none
    def query_const_data_size(self) -> int:
        """Bytes of the constants, those included that are made of them at load."""
        info = _here(self._core).model.info()
        prepared = info["prepared"] or {"bytes": 0}
        return int(info["section_bytes"]["weights"]) + int(prepared["bytes"])

    @or_none
    def query_context_max_workspace_size(self, dims: Sequence[Dims]) -> int:
        """Bytes of a context's memory for inputs of these shapes, per thread's scratch included."""
        core = _here(self._core)
        layout = _layout(core, [tuple(checked(d)) for d in dims])
        return layout.arena_bytes + core.threads * layout.scratch_bytes

    @or_none
    def create_i_context(self) -> Context:
        """A context; there may be several."""
        return Context(self._core)


class Context:
    """One run at a time. Made by `Engine.create_i_context`."""

    ContextDumpInfo = ContextDumpInfo

    def __init__(self, engine: CoreEngine | RemoteEngine) -> None:
        self._engine, self._core = engine, engine.context()
        self._inputs: list[Spec] = [(i.name, i.dtype, reported(i)) for i in engine.model.inputs]
        self._outputs: list[Spec] = [(i.name, i.dtype, reported(i)) for i in engine.model.outputs]
        self._lock = threading.Lock()
        self._dump: Dump | None = None

    @guarded
    def set_context_dump_info(self, info: Any) -> None:
        """From here on every run writes tensors as files: its outputs, those inside, or some of them."""
        self._dump = Dump(info)

    @guarded
    def infer_output_shape(self, inputs: Sequence[Tensor], outputs: list[Tensor] | tuple[Tensor, ...]) -> None:
        """Gives the outputs the shapes that they will have for these inputs; an empty list is filled.

        UNAVAILABLE where they depend on the data.
        """
        shapes = [tensor.shape for tensor in inputs]
        if len(shapes) != len(self._inputs) or any(-1 in shape for shape in shapes):
            raise Refused(f"the model has {len(self._inputs)} inputs, and their shapes have to be known: {shapes}")
        found = _layout(_here(self._engine), shapes).output_shapes
        if isinstance(outputs, list) and not outputs:
            outputs += self.create_outputs()
        if len(outputs) != len(found):
            raise Refused(f"the model has {len(found)} outputs; {len(outputs)} tensors are given")
        for tensor, shape in zip(outputs, found, strict=True):
            status = tensor.set_dimensions(Dims(shape))
            if not status.ok():
                raise Refused(status.error_message, status.code)

    @guarded
    def set_workspace(self, address: int = 0, size: int = 0) -> None:
        """Nothing: a context brings its own memory."""
        if not isinstance(address, int) or not isinstance(size, int) or min(address, size) < 0:
            raise Refused(f"a workspace is an address and bytes, not {address!r:.60} and {size!r:.60}")

    def create_input_tensors(self) -> list[Tensor]:
        """As `create_inputs`."""
        return self.create_inputs()

    def create_output_tensors(self) -> list[Tensor]:
        """As `create_outputs`, as a list."""
        return list(self.create_outputs())

    def create_inputs(self) -> list[Tensor]:
        """A tensor for every input, in order."""
        return [Tensor.of_model(*spec) for spec in self._inputs]

    def create_outputs(self, inputs: object = None, suppress_infer_shape_error: bool = True) -> tuple[Tensor, ...]:
        """A tensor for every output. No list: one program takes another, broken way when it gets one."""
        return tuple(Tensor.of_model(*spec) for spec in self._outputs)

    @guarded
    def enqueue(
        self,
        inputs: Sequence[Tensor],
        outputs: list[Tensor] | tuple[Tensor, ...],
        queue: Queue | None = None,
        input_by_tensor_order: bool = False,
    ) -> Status | None:
        """Runs the model; `outputs` then holds its results, whatever it held before.

        `inputs` stand in the order of the model's. Tensors that a program made itself, or gave an address, receive
        results in their own memory; so do those of `create_outputs`.
        """
        if not isinstance(outputs, list) and not (isinstance(outputs, tuple) and len(outputs) == len(self._outputs)):
            raise Refused(f"outputs is a list that the call fills, or what create_outputs returns, not {outputs!r:.60}")
        if queue is not None and not isinstance(queue, Queue):
            raise Refused(f"queue is what Device.create_queue returns, not {type(queue).__name__}")
        if len(inputs) != len(self._inputs):
            raise Refused(f"the model has {len(self._inputs)} inputs; {len(inputs)} are given")
        if not self._lock.acquire(blocking=False):
            return Status(
                Code.UNAVAILABLE,
                "the context is in use by another thread: create a context for each with Engine.create_i_context",
            )
        try:
            feeds = {spec[0]: _data(spec, tensor) for spec, tensor in zip(self._inputs, inputs, strict=True)}
            if self._dump is None:
                results = self._core.run(feeds)
            else:
                results = self._dump.run(self._core, feeds, [spec[0] for spec in self._outputs])
            self._deliver(results, outputs)
        finally:
            self._lock.release()
        return None

    def _deliver(self, results: dict[str, Array], outputs: list[Tensor] | tuple[Tensor, ...]) -> None:
        if isinstance(outputs, tuple):
            for tensor, (name, _, _) in zip(outputs, self._outputs, strict=True):
                tensor.take(results[name])
        else:
            self._fill(results, outputs)

    def _fill(self, results: dict[str, Array], outputs: list[Tensor]) -> None:
        old = outputs[:]
        outputs[:] = [Tensor.of_model(name, dtype, dims, results[name]) for name, dtype, dims in self._outputs]
        if not old:
            return
        for i, tensor in enumerate(old[: len(outputs)]):
            if isinstance(tensor, Tensor) and tensor.is_fixed:
                result = outputs[i].array
                assert result is not None
                tensor.take(result)
                outputs[i] = tensor


def _here(engine: CoreEngine | RemoteEngine) -> CoreEngine:
    """Raises Refused for an engine on a server."""
    if not isinstance(engine, CoreEngine):
        raise Refused("a server does not tell that", Code.UNAVAILABLE)
    return engine


def _layout(engine: CoreEngine, shapes: Sequence[tuple[int, ...]]) -> Layout:
    """The plan for shapes of the inputs.  Raises Refused where the data decide, ShapeError."""
    if engine.program.routine is not None:
        raise Refused("the sizes inside the model depend on the data", Code.UNAVAILABLE)
    if len(shapes) != len(engine.model.inputs):
        raise Refused(f"the model has {len(engine.model.inputs)} inputs; {len(shapes)} shapes are given")
    return engine.program.layout(tuple(shapes))


def _data(spec: Spec, tensor: object) -> Array:
    """The array to run on."""
    name, dtype, dims = spec
    if not isinstance(tensor, Tensor):
        raise Refused(f"input {name!r} is a {type(tensor).__name__}, not a tensor of create_inputs")
    array = tensor.array
    if array is None or not tensor.is_filled:
        why = f"from_numpy failed: {tensor.refusal}" if tensor.refusal else "call from_numpy first"
        raise Refused(f"input {name!r} holds no data: {why}", Code.FAILED_PRECONDITION)
    if array.ndim > len(dims):
        array = array.reshape(without_ones(array.shape, len(dims)))
    return array if array.dtype == dtype else array.astype(dtype)
