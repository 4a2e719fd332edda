"""Recurrent, RNN and LSTM over [T, N, ...], with a second bottom [T, N] that is 0 where a sequence begins.

Caffe unrolls these in time and keeps the last state for the next call; here every call begins with a state of zeros.
Where the second bottom is known to be 1 from the second step on, an LSTM is ONNX's LSTM; else a Scan over steps. What
the inputs add to the gates is one matrix product over all steps in either case.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from magicmind.frontends.caffe.layer import Layer, importer
from magicmind.frontends.network import Network
from magicmind.ir.dims import product
from magicmind.ir.types import TensorType, const_of
from magicmind.ops.emitter import Value


@importer("LSTM")
def lstm(layer: Layer) -> list[Value]:
    """A loop over compiled steps, or ONNX's LSTM where no sequence begins in between.

    Gates in the order input, forget, output, candidate.  Blobs: W_x, b, W_static if there is a static input, W_h.
    """
    hidden = layer.message.recurrent_param.num_output
    static = _static(layer)
    weights, bias = layer.blob(0, (4 * hidden, _width(layer, layer.x)), "input weights"), _bias(layer, 1, 4 * hidden)
    recurrence = layer.blob(3 if static else 2, (4 * hidden, hidden), "hidden weights")
    if static is None and not layer.message.recurrent_param.expose_hidden and _runs_on(layer.bottom(1)):
        return [_as_onnx(layer, weights, bias, recurrence)]
    gates = _projected(layer, weights, bias, static, 4 * hidden)
    states = _initial(layer, 2, hidden)
    body = _lstm_body(layer, recurrence, hidden)
    outputs = _scan(layer, body, states, gates)
    last_h, last_c, all_h = outputs
    return [all_h, *(layer.net.unsqueeze(last, 0) for last in (last_h, last_c))][: layer.tops]


@importer("RNN", "Recurrent")
def rnn(layer: Layer) -> list[Value]:
    """A loop over compiled steps: h = tanh(W_h h + W_x x + b), o = tanh(W_o h + b_o).

    Blobs: W_x, b, W_static if given, W_h, W_o, b_o.
    """
    hidden = layer.message.recurrent_param.num_output
    static = _static(layer)
    first = 3 if static else 2
    weights, bias = layer.blob(0, (hidden, _width(layer, layer.x)), "input weights"), _bias(layer, 1, hidden)
    recurrence = layer.blob(first, (hidden, hidden), "hidden weights")
    inputs = _projected(layer, weights, bias, static, hidden)
    last, states = _scan(layer, _rnn_body(layer, recurrence, hidden), _initial(layer, 1, hidden), inputs)
    net = layer.net
    matrix = net.const(np.ascontiguousarray(layer.blob(first + 1, (hidden, hidden), "output weights").T))
    out = net.op("Add", net.op("MatMul", states, matrix), net.const(_bias(layer, first + 2, hidden)))
    return [net.op("Tanh", out), net.unsqueeze(last, 0)][: layer.tops]


def _bias(layer: Layer, index: int, size: int) -> np.ndarray:
    return layer.blob(index, (size,), "bias")


def _width(layer: Layer, x: Value, first: int = 2) -> int:
    """The number of features: all axes behind time and batch."""
    return layer.fixed(product(layer.net.shape(x)[first:]), "the number of features")


def _static(layer: Layer) -> Value | None:
    """The input that is the same at every step: a third bottom that is no initial state."""
    exposed = layer.message.recurrent_param.expose_hidden
    states = (2 if layer.message.type == "LSTM" else 1) if exposed else 0
    return layer.bottom(2) if len(layer.inputs) == 3 + states else None


def _runs_on(continued: Value) -> bool:
    """Whether the marks are known to be 1 from the second step on."""
    node = continued.producer()
    source = node.inputs[0] if node is not None and node.op_type == "Identity" else continued
    marks = const_of(source)
    return marks is not None and bool((marks[1:] == 1).all())


def _projected(layer: Layer, weights: np.ndarray, bias: np.ndarray, static: Value | None, size: int) -> Value:
    """[T, N, size]: W x + b (+ W_static s) for all steps."""
    net, x = layer.net, layer.x
    flat = net.reshape(x, *layer.leading(x, 2), weights.shape[1])
    y = net.op("Add", net.op("MatMul", flat, net.const(np.ascontiguousarray(weights.T))), net.const(bias))
    if static is None:
        return y
    width = _width(layer, static, 1)
    extra = layer.blob(2, (size, width), "static weights")
    flat_static = net.reshape(static, *layer.leading(static, 1), width)
    return net.op("Add", y, net.op("MatMul", flat_static, net.const(np.ascontiguousarray(extra.T))))


def _initial(layer: Layer, count: int, hidden: int) -> list[Value]:
    """States [N, hidden]: the last bottoms (each [1, N, hidden]) where hidden state is exposed, else zeros."""
    net, batch = layer.net, layer.dims(layer.x, 1, 2)
    if layer.message.recurrent_param.expose_hidden:
        return [net.reshape(value, *batch, hidden) for value in layer.inputs[-count:]]
    zeros = net.op("Expand", net.scalar(0, layer.x), net.sizes(*batch, hidden))
    return [zeros] * count


def _scan(layer: Layer, body: Network, states: Sequence[Value], inputs: Value) -> Sequence[Value]:
    """The last states, then the hidden states of all steps."""
    net = layer.net
    marks = net.reshape(layer.bottom(1), *layer.dims(layer.x, 0, 2), 1)
    results = {name: body.values[name] for name in (*(f"next{i}" for i in range(len(states))), "all")}
    graph = body.graph({f"{layer.name}/{name}": value for name, value in results.items()})
    return net.ops("Scan", *states, marks, inputs, count=len(states) + 1, body=graph, num_scan_inputs=2)


def _body(layer: Layer, states: int, hidden: int, gates: int) -> tuple[Network, list[Value], Value]:
    """A step's graph, the states before it with finished sequences cleared, and what the inputs add to the gates."""
    net, batch = layer.net, layer.net.shape(layer.x)[1]
    dtype = net.type(layer.x).dtype
    body = net.nested(f"{layer.name}/step")
    before = [body.input(f"{layer.name}/s{i}", TensorType(dtype, (batch, hidden))) for i in range(states)]
    mark = body.input(f"{layer.name}/mark", TensorType(dtype, (batch, 1)))
    added = body.input(f"{layer.name}/added", TensorType(dtype, (batch, gates)))
    body.scope = f"{layer.name}/step"
    return body, [body.op("Mul", state, mark) for state in before], added


