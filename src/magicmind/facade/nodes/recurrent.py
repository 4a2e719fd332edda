"""Recurrent nodes over [T, N, features]: Caffe's RNN with its output layer, and PyTorch's GRU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

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


def _states(e: Emitter, c: Call, x: Value, hidden: Any, count: int) -> list[Value]:
    """[1, N, hidden] for every layer and direction: parts of the state that was given, else zeros."""
    if c["state"] is None:
        return [e.op("Expand", e.scalar(0, x), e.sizes(1, e.dim(x, 1), hidden))] * count
    state = e.reshape(c["state"], count, e.dim(x, 1), hidden)
    return [e.slice(state, 0, i, i + 1) for i in range(count)]


def _joined(e: Emitter, values: Sequence[Value], axis: int) -> Value:
    return values[0] if len(values) == 1 else e.op("Concat", *values, axis=axis)


_BIASES = {"NO_BIAS": 0, "SINGLE_INP_BIAS": 1, "DOUBLE_BIAS": 2}


def _rnn(e: Emitter, c: Call) -> Any:
    """h = act(W_h h + W_x x + b), layer upon layer; both directions are laid side by side.

    Weights: of every layer, and in it of every direction, W_x [H, I] and W_h [H, H]; last W_o [O, H or 2 H] of an
    output layer o = act(W_o h + b_o). Biases likewise, one (b) or two (b_x, b_h), then b_o. Where the mask [T, N] is 0
    a sequence begins: the state before it counts as zero. With a first state [layers * directions, N, H] there are the
    last states as a second result.
    """
    _only(c, skip_input=False, expose_hidden=c["state"] is not None)
    layers, ways = c.setting("num_layers", int), 1 + c.setting("bidirectional", bool)
    with_output = plain(c.settings["output_mode"]) == "HAS_OUT_LAYER"
    mode, word = plain(c.settings["bias_mode"]), plain(c.settings["active_mode"])
    if word not in _ACTIVATIONS:
        raise Refused(f"set_active_mode({word}): known are {', '.join(_ACTIVATIONS)}")
    if mode not in _BIASES:
        raise Refused(f"set_bias_mode({mode}): known are {', '.join(_BIASES)}")
    per, weights, biases = _BIASES[mode], c["weights"], c["biases"] or []
    count = layers * ways
    if count < 1 or len(weights) != 2 * count + with_output or (per and len(biases) != per * count + with_output):
        raise Refused(
            f"rnn: {len(weights)} weights and {len(biases)} biases do not fit {layers} layers in {ways} directions, "
            "its output and bias modes"
        )
    x = _by_steps(e, c, c["input"])
    _fits(e, c, x, weights[0])
    starts = _states(e, c, x, e.shape(weights[0])[0], count)
    masked = c["mask"] is not None and c.settings["has_mask"] is not False
    mask = _by_steps(e, c, c["mask"]) if masked else None
    last = []
    for layer in range(layers):
        both = []
        for i in range(layer * ways, (layer + 1) * ways):
            run = _Run(weights[2 * i], weights[2 * i + 1], biases[per * i : per * (i + 1)], word, i % ways == 1)
            final, every = run.plain(e, x, starts[i]) if mask is None else run.masked(e, x, mask, starts[i])
            last.append(final)
            both.append(every)
        x = _joined(e, both, 2)
    if with_output:
        x = e.op("MatMul", x, e.op("Transpose", weights[-1], perm=[1, 0]))
        x = e.op(_ACTIVATIONS[word], e.op("Add", x, biases[-1]) if per else x)
    return [_by_steps(e, c, x), _joined(e, last, 0)][: _with_state(c.arguments)]


@dataclass(frozen=True)
class _Run:
    """One direction of one layer; both ways give the last state [1, N, H] and the states of all steps [T, N, H]."""

    weight: Value
    recurrent: Value
    biases: Sequence[Value]
    word: str
    backward: bool

    def plain(self, e: Any, x: Value, start: Value) -> tuple[Value, Value]:
        """One layer of ONNX."""
        biases = None
        if self.biases:
            second = self.biases[1] if len(self.biases) > 1 else e.op("Sub", self.biases[0], self.biases[0])
            biases = e.unsqueeze(e.op("Concat", self.biases[0], second, axis=0), 0)
        every, last = e.ops(
            "RNN", x, e.unsqueeze(self.weight, 0), e.unsqueeze(self.recurrent, 0), biases, None, start, count=2,
            hidden_size=e.shape(self.recurrent)[0], activations=[_ACTIVATIONS[self.word]],
            direction="reverse" if self.backward else "forward",
        )  # fmt: skip
        return last, e.squeeze(every, 1)

    def masked(self, e: Any, x: Value, mask: Value, start: Value) -> tuple[Value, Value]:
        """A step at a time, the state times the mask. Backwards a sequence begins where the next one does forwards."""
        if self.backward:
            ones = e.op("Expand", e.scalar(1, mask), e.sizes(1, e.dim(mask, 1)))
            later = e.op("Slice", mask, e.ints(1), e.ints(np.iinfo(np.int64).max), e.ints(0))
            x, mask = _turned(e, x), _turned(e, e.op("Concat", later, ones, axis=0))
        added = e.op("MatMul", x, e.op("Transpose", self.weight, perm=[1, 0]))
        for bias in self.biases:
            added = e.op("Add", added, bias)
        last, every = self._scanned(e, e.cast_like(e.unsqueeze(mask, 2), x), added, e.squeeze(start, 0))
        return e.unsqueeze(last, 0), _turned(e, every) if self.backward else every

    def _scanned(self, e: Any, marks: Value, added: Value, start: Value) -> Any:
        body = e.nested()
        body.scope = f"{e.scope}/step"
        state = body.input(e.type(start))
        mark, now = (body.input(replace(e.type(v), shape=e.shape(v)[1:])) for v in (marks, added))
        total = body.op("MatMul", body.op("Mul", state, mark), body.op("Transpose", self.recurrent, perm=[1, 0]))
        after = body.op(_ACTIVATIONS[self.word], body.op("Add", total, now))
        graph = body.graph(body.scope, [state, mark, now], [after, body.op("Identity", after)])
        return e.ops("Scan", start, marks, added, count=2, body=graph, num_scan_inputs=2)


def _turned(e: Emitter, value: Value) -> Value:
    """From the last step to the first."""
    return e.op("Slice", value, e.ints(-1), e.ints(1 - np.iinfo(np.int64).max), e.ints(0), e.ints(-1))


_DIRECTIONS = {
    "FORWARD": ("forward",), "BACKWARD": ("reverse",), "REVERSE": ("reverse",),
    "BIDIRECTIONAL": ("forward", "reverse"),
}  # fmt: skip


def _gru(e: Emitter, c: Call) -> Any:
    """PyTorch's, layer upon layer. Of every layer, and in it of every direction, six weights, of the input (reset,
    update, new) then of the state likewise, and as many biases or none. Results: all states, both directions side by
    side, and the last ones [layers * directions, N, H]."""
    _only(c, filter_order=None, gru_algo=None)
    word = str(plain(c.settings["direction"] or "FORWARD")).upper()
    if word not in _DIRECTIONS:
        raise Refused(f"set_direction({word}): known are {', '.join(_DIRECTIONS)}")
    layers, ways, weights, biases = c.setting("num_layers", int), _DIRECTIONS[word], c["weights"], c["biases"] or []
    count = layers * len(ways)
    if count < 1 or len(weights) != 6 * count or len(biases) not in (0, 6 * count):
        raise Refused(
            f"gru: {len(weights)} weights and {len(biases)} biases for {layers} layers {word}; each has six of both"
        )
    x, last = _by_steps(e, c, c["input"]), []
    _fits(e, c, x, weights[0])
    starts: Sequence[Value | None] = [None] * count
    if c["state"] is not None:
        starts = _states(e, c, x, e.shape(weights[0])[0], count)
    for layer in range(layers):
        both = []
        for i, way in enumerate(ways, layer * len(ways)):
            w = [_in_onnx_order(e, weights[6 * i + k : 6 * i + k + 3]) for k in (0, 3)]
            b = None
            if biases:
                b = e.op("Concat", *(_in_onnx_order(e, biases[6 * i + k : 6 * i + k + 3]) for k in (0, 3)), axis=1)
            every, final = e.ops(
                "GRU", x, *w, b, None, starts[i], count=2, hidden_size=e.shape(weights[0])[0], linear_before_reset=1,
                direction=way,
            )  # fmt: skip
            both.append(e.squeeze(every, 1))
            last.append(final)
        x = _joined(e, both, 2)
    return [_by_steps(e, c, x), _joined(e, last, 0)]


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
