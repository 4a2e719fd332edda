"""A depthwise convolution and the pointwise one that reads it, as one kernel.

An item computes the depthwise result of a few rows, all channels, into the thread's scratch and multiplies it there:
the tensor between the two never leaves the core's own cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from magicmind.codegen.builder import Index, Kernel, Vec
from magicmind.codegen.target import BLOCK, Target
from magicmind.ir.dims import Dim
from magicmind.ir.scalar import ScalarProgram
from magicmind.kernels.conv.depthwise import DepthwiseConv, DepthwiseSchedule, depthwise_rows
from magicmind.kernels.conv.direct import DirectConv, DirectEmitter, DirectSchedule
from magicmind.kernels.conv.rows import Rows
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.conv.types import F32, ConvTypes
from magicmind.kernels.epilogue import NO_EPILOGUE, Epilogue
from magicmind.kernels.scalar import emit_program
from magicmind.kernels.spec import count_params


@dataclass(frozen=True)
class SeparableConv:
    """y = epilogue(pointwise(inner(depthwise(x, v) + c), w) + bias).

    Pointers: x (blocked), v (`pack_depthwise`, float32), c, w (`pack_direct`), bias, epilogue operands, y (blocked).
    `shape` is the pointwise convolution on the depthwise result; `mr` the depthwise register tile; `inner` a program on
    `acc` alone. An item holds all output channels.
    """

    depthwise: ConvShape
    shape: ConvShape
    mr: int
    schedule: DirectSchedule
    inner: ScalarProgram | None = None
    epilogue: Epilogue = NO_EPILOGUE
    types: ConvTypes = F32
    """Of x, w and y; float16 or float32."""

    @property
    def name(self) -> str:
        d, s = self.depthwise, self.shape
        tile = f"{self.schedule.mr}x{self.schedule.nr}"
        return f"{self.types.x}_separable_{d.kh}x{d.kw}s{d.sh}_{s.ic}x{s.oc}_{s.oh}x{s.ow}_{tile}{self.epilogue.label}"

    @property
    def first(self) -> DepthwiseConv:
        """The depthwise part on its own."""
        schedule = DepthwiseSchedule(self.mr, self.schedule.rows)
        return DepthwiseConv(self.depthwise, schedule, types=replace(self.types, w="f32", y="f32"))

    @property
    def second(self) -> DirectConv:
        """The pointwise part on the float32 result of the first."""
        return DirectConv(self.shape, self.schedule, self.epilogue, types=replace(self.types, x="f32"))

    @property
    def column(self) -> int:
        """Elements of the depthwise result that belong to an output column."""
        return self.shape.ic_blocks * self.schedule.rows * BLOCK

    def scratch_bytes(self, target: Target, columns: Dim) -> Dim:
        """Bytes of scratch for so many output columns: the depthwise result, then the rows that part copies."""
        return columns * (self.column * 4) + self.first.scratch_bytes(target, columns)

    def build(self, target: Target, symbol: str) -> Kernel:
        pointers = [self.types.x, "f32", "f32", self.types.w, "f32", *self.epilogue.types, self.types.y]
        k = Kernel(symbol, target, pointers, count_params(self))
        _Emitter(k, self).emit()
        return k


class _Emitter(DirectEmitter):
    """The direct convolution with the depthwise one as the source of its rows."""

    def __init__(self, k: Kernel, spec: SeparableConv) -> None:
        x, v, c, *rest = k.pointers
        super().__init__(k, spec.second, [x, *rest])
        self.separable = spec
        self.first_stage = (x, v, c)

    def source(self, group: Index, image: Index, row0: Index, row1: Index) -> Rows:
        k, spec = self.k, self.separable
        line = self.ow * BLOCK
        plane = line * spec.schedule.rows

        def put(image: Index, block: Index, row: Index, column: Index, pixels: Sequence[Vec]) -> None:
            at = block * plane + (row - row0) * line + column * BLOCK
            for i, value in enumerate(pixels):
                result = value if spec.inner is None else emit_program(k, spec.inner, {"acc": value})
                k.scratch.store(result, at + i * BLOCK)

        first = spec.first
        copied = k.scratch.offset(self.ow * spec.column)
        emit = depthwise_rows(k, first.shape, first.types, first.schedule, self.first_stage, copied, put)
        with k.loop("block", 0, spec.shape.ic_blocks) as block:
            emit(image, block, row0, row1)
        return Rows(k.scratch, line, BLOCK, 0, 0, plane, 1)
