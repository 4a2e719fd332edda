"""Which convolution kernel, with which schedule: a small cost model with measured constants.

A schedule's estimate is the time of the busiest thread: register tiles in cycles, weights and pixels that do not stay
in a core's own caches as streams. Constants were measured on one core of a 3 GHz AVX-512 server CPU (family 6 model
207), see docs/design/0002-speed-log.md. Results do not depend on a schedule beyond rounding, and not at all on the
thread count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from magicmind.codegen.dot import dot_instruction
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import ITEMSIZE
from magicmind.kernels.contract import register_tiles, share_lines, weight_group, whole_steps
from magicmind.kernels.conv.depthwise import DepthwiseSchedule
from magicmind.kernels.conv.direct import DirectSchedule
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.conv.types import F32, ConvTypes
from magicmind.kernels.conv.winograd import MOST_BYTE_CHANNELS, WinogradSchedule, numbers_of
from magicmind.kernels.tiles import balanced

_NOMINAL = 56
_CHANNELS_THERE = 128
"""Extent assumed for a run-time size when schedules are compared, in a layer of so many channels: networks halve the
extents where they double the channels, and those that take any size segment or detect, in pictures of 400 and more."""
_NUDGES = (-5, 0, 3)
"""What is added to an assumed extent in turn: the best tile for one width would be no good for the next."""
_BATCHES = {1: 8.0, 8: 1.0}
"""Batches a schedule has to serve when the batch is a run-time value, with the weight of each: the choice of an
algorithm may not depend on it."""
_LOADS_PER_CYCLE, _FMAS_PER_CYCLE = 2.0, 2.0
_PAIRS_PER_CYCLE = 1.5
"""Multiplications of pairs with the addition that follows each of them (three ports, of which two multiply)."""
_UNPACK = 1.0
"""Cycles of converting one 512-bit register of float16 weights, on the ports that multiply. (AVX2 has others for it:
Zen 3 multiplied at the same speed as float32, and slower where the weights went through scratch. On Zen 4 one of them a
step is hidden by 28 products, two cost two cycles.)"""
_COPY = 1.5
"""Cycles of one input register on its way to scratch."""
_TILE_OVERHEAD = 12.0
"""Cycles to start and store one register tile, beyond its multiply-adds."""
_ITEM_OVERHEAD = 60.0
_EFFICIENCY = 0.93
_STREAM_BYTES_PER_CYCLE = 4.0
"""From the shared cache, one core streaming weights that are used once."""
_TRANSFORM = {2: (60.0, 50.0), 4: (190.0, 140.0)}
"""Cycles of one input and one output Winograd transform of 16 channels, by output tile size."""
_TRANSFORM_BYTES = (30.0, 50.0)
"""Those of bytes, for output tiles of 2: half as many registers on the way in."""


def nominal(size: object, shape: ConvShape) -> int:
    """A constant size, or the one assumed for a run-time size."""
    assumed = _NOMINAL * _CHANNELS_THERE // max(shape.ic * shape.groups, shape.oc * shape.groups)
    return size if isinstance(size, int) else max(14, min(assumed, 2 * _NOMINAL))


def _batches(shape: ConvShape) -> dict[int, float]:
    """The batches to estimate for, with their weights."""
    return {shape.n: 1.0} if isinstance(shape.n, int) else _BATCHES


def _overlap(compute: float, weight_bytes: float) -> float:
    """Cycles of work that streams weights: the longer of both, and a part of the shorter that does not hide."""
    stream = weight_bytes / _STREAM_BYTES_PER_CYCLE
    return max(compute, stream) + 0.2 * min(compute, stream)


def _share(items: int, threads: int) -> int:
    """Items of the busiest thread."""
    return -(-items // threads)


# ---------------------------------------------------------------------------------------------------------- direct


@dataclass(frozen=True)
class _Sizes:
    """A convolution's sizes as numbers, for comparing schedules; `row_bytes` of input belong to an output row.
    (Counted as the input is multiplied: it may be wider in scratch than in memory.)
    """

    n: int
    height: int
    width: int
    depth: int
    blocks: int
    row_bytes: int
    fixed: bool
    types: ConvTypes

    @classmethod
    def of(cls, shape: ConvShape, target: Target, batch: int = 1, nudge: int = 0, types: ConvTypes = F32) -> _Sizes:
        width = nominal(shape.iw, shape)
        return cls(
            n=batch,
            height=nominal(shape.oh, shape),
            width=nominal(shape.ow, shape) + (0 if isinstance(shape.ow, int) else nudge),
            depth=shape.ic * shape.kh * shape.kw,
            blocks=shape.oc_blocks * shape.groups,
            row_bytes=shape.ic_blocks * BLOCK * width * ITEMSIZE[types.rows(target)] * shape.sh,
            fixed=isinstance(shape.oh, int) and isinstance(shape.ow, int) and isinstance(shape.iw, int),
            types=types,
        )

    @property
    def block_bytes(self) -> int:
        """Weights of one block of output channels."""
        return BLOCK * self.depth * ITEMSIZE[self.types.w]

    def copy_cycles(self, rows: int, target: Target) -> float:
        """Converting the input of so many output rows on its way to scratch. (In float32 measured to be hidden.)"""
        if self.types.x == "f32":
            return 0.0
        return _COPY * self.row_bytes * rows / (ITEMSIZE[self.types.rows(target)] * target.lanes)

    def together(self, mr: int) -> int:
        """Output rows in one register tile."""
        return max(1, min(mr // self.width, self.height)) if self.fixed and self.width else 1

    def tiles(self, mr: int, rows: int) -> list[tuple[int, int]]:
        """(pixels, how many) of the register tiles of `rows` output rows."""
        return [
            (size * r, count * times)
            for r, times in balanced(rows, self.together(mr))
            for size, count in balanced(self.width, mr // r)
        ]


def _tile_cycles(
    pixels: int, nr: int, depth: int, target: Target, types: ConvTypes = F32, unpacked: bool = False
) -> float:
    """Cycles of one register tile."""
    single = types.acc != "i32" or dot_instruction(target).adds
    hidden = unpacked or (target.split and nr == 1)
    convert = _UNPACK * nr if types.w == "f16" and target.lanes == BLOCK and not hidden else 0.0
    steps = whole_steps(target, types.w, depth) // weight_group(target, types.w)
    return _product_cycles(pixels, nr, steps, target, single, convert)


def _product_cycles(pixels: int, nr: int, steps: int, target: Target, single: bool, convert: float = 0.0) -> float:
    """Multiply-adds, loads or the latency of the accumulators, whichever is longest.

    `single`: one instruction multiplies and adds; `convert`: cycles of each step on the ports that multiply."""
    registers = target.registers_per_block
    fmas = pixels * nr * registers / (_FMAS_PER_CYCLE if single else _PAIRS_PER_CYCLE) + convert
    loads = (pixels + nr * registers) / _LOADS_PER_CYCLE
    return max(fmas, loads, 4.0) * steps + _TILE_OVERHEAD + pixels * nr * registers


def _options(most: int, *wanted: int) -> Iterator[int]:
    """Each wanted number once, kept within 1..most."""
    yield from dict.fromkeys(max(1, min(most, w)) for w in wanted)


def _direct_cycles(sizes: _Sizes, schedule: DirectSchedule, target: Target) -> float:
    """Estimated cycles of the busiest thread."""
    nr, per_item = schedule.nr, schedule.chunks
    full, tail = divmod(sizes.blocks, nr)
    chunks = full + (1 if tail else 0)
    row_blocks, parts = -(-sizes.height // schedule.rows), -(-chunks // per_item)
    busiest = _share(parts * sizes.n * row_blocks, target.threads)
    rows = min(schedule.rows, sizes.height)
    tiles = sizes.tiles(schedule.mr, rows)
    column = sum(
        count * _tile_cycles(pixels, nr, sizes.depth, target, sizes.types, schedule.unpack) for pixels, count in tiles
    )
    if schedule.unpack:
        column += (_UNPACK + 1.0) * nr * sizes.depth
    item = column * per_item * (sizes.blocks / (chunks * nr)) + _ITEM_OVERHEAD + sizes.copy_cycles(rows, target)
    weights = per_item * nr * sizes.block_bytes
    # Weights of an item stay in L2 over the items of one thread when they fit beside the pixels.
    reads = max(1.0, busiest / (sizes.n * row_blocks)) if weights <= target.l2 // 2 else float(busiest)
    pixels = sizes.row_bytes * rows
    again = (per_item - 1) * max(0.0, 1 - target.l2 / (2 * pixels))  # the part that has left L2 before the next chunk
    pixel_bytes = busiest * pixels * (1 + again)
    # Threads that share output channels read each other's pixels; threads that share rows keep to their own.
    crossing = sizes.n * sizes.height * sizes.row_bytes / 2 if parts > 1 and target.threads > 1 else 0
    moved = pixel_bytes + 0.3 * crossing / target.threads
    return _overlap(busiest * item, reads * weights) + moved / _STREAM_BYTES_PER_CYCLE


def _weighed_direct(shape: ConvShape, schedule: DirectSchedule, target: Target, types: ConvTypes = F32) -> float:
    """Estimated cycles over all batches the schedule has to serve."""
    nudges = (0,) if isinstance(shape.ow, int) else _NUDGES
    return sum(
        w * _direct_cycles(_Sizes.of(shape, target, n, nudge, types), schedule, target) / len(nudges)
        for n, w in _batches(shape).items()
        for nudge in nudges
    )


def rank_direct(shape: ConvShape, target: Target, types: ConvTypes = F32) -> list[tuple[float, DirectSchedule]]:
    """Schedules with their estimated cycles, fastest first."""
    sizes, threads = _Sizes.of(shape, target, types=types), target.threads
    candidates = []
    for mr, nr in register_tiles(target, types.acc):
        together = sizes.together(mr)
        chunks = -(-sizes.blocks // nr)
        in_l2 = (target.l2 // 4) // max(1, nr * sizes.block_bytes)
        rows_in_l2 = (target.l2 // 4) // max(1, sizes.row_bytes)
        height = sizes.height
        for wanted in _options(height, height, rows_in_l2, *(-(-height // (threads * i)) for i in (1, 2, 4))):
            rows = min(height, -(-wanted // together) * together)
            for per_item in _options(chunks, chunks, -(-chunks // threads), -(-chunks // (2 * threads)), in_l2, 1):
                for unpack in _unpacking(sizes, nr, target):
                    schedule = DirectSchedule(mr, nr, rows, per_item, unpack=unpack)
                    candidates.append((_weighed_direct(shape, schedule, target, types), schedule))
    candidates.sort(key=lambda c: c[0])
    heavy = sizes.blocks * sizes.block_bytes > target.l2 // 2
    if not heavy:
        return candidates
    return [(cycles, _fetching_ahead(sizes, schedule)) for cycles, schedule in candidates]


def _unpacking(sizes: _Sizes, nr: int, target: Target) -> tuple[bool, ...]:
    """Whether a chunk of weights may be unpacked: those of float16 that then stay in L2."""
    fits = nr * BLOCK * sizes.depth * ITEMSIZE["f32"] <= target.l2 // 3
    possible = sizes.types.w == "f16" and target.lanes == BLOCK and not target.split and fits
    return (False, True) if possible else (False,)


def _fetching_ahead(sizes: _Sizes, schedule: DirectSchedule) -> DirectSchedule:
    """With the register tiles asking for the next chunk's weights."""
    if schedule.unpack:  # streams them already
        return schedule
    per_chunk = sum(count for _, count in sizes.tiles(schedule.mr, min(schedule.rows, sizes.height)))
    if not sizes.fixed:  # better to ask for a line too many than to miss some in pictures smaller than assumed
        per_chunk = -(-per_chunk // 3)
    return replace(schedule, ahead=share_lines(schedule.nr, per_chunk, sizes.types.w))


def rank_flat(
    shape: ConvShape, target: Target, pixels: int, types: ConvTypes = F32
) -> list[tuple[float, int, DirectSchedule]]:
    """A pointwise convolution sees its `pixels` as rows of any width: (cycles, width, schedule), fastest first."""
    widths = [w for w in range(7, min(pixels, 256) + 1) if pixels % w == 0] or [pixels]
    found: list[tuple[float, int, DirectSchedule]] = []
    for width in widths:
        height = pixels // width
        flat = replace(shape, ih=height, oh=height, iw=width, ow=width)
        found += [(cycles, width, schedule) for cycles, schedule in rank_direct(flat, target, types)]
    return sorted(found, key=lambda f: (f[0], -f[1]))


def rank_column(shape: ConvShape, target: Target, types: ConvTypes = F32) -> list[tuple[float, DirectSchedule]]:
    """Schedules of a pointwise convolution whose pixels, a run-time number, lie in one column, fastest first."""
    height, width = nominal(shape.oh, shape), nominal(shape.ow, shape)
    column = replace(shape, ih=height * width, oh=height * width, iw=1, ow=1)
    return [(cycles, replace(schedule, ahead=0)) for cycles, schedule in rank_direct(column, target, types)]


# ------------------------------------------------------------------------------------------------------- depthwise


def choose_depthwise(shape: ConvShape, target: Target, types: ConvTypes = F32) -> DepthwiseSchedule:
    """A tile of pixels that leaves registers for weights; threads share rows where these divide evenly, else channels.

    That is how the pointwise convolutions around it are shared, so that a thread mostly reads what it wrote.
    """
    mr = 14 if target.lanes == BLOCK else max(1, (target.vregs - 2) // target.registers_per_block // 2)
    if types.x == "u8" and types.w != "f32":  # dot products read weights from memory: sums take nearly all registers
        mr = max(1, min(14, (target.vregs - 6) // target.registers_per_block))
    height = nominal(shape.oh, shape)
    even = height % target.threads == 0 or height >= 8 * target.threads
    return DepthwiseSchedule(mr, max(1, -(-height // target.threads) if even else height))


def rank_separable(
    shape: ConvShape, target: Target, pixels: int = _NOMINAL, types: ConvTypes = F32
) -> list[tuple[float, DirectSchedule]]:
    """Pointwise schedules of a fused pair with their estimated cycles, fastest first.

    An item takes all channels, and of the rows the fewest that divide evenly and have `pixels`: scratch stays small.
    """
    sizes = _Sizes.of(shape, target, types=types)
    rows = next((r for r in range(1, sizes.height + 1) if sizes.height % r == 0 and r * sizes.width >= pixels), 1)
    schedules = [DirectSchedule(mr, nr, rows, -(-sizes.blocks // nr)) for mr, nr in register_tiles(target)]
    return sorted(((_weighed_direct(shape, s, target, types), s) for s in schedules), key=lambda ranked: ranked[0])


# -------------------------------------------------------------------------------------------------------- winograd


def rank_winograd(shape: ConvShape, target: Target, types: ConvTypes = F32) -> list[tuple[float, WinogradSchedule]]:
    """Schedules of all tile sizes with their estimated cycles, fastest first.

    Only for 3x3 windows, stride and dilation 1, one group, at least a block of channels on either side; else none.
    """
    plain = (shape.kh, shape.kw, shape.sh, shape.sw, shape.dh, shape.dw, shape.groups) == (3, 3, 1, 1, 1, 1, 1)
    if not plain or min(shape.ic, shape.oc) < BLOCK:
        return []
    if types.is_integer:
        sizes = [2] if types.x == "u8" and shape.ic <= MOST_BYTE_CHANNELS else []
    else:
        sizes = list(_TRANSFORM)
    return sorted((ranked for m in sizes for ranked in _winograd_tiles(shape, target, m, types)), key=lambda c: c[0])


def _winograd_tiles(shape: ConvShape, target: Target, m: int, types: ConvTypes) -> list[tuple[float, WinogradSchedule]]:
    """Schedules of one tile size with the estimated cycles of the busiest thread."""
    mr, nr = register_tiles(target)[0]
    fixed = isinstance(shape.n, int) and isinstance(shape.oh, int) and isinstance(shape.ow, int)
    batches = _batches(shape)
    per_image = -(-nominal(shape.oh, shape) // m) * -(-nominal(shape.ow, shape) // m)
    tiles = max(batches) * per_image
    chunks = -(-shape.oc_blocks // nr)
    candidates = []
    for per_part in _options(chunks, chunks, -(-chunks // 2), -(-chunks // target.threads), -(-chunks // 4)):
        tile_bytes = (m + 2) ** 2 * (shape.ic_blocks * ITEMSIZE[numbers_of(types)] + per_part * nr * 4) * BLOCK
        most = max(1, int(2.5 * target.l2) // tile_bytes)
        shares = [-(-n * per_image // target.threads) for n in batches]
        for run in _options(min(most, tiles), most, 126, 98, 70, 56, 42, 28, 14, per_image, *shares):
            run = -(-tiles // -(-tiles // run)) if fixed else run
            schedule = WinogradSchedule(m, mr, nr, run, per_part)
            cycles = sum(
                w * _winograd_cycles(shape, schedule, n * per_image, target, types) for n, w in batches.items()
            )
            candidates.append((cycles, schedule))
    return candidates


def _winograd_cycles(
    shape: ConvShape, schedule: WinogradSchedule, tiles: int, target: Target, types: ConvTypes
) -> float:
    m, nr, run = schedule.m, schedule.nr, min(schedule.tiles, tiles)
    positions = (m + 2) ** 2
    runs, parts = -(-tiles // schedule.tiles), -(-shape.oc_blocks // (nr * schedule.chunks))
    busiest = _share(runs * parts, target.threads)
    kr, single = 1, True
    if types.is_integer:
        instruction = dot_instruction(target, words=True)
        kr, single = instruction.kr, instruction.adds
    steps = shape.ic_blocks * BLOCK // kr
    per_tile = sum(
        count * _product_cycles(size, nr, steps, target, single) for size, count in balanced(run, schedule.mr)
    )
    product = positions * per_tile * min(schedule.chunks, shape.oc_blocks / nr)
    to, back = _TRANSFORM[m] if not types.is_integer else _TRANSFORM_BYTES
    blocks = min(shape.oc_blocks, nr * schedule.chunks)
    transforms = run * (shape.ic_blocks * to + blocks * back) * target.registers_per_block
    weights = positions * shape.ic_blocks * BLOCK * blocks * BLOCK * ITEMSIZE[numbers_of(types)]
    reads = busiest if weights > target.l2 // 2 else 1
    pixels = busiest * run * m * m * shape.ic * ITEMSIZE[types.x]
    scratch = (
        busiest * positions * (shape.ic_blocks * ITEMSIZE[numbers_of(types)] + blocks * 4) * schedule.tiles * BLOCK
    )
    spilled = scratch if scratch > busiest * 0.7 * target.l2 else 0
    moved = (pixels + 0.5 * spilled) / _STREAM_BYTES_PER_CYCLE
    return _overlap(busiest * product / _EFFICIENCY, reads * weights) + busiest * transforms + 0.3 * moved
