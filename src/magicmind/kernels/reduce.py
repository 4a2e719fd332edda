"""Reductions over any axes: sums, products, extrema and what is made of them; positions of extrema.

Neighbouring axes are merged before (see `alternate`), so kept and reduced axes alternate. Where the last axis is
reduced, a row is read in vectors and joined in a fixed tree; where it is kept, every vector lane is a reduction of its
own. The order of operations depends on the target and the sizes, never on threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from magicmind.codegen import math as vm
from magicmind.codegen.builder import Index, Kernel, Pointer, Size
from magicmind.codegen.loops import for_rows, vector_loop
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import FLOATS, ITEMSIZE, UNSIGNED, Vec
from magicmind.ir.dims import Dim
from magicmind.kernels.scalar import compute_dtype, load_value, store_value
from magicmind.kernels.spec import count_params
from magicmind.kernels.work import product, unravel

GRAIN = 16384
"""Elements that are worth waking another thread for."""


def alternate(shape: Sequence[Dim], axes: Sequence[int]) -> tuple[list[Dim], list[bool]]:
    """Merges neighbouring dimensions that are all kept, or all reduced; drops those of size 1.

    Returns sizes and whether each is reduced.
    """
    sizes: list[Dim] = []
    reduced: list[bool] = []
    for axis, extent in enumerate(shape):
        if extent == 1:
            continue
        if reduced and reduced[-1] == (axis in axes):
            sizes[-1] = sizes[-1] * extent
        else:
            sizes.append(extent)
            reduced.append(axis in axes)
    return sizes, reduced


def extreme(dtype: str, highest: bool) -> float:
    """The neutral element of a minimum (highest) or maximum."""
    if dtype in FLOATS:
        return vm.INF if highest else -vm.INF
    bits = 8 * ITEMSIZE[dtype]
    if dtype in UNSIGNED:
        return (1 << bits) - 1 if highest else 0
    return (1 << (bits - 1)) - 1 if highest else -1 << (bits - 1)


@dataclass(frozen=True)
class Monoid:
    """How elements are joined: `sum`, `prod`, `max` or `min`. A NaN stays in extrema."""

    kind: str

    def neutral(self, dtype: str) -> float:
        if self.kind in ("max", "min"):
            return extreme(dtype, self.kind == "min")
        return 1 if self.kind == "prod" else 0

    def join(self, a: Vec, b: Vec) -> Vec:
        k = a.k
        if self.kind == "sum":
            return a + b
        if self.kind == "prod":
            return a * b
        result = k.max(a, b) if self.kind == "max" else k.min(a, b)
        return k.select(b.compare("!=", b), b, result) if b.is_float else result


Transform = Callable[[Vec], Vec]
_MONOIDS = {"Prod": "prod", "Max": "max", "Min": "min"}


_TRANSFORMS: dict[str, Transform] = {"L1": vm.absolute, "L2": lambda x: x * x, "SumSquare": lambda x: x * x}


def finish(op: str, total: Vec, count: Index) -> Vec:
    """The result of ONNX `Reduce<op>` from the joined elements."""
    k = total.k
    if op == "Mean":
        divisor = count if total.is_float else k.index_max(count, 1)
        return total / k.broadcast(k.number(divisor, total.dtype), total.lanes)
    if op == "L2":
        return vm.sqrt(total)
    return vm.log(total) if op == "LogSum" else total


Extents = list[tuple[Index, Index]]
"""(extent, stride in elements) of some dimensions, outermost first."""


def split(sizes: Sequence[Index], reduced: Sequence[bool]) -> tuple[Extents, Extents]:
    """The kept and the reduced dimensions of a contiguous tensor."""
    dims = [(size, product(sizes[d + 1 :])) for d, size in enumerate(sizes)]
    kept = [d for d, r in zip(dims, reduced, strict=True) if not r]
    return kept, [d for d, r in zip(dims, reduced, strict=True) if r]


def volume(dims: Extents) -> Index:
    """Number of index combinations."""
    return product([extent for extent, _ in dims])


def offset_of(dims: Extents, flat: Index) -> Index:
    """Element offset of the combination number `flat`."""
    offset: Index = 0
    for index, (_, stride) in zip(unravel(flat, [extent for extent, _ in dims]), dims, strict=True):
        offset = index * stride + offset
    return offset


@contextmanager
def reduced_loops(k: Kernel, dims: Extents) -> Iterator[Index]:
    """Nested loops over some dimensions; gives the element offset."""
    with ExitStack() as stack:
        offset: Index = 0
        for d, (extent, stride) in enumerate(dims):
            offset = stack.enter_context(k.loop(f"r{d}", 0, extent)) * stride + offset
        yield offset


def reduce_row(
    k: Kernel,
    p: Pointer,
    length: Index,
    monoid: Monoid,
    transform: Transform = lambda x: x,
    outer: Extents | None = None,
) -> Vec:
    """Joins transform(x) of a contiguous row, repeated over the dims `outer`, to a scalar.

    Four vectors of partial results (two where registers are few), then a fixed tree over them and over their lanes.
    """
    dtype = compute_dtype(p.dtype)
    chains = 4 if k.target.lanes >= 8 else 2
    neutral = k.const(monoid.neutral(dtype), dtype, BLOCK)
    acc = k.tile("acc", chains, dtype=dtype, lanes=BLOCK)
    acc.fill(neutral)
    rest = k.tile("rest", 1, dtype=dtype, lanes=1)
    rest.fill(k.const(monoid.neutral(dtype), dtype))
    with reduced_loops(k, outer or []) as offset:
        row = p.offset(offset)
        whole = length // (chains * BLOCK) * (chains * BLOCK)
        if whole != 0:
            with k.loop("i", 0, whole, chains * BLOCK) as i:
                for c in k.unroll("chain", chains):
                    acc[c,] = monoid.join(acc[c,], transform(load_value(row, BLOCK, i + c * BLOCK)))

        def tail(i: Index, lanes: int, mask: Vec | None) -> None:
            if lanes == 1:
                rest[0,] = monoid.join(rest[0,], transform(load_value(row, 1, i)))
                return
            x = transform(load_value(row, BLOCK, i, mask))
            acc[0,] = monoid.join(acc[0,], x if mask is None else k.select(mask, x, neutral))

        vector_loop(k, "tail", whole, length, tail, by_register=False)
    total = across(monoid, [acc[c,] for c in range(chains)])
    return monoid.join(total, rest[0,])


def across(monoid: Monoid, parts: Sequence[Vec]) -> Vec:
    """Joins vectors, then their lanes, in halves."""
    while len(parts) > 1:
        half = len(parts) // 2
        parts = [monoid.join(a, b) for a, b in zip(parts[:half], parts[half:], strict=True)]
    total = parts[0]
    k, lanes = total.k, total.lanes
    while lanes > 2:
        lanes //= 2
        total = monoid.join(k.shuffle(total, total, range(lanes)), k.shuffle(total, total, range(lanes, 2 * lanes)))
    return monoid.join(k.lane(total, 0), k.lane(total, 1))


@dataclass(frozen=True)
class Reduce:
    """out = ONNX `Reduce<op>` of x over the sizes marked in `reduced`; kept and reduced sizes alternate.

    Pointers: x, out, both `dtype`. op: Sum, Mean, Max, Min, Prod, L1, L2, LogSum, LogSumExp (without overflow),
    SumSquare. Integers wrap, their mean truncates. No elements: the neutral one (a mean is NaN).
    """

    op: str
    dtype: str
    sizes: tuple[Size, ...]
    reduced: tuple[bool, ...]

    @property
    def name(self) -> str:
        marks = "x".join(f"{s}{'r' if r else ''}" for s, r in zip(self.sizes, self.reduced, strict=True))
        return f"reduce_{self.op.lower()}_{self.dtype}_{marks or '1'}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, (self.dtype, self.dtype), count_params(self))
        kept, reduced = split([k.size(s) for s in self.sizes], self.reduced)
        if self.reduced and self.reduced[-1]:
            self._rows(k, kept, reduced)
        else:
            self._columns(k, kept or [(1, 1)], reduced)
        return k

    def _rows(self, k: Kernel, kept: Extents, reduced: Extents) -> None:
        """The last dimension is reduced: one result per row."""
        *outer, (length, _) = reduced
        count = volume(reduced)

        def body(row: Index, first: Index, last: Index) -> None:
            x = k.pointers[0].offset(offset_of(kept, row))
            store_value(k.pointers[1], self._row(k, x, length, outer, count), row)

        for_rows(k, volume(kept), count, GRAIN, body, whole=True)

    def _row(self, k: Kernel, x: Pointer, length: Index, outer: Extents, count: Index) -> Vec:
        if self.op != "LogSumExp":
            return finish(self.op, reduce_row(k, x, length, self._monoid, self._transform, outer), count)
        shift = _finite(reduce_row(k, x, length, Monoid("max"), outer=outer))
        total = reduce_row(k, x, length, Monoid("sum"), lambda v: vm.exp(v - k.broadcast(shift, v.lanes)), outer)
        return vm.log(total) + shift

    def _columns(self, k: Kernel, kept: Extents, reduced: Extents) -> None:
        """The last dimension is kept: one result per vector lane."""
        *outer, (width, _) = kept
        # Cut at whole cache lines, into items of about GRAIN elements read.
        grain = k.ceildiv(k.index_max(GRAIN // k.index_max(volume(reduced), 1), 1), BLOCK) * BLOCK

        def body(row: Index, first: Index, last: Index) -> None:
            x, out = k.pointers[0].offset(offset_of(outer, row)), k.pointers[1].offset(row * width)

            def vectors(i: Index, lanes: int, mask: Vec | None) -> None:
                store_value(out, self._lanes(k, x.offset(i), lanes, mask, reduced), i, mask)

            vector_loop(k, "column", first, last, vectors)

        for_rows(k, volume(outer), width, grain, body)

    def _lanes(self, k: Kernel, x: Pointer, lanes: int, mask: Vec | None, reduced: Extents) -> Vec:
        def total(monoid: Monoid, transform: Transform) -> Vec:
            dtype = compute_dtype(self.dtype)
            acc = k.tile("acc", 1, dtype=dtype, lanes=lanes)
            acc.fill(k.const(monoid.neutral(dtype), dtype, lanes))
            with reduced_loops(k, reduced) as offset:
                acc[0,] = monoid.join(acc[0,], transform(load_value(x.offset(offset), lanes, mask=mask)))
            return acc[0,]

        if self.op != "LogSumExp":
            return finish(self.op, total(self._monoid, self._transform), volume(reduced))
        shift = _finite(total(Monoid("max"), lambda v: v))
        return vm.log(total(Monoid("sum"), lambda v: vm.exp(v - shift))) + shift

    @property
    def _monoid(self) -> Monoid:
        return Monoid(_MONOIDS.get(self.op, "sum"))

    @property
    def _transform(self) -> Transform:
        return _TRANSFORMS.get(self.op, lambda v: v)


def _finite(x: Vec) -> Vec:
    """x, or 0 where it is infinite: a shift that keeps inf - inf out of LogSumExp."""
    return x.k.select(vm.absolute(x).compare("==", vm.INF), x.k.const(0, x.dtype, x.lanes), x)
