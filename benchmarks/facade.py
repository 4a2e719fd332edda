"""What one inference through the MagicMind-compatible API costs beyond our own session: microseconds per call.

    python benchmarks/facade.py [--calls 3000] [--rounds 7]

A call is what a runner class does for every batch: from_numpy and to for each input, enqueue into a fresh list, sync,
and asnumpy of each output. Both ways run the same small model in alternating rounds; the figure is the difference of the
fastest rounds. Copying an input into its tensor is part of it, so the model's input is small; the copy's own speed is
printed beside it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import magicmind.python.runtime as mm

LIMIT_US = 30.0


def small_model() -> mm.Model:
    """One input, one output, hardly any work."""
    network = mm.Network()
    x = network.add_input(mm.DataType.FLOAT32, mm.Dims([1, 16]))
    network.mark_output(network.add_i_elementwise_node(x, x, mm.enums.IElementwise.ADD))
    config = mm.BuilderConfig()
    config.parse_from_string('{"graph_shape_mutable": false}')
    model = mm.Builder().build_model("small", network, config)
    assert model is not None
    return model


def through_api(model: mm.Model, array: np.ndarray[Any, Any]) -> Callable[[], object]:
    """One call as programs make it."""
    device = mm.Device()
    engine: Any = model.create_i_engine()
    context: Any = engine.create_i_context()
    queue: Any = device.create_queue()
    inputs = context.create_inputs()

    def call() -> object:
        for tensor in inputs:
            assert tensor.from_numpy(array).ok()
            tensor.to(device)
        outputs: list[Any] = []
        assert context.enqueue(inputs, outputs, queue).ok()
        assert queue.sync().ok()
        return [output.asnumpy() for output in outputs]

    return call


def through_session(model: mm.Model, array: np.ndarray[Any, Any]) -> Callable[[], object]:
    """The same through our own API."""
    session = model.core.session()
    (name,) = model.get_input_names()
    return lambda: session.run({name: array})


def microseconds(call: Callable[[], object], calls: int) -> float:
    """Per call."""
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begin) / calls * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="for machines")
    arguments = parser.parse_args()
    model, array = small_model(), np.ones((1, 16), np.float32)
    ways = {"session": through_session(model, array), "API": through_api(model, array)}
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(arguments.rounds):
        for name, call in ways.items():
            best[name] = min(best[name], microseconds(call, arguments.calls))
    overhead = best["API"] - best["session"]
    tensor, image = mm.Tensor(shape=(1, 3, 224, 224)), np.ones((1, 3, 224, 224), np.float32)
    copy = min(microseconds(lambda: tensor.from_numpy(image), 50) for _ in range(arguments.rounds))
    if arguments.json:
        print(json.dumps({**best, "overhead": overhead, "limit": LIMIT_US, "copy_of_602_kB": copy}))
        return
    print(
        f"session {best['session']:.1f} us, API {best['API']:.1f} us: overhead {overhead:.1f} us (limit {LIMIT_US:g})"
    )
    print(f"copying an input of 1x3x224x224 float32: {copy:.1f} us")


if __name__ == "__main__":
    main()
