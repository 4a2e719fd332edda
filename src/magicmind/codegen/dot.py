"""Integer dot products: uint8 activations times int8 weights, summed in the 32-bit lanes of a vector of 16.

A target adds the products of `kr` neighbouring numbers to a lane in one step (docs/design/0013-precision.md). Weights
lie in memory as `[k/kr][16][kr]` int8; `kr` activations are read at once and repeated for all lanes. Steps are exact,
and sums wrap like numpy's int32, so all targets give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from magicmind.codegen import ir
from magicmind.codegen.builder import Index, Kernel, Pointer
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import I32, ITEMSIZE, Vec

Lanes = npt.NDArray[Any]


def dot4(acc: Lanes, a: Lanes, w: Lanes) -> Lanes:
    """acc[l] + sum of a[4l + t] * w[4l + t] over t < 4; u8 times i8, wraps. Source: Intel SDM, VPDPBUSD."""
    return _plus(acc, a, w, 4)


def dot2(acc: Lanes, a: Lanes, w: Lanes) -> Lanes:
    """acc[l] + a[2l] * w[2l] + a[2l + 1] * w[2l + 1]; i16 times i16, wraps. Intel SDM, VPDPWSSD, PMADDWD."""
    return _plus(acc, a, w, 2)


def dot1(acc: Lanes, a: Lanes, w: Lanes) -> Lanes:
    """acc[l] + a[l] * w[l]; i16 times i16, wraps. Source: Arm ARM, SMLAL."""
    return _plus(acc, a, w, 1)


def _plus(acc: Lanes, a: Lanes, w: Lanes, kr: int) -> Lanes:
    products = a.astype(np.int32) * w.astype(np.int32)
    return np.asarray(acc + products.reshape(-1, kr).sum(1, dtype=np.int32))


@dataclass(frozen=True)
class Instruction:
    """A dot product of `lanes` 32-bit lanes: LLVM's intrinsic (none: LLVM finds the instruction in plain arithmetic),
    the CPU features it needs, what it does to the lanes of its operands, and whether it adds to the accumulator itself.
    """

    meaning: Callable[[Lanes, Lanes, Lanes], Lanes]
    kr: int
    lanes: int
    needs: tuple[str, ...]
    intrinsic: str | None
    adds: bool


_INSTRUCTIONS = (
    Instruction(dot4, 4, 16, ("avx512vnni",), "llvm.x86.avx512.vpdpbusd.512", True),
    Instruction(dot4, 4, 8, ("avxvnni",), "llvm.x86.avx512.vpdpbusd.256", True),
    Instruction(dot2, 2, 16, ("avx512vnni",), "llvm.x86.avx512.vpdpwssd.512", True),
    Instruction(dot2, 2, 8, ("avxvnni",), "llvm.x86.avx512.vpdpwssd.256", True),
    Instruction(dot2, 2, 16, ("avx512bw",), "llvm.x86.avx512.pmaddw.d.512", False),
    Instruction(dot2, 2, 8, ("avx2",), "llvm.x86.avx2.pmadd.wd", False),
    Instruction(dot2, 2, 4, ("sse4.1",), "llvm.x86.sse2.pmadd.wd", False),
    Instruction(dot1, 1, 4, ("neon",), None, True),
)
"""Best first; of those for bytes, and of those for 16 bits."""


@dataclass(frozen=True)
class DotFormat:
    """How a target multiplies bytes: `kr` numbers of one lane per step; `activations` is their type where they are read
    ("u8" in place, or "i16": they have to be widened into scratch first)."""

    kr: int
    activations: str

    @property
    def widens(self) -> bool:
        """Whether activations are copied to scratch before they are multiplied."""
        return self.activations != "u8"


def dot_instruction(target: Target, words: bool = False) -> Instruction:
    """The first instruction of the table whose features the target has; `words`: of those that multiply i16."""
    return next(i for i in _INSTRUCTIONS if set(i.needs) <= set(target.requires) and not (words and i.kr == 4))


def dot_format(target: Target, words: bool = False) -> DotFormat:
    """The layout of the operands of `dot`; `words`: where both are to be i16, on any target."""
    kr = dot_instruction(target, words).kr
    return DotFormat(kr, "u8" if kr == 4 else "i16")


def load_group(k: Kernel, p: Pointer, at: Index = 0) -> Vec:
    """`kr` activations, repeated for every lane: `[16][kr]`. `p` has the format's type of activations."""
    kr = dot_instruction(k.target, p.dtype == "i16").kr
    place = p.offset(at)
    bits = ir.IntType(8 * ITEMSIZE[p.dtype] * kr)
    one = Vec(k, k.b.load(place.value, typ=bits, align=ITEMSIZE[p.dtype]), f"i{bits.width}", 1)
    every = k.broadcast(one, BLOCK).value
    return Vec(k, k.b.bitcast(every, k.vector_type(p.dtype, kr * BLOCK)), p.dtype, kr * BLOCK)


def load_weights(k: Kernel, p: Pointer, at: Index = 0) -> Vec:
    """One step's weights of 16 outputs, `[16][kr]` int8 (or i16), as `dot` takes them."""
    instruction = dot_instruction(k.target, p.dtype == "i16")
    packed = p.load(instruction.kr * BLOCK, at)
    return packed if instruction.kr == 4 else k.convert(packed, "i16")


def dot(k: Kernel, acc: Vec, a: Vec, w: Vec) -> Vec:
    """acc[l] + sum over t < kr of a[l, t] * w[l, t] for the int32 lanes of `acc`, whole registers of them.

    `a` comes from `load_group` (or is any `[lanes][kr]` vector of activations), `w` from `load_weights`.
    """
    instruction = dot_instruction(k.target, a.dtype == "i16")
    lanes = instruction.lanes
    return k.concatenate([_part(k, instruction, acc, a, w, first) for first in range(0, acc.lanes, lanes)])


def _part(k: Kernel, instruction: Instruction, acc: Vec, a: Vec, w: Vec, first: int) -> Vec:
    """The instruction on the lanes of one register, from lane `first` on."""
    kr, lanes = instruction.kr, instruction.lanes
    x, y = (_lanes(k, v, first * kr, lanes * kr) for v in (a, w))
    total = _lanes(k, acc, first, lanes)
    if instruction.intrinsic is None:
        return _in_order(k, total + k.convert(x, "i32") * k.convert(y, "i32"))
    kind = ir.VectorType(I32, lanes)
    if not instruction.adds:
        return _in_order(k, total + Vec(k, k.intrinsic(instruction.intrinsic, kind, [x.value, y.value]), "i32", lanes))
    packed = [k.b.bitcast(v.value, kind) for v in (x, y)]
    return Vec(k, k.intrinsic(instruction.intrinsic, kind, [total.value, *packed]), "i32", lanes)


def _in_order(k: Kernel, x: Vec) -> Vec:
    """The sum, through nothing that LLVM can see through: it would add all the products of a tile's steps first, since
    whole numbers may be summed in any order, and spill the tile.
    """
    kind = x.value.type
    same = ir.InlineAsm(ir.FunctionType(kind, [kind]), "", "=v,0" if k.target.is_x86 else "=w,0")
    return Vec(k, k.b.call(same, [x.value]), x.dtype, x.lanes)


def _lanes(k: Kernel, x: Vec, first: int, count: int) -> Vec:
    return x if count == x.lanes else k.shuffle(x, x, range(first, first + count))
