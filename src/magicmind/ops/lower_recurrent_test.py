"""Recurrent layers against onnxruntime: cells, directions, lengths, states, layouts, sizes, activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magicmind.ops.recurrent import GATES
from magicmind.testing.check_lowering import check_lowering
from magicmind.testing.run_kernel import runnable_targets

TOLERANCE = 2e-5


def _inputs(kind: str, steps: int, batch: int, depth: int, hidden: int, directions: int = 1) -> list[Any]:
    rng = np.random.default_rng(hidden * 1000 + steps)

    def draw(*shape: int, scale: float = 1.0) -> Any:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    gates = GATES[kind]
    small = 1 / np.sqrt(hidden)
    return [
        draw(steps, batch, depth),
        draw(directions, gates * hidden, depth, scale=0.5),
        draw(directions, gates * hidden, hidden, scale=small),
        draw(directions, 2 * gates * hidden, scale=0.2),
        None,
        draw(directions, batch, hidden, scale=0.5),
        *([draw(directions, batch, hidden, scale=0.5)] if kind == "LSTM" else []),
    ]


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize(("direction", "directions"), [("forward", 1), ("reverse", 1), ("bidirectional", 2)])
def test_directions_and_states(kind: str, direction: str, directions: int) -> None:
    inputs = _inputs(kind, 5, 3, 7, 19, directions)
    check_lowering(
        kind, inputs, {"hidden_size": 19, "direction": direction}, outputs=len(inputs) - 4, rtol=TOLERANCE,
        targets=runnable_targets(),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_symbolic_sizes_bare_inputs_large_hidden_state(kind: str) -> None:
    inputs = _inputs(kind, 4, 8, 3, 272)[:3]
    kernels = check_lowering(
        kind, inputs, {"hidden_size": 272}, shapes={0: ["T", "N", 3]}, outputs=2, rtol=TOLERANCE, opset=14
    )
    assert kind == "RNN" or any("stepwise" in name for name in kernels)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_single_step(kind: str) -> None:
    inputs = _inputs(kind, 1, 2, 3, 18)
    check_lowering(kind, inputs, {"hidden_size": 18}, outputs=len(inputs) - 4, rtol=TOLERANCE)


@pytest.mark.parametrize("hidden", [5, 208])
def test_gru_with_linear_before_reset(hidden: int) -> None:
    inputs = _inputs("GRU", 6, 2, 4, hidden)
    check_lowering("GRU", inputs, {"hidden_size": hidden, "linear_before_reset": 1}, outputs=2, rtol=TOLERANCE)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_sequences_of_different_length(kind: str) -> None:
    inputs = _inputs(kind, 6, 3, 4, 20, 2)
    inputs[4] = np.array([6, 2, 4], np.int32)
    attributes = {"hidden_size": 20, "direction": "bidirectional"}
    check_lowering(kind, inputs, attributes, outputs=len(inputs) - 4, rtol=TOLERANCE)


def test_weights_that_arrive_at_run_time() -> None:
    inputs = _inputs("LSTM", 3, 2, 5, 18)
    shapes = {i: np.shape(x) for i, x in enumerate(inputs) if x is not None}
    check_lowering("LSTM", inputs, {"hidden_size": 18}, shapes=shapes, outputs=3, rtol=TOLERANCE)


def test_peepholes_clip_and_a_coupled_gate() -> None:
    inputs = _inputs("LSTM", 4, 2, 5, 18)
    inputs.append(np.random.default_rng(3).standard_normal((1, 54)).astype(np.float32))
    check_lowering("LSTM", inputs, {"hidden_size": 18, "clip": 0.7}, outputs=3, rtol=TOLERANCE)
    check_lowering("LSTM", inputs[:7], {"hidden_size": 18, "input_forget": 1}, outputs=3, rtol=TOLERANCE)


def test_activations_with_constants() -> None:
    inputs = _inputs("GRU", 4, 2, 5, 18, 2)
    attributes = {
        "hidden_size": 18, "direction": "bidirectional", "activations": ["HardSigmoid", "ScaledTanh", "Sigmoid", "Elu"],
        "activation_alpha": [0.3, 0.9, 0.8], "activation_beta": [0.4, 0.7],
    }  # fmt: skip
    check_lowering("GRU", inputs, attributes, outputs=2, rtol=TOLERANCE)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_batch_first_is_the_other_order_of_the_same(kind: str) -> None:
    inputs = _inputs(kind, 4, 3, 5, 18)
    turned = [np.swapaxes(x, 0, 1).copy() if i in (0, 5, 6) and x is not None else x for i, x in enumerate(inputs)]
    check_lowering(kind, turned, {"hidden_size": 18, "layout": 1}, outputs=2, rtol=TOLERANCE, oracle="onnx")
