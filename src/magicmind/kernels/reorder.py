"""Between plain [N, C, pixels] and blocked [N, ceil(C/16), pixels, 16] memory."""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Size, Vec
from magicmind.codegen.target import BLOCK, Target
from magicmind.kernels.transpose import side, transpose
from magicmind.kernels.work import params_of, share, unravel


@dataclass(frozen=True)
class Reorder:
    """Copies between the layouts.

    Args: in, out of `dtype`: plain and blocked with `to_blocked`, else blocked and plain. Lanes beyond `channels` are
    written as zero and never read.
    """

    to_blocked: bool
    batch: Size
    channels: Size
    pixels: Size
    dtype: str = "f32"

    @property
    def name(self) -> str:
        return f"to_{'blocked' if self.to_blocked else 'plain'}_{self.channels}x{self.pixels}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, (self.dtype, self.dtype), params_of(self.batch, self.channels, self.pixels))
        _Emitter(k, self).blocks()
        return k


class _Emitter:
    """One item is a strip of pixels of one channel block."""

    def __init__(self, k: Kernel, spec: Reorder) -> None:
        self.k, self.to_blocked = k, spec.to_blocked
        self.batch, self.channels, self.pixels = k.size(spec.batch), k.size(spec.channels), k.size(spec.pixels)
        self.plain, self.blocked = k.pointers if spec.to_blocked else reversed(k.pointers)
        self.side = min(BLOCK, side(k.target, spec.dtype))
        self.strip = 16 * self.side

    def blocks(self) -> None:
        k = self.k
        blocks, strips = k.ceildiv(self.channels, BLOCK), k.ceildiv(self.pixels, self.strip)
        first, last = share(k, self.batch * blocks * strips, 2 * self.strip)
        with k.loop("item", first, last) as item:
            n, block, strip = unravel(item, (self.batch, blocks, strips))
            begin = strip * self.strip
            end = k.index_min(begin + self.strip, self.pixels)
            plain = self.plain.offset((n * self.channels + block * BLOCK) * self.pixels)
            blocked = self.blocked.offset((n * blocks + block) * self.pixels * BLOCK)
            whole_blocks = isinstance(self.channels, int) and self.channels % BLOCK == 0
            live = BLOCK if whole_blocks else k.index_min(self.channels - block * BLOCK, BLOCK)
            self.block(plain, blocked, begin, end, live)

    def block(self, plain: Pointer, blocked: Pointer, begin: Index, end: Index, live: Index) -> None:
        """Pixels begin..end of one channel block that has `live` channels."""
        k, step = self.k, self.side
        tiled = begin + (end - begin) // step * step
        full = tiled if live == BLOCK else k.index_select(k.less(live, BLOCK), begin, tiled)
        for first, last, limit in ((begin, full, BLOCK), (full, tiled, live)):
            if first is last:
                continue
            with k.loop("p", first, last, step) as p:
                for c in k.unroll("c", BLOCK // step):
                    self.tile(plain.offset(p), blocked.offset(p * BLOCK), c * step, limit)
        with k.loop("edge", tiled, end) as p:
            self.pixel(plain.offset(p), blocked.offset(p * BLOCK), live)

    def tile(self, plain: Pointer, blocked: Pointer, channel: int, live: Index) -> None:
        """`side` pixels of `side` channels from `channel`, of which those below `live` exist."""
        n = self.side
        channels = range(channel, channel + n)
        if self.to_blocked:
            for i, pixel in enumerate(transpose([self.plain_row(plain, c, live) for c in channels])):
                blocked.store(pixel, at=i * BLOCK + channel)
            return
        pixels = [blocked.load(n, at=i * BLOCK + channel) for i in range(n)]
        for c, row in zip(channels, transpose(pixels), strict=True):
            with self.k.when(self.k.less(c, live)):
                plain.store(row, at=self.pixels * c)

    def plain_row(self, plain: Pointer, channel: int, live: Index) -> Vec:
        """Pixels of one channel; zeros for one that does not exist, in whose place an existing one is read."""
        k = self.k
        exists = k.less(channel, live)
        row = plain.load(self.side, at=self.pixels * k.index_min(channel, live - 1))
        if isinstance(exists, bool):
            return row if exists else k.const(0, row.dtype, row.lanes)
        return k.select(Vec(k, exists, "bool", 1), row, k.const(0, row.dtype, row.lanes))

    def pixel(self, plain: Pointer, blocked: Pointer, live: Index) -> None:
        k = self.k
        with k.loop("c", 0, live) as c:
            if self.to_blocked:
                blocked.store(plain.load(at=c * self.pixels), at=c)
            else:
                plain.store(blocked.load(at=c), at=c * self.pixels)
        if self.to_blocked:
            with k.loop("pad", live, BLOCK) as c:
                blocked.store(k.const(0, blocked.dtype), at=c)
