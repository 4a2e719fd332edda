"""Writes docs/reference/operators-caffe.md from the importer table; with --check says whether it is current.

python tools/framework_operators.py            writes the page
python tools/framework_operators.py --check    exit code 1 when it is out of date
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "operators-caffe.md"

HEAD = """# Caffe layers

Written by `tools/framework_operators.py` from the importers (`src/magicmind/frontends/caffe/layers/`); do not edit.

* **compiled**: becomes ONNX operators that generated code runs.
* **fallback**: becomes an operator that a numpy function of the run time runs.
* **input**: declares inputs, or reads a data base in Caffe: its tops are inputs of the graph.
* **dropped**: has no meaning at inference; what it judges becomes an output.
* **not supported**: known, and refused with the layer's name. So is every type that is not listed.

"""

NOT_SUPPORTED = {
    "ContinuationIndicator": "give the marks as an input, or as DummyData",
    "Deformable convolution": "DeformableConvolution of the R-FCN branches",
    "GaussianYolov3": "training and decoding of one branch",
    "LSTMUnit, RNNUnit": "Caffe's own steps inside LSTM; no file lists them",
    "Pooling with STOCHASTIC": "it is drawn at random",
    "Python other than ProposalLayer": "code that is not in the file",
    "ROIAlign, ROIMaskPooling": "of branches without a public MagicMind sample",
}


def page() -> str:
    """The whole page."""
    from magicmind.frontends.caffe.inputs import DATA_LAYERS
    from magicmind.frontends.caffe.layer import IMPORTERS, ON_HOST
    from magicmind.frontends.caffe.source import DROPPED

    rows = {name: ("fallback" if name in ON_HOST else "compiled", _summary(name)) for name in IMPORTERS}
    rows |= {name: ("input", "") for name in (*DATA_LAYERS, "Input")}
    rows |= {name: ("dropped", "") for name in DROPPED}
    rows |= {name: ("not supported", why) for name, why in NOT_SUPPORTED.items()}
    lines = ["| layer | how | what |", "|---|---|---|"]
    lines += [f"| {name} | {how} | {what} |" for name, (how, what) in sorted(rows.items(), key=lambda r: r[0].lower())]
    return HEAD + "\n".join(lines) + f"\n\n{len(IMPORTERS)} layer types have an importer.\n"


def _summary(name: str) -> str:
    """The first line of the importer's docstring."""
    from magicmind.frontends.caffe.layer import IMPORTERS

    first = (IMPORTERS[name].__doc__ or "").strip().split("\n", 1)[0]
    return first.replace("|", "\\|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when the page is out of date")
    arguments = parser.parse_args()
    text = page()
    if not arguments.check:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        sys.exit("docs/reference/operators-caffe.md is out of date: run ./tools/dev docs")


if __name__ == "__main__":
    main()
