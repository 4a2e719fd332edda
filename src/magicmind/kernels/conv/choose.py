"""Which convolution kernel, with which schedule: a small cost model with measured constants.

Constants were measured on one core of a 3 GHz AVX-512 server CPU (family 6 model 207), see
docs/design/0002-speed-log.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen.target import BLOCK, Target
from magicmind.kernels.contract import register_tiles, share_lines
from magicmind.kernels.conv.depthwise import DepthwiseSchedule
from magicmind.kernels.conv.direct import DirectSchedule
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.conv.winograd import WinogradSchedule
from magicmind.kernels.tiles import balanced

_NOMINAL = 56
"""Extent assumed for a run-time size when schedules are compared."""
_LOADS_PER_CYCLE, _FMAS_PER_CYCLE = 2.0, 2.0
_TILE_OVERHEAD = 12.0
"""Cycles to start and store one register tile, beyond its multiply-adds."""


def nominal(size: object, default: int = _NOMINAL) -> int:
    """A constant size, or the one assumed for a run-time size."""
    return size if isinstance(size, int) else default


@dataclass(frozen=True)
class _Candidate:
    cycles: float
    mr: int
    nr: int


def _tile_cycles(pixels: int, nr: int, depth: int) -> float:
    """Cycles of one register tile: multiply-adds, loads or the latency of the accumulators, whichever is longest."""
    fmas = pixels * nr / _FMAS_PER_CYCLE
    loads = (pixels + nr) / _LOADS_PER_CYCLE
    return max(fmas, loads, 4.0) * depth + _TILE_OVERHEAD + pixels * nr


def choose_tile(shape: ConvShape, target: Target) -> tuple[int, int]:
    """(mr, nr) with the least estimated time for the whole layer."""
    depth = shape.ic * shape.kh * shape.kw
    width, height = nominal(shape.ow), nominal(shape.oh)
    candidates = []
    for mr, nr in register_tiles(target):
        rows = max(1, min(mr // width, height)) if isinstance(shape.ow, int) and width else 1
        tiles = [
            (size * r, count * times) for r, times in balanced(height, rows) for size, count in balanced(width, mr // r)
        ]
        full, tail = divmod(shape.oc_blocks, nr)
        cycles = sum(full * count * _tile_cycles(pixels, nr, depth) for pixels, count in tiles)
        if tail:
            cycles += sum(count * _tile_cycles(pixels, tail, depth) for pixels, count in tiles)
        candidates.append(_Candidate(cycles, mr, nr))
    best = min(candidates, key=lambda c: c.cycles)
    return best.mr, best.nr


def choose_direct(shape: ConvShape, target: Target, *, plain_input: bool = False) -> DirectSchedule:
    """Register tile, then cache blocks: an item's input rows and weights should stay in half of L2 each."""
    mr, nr = choose_tile(shape, target)
    chunk_bytes = shape.ic * shape.kh * shape.kw * nr * BLOCK * 4
    chunks = -(-shape.oc_blocks // nr)
    height, width = nominal(shape.oh), nominal(shape.ow)
    row_bytes = shape.ic_blocks * BLOCK * nominal(shape.iw) * 4 * shape.sh
    rows = max(1, min(height, (target.l2 // 4) // max(row_bytes, 1)))
    # At least four items per image where the image allows it, so that threads share the rows evenly.
    rows = min(rows, max(1, -(-height // 4)))
    together = max(1, mr // width) if isinstance(shape.ow, int) and width else 1
    rows = min(height, -(-rows // together) * together)
    if chunk_bytes * chunks <= target.l2 // 2:
        return DirectSchedule(mr, nr, rows, chunks)
    # Heavy weights: an item is one image by a few chunks, so that threads share the weights and each is read once.
    per_item = max(1, min(chunks // 2, (target.l2 // 4) // chunk_bytes))
    if not isinstance(shape.oh, int) or not isinstance(shape.ow, int):
        return DirectSchedule(mr, nr, rows, per_item)
    tiles = sum(n for _, n in balanced(height, together)) * sum(n for _, n in balanced(width, mr // together))
    return DirectSchedule(mr, nr, height, per_item, share_lines(nr, tiles))


def choose_depthwise(shape: ConvShape, target: Target) -> DepthwiseSchedule:
    """A tile of pixels that leaves registers for weights; a quarter of the rows per item."""
    mr = 14 if target.lanes == BLOCK else max(1, (target.vregs - 2) // target.registers_per_block // 2)
    return DepthwiseSchedule(mr, max(1, -(-nominal(shape.oh) // 8)))


# Cycles of one input and one output transform of 16 channels, by output tile size.
_TRANSFORM = {2: (45.0, 45.0), 4: (120.0, 110.0)}
_STREAM_BYTES_PER_CYCLE = 5.0
"""From the shared cache, one core streaming weights that are used once."""
_EFFICIENCY = 0.93


def choose_winograd(shape: ConvShape, target: Target) -> WinogradSchedule | None:
    """The fastest of F(2x2) and F(4x4) when it beats direct convolution by the estimate; None otherwise.

    Only for 3x3 windows, stride and dilation 1, one group, at least a block of channels on either side.
    """
    plain = (shape.kh, shape.kw, shape.sh, shape.sw, shape.dh, shape.dw, shape.groups) == (3, 3, 1, 1, 1, 1, 1)
    if not plain or min(shape.ic, shape.oc) < BLOCK:
        return None
    per_cycle = _FMAS_PER_CYCLE * target.lanes * _EFFICIENCY
    pixels = nominal(shape.n, _NOMINAL_BATCH) * nominal(shape.oh) * nominal(shape.ow)
    direct = _overlap(
        pixels * 9 * shape.ic * shape.oc_blocks * BLOCK / per_cycle, 36 * shape.ic * shape.oc_blocks * BLOCK
    )
    candidates = [_winograd(shape, target, m) for m in _TRANSFORM]
    cycles, schedule = min(candidates, key=lambda c: c[0])
    return schedule if cycles < direct else None


_NOMINAL_BATCH = 4
"""Batch assumed when it is a run-time value: the algorithm may not depend on it."""


def _overlap(compute: float, weight_bytes: float) -> float:
    """Cycles of work that streams its weights once: the longer of both, and a part of the shorter that does not hide."""
    stream = weight_bytes / _STREAM_BYTES_PER_CYCLE
    return max(compute, stream) + 0.2 * min(compute, stream)


def _winograd(shape: ConvShape, target: Target, m: int) -> tuple[float, WinogradSchedule]:
    """Estimated cycles of one core for the layer, and the schedule they belong to."""
    mr, nr = (14, 2) if target.lanes == BLOCK else register_tiles(target)[0]
    positions = (m + 2) ** 2
    down, across = -(-nominal(shape.oh) // m), -(-nominal(shape.ow) // m)
    tiles = nominal(shape.n, _NOMINAL_BATCH) * down * across
    ic, oc = shape.ic_blocks * BLOCK, shape.oc_blocks * BLOCK
    chunks = -(-shape.oc_blocks // nr)
    weight_bytes = positions * ic * oc * 4
    # Weights that no core can keep are shared out: two parts of the output channels, each read by one thread.
    parts = 2 if weight_bytes > target.l2 and chunks > 1 else 1
    per_part = -(-chunks // parts)
    tile_bytes = positions * (shape.ic_blocks + per_part * nr) * BLOCK * 4
    most = max(1, int(0.65 * target.l2) // tile_bytes)
    runs = max(1, -(-tiles // most))
    if parts == 1:
        runs = -(-runs // 2) * 2  # an even number of equal items for an even number of threads
    run = -(-tiles // runs) if isinstance(shape.n, int) and isinstance(shape.oh, int) else most
    to, back = _TRANSFORM[m]
    transforms = tiles * (shape.ic_blocks * to * parts + shape.oc_blocks * back) * (BLOCK // target.lanes)
    # A register tile shorter than the latency of its accumulators wastes issue slots.
    filled = sum(max(size * nr, 8) * count for size, count in balanced(run, mr)) / (run * nr)
    product = tiles * positions * ic * oc * filled / (_FMAS_PER_CYCLE * target.lanes * _EFFICIENCY)
    streamed = weight_bytes * max(1, runs) if weight_bytes // parts > target.l2 // 2 else weight_bytes
    return _overlap(product, streamed) + transforms, WinogradSchedule(m, mr, nr, run, per_part)
