"""The element types of a convolution: what lies in memory, what is multiplied, what is summed."""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen.builder import Kernel
from magicmind.codegen.dot import dot_format
from magicmind.codegen.target import Target
from magicmind.codegen.values import ITEMSIZE
from magicmind.kernels.epilogue import Epilogue


@dataclass(frozen=True)
class ConvTypes:
    """Input, weights and output in memory.

    float32 and float16 are computed in float32; uint8 times int8 in int32, where `x_zero` is the input that means zero:
    what padding holds. (Its share of the sum, -x_zero * sum of the weights, is in the bias.)
    """

    x: str = "f32"
    w: str = "f32"
    y: str = "f32"
    x_zero: int = 0

    @property
    def is_integer(self) -> bool:
        return self.w == "i8"

    @property
    def acc(self) -> str:
        """Type of the accumulators and the bias."""
        return "i32" if self.is_integer else "f32"

    def rows(self, target: Target) -> str:
        """The type in which input rows are multiplied: as they lie, or as they are copied to scratch."""
        return dot_format(target).activations if self.is_integer else "f32"

    def row_bytes(self, target: Target) -> int:
        """Bytes of one number of such a row."""
        return ITEMSIZE[self.rows(target)]

    def kernel(self, symbol: str, target: Target, weights: int, epilogue: Epilogue, params: int) -> Kernel:
        """A function of the pointers x, `weights` times (w, bias), epilogue operands, y.

        Whole numbers are scaled without contraction, so that all targets give the same bits.
        """
        pointers = [self.x, *[self.w, self.acc] * weights, *epilogue.types, self.y]
        return Kernel(symbol, target, pointers, params, contract=not self.is_integer)


F32 = ConvTypes()
"""Everything float32."""
