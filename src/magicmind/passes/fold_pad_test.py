"""FoldPad and ResolveAutoPad."""

from __future__ import annotations

import pytest

from magicmind.passes.fold_pad import FoldPad
from magicmind.passes.resolve_auto_pad import ResolveAutoPad
from magicmind.testing.check_pass import check_declined, check_pass

PADS = "<int64[8] p = {0, 0, 1, 2, 0, 0, 1, 0}"
HEAD = "(float[N,1,4,4] x, float[1,1,3,3] w) => (float[N,1,4,4] y)"


def test_into_a_convolution_adds_to_its_pads() -> None:
    check_pass(
        FoldPad(),
        f"{HEAD} {PADS}> {{ t = Pad(x, p)  y = Conv<pads=[0,0,0,0]>(t, w) }}",
        f"{HEAD} {{ y = Conv<pads=[1,2,1,0]>(x, w) }}",
    )


def test_into_an_average_that_counts_zeros() -> None:
    check_pass(
        FoldPad(),
        f"{HEAD} {PADS}> {{ t = Pad(x, p)  y = AveragePool<kernel_shape=[3,3]>(t) }}",
        f"{HEAD} {{ y = AveragePool<kernel_shape=[3,3], pads=[1,2,1,0], count_include_pad=1>(x) }}",
    )


def test_into_a_norm_to_which_zeros_add_nothing() -> None:
    check_pass(
        FoldPad(),
        f"{HEAD} {PADS}> {{ t = Pad(x, p)  y = LpPool<kernel_shape=[3,3]>(t) }}",
        f"{HEAD} {{ y = LpPool<kernel_shape=[3,3], pads=[1,2,1,0]>(x) }}",
    )


def test_into_a_maximum_of_what_is_not_negative() -> None:
    even = "<int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1}>"
    check_pass(
        FoldPad(),
        f"{HEAD} {even} {{ r = Relu(x)  t = Pad(r, p)  y = MaxPool<kernel_shape=[3,3]>(t) }}",
        f"{HEAD} {{ r = Relu(x)  y = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(r) }}",
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{PADS}, float v = {{1.0}}> {{ t = Pad(x, p, v)  y = Conv(t, w) }}", "the padding is not zero"),
        (f'{PADS}> {{ t = Pad<mode="edge">(x, p)  y = Conv(t, w) }}', "does not write a constant"),
        (f"{PADS}> {{ t = Pad(x, p)  y = MaxPool<kernel_shape=[3,3]>(t) }}", "the padding could be the maximum"),
        ("<int64[8] p = {0,1,0,0,0,0,0,0}> { t = Pad(x, p)  y = MaxPool<kernel_shape=[3,3]>(t) }", "batch or channels"),
        (
            f"{PADS}> {{ t = Pad(x, p)  y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(t) }}",
            "the pooling's own padding is not counted",
        ),
    ],
)
def test_near_misses(text: str, reason: str) -> None:
    check_declined(FoldPad(), "(float[N,1,4,4] x, float[1,1,3,3] w) => (y) " + text, reason)


@pytest.mark.parametrize(
    ("mode", "pads"), [("SAME_UPPER", "[0,0,1,1]"), ("SAME_LOWER", "[1,1,0,0]"), ("VALID", "[0,0,0,0]")]
)
def test_auto_pad_becomes_pads(mode: str, pads: str) -> None:
    head = "(float[1,1,4,4] x, float[1,1,3,3] w) => (y)"
    check_pass(
        ResolveAutoPad(),
        f'{head} {{ y = Conv<auto_pad="{mode}", strides=[2,2]>(x, w) }}',
        f"{head} {{ y = Conv<strides=[2,2], pads={pads}>(x, w) }}",
    )


def test_auto_pad_of_a_symbolic_size_with_stride_one() -> None:
    head = "(float[1,1,H,W] x, float[1,1,3,3] w) => (y)"
    check_pass(
        ResolveAutoPad(),
        f'{head} {{ y = Conv<auto_pad="SAME_UPPER">(x, w) }}',
        f"{head} {{ y = Conv<pads=[1,1,1,1]>(x, w) }}",
    )
    text = f'{head} {{ y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(x, w) }}'
    check_declined(ResolveAutoPad(), text, "known at run time only")
