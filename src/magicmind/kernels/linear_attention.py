"""Linear attention: a state per head that each token decays, corrects and reads.

The columns of the state are independent of each other, so threads and vector lanes divide (batch, head, columns); each
walks all tokens with its piece of the state in cache. No step is ever handed back to the host.
"""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Size
from magicmind.codegen.loops import for_rows, vector_loop
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import Vec
from magicmind.kernels.reduce import GRAIN
from magicmind.kernels.spec import count_params


@dataclass(frozen=True)
class LinearAttention:
    """For each token t: S = decay * S; S += k (beta * (v - S^T k))^T, or k v^T without beta; out = S^T q.

    Pointers, all f32: q [batch, steps, heads, group, keys], k [batch, steps, heads, keys], v [batch, steps, heads,
    values], decay [batch, steps, heads] or with keys, beta [batch, steps] or with heads (each only where named), S
    before [batch, heads, keys, values], out [batch, steps, heads, group, values], S after. `group` queries read one S.
    """

    decay: str
    """`none`, `head`: one number per head, or `key`: one per row of S."""
    beta: str
    """`none`, `shared` by all heads, or `head`."""
    batch: Size
    steps: Size
    heads: Size
    group: int
    keys: Size
    values: Size

    @property
    def name(self) -> str:
        return f"f32_linear_attention_{self.decay}_{self.beta}_{self.heads}x{self.keys}x{self.values}"

    def build(self, target: Target, symbol: str) -> Kernel:
        optional = (self.decay != "none") + (self.beta != "none")
        k = Kernel(symbol, target, ("f32",) * (6 + optional), count_params(self))
        heads, keys, values = (k.size(s) for s in (self.heads, self.keys, self.values))
        rows = k.size(self.batch) * heads
        grain = k.ceildiv(k.index_max(GRAIN // k.index_max(k.size(self.steps) * keys, 1), 1), BLOCK) * BLOCK

        def body(row: Index, first: Index, last: Index) -> None:
            head = _Head(self, k, row, keys, values)
            vector_loop(k, "column", first, last, head.columns)

        for_rows(k, rows, values, grain, body)
        return k


class _Head:
    """Generates the walk over all tokens for some columns of one head's state."""

    def __init__(self, spec: LinearAttention, k: Kernel, row: Index, keys: Index, values: Index) -> None:
        self.spec, self.k, self.keys, self.values = spec, k, keys, values
        self.heads, self.steps = k.size(spec.heads), k.size(spec.steps)
        self.batch, self.head = row // self.heads, row % self.heads
        rest = list(k.pointers)
        self.q, self.key, self.value = rest[:3]
        self.decay = rest[3] if spec.decay != "none" else None
        self.beta = rest[-4] if spec.beta != "none" else None
        before, self.out, after = rest[-3:]
        self.before, self.after = (p.offset(row * keys * values) for p in (before, after))

    def columns(self, j: Index, lanes: int, mask: Vec | None) -> None:
        """The columns j .. j + lanes."""
        k = self.k
        with k.loop("copied", 0, self.keys) as d:
            self.after.store(self.before.load(lanes, d * self.values + j, mask), d * self.values + j, mask)
        with k.loop("token", 0, self.steps) as t:
            token = self.batch * self.steps + t
            delta = self._written(token, j, lanes, mask)
            self._update_and_read(token, delta, j, lanes, mask)

    def _scalar(self, p: Pointer, at: Index, lanes: int) -> Vec:
        return self.k.broadcast(p.load(1, at), lanes)

    def _written(self, token: Index, j: Index, lanes: int, mask: Vec | None) -> Vec:
        """What the token writes in these columns; the state has decayed by then."""
        k, row = self.k, token * self.heads + self.head
        recalled = k.tile("recalled", 1, lanes=lanes)
        recalled.fill(k.const(0.0, "f32", lanes))
        if self.decay is not None or self.beta is not None:
            with k.loop("decayed", 0, self.keys) as d:
                at = d * self.values + j
                state = self.after.load(lanes, at, mask)
                if self.decay is not None:
                    place = row * self.keys + d if self.spec.decay == "key" else row
                    state = state * self._scalar(self.decay, place, lanes)
                    self.after.store(state, at, mask)
                recalled[0,] = k.fma(state, self._scalar(self.key, row * self.keys + d, lanes), recalled[0,])
        value = self.value.load(lanes, row * self.values + j, mask)
        if self.beta is None:
            return value
        rate = self._scalar(self.beta, row if self.spec.beta == "head" else token, lanes)
        return (value - recalled[0,]) * rate

    def _update_and_read(self, token: Index, delta: Vec, j: Index, lanes: int, mask: Vec | None) -> None:
        k, row, group = self.k, token * self.heads + self.head, self.spec.group
        results = k.tile("results", group, lanes=lanes)
        results.fill(k.const(0.0, "f32", lanes))
        with k.loop("written", 0, self.keys) as d:
            at = d * self.values + j
            state = k.fma(self._scalar(self.key, row * self.keys + d, lanes), delta, self.after.load(lanes, at, mask))
            self.after.store(state, at, mask)
            for g in range(group):
                query = self._scalar(self.q, (row * group + g) * self.keys + d, lanes)
                results[g,] = k.fma(state, query, results[g,])
        for g in range(group):
            self.out.store(results[g,], (row * group + g) * self.values + j, mask)
