"""Writes docs/reference/operators.md from the operator registry; with --check only says whether it is current."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "operators.md"

HEAD = """# Operators

Written by `tools/operators.py` from the operator registry (`src/magicmind/ops/`); do not edit.

* **compiled**: generated code runs it, by a kernel of its own or as a part of one, or it costs nothing at all.
* **symbolic shapes**: the contents of small integer tensors are followed through it: computed shapes stay known.

A compiled operator may still decline an unusual combination of attributes or dtypes; building the model then says which
node and why. The others are understood (types and shapes), and work where they are folded into constants or into a
neighbour before code is generated.
"""


def page() -> str:
    """The whole page."""
    import magicmind.ops  # noqa: F401  (fills the registry)
    from magicmind.ops.registry import REGISTRY

    compiled = rewritten() | {key for key, op in REGISTRY.items() if op.lower_rule is not None}
    parts = [HEAD]
    for domain in sorted({domain for domain, _ in REGISTRY}):
        names = sorted(name for d, name in REGISTRY if d == domain)
        lines = [f"## {domain or 'ONNX'}", "", "| operator | compiled | symbolic shapes |", "|---|---|---|"]
        for name in names:
            symbolic = REGISTRY[domain, name].data_rule is not None
            lines.append(f"| {name} | {_mark((domain, name) in compiled)} | {_mark(symbolic)} |")
        lines += ["", f"{len(names)} operators, {sum((domain, name) in compiled for name in names)} compiled.", ""]
        parts.append("\n".join(lines))
    return "\n".join(parts)


def rewritten() -> set[tuple[str, str]]:
    """ONNX operators that become operators of our own domain, which have the kernels."""
    from magicmind.passes.conv_to_own import ConvToOwn
    from magicmind.passes.to_elementwise import ToElementwise
    from magicmind.passes.to_matmul import GemmToMatmul, MatmulToOwn

    return {("", name) for rule in (ConvToOwn, GemmToMatmul, MatmulToOwn, ToElementwise) for name in rule.roots}


def _mark(is_so: bool) -> str:
    return "yes" if is_so else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when the page is out of date")
    arguments = parser.parse_args()
    text = page()
    if not arguments.check:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        sys.exit("docs/reference/operators.md is out of date: run ./tools/dev docs")


if __name__ == "__main__":
    main()
