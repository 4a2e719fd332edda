"""What the compiler does for someone debugging it: levels, dumps, skipping and stopping, checks.

`DebugSettings.current()` reads the environment once per pipeline run; everything below works on that value, so a test
can pass its own.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.printer
import onnx_ir

from magicmind import knobs
from magicmind.errors import Error

__all__ = ["LOOP_NESTS", "PASSES", "PHASES", "DebugSettings", "graph_text"]

PHASES = 1
PASSES = 2
LOOP_NESTS = 3  # 4: LLVM IR, 5: assembly

_LARGE = 64  # elements; longer initializers are elided in dumps


@dataclass(frozen=True)
class DebugSettings:
    """The debugging settings of one pipeline run; the defaults are silent and cost nothing."""

    level: int = 0
    dump: Path | None = None
    dump_passes: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    stop: str = ""
    check: int = 0

    @classmethod
    def current(cls) -> DebugSettings:
        """From the environment. Raises Error for a setting that does not parse."""
        dump = knobs.DUMP.text()
        return cls(
            level=knobs.DEBUG.integer() or 0,
            dump=Path(dump) if dump else None,
            dump_passes=knobs.DUMP_PASSES.names(),
            skip=knobs.SKIP.names(),
            stop=knobs.STOP.text(),
            check=knobs.CHECK.integer() or 0,
        )

    def require_known(self, names: set[str]) -> None:
        """Raises Error when a setting names a pass that does not exist: a misspelt bisection would mislead."""
        for name in (*self.skip, *self.dump_passes, *filter(None, [self.stop])):
            if name not in names:
                raise Error(f"there is no pass named {name!r}", hint="the passes are: " + ", ".join(sorted(names)))

    def say(self, level: int, text: str) -> None:
        """Prints to stderr when the level asks for it."""
        if self.level >= level:
            print(text, file=sys.stderr)

    def wants_dump(self, pass_name: str) -> bool:
        return self.dump is not None and (not self.dump_passes or pass_name in self.dump_passes)

    def write_dump(self, number: int, pass_name: str, moment: str, text: str) -> None:
        """Writes `07-fold_pad.after.txt` into the dump folder, which is created when needed."""
        assert self.dump is not None
        self.dump.mkdir(parents=True, exist_ok=True)
        (self.dump / f"{number:03d}-{pass_name}.{moment}.txt").write_text(text)


def graph_text(model: onnx_ir.Model) -> str:
    """The model as ONNX text; initializers of more than 64 elements are left out."""
    proto = onnx_ir.to_proto(model)
    small = [t for t in proto.graph.initializer if math.prod(t.dims) <= _LARGE]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(small)
    return onnx.printer.to_text(proto)
