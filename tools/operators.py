"""Writes docs/reference/operators.md from ONNX's schemas and our registry; with --check says whether it is current.

python tools/operators.py              writes the page
python tools/operators.py --check      exit code 1 when it is out of date
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import onnx

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "operators.md"

GENERATED, FALLBACK, NONE = "generated", "fallback", "not supported"

CONTROL = frozenset({"If", "Loop", "Scan", "SequenceMap"})
NOT_NUMERIC = {
    "control flow": CONTROL,
    "sequences": frozenset({"SplitToSequence", "ConcatFromSequence", *(f"Sequence{n}" for n in ("At", "Construct",
        "Empty", "Erase", "Insert", "Length"))}),
    "optional values": frozenset({"Optional", "OptionalGetElement", "OptionalHasElement"}),
    "strings": frozenset({"StringConcat", "StringNormalizer", "StringSplit", "RegexFullMatch", "TfIdfVectorizer"}),
    "random numbers": frozenset({"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
        "RandomUniformLike"}),
    "pictures in files": frozenset({"ImageDecoder"}),
}  # fmt: skip
"""Operators of ONNX's own domain that do not count as numeric, by the reason. All others do."""

BY_HOST = frozenset({("ai.onnx.ml", "CategoryMapper")})
"""Operators whose expansion leads to a host step in their usual form."""

HEAD = """# Operators

Written by `tools/operators.py` from ONNX's schemas and the operator registry (`src/magicmind/ops/`); do not edit.

{summary}

* **generated**: generated code runs the operator in its usual form: by a kernel of its own, as a part of one, as
  simpler operators that have kernels, or it costs nothing at all. Inputs that set a shape or an axis are
  constants there.
* **fallback**: a numpy function of the run time (a *host step*) runs it; building lists such nodes, and so do
  `magicmind info` and the profile. What a generated operator has no kernel for (a shape or an axis that only the run
  time knows, a rare type) falls back as well where its row says *generated, fallback*; else building says which node
  and why.
* **not supported**: building refuses the model and names the node.
* **opsets**: the versions at which the operator changed; models of all of them are read.
* **types**: what ONNX allows as the type of the first input (of the first output where there is none), in short:
  float = float16, bfloat16, float, double; int and uint of 8 to 64 bits; narrow = floats of 8 bits, numbers of 2 to 4.
* **symbolic shapes**: the contents of small integer tensors are followed through it: computed shapes stay known.
"""

_GROUPS = {
    "float": ("tensor(float16)", "tensor(bfloat16)", "tensor(float)", "tensor(double)"),
    "int": tuple(f"tensor(int{bits})" for bits in (8, 16, 32, 64)),
    "uint": tuple(f"tensor(uint{bits})" for bits in (8, 16, 32, 64)),
    "bool": ("tensor(bool)",),
    "string": ("tensor(string)",),
    "complex": ("tensor(complex64)", "tensor(complex128)"),
    "narrow": ("tensor(float8e4m3fn)", "tensor(float8e4m3fnuz)", "tensor(float8e5m2)", "tensor(float8e5m2fnuz)",
        "tensor(float8e8m0)", "tensor(float4e2m1)", "tensor(int4)", "tensor(uint4)", "tensor(int2)", "tensor(uint2)"),
}  # fmt: skip


def page() -> str:
    """The whole page."""
    from magicmind.ops.registry import REGISTRY

    domains = {"": schemas("")} | {d: schemas(d) for d in sorted({d for d, _ in REGISTRY} - {""})}
    parts = [HEAD.format(summary=summary())]
    for domain, known in domains.items():
        names = sorted({*known, *(n for d, n in REGISTRY if d == domain)})
        lines = [
            f"## {domain or 'ONNX'}",
            "",
            "| operator | opsets | types | how | symbolic shapes |",
            "|---|---|---|---|---|",
        ]
        for name in names:
            op, versions = REGISTRY.get((domain, name)), known.get(name, [])
            symbolic = "yes" if op is not None and op.data_rule is not None else ""
            opsets = ", ".join(str(s.since_version) for s in versions)
            how = [how_of(domain, name)]
            if how == [GENERATED] and op is not None and op.host_name:
                how.append(FALLBACK)
            lines.append(f"| {name} | {opsets} | {types_of(versions)} | {', '.join(how)} | {symbolic} |")
        counts = Counter(how_of(domain, name) for name in names)
        told = ", ".join(f"{counts[how]} {how}" for how in (GENERATED, FALLBACK, NONE) if counts[how])
        parts.append("\n".join([*lines, "", f"{len(names)} operators: {told}.", ""]))
    return "\n".join(parts)


