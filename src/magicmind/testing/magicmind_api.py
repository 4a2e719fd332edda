"""Help for tests: building and running through the API in one call."""

from __future__ import annotations

from typing import Any

import numpy as np

import magicmind.python.runtime as mm

Array = np.ndarray[Any, np.dtype[Any]]


def config(*texts: str) -> mm.BuilderConfig:
    """A configuration of these JSON texts."""
    made = mm.BuilderConfig()
    for text in texts:
        status = made.parse_from_string(text)
        assert status.ok(), status
    return made


def run_model(model: mm.Model, *arrays: Any) -> list[Array]:
    """The outputs of a built model."""
    engine = model.create_i_engine()
    context = None if engine is None else engine.create_i_context()
    queue = mm.Device().create_queue()
    assert context is not None and queue is not None
    inputs, outputs = context.create_inputs(), []  # type: ignore[var-annotated]
    for tensor, array in zip(inputs, arrays, strict=True):
        status = tensor.from_numpy(array)
        assert status.ok(), status
    status = context.enqueue(inputs, outputs, queue)
    assert status.ok(), status
    assert queue.sync().ok()
    return [array for output in outputs if (array := output.asnumpy()) is not None]


def build(network: mm.Network, *texts: str) -> mm.Model:
    """The model of a network."""
    builder = mm.Builder()
    model = builder.build_model("network", network, config(*texts))
    assert model is not None, builder.status
    return model


def run(network: mm.Network, *arrays: Any, config: str = "{}") -> list[Array]:
    """The outputs of a network once it is built."""
    return run_model(build(network, config), *arrays)
