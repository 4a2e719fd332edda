"""A context for plans with host steps: the checks of `Context`, the call by a `Frame`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from magicmind.dtypes import numpy_dtype
from magicmind.errors import ShapeError
from magicmind.runtime import feeds as checks
from magicmind.runtime.context import Context
from magicmind.runtime.frame import Frame
from magicmind.runtime.interruptible import INTERRUPTIBLE_NS, call_interruptibly
from magicmind.runtime.program import Layout, Program
from magicmind.runtime.watched import Watch

if TYPE_CHECKING:
    from magicmind.runtime.engine import Engine

Array = np.ndarray[Any, np.dtype[Any]]


class HostContext(Context):
    """As `Context`. Outputs whose size only the data tells are made anew and copied into `out`."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        program: Program = engine.program
        assert program.routine is not None
        self._routine = program.routine
        self._frame = Frame(self._routine, self._threads, self._native)

    def profile(self, feeds: Mapping[str, Array]) -> tuple[dict[str, Array], list[int]]:
        """As `Context.profile`; a host step counts what it calls."""
        with self._lock:
            self._check_open()
            outputs = self._outputs_of(feeds, None, lambda arrays: self._frame.run(arrays, {}, profile=True))
            return outputs, self._frame.stamps()

    def _run(self, feeds: Mapping[str, Array], out: Mapping[str, Array] | None) -> dict[str, Array]:
        self._check_open()
        return self._outputs_of(feeds, out, lambda arrays: self._frame.run(arrays, {}))

    def _watched(self, feeds: Mapping[str, Array], watch: Watch) -> dict[str, Array]:
        return self._outputs_of(feeds, None, lambda arrays: self._frame.watched(arrays, watch))

    def _outputs_of(
        self, feeds: Mapping[str, Array], out: Mapping[str, Array] | None, run: Callable[[list[Any]], list[Any]]
    ) -> dict[str, Array]:
        checks.check_named(feeds)
        arrays = [_accepted(spec, feeds) for spec in self._routine.inputs]
        if len(feeds) != len(arrays):
            checks.refuse_unknown(feeds, [spec["name"] for spec in self._routine.inputs])
        results = run(arrays)
        self._layout = self._described(arrays)
        names = [name for name, _ in self._program.outputs]
        if out is None:
            return dict(zip(names, results, strict=True))
        _, targets = checks.outputs(self._program.outputs, [np.shape(result) for result in results], out, [])
        for target, result in zip(targets, results, strict=True):
            target[...] = result
        return dict(zip(names, targets, strict=True))

    def _described(self, arrays: list[Any]) -> Layout:
        count = len(self._program.steps)
        return Layout(
            shapes=tuple(np.shape(array) for array in arrays if isinstance(array, np.ndarray)),
            dims=(),
            input_slots=(),
            output_slots=(),
            arena_slots=(),
            output_shapes=(),
            arena_bytes=0,
            scratch_bytes=0,
            step_flops=tuple(self._frame.flops.get(i, 0) for i in range(count)),
            step_bytes=tuple(self._frame.bytes.get(i, 0) for i in range(count)),
        )

    def _native(self, call: Callable[[], object], last_ns: int) -> None:
        long = last_ns < 0 or last_ns > INTERRUPTIBLE_NS
        if long and threading.current_thread() is threading.main_thread():
            call_interruptibly(call, self._frame.stop)
        else:
            call()

    def close(self) -> None:
        """As `Context.close`."""
        already = self._closed
        super().close()
        if not already:
            self._frame.close()


def _accepted(spec: Mapping[str, Any], feeds: Mapping[str, Any]) -> Any:
    """An input as the plan wants it. Raises ShapeError."""
    name = spec["name"]
    if "object" not in spec:
        return checks.accept(name, numpy_dtype(spec["dtype"]), feeds)
    if name not in feeds:
        raise ShapeError(f"input {name!r} is missing; given: {sorted(feeds) or 'nothing'}")
    return feeds[name] if spec["shape"] is None else np.asarray(feeds[name], numpy_dtype(spec["dtype"]))
