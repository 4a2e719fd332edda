"""Normalisations in the spellings of exporters: PyTorch's (TorchScript and dynamo), TensorFlow's, Flax's, by hand."""

from __future__ import annotations

import pytest

from magicmind.passes.fuse_normalization import FuseNormalization
from magicmind.testing.check_pass import check_declined, check_pass

CONSTANTS = """<float two = {2.0}, float one = {1.0}, float e = {0.001}, float h = {0.5}, float n = {-0.5},
float zero = {0.0}, int64[1] last = {-1}, int64[1] first = {1}, int64[2] hw = {-1, -2}, float[3] g = {1.0, 2.0, 3.0},
float[3] b = {0.5, 0.25, 0.125}, float[1,3,1,1] gc = {1.0, 2.0, 3.0}, float[3,1,1] bc = {0.5, 0.25, 0.125}> { """
LAYER = "(float[N,4,3] x) => (float[N,4,3] y)"
IMAGE = "(float[N,3,4,5] x) => (float[N,3,4,5] y)"
START = LAYER + CONSTANTS
PLAIN = f"{LAYER} <float[3] one = {{1.0, 1.0, 1.0}}> {{ y = LayerNormalization<axis=2, epsilon=0.001>(x, one) }}"
AFFINE = f"""{LAYER} <float[3] g = {{1.0, 2.0, 3.0}}, float[3] b = {{0.5, 0.25, 0.125}}>
{{ y = LayerNormalization<axis=2, epsilon=0.001>(x, g, b) }}"""
MOMENTS = "m = ReduceMean(x, last) d = Sub(x, m) q = Pow(d, two) v = ReduceMean(q, last) a = Add(v, e) "
TAIL = " u = Mul(o, g) y = Add(u, b)"


@pytest.mark.parametrize(
    "spelling",
    [
        MOMENTS + "s = Sqrt(a) o = Div(d, s)" + TAIL,
        MOMENTS + "s = Sqrt(a) o = Div(d, s) u = Mul(g, o) y = Add(b, u)",
        MOMENTS + "s = Sqrt(a) r = Reciprocal(s) o = Mul(d, r)" + TAIL,
        MOMENTS + "s = Sqrt(a) r = Div(one, s) o = Mul(r, d)" + TAIL,
        MOMENTS + "s = Pow(a, h) o = Div(d, s)" + TAIL,
        MOMENTS + "r = Pow(a, n) o = Mul(d, r)" + TAIL,
        MOMENTS.replace("Pow(d, two)", "Mul(d, d)") + "s = Sqrt(a) o = Div(d, s)" + TAIL,
        MOMENTS.replace("a = Add(v, e)", "a = Add(e, v)") + "s = Sqrt(a) o = Div(d, s)" + TAIL,
        "m = ReduceMean(x, last) d = Sub(x, m) d2 = Sub(x, m) q = Mul(d2, d2) v = ReduceMean(q, last) a = Add(v, e)"
        "s = Sqrt(a) o = Div(d, s)" + TAIL,
        # TensorFlow: x * (rsqrt * gamma) + (beta - mean * (rsqrt * gamma))
        MOMENTS + "s = Sqrt(a) r = Reciprocal(s) k = Mul(r, g) p = Mul(x, k) w = Mul(m, k) z = Sub(b, w) y = Add(p, z)",
        # Flax: the mean of squares less the square of the mean, not below zero
        "m = ReduceMean(x, last) q = Mul(x, x) f = ReduceMean(q, last) c = Mul(m, m) t = Sub(f, c) v = Max(t, zero)"
        "a = Add(v, e) s = Sqrt(a) r = Reciprocal(s) k = Mul(r, g) d = Sub(x, m) u = Mul(d, k) y = Add(u, b)",
        # with casts inside, as onnxruntime's float16 converter leaves them
        "m = ReduceMean(x, last) d = Sub(x, m) dc = Cast<to=1>(d) q = Pow(dc, two) v = ReduceMean(q, last)"
        "a = Add(v, e) s = Sqrt(a) o = Div(dc, s)" + TAIL,
    ],
)
def test_layer_normalization(spelling: str) -> None:
    check_pass(FuseNormalization(), START + spelling + " }", AFFINE)


def test_without_scale_and_offset() -> None:
    check_pass(FuseNormalization(), START + MOMENTS + "s = Sqrt(a) y = Div(d, s) }", PLAIN)


