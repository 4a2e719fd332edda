"""Recurrent networks: LSTM, GRU and plain RNN cells, one time step after the other.

The input's share of every gate is a matrix product over all steps, made before. What remains per step is the product of
the previous hidden state with the recurrent weights and the gate functions. Hidden units are dealt out in blocks of 16;
a block's gates lie side by side, so whoever owns a block owns its units and cell states, and only the hidden state
crosses threads.

`stepwise` kernels do one step per call (the program repeats them with a barrier between), all threads sharing the
units; the others run all steps in one call and divide (direction, rows of the batch).
Contract and measurements: docs/design/0005-recurrent-and-attention.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from magicmind.codegen import math as vm
from magicmind.codegen.builder import Index, Kernel, Pointer, Size, Tile
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import Vec
from magicmind.kernels.contract import multiply_accumulate
from magicmind.kernels.scalar import load_value, store_value
from magicmind.kernels.spec import count_params
from magicmind.kernels.tiles import for_tiles

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""Gates in the order ONNX stores them: LSTM i o f c, GRU z r h."""

PEEPHOLES = 3
_ROWS = 6


@dataclass(frozen=True)
class Activation:
    """An activation function with its constants."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def __str__(self) -> str:
        return self.name.lower()


_FUNCTIONS: dict[str, Callable[[Vec, float, float], Vec]] = {
    "Relu": lambda x, a, b: x.k.max(x, 0.0),
    "Tanh": lambda x, a, b: vm.tanh(x),
    "Sigmoid": lambda x, a, b: vm.sigmoid(x),
    "Affine": lambda x, a, b: x * a + b,
    "LeakyRelu": lambda x, a, b: x.k.select(x.compare("<", 0.0), x * a, x),
    "ThresholdedRelu": lambda x, a, b: x.k.select(x.compare(">", a), x, 0.0),
    "ScaledTanh": lambda x, a, b: vm.tanh(x * b) * a,
    "HardSigmoid": lambda x, a, b: x.k.min(x.k.max(x * a + b, 0.0), 1.0),
    "Elu": lambda x, a, b: x.k.select(x.compare("<", 0.0), vm.expm1(x.k.min(x, 0.0)) * a, x),
    "Softsign": lambda x, a, b: x / (vm.absolute(x) + 1.0),
    "Softplus": lambda x, a, b: vm.softplus(x),
}

DEFAULTS = {
    "LeakyRelu": (0.01, 0.0),
    "ThresholdedRelu": (1.0, 0.0),
    "Affine": (1.0, 0.0),
    "ScaledTanh": (1.0, 1.0),
    "HardSigmoid": (0.2, 0.5),
    "Elu": (1.0, 0.0),
}
"""alpha and beta where the model leaves them out."""

ACTIVATIONS = frozenset(_FUNCTIONS)


@dataclass(frozen=True)
class Recurrent:
    """The recurrence over `steps` of cell `kind`.

    Pointers: xw (input products, [steps, batch] or, `batch_first`, [batch, steps] rows of
    [direction][block][gate][16]), r (`pack_gates`), then where given bias [directions, 2 * gates * hidden], lengths i32
    [batch], initial h, initial c, peepholes [directions, 3 * hidden]; then what is written: y where `keep_all`, h_n,
    c_n (LSTM), state [2, directions, batch, hidden], c_n's working copy [directions, batch, hidden] (LSTM) or the reset
    state of the same size (GRU without `linear_before_reset`). `reversed_` says per direction whether it runs
    backwards; `activations` has one tuple per direction. All float32 but r (`weights`) and y (`result`), which may be
    float16.
    """

    kind: str
    steps: Size
    batch: Size
    hidden: int
    reversed_: tuple[bool, ...]
    activations: tuple[tuple[Activation, ...], ...]
    nr: int
    stepwise: bool
    batch_first: bool = False
    has_bias: bool = False
    has_lengths: bool = False
    has_h: bool = False
    has_c: bool = False
    has_peepholes: bool = False
    keep_all: bool = True
    clip: float = 0.0
    linear_before_reset: bool = False
    input_forget: bool = False
    weights: str = "f32"
    result: str = "f32"

    @property
    def name(self) -> str:
        way = "stepwise" if self.stepwise else "whole"
        return f"{self.weights}_{self.kind.lower()}_{len(self.reversed_)}x{self.hidden}_{way}"

    @property
    def gates(self) -> int:
        return GATES[self.kind]

    @property
    def blocks(self) -> int:
        return -(-self.hidden // BLOCK)

    @property
    def phases(self) -> int:
        """Calls per time step: a GRU that resets before its product needs the reset state of all units first."""
        return 2 if self.kind == "GRU" and not self.linear_before_reset else 1

    @property
    def scratch_bytes(self) -> int:
        """Per thread: the gates of a few rows."""
        return _ROWS * self.gates * BLOCK * 4

    def build(self, target: Target, symbol: str) -> Kernel:
        dtypes = ["f32", self.weights, *(["f32"] if self.has_bias else []), *(["i32"] if self.has_lengths else [])]
        dtypes += ["f32"] * (self.has_h + self.has_c + self.has_peepholes)
        dtypes += [*([self.result] * self.keep_all), "f32"]
        dtypes += ["f32"] * {"LSTM": 3, "GRU": self.phases, "RNN": 1}[self.kind]
        k = Kernel(symbol, target, dtypes, count_params(self) + self.stepwise)
        _Emitter(k, self).emit()
        return k


class _Emitter:
    """Generates one kernel; the units of a block are the lanes of every vector."""

    def __init__(self, k: Kernel, spec: Recurrent) -> None:
        self.k, self.spec = k, spec
        rest = list(k.pointers)
        self.steps: Index = k.size(spec.steps)
        self.batch: Index = k.size(spec.batch)

        def take(given: bool) -> Pointer | None:
            return rest.pop(0) if given else None

        self.xw, self.r = rest.pop(0), rest.pop(0)
        self.bias, self.lengths = take(spec.has_bias), take(spec.has_lengths)
        self.h0, self.c0, self.peepholes = take(spec.has_h), take(spec.has_c), take(spec.has_peepholes)
        self.y, self.h_last = take(spec.keep_all), rest.pop(0)
        self.c_last = take(spec.kind == "LSTM")
        self.state = rest.pop(0)
        self.extra = take(bool(rest))
        self.hidden, self.directions = spec.hidden, len(spec.reversed_)

    # -- who does what -----------------------------------------------------------------------------------------------

    def emit(self) -> None:
        k, spec = self.k, self.spec
        if spec.stepwise:
            turn: Index = k.params[-1]
            first, last = k.thread_range(spec.blocks * self.directions)
            for d in range(self.directions):
                start = k.index_min(k.index_max(first - d * spec.blocks, 0), spec.blocks)
                stop = k.index_min(k.index_max(last - d * spec.blocks, 0), spec.blocks)
                self._phases(turn, d, 0, self.batch, start, stop)
            return
        pieces = k.ceildiv(self.batch, _ROWS)
        first, last = k.thread_range(pieces * self.directions)
        for d in range(self.directions):
            start = k.index_max(first - pieces * d, 0)
            with k.loop("piece", start, k.index_min(last - pieces * d, pieces)) as piece:
                row = piece * _ROWS
                count = k.index_min(self.batch - row, _ROWS)
                with k.loop("step", 0, self.steps * spec.phases) as turn:
                    self._phases(turn, d, row, count, 0, spec.blocks)

    def _phases(self, turn: Index, d: int, row: Index, rows: Index, first: Index, last: Index) -> None:
        k, phases = self.k, self.spec.phases
        if phases == 1:
            self._step(turn, d, row, rows, first, last, range(self.spec.gates))
            return
        for phase, gates in enumerate((range(2), range(2, 3))):
            with k.when(k.equal(turn % phases, phase)):
                self._step(turn // phases, d, row, rows, first, last, gates)

    def _step(self, s: Index, d: int, row: Index, rows: Index, first: Index, last: Index, gates: range) -> None:
        k = self.k

        def tile(start: Index, size: int) -> None:
            with k.loop("block", first, last) as block:
                self._block(s, d, row + start, size, block, gates)

        for_tiles(k, "row", rows, _ROWS, tile)

    # -- addresses ---------------------------------------------------------------------------------------------------

    def _packed_row(self, d: int, b: Index) -> Index:
        """Element of row `b` in [directions, batch, hidden]."""
        return (self.batch * d + b) * self.hidden

    def _user_row(self, d: int, b: Index) -> Index:
        """The same in the user's order of initial and last states."""
        return (b * self.directions + d) * self.hidden if self.spec.batch_first else self._packed_row(d, b)

    def _y_row(self, t: Index, d: int, b: Index) -> Index:
        if self.spec.batch_first:
            return ((b * self.steps + t) * self.directions + d) * self.hidden
        return ((t * self.directions + d) * self.batch + b) * self.hidden

    def _xw_row(self, t: Index, d: int, b: Index) -> Index:
        row = b * self.steps + t if self.spec.batch_first else t * self.batch + b
        return (row * self.directions + d) * (self.spec.blocks * self.spec.gates * BLOCK)

    def _states(self, s: Index) -> tuple[Pointer, Pointer]:
        """Hidden state before and after step `s`, in turns in the two halves of the buffer."""
        size = self.batch * (self.directions * self.hidden)
        odd = s % 2
        return self.state.offset(odd * size), self.state.offset((1 - odd) * size)

    def _before(self, s: Index, d: int, given: Pointer | None, kept: Pointer, b: Index) -> Pointer:
        """Row `b` of a state before step `s`: the user's at the first step."""
        row = kept.offset(self._packed_row(d, b))
        if given is None:
            return row
        k = self.k
        first = k.equal(s, 0)
        user = given.offset(self._user_row(d, b))
        if isinstance(first, bool):  # a single step
            return user if first else row
        return Pointer(k, k.b.select(first, user.value, row.value), "f32")

    # -- arithmetic --------------------------------------------------------------------------------------------------

    def _block(self, s: Index, d: int, row: Index, size: int, block: Index, gates: range) -> None:
        """`size` rows of the batch, one block of units: products into scratch, then the gate functions row by row."""
        k, spec = self.k, self.spec
        before, after = self._states(s)
        if spec.phases == 2 and gates.start == 2:
            assert self.extra is not None
            source = [self.extra.offset(self._packed_row(d, row + i)) for i in range(size)]
        else:
            source = [self._before(s, d, self.h0, before, row + i) for i in range(size)]
        self._products(s, d, source, block, gates)
        with k.loop("r", 0, size) as i:
            self._cell(s, d, row + i, i, block, gates, before, after)

    def _products(self, s: Index, d: int, source: list[Pointer], block: Index, gates: range) -> None:
        """scratch[row][gate][16] = h[row] @ r[gate]: zero at a first step without a given state."""
        k, spec = self.k, self.spec
        weights = self.r.offset((block + d * spec.blocks) * (spec.gates * self.hidden * BLOCK))
        nr = min(spec.nr, len(gates))
        for g in range(gates.start, gates.stop, nr):
            acc = k.tile("acc", len(source), nr)
            acc.fill(k.const(0.0, "f32", BLOCK))
            if spec.has_h:
                self._reduce(acc, source, weights, g, nr)
            else:
                later = k.b.icmp_signed(">", k.i64(s), k.i64(0))
                with k.when(later):
                    self._reduce(acc, source, weights, g, nr)
            for i, j in acc:
                k.scratch.store(acc[i, j], (i * spec.gates + g + j) * BLOCK)

    def _reduce(self, acc: Tile, source: list[Pointer], weights: Pointer, gate: int, nr: int) -> None:
        k, whole = self.k, self.hidden // BLOCK * BLOCK
        packed = weights.offset(gate * self.hidden * BLOCK if self.spec.nr == 1 else gate * BLOCK)
        row = self.spec.nr * BLOCK
        with k.loop("k", 0, whole, BLOCK) as c:
            self._multiply(acc, source, c, packed.offset(c * row), BLOCK, nr)
        if self.hidden % BLOCK:
            self._multiply(acc, source, whole, packed.offset(whole * row), self.hidden % BLOCK, nr)

    def _multiply(self, acc: Tile, source: list[Pointer], c: Index, packed: Pointer, depth: int, nr: int) -> None:
        k = self.k
        if len(source) == 1 and nr == self.spec.nr:
            multiply_accumulate(k, acc, source[0].offset(c), [0], 1, packed, depth, nr)
            return
        for i in range(depth):
            w = [load_value(packed, BLOCK, (i * self.spec.nr + j) * BLOCK) for j in range(nr)]
            for p, h in enumerate(source):
                value = k.broadcast(h.load(1, c + i), BLOCK)
                for j in range(nr):
                    acc[p, j] = k.fma(value, w[j], acc[p, j])

    def _cell(
        self, s: Index, d: int, b: Index, i: Index, block: Index, gates: range, before: Pointer, after: Pointer
    ) -> None:
        """Gate functions of one row and where the new state goes."""
        k, spec = self.k, self.spec
        unit = block * BLOCK
        whole = self.hidden % BLOCK == 0
        mask = None if whole else k.first_lanes(self.hidden - unit, BLOCK)
        time, alive = self._time(s, d, b)
        place = self.xw.offset(self._xw_row(time, d, b) + block * (spec.gates * BLOCK))
        at = _Row(
            self, s, d, b, unit, mask, alive, place, k.scratch.offset(i * (spec.gates * BLOCK)), time, before, after
        )
        if spec.kind == "LSTM":
            at.lstm()
        elif spec.kind == "RNN":
            at.finish(at.activate(0, at.gate(0)))
        elif spec.linear_before_reset:
            at.gru_after()
        elif gates.start == 0:
            at.gru_reset()
        else:
            at.gru_before()

    def _time(self, s: Index, d: int, b: Index) -> tuple[Index, Vec | None]:
        """The time step `s` works on for row `b`, and whether the row has that many (None: all have)."""
        k = self.k
        if self.lengths is None:
            return (self.steps - 1 - s if self.spec.reversed_[d] else s), None
        length = k.index(self.lengths.load(1, b))
        alive = k.number(s).compare("<", k.number(length))
        back = k.index_max(length - 1 - s, 0) if self.spec.reversed_[d] else s
        return k.index_select(alive.value, back, s), alive


