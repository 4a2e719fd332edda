"""LSTM, GRU and RNN: whole layers and single cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ops.emitter import Value

# PyTorch's order of the gates in a weight, as ONNX's order wants them: LSTM i f g o -> i o f c, GRU r z n -> z r h.
_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


def _ordered(c: Converter, weight: Tensor, kind: str) -> Value:
    """A weight or bias [gates * H, ...] with its gates in ONNX's order."""
    order = _GATES[kind]
    value = c.value(weight)
    if len(order) == 1:
        return value
    parts = c.net.ops("Split", value, count=len(order), axis=0, num_outputs=len(order))
    return c.net.op("Concat", *(parts[i] for i in order), axis=0)


class _Layer:
    """One layer of a recurrent network: its weights for each direction."""

    def __init__(self, c: Converter, kind: str, weights: Sequence[Sequence[Tensor]]) -> None:
        self.c, self.kind = c, kind
        self.w = self._stacked([_ordered(c, direction[0], kind) for direction in weights])
        self.r = self._stacked([_ordered(c, direction[1], kind) for direction in weights])
        self.b = None
        if len(weights[0]) > 2:
            pairs = [[_ordered(c, bias, kind) for bias in direction[2:]] for direction in weights]
            self.b = self._stacked([c.net.op("Concat", *pair, axis=0) for pair in pairs])
        self.hidden = int(c.net.shape(self.r)[-1])  # type: ignore[arg-type]
        self.directions = len(weights)

    def _stacked(self, parts: Sequence[Value]) -> Value:
        return self.c.net.op("Concat", *(self.c.net.unsqueeze(p, 0) for p in parts), axis=0)

    def run(self, x: Value, states: Sequence[Value], activation: str) -> tuple[Value, list[Value]]:
        """x [T, N, C] and states [D, N, H] -> (y [T, N, D * H], last states)."""
        net = self.c.net
        attributes: dict[str, Any] = {
            "hidden_size": self.hidden, "direction": "bidirectional" if self.directions == 2 else "forward",
        }  # fmt: skip
        if self.kind == "GRU":
            attributes["linear_before_reset"] = 1
        if self.kind == "RNN":
            attributes["activations"] = [activation] * self.directions
        y, *last = net.ops(self.kind, x, self.w, self.r, self.b, None, *states, count=1 + len(states), **attributes)
        joined = net.op("Transpose", y, perm=[0, 2, 1, 3])
        return net.op("Reshape", joined, net.ints(0, 0, self.directions * self.hidden)), list(last)


def _run(
    c: Converter,
    kind: str,
    x: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    has_biases: bool,
    layers: int,
    train_dropout: bool,
    bidirectional: bool,
    batch_first: bool,
    activation: str = "Tanh",
) -> tuple[Value, ...]:
    """All layers; `weights` lie layer by layer, direction by direction: w_ih, w_hh, b_ih, b_hh."""
    if train_dropout:
        raise UnsupportedOperatorError(f"{kind} with dropout in training mode", hint="call eval() on the module")
    net, directions, each = c.net, 2 if bidirectional else 1, 4 if has_biases else 2
    if len(weights) != layers * directions * each:
        raise UnsupportedOperatorError(f"{kind} with projections")
    single = c.rank(x) == 2
    value = net.unsqueeze(c.value(x), 0 if batch_first else 1) if single else c.value(x)
    value = net.op("Transpose", value, perm=[1, 0, 2]) if batch_first else value
    start = [net.unsqueeze(c.value(s), 1) if single else c.value(s) for s in states]
    finals: list[list[Value]] = [[] for _ in states]
    for layer in range(layers):
        first = layer * directions * each
        mine = [weights[first + d * each : first + (d + 1) * each] for d in range(directions)]
        begin, end = layer * directions, (layer + 1) * directions
        cut = [s if layers == 1 else net.slice(s, 0, begin, end) for s in start]
        value, last = _Layer(c, kind, mine).run(value, cut, activation)
        for found, state in zip(finals, last, strict=True):
            found.append(state)
    value = net.op("Transpose", value, perm=[1, 0, 2]) if batch_first else value
    value = net.squeeze(value, 0 if batch_first else 1) if single else value
    left = [f[0] if layers == 1 else net.op("Concat", *f, axis=0) for f in finals]
    return value, *(net.squeeze(s, 1) if single else s for s in left)


def _packed(args: Sequence[Any]) -> bool:
    """Whether the call is the one on packed sequences, whose second argument is a tensor of batch sizes."""
    return isinstance(args[1], Tensor) and isinstance(args[3], (list, tuple))


@aten("lstm")
def lstm(c: Converter, *args: Any) -> Any:
    if isinstance(args[1], Tensor):
        raise UnsupportedOperatorError("an LSTM over packed sequences")
    x, states, weights, biases, layers, dropout, train, bidirectional, batch_first = args
    return _run(c, "LSTM", x, states, weights, biases, layers, train and dropout > 0, bidirectional, batch_first)


def _one_state(kind: str, activation: str = "Tanh") -> Any:
    def importer(c: Converter, *args: Any) -> Any:
        if _packed(args):
            raise UnsupportedOperatorError(f"a {kind} over packed sequences")
        x, state, weights, biases, layers, dropout, train, bidirectional, batch_first = args
        trained = train and dropout > 0
        return _run(c, kind, x, [state], weights, biases, layers, trained, bidirectional, batch_first, activation)

    return importer


aten("gru")(_one_state("GRU"))
aten("rnn_tanh")(_one_state("RNN"))
aten("rnn_relu")(_one_state("RNN", "Relu"))


def _cell(c: Converter, kind: str, x: Tensor, states: Sequence[Tensor], weights: Sequence[Any], activation: str) -> Any:
    """One step: x [N, C], states [N, H]."""
    given = [w for w in weights if w is not None]
    single = c.rank(x) == 1
    axes = (0, 1) if single else (0,)
    value = c.net.unsqueeze(c.value(x), *axes)
    start = [c.net.unsqueeze(c.value(s), *axes) for s in states]
    _, last = _Layer(c, kind, [given]).run(value, start, activation)
    return tuple(c.net.squeeze(s, *axes) for s in last)


@aten("lstm_cell")
def lstm_cell(c: Converter, x: Tensor, states: Sequence[Tensor], *weights: Any) -> Any:
    return _cell(c, "LSTM", x, states, weights, "Tanh")


@aten("gru_cell")
def gru_cell(c: Converter, x: Tensor, state: Tensor, *weights: Any) -> Any:
    return _cell(c, "GRU", x, [state], weights, "Tanh")[0]


@aten("rnn_tanh_cell")
def rnn_tanh_cell(c: Converter, x: Tensor, state: Tensor, *weights: Any) -> Any:
    return _cell(c, "RNN", x, [state], weights, "Tanh")[0]


@aten("rnn_relu_cell")
def rnn_relu_cell(c: Converter, x: Tensor, state: Tensor, *weights: Any) -> Any:
    return _cell(c, "RNN", x, [state], weights, "Relu")[0]
