"""Attention against numpy in float64: odd lengths, masks, shared heads, operands lying in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from magicmind.codegen.builder import Param, Size
from magicmind.codegen.target import find_target
from magicmind.ir.dims import evaluate
from magicmind.kernels.attention import Attention, Mask, View, scratch_bytes
from magicmind.kernels.jit_testing import run
from magicmind.testing.targets import KERNEL_TARGETS

Array = npt.NDArray[Any]
RNG = np.random.default_rng(11)


@dataclass
class Case:
    """q [b, h, s, d], k [b, h / group, t, d], v [b, h / group, t, w] as the operator sees them; the mask broadcasts.

    `order` is how q, k, v and the result lie in memory.
    """

    q: Array
    k: Array
    v: Array
    mask: Array | None = None
    fill: float = -np.inf
    causal: int | None = None
    order: str = "bhsd"
    zero_masked: bool = False
    chunks: int = 1

    @property
    def scale(self) -> float:
        return 0.3

    @property
    def group(self) -> int:
        return int(self.q.shape[1] // self.k.shape[1])

    def expected(self) -> Array:
        q, k, v = self.q.astype("f8"), *(np.repeat(x, self.group, 1).astype("f8") for x in (self.k, self.v))
        scores = q @ k.swapaxes(-1, -2) * self.scale
        if self.mask is not None:
            scores = np.where(self.mask, scores, self.fill) if self.mask.dtype == bool else scores + self.mask
        if self.causal is not None:
            scores = np.where(np.tri(scores.shape[-2], scores.shape[-1], self.causal, dtype=bool), scores, -np.inf)
        peak = scores.max(-1, keepdims=True, initial=-np.inf)
        e = np.exp(scores - np.where(np.isneginf(peak), 0, peak))
        with np.errstate(invalid="ignore"):
            p = e / e.sum(-1, keepdims=True)
        return np.asarray((np.where(np.isneginf(peak), 0, p) if self.zero_masked else p) @ v)

    def run(self, target: str, mutable: bool = False, threads: int = 1) -> Array:
        (b, h, s, d), t, w = self.q.shape, self.k.shape[2], self.v.shape[3]
        axes = ["bhsd".index(axis) for axis in self.order]
        stored = [np.ascontiguousarray(x.transpose(axes)) for x in (self.q, self.k, self.v)]
        out = np.full([(b, h, s, w)[axis] for axis in axes], 7, self.q.dtype)
        params: list[int] = []

        def size(value: int) -> Size:
            if not mutable:
                return value
            params.append(value)
            return Param(len(params) - 1)

        def view(x: Array) -> View:
            strides = dict(zip(self.order, (n // x.itemsize for n in x.strides), strict=True))
            return View(size(strides["b"]), size(strides["h"]), size(strides["s"]), strides["d"])

        mask = None
        if self.mask is not None:
            steps = np.broadcast_to(self.mask, (b, h, s, t)).strides
            lead = [size(n // self.mask.itemsize) if n else 0 for n in steps[:3]]
            mask = Mask(View(*lead), self.fill if self.mask.dtype == bool else None)
        sizes = (size(b), size(h), size(s), size(t), size(d), size(w))
        views = [view(x) for x in (*stored, out)]
        causal = None if self.causal is None else size(self.causal)
        group = size(self.group)
        (qs, ks, vs, outs), words = views, (self.scale, group, mask, causal, self.zero_masked, self.chunks)
        dtype = "f16" if self.q.dtype == np.float16 else "f32"
        spec = Attention(*sizes, qs, ks, vs, outs, *words, dtype)
        scratch = evaluate(scratch_bytes(find_target(target), self.chunks, d, t, w, dtype), {})
        inputs = [*stored, *([] if self.mask is None else [self.mask])]
        (result,) = run(spec, target, inputs, [out], params, threads, scratch=scratch)
        return np.asarray(result.transpose([self.order.index(axis) for axis in "bhsd"]))


def draw(b: int, h: int, s: int, t: int, d: int, w: int = 0, group: int = 1, **words: Any) -> Case:
    shapes = [(b, h, s, d), (b, h // group, t, d), (b, h // group, t, w or d)]
    q, k, v = (RNG.standard_normal(shape).astype("f4") for shape in shapes)
    return Case(q, k, v, **words)


def check(case: Case, target: str = "native", *, rtol: float = 2e-5, mutable: bool = False) -> None:
    """Run-time sizes and any number of threads give the same bits."""
    got, want = case.run(target), case.expected()
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol / 10)
    np.testing.assert_array_equal(got, case.run(target, threads=3))
    if mutable:
        np.testing.assert_array_equal(got, case.run(target, mutable=True))


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1, 1), (1, 2, 17, 3, 16), (1, 2, 33, 130, 80), (2, 1, 64, 257, 64, 40), (1, 1, 5, 0, 4)]
)
def test_sizes(shape: tuple[int, ...]) -> None:
    check(draw(*shape), mutable=shape[3] < 100)


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize("shape", [(2, 3, 3, 17, 5, 7), (1, 1, 35, 131, 16, 4)])
def test_sizes_on_every_target(shape: tuple[int, ...], target: str) -> None:
    check(draw(*shape), target)


@pytest.mark.parametrize(("order", "group"), [("bshd", 2), ("sbhd", 1), ("bhsd", 6)])
def test_orders_and_shared_heads(order: str, group: int) -> None:
    check(draw(2, 6, 19, 21, 10, 18, group, order=order))


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("add", (2, 3, 37, 21)),
        ("add", (1, 1, 1, 21)),
        ("hide", (1, 3, 37, 21)),
        ("fill", (2, 1, 1, 21)),
        ("fill", (37, 140)),
    ],
)
def test_masks(kind: str, shape: tuple[int, ...]) -> None:
    mask = RNG.standard_normal(shape).astype("f4") if kind == "add" else RNG.random(shape) < 0.6
    check(draw(2, 3, 37, shape[-1], 16, mask=mask, fill=-1.5 if kind == "fill" else -np.inf), mutable=kind == "fill")


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize("rows", [1, 21])
def test_masks_on_every_target(rows: int, target: str) -> None:
    check(draw(1, 2, 21, 23, 4, mask=RNG.random((1, 2, rows, 23)) < 0.6), target)
    check(draw(1, 2, 21, 23, 4, mask=RNG.standard_normal((rows, 23)).astype("f4"), causal=3), target)


@pytest.mark.parametrize(("queries", "keys", "causal"), [(50, 50, 0), (20, 170, 150), (40, 9, 5)])
def test_causal(queries: int, keys: int, causal: int) -> None:
    check(draw(1, 2, queries, keys, 24, causal=causal), mutable=keys == 50)


@pytest.mark.parametrize("causal", [None, 0])
@pytest.mark.parametrize("queries", [96, 123])
def test_several_chunks_share_a_block_of_keys(queries: int, causal: int | None) -> None:
    check(draw(1, 2, queries, 140, 8, causal=causal, chunks=3), mutable=queries == 123 and causal == 0)


@pytest.mark.parametrize("zero_masked", [False, True])
def test_queries_that_see_nothing(zero_masked: bool) -> None:
    mask = np.zeros((1, 1, 20, 200), "f4")
    mask[:, :, 3] = -np.inf
    mask[:, :, 4, :190] = -np.inf  # a whole block hidden, then keys of low scores
    mask[:, :, 4, 190:] = -300
    check(draw(1, 2, 20, 200, 8, mask=mask, zero_masked=zero_masked), rtol=1e-3)
    check(draw(1, 2, 40, 30, 8, causal=-5, zero_masked=zero_masked))


def test_masks_of_the_lowest_number_and_large_scores() -> None:
    mask = np.where(RNG.random((1, 1, 9, 40)) < 0.5, 0, np.finfo("f4").min).astype("f4")
    mask[:, :, 2] = np.finfo("f4").min
    check(draw(1, 2, 9, 40, 8, mask=mask))
    case = draw(1, 2, 9, 140, 8)
    case.q *= 300
    check(case, rtol=5e-4)  # scores of thousands are off by half a unit in the last place: 1e-4 in the exponent


def test_not_a_number_stays_in_its_row() -> None:
    case = draw(1, 1, 20, 30, 8)
    case.q[0, 0, 7, 3] = np.nan
    got = case.run("native")
    assert np.isnan(got[0, 0, 7]).all()
    assert np.isfinite(np.delete(got, 7, axis=2)).all()


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 3, 3, 17, 5, 7), {}),
        ((1, 4, 35, 131, 16, 4, 2), {"order": "bshd", "chunks": 2}),
        ((1, 2, 40, 150, 8), {"causal": 90}),
    ],
)
def test_float16(shape: tuple[int, ...], words: dict[str, Any], target: str) -> None:
    """In memory alone: sums are those of float32."""
    case = draw(*shape, **words)
    case.q, case.k, case.v = (x.astype("f2") for x in (case.q, case.k, case.v))
    check(case, target, rtol=1e-3, mutable=shape[1] == 4)
