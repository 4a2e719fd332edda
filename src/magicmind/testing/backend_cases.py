"""The cases of the official ONNX backend suite (`onnx.backend.test`), and the verdict on one of them.

The suite's own data come with the package `onnx`; those of kind "real" would be downloaded and are left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from magicmind.errors import UnsupportedOperatorError
from magicmind.files import draft_of
from magicmind.testing.worker import Verdict

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")

Prepare = Callable[[onnx.ModelProto], Callable[[list[Any]], Sequence[Any]]]
"""From a model to a function from its inputs to its outputs."""


@cache
def cases() -> dict[str, TestCase]:
    """All cases by name (`node/test_abs`), in the suite's order."""
    with warnings.catch_warnings(action="ignore"):  # some cases compute infinities on purpose
        return {f"{kind}/{case.name}": case for kind in KINDS for case in load_model_tests(kind=kind)}


def case_names(folder: Path) -> list[str]:
    """The names of all cases. The suite computes every case's data to name it (ten seconds), so they are kept in a file
    of `folder`, one for each version of `onnx`."""
    file = folder / f"backend-cases-{onnx.__version__}.txt"
    try:
        return file.read_text().splitlines()
    except FileNotFoundError:
        names = list(cases())
    folder.mkdir(parents=True, exist_ok=True)
    with draft_of(file) as draft:  # another worker may be at it too
        draft.write_text("\n".join(names) + "\n")
    return names


def operator_of(case: TestCase) -> str:
    """The operator a case is about: its only node's, else that of the first node that is no Constant."""
    nodes = [n for n in model_of(case).graph.node if n.op_type != "Constant"] or list(model_of(case).graph.node)
    if not nodes:
        return "(no node)"
    return f"{nodes[0].domain}.{nodes[0].op_type}" if nodes[0].domain else nodes[0].op_type


def model_of(case: TestCase) -> onnx.ModelProto:
    """The case's model; of a case on disk it is read anew each time."""
    if case.model is not None:
        return case.model
    assert case.model_dir is not None
    return onnx.load(Path(case.model_dir) / "model.onnx")


def run_case(case: TestCase, prepare: Prepare) -> Verdict:
    """Builds the case's model, runs all its data sets, and compares within the case's own tolerances."""
    try:
        model = model_of(case)
        run = prepare(model)
        for inputs, expected in _data_sets(case, model):
            got = list(run(inputs))
            Runner.assert_similar_outputs(expected, got, case.rtol, case.atol, case.model_dir)
    except UnsupportedOperatorError as error:
        return Verdict("unsupported", str(error))
    except Exception as error:  # whatever goes wrong in one case is the result of that case
        return Verdict("failed", f"{type(error).__name__}: {error}".strip())
    return Verdict("passed")


def prepare_magicmind(model: onnx.ModelProto) -> Callable[[list[Any]], Sequence[Any]]:
    """Ours, on one thread: the cases are tiny."""
    from magicmind.backend import prepare

    return prepare(model, threads=1).run


def prepare_reference(model: onnx.ModelProto) -> Callable[[list[Any]], Sequence[Any]]:
    """ONNX's own evaluator: what it cannot do either is no fault of ours."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(model)
    return lambda inputs: list(evaluator.run(None, dict(zip(evaluator.input_names, inputs, strict=True))))


def _data_sets(case: TestCase, model: onnx.ModelProto) -> Iterator[tuple[list[Any], list[Any]]]:
    if case.data_sets is not None:
        for inputs, outputs in case.data_sets:
            yield [_plain(x) for x in inputs], [_plain(y) for y in outputs]
        return
    assert case.model_dir is not None
    constants = {t.name for t in model.graph.initializer}
    inputs_info = [i for i in model.graph.input if i.name not in constants]
    for folder in sorted(Path(case.model_dir).glob("test_data_set*")):
        yield _load_all(folder, "input", inputs_info), _load_all(folder, "output", model.graph.output)


def _load_all(folder: Path, role: str, infos: Sequence[onnx.ValueInfoProto]) -> list[Any]:
    files = (folder / f"{role}_{i}.pb" for i in range(len(infos)))
    return [_load(file, info.type) for file, info in zip(files, infos, strict=True) if file.exists()]


def _load(file: Path, kind: onnx.TypeProto) -> Any:
    data = file.read_bytes()
    if kind.HasField("sequence_type"):
        return onnx.numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind.HasField("optional_type"):
        return onnx.numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return onnx.numpy_helper.to_array(onnx.TensorProto.FromString(data))


def _plain(value: Any) -> Any:
    """As numpy has it: some cases hold protos."""
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, np.ndarray) else np.asarray(value)
