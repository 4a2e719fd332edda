"""Depthwise convolution of bytes by dot products along the rows of a window (`kernels/conv/row_groups.py`).

A vector of sums holds as many neighbouring columns as their cells have parts of the channels; the vectors of all parts
are packed to bytes in the order of memory as they are (`Epilogue.store_parts`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from magicmind.codegen.builder import Index, Kernel, Pointer, Tile, Vec
from magicmind.codegen.dot import dot
from magicmind.codegen.target import BLOCK
from magicmind.kernels.conv.row_groups import STEP, RowGroupCopy, RowGroups
from magicmind.kernels.tiles import for_tiles

PutParts = Callable[[Index, Index, Index, Index, Sequence[Sequence[Vec]], int], None]
"""Takes (image, channel block, row, column, sums, count): vectors of neighbouring pixels by part of the channels, the
last ones of `count` pixels that exist."""


class DotDepthwiseRows:
    """Emits the depthwise convolution of some output rows of one channel block.

    `pointers`: x (uint8), w (`RowGroups.pack`), bias (int32). `x_zero` is what padding holds. `mr`: pixels of a tile.
    """

    def __init__(
        self,
        k: Kernel,
        groups: RowGroups,
        mr: int,
        pointers: tuple[Pointer, Pointer, Pointer],
        x_zero: int,
        scratch: Pointer,
        put: PutParts,
    ) -> None:
        self.k, self.groups, self.s, self.put = k, groups, groups.shape, put
        self.vectors = max(1, mr // groups.across)
        x, self.w, self.bias = pointers
        self.ow = k.size(self.s.ow)
        self.copy = RowGroupCopy(k, groups, x, x_zero, scratch)

    def emit(self, image: Index, block: Index, row0: Index, row1: Index) -> None:
        """Output rows row0..row1."""
        k, groups, across = self.k, self.groups, self.groups.across
        rows = row1 - row0
        with k.loop("group", 0, groups.count(rows)) as group:
            self.copy.emit(image, block, row0 * self.s.sh - self.s.pt + group * STEP, group)
        starts = [self._everywhere(self.bias, block * BLOCK, groups.channels, part) for part in range(groups.parts)]
        weights = self.w.offset(block * sum(groups.weights_of(phase) for phase in range(groups.phases)))

        def output_row(row: Index, phase: int, packed: Pointer) -> None:
            first_group = row * self.s.sh // STEP

            def tile(column: Index, vectors: int, count: int) -> None:
                acc = k.tile("acc", vectors, groups.parts, dtype="i32")
                for v, part in acc:
                    acc[v, part] = starts[part]
                self._window(acc, first_group, column, packed, phase)
                sums = [[acc[v, part] for part in range(groups.parts)] for v in range(vectors)]
                self.put(image, block, row0 + row, column, sums, count)

            whole = self.ow // across
            for_tiles(k, "col", whole, self.vectors, lambda first, size: tile(first * across, size, across))
            left = self.ow - whole * across
            for count in range(1, across):
                if not isinstance(left, int):
                    with k.when(k.b.icmp_signed("==", k.i64(left), k.i64(count))):
                        tile(whole * across, 1, count)
                elif count == left:
                    tile(whole * across, 1, count)

        for phase in range(groups.phases):
            with k.loop("row", phase, rows, groups.phases) as row:
                output_row(row, phase, weights)
            weights = weights.offset(groups.weights_of(phase))

    def _everywhere(self, p: Pointer, at: Index, size: int, part: int) -> Vec:
        """The `size` numbers of one part of the channels, for all columns of a vector."""
        return self.k.repeat(p.load(size, at + part * size), self.groups.across)

    def _window(self, acc: Tile, group: Index, column: Index, weights: Pointer, phase: int) -> None:
        """Cells that several taps read are loaded once."""
        k, s, groups, copy = self.k, self.s, self.groups, self.copy
        size = BLOCK * groups.kr
        readers: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for v in range(len({v for v, _ in acc})):
            for tap in range(s.kw):
                shift, residue = divmod(tap * s.dw, s.sw)
                readers.setdefault((shift + v * groups.across, residue), []).append((v, tap))
        for step in range(groups.steps(phase)):
            for part in range(groups.parts):
                places = [(step * s.kw + tap) * size for tap in range(s.kw)]
                packed = [self._everywhere(weights, place, groups.cell, part) for place in places]
                for (shift, residue), multiplied in sorted(readers.items()):
                    cells = copy.cell(group + step * groups.apart, part, residue, column + shift).load(size)
                    for v, tap in multiplied:
                        acc[v, part] = dot(k, acc[v, part], cells, packed[tap])
