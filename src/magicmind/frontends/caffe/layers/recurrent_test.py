"""Recurrent layers against a loop over steps."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.frontends.caffe.layers.layers_test import (
    Array,
    close,
    layer_text,
    net_text,
    random_feeds,
    run,
    run_layer,
)
from magicmind.testing.caffe import RandomWeights

T, N, I, H = 4, 2, 3, 5


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def feeds_with_marks() -> dict[str, Array]:
    """The second sequence begins again at step 2."""
    marks = np.ones((T, N), np.float32)
    marks[0] = 0
    marks[2, 1] = 0
    return random_feeds({"x": (T, N, I)}) | {"cont": marks}


def lstm_steps(x: Array, marks: Array, blobs: list[Array], static: Array | None, h: Array, c: Array) -> list[Array]:
    """All h, the last h, the last c."""
    recurrence, found = blobs[-1], []
    for t in range(T):
        gates = x[t] @ blobs[0].T + blobs[1] + (h * marks[t][:, None]) @ recurrence.T
        gates = gates if static is None else gates + static @ blobs[2].T
        i, f, o, g = np.split(gates, 4, axis=1)
        c = sigmoid(f) * c * marks[t][:, None] + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        found.append(h)
    return [np.stack(found).astype(np.float32), h.astype(np.float32)[None], c.astype(np.float32)[None]]


@pytest.mark.parametrize("static", [False, True])
def test_lstm_clears_states_where_sequences_begin(static: bool) -> None:
    feeds = feeds_with_marks() | (random_feeds({"s": (N, 7)}) if static else {})
    weights = RandomWeights()
    (found,) = run_layer("LSTM", f"recurrent_param {{ num_output: {H} }}", feeds, weights=weights)
    zeros = np.zeros((N, H))
    close(found, lstm_steps(feeds["x"], feeds["cont"], weights.blobs["y"], feeds.get("s"), zeros, zeros)[0])


def test_lstm_with_its_states_outside() -> None:
    feeds = feeds_with_marks() | random_feeds({"h": (1, N, H), "c": (1, N, H)})
    feeds["cont"][0] = 1
    weights = RandomWeights()
    params = f"recurrent_param {{ num_output: {H} expose_hidden: true }}"
    found = run_layer("LSTM", params, feeds, tops=("y", "h_end", "c_end"), weights=weights)
    expected = lstm_steps(feeds["x"], feeds["cont"], weights.blobs["y"], None, feeds["h"][0], feeds["c"][0])
    for a, b in zip(found, expected, strict=True):
        close(a, b)


def test_lstm_of_one_known_sequence_is_onnx_lstm() -> None:
    marks = (
        "layer { name: 'cont' type: 'DummyData' top: 'cont' "
        f"dummy_data_param {{ shape {{ dim: {T} dim: {N} }} data_filler {{ value: 1 }} }} }}"
    )
    text = net_text(
        marks + layer_text("LSTM", f"recurrent_param {{ num_output: {H} }}", ("x", "cont")), {"x": (T, N, I)}
    )
    feeds, weights = random_feeds({"x": (T, N, I)}), RandomWeights()
    found = run(text, feeds, weights)["y"]
    zeros = np.zeros((N, H))
    close(found, lstm_steps(feeds["x"], np.ones((T, N)), weights.blobs["y"], None, zeros, zeros)[0])


def test_rnn() -> None:
    feeds, weights = feeds_with_marks(), RandomWeights()
    (found,) = run_layer("RNN", f"recurrent_param {{ num_output: {H} }}", feeds, weights=weights)
    w_x, b, w_h, w_o, b_o = weights.blobs["y"]
    h, expected = np.zeros((N, H)), []
    for t in range(T):
        h = np.tanh(feeds["x"][t] @ w_x.T + b + (h * feeds["cont"][t][:, None]) @ w_h.T)
        expected.append(np.tanh(h @ w_o.T + b_o))
    close(found, np.stack(expected).astype(np.float32))
