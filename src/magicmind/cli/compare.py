"""Compares two models tensor by tensor, or one model with what another engine makes of it.

magicmind compare net.onnx                             compiled, against onnxruntime
magicmind compare net.onnx --reference onnx            against ONNX's reference evaluator
magicmind compare new.onnx old.onnx                    both compiled
magicmind compare net.mm net.onnx --reference onnx     the outputs of an offline model against its source
magicmind compare net.pb --reference source            against TensorFlow; likewise Caffe (OpenCV) and PyTorch
magicmind compare net.onnx --save-subgraph bad.onnx    writes the smallest graph that differs, and its inputs
magicmind compare net.onnx --precision qint8_mixed_float32 --calibration photos/
                                                       what quantising costs, layer by layer, against float32

Exit code 1 when they differ. To look inside, tensors become outputs, which keeps the compiler from fusing across them;
the outputs of the model as it is are compared too.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicmind.cli import feeds, options, text
from magicmind.cli.source import add_source, source_options

if TYPE_CHECKING:
    from magicmind.compare import Comparison, Row, Side
    from magicmind.quant.table import Scales

SUMMARY = "find the first node where two models differ"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    parser.add_argument("other", type=Path, nargs="?", help="another one (default: the same, run by the reference)")
    parser.add_argument(
        "--reference",
        choices=("onnxruntime", "onnx", "source"),
        help="what runs the other one (default without OTHER: onnxruntime)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        help="relative L2 from which tensors differ (default: 1e-3; 0.1, that is 20 dB, with --precision)",
    )
    precision = parser.add_argument_group("precision (the other model is then the same in float32)")
    precision.add_argument("--precision", metavar="MODE", help="build the first model in it, such as force_float16")
    precision.add_argument(
        "--calibration", default="random", metavar="DATA", help="folder, .npz or random:N (default: %(default)s)"
    )
    precision.add_argument("--scales", type=Path, metavar="FILE", help="scales of an earlier calibration instead")
    data = parser.add_argument_group("inputs (random ones unless given)")
    data.add_argument("--shape", type=options.fixed_shape, action="append", metavar="NAME=DIM,...", help="of an input")
    data.add_argument("--input", type=options.named_file, action="append", metavar="NAME=FILE", help=".npy of an input")
    data.add_argument("--seed", type=int, default=0, help="seed of random inputs (default: %(default)s)")
    parser.add_argument("--top", type=options.positive, metavar="N", help="list only the N worst tensors")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the error of every tensor (extra: plot)")
    parser.add_argument(
        "--save-subgraph", type=Path, metavar="FILE", help="write the smallest graph that differs, its inputs as .npz"
    )
    options.add_json(parser)


def execute(arguments: argparse.Namespace) -> None:
    import magicmind
    from magicmind.cli.example_shapes import example_shapes
    from magicmind.compare import Side, compare
    from magicmind.errors import Error
    from magicmind.graph import Graph

    ours = arguments.other or arguments.precision
    reference = arguments.reference or ("magicmind" if ours else "onnxruntime")
    given_options = source_options(arguments)
    if arguments.shape and arguments.model.suffix not in (".onnx", ".mm"):
        given_options["input_shapes"] = options.as_dict(arguments.shape)
    scales = precision_scales(arguments, given_options) if arguments.precision else None
    how = {"precision": arguments.precision, **({"scales": scales} if scales else {})} if arguments.precision else {}
    a = Side.open(arguments.model, options=given_options, build=how)
    b = Side.open(arguments.other or arguments.model, reference, {} if arguments.other else given_options)
    source = magicmind.load(arguments.model) if a.proto is None else magicmind.parse(arguments.model, **given_options)
    files, shapes = options.as_dict(arguments.input), options.as_dict(arguments.shape)
    if isinstance(source, Graph):
        shapes = example_shapes(source, shapes | {name: feeds.load(file).shape for name, file in files.items()})
    given = feeds.make(source.inputs, files=files, shapes=shapes, batch=None, seed=arguments.seed)
    tolerance = arguments.tolerance if arguments.tolerance is not None else 0.1 if how else 1e-3
    found = compare(a, b, given, tolerance, scales)
    if arguments.plot:
        from magicmind.cli.compare_plot import draw_errors

        draw_errors(found, arguments.plot)
    if arguments.json:
        text.print_json(found.to_json())
    else:
        print_comparison(found, arguments.top)
    if arguments.save_subgraph and found.first is not None:
        save(a, b, given, found, arguments.save_subgraph)
    if not found.agree:
        raise Error("the models differ", hint=_hint(found, saved=arguments.save_subgraph is not None))


def precision_scales(arguments: argparse.Namespace, given_options: dict[str, Any]) -> Scales | None:
    """The scales to quantise the first model by: of a file, or of a calibration now; None where none are needed.

    Scales of an earlier calibration serve all that is compared, so that watching tensors does not move them.
    """
    import magicmind
    from magicmind.cli.progress import progress
    from magicmind.quant.precision import mode_of
    from magicmind.quant.table import Scales

    if not mode_of(arguments.precision).bits:
        return None
    if arguments.scales:
        return Scales.load(arguments.scales)
    graph = magicmind.parse(arguments.model, **given_options)
    with progress(f"calibrating {arguments.model.name}") as report:
        return magicmind.calibrate(graph, arguments.calibration, progress=report)


def print_comparison(found: Comparison, top: int | None) -> None:
    """The tensors in order, or the worst ones; then the outputs, the first and the worst."""
    rows = list(found.rows)
    if top is not None:
        rows = sorted(rows, key=lambda row: (bool(row.problem), row.relative_l2), reverse=True)[:top]
    head = ["node", "op", "tensor", "shape", "max abs", "rel L2", "cosine", "SQNR, dB", "saturated", ""]
    print(text.table(head, [_cells(row, found) for row in rows]))
    print("\noutputs as the model is run:")
    print(text.table(head, [_cells(row, found) for row in found.outputs]))
    if found.worst is not None:
        print(f"\nworst: {found.worst.tensor} ({found.worst.relative_l2:.1e} relative L2)")
    first = found.first
    print("no tensor differs" if first is None else f"first to differ: {first.tensor}, by {first.node} ({first.op})")


def _cells(row: Row, found: Comparison) -> list[str]:
    note = row.problem or ("differs" if row.differs(found.tolerance) else "")
    note += " <- first" if row == found.first else ""
    shape = "x".join(map(str, row.shape)) or "scalar"
    return [
        row.node, row.op, row.tensor, shape, f"{row.max_abs:.1e}", f"{row.relative_l2:.1e}", f"{row.cosine:.6f}",
        f"{row.sqnr:.1f}", "-" if row.saturated is None else f"{row.saturated:.2%}", note,
    ]  # fmt: skip


def _hint(found: Comparison, saved: bool) -> str:
    if found.first is None:
        return "only the fused network differs: look for the pass with MAGICMIND_CHECK=2 or MAGICMIND_SKIP"
    place = f"look at {found.first.node} ({found.first.op})"
    return place if saved else f"{place}; --save-subgraph writes it as a model of its own"


def save(a: Side, b: Side, given: dict[str, feeds.Array], found: Comparison, path: Path) -> None:
    """`path`, beside it the inputs as .npz, and the other model's part as `.b.onnx` where that is another graph."""
    import numpy as np
    import onnx

    from magicmind.compare import diverging_subgraph

    assert found.first is not None
    mine, theirs, inputs = diverging_subgraph(a, b, given, found.first, found.tolerance)
    written = [path, path.with_suffix(".npz")]
    onnx.save(mine, path)
    np.savez(written[1], **inputs)  # type: ignore[arg-type]
    if mine != theirs:
        written.append(path.with_suffix(".b.onnx"))
        onnx.save(theirs, written[-1])
    print(f"written {', '.join(map(str, written))}: {len(mine.graph.node)} node(s)", file=sys.stderr)
