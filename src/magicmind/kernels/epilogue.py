"""What happens to a register tile before it is stored: a scalar program whose operands broadcast to the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Vec
from magicmind.ir.scalar import ScalarProgram
from magicmind.kernels.scalar import emit_program, load_value


@dataclass(frozen=True)
class Epilogue:
    """`program` on `acc` and `x0, x1, ...`; `operands[i]` says how `x<i>` broadcasts:

    same     a tensor laid out like the output
    channel  one value per output channel, padded to whole blocks
    image    one value per image and channel (N, C, 1, 1), blocked
    scalar   one value

    `dtypes[i]` is the element type of `x<i>` in memory, float32 where none are given.
    """

    program: ScalarProgram | None = None
    operands: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()

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
    ) -> Vec:
        """The value to store at element `out` of the output.

        `channel` is the first channel of the vector, `image` the element of an (N, C) tensor that belongs to it.
        """
        if self.program is None:
            return acc
        places: dict[str, Index] = {"same": out, "channel": channel, "image": image}
        values = {"acc": acc}
        for i, kind in enumerate(self.operands):
            if kind == "scalar":
                values[f"x{i}"] = k.broadcast(load_value(pointers[i]), acc.lanes)
            else:
                values[f"x{i}"] = load_value(pointers[i], acc.lanes, places[kind], mask if kind == "same" else None)
        return emit_program(k, self.program, values)


NO_EPILOGUE = Epilogue()
"""Stores the tile as it is."""
