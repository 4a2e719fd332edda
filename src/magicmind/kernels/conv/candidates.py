"""The schedules worth measuring for a convolution: the cost model's ranking over all algorithms, cut short.

The first candidate is what the cost model alone would take. Every algorithm and register tile that is not hopeless by
the estimate has its best schedule among them; the rest of the room goes to further partitions of the work.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

from magicmind.codegen.target import Target
from magicmind.ir.dims import Dim
from magicmind.kernels.conv.choose import (
    choose_depthwise,
    nominal,
    rank_column,
    rank_direct,
    rank_flat,
    rank_separable,
    rank_winograd,
)
from magicmind.kernels.conv.depthwise import DepthwiseSchedule
from magicmind.kernels.conv.direct import DirectSchedule
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.conv.types import F32, ConvTypes
from magicmind.kernels.conv.winograd import WinogradSchedule

T = TypeVar("T", bound=Hashable)

LIMIT = 9
"""Candidates per layer: each costs a compilation of the layer and some runs."""
_HOPELESS = 1.7
"""Estimated times the best one's from which on an algorithm or tile is left out: the model is not that wrong."""


@dataclass(frozen=True)
class FlatSchedule:
    """A pointwise convolution that sees its pixels as rows of `width`."""

    width: int
    schedule: DirectSchedule


ConvSchedule = DirectSchedule | FlatSchedule | WinogradSchedule


def shortlist(ranked: Sequence[tuple[float, T]], kind: Callable[[T], Hashable]) -> list[T]:
    """At most LIMIT of the candidates: the best of every `kind`, then the others; fastest by the estimate first.

    Kinds come first because the estimate errs most between them: mostly one of these is the fastest when measured.
    """
    ordered = sorted(ranked, key=lambda r: r[0])
    hopeful = list(dict.fromkeys(c for cycles, c in ordered if cycles <= _HOPELESS * ordered[0][0]))
    leaders = list({kind(c): c for c in reversed(hopeful)}.values())
    leaders.sort(key=hopeful.index)
    return list(dict.fromkeys([*leaders, *hopeful]))[:LIMIT]


@lru_cache(maxsize=1024)  # networks repeat their layers, and pictures theirs
def conv_candidates(
    shape: ConvShape, target: Target, *, pixels: Dim | None = None, winograd: bool = True, types: ConvTypes = F32
) -> tuple[ConvSchedule, ...]:
    """Direct and Winograd schedules. `pixels`: those of a pointwise convolution whose rows may have any width."""
    ranked: list[tuple[float, ConvSchedule]] = []
    if isinstance(pixels, int):
        ranked += [(cycles, FlatSchedule(width, s)) for cycles, width, s in rank_flat(shape, target, pixels, types)]
    elif pixels is not None:  # one column: register tiles take any number of pixels, whatever their width is
        ranked += [(cycles, FlatSchedule(1, s)) for cycles, s in rank_column(shape, target, types)]
    else:
        ranked += rank_direct(shape, target, types)
        ranked += rank_winograd(shape, target, types) if winograd else []
    return tuple(shortlist(ranked, _algorithm))


def _algorithm(schedule: ConvSchedule) -> Hashable:
    if isinstance(schedule, WinogradSchedule):
        return schedule.m
    tile = schedule.schedule if isinstance(schedule, FlatSchedule) else schedule
    return tile.mr, tile.nr


def depthwise_candidates(shape: ConvShape, target: Target, types: ConvTypes = F32) -> list[DepthwiseSchedule]:
    """Other shares of rows, other register tiles."""
    best = choose_depthwise(shape, target, types)
    height = nominal(shape.oh, shape)
    shares = [max(1, -(-height // (target.threads * parts))) for parts in (1, 2, 4)]
    others = [replace(best, rows=rows) for rows in (height, *shares)]
    others += [replace(best, mr=max(1, tile)) for tile in (best.mr // 2, best.mr * 10 // 7)]
    return list(dict.fromkeys([best, *others]))[:LIMIT]


def separable_candidates(
    depthwise: ConvShape, shape: ConvShape, target: Target, types: ConvTypes = F32
) -> list[tuple[int, DirectSchedule]]:
    """(depthwise tile, pointwise schedule): more or fewer rows per item, other register tiles."""
    mr = choose_depthwise(depthwise, target).mr
    usual = [s for _, s in rank_separable(shape, target, types=types)]
    banded = [s for pixels in (28, 112, 224) for _, s in rank_separable(shape, target, pixels, types)[:2]]
    listed = [(mr, s) for s in [*usual[:4], *banded]] + [(max(1, mr // 2), usual[0])]
    return list(dict.fromkeys(listed))[:LIMIT]
