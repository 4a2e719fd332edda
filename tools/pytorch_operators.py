"""Writes docs/reference/operators-pytorch.md from the importer table; with --check says whether it is current.

python tools/pytorch_operators.py            writes the page
python tools/pytorch_operators.py --check    exit code 1 when it is out of date; nothing to check without PyTorch
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from operators import FALLBACK, how_of, rewritten

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "operators-pytorch.md"

HEAD = """# PyTorch operators

Written by `tools/pytorch_operators.py` from the importers (`src/magicmind/frontends/pytorch/`); do not edit.

TorchScript files, exported programs and what `torch.compile` captures are graphs of these operators. The in-place form
`name_` of each works as well, on views too.

* **compiled**: becomes ONNX operators that generated code runs in their usual form.
* **fallback**: becomes, among others, an operator that a numpy function of the run time runs.
* **at conversion**: Python's own arithmetic, lists, dicts and texts: executed while the program is read.

What has no importer but can be written with simpler operators by PyTorch itself is taken apart by it
(`frontends/pytorch/decompose.py`), unless a mutable size is one of its arguments: {decomposed} and the rest
of PyTorch's core decompositions. Branches and loops whose conditions depend on data become `If` and `Loop`.

"""

DECOMPOSED = (
    "addr", "binary_cross_entropy", "block_diag", "column_stack", "cosine_similarity", "count_nonzero", "cross",
    "deg2rad", "diag_embed", "diff", "dist", "frac", "heaviside", "huber_loss", "index_fill", "isfinite", "isin",
    "kron", "l1_loss", "linalg_cross", "log_ndtr", "logaddexp", "logit", "mse_loss", "nansum", "pairwise_distance",
    "pixel_unshuffle", "rot90", "sgn", "sinc", "smooth_l1_loss", "tensordot", "trace", "vstack", "weight_norm",
)  # fmt: skip

NOT_SUPPORTED = {
    "bernoulli, multinomial, normal, poisson, rand, randint, randn, randperm, uniform": "random numbers",
    "bincount, embedding_bag, pack_padded_sequence": "sizes that depend on data",
    "cholesky, linalg_eigh, linalg_inv, linalg_qr, linalg_solve, linalg_svd": "decompositions of matrices",
    "batch_norm, dropout and others in training mode": "call eval() on the module first",
    "every *_backward": "there is no training",
    "quantized_lstm, quantized_gru and quantized cells": "recurrent layers with packed weights; give the float network",
    "quantized::embedding_*, quantized::conv*_dynamic": "tables and convolutions packed in other ways",
    "sparse, nested and MKL-DNN tensors": "dense tensors only",
}


def page() -> str:
    """The whole page."""
    import magicmind.frontends.pytorch  # noqa: F401  (fills the table)
    from magicmind.frontends.pytorch.importers import IMPORTERS, KEEPS_STEPS, ON_COMPLEX, ON_QUANTISED, ON_WHOLE, PYTHON

    parts = [HEAD.format(decomposed=", ".join(f"`{n}`" for n in DECOMPOSED))]
    for family, names in sorted(_families(IMPORTERS).items()):
        parts += [f"## {family}", "", "| operator | how | what |", "|---|---|---|"]
        for name in sorted(names, key=str.lower):
            how = "at conversion" if name in PYTHON and family == "python" else _how(IMPORTERS[name])
            parts.append(f"| {name.removeprefix('aten::')} | {how} | {_summary(IMPORTERS[name])} |")
        parts.append("")
    complex_ = ", ".join(f"`{n.removeprefix('aten::')}`" for n in sorted(ON_COMPLEX))
    parts += ["## Complex tensors", "", f"Pairs of real tensors. Besides what only moves elements: {complex_}.", ""]
    moved = ", ".join(f"`{n.removeprefix('aten::')}`" for n in sorted(ON_WHOLE | KEEPS_STEPS | set(ON_QUANTISED)))
    parts += ["## Quantised tensors", "", f"Whole numbers with a scale. Besides `quantized::*`: {moved}.", ""]
    parts += ["## Not supported", "", "| operators | why |", "|---|---|"]
    parts += [f"| {names} | {why} |" for names, why in NOT_SUPPORTED.items()]
    return "\n".join([*parts, "", f"{len(IMPORTERS)} operators have an importer.", ""])


def _families(importers: dict[str, Any]) -> dict[str, list[str]]:
    """The operators by the file that imports them."""
    found: dict[str, list[str]] = {}
    for name, importer in importers.items():
        found.setdefault(importer.__module__.rpartition(".")[2], []).append(name)
    return found


def _how(importer: Any) -> str:
    """By the operators, ONNX's and our own, that the importer's text names."""
    named = set(re.findall(r'"([A-Z]\w+)"', inspect.getsource(importer)))
    found = {how_of(domain, name) for domain in ("", "magicmind") for name in named}
    return FALLBACK if FALLBACK in found else "compiled"


def _summary(importer: Any) -> str:
    """The first line of the importer's docstring."""
    return (importer.__doc__ or "").strip().split("\n", 1)[0].replace("|", "\\|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when the page is out of date")
    arguments = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        sys.exit(0 if arguments.check else "PyTorch is not installed")
    rewritten()
    text = page()
    if not arguments.check:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        sys.exit("docs/reference/operators-pytorch.md is out of date: run ./tools/dev docs")


if __name__ == "__main__":
    main()