def _lstm_body(layer: Layer, recurrence: np.ndarray, hidden: int) -> Network:
    body, (h, c), added = _body(layer, 2, hidden, 4 * hidden)
    gates = body.op("Add", body.op("MatMul", h, body.const(np.ascontiguousarray(recurrence.T))), added)
    i, f, o, g = body.ops("Split", gates, count=4, axis=1, num_outputs=4)
    kept = body.op("Mul", body.op("Sigmoid", f), c)
    c = body.op("Add", kept, body.op("Mul", body.op("Sigmoid", i), body.op("Tanh", g)))
    h = body.op("Mul", body.op("Sigmoid", o), body.op("Tanh", c))
    return _finish(body, h, c)


def _rnn_body(layer: Layer, recurrence: np.ndarray, hidden: int) -> Network:
    body, (h,), added = _body(layer, 1, hidden, hidden)
    total = body.op("Add", body.op("MatMul", h, body.const(np.ascontiguousarray(recurrence.T))), added)
    return _finish(body, body.op("Tanh", total))


def _finish(body: Network, *states: Value) -> Network:
    body.values |= {f"next{i}": state for i, state in enumerate(states)}
    body.values["all"] = body.op("Identity", states[0])
    return body


def _as_onnx(layer: Layer, weights: np.ndarray, bias: np.ndarray, recurrence: np.ndarray) -> Value:
    """ONNX's gates are input, output, forget, candidate."""
    net, hidden = layer.net, recurrence.shape[1]
    flat = net.reshape(layer.x, *layer.leading(layer.x, 2), weights.shape[1])
    parts = [_reordered(part, hidden)[None] for part in (weights, recurrence)]
    both = np.concatenate([_reordered(bias, hidden), np.zeros(4 * hidden, np.float32)])[None]
    (found,) = net.ops("LSTM", flat, *map(net.const, (*parts, both)), count=1, hidden_size=hidden)
    return net.squeeze(found, 1)  # one direction


def _reordered(part: np.ndarray, hidden: int) -> np.ndarray:
    i, f, o, g = part.reshape(4, hidden, *part.shape[1:])
    return np.concatenate([i, o, f, g])
