"""Elementwise kernels: one pass over memory that runs a scalar program on operands that broadcast to the output.

The loops are described by sizes alone: an operand either extends over a dimension or is repeated along it, and is
contiguous over those it has. Blocked tensors need no code of their own: their block of 16 is one more dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Size
from magicmind.codegen.loops import default_unroll, for_rows, vector_loop
from magicmind.codegen.saturate import blocks_together
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import Vec
from magicmind.ir.dims import Dim
from magicmind.ir.scalar import ScalarProgram, is_cheap
from magicmind.kernels.scalar import emit_program, gives_bytes, is_exact, load_value, store_value
from magicmind.kernels.spec import count_params
from magicmind.kernels.work import product, unravel

CHEAP_GRAIN, COSTLY_GRAIN = 16384, 4096
"""Elements that are worth waking another thread for."""


@dataclass(frozen=True)
class Operand:
    """`present[d]`: whether the operand extends over dimension d of the output; else it is repeated."""

    dtype: str
    present: tuple[bool, ...]

    def __str__(self) -> str:
        return self.dtype + "".join("x" if p else "1" for p in self.present)


def collapse(shape: Sequence[Dim], present: Sequence[Sequence[bool]]) -> tuple[list[Dim], list[tuple[bool, ...]]]:
    """Merges neighbouring dimensions that every operand has, or lacks, alike; drops those of size 1.

    Returns the sizes, and `present` for these.
    """
    sizes: list[Dim] = []
    columns: list[tuple[bool, ...]] = []
    for extent, column in zip(shape, zip(*present, strict=True) if present else [()] * len(shape), strict=True):
        if extent == 1:
            continue
        if columns and columns[-1] == column:
            sizes[-1] = sizes[-1] * extent
        else:
            sizes.append(extent)
            columns.append(column)
    return sizes, [tuple(column[i] for column in columns) for i in range(len(present))]


@dataclass(frozen=True)
class Elementwise:
    """out = program(x0, x1, ...).

    Pointers: the operands in order, then the output. `sizes` are the output's dimensions, outermost first (see
    `collapse`); an output of one element has none. The output may be the same memory as an operand that extends over
    all dimensions and has elements of the same size.
    """

    program: ScalarProgram
    operands: tuple[Operand, ...]
    out: str
    sizes: tuple[Size, ...]

    @property
    def name(self) -> str:
        ops = "_".join(s.op.lower() for s in self.program.statements[:4])
        return f"{self.out}_{ops}_{'x'.join(map(str, self.sizes)) or '1'}"

    def build(self, target: Target, symbol: str) -> Kernel:
        dtypes = [*(o.dtype for o in self.operands), self.out]
        k = Kernel(symbol, target, dtypes, count_params(self), contract=not is_exact(self.program))
        sizes = [k.size(s) for s in self.sizes] or [1]
        operands = [o if o.present else Operand(o.dtype, (False,)) for o in self.operands]
        inner = sizes[-1]
        if isinstance(inner, int) and inner < BLOCK and len(sizes) > 1:
            _ShortRows(self, k, sizes, operands).emit()
        else:
            _LongRows(self, k, sizes, operands).emit()
        return k

    @property
    def grain(self) -> int:
        return CHEAP_GRAIN if is_cheap(self.program) else COSTLY_GRAIN


class _Rows:
    """What both loop shapes share: where an operand's data for a given outer index begins."""

    def __init__(self, spec: Elementwise, k: Kernel, sizes: list[Index], operands: list[Operand]) -> None:
        self.spec, self.k, self.sizes, self.operands = spec, k, sizes, operands
        self.cheap = is_cheap(spec.program)

    def bases(self, outer: Index, inner_dims: int) -> tuple[list[Pointer], Pointer]:
        """Addresses of the operands and of the output at flat index `outer` over all but the last dims."""
        dims = len(self.sizes) - inner_dims
        indices = unravel(outer, self.sizes[:dims])
        pointers = [
            p.offset(_offset(indices, self.sizes, o.present))
            for p, o in zip(self.k.pointers, self.operands, strict=False)
        ]
        return pointers, self.k.pointers[-1].offset(outer * product(self.sizes[dims:]))

    def run(self, values: list[Vec], lanes: int) -> Vec:
        named = {f"x{i}": v for i, v in enumerate(values)}
        return self.k.broadcast(emit_program(self.k, self.spec.program, named), lanes)


class _LongRows(_Rows):
    """The innermost dimension in vectors; an operand that is constant along it is one scalar per row."""

    def emit(self) -> None:
        rows = product(self.sizes[:-1])
        for_rows(self.k, rows, self.sizes[-1], self.spec.grain, self.row)

    def row(self, outer: Index, first: Index, last: Index) -> None:
        pointers, out = self.bases(outer, 1)
        wide = [o.present[-1] for o in self.operands]
        scalars = [None if w else load_value(p) for p, w in zip(pointers, wide, strict=True)]

        def body(i: Index, lanes: int, mask: Vec | None) -> None:
            values = [
                load_value(p, lanes, i, mask) if s is None else self.k.broadcast(s, lanes)
                for p, s in zip(pointers, scalars, strict=True)
            ]
            store_value(out, self.run(values, lanes), i, mask)

        k, together = self.k, 1
        if self.cheap and gives_bytes(self.spec.program):
            together = blocks_together(k.target)
        unroll = default_unroll(k) if self.cheap and together == 1 else 1
        vector_loop(k, "i", first, last, body, unroll=unroll, lanes=BLOCK * together)


class _ShortRows(_Rows):
    """The last dimension is a constant below 16: a vector takes several rows where that divides 16, else one."""

    def emit(self) -> None:
        inner = self.sizes[-1]
        assert isinstance(inner, int)
        self.inner = inner
        planes = product(self.sizes[:-2])
        for_rows(self.k, planes, self.sizes[-2], max(1, self.spec.grain // inner), self.rows)

    def rows(self, plane: Index, first: Index, last: Index) -> None:
        pointers, out = self.bases(plane, 2)
        group = BLOCK // self.inner if BLOCK % self.inner == 0 else 1
        whole = first + (last - first) // group * group
        for count, start, stop in ((group, first, whole), (1, whole, last)):
            if isinstance(start, int) and isinstance(stop, int) and start >= stop:
                continue
            with self.k.loop(f"rows x{count}", start, stop, count) as r:
                lanes = count * self.inner
                values = [self.load(p, o, r, count) for p, o in zip(pointers, self.operands, strict=True)]
                store_value(out, self.run(values, lanes), r * self.inner)

    def load(self, p: Pointer, operand: Operand, row: Index, count: int) -> Vec:
        """The operand's elements for `count` rows, repeated as it broadcasts."""
        inner = self.inner
        by_row, by_column = operand.present[-2:]
        if by_row and by_column:
            return load_value(p, count * inner, row * inner)
        if by_column:
            one = load_value(p, inner)
            return self.k.repeat(one, count)
        if by_row and count > 1:
            column = load_value(p, count, row)
            return self.k.shuffle(column, column, [i // inner for i in range(count * inner)])
        return self.k.broadcast(load_value(p, 1, row if by_row else 0), count * inner)


def _offset(indices: Sequence[Index], sizes: Sequence[Index], present: Sequence[bool]) -> Index:
    """Element offset of an operand that is contiguous over the dimensions it has."""
    offset: Index = 0
    for d, index in enumerate(indices):
        if present[d]:
            stride = product([s for s, p in zip(sizes[d + 1 :], present[d + 1 :], strict=True) if p])
            offset = index * stride + offset
    return offset
