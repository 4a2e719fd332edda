"""Dot products against the numpy meaning of their instruction, at the ends of the range and anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from magicmind.codegen.builder import Kernel
from magicmind.codegen.dot import dot, dot_format, dot_instruction, load_group, load_weights
from magicmind.codegen.llvm import assembly
from magicmind.codegen.target import BLOCK, Target, find_target
from magicmind.testing.run_kernel import emulated_targets, run_kernel, runnable_targets


@dataclass(frozen=True)
class DotKernel:
    """out[16] = out[16] + a[depth] . w[depth / kr, 16, kr]. Pointers: a, w, out."""

    depth: int
    name: str = "dot"

    def build(self, target: Target, symbol: str) -> Kernel:
        form = dot_format(target)
        k = Kernel(symbol, target, [form.activations, "i8", "i32"])
        a, w, out = k.pointers
        acc = k.tile("acc", 1, dtype="i32")
        acc[0,] = out.load(BLOCK)
        with k.loop("k", 0, self.depth, form.kr) as i:
            acc[0,] = dot(k, acc[0,], load_group(k, a, i), load_weights(k, w, i * BLOCK))
        out.store(acc[0,])
        return k


DEPTH = 24


def run(target: str, a: np.ndarray, w: np.ndarray, start: np.ndarray) -> np.ndarray:
    """start + a . w, w [depth, 16]."""
    form = dot_format(find_target(target))
    packed = np.ascontiguousarray(w.reshape(-1, form.kr, BLOCK).transpose(0, 2, 1))
    out = start.copy()
    run_kernel(
        DotKernel(DEPTH), [a.astype(form.activations.replace("u8", "u1").replace("i16", "i2")), packed, out], (), target
    )
    return out


@pytest.mark.parametrize("target", [*runnable_targets(), *emulated_targets()])
def test_exact_everywhere_in_the_range(target: str) -> None:
    rng = np.random.default_rng(3)
    a = rng.choice(np.array([0, 1, 127, 128, 254, 255], np.uint8), DEPTH)
    w = rng.choice(np.array([-128, -127, -1, 0, 1, 127], np.int8), (DEPTH, BLOCK))
    start = rng.integers(-(2**31), 2**31, BLOCK).astype(np.int32)
    want = (start + a.astype(np.int64) @ w.astype(np.int64)).astype(np.int32)
    np.testing.assert_array_equal(run(target, a, w, start), want)


@pytest.mark.parametrize("weight", [-128, 127])
@pytest.mark.parametrize("target", [*runnable_targets(), *emulated_targets()])
def test_nothing_saturates(target: str, weight: int) -> None:
    a, w = np.full(DEPTH, 255, np.uint8), np.full((DEPTH, BLOCK), weight, np.int8)
    np.testing.assert_array_equal(run(target, a, w, np.zeros(BLOCK, np.int32)), np.full(BLOCK, DEPTH * 255 * weight))


@pytest.mark.parametrize("target", runnable_targets())
def test_one_step_is_what_the_table_says(target: str) -> None:
    instruction = dot_instruction(find_target(target))
    rng = np.random.default_rng(4)
    a = rng.integers(0, 256, DEPTH).astype(np.uint8)
    w = rng.integers(-128, 128, (DEPTH, BLOCK)).astype(np.int8)
    want = np.zeros(BLOCK, np.int32)
    for group, weights in zip(a.reshape(-1, instruction.kr), w.reshape(-1, instruction.kr, BLOCK), strict=True):
        want = instruction.meaning(want, np.tile(group, BLOCK), weights.T.ravel())
    np.testing.assert_array_equal(run(target, a, w, np.zeros(BLOCK, np.int32)), want)


@pytest.mark.parametrize(
    ("target", "instruction"),
    [
        (find_target("x86-64-v2"), "pmaddwd"),
        (find_target("x86-64-v3"), "vpmaddwd"),
        (find_target("x86-64-v4"), "vpmaddwd"),
        (find_target("cascadelake"), "vpdpbusd"),
        (find_target("alderlake"), "{vex} vpdpbusd"),
        (find_target("aarch64"), "smlal"),
    ],
    ids=lambda v: v if isinstance(v, str) else v.name,
)
def test_selects_its_instruction(target: Target, instruction: str) -> None:
    text = assembly(DotKernel(DEPTH).build(target, "f").finish(), target).replace("\t", " ")
    assert instruction in text
    assert "spill" not in text.lower()