@dataclass
class _Row:
    """One row of the batch, one block of units, one step."""

    e: _Emitter
    s: Index
    d: int
    b: Index
    unit: Index
    mask: Vec | None
    alive: Vec | None
    xw: Pointer
    hw: Pointer
    time: Index
    before: Pointer
    after: Pointer

    def gate(self, g: int, *, recurrent: bool = True, scale: Vec | None = None, peep: Vec | None = None) -> Vec:
        """The gate before its activation: shares of input and state (times `scale`), biases, peephole; clipped."""
        spec, k = self.e.spec, self.e.k
        total = self.xw.load(BLOCK, g * BLOCK)
        share = self.hw.load(BLOCK, g * BLOCK)
        if self.e.bias is not None:
            total = total + self._bias(g)
            share = share + self._bias(spec.gates + g)
        if recurrent:
            total = total + (share if scale is None else share * scale)
        if peep is not None:
            total = total + peep
        return k.min(k.max(total, -spec.clip), spec.clip) if spec.clip else total

    def _bias(self, g: int) -> Vec:
        assert self.e.bias is not None
        h = self.e.hidden
        return self.e.bias.load(BLOCK, (self.d * 2 * self.e.spec.gates + g) * h + self.unit, self.mask)

    def activate(self, index: int, x: Vec) -> Vec:
        f = self.e.spec.activations[self.d][index]
        return _FUNCTIONS[f.name](x, f.alpha, f.beta)

    def old(self, given: Pointer | None, kept: Pointer) -> Vec:
        """A state before this step; zero where the user gave none and it is the first."""
        k = self.e.k
        row = self.e._before(self.s, self.d, given, kept, self.b)
        value = row.load(BLOCK, self.unit, self.mask)
        if given is not None:
            return value
        first = Vec(k, k.b.icmp_signed("==", k.i64(self.s), k.i64(0)), "bool", 1)
        return k.select(first, k.const(0.0, "f32", BLOCK), value)

    def lstm(self) -> None:
        e, k = self.e, self.e.k
        assert e.extra is not None and e.c_last is not None
        c = self.old(e.c0, e.extra)

        def peep(g: int, cell: Vec) -> Vec | None:
            if e.peepholes is None:
                return None
            return e.peepholes.load(BLOCK, (self.d * PEEPHOLES + g) * e.hidden + self.unit, self.mask) * cell

        i = self.activate(0, self.gate(0, peep=peep(0, c)))
        forget = 1.0 - i if e.spec.input_forget else self.activate(0, self.gate(2, peep=peep(2, c)))
        new_c = k.fma(forget, c, i * self.activate(1, self.gate(3)))
        o = self.activate(0, self.gate(1, peep=peep(1, new_c)))
        h = o * self.activate(2, new_c)
        if self.alive is not None:
            new_c = k.select(self.alive, new_c, c)
        e.extra.store(new_c, e._packed_row(self.d, self.b) + self.unit, self.mask)
        self._last(e.c_last, new_c)
        self.finish(h)

    def gru_after(self) -> None:
        z, r = (self.activate(0, self.gate(g)) for g in (0, 1))
        self._mix(z, self.activate(1, self.gate(2, scale=r)))

    def gru_reset(self) -> None:
        """First half: z waits in the place of its input share, the reset state is written for all to read."""
        e = self.e
        assert e.extra is not None
        z, r = (self.activate(0, self.gate(g)) for g in (0, 1))
        self.xw.store(z)
        reset = r * self.old(e.h0, self.before)
        e.extra.store(reset, e._packed_row(self.d, self.b) + self.unit, self.mask)

    def gru_before(self) -> None:
        self._mix(self.xw.load(BLOCK), self.activate(1, self.gate(2)))

    def _mix(self, z: Vec, new: Vec) -> None:
        self.finish((1.0 - z) * new + z * self.old(self.e.h0, self.before))

    def finish(self, h: Vec) -> None:
        """Stores the hidden state: into y, for the next step, and as the last one. Rows that ended keep theirs."""
        e, k = self.e, self.e.k
        visible = h
        if self.alive is not None:
            visible = k.select(self.alive, h, k.const(0.0, "f32", BLOCK))
            h = k.select(self.alive, h, self.old(e.h0, self.before))
        if e.y is not None:
            store_value(e.y, visible, e._y_row(self.time, self.d, self.b) + self.unit, self.mask)
        self.after.store(h, e._packed_row(self.d, self.b) + self.unit, self.mask)
        self._last(e.h_last, h)

    def _last(self, target: Pointer, value: Vec) -> None:
        e, k = self.e, self.e.k
        with k.when(k.equal(self.s, e.steps - 1)):
            target.store(value, e._user_row(self.d, self.b) + self.unit, self.mask)


