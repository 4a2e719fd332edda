"""The sizes of a 2-D convolution; every spatial size is a constant or a run-time value."""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen.builder import Size
from magicmind.codegen.target import BLOCK


@dataclass(frozen=True)
class ConvShape:
    """x[n, groups*ic, ih, iw] * w[groups*oc, ic, kh, kw] -> y[n, groups*oc, oh, ow].

    `ic` and `oc` count channels of one group; `pt`, `pl` are the paddings at the top and left (those at the other ends
    follow from the output size).
    """

    n: Size
    groups: int
    ic: int
    oc: int
    ih: Size
    iw: Size
    oh: Size
    ow: Size
    kh: int
    kw: int
    sh: int = 1
    sw: int = 1
    dh: int = 1
    dw: int = 1
    pt: int = 0
    pl: int = 0
    padded: bool = False
    """Whether any window reaches outside the input."""

    @property
    def is_pointwise(self) -> bool:
        return self.kh == self.kw == 1 and not self.padded

    @property
    def ic_blocks(self) -> int:
        return -(-self.ic // BLOCK)

    @property
    def oc_blocks(self) -> int:
        return -(-self.oc // BLOCK)

    def __str__(self) -> str:
        kernel = (
            f"{self.kh}x{self.kw}" + (f"s{self.sh}" if self.sh > 1 else "") + (f"d{self.dh}" if self.dh > 1 else "")
        )
        groups = f"g{self.groups}_" if self.groups > 1 else ""
        return f"{kernel}_{groups}{self.ic}x{self.oc}_{self.oh}x{self.ow}"
