"""The element types of a convolution: what lies in memory, what is multiplied, what is summed."""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen.builder import Kernel
from magicmind.codegen.dot import dot_format
from magicmind.codegen.target import Target
from magicmind.kernels.epilogue import Epilogue

_SUMS = {"u8": "i32", "i16": "i64"}
"""What products of whole numbers are summed in."""


@dataclass(frozen=True)
class ConvTypes:
    """Input, weights and output in memory.

    float32 and float16 are computed in float32; uint8 times int8 in int32, where `x_zero` is the input that means zero:
    what padding holds. (Its share of the sum, -x_zero * sum of the weights, is in the bias.) int16 times int16 are
    added up in int64.
    """

    x: str = "f32"
    w: str = "f32"
    y: str = "f32"
    x_zero: int = 0

    @property
    def is_integer(self) -> bool:
        return self.acc != "f32"

    @property
    def acc(self) -> str:
        """Type of the accumulated sum and the bias."""
        return _SUMS.get(self.x, "f32")

    def rows(self, target: Target) -> str:
        """The type in which input numbers are multiplied: as they lie, or as they are copied to scratch."""
        if self.w == "i8":
            return dot_format(target).activations
        return "i16" if self.w == "i16" else "f32"

    def kernel(self, symbol: str, target: Target, epilogue: Epilogue, params: int, memory: str = "") -> Kernel:
        """A function of the pointers x (of `memory`, where that is another type), w, bias, epilogue operands, y.

        Whole numbers are scaled without contraction, so that all targets give the same bits.
        """
        pointers = [memory or self.x, self.w, self.acc, *epilogue.types, self.y]
        return Kernel(symbol, target, pointers, params, contract=not self.is_integer)


F32 = ConvTypes()
"""Everything float32."""
