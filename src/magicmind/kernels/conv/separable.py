"""A depthwise convolution and the pointwise one that reads it, as one kernel.

An item computes the depthwise result of a few rows, all channels, into the thread's scratch and multiplies it there:
the tensor between the two never leaves the core's own cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Vec
from magicmind.codegen.target import BLOCK, Target
from magicmind.ir.scalar import ScalarProgram
from magicmind.kernels.conv.depthwise import DepthwiseRows
from magicmind.kernels.conv.direct import DirectConv, DirectEmitter, DirectSchedule
from magicmind.kernels.conv.rows import Rows
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.epilogue import NO_EPILOGUE, Epilogue
from magicmind.kernels.scalar import emit_program
from magicmind.kernels.spec import count_params


@dataclass(frozen=True)
class SeparableConv:
    """y = epilogue(pointwise(inner(depthwise(x, v) + c), w) + bias).

    Pointers: x (blocked), v (`pack_depthwise`), c, w (`pack_direct`), bias, epilogue operands, y (blocked).
    `shape` is the pointwise convolution on the depthwise result; `mr` the depthwise register tile; `inner` a program on
    `acc` alone. An item holds all output channels.
    """

    depthwise: ConvShape
    shape: ConvShape
    mr: int
    schedule: DirectSchedule
    inner: ScalarProgram | None = None
    epilogue: Epilogue = NO_EPILOGUE

    @property
    def name(self) -> str:
        d, s = self.depthwise, self.shape
        tile = f"{self.schedule.mr}x{self.schedule.nr}"
        return f"f32_separable_{d.kh}x{d.kw}s{d.sh}_{s.ic}x{s.oc}_{s.oh}x{s.ow}_{tile}{self.epilogue.label}"

    def scratch_bytes_per_column(self) -> int:
        """Scratch of one output column."""
        return self.shape.ic_blocks * self.schedule.rows * BLOCK * 4

    def build(self, target: Target, symbol: str) -> Kernel:
        count = 5 + len(self.epilogue.operands) + 1
        k = Kernel(symbol, target, ["f32"] * count, count_params(self))
        _Emitter(k, self).emit()
        return k


class _Emitter(DirectEmitter):
    """The direct convolution with the depthwise one as the source of its rows."""

    def __init__(self, k: Kernel, spec: SeparableConv) -> None:
        x, v, c, *rest = k.pointers
        super().__init__(k, DirectConv(spec.shape, spec.schedule, spec.epilogue), [x, *rest])
        self.separable = spec
        self.first_stage: Sequence[Pointer] = (x, v, c)

    def source(self, group: Index, image: Index, row0: Index, row1: Index) -> Rows:
        k, spec = self.k, self.separable
        line = self.ow * BLOCK
        plane = line * spec.schedule.rows

        def put(image: Index, block: Index, row: Index, column: Index, value: Vec) -> None:
            result = value if spec.inner is None else emit_program(k, spec.inner, {"acc": value})
            k.scratch.store(result, block * plane + (row - row0) * line + column * BLOCK)

        x, v, c = self.first_stage
        depthwise = DepthwiseRows(k, spec.depthwise, spec.mr, x, v, c, put)
        with k.loop("block", 0, spec.shape.ic_blocks) as block:
            depthwise.emit(image, block, row0, row1)
        return Rows(k.scratch, line, BLOCK, 0, 0, plane, 1)
