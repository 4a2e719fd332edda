"""What one inference through the MagicMind-compatible API costs beyond our own session: microseconds per call.

    python benchmarks/facade.py [--calls 200] [--rounds 50]

A call is what a runner class does for every batch: from_numpy and to for each input, enqueue into a fresh list, sync,
and asnumpy of each output. Both ways run the same small model in alternating short rounds, every call is timed, and the
figure is the difference of the medians; that of the fastest calls is printed beside it. Copying an input into its
tensor is part of it, so the model's input is small; the copy's own speed is printed too.
"""

from __future__ import annotations

import argparse
import json
import statistics
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


def microseconds(call: Callable[[], object], calls: int) -> list[float]:
    """Of every call."""
    found = []
    for _ in range(calls):
        begin = time.perf_counter_ns()
        call()
        found.append((time.perf_counter_ns() - begin) / 1e3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=200, help="per round")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", action="store_true", help="for machines")
    arguments = parser.parse_args()
    model, array = small_model(), np.ones((1, 16), np.float32)
    ways = {"session": through_session(model, array), "API": through_api(model, array)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, call in ways.items():
            times[name] += microseconds(call, arguments.calls)
    median = {name: statistics.median(found) for name, found in times.items()}
    overhead = median["API"] - median["session"]
    fastest = min(times["API"]) - min(times["session"])
    tensor, image = mm.Tensor(shape=(1, 3, 224, 224)), np.ones((1, 3, 224, 224), np.float32)
    copy = statistics.median(microseconds(lambda: tensor.from_numpy(image), arguments.calls))
    if arguments.json:
        print(json.dumps({**median, "overhead": overhead, "fastest": fastest, "limit": LIMIT_US, "copy": copy}))
        return
    print(f"medians: session {median['session']:.1f} us, API {median['API']:.1f} us")
    print(f"overhead {overhead:.1f} us (limit {LIMIT_US:g}), of the fastest calls {fastest:.1f} us")
    print(f"copying an input of 1x3x224x224 float32: {copy:.1f} us")


if __name__ == "__main__":
    main()