def summary() -> str:
    """How many of the numeric operators of ONNX run by generated code, and what counts as numeric."""
    numeric = numeric_operators()
    generated = [name for name in numeric if how_of("", name) == GENERATED]
    left_out = ", ".join(NOT_NUMERIC)
    share, version = 100 * len(generated) / len(numeric), onnx.__version__
    return (
        f"**{len(generated)} of the {len(numeric)} numeric operators of ONNX {version} ({share:.0f} %) run by\n"
        f"generated code.** Numeric are all operators of the domain `ai.onnx`, old and new, except {left_out}."
    )


def numeric_operators() -> list[str]:
    """The names of ONNX's numeric operators."""
    others = frozenset().union(*NOT_NUMERIC.values())
    return sorted(name for name in schemas("") if name not in others)


@cache
def schemas(domain: str) -> dict[str, list[Any]]:
    """All versions of a domain's operators, oldest first."""
    found: dict[str, list[Any]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == domain and schema.support_level == onnx.defs.OpSchema.SupportType.COMMON:
            found.setdefault(schema.name, []).append(schema)
    return {name: sorted(versions, key=lambda s: s.since_version) for name, versions in found.items()}


def types_of(versions: list[Any]) -> str:
    """The types that the newest version allows, in short."""
    if not versions:
        return ""
    newest = versions[-1]
    formals = [*newest.inputs, *newest.outputs]
    return shortened(formals[0].types) if formals else ""


def shortened(types: Iterable[str]) -> str:
    """Whole groups by their name, the rest by their own."""
    left, words = set(types), []
    for name, members in _GROUPS.items():
        there = left & set(members)
        if there == set(members) or (name == "narrow" and there):
            words.append(name)
        else:
            words += [t.removeprefix("tensor(").removesuffix(")") for t in members if t in there]
        left -= there
    words += sorted({t.partition("(")[0] for t in left})
    return ", ".join(words)


def how_of(domain: str, name: str) -> str:
    """Who runs the operator in its usual form."""
    from magicmind.ops.registry import REGISTRY

    op = REGISTRY.get((domain, name))
    if (domain, name) in rewritten():
        return GENERATED
    if op is not None and (op.lower_rule is not None or op.expand_rule is not None):
        return FALLBACK if (domain, name) in BY_HOST else GENERATED
    if op is not None and op.host_name:
        return FALLBACK
    newest = schemas(domain).get(name, [])[-1:]
    return GENERATED if any(s.has_function or s.has_context_dependent_function for s in newest) else NONE


@cache
def rewritten() -> frozenset[tuple[str, str]]:
    """ONNX operators that become operators of our own domain, which have the kernels, or newer ones on reading."""
    import magicmind.ops  # noqa: F401  (fills the registry)
    from magicmind.passes.conv_to_own import ConvToOwn
    from magicmind.passes.to_elementwise import ToElementwise
    from magicmind.passes.to_matmul import GemmToMatmul, MatmulToOwn

    rules = (ConvToOwn, GemmToMatmul, MatmulToOwn, ToElementwise)
    return frozenset(("", name) for rule in rules for name in rule.roots) | {("", "Upsample"), ("", "Constant")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when the page is out of date")
    arguments = parser.parse_args()
    rewritten()
    text = page()
    if not arguments.check:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        sys.exit("docs/reference/operators.md is out of date: run ./tools/dev docs")


if __name__ == "__main__":
    main()
