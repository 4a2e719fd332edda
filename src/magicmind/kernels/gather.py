"""Reading by index. Indices count from the end when negative and are clamped, so that no index reads outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Size
from magicmind.codegen.target import Target
from magicmind.kernels.move import copy_span, vector_lanes
from magicmind.kernels.work import params_of, product, ravel, share, unravel

_GROUP = 256  # rows one thread takes at a time


def read_index(k: Kernel, indices: Pointer, at: Index, size: Index) -> Index:
    """Element `at` of the indices as a place in 0..size."""
    i = k.index(indices.load(at=at))
    i = k.index(k.select(k.number(i).compare("<", 0), k.number(i + size), k.number(i)))
    return k.index_max(k.index_min(i, size - 1), 0)


def nothing_if_empty(k: Kernel, items: Index, sizes: Sequence[Index]) -> Index:
    """`items`, or 0 when there is nothing to read: no clamped index would be inside."""
    for size in sizes:
        items = k.index_select(k.less(0, size), items, 0)
    return items


@dataclass(frozen=True)
class Lookup:
    """out[b, i, :] = data[b, indices[b, i, 0], ..., indices[b, i, K-1], :]; Gather and GatherND.

    Args: data [batch, sizes..., inner], indices [batch, count, K] (or [count, K] with `shared`), out
    [batch, count, inner].
    """

    batch: Size
    count: Size
    sizes: tuple[Size, ...]
    inner: Size
    shared: bool
    dtype: str = "f32"
    index_dtype: str = "i64"

    @property
    def name(self) -> str:
        return f"gather_{self.batch}x{self.count}x{self.inner}"

    def build(self, target: Target, symbol: str) -> Kernel:
        params = params_of(self.batch, self.count, *self.sizes, self.inner)
        k = Kernel(symbol, target, (self.dtype, self.index_dtype, self.dtype), params)
        batch, count, inner = k.size(self.batch), k.size(self.count), k.size(self.inner)
        sizes = [k.size(s) for s in self.sizes]
        groups = k.ceildiv(count, _GROUP)
        cost = k.index_min(count, _GROUP) * (inner // vector_lanes(k, self.dtype) + len(sizes))
        first, last = share(k, nothing_if_empty(k, batch * groups, sizes), cost)
        data, indices, out = k.pointers
        with k.loop("item", first, last) as item:
            b, group = unravel(item, (batch, groups))
            begin = group * _GROUP
            with k.loop("i", begin, k.index_min(begin + _GROUP, count)) as i:
                row = i if self.shared else b * count + i
                places = [read_index(k, indices, row * len(sizes) + j, size) for j, size in enumerate(sizes)]
                source = data.offset(ravel([b, *places], [1, *sizes]) * inner)
                copy_span(k, source, out.offset((b * count + i) * inner), 0, inner)
        return k


@dataclass(frozen=True)
class GatherElements:
    """out[i...] = data[i..., with coordinate `axis` replaced by indices[i...]].

    Args: data [sizes...], indices and out [extents...] of the same rank.
    """

    axis: int
    sizes: tuple[Size, ...]
    extents: tuple[Size, ...]
    dtype: str = "f32"
    index_dtype: str = "i64"

    @property
    def name(self) -> str:
        return f"gather_elements_{'x'.join(map(str, self.extents))}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, (self.dtype, self.index_dtype, self.dtype), params_of(*self.sizes, *self.extents))
        sizes, extents = [k.size(s) for s in self.sizes], [k.size(s) for s in self.extents]
        data, indices, out = k.pointers
        rows, width = product(extents[:-1]), extents[-1]
        first, last = share(k, nothing_if_empty(k, rows, [sizes[self.axis]]), width)
        with k.loop("row", first, last) as row:
            outer = unravel(row, extents[:-1])
            with k.loop("x", 0, width) as x:
                at = row * width + x
                place = [*outer, x]
                place[self.axis] = read_index(k, indices, at, sizes[self.axis])
                out.store(data.load(at=ravel(place, sizes)), at=at)
        return k
