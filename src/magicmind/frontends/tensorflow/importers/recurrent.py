"""Cells of recurrent networks that are one node."""

from __future__ import annotations

import numpy as np

from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.ops.emitter import Value


def _lstm_step(c: Call, x: Value, cs: Value, h: Value, at: int, order: str) -> list[Value]:
    """One step; inputs from `at` on: w, wci, wcf, wco, b. -> i, cs, f, o, ci, co, h."""
    net = c.net
    w, wci, wcf, wco, bias = (c.value(at + k) for k in range(5))
    peephole = bool(c.attr("use_peephole", False))
    clip = float(c.attr("cell_clip", 3.0 if c.node.op in ("LSTMBlockCell", "BlockLSTM") else 0.0))
    forget = float(c.attr("forget_bias", 0.0 if c.node.op == "BlockLSTMV2" else 1.0))
    gates = net.op("Add", net.op("MatMul", net.op("Concat", x, h, axis=1), w), bias)
    parts = dict(zip(order, net.ops("Split", gates, count=4, num_outputs=4, axis=1), strict=True))
    if forget:
        parts["f"] = net.op("Add", parts["f"], net.scalar(forget, x))
    if peephole:
        parts["i"] = net.op("Add", parts["i"], net.op("Mul", cs, wci))
        parts["f"] = net.op("Add", parts["f"], net.op("Mul", cs, wcf))
    i, f, ci = net.op("Sigmoid", parts["i"]), net.op("Sigmoid", parts["f"]), net.op("Tanh", parts["c"])
    state = net.op("Add", net.op("Mul", ci, i), net.op("Mul", cs, f))
    if clip > 0:
        state = net.op("Clip", state, net.scalar(-clip, x), net.scalar(clip, x))
    if peephole:
        parts["o"] = net.op("Add", parts["o"], net.op("Mul", state, wco))
    o, co = net.op("Sigmoid", parts["o"]), net.op("Tanh", state)
    return [i, state, f, o, ci, co, net.op("Mul", o, co)]


@importer("LSTMBlockCell")
def lstm_cell(c: Call) -> list[Value]:
    """One step of an LSTM: x, cs_prev, h_prev, w, peepholes, b; gates in the order i, c, f, o."""
    return _lstm_step(c, c.x, c.value(1), c.value(2), 3, "icfo")


@importer("BlockLSTM", "BlockLSTMV2")
def block_lstm(c: Call) -> list[Value]:
    """All steps of an LSTM written out: seq_len_max, x [T, N, D], cs_prev, h_prev, w, peepholes, b."""
    net = c.net
    steps = c.fixed(c.shape(1)[0], "the number of steps")
    last = c.known(c.x)
    count = steps if last is None else min(int(last.reshape(-1)[0]), steps)
    cs, h = c.value(2), c.value(3)
    order = "icfo" if c.node.op == "BlockLSTM" else "ifco"
    rows: list[list[Value]] = []
    for t in range(count):
        x = net.op("Gather", c.value(1), net.const(t, np.int64), axis=0)
        made = _lstm_step(c, x, cs, h, 4, order)
        cs, h = made[1], made[6]
        rows.append([net.unsqueeze(v, 0) for v in made])
    if count < steps:
        zeros = [net.op("Mul", v, net.scalar(0, v)) for v in rows[-1]] if rows else []
        rows += [zeros] * (steps - count)
    return [net.op("Concat", *column, axis=0) if len(column) > 1 else column[0] for column in zip(*rows, strict=True)]


@importer("GRUBlockCell")
def gru_cell(c: Call) -> list[Value]:
    """One step of a GRU: x, h_prev, w_ru, w_c, b_ru, b_c -> r, u, c, h."""
    net, x, h = c.net, c.x, c.value(1)
    both = net.op("Add", net.op("MatMul", net.op("Concat", x, h, axis=1), c.value(2)), c.value(4))
    r, u = net.ops("Split", net.op("Sigmoid", both), count=2, num_outputs=2, axis=1)
    joined = net.op("Concat", x, net.op("Mul", h, r), axis=1)
    new = net.op("Tanh", net.op("Add", net.op("MatMul", joined, c.value(3)), c.value(5)))
    rest = net.op("Sub", net.scalar(1, u), u)
    return [r, u, new, net.op("Add", net.op("Mul", u, h), net.op("Mul", rest, new))]
