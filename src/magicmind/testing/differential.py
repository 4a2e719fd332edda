"""A random graph through the compiler, against onnx's reference evaluator."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_conv_transpose import ConvTranspose as OneGroup

import magicmind
from magicmind.errors import UnsupportedOperatorError
from magicmind.testing.random_graphs import RandomGraph
from magicmind.testing.worker import Verdict

Array = np.ndarray[Any, Any]


class ConvTranspose(OpRun):
    """One transposed convolution per group: the evaluator's own adds the bias of group 0 to every group."""

    op_domain = ""

    def _run(self, x: Array, w: Array, b: Array | None = None, **attributes: Any) -> tuple[Array, ...]:
        groups = attributes.pop("group", None) or 1
        biases = [None] * groups if b is None else np.split(b, groups)
        parts = zip(np.split(x, groups, 1), np.split(w, groups), biases, strict=True)
        one: Any = OneGroup(self.onnx_node, self.run_params)
        return (np.concatenate([one._run(*part, **attributes, group=1)[0] for part in parts], 1),)


TOLERANCE = 2e-5
"""Of the largest element; several float32 roundings, summed in another order."""
CONDITION = 30.0
"""Times the rounding error of the reference itself, by its answer in float64: an ill-conditioned graph magnifies any
rounding alike. (Changing the inputs a little instead would make every step and comparison in the graph jump.)"""


def check(graph: RandomGraph, seed: int = 0) -> Verdict:
    """Builds the graph once and runs it with the sizes of every run.

    "passed", "failed" with what differs, "unsupported", or "skipped" where the reference has no finite answer.
    """
    model = graph.model()
    doubled = in_double(model)
    runs = []
    for run in range(len(graph.sizes)):
        feeds = graph.feeds(run, seed)
        want = _reference(model, feeds)
        precise = _reference(
            doubled, {n: x.astype(np.float64) if x.dtype == np.float32 else x for n, x in feeds.items()}
        )
        if want is None or precise is None:
            return Verdict("skipped", "the reference evaluator has no finite answer")
        runs.append((feeds, want, precise))
    try:
        with magicmind.build(magicmind.parse(model)) as built, built.session(threads=2) as session:
            for feeds, want, precise in runs:
                got = session.run(feeds)
                for name, array in want.items():
                    if text := _difference(array, got[name], precise[name]):
                        shapes = {n: list(x.shape) for n, x in feeds.items()}
                        return Verdict("failed", f"output {name} for inputs {shapes}: {text}")
    except UnsupportedOperatorError as error:
        return Verdict("unsupported", str(error))
    except Exception as error:  # any other error is a finding, whatever its type
        return Verdict("failed", f"{type(error).__name__}: {error}")
    return Verdict("passed")


def _reference(model: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array] | None:
    with warnings.catch_warnings(action="ignore"):
        try:
            evaluator = ReferenceEvaluator(model, new_ops=[ConvTranspose])
            found = dict(zip(evaluator.output_names, map(np.asarray, evaluator.run(None, feeds)), strict=True))
        except Exception:  # the evaluator has gaps of its own (mostly at sizes of 0); they show as all sorts of errors
            return None
    return found if all(np.isfinite(y).all() for y in found.values()) else None


def in_double(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with float64 in place of float32, in bodies too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _double(copy.graph)
    return copy


def _double(graph: onnx.GraphProto) -> None:
    for constant in graph.initializer:
        if constant.data_type == TensorProto.FLOAT:
            array = onnx.numpy_helper.to_array(constant).astype(np.float64)
            constant.CopyFrom(onnx.numpy_helper.from_array(array, constant.name))
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
            if attribute.HasField("g"):
                _double(attribute.g)


def _difference(want: Array, got: Array, precise: Array) -> str:
    if want.shape != got.shape or want.dtype != got.dtype:
        return f"{want.dtype}{list(want.shape)} is expected, {got.dtype}{list(got.shape)} came"
    if want.dtype.kind != "f":
        wrong = int((want != got).sum())
        return f"{wrong} of {want.size} elements differ" if wrong else ""
    if not want.size:
        return ""
    scale = float(np.abs(want).max())
    error = float(np.abs(want.astype(np.float64) - got).max())
    allowed = TOLERANCE * (scale + 1e-3) + CONDITION * float(np.abs(want.astype(np.float64) - precise).max())
    return (
        ""
        if error <= allowed
        else f"an error of {error:.2e} where {allowed:.2e} is allowed, largest element {scale:.2e}"
    )
