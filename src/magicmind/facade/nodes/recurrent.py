"""Recurrent nodes over [T, N, features]: Caffe's RNN with its output layer, and PyTorch's GRU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from magicmind.facade.enums import Layout
from magicmind.facade.nodes.row import Arguments, Call, Emitter, Row, Value, plain
from magicmind.facade.status import Code, Refused

_ACTIVATIONS = {"TANH": "Tanh", "RELU": "Relu", "SIGMOID": "Sigmoid"}


def _by_steps(e: Emitter, c: Call, value: Value) -> Value:
    """[T, N, ...], of [N, T, ...] too."""
    layout = plain(c.settings["layout"])
    first = layout[0] if isinstance(layout, list) else layout
    if first not in ("TNC", "NTC", "NONE"):
        raise Refused(f"set_layout({first}): TNC and NTC are known", Code.UNIMPLEMENTED)
    order = [1, 0, *range(2, e.rank(value))]
    return e.op("Transpose", value, perm=order) if first == "NTC" else value


def _only(c: Call, **known: Any) -> None:
    """Raises Refused for settings that no public program gives another meaning."""
    for name, value in known.items():
        given = plain(c.settings[name])
        if given not in (value, None):
            raise Refused(f"set_{name}({given}) has no public meaning; {value} is known", Code.UNIMPLEMENTED)


def _fits(e: Emitter, c: Call, x: Value, weight: Value) -> None:
    """Raises Refused for sizes that contradict the weights."""
    hidden, inputs = e.shape(weight)
    for name, found in (("input_size", inputs), ("hidden_size", hidden)):
        given = c.settings[name]
        if given is not None and isinstance(found, int) and int(given) != found:
            raise Refused(f"set_{name}({given}): the weights are for {found}")
    if isinstance(e.shape(x)[2], int) and isinstance(inputs, int) and e.shape(x)[2] != inputs:
        raise Refused(f"the input has {e.shape(x)[2]} features, the weights {inputs}")


def _state(e: Emitter, c: Call, x: Value, hidden: Any) -> Value:
    """[1, N, hidden]: the state that was given, else zeros."""
    if c["state"] is not None:
        return e.reshape(c["state"], 1, e.dim(x, 1), hidden)
    return e.op("Expand", e.scalar(0, x), e.sizes(1, e.dim(x, 1), hidden))


def _rnn(e: Emitter, c: Call) -> Any:
    """h = act(W_h h + W_x x + b), and with an output layer o = act(W_o h + b_o). Weights: W_x [H, I], W_h [H, H],
    W_o [O, H]; biases b, b_o. Where the mask [T, N] is 0 a sequence begins: the state before it counts as zero.
    With a first state there is the last state as a second result."""
    _only(c, bidirectional=False, skip_input=False, num_layers=1, expose_hidden=c["state"] is not None)
    with_output = plain(c.settings["output_mode"]) == "HAS_OUT_LAYER"
    biased = plain(c.settings["bias_mode"]) != "NO_BIAS"
    weights, biases = c["weights"], c["biases"] or []
    if len(weights) != 2 + with_output or (biased and len(biases) != 1 + with_output):
        raise Refused(f"rnn: {len(weights)} weights and {len(biases)} biases do not fit its output and bias modes")
    word = plain(c.settings["active_mode"])
    if word not in _ACTIVATIONS:
        raise Refused(f"set_active_mode({word}): known are {', '.join(_ACTIVATIONS)}")
    x = _by_steps(e, c, c["input"])
    _fits(e, c, x, weights[0])
    start = _state(e, c, x, e.shape(weights[0])[0])
    masked = c["mask"] is not None and c.settings["has_mask"] is not False
    mask = _by_steps(e, c, c["mask"]) if masked else None
    last, every = (_plain if mask is None else _masked)(e, x, mask, start, weights, biases[:1] if biased else [], word)
    if with_output:
        every = e.op("MatMul", every, e.op("Transpose", weights[2], perm=[1, 0]))
        every = e.op(_ACTIVATIONS[word], e.op("Add", every, biases[1]) if biased else every)
    return [_by_steps(e, c, every), last][: _with_state(c.arguments)]


Values = Sequence["Value"]


def _plain(e: Any, x: Value, _: Value | None, start: Value, weights: Values, bias: Values, word: str) -> Values:
    """(the last state [1, N, H], the states of all steps [T, N, H]): one layer of ONNX."""
    w, r = (e.unsqueeze(v, 0) for v in weights[:2])
    both = None
    if bias:
        both = e.unsqueeze(e.op("Concat", bias[0], e.op("Sub", bias[0], bias[0]), axis=0), 0)
    hidden = e.shape(weights[1])[0]
    every, last = e.ops(
        "RNN", x, w, r, both, None, start, count=2, hidden_size=hidden, activations=[_ACTIVATIONS[word]]
    )  # fmt: skip
    return [last, e.squeeze(every, 1)]


def _masked(e: Any, x: Value, mask: Value | None, start: Value, weights: Values, bias: Values, word: str) -> Values:
    """As `_plain`, a step at a time: what the mask ends is multiplied away."""
    added = e.op("MatMul", x, e.op("Transpose", weights[0], perm=[1, 0]))
    added = e.op("Add", added, bias[0]) if bias else added
    marks = e.cast_like(e.unsqueeze(mask, 2), x)
    first = e.squeeze(start, 0)
    body = e.nested()
    body.scope = f"{e.scope}/step"
    state = body.input(e.type(first))
    mark, now = (body.input(replace(e.type(v), shape=e.shape(v)[1:])) for v in (marks, added))
    total = body.op("MatMul", body.op("Mul", state, mark), body.op("Transpose", weights[1], perm=[1, 0]))
    after = body.op(_ACTIVATIONS[word], body.op("Add", total, now))
    graph = body.graph(body.scope, [state, mark, now], [after, body.op("Identity", after)])
    last, every = e.ops("Scan", first, marks, added, count=2, body=graph, num_scan_inputs=2)
    return [e.unsqueeze(last, 0), every]


def _gru(e: Emitter, c: Call) -> Any:
    """PyTorch's, layer upon layer. Of each layer six weights, of the input (reset, update, new) then of the state
    likewise, and as many biases or none. Results: all states, and the last one of every layer."""
    _only(c, direction="FORWARD", filter_order=None, gru_algo=None)
    layers, weights, biases = c.setting("num_layers", int), c["weights"], c["biases"] or []
    if len(weights) != 6 * layers or len(biases) not in (0, 6 * layers):
        raise Refused(f"gru: {len(weights)} weights and {len(biases)} biases for {layers} layers; six of each are one")
    x, last = _by_steps(e, c, c["input"]), []
    _fits(e, c, x, weights[0])
    hidden = e.dim(weights[0], 0)
    for k in range(layers):
        w = [_in_onnx_order(e, weights[6 * k + i : 6 * k + i + 3]) for i in (0, 3)]
        b = None
        if biases:
            b = e.op("Concat", *(_in_onnx_order(e, biases[6 * k + i : 6 * k + i + 3]) for i in (0, 3)), axis=1)
        start = None if c["state"] is None else e.slice(e.reshape(c["state"], layers, e.dim(x, 1), hidden), 0, k, k + 1)
        every, final = e.ops(
            "GRU", x, *w, b, None, start, count=2, hidden_size=e.shape(weights[0])[0], linear_before_reset=1
        )
        x = e.squeeze(every, 1)
        last.append(final)
    return [_by_steps(e, c, x), last[0] if layers == 1 else e.op("Concat", *last, axis=0)]


def _in_onnx_order(e: Emitter, parts: Sequence[Value]) -> Value:
    """(reset, update, new) as (update, reset, new), with a leading axis."""
    return e.unsqueeze(e.op("Concat", parts[1], parts[0], parts[2], axis=0), 0)


def _with_state(arguments: Arguments) -> int:
    return 1 if arguments["state"] is None else 2


_RNN = {
    "has_mask": None, "skip_input": False, "bidirectional": False, "bias_mode": "NO_BIAS", "num_layers": 1,
    "input_size": None, "hidden_size": None, "expose_hidden": None, "output_mode": "NO_OUT_LAYER",
    "active_mode": "TANH", "layout": Layout.TNC,
}  # fmt: skip
_GRU = {
    "direction": None, "filter_order": None, "gru_algo": None, "num_layers": 1, "input_size": None,
    "hidden_size": None, "layout": Layout.TNC,
}  # fmt: skip

ROWS: Sequence[Row] = (
    Row("rnn", "input mask? state? weights* biases*?", _rnn, _RNN, results=_with_state),
    Row("gru", "input state? weights* biases*?", _gru, _GRU, results=2),
)
