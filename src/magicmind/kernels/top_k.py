"""The k largest or smallest elements along one axis, in order; of equal ones those with lower positions."""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen import ir
from magicmind.codegen.builder import Index, Kernel, Pointer, Size
from magicmind.codegen.target import Target
from magicmind.codegen.values import Vec
from magicmind.kernels.scalar import compute_dtype, load_value, store_value
from magicmind.kernels.spec import count_params
from magicmind.kernels.work import share


@dataclass(frozen=True)
class TopK:
    """values[o, j, i], positions[o, j, i]: the j-th best of x[o, :, i].

    Pointers: x [outer, axis, inner], values and positions (i64) [outer, count, inner]. Every element is put into its
    place among the best so far, which lie in the outputs: quick where few of them change. A NaN is larger than all.
    """

    largest: bool
    dtype: str
    outer: Size
    axis: Size
    inner: Size
    count: Size

    @property
    def name(self) -> str:
        return f"top_{self.count}_{self.dtype}_{self.outer}x{self.axis}x{self.inner}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, (self.dtype, self.dtype, "i64"), count_params(self))
        outer, axis, inner, count = (k.size(s) for s in (self.outer, self.axis, self.inner, self.count))
        x, values, positions = k.pointers
        first, last = share(k, outer * inner, axis * 4)
        with k.when(_positive(k, count)), k.loop("line", first, last) as line:
            o, i = line // inner, line % inner
            source = x.offset(o * axis * inner + i)
            base = o * count * inner + i
            with k.loop("j", 0, axis) as j:
                self._offer(k, load_value(source, at=j * inner), j, values.offset(base), positions.offset(base))
        return k

    def _offer(self, k: Kernel, x: Vec, j: Index, values: Pointer, positions: Pointer) -> None:
        """Inserts element j where it belongs among the min(j, count) best so far."""
        inner, count = k.size(self.inner), k.size(self.count)
        filled = k.index_min(j, count)
        worst = load_value(values, at=k.index_max(filled - 1, 0) * inner)
        room = k.less(filled, count)
        room_value = ir.Constant(ir.IntType(1), int(room)) if isinstance(room, bool) else room
        with k.when(k.b.or_(room_value, self._beats(x, worst).value)):
            place = k.variable(k.index_min(filled, count - 1), "place")
            # One step per place: the loop has a fixed end, later steps do nothing once the place is found.
            done = k.variable(0, "done")
            with k.loop("shift", 0, place.get()):
                at = place.get()
                above = load_value(values, at=(at - 1) * inner)
                moves = k.b.and_(self._beats(x, above).value, k.b.icmp_signed("==", k.i64(done.get()), k.i64(0)))
                with k.when(moves):
                    store_value(values, above, at * inner)
                    positions.store(positions.load(at=(at - 1) * inner), at * inner)
                    place.set(at - 1)
                with k.when(k.b.not_(moves)):
                    done.set(1)
            store_value(values, x, place.get() * inner)
            positions.store(k.number(j), place.get() * inner)

    def _beats(self, x: Vec, other: Vec) -> Vec:
        result = x.compare(">" if self.largest else "<", other)
        if not x.is_float or compute_dtype(self.dtype) not in ("f32", "f64"):
            return result
        nan_x, nan_other = x.compare("!=", x), other.compare("!=", other)
        new, old = (nan_x, nan_other) if self.largest else (nan_other, nan_x)
        return result | (new & (old ^ 1))


def _positive(k: Kernel, count: Index) -> ir.Value | bool:
    return k.less(0, count)
