"""What is offered for measuring: the cost model's choice first, every algorithm that applies, nothing twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from magicmind.codegen.builder import Param
from magicmind.codegen.target import find_target
from magicmind.kernels.contract import register_tiles
from magicmind.kernels.conv.candidates import (
    LIMIT,
    FlatSchedule,
    conv_candidates,
    depthwise_candidates,
    separable_candidates,
    shortlist,
)
from magicmind.kernels.conv.choose import choose_depthwise, rank_direct, rank_separable, rank_winograd
from magicmind.kernels.conv.direct import DirectSchedule
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.conv.winograd import WinogradSchedule
from magicmind.kernels.matmul import choose_matmul, matmul_candidates

TARGETS = [find_target(name) for name in ("x86-64-v3", "x86-64-v4")]
DENSE = ConvShape(1, 1, 64, 64, 28, 28, 28, 28, 3, 3, pt=1, pl=1, padded=True)
POINTWISE = ConvShape(1, 1, 64, 128, 28, 28, 28, 28, 1, 1)
DEPTHWISE = ConvShape(1, 64, 1, 1, 28, 28, 28, 28, 3, 3, pt=1, pl=1, padded=True)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_the_cost_models_choice_comes_first(target: object) -> None:
    assert isinstance(target, type(TARGETS[0]))
    winograd, direct = rank_winograd(DENSE, target)[0], rank_direct(DENSE, target)[0]
    assert winograd[0] < direct[0] and conv_candidates(DENSE, target)[0] == winograd[1]
    assert conv_candidates(DENSE, target, winograd=False)[0] == direct[1]
    depthwise = choose_depthwise(DEPTHWISE, target)
    assert depthwise_candidates(DEPTHWISE, target)[0] == depthwise
    separable = depthwise.mr, rank_separable(POINTWISE, target)[0][1]
    assert separable_candidates(DEPTHWISE, POINTWISE, target)[0] == separable
    for rows in (1, 100, 1000, Param(0)):
        assert matmul_candidates(target, rows, 1024)[0] == choose_matmul(target, rows, 1024)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("batch", [1, Param(0)], ids=["batch1", "mutable"])
def test_candidates_differ_and_are_few(target: object, batch: int | Param) -> None:
    assert isinstance(target, type(TARGETS[0]))
    dense, pointwise = replace(DENSE, n=batch), replace(POINTWISE, n=batch)
    for listed in (conv_candidates(dense, target), conv_candidates(pointwise, target, pixels=784)):
        assert 1 < len(listed) <= LIMIT
        assert len(set(listed)) == len(listed) == len({repr(c) for c in listed})


def test_algorithms_that_apply_are_offered() -> None:
    target = find_target("x86-64-v4")
    dense = conv_candidates(DENSE, target)
    assert {c.m for c in dense if isinstance(c, WinogradSchedule)} == {2, 4}
    assert not any(isinstance(c, WinogradSchedule) for c in conv_candidates(DENSE, target, winograd=False))
    strided = replace(DENSE, sh=2, sw=2, oh=14, ow=14)
    assert {type(c) for c in conv_candidates(strided, target)} == {DirectSchedule}
    flat = [c for c in conv_candidates(POINTWISE, target, pixels=784) if isinstance(c, FlatSchedule)]
    assert all(784 % c.width == 0 for c in flat)
    assert len({(c.schedule.mr, c.schedule.nr) for c in flat}) > len(register_tiles(target)) // 2


def test_a_shortlist_begins_with_the_best_of_every_kind() -> None:
    ranked = [(1.0, "a1"), (1.1, "a2"), (1.2, "b1"), (1.05, "a3"), (9.0, "c1")]
    assert shortlist(ranked, lambda name: name[0]) == ["a1", "b1", "a3", "a2"]
