"""What most users hold: run a model from any thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from magicmind.runtime.context import Context
from magicmind.runtime.engine import Engine
from magicmind.tensorinfo import TensorInfo

if TYPE_CHECKING:
    from magicmind.runtime.model import Model

Array = np.ndarray[Any, np.dtype[Any]]


class Session:
    """An engine with as many contexts as calls run at the same time. May be called from many threads; picklable."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.inputs: tuple[TensorInfo, ...] = engine.model.inputs
        self.outputs: tuple[TensorInfo, ...] = engine.model.outputs
        # append and pop are atomic: no lock that a fork could leave held
        self._idle: deque[Context] = deque()

    def run(self, feeds: Mapping[str, Array], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Outputs by name: fresh arrays, or those given in `out`.

        Inputs that are contiguous are used in place. Raises ShapeError for inputs that do not fit the model.
        """
        try:
            context = self._idle.pop()
        except IndexError:
            context = self.engine.context()
        try:
            return context.run(feeds, out)
        finally:
            self._idle.append(context)

    def close(self) -> None:
        """Gives the memory of all calls back; waits for those in progress."""
        self.engine.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (self.engine.model, self.engine.threads)


def _open(model: Model, threads: int) -> Session:
    return model.session(threads=threads)
