"""LiftTranspose."""

from __future__ import annotations

import pytest

from magicmind.passes.lift_transpose import LiftTranspose, regrouped
from magicmind.testing.check_pass import check_declined, check_pass


@pytest.mark.parametrize(
    ("before", "after", "groups"),
    [
        ((2, 3, 4), (6, 4), [([0, 1], [0]), ([2], [1])]),
        ((2, 12), (2, 3, 4), [([0], [0]), ([1], [1, 2])]),
        ((1, 2, 1, 3), (2, 3, 1), [([1], [0]), ([3], [1])]),
        ((4, 9), (6, 6), [([0, 1], [0, 1])]),
        ((1, 1), (1,), []),
    ],
)
def test_regrouped(before: tuple[int, ...], after: tuple[int, ...], groups: object) -> None:
    assert regrouped(before, after) == groups


def test_flatten_of_pixels_between() -> None:
    """Channels last, pixels joined, channels first again: no data moves in the end."""
    head = "(float[N,2,3,4] x) => (float[N,2,12] y)"
    check_pass(
        LiftTranspose(),
        f"{head} <int64[3] s = {{0, 12, 2}}> {{ t = Transpose<perm=[0,2,3,1]>(x) r = Reshape(t, s)"
        "y = Transpose<perm=[0,2,1]>(r) }",
        f"{head} <int64[3] s = {{0, 2, 12}}> {{ t = Transpose<perm=[0,1,2,3]>(x) y = Reshape(t, s) }}",
    )


def test_squeeze_between() -> None:
    head = "(float[2,3,1,N] x) => (float[3,2,N] y)"
    check_pass(
        LiftTranspose(),
        f"{head} <int64[1] axes = {{1}}> {{ t = Transpose<perm=[0,2,3,1]>(x) r = Squeeze(t, axes)"
        "y = Transpose<perm=[2,0,1]>(r) }",
        f"{head} <int64[3] s = {{3, 2, 0}}> {{ t = Transpose<perm=[1,0,3,2]>(x) y = Reshape(t, s) }}",
    )


SHUFFLE = "(float[1,4,3] x) => (float[1,4,3] y) <int64[4] s = {1, 2, 2, 3}, int64[3] j = {1, 4, 3}> "


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            SHUFFLE + "{ r = Reshape(x, s) t = Transpose<perm=[0,2,1,3]>(r) y = Reshape(t, j) }",
            "no transpose is before the reshape",
        ),
        (
            "(float[4,6] x) => (float[2,4,3] y) <int64[3] s = {3, 2, 4}>"
            "{ t = Transpose<perm=[1,0]>(x) r = Reshape(t, s) y = Transpose<perm=[1,2,0]>(r) }",
            "takes apart",
        ),
        (
            "(float[2,6] x) => (float[3,4] y) <int64[2] s = {4, 3}>"
            "{ t = Transpose<perm=[1,0]>(x) r = Reshape(t, s) y = Transpose<perm=[1,0]>(r) }",
            "takes apart",
        ),
    ],
)
def test_near_misses(text: str, reason: str) -> None:
    check_declined(LiftTranspose(), text, reason)
