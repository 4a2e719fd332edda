"""Writing by index into a copy of the data. Where indices repeat, updates are joined in their order."""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Size
from magicmind.codegen.target import Target
from magicmind.codegen.values import Vec
from magicmind.kernels.gather import nothing_if_empty, read_index
from magicmind.kernels.reduce import Monoid
from magicmind.kernels.scalar import load_value, store_value
from magicmind.kernels.spec import count_params
from magicmind.kernels.work import product, ravel, share, unravel

_MONOIDS = {"add": "sum", "mul": "prod", "max": "max", "min": "min"}


def _join(reduction: str, out: Pointer, at: Index, update: Vec) -> None:
    """out[at] becomes what `reduction` makes of it and the update."""
    if reduction != "none":
        update = Monoid(_MONOIDS[reduction]).join(load_value(out, at=at), update)
    store_value(out, update, at)


@dataclass(frozen=True)
class ScatterRows:
    """out[indices[i, 0], ..., indices[i, K-1], :] joins updates[i, :], i in order.

    Args: indices [count, K], updates [count, inner], out [sizes..., inner], which holds the data already. Threads
    divide `inner`.
    """

    reduction: str
    count: Size
    sizes: tuple[Size, ...]
    inner: Size
    dtype: str
    index_dtype: str = "i64"

    @property
    def name(self) -> str:
        return f"scatter_{self.reduction}_{self.dtype}_{self.count}x{self.inner}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, (self.index_dtype, self.dtype, self.dtype), count_params(self))
        sizes = [k.size(s) for s in self.sizes]
        count, inner = nothing_if_empty(k, k.size(self.count), sizes), k.size(self.inner)
        indices, updates, out = k.pointers
        first, last = share(k, inner, count)
        with k.loop("i", 0, count) as i:
            places = [read_index(k, indices, i * len(sizes) + j, size) for j, size in enumerate(sizes)]
            target_row, source = out.offset(ravel(places, sizes) * inner), updates.offset(i * inner)
            with k.loop("x", first, last) as x:
                _join(self.reduction, target_row, x, load_value(source, at=x))
        return k


@dataclass(frozen=True)
class ScatterElements:
    """out[i..., with coordinate `axis` replaced by indices[i...]] joins updates[i...].

    Args: indices and updates [extents...], out [sizes...] of the same rank, which holds the data already. A line along
    the axis is walked in order by one thread.
    """

    reduction: str
    axis: int
    sizes: tuple[Size, ...]
    extents: tuple[Size, ...]
    dtype: str
    index_dtype: str = "i64"

    @property
    def name(self) -> str:
        return f"scatter_elements_{self.reduction}_{self.dtype}_{'x'.join(map(str, self.extents))}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, (self.index_dtype, self.dtype, self.dtype), count_params(self))
        sizes, extents = [k.size(s) for s in self.sizes], [k.size(s) for s in self.extents]
        indices, updates, out = k.pointers
        others = [e for axis, e in enumerate(extents) if axis != self.axis]
        lines = nothing_if_empty(k, product(others), [sizes[self.axis]])
        first, last = share(k, lines, extents[self.axis])
        with k.loop("line", first, last) as line:
            place = unravel(line, others)
            place.insert(self.axis, 0)
            with k.loop("i", 0, extents[self.axis]) as i:
                place[self.axis] = i
                at = ravel(place, extents)
                goal = [*place]
                goal[self.axis] = read_index(k, indices, at, sizes[self.axis])
                _join(self.reduction, out, ravel(goal, sizes), load_value(updates, at=at))
        return k
