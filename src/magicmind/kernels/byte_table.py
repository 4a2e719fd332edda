"""Functions of one byte as tables of 256: what an activation between two quantised values is."""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Size, Vec
from magicmind.codegen.loops import for_rows
from magicmind.codegen.shuffle import look_up, register_bytes
from magicmind.codegen.target import Target
from magicmind.kernels.work import params_of

_GRAIN = 1 << 15  # bytes that are worth waking another thread for
_PART = 16


@dataclass(frozen=True)
class ByteTable:
    """out[i] = table[x[i]] for i in 0..count. Pointers: x u8 [count], table u8 [256], out u8 [count], which may be x.

    A register looks up its low four bits in all 16 parts of the table; the high bits choose among the results, two by
    two: 31 instructions for 16 to 64 bytes, where one by one each takes two.
    """

    count: Size

    @property
    def name(self) -> str:
        return f"byte_table_{self.count}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, ("u8", "u8", "u8"), params_of(self.count))
        x, table, out = k.pointers
        lanes = register_bytes(target)

        def body(_: Index, first: Index, last: Index) -> None:
            whole = first + (last - first) // lanes * lanes
            with k.loop("byte", first, whole, lanes) as i:
                out.store(_look_up_all(table, x.load(lanes, at=i)), at=i)
            with k.loop("byte.rest", whole, last) as i:
                out.store(table.load(at=k.index(x.load(at=i))), at=i)

        for_rows(k, 1, k.size(self.count), _GRAIN, body)
        return k


def _look_up_all(table: Pointer, x: Vec) -> Vec:
    k, low = x.k, x & (_PART - 1)
    found = [look_up(table.load(_PART, at=first), low) for first in range(0, 256, _PART)]
    for bit in range(4, 8):
        is_set = k.bitcast(x << (7 - bit), "i8").compare("<", 0)
        found = [k.select(is_set, high, below) for below, high in zip(found[::2], found[1::2], strict=True)]
    return found[0]
