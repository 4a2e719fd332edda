"""Recurrent layers.  ONNX operators RNN-22, GRU-22, LSTM-22."""

from __future__ import annotations

from magicmind.errors import ShapeError, UnsupportedOperatorError
from magicmind.ir.types import TensorType
from magicmind.ops.registry import NodeView, Op
from magicmind.ops.shapes import need_float, need_rank, same_dim, same_dims

rnn = Op("RNN").half(0, weights=(1, 2), results=1)
gru = Op("GRU").half(0, weights=(1, 2), results=1)
lstm = Op("LSTM").half(0, weights=(1, 2), results=1)

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def directions_of(node: NodeView) -> tuple[bool, ...]:
    """Per direction whether it runs backwards.  Raises UnsupportedOperatorError for a word ONNX does not have."""
    word = node.attr("direction", "forward")
    if word not in DIRECTIONS:
        raise UnsupportedOperatorError(f"direction={word!r}; ONNX has {', '.join(DIRECTIONS)}")
    return DIRECTIONS[word]


@rnn.infer
@gru.infer
@lstm.infer
def infer(node: NodeView) -> list[TensorType]:
    """X [steps, batch, in] (`layout` 1: [batch, steps, in]) gives Y [steps, directions, batch, hidden], Y_h and Y_c."""
    x = need_rank(need_float(node.input(0)), 3, 3, what="X")
    w = need_rank(node.input(1), 3, 3, what="W")
    r = need_rank(node.input(2), 3, 3, what="R")
    first = bool(node.attr("layout", 0))
    steps, batch = (x.dims[1], x.dims[0]) if first else x.dims[:2]
    directions, hidden = len(directions_of(node)), r.dims[2]
    for t, what, last in ((w, "W", x.dims[2]), (r, "R", hidden)):
        same_dim(t.dims[0], directions, f"{what} against the directions")
        same_dim(t.dims[1], GATES[node.op_type] * hidden, f"{what} against the gates")
        same_dim(t.dims[2], last, f"the last dimension of {what}")
    if node.has(3) and node.shape(3) != (directions, 2 * GATES[node.op_type] * hidden):
        raise ShapeError(f"B has shape {node.shape(3)}")
    if node.has(4):
        same_dim(need_rank(node.input(4), 1, 1, what="sequence_lens").dims[0], batch, "sequence_lens against the batch")
    if node.has(7):
        peepholes = need_rank(node.input(7), 2, 2, what="P")
        same_dims(peepholes.dims, (directions, 3 * hidden), "P against directions and gates")
    state = (batch, directions, hidden) if first else (directions, batch, hidden)
    for i in (5, 6):
        if node.has(i):
            for given, wanted in zip(need_rank(node.input(i), 3, 3, what="a state").dims, state, strict=True):
                same_dim(given, wanted, f"input {i}, the first state")
    every = (batch, steps, directions, hidden) if first else (steps, directions, batch, hidden)
    outputs = [TensorType(x.dtype, shape) for shape in (every, state, state)]
    return outputs[: 3 if node.op_type == "LSTM" else 2][: node.num_outputs]
