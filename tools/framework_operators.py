"""Writes docs/reference/operators-<framework>.md from the importer tables; with --check says whether they are current.

python tools/framework_operators.py            writes the pages
python tools/framework_operators.py --check    exit code 1 when one is out of date
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs" / "reference"

CAFFE = """# Caffe layers

Written by `tools/framework_operators.py` from the importers (`src/magicmind/frontends/caffe/layers/`); do not edit.

* **compiled**: becomes ONNX operators that generated code runs.
* **fallback**: becomes an operator that a numpy function of the run time runs.
* **input**: declares inputs, or reads a data base in Caffe: its tops are inputs of the graph.
* **dropped**: has no meaning at inference; what it judges becomes an output.
* **not supported**: known, and refused with the layer's name. So is every type that is not listed.

"""

TENSORFLOW = """# TensorFlow operators

Written by `tools/framework_operators.py` from the importers (`src/magicmind/frontends/tensorflow/importers/`); do not
edit.

* **compiled**: becomes ONNX operators; generated code runs them wherever [their table](operators.md) says so.
* **fallback**: becomes an operator that a numpy function of the run time runs.
* **control flow**: Switch, Merge and their like are read as the branches and loops they spell.
* **not supported**: known, and refused with the node's name. So is every operator that is not listed.

"""

NO_CAFFE = {
    "ContinuationIndicator": "give the marks as an input, or as DummyData",
    "Deformable convolution": "DeformableConvolution of the R-FCN branches",
    "GaussianYolov3": "training and decoding of one branch",
    "LSTMUnit, RNNUnit": "Caffe's own steps inside LSTM; no file lists them",
    "Pooling with STOCHASTIC": "it is drawn at random",
    "Python other than ProposalLayer": "code that is not in the file",
    "ROIAlign, ROIMaskPooling": "of branches without a public MagicMind sample",
}


NO_TENSORFLOW = {
    "CudnnRNN, CudnnRNNV3": "weights packed for one GPU library; Keras layers have a portable form",
    "NonMaxSuppressionV5 with soft_nms_sigma": "scores would change while boxes are chosen",
    "RandomUniform and others": "drawn at random",
    "VariableV2, VarHandleOp": "the graph is not frozen",
    "Strings, tables, queues, datasets": "no numbers to compute with",
}


def caffe_page() -> str:
    """The page of Caffe's layers."""
    from magicmind.frontends.caffe.inputs import DATA_LAYERS
    from magicmind.frontends.caffe.layer import IMPORTERS, ON_HOST
    from magicmind.frontends.caffe.source import DROPPED

    rows = _importers(IMPORTERS, ON_HOST)
    rows |= {name: ("input", "") for name in (*DATA_LAYERS, "Input")}
    rows |= {name: ("dropped", "") for name in DROPPED}
    rows |= {name: ("not supported", why) for name, why in NO_CAFFE.items()}
    return f"{CAFFE}{_table('layer', rows)}\n\n{len(IMPORTERS)} layer types have an importer.\n"


def tensorflow_page() -> str:
    """The page of TensorFlow's operators."""
    import magicmind.frontends.tensorflow.importers  # noqa: F401  (fills the table)
    from magicmind.frontends.tensorflow.call import IMPORTERS, ON_COMPLEX, ON_HOST
    from magicmind.frontends.tensorflow.flow import CONTROL

    rows = _importers({**ON_COMPLEX, **IMPORTERS}, ON_HOST)
    rows |= {name: ("control flow", "") for name in CONTROL}
    rows |= {name: ("not supported", why) for name, why in NO_TENSORFLOW.items()}
    return (
        f"{TENSORFLOW}{_table('operator', rows)}\n\n{len(IMPORTERS.keys() | ON_COMPLEX)} operators have an importer.\n"
    )


def _importers(table: Mapping[str, Any], on_host: set[str]) -> dict[str, tuple[str, str]]:
    return {name: ("fallback" if name in on_host else "compiled", _summary(table[name])) for name in table}


def _table(what: str, rows: Mapping[str, tuple[str, str]]) -> str:
    lines = [f"| {what} | how | what |", "|---|---|---|"]
    lines += [f"| {name} | {how} | {text} |" for name, (how, text) in sorted(rows.items(), key=lambda r: r[0].lower())]
    return "\n".join(lines)


def _summary(importer: Any) -> str:
    """The first line of the importer's docstring."""
    first: str = (importer.__doc__ or "").strip().split("\n", 1)[0]
    return first.replace("|", "\\|")


PAGES: dict[str, Callable[[], str]] = {
    "operators-caffe.md": caffe_page,
    "operators-tensorflow.md": tensorflow_page,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when a page is out of date")
    arguments = parser.parse_args()
    for name, page in PAGES.items():
        path, text = FOLDER / name, page()
        if not arguments.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"docs/reference/{name} is out of date: run ./tools/dev docs")


if __name__ == "__main__":
    main()