@dataclass(frozen=True)
class PackGates:
    """Gate weights computed at run time into the order of `pack_gates`.

    Pointers: w [directions, gates * hidden, depth], packed [directions][block][gates / nr][depth][nr][16].
    """

    directions: int
    gates: int
    hidden: int
    depth: Size
    nr: int

    @property
    def name(self) -> str:
        return f"pack_gates_{self.directions}x{self.gates}x{self.hidden}x{self.depth}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, ("f32", "f32"), count_params(self))
        w, packed = k.pointers
        depth, blocks = k.size(self.depth), -(-self.hidden // BLOCK)
        first, last = k.thread_range(self.directions * blocks)
        with k.loop("block", first, last) as item:
            d, block = item // blocks, item % blocks
            width = k.index_min(self.hidden - block * BLOCK, BLOCK)
            for g in range(self.gates):
                source = w.offset(((d * self.gates + g) * self.hidden + block * BLOCK) * depth)
                chunk = (item * self.gates + g // self.nr * self.nr) * depth * BLOCK
                target_ = packed.offset(chunk + g % self.nr * BLOCK)
                with k.loop("k", 0, depth) as c:
                    row = target_.offset(c * (self.nr * BLOCK))
                    row.store(k.const(0.0, "f32", BLOCK))
                    with k.loop("unit", 0, width) as u:
                        row.store(source.load(1, u * depth + c), u)
        return k
