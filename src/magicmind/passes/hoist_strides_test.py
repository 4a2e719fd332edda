"""HoistStrides: text before and after, near misses, equal numbers."""

from __future__ import annotations

from magicmind.passes.hoist_strides import HoistStrides
from magicmind.testing.check_pass import check_declined, check_pass

WEIGHTS = "float[4,4,3,3] w, float[4,4,1,1] v, float[4,4,1,1] u"
CONV = "magicmind.Conv"


def test_a_stride_moves_to_the_convolution_before() -> None:
    check_pass(
        HoistStrides(),
        f"(float[1,4,8,8] x, {WEIGHTS}) => (float[1,4,4,4] y)"
        f" {{ t = {CONV}<pads=[1,1,1,1], strides=[1,1]>(x, w)  y = {CONV}<strides=[2,2]>(t, v) }}",
        f"(float[1,4,8,8] x, {WEIGHTS}) => (float[1,4,4,4] y)"
        f" {{ t = {CONV}<pads=[1,1,1,1], strides=[2,2]>(x, w)  y = {CONV}<strides=[1,1]>(t, v) }}",
    )


def test_all_readers_and_the_residual_follow() -> None:
    relu = 'epilogue=["t0 = Add(acc, x0)"]'
    check_pass(
        HoistStrides(),
        f"(float[1,4,7,8] x, float[1,4,7,8] r, {WEIGHTS}) => (float[1,4,4,4] y, float[1,4,4,4] z)"
        f" {{ t = {CONV}<{relu}, strides=[1,1]>(x, u, , r)"
        f" y = {CONV}<strides=[2,2]>(t, v)  z = {CONV}<strides=[2,2]>(t, u) }}",
        f"(float[1,4,7,8] x, float[1,4,7,8] r, {WEIGHTS}) => (float[1,4,4,4] y, float[1,4,4,4] z)"
        f" {{ s = MaxPool<kernel_shape=[1,1], strides=[2,2]>(r)  t = {CONV}<{relu}, strides=[2,2]>(x, u, , s)"
        f" y = {CONV}<strides=[1,1]>(t, v)  z = {CONV}<strides=[1,1]>(t, u) }}",
    )


def test_a_reader_of_all_pixels_forbids_it() -> None:
    check_declined(
        HoistStrides(),
        f"(float[1,4,8,8] x, {WEIGHTS}) => (float[1,4,4,4] y, float[1,4,8,8] z)"
        f" {{ t = {CONV}<pads=[1,1,1,1], strides=[1,1]>(x, w)  y = {CONV}<strides=[2,2]>(t, v)"
        f"  z = {CONV}<strides=[1,1]>(t, u) }}",
        "readers that need the other pixels",
    )