def test_over_several_axes() -> None:
    check_pass(
        FuseNormalization(),
        LAYER + CONSTANTS + MOMENTS.replace("last", "hw") + "s = Sqrt(a) y = Div(d, s) }",
        f"{LAYER} <float[4,3] one = {{{', '.join(['1.0'] * 12)}}}>"
        "{ y = LayerNormalization<axis=1, epsilon=0.001>(x, one) }",
    )


def test_scale_that_varies_along_other_axes_stays() -> None:
    tensor = "(float[N,2,4,3] x) => (float[N,2,4,3] y)"
    check_pass(
        FuseNormalization(),
        f"{tensor} <float two = {{2.0}}, float e = {{0.001}}, int64[1] last = {{-1}},"
        f"float[4,1] k = {{1.0, 2.0, 3.0, 4.0}}> {{ {MOMENTS} s = Sqrt(a) o = Div(d, s) y = Mul(o, k) }}",
        f"{tensor} <float[3] one = {{1.0, 1.0, 1.0}}, float[4,1] k = {{1.0, 2.0, 3.0, 4.0}}>"
        "{ o = LayerNormalization<axis=3, epsilon=0.001>(x, one) y = Mul(o, k) }",
    )


@pytest.mark.parametrize("spelling", ["Pow(x, two)", "Mul(x, x)"])
@pytest.mark.parametrize("root", ["s = Sqrt(a) r = Reciprocal(s) o = Mul(x, r)", "s = Sqrt(a) o = Div(x, s)",
                                  "r = Pow(a, n) o = Mul(r, x)"])  # fmt: skip
def test_rms_normalization(spelling: str, root: str) -> None:
    check_pass(
        FuseNormalization(),
        START + f"q = {spelling} v = ReduceMean(q, last) a = Add(v, e) {root} y = Mul(g, o) }}",
        f"{LAYER} <float[3] g = {{1.0, 2.0, 3.0}}> {{ y = RMSNormalization<axis=2, epsilon=0.001>(x, g) }}",
    )


def test_casts_to_float32_around() -> None:
    """LLaMA's: the mean square in float32, the scale in float16."""
    half = "(float16[N,4,3] x) => (float16[N,4,3] y)"
    check_pass(
        FuseNormalization(),
        half + "<float two = {2.0}, float e = {0.001}, int64[1] last = {-1}, float16[3] g = {15360, 16384, 16896}>"
        "{ f = Cast<to=1>(x) q = Pow(f, two) v = ReduceMean(q, last) a = Add(v, e) s = Sqrt(a) r = Reciprocal(s)"
        "o = Mul(f, r) c = Cast<to=10>(o) y = Mul(g, c) }",
        f"{half} <float16[3] g = {{15360, 16384, 16896}}> {{ y = RMSNormalization<axis=2, epsilon=0.001>(x, g) }}",
    )


def test_instance_normalization() -> None:
    text = CONSTANTS + MOMENTS.replace("last", "hw") + "s = Sqrt(a) o = Div(d, s) u = Mul(o, gc) y = Add(u, bc) }"
    check_pass(
        FuseNormalization(),
        IMAGE + text,
        f"{IMAGE} <float[3] g = {{1.0, 2.0, 3.0}}, float[3] b = {{0.5, 0.25, 0.125}}>"
        "{ y = InstanceNormalization<epsilon=0.001>(x, g, b) }",
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (MOMENTS + "s = Sqrt(a) o = Div(d, s) y = Mul(o, s)", "is used elsewhere"),
        (MOMENTS.replace("last", "first") + "s = Sqrt(a) y = Div(d, s)", "axes [1] of 3, which are not the last"),
        (MOMENTS.replace("v = ReduceMean(q, last)", "v = ReduceMean(q, first)") + "s = Sqrt(a) y = Div(d, s)", "same"),
        ("m = ReduceMean(x, last) s = Sqrt(m) y = Div(x, s)", "nothing small is added"),
        ("a = Add(x, e) s = Sqrt(a) y = Div(x, s)", "of no variance or mean square"),
        ("y = Pow(x, two)", "the power is no root"),
        (
            "m = ReduceMean(x, last) d = Sub(x, m) q = Pow(x, two) v = ReduceMean(q, last) a = Add(v, e) s = Sqrt(a)"
            "y = Div(d, s)",
            "does not divide what they were taken of",
        ),
    ],
)
def test_near_misses_are_declined(text: str, reason: str) -> None:
    check_declined(FuseNormalization(), START + text + " }", reason)
