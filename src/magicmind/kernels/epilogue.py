"""What happens to a register tile before it is stored: a scalar program whose operands broadcast to the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Vec
from magicmind.codegen.saturate import blocks_together
from magicmind.codegen.target import BLOCK, Target
from magicmind.ir.scalar import ScalarProgram
from magicmind.kernels.scalar import emit_program, gives_bytes, load_value, store_value


@dataclass(frozen=True)
class Epilogue:
    """`program` on `acc` and `x0, x1, ...`; `operands[i]` says how `x<i>` broadcasts:

    same     a tensor laid out like the output
    channel  one value per output channel, padded to whole blocks
    image    one value per image and channel (N, C, 1, 1), blocked
    scalar   one value

    `dtypes[i]` is the element type of `x<i>` in memory, float32 where none are given. `fits`: what is rounded to bytes
    at the end is known to be within an int32.
    """

    program: ScalarProgram | None = None
    operands: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    fits: bool = False

    def __str__(self) -> str:
        return "" if self.program is None else f"[{self.program}]({','.join(self.operands)})"

    @property
    def types(self) -> tuple[str, ...]:
        """Element types of the operands' pointers."""
        return self.dtypes or ("f32",) * len(self.operands)

    @property
    def label(self) -> str:
        """Operators of the program, for kernel names."""
        return "" if self.program is None else "_" + "_".join(s.op.lower() for s in self.program.statements)

    def apply(
        self,
        k: Kernel,
        acc: Vec,
        pointers: Sequence[Pointer],
        *,
        out: Index,
        channel: Index,
        image: Index,
        mask: Vec | None = None,
        parts: int = 1,
        count: int | None = None,
    ) -> Vec:
        """The value to store at element `out` of the output: one vector, or those of neighbouring pixels.

        `channel` is the first channel of the vector, `image` the element of an (N, C) tensor that belongs to it.
        `parts`: `acc`, and the result, lie as `[part of the channels][pixels][channels of the part]`. `count`: how many
        of the pixels exist.
        """
        if self.program is None:
            return acc
        pixels, size = acc.lanes // BLOCK, BLOCK // parts
        values = {"acc": acc}
        for i, kind in enumerate(self.operands):
            p = pointers[i]
            if kind == "scalar":
                values[f"x{i}"] = k.broadcast(load_value(p), acc.lanes)
            elif kind == "same":
                there = [min(pixel, (count or pixels) - 1) for pixel in range(pixels)]
                each = k.concatenate([load_value(p, BLOCK, out + pixel * BLOCK, mask) for pixel in there])
                values[f"x{i}"] = each if parts == 1 else k.shuffle(each, each, _by_part(parts, pixels))
            else:
                place = channel if kind == "channel" else image
                some = [load_value(p, size, place + part * size) for part in range(parts)]
                values[f"x{i}"] = k.concatenate([k.repeat(x, pixels) for x in some])
        return emit_program(k, self.program, values, fits=self.fits)

    def store(
        self,
        k: Kernel,
        y: Pointer,
        pixels: Sequence[Vec],
        pointers: Sequence[Pointer],
        *,
        out: Index,
        channel: Index,
        image: Index,
    ) -> None:
        """Stores the values of neighbouring pixels, the first at element `out`; bytes a whole register at a time."""
        first, most = 0, self._pixels_together(k.target)
        while first < len(pixels):
            count = min(most, 1 << (len(pixels) - first).bit_length() - 1)
            acc = k.concatenate(pixels[first : first + count])
            at = out + first * BLOCK
            store_value(y, self.apply(k, acc, pointers, out=at, channel=channel, image=image), at)
            first += count

    def store_parts(
        self,
        k: Kernel,
        y: Pointer,
        parts: Sequence[Vec],
        count: int,
        pointers: Sequence[Pointer],
        *,
        out: Index,
        channel: Index,
        image: Index,
    ) -> None:
        """Stores the first `count` of neighbouring pixels, as many as the parts of the channels they come in.

        Packing to bytes (`codegen/saturate.py`) brings four parts into the order of memory for nothing.
        """
        sums, pixels = k.concatenate(parts), len(parts)
        result = self.apply(k, sums, pointers, out=out, channel=channel, image=image, parts=len(parts), count=count)
        order = _by_part(len(parts), pixels)
        back = [order.index(i) for i in range(sums.lanes)]
        if count == pixels:
            store_value(y, k.shuffle(result, result, back), out)
            return
        for p in range(count):
            store_value(y, k.shuffle(result, result, back[p * BLOCK : (p + 1) * BLOCK]), out + p * BLOCK)

    def _pixels_together(self, target: Target) -> int:
        to_bytes = self.program is not None and gives_bytes(self.program)
        return blocks_together(target) if to_bytes else 1


NO_EPILOGUE = Epilogue()
"""Stores the tile as it is."""


def _by_part(parts: int, pixels: int) -> list[int]:
    """Lanes of `[pixels][16]` in the order `[parts][pixels][16 / parts]`."""
    size = BLOCK // parts
    return [p * BLOCK + part * size + i for part in range(parts) for p in range(pixels) for i in range(size)]
