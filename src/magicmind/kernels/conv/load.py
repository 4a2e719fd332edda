"""How numbers of an image in memory become those that a first convolution multiplies, while its rows are copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Vec
from magicmind.ir.scalar import ScalarProgram
from magicmind.kernels.scalar import emit_program, load_value


@dataclass(frozen=True)
class Load:
    """`dtype` is the type in memory, `channels_last` its order (NHWC, else NCHW).

    `program` turns a number, `x0`, into what is multiplied; `x<i + 1>` is `values[i][channel]` in it. Without a program
    the number is taken as it is.
    """

    dtype: str
    channels_last: bool = False
    program: ScalarProgram | None = None
    values: tuple[tuple[float, ...], ...] = ()

    def __str__(self) -> str:
        order = "nhwc" if self.channels_last else "nchw"
        ops = "" if self.program is None else "_" + "_".join(s.op.lower() for s in self.program.statements)
        return f"{self.dtype}_{order}{ops}"

    def of_channel(self, channel: int) -> ScalarProgram | None:
        """The program with the channel's values in it."""
        program = self.program
        for i, values in enumerate(self.values):
            assert program is not None
            program = program.bind(f"x{i + 1}", values[channel])
        return program

    def pixels(self, k: Kernel, planes: Sequence[Pointer], at: Index, lanes: int) -> list[Vec]:
        """`lanes` pixels from column `at` on, by channel. `planes`: where each channel's row begins in memory."""
        if self.channels_last and lanes > 1:
            return [self.converted(k, c, v) for c, v in enumerate(_apart(k, planes, at, lanes))]
        step = len(planes) if self.channels_last else 1
        return [self.converted(k, c, load_value(p, lanes, at * step)) for c, p in enumerate(planes)]

    def converted(self, k: Kernel, channel: int, number: Vec) -> Vec:
        """The program on numbers of a channel."""
        program = self.of_channel(channel)
        return number if program is None else emit_program(k, program, {"x0": number})


def _apart(k: Kernel, planes: Sequence[Pointer], at: Index, lanes: int) -> list[Vec]:
    """The channels of pixels that lie side by side."""
    count = len(planes)
    parts = [load_value(planes[0], lanes, at * count + lanes * i) for i in range(count)]
    joined = parts[0]
    for i, part in enumerate(parts[1:], 1):  # a shuffle takes two vectors of one length
        wide = k.shuffle(part, part, [j % lanes for j in range(lanes * i)])
        joined = k.shuffle(joined, wide, range(lanes * (i + 1)))
    return [k.shuffle(joined, joined, range(c, lanes * count, count)) for c in range(count)]
