"""FuseSeparable: text before and after, near misses, equal numbers."""

from __future__ import annotations

from magicmind.passes.fuse_separable import FuseSeparable
from magicmind.testing.check_pass import check_declined, check_pass

HEAD = "(float[1,2,14,14] x) => (float[1,3,14,14] y)"
V = ",".join(str(i) for i in range(18))
WEIGHTS = f"<float[2,1,3,3] v = {{{V}}}, float[3,2,1,1] w = {{1,2,3,4,5,6}}, float[3] b = {{1,2,3}}>"
RELU = 'epilogue=["t0 = Relu(acc)"]'
DEPTHWISE = f"magicmind.Conv<{RELU}, group=2, pads=[1,1,1,1]>(x, v)"


def test_a_pair_becomes_one_node() -> None:
    check_pass(
        FuseSeparable(),
        f"{HEAD} {WEIGHTS} {{ t = {DEPTHWISE}  y = magicmind.Conv<{RELU}>(t, w, b) }}",
        f'{HEAD} {WEIGHTS} {{ y = magicmind.SeparableConv<{RELU}, inner=["t0 = Relu(acc)"], pads=[1,1,1,1]>'
        f"(x, v, , w, b) }}",
    )


def test_a_second_reader_forbids_it() -> None:
    check_declined(
        FuseSeparable(),
        f"(float[1,2,14,14] x) => (float[1,3,14,14] y, float[1,3,14,14] z) {WEIGHTS}"
        f" {{ t = {DEPTHWISE}  y = magicmind.Conv(t, w, b)  z = magicmind.Conv(t, w) }}",
        "other readers",
    )


def test_small_images_stay_apart() -> None:
    check_declined(
        FuseSeparable(),
        f"(float[1,2,7,7] x) => (float[1,3,7,7] y) {WEIGHTS} {{ t = {DEPTHWISE}  y = magicmind.Conv(t, w, b) }}",
        "small",
    )


def test_whole_numbers_stay_apart() -> None:
    check_declined(
        FuseSeparable(),
        "(uint8[1,2,14,14] x) => (int32[1,3,14,14] y)"
        f" <int8[2,1,3,3] v = {{{V}}}, int8[3,2,1,1] w = {{1,2,3,4,5,6}}>"
        ' { t = magicmind.Conv<group=2, pads=[1,1,1,1], epilogue=["t0 = Cast(acc, UINT8)"]>(x, v)'
        "  y = magicmind.Conv(t, w) }",
        "whole numbers",
    )
