"""Lowering of RNN, GRU and LSTM: one matrix product for the inputs of all steps, then the recurrence."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from magicmind.codegen.target import BLOCK, Target
from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.dims import Dim
from magicmind.kernels.contract import register_tiles
from magicmind.kernels.conv.pack import pad_axis
from magicmind.kernels.matmul import MatMul, MatMulSchedule
from magicmind.kernels.matmul_operands import Types
from magicmind.kernels.recurrent import ACTIVATIONS, DEFAULTS, GATES, Activation, PackGates, Recurrent
from magicmind.lower.lowering import Lowering
from magicmind.lower.plan import Ref
from magicmind.ops.recurrent import directions_of, gru, lstm, rnn
from magicmind.ops.registry import NodeView

_USUAL = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
_ROWS_PER_ITEM = 56
_STEPWISE_FLOPS = 200_000
"""Work per step from which sharing its units between threads pays for a barrier (about two microseconds)."""


@rnn.lower
@gru.lower
@lstm.lower
def lower(low: Lowering, node: ir.Node) -> None:
    x = node.inputs[0]
    assert x is not None
    if any(low.dtype(v) not in ("f32", "f16") for v in (x, *node.inputs[1:3]) if v is not None):
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: only float32 recurrences have kernels")
    _Layer(low, node, x).lower()


class _Layer:
    """Sizes and operands of one node."""

    def __init__(self, low: Lowering, node: ir.Node, x: ir.Value) -> None:
        self.low, self.node, self.x, self.view = low, node, x, NodeView(node)
        self.kind = node.op_type
        self.reversed = directions_of(self.view)
        self.batch_first = bool(self.view.attr("layout", 0))
        shape = low.shape(x)
        self.steps, self.batch = (shape[1], shape[0]) if self.batch_first else shape[:2]
        hidden = low.shape(self._given(2))[2]
        if not isinstance(hidden, int) or not isinstance(shape[2], int):
            raise UnsupportedOperatorError(f"{low.describe_node(node)}: the sizes of W and R have to be known")
        self.hidden, self.depth = hidden, shape[2]
        self.blocks = -(-hidden // BLOCK)
        self.gates, self.directions = GATES[self.kind], len(self.reversed)

    def _given(self, i: int) -> ir.Value:
        value = self.node.inputs[i]
        assert value is not None
        return value

    def _optional(self, i: int) -> ir.Value | None:
        return self.node.inputs[i] if i < len(self.node.inputs) else None

    def lower(self) -> None:
        nr, mr = _tile(self.low.target, self.gates)
        rows, columns = self.steps * self.batch, self.directions * self.blocks * self.gates * BLOCK
        products = self.low.temp(rows * (columns * 4))
        self._input_products(products, rows, columns, MatMulSchedule(mr, nr, _ROWS_PER_ITEM))
        self._recurrence(products, nr)

    def _packed(self, i: int, depth: int, nr: int) -> Ref:
        """W or R in blocks of gates, of its own type where it is constant."""
        low, value = self.low, self._given(i)
        array = low.const(value)
        if array is not None:
            return low.weight(pack_gates(array, self.gates, nr))
        packed = low.temp(self.directions * self.blocks * self.gates * BLOCK * depth * 4)
        spec = PackGates(self.directions, self.gates, self.hidden, depth, nr)
        low.call(self.node, spec, [low.ref(value), packed], low.params(), bytes=2 * low.nbytes(value))
        return packed

    def _input_products(self, products: Ref, rows: Dim, columns: int, schedule: MatMulSchedule) -> None:
        low, p = self.low, self.low.params()
        types = Types(low.dtype(self.x), low.dtype(self._given(1)), "f32")
        spec = MatMul(1, p.size(rows), columns, self.depth, schedule, types=types)
        packed = self._packed(1, self.depth, schedule.nr)
        memory, scratch = low.nbytes(self.x) + rows * (columns * 4), spec.scratch_bytes(low.target, self.depth)
        refs = [low.ref(self.x), packed, products]
        low.call(self.node, spec, refs, p, flops=rows * (columns * self.depth * 2), bytes=memory, scratch=scratch)

    def _recurrence(self, products: Ref, nr: int) -> None:
        low, p, view = self.low, self.low.params(), self.view
        bias, lengths, h0, c0, peepholes = (self._optional(i) for i in (3, 4, 5, 6, 7))
        outputs = [self._output(i) for i in range(3)]
        per_step = 2 * self.directions * self.gates * self.hidden * self.hidden
        spec = Recurrent(
            self.kind, p.size(self.steps), p.size(self.batch), self.hidden, self.reversed, self._activations(), nr,
            stepwise=per_step * (self.batch if isinstance(self.batch, int) else 1) >= _STEPWISE_FLOPS,
            batch_first=self.batch_first,
            has_bias=bias is not None, has_lengths=lengths is not None, has_h=h0 is not None, has_c=c0 is not None,
            has_peepholes=peepholes is not None, keep_all=outputs[0] is not None,
            clip=float(view.attr("clip", 0.0)),
            linear_before_reset=bool(view.attr("linear_before_reset", 0)),
            input_forget=bool(view.attr("input_forget", 0)),
            weights=low.dtype(self._given(2)), result=low.dtype(self.node.outputs[0]) if outputs[0] else "f32",
        )  # fmt: skip
        reads = [products, self._packed(2, self.hidden, nr)]
        reads += [low.ref(v) for v in (bias, lengths, h0, c0, peepholes) if v is not None]
        writes = self._written(outputs, spec)
        work = self.steps * self.batch
        low.call(
            self.node, spec, [*reads, *writes], p, outputs=len(writes), flops=work * per_step,
            bytes=self.steps * (self.directions * self.gates * self.hidden * self.hidden * 4),
            scratch=spec.scratch_bytes, repeat=self.steps * spec.phases if spec.stepwise else None,
        )  # fmt: skip

    def _output(self, i: int) -> Ref | None:
        """Memory of an output somebody reads."""
        if i >= len(self.node.outputs):
            return None
        value = self.node.outputs[i]
        return self.low.ref(value) if value.uses() or value.is_graph_output() else None

    def _written(self, outputs: list[Ref | None], spec: Recurrent) -> list[Ref]:
        low, size = self.low, self.batch * (self.directions * self.hidden * 4)
        y, h, c = outputs
        refs = [*([y] if y is not None else []), h or low.temp(size)]
        if self.kind == "LSTM":
            refs.append(c or low.temp(size))
        refs.append(low.temp(size * 2))
        if self.kind == "LSTM" or spec.phases == 2:
            refs.append(low.temp(size))
        return refs

    def _activations(self) -> tuple[tuple[Activation, ...], ...]:
        """Per direction; alpha and beta are lists for those functions that take them, in order."""
        usual = _USUAL[self.kind]
        names = self.view.attr("activations", list(usual) * self.directions)
        alphas: list[float] = list(self.view.attr("activation_alpha", []))
        betas: list[float] = list(self.view.attr("activation_beta", []))
        canonical = {name.lower(): name for name in ACTIVATIONS}
        found = []
        for name in names:
            if str(name).lower() not in canonical:
                raise UnsupportedOperatorError(f"{self.low.describe_node(self.node)}: activation {name} is not known")
            function = canonical[str(name).lower()]
            alpha, beta = DEFAULTS.get(function, (0.0, 0.0))
            if function in DEFAULTS and alphas:
                alpha = float(alphas.pop(0))
            if function in ("Affine", "ScaledTanh", "HardSigmoid") and betas:
                beta = float(betas.pop(0))
            found.append(Activation(function, alpha, beta))
        count = len(usual)
        return tuple(tuple(found[d * count : (d + 1) * count]) for d in range(self.directions))


def _tile(target: Target, gates: int) -> tuple[int, int]:
    """(weight blocks side by side, rows): all gates of a block where the registers hold them."""
    for mr, nr in register_tiles(target):
        if nr == gates:
            return nr, mr
    return 1, register_tiles(target)[-1][0]


def pack_gates(weights: npt.NDArray[Any], gates: int, nr: int) -> npt.NDArray[Any]:
    """[directions, gates * hidden, depth] -> [direction][block of 16 units][gates / nr][depth][nr][16]."""
    directions, total, depth = weights.shape
    padded = pad_axis(weights.reshape(directions, gates, total // gates, depth), 2, BLOCK)
    split = padded.reshape(directions, gates // nr, nr, -1, BLOCK, depth)
    return np.ascontiguousarray(split.transpose(0, 3, 1, 5, 2, 4))
